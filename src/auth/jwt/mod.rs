//! JSON Web Tokens (contract M9), as strictly as RFC 8725 asks.
//!
//! A key belongs to one algorithm, by the configuration or the key set, and what a token says of its algorithm is only compared
//! with that. `kid` only chooses among the keys that are loaded; every other way in which a token could bring its own key
//! (`jku`, `jwk`, `x5u`, `x5c`) is ignored. What is configured is required: a token without issuer, audience or expiry does not
//! pass where one is asked for.

mod keys;
mod watch;

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{TokenData, Validation, decode, decode_header};
use serde_json::{Map, Value};
use tracing::subscriber::{NoSubscriber, with_default};

use super::{Attempt, AuthError, Denied, Identity, Verification, Verifier};
use crate::config::JwtSettings;
use keys::{Key, KeyRing};

/// Verifies tokens with the keys of the configuration.
pub(super) struct Jwt {
    shared: Arc<Shared>,
}

/// What verifying and watching the file of keys have in common.
struct Shared {
    settings: JwtSettings,
    ring: RwLock<Arc<KeyRing>>,
}

impl Jwt {
    /// Reads the keys, and begins to watch the file of keys if there is one.
    pub(super) fn load(settings: &JwtSettings) -> Result<Self, AuthError> {
        choose_provider();
        let fixed = keys::load_fixed(&settings.keys)?;
        let (ring, seen) = match &settings.jwks_file {
            None => (KeyRing::new(fixed.clone(), Vec::new()), None),
            Some(path) => {
                let (text, more) = read_set(path, settings)?;
                (
                    KeyRing::new(fixed.clone(), more),
                    Some((path.clone(), text)),
                )
            }
        };
        let shared = Arc::new(Shared {
            settings: settings.clone(),
            ring: RwLock::new(Arc::new(ring)),
        });
        if let Some((path, text)) = seen {
            watch::start(Arc::downgrade(&shared), fixed, path, text)?;
        }
        Ok(Self { shared })
    }

    /// What keeps the keys from being used, each by itself.
    pub(super) fn faults(settings: &JwtSettings) -> Vec<AuthError> {
        choose_provider();
        let each = settings.keys.iter().map(std::slice::from_ref);
        let fixed = each.filter_map(|key| keys::load_fixed(key).err());
        let path = settings.jwks_file.as_ref();
        // Which keys of the set are passed over is for the log of whoever then uses it.
        let read = |path| with_default(NoSubscriber::new(), || read_set(path, settings));
        fixed
            .chain(path.and_then(|path| read(path).err()))
            .collect()
    }
}

/// The crate keeps one provider for the whole process. If the program has installed one already, that one serves.
fn choose_provider() {
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
}

/// The file of keys, as it is and as keys.
fn read_set(path: &Path, settings: &JwtSettings) -> Result<(Vec<u8>, Vec<Key>), AuthError> {
    let text = keys::read("jwks_file", path)?;
    match keys::parse_set(&text, settings.algorithm) {
        Ok(keys) => Ok((text, keys)),
        Err(problem) => Err(AuthError::Key {
            key: "jwks_file",
            problem,
        }),
    }
}

impl Verifier for Jwt {
    fn verify(&self, attempt: Attempt) -> Verification {
        let verdict = match attempt.token() {
            Some(token) => self.shared.verify(token),
            None => Err(Denied::Missing),
        };
        Box::pin(std::future::ready(verdict))
    }
}

/// Why a token is refused, for the log. A client is told less.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("no token: {0}")]
    Malformed(jsonwebtoken::errors::Error),
    #[error("its header asks for something that is not supported: {0}")]
    Header(&'static str),
    #[error("no key is known by its kid, or it names none and there are several")]
    UnknownKey,
    #[error("it is signed with another algorithm than its key is for")]
    Algorithm,
    #[error("{0}")]
    Invalid(jsonwebtoken::errors::Error),
    #[error("the claim {0:?} does not hold what it should")]
    Claim(String),
}

impl Shared {
    fn verify(&self, token: &str) -> Result<Identity, Denied> {
        let ring = Arc::clone(&self.ring.read().unwrap_or_else(PoisonError::into_inner));
        self.identify(&ring, token).map_err(|refused| {
            tracing::debug!(%refused, "a token is refused");
            match refused {
                Refused::Invalid(error) if matches!(error.kind(), ErrorKind::ExpiredSignature) => {
                    Denied::Expired
                }
                _ => Denied::Wrong,
            }
        })
    }

    fn identify(&self, ring: &KeyRing, token: &str) -> Result<Identity, Refused> {
        let header = decode_header(token).map_err(Refused::Malformed)?;
        // A token inside a token, an encrypted or a compressed one, or one with conditions we do not know (RFC 7515 section 4.1.11).
        if header.cty.is_some() {
            return Err(Refused::Header("cty"));
        }
        if header.enc.is_some() || header.zip.is_some() {
            return Err(Refused::Header("enc or zip"));
        }
        if header.crit.is_some() {
            return Err(Refused::Header("crit"));
        }
        let key = ring
            .find(header.kid.as_deref())
            .ok_or(Refused::UnknownKey)?;
        if header.alg != key.algorithm {
            return Err(Refused::Algorithm);
        }
        let TokenData { claims, .. } =
            decode::<Map<String, Value>>(token, &key.decoding, &self.validation(key))
                .map_err(Refused::Invalid)?;
        self.identity(&claims)
    }

    fn validation(&self, key: &Key) -> Validation {
        let settings = &self.settings;
        let mut validation = Validation::new(key.algorithm);
        validation.leeway = settings.leeway_s;
        validation.validate_nbf = true;
        // The crate checks issuer and audience only of tokens that have one, unless they are required.
        let mut required = Vec::new();
        if settings.require_expiry {
            required.push("exp");
        }
        if !settings.issuers.is_empty() {
            validation.set_issuer(&settings.issuers);
            required.push("iss");
        }
        if !settings.audiences.is_empty() {
            validation.set_audience(&settings.audiences);
            required.push("aud");
        }
        validation.required_spec_claims = required.into_iter().map(str::to_owned).collect();
        validation
    }

    fn identity(&self, claims: &Map<String, Value>) -> Result<Identity, Refused> {
        let settings = &self.settings;
        let wrong = |claim: &str| Refused::Claim(claim.to_owned());
        let user = match claims.get(&settings.user_claim) {
            Some(Value::String(user)) => user.clone(),
            Some(Value::Number(number)) => number.to_string(),
            _ => return Err(wrong(&settings.user_claim)),
        };
        let mut identity = Identity::new(user);
        if !identity.is_valid() {
            return Err(wrong(&settings.user_claim));
        }
        if let Some(name) = claims.get(&settings.name_claim).and_then(Value::as_str) {
            identity = identity.named(name);
        }
        identity = match claims.get(&settings.permissions_claim) {
            None | Some(Value::Null) => identity,
            Some(Value::String(words)) => identity.with_permissions(words.split_whitespace()),
            Some(Value::Array(texts)) => {
                let texts: Option<Vec<&str>> = texts.iter().map(Value::as_str).collect();
                identity.with_permissions(texts.ok_or_else(|| wrong(&settings.permissions_claim))?)
            }
            Some(_) => return Err(wrong(&settings.permissions_claim)),
        };
        // Validation has seen that it is a number, if it is there.
        match claims.get("exp").and_then(Value::as_f64) {
            Some(seconds) => Ok(identity.expiring_at((seconds * 1000.0) as u64)),
            None => Ok(identity),
        }
    }
}

#[cfg(test)]
mod tests;
