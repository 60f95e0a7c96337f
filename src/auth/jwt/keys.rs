//! The keys tokens are verified with: from the configuration, from files, from a JSON Web Key Set.

use std::collections::HashMap;
use std::path::Path;

use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyOperations, PublicKeyUse,
};
use jsonwebtoken::{Algorithm, DecodingKey};

use super::AuthError;
use crate::config::{JwtAlgorithm, JwtKeySettings, KeyMaterial};

/// Most bytes of a file with keys: a set of hundreds stays below, and a wrong path does not fill the memory.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Least bits of an RSA modulus (RFC 7518 section 3.3).
const RSA_BITS_MIN: usize = 2048;

/// A key and the one algorithm it is used with.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) id: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) decoding: DecodingKey,
}

/// All keys of one moment.
pub(super) struct KeyRing {
    named: HashMap<String, Key>,
    /// Of tokens that name no key: the one without a name, or the only one there is.
    unnamed: Option<Key>,
}

impl KeyRing {
    /// Of several keys with one name, the first holds; `fixed` ones go before `more`.
    pub(super) fn new(fixed: Vec<Key>, more: Vec<Key>) -> Self {
        let keys: Vec<Key> = fixed.into_iter().chain(more).collect();
        let unnamed = match &keys[..] {
            [only] => Some(only.clone()),
            _ => keys.iter().find(|key| key.id.is_none()).cloned(),
        };
        let mut named = HashMap::new();
        for key in keys {
            let Some(id) = key.id.clone() else { continue };
            if named.contains_key(&id) {
                tracing::warn!(kid = id, "a key is passed over: another one has its kid");
            } else {
                named.insert(id, key);
            }
        }
        Self { named, unnamed }
    }

    /// The key of a token with this `kid`.
    pub(super) fn find(&self, kid: Option<&str>) -> Option<&Key> {
        match kid {
            Some(kid) => self.named.get(kid),
            None => self.unnamed.as_ref(),
        }
    }
}

/// The keys that the configuration holds or names one by one.
pub(super) fn load_fixed(settings: &[JwtKeySettings]) -> Result<Vec<Key>, AuthError> {
    let load = |key: &JwtKeySettings| {
        let place = match (&key.id, &key.material) {
            (Some(_), _) => "keys",
            (None, KeyMaterial::Secret(_)) => "secret",
            (None, KeyMaterial::SecretFile(_)) => "secret_file",
            (None, KeyMaterial::PublicKeyFile(_)) => "public_key_file",
        };
        let algorithm = algorithm(key.algorithm);
        let loaded = match &key.material {
            KeyMaterial::Secret(secret) => from_secret(secret.expose().as_bytes(), algorithm),
            KeyMaterial::SecretFile(path) => {
                let bytes = read(place, path)?;
                from_secret(without_line_break(&bytes), algorithm)
            }
            KeyMaterial::PublicKeyFile(path) => from_pem(&read(place, path)?, algorithm),
        };
        let decoding = loaded.map_err(|problem| AuthError::Key {
            key: place,
            problem: match &key.id {
                Some(id) => format!("the key with id {id:?} {problem}"),
                None => format!("the key {problem}"),
            },
        })?;
        Ok(Key {
            id: key.id.clone(),
            algorithm,
            decoding,
        })
    };
    settings.iter().map(load).collect()
}

/// The whole of a file with keys.
pub(super) fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, AuthError> {
    let read = || {
        if std::fs::metadata(path)?.len() > FILE_BYTES_MAX {
            return Err(std::io::Error::other("it has more than 1 MiB"));
        }
        std::fs::read(path)
    };
    read().map_err(|source| AuthError::File {
        key,
        path: path.to_owned(),
        source,
    })
}

fn without_line_break(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes.strip_suffix(b"\r").unwrap_or(bytes)
}

fn from_secret(secret: &[u8], algorithm: Algorithm) -> Result<DecodingKey, String> {
    check_secret(secret.len(), algorithm)?;
    Ok(DecodingKey::from_secret(secret))
}

fn check_secret(len: usize, algorithm: Algorithm) -> Result<(), String> {
    let least = match algorithm {
        Algorithm::HS256 => 32,
        Algorithm::HS384 => 48,
        Algorithm::HS512 => 64,
        _ => {
            return Err(format!(
                "is a shared secret, with which {algorithm:?} does not sign"
            ));
        }
    };
    if len < least {
        return Err(format!(
            "has {len} bytes; {algorithm:?} needs at least {least}"
        ));
    }
    Ok(())
}

fn from_pem(pem: &[u8], algorithm: Algorithm) -> Result<DecodingKey, String> {
    let decoding = match algorithm {
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => {
            return Err(format!(
                "is a public key, with which {algorithm:?} does not sign"
            ));
        }
        Algorithm::ES256 | Algorithm::ES384 => DecodingKey::from_ec_pem(pem),
        Algorithm::EdDSA => DecodingKey::from_ed_pem(pem),
        _ => DecodingKey::from_rsa_pem(pem),
    };
    let unfit = || format!("is no public key in PEM that fits {algorithm:?}");
    let decoding = decoding.map_err(|_| unfit())?;
    // As a JSON Web Key it shows its curve and its size.
    let jwk = Jwk::from_decoding_key(&decoding, Some(algorithm)).map_err(|_| unfit())?;
    check_fit(&jwk, algorithm)?;
    Ok(decoding)
}

