//! Which tokens pass and which do not. The table of abuses is shared with the test over real sockets.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::json;

use super::*;
use crate::config::{JwtAlgorithm, JwtKeySettings, KeyMaterial, Secret};

#[path = "../../../tests/support/tokens.rs"]
mod tokens;

use tokens::{
    SECRET, abuses, claims, ec_keys, ed_keys, key_set, now, rsa_keys, signed, signed_by, with,
};

/// A file that lives as long as this.
struct TempFile(PathBuf);

impl TempFile {
    fn new(name: &str, content: impl AsRef<[u8]>) -> Self {
        let path = std::env::temp_dir().join(format!("shardwire-{}-{name}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        Self(path)
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn settings(keys: Vec<JwtKeySettings>) -> JwtSettings {
    JwtSettings {
        keys,
        jwks_file: None,
        algorithm: JwtAlgorithm::HS256,
        issuers: vec!["your-app".to_owned()],
        audiences: vec!["websocket".to_owned()],
        leeway_s: 5,
        require_expiry: true,
        user_claim: "sub".to_owned(),
        name_claim: "name".to_owned(),
        permissions_claim: "permissions".to_owned(),
    }
}

fn key(id: Option<&str>, algorithm: JwtAlgorithm, material: KeyMaterial) -> JwtKeySettings {
    JwtKeySettings {
        id: id.map(str::to_owned),
        algorithm,
        material,
    }
}

fn secret() -> JwtKeySettings {
    key(
        None,
        JwtAlgorithm::HS256,
        KeyMaterial::Secret(Secret::new(SECRET)),
    )
}

fn load(settings: &JwtSettings) -> Jwt {
    Jwt::load(settings).unwrap()
}

fn verdict(jwt: &Jwt, token: &str) -> Result<Identity, Denied> {
    jwt.shared.verify(token)
}

#[test]
fn contract_m9_a_good_token_is_its_user() {
    let jwt = load(&settings(vec![secret()]));
    let claims = claims();
    let identity = verdict(&jwt, &signed(&claims)).unwrap();
    assert_eq!((&**identity.user(), identity.name()), ("ann", Some("Ann")));
    assert!(identity.may("room.read") && identity.may("room.write"));
    assert_eq!(
        identity.expires_unix_ms(),
        Some(claims["exp"].as_u64().unwrap() * 1000)
    );
    // Shapes that other issuers use: several audiences, words instead of a list, numbers for users, fractions of seconds.
    for (name, value) in [
        ("aud", json!(["mail", "websocket"])),
        ("permissions", json!("room.read room.write")),
        ("permissions", json!(null)),
        ("sub", json!(42)),
        ("exp", json!(now() as f64 + 100.5)),
        ("nbf", json!(null)),
        ("name", json!(7)),
    ] {
        let identity = verdict(&jwt, &signed(&with(claims.clone(), name, value.clone())));
        assert!(identity.is_ok(), "{name}: {value}: {identity:?}");
    }
}

#[test]
fn no_abuse_passes_and_none_panics() {
    let rsa = rsa_keys();
    let file = TempFile::new("abuse-rsa.pem", &rsa.public);
    let jwt = load(&settings(vec![
        secret(),
        key(
            Some("r1"),
            JwtAlgorithm::RS256,
            KeyMaterial::PublicKeyFile(file.0.clone()),
        ),
    ]));
    // Both keys work, so that nothing is refused for want of a key.
    assert!(verdict(&jwt, &signed(&claims())).is_ok());
    assert!(
        verdict(
            &jwt,
            &signed_by(&claims(), Algorithm::RS256, Some("r1"), &rsa.signing)
        )
        .is_ok()
    );
    let abuses = abuses(&rsa);
    assert!(abuses.len() >= 60, "{}", abuses.len());
    for (what, token) in abuses {
        if what == "huge" {
            // Too long to be a token at all: it does not come here.
            assert!(shardwire_shards::vocabulary::Token::new(&token).is_none());
            continue;
        }
        assert_eq!(verdict(&jwt, &token), Err(Denied::Wrong), "{what}: {token}");
    }
}

#[test]
fn an_expired_token_asks_for_a_new_one_and_the_leeway_is_short() {
    let jwt = load(&settings(vec![secret()]));
    let expired = |seconds: u64| {
        let token = signed(&with(claims(), "exp", json!(now() - seconds)));
        verdict(&jwt, &token).map(|_| ())
    };
    assert_eq!(expired(2), Ok(()));
    assert_eq!(expired(8), Err(Denied::Expired));
    assert_eq!(expired(100_000), Err(Denied::Expired));
    let early = |seconds: u64| {
        let token = signed(&with(claims(), "nbf", json!(now() + seconds)));
        verdict(&jwt, &token).map(|_| ())
    };
    assert_eq!(early(3), Ok(()));
    assert_eq!(early(9), Err(Denied::Wrong));
    // Expired and signed with the wrong key is wrong: whoever forges learns nothing.
    let forged = tokens::forged(
        &json!({"alg": "HS256"}),
        &with(claims(), "exp", json!(now() - 100)),
        b"fedcba9876543210fedcba9876543210",
    );
    assert_eq!(verdict(&jwt, &forged), Err(Denied::Wrong));
}

#[test]
fn what_is_not_configured_is_not_required() {
    let mut lax = settings(vec![secret()]);
    lax.issuers.clear();
    lax.audiences.clear();
    lax.require_expiry = false;
    let jwt = load(&lax);
    let identity = verdict(&jwt, &signed(&json!({"sub": "ann"}))).unwrap();
    assert_eq!(identity.expires_unix_ms(), None);
    // A token meant for somebody in particular is not meant for us (RFC 7519 section 4.1.3).
    assert!(verdict(&jwt, &signed(&json!({"sub": "ann", "aud": "mail"}))).is_err());
    // What is there is still checked.
    let expired = signed(&json!({"sub": "ann", "exp": now() - 100}));
    assert_eq!(verdict(&jwt, &expired), Err(Denied::Expired));
}

#[test]
fn every_algorithm_verifies_with_its_own_key() {
    let (rsa, ec, ed) = (rsa_keys(), ec_keys(), ed_keys());
    let files = [
        TempFile::new("all-rsa.pem", &rsa.public),
        TempFile::new("all-ec.pem", &ec.public),
        TempFile::new("all-ed.pem", &ed.public),
        TempFile::new("all-secret", format!("{SECRET}\n")),
    ];
    let file = |index: usize| KeyMaterial::PublicKeyFile(files[index].0.clone());
    let shared = EncodingKey::from_secret(SECRET.as_bytes());
    for (configured, signs, material, signing) in [
        (
            JwtAlgorithm::HS256,
            Algorithm::HS256,
            KeyMaterial::SecretFile(files[3].0.clone()),
            &shared,
        ),
        (
            JwtAlgorithm::HS384,
            Algorithm::HS384,
            KeyMaterial::Secret(Secret::new(SECRET)),
            &shared,
        ),
        (
            JwtAlgorithm::HS512,
            Algorithm::HS512,
            KeyMaterial::Secret(Secret::new(SECRET)),
            &shared,
        ),
        (JwtAlgorithm::RS256, Algorithm::RS256, file(0), &rsa.signing),
        (JwtAlgorithm::RS384, Algorithm::RS384, file(0), &rsa.signing),
        (JwtAlgorithm::RS512, Algorithm::RS512, file(0), &rsa.signing),
        (JwtAlgorithm::PS256, Algorithm::PS256, file(0), &rsa.signing),
        (JwtAlgorithm::PS384, Algorithm::PS384, file(0), &rsa.signing),
        (JwtAlgorithm::PS512, Algorithm::PS512, file(0), &rsa.signing),
        (JwtAlgorithm::ES256, Algorithm::ES256, file(1), &ec.signing),
        (JwtAlgorithm::EdDSA, Algorithm::EdDSA, file(2), &ed.signing),
    ] {
        let jwt = load(&settings(vec![key(None, configured, material)]));
        let token = signed_by(&claims(), signs, None, signing);
        assert!(verdict(&jwt, &token).is_ok(), "{configured}");
        // The same with one letter of the signature changed.
        let (message, signature) = token.rsplit_once('.').unwrap();
        let first = if signature.starts_with('A') { "B" } else { "A" };
        let changed = format!("{message}.{first}{}", &signature[1..]);
        assert_eq!(verdict(&jwt, &changed), Err(Denied::Wrong), "{configured}");
    }
}

#[test]
fn a_token_chooses_among_the_keys_by_kid_only() {
    let ec = ec_keys();
    let file = TempFile::new("kid-ec.pem", &ec.public);
    let other = "another secret of at least thirty-two bytes";
    let jwt = load(&settings(vec![
        key(
            Some("a"),
            JwtAlgorithm::HS256,
            KeyMaterial::Secret(Secret::new(SECRET)),
        ),
        key(
            Some("b"),
            JwtAlgorithm::HS256,
            KeyMaterial::Secret(Secret::new(other)),
        ),
        key(
            Some("e"),
            JwtAlgorithm::ES256,
            KeyMaterial::PublicKeyFile(file.0.clone()),
        ),
    ]));
    let (a, b) = (
        EncodingKey::from_secret(SECRET.as_bytes()),
        EncodingKey::from_secret(other.as_bytes()),
    );
    let passes = |kid: Option<&str>, algorithm, key: &EncodingKey| {
        verdict(&jwt, &signed_by(&claims(), algorithm, kid, key)).is_ok()
    };
    assert!(passes(Some("a"), Algorithm::HS256, &a));
    assert!(passes(Some("b"), Algorithm::HS256, &b));
    assert!(passes(Some("e"), Algorithm::ES256, &ec.signing));
    assert!(!passes(Some("b"), Algorithm::HS256, &a));
    assert!(!passes(Some("c"), Algorithm::HS256, &a));
    assert!(
        !passes(None, Algorithm::HS256, &a),
        "with several keys one has to be named"
    );
    // The only key there is needs no name.
    let only = load(&settings(vec![key(
        Some("a"),
        JwtAlgorithm::HS256,
        KeyMaterial::Secret(Secret::new(SECRET)),
    )]));
    assert!(verdict(&only, &signed(&claims())).is_ok());
}

#[test]
fn a_key_set_is_read_again_when_it_changes_and_survives_a_broken_file() {
    let (rsa, ec, ed) = (rsa_keys(), ec_keys(), ed_keys());
    let first = key_set(&[
        ("r", Algorithm::RS256, &rsa, true),
        ("e", Algorithm::ES256, &ec, false),
    ]);
    let file = TempFile::new("set.json", first.to_string());
    let mut settings = settings(Vec::new());
    settings.jwks_file = Some(file.0.clone());
    let jwt = load(&settings);
    let passes = |kid, algorithm, keys: &tokens::Keys| {
        verdict(
            &jwt,
            &signed_by(&claims(), algorithm, Some(kid), &keys.signing),
        )
        .is_ok()
    };
    assert!(passes("r", Algorithm::RS256, &rsa));
    assert!(
        passes("e", Algorithm::ES256, &ec),
        "its curve says how it signs"
    );
    assert!(!passes("r", Algorithm::PS256, &rsa), "the set says RS256");
    assert!(!passes("d", Algorithm::EdDSA, &ed));

    std::fs::write(&file.0, "{\"keys\":").unwrap();
    std::thread::sleep(Duration::from_millis(2_500));
    assert!(
        passes("r", Algorithm::RS256, &rsa),
        "a broken file changes nothing"
    );

    let second = key_set(&[
        ("e", Algorithm::ES256, &ec, true),
        ("d", Algorithm::EdDSA, &ed, false),
    ]);
    std::fs::write(&file.0, second.to_string()).unwrap();
    let begin = Instant::now();
    while !passes("d", Algorithm::EdDSA, &ed) {
        assert!(begin.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(passes("e", Algorithm::ES256, &ec));
    assert!(
        !passes("r", Algorithm::RS256, &rsa),
        "a key that was taken out counts no more"
    );
}

#[test]
fn keys_of_a_set_that_cannot_be_used_are_passed_over() {
    let ec = ec_keys();
    let good = key_set(&[("e", Algorithm::ES256, &ec, true)])["keys"][0].clone();
    let set = |keys: Value| {
        keys::parse_set(
            json!({ "keys": keys }).to_string().as_bytes(),
            JwtAlgorithm::RS256,
        )
    };
    let oct = |len: usize| json!({"kty": "oct", "kid": "o", "alg": "HS256", "k": "A".repeat(len * 4 / 3 + 1)});
    for unusable in [
        with(good.clone(), "use", json!("enc")),
        with(good.clone(), "key_ops", json!(["encrypt"])),
        with(good.clone(), "alg", json!("ES384")),
        with(good.clone(), "alg", json!("RS256")),
        with(good.clone(), "alg", json!("RSA-OAEP")),
        with(good.clone(), "kty", json!("XYZ")),
        json!({"kty": "RSA", "kid": "small", "alg": "RS256", "n": "AQAB".repeat(40), "e": "AQAB"}),
        oct(16),
    ] {
        let keys = set(json!([unusable, good])).map(|keys| keys.len());
        assert_eq!(keys, Ok(1), "{unusable}");
        assert!(
            set(json!([unusable])).is_err(),
            "a set without any usable key: {unusable}"
        );
    }
    assert_eq!(set(json!([oct(32), good])).map(|keys| keys.len()), Ok(2));
    for text in ["", "[]", "{}", "{\"keys\":{}}", "not JSON"] {
        assert!(
            keys::parse_set(text.as_bytes(), JwtAlgorithm::RS256).is_err(),
            "{text}"
        );
    }
}

#[test]
fn keys_that_do_not_fit_are_told_at_the_start_and_no_secret_with_them() {
    let (rsa, ec) = (rsa_keys(), ec_keys());
    let files = [
        TempFile::new("unfit-rsa.pem", &rsa.public),
        TempFile::new("unfit-ec.pem", &ec.public),
        TempFile::new("unfit-short", "open sesame"),
        TempFile::new("unfit-empty", ""),
    ];
    let pem = |index: usize| KeyMaterial::PublicKeyFile(files[index].0.clone());
    for (algorithm, material, told) in [
        (
            JwtAlgorithm::ES256,
            pem(0),
            "no public key in PEM that fits ES256",
        ),
        (
            JwtAlgorithm::RS256,
            pem(1),
            "no public key in PEM that fits RS256",
        ),
        (JwtAlgorithm::ES384, pem(1), "does not fit ES384"),
        (
            JwtAlgorithm::EdDSA,
            pem(3),
            "no public key in PEM that fits EdDSA",
        ),
        (
            JwtAlgorithm::HS256,
            KeyMaterial::SecretFile(files[2].0.clone()),
            "needs at least 32",
        ),
        (
            JwtAlgorithm::HS512,
            KeyMaterial::SecretFile("/nowhere".into()),
            "cannot read /nowhere",
        ),
    ] {
        let error = Jwt::load(&settings(vec![key(None, algorithm, material)]));
        let error = error.err().unwrap().to_string();
        assert!(error.contains(told) && !error.contains("sesame"), "{error}");
    }
}