/// The usable keys of a JSON Web Key Set; the others are told in the log. `algorithm`: of keys that do not say theirs.
///
/// # Errors
/// It is no such set at all, or none of its keys can be used.
pub(super) fn parse_set(text: &[u8], algorithm: JwtAlgorithm) -> Result<Vec<Key>, String> {
    let set: JwkSet =
        serde_json::from_slice(text).map_err(|error| format!("is no JSON Web Key Set: {error}"))?;
    let mut keys = Vec::with_capacity(set.keys.len());
    for jwk in &set.keys {
        match from_jwk(jwk, algorithm) {
            Ok(key) => keys.push(key),
            Err(problem) => {
                let kid = jwk.common.key_id.as_deref().unwrap_or_default();
                tracing::warn!(kid, problem, "a key of the key set is passed over");
            }
        }
    }
    if keys.is_empty() {
        return Err("holds no key that can be used".to_owned());
    }
    Ok(keys)
}

fn from_jwk(jwk: &Jwk, otherwise: JwtAlgorithm) -> Result<Key, String> {
    let common = &jwk.common;
    let verifies = |operations: &Vec<KeyOperations>| operations.contains(&KeyOperations::Verify);
    if common
        .public_key_use
        .as_ref()
        .is_some_and(|used| *used != PublicKeyUse::Signature)
        || !common.key_operations.as_ref().is_none_or(verifies)
    {
        return Err("it is not for signatures".to_owned());
    }
    let algorithm = match common.key_algorithm {
        Some(stated) => Algorithm::try_from(stated)
            .map_err(|_| format!("its algorithm {stated} is not supported"))?,
        None => implied(jwk).unwrap_or(self::algorithm(otherwise)),
    };
    check_fit(jwk, algorithm)?;
    let decoding = DecodingKey::from_jwk(jwk).map_err(|error| error.to_string())?;
    Ok(Key {
        id: common.key_id.clone(),
        algorithm,
        decoding,
    })
}

/// The algorithm of keys that are good for one only.
fn implied(jwk: &Jwk) -> Option<Algorithm> {
    match &jwk.algorithm {
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => Some(Algorithm::ES256),
            EllipticCurve::P384 => Some(Algorithm::ES384),
            _ => None,
        },
        AlgorithmParameters::OctetKeyPair(_) => Some(Algorithm::EdDSA),
        _ => None,
    }
}

/// Whether a key can sign this way, and is strong enough.
fn check_fit(jwk: &Jwk, algorithm: Algorithm) -> Result<(), String> {
    let bytes = |base64: &str| base64.trim_end_matches('=').len() * 3 / 4;
    match (&jwk.algorithm, algorithm) {
        (
            AlgorithmParameters::RSA(key),
            Algorithm::RS256
            | Algorithm::RS384
            | Algorithm::RS512
            | Algorithm::PS256
            | Algorithm::PS384
            | Algorithm::PS512,
        ) => {
            let bits = bytes(&key.n) * 8;
            if bits < RSA_BITS_MIN {
                return Err(format!(
                    "has {bits} bits; RSA needs at least {RSA_BITS_MIN}"
                ));
            }
            Ok(())
        }
        (AlgorithmParameters::EllipticCurve(key), Algorithm::ES256)
            if key.curve == EllipticCurve::P256 =>
        {
            Ok(())
        }
        (AlgorithmParameters::EllipticCurve(key), Algorithm::ES384)
            if key.curve == EllipticCurve::P384 =>
        {
            Ok(())
        }
        (AlgorithmParameters::OctetKeyPair(key), Algorithm::EdDSA)
            if key.curve == EllipticCurve::Ed25519 =>
        {
            Ok(())
        }
        (
            AlgorithmParameters::OctetKey(key),
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512,
        ) => check_secret(bytes(&key.value), algorithm),
        _ => Err(format!("does not fit {algorithm:?}")),
    }
}

fn algorithm(algorithm: JwtAlgorithm) -> Algorithm {
    match algorithm {
        JwtAlgorithm::HS256 => Algorithm::HS256,
        JwtAlgorithm::HS384 => Algorithm::HS384,
        JwtAlgorithm::HS512 => Algorithm::HS512,
        JwtAlgorithm::RS256 => Algorithm::RS256,
        JwtAlgorithm::RS384 => Algorithm::RS384,
        JwtAlgorithm::RS512 => Algorithm::RS512,
        JwtAlgorithm::PS256 => Algorithm::PS256,
        JwtAlgorithm::PS384 => Algorithm::PS384,
        JwtAlgorithm::PS512 => Algorithm::PS512,
        JwtAlgorithm::ES256 => Algorithm::ES256,
        JwtAlgorithm::ES384 => Algorithm::ES384,
        JwtAlgorithm::EdDSA => Algorithm::EdDSA,
    }
}
