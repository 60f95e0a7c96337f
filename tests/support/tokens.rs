//! Tokens and keys, right and wrong, for tests. Signs with what an issuer would use; forges by hand what no library writes.
#![allow(clippy::unwrap_used, dead_code)]

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, encode};
use serde_json::{Value, json};

/// A shared secret of 64 bytes, long enough for every HS algorithm.
pub const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Seconds since 1970.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap().as_secs()
}

/// Ann's claims as a well-behaved issuer writes them.
pub fn claims() -> Value {
    json!({
        "sub": "ann", "name": "Ann", "permissions": ["room.read", "room.write"],
        "iss": "your-app", "aud": "websocket", "exp": now() + 3600, "nbf": now() - 10,
    })
}

/// `claims` with this member set, or without it for `null`.
pub fn with(mut claims: Value, name: &str, value: Value) -> Value {
    let members = claims.as_object_mut().unwrap();
    match value {
        Value::Null => drop(members.remove(name)),
        value => drop(members.insert(name.to_owned(), value)),
    }
    claims
}

/// A token signed with [`SECRET`] by HS256.
pub fn signed(claims: &Value) -> String {
    signed_by(
        claims,
        Algorithm::HS256,
        None,
        &EncodingKey::from_secret(SECRET.as_bytes()),
    )
}

pub fn signed_by(
    claims: &Value,
    algorithm: Algorithm,
    kid: Option<&str>,
    key: &EncodingKey,
) -> String {
    // Tests run in processes of their own; one that has the provider already keeps it.
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    let mut header = Header::new(algorithm);
    header.kid = kid.map(str::to_owned);
    encode(&header, claims, key).unwrap()
}

/// A token with this header and these claims as they are, signed by HS256 with `secret` whatever the header says.
pub fn forged(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
    let signature = aws_lc_rs::hmac::sign(&key, message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// A private key to sign with, and the public one to verify with.
pub struct Keys {
    pub signing: EncodingKey,
    /// In PEM (`SubjectPublicKeyInfo`).
    pub public: String,
}

fn pem(der: &[u8]) -> String {
    let base64 = STANDARD.encode(der);
    let lines: Vec<&str> = base64
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        lines.join("\n")
    )
}

pub fn rsa_keys() -> Keys {
    let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
    let private: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    // The crate wants the key as PEM in this form.
    let private = pem(private.as_ref()).replace("PUBLIC KEY", "PRIVATE KEY");
    Keys {
        signing: EncodingKey::from_rsa_pem(private.as_bytes()).unwrap(),
        public: pem(public.as_ref()),
    }
}

pub fn ec_keys() -> Keys {
    let random = aws_lc_rs::rand::SystemRandom::new();
    let private = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let pair =
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, private.as_ref()).unwrap();
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    Keys {
        signing: EncodingKey::from_ec_der(private.as_ref()),
        public: pem(public.as_ref()),
    }
}

pub fn ed_keys() -> Keys {
    let random = aws_lc_rs::rand::SystemRandom::new();
    let private = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(private.as_ref()).unwrap();
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    Keys {
        signing: EncodingKey::from_ed_der(private.as_ref()),
        public: pem(public.as_ref()),
    }
}

/// A JSON Web Key Set of these keys, each with its `kid`, its algorithm and whether it says that.
pub fn key_set(keys: &[(&str, Algorithm, &Keys, bool)]) -> Value {
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    let keys: Vec<Value> = keys
        .iter()
        .map(|(kid, algorithm, keys, stated)| {
            let public = keys.public.as_bytes();
            let public = match algorithm {
                Algorithm::ES256 | Algorithm::ES384 => DecodingKey::from_ec_pem(public),
                Algorithm::EdDSA => DecodingKey::from_ed_pem(public),
                _ => DecodingKey::from_rsa_pem(public),
            };
            let jwk = Jwk::from_decoding_key(&public.unwrap(), Some(*algorithm)).unwrap();
            let jwk = with(serde_json::to_value(jwk).unwrap(), "kid", json!(kid));
            if *stated {
                jwk
            } else {
                with(jwk, "alg", Value::Null)
            }
        })
        .collect();
    json!({ "keys": keys })
}

/// Tokens that must not pass, each with what is wrong with it, for a server that knows [`SECRET`] under HS256 without a `kid`,
/// issuer `your-app` and audience `websocket`; and `rsa`, whose public key it knows as `r1` under RS256.
pub fn abuses(rsa: &Keys) -> Vec<(&'static str, String)> {
    let good = claims();
    let secret = SECRET.as_bytes();
    let token = signed(&good);
    let [header, body, signature] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
    let hs = json!({"typ": "JWT", "alg": "HS256"});
    let kid = |kid: Value| forged(&with(hs.clone(), "kid", kid), &good, secret);
    let base64 = |text: &str| URL_SAFE_NO_PAD.encode(text);
    vec![
        (
            "alg none, unsigned",
            format!("{}.{body}.", base64(r#"{"alg":"none"}"#)),
        ),
        (
            "alg none, signed",
            forged(&json!({"alg": "none"}), &good, secret),
        ),
        ("alg NoNe", forged(&json!({"alg": "NoNe"}), &good, secret)),
        ("alg empty", forged(&json!({"alg": ""}), &good, secret)),
        ("alg missing", forged(&json!({"typ": "JWT"}), &good, secret)),
        (
            "alg a list",
            forged(&json!({"alg": ["HS256"]}), &good, secret),
        ),
        (
            "alg HS384 with the key for HS256",
            signed_by(
                &good,
                Algorithm::HS384,
                None,
                &EncodingKey::from_secret(secret),
            ),
        ),
        (
            "RS256 said, HS256 signed with the public key",
            forged(
                &json!({"alg": "RS256", "kid": "r1"}),
                &good,
                rsa.public.as_bytes(),
            ),
        ),
        (
            "HS256 said, HS256 signed with the public key of an RS256 key",
            forged(
                &json!({"alg": "HS256", "kid": "r1"}),
                &good,
                rsa.public.as_bytes(),
            ),
        ),
        (
            "RS512 with a key for RS256",
            signed_by(&good, Algorithm::RS512, Some("r1"), &rsa.signing),
        ),
        (
            "PS256 with a key for RS256",
            signed_by(&good, Algorithm::PS256, Some("r1"), &rsa.signing),
        ),
        (
            "wrong audience",
            signed(&with(good.clone(), "aud", json!("mail"))),
        ),
        (
            "wrong audiences",
            signed(&with(good.clone(), "aud", json!(["mail", "web"]))),
        ),
        (
            "no audience",
            signed(&with(good.clone(), "aud", Value::Null)),
        ),
        (
            "audience a number",
            signed(&with(good.clone(), "aud", json!(7))),
        ),
        (
            "wrong issuer",
            signed(&with(good.clone(), "iss", json!("other-app"))),
        ),
        ("no issuer", signed(&with(good.clone(), "iss", Value::Null))),
        (
            "issuer an object",
            signed(&with(good.clone(), "iss", json!({"your-app": 1}))),
        ),
        ("no expiry", signed(&with(good.clone(), "exp", Value::Null))),
        (
            "expiry a text",
            signed(&with(good.clone(), "exp", json!("2999-01-01"))),
        ),
        (
            "expiry negative",
            signed(&with(good.clone(), "exp", json!(-1))),
        ),
        (
            "not yet valid",
            signed(&with(good.clone(), "nbf", json!(now() + 60))),
        ),
        (
            "not before a text",
            signed(&with(good.clone(), "nbf", json!("now"))),
        ),
        ("unknown kid", kid(json!("k9"))),
        ("kid a path", kid(json!("../../../../dev/null"))),
        ("kid an absolute path", kid(json!("/etc/hostname"))),
        ("kid SQL", kid(json!("x' UNION SELECT 'secret' -- "))),
        ("kid a URL", kid(json!("http://127.0.0.1:1/key"))),
        ("kid empty", kid(json!(""))),
        ("kid a number", kid(json!(1))),
        ("kid with a zero byte", kid(json!("r1\0"))),
        (
            "its own key in jwk",
            forged(
                &with(
                    hs.clone(),
                    "jwk",
                    json!({"kty": "oct", "k": base64("0123456789abcdef0123456789abcdef")}),
                ),
                &good,
                b"0123456789abcdef0123456789abcdef",
            ),
        ),
        (
            "its own key by jku",
            forged(
                &with(hs.clone(), "jku", json!("http://127.0.0.1:1/jwks")),
                &good,
                b"other",
            ),
        ),
        (
            "a token in a token",
            forged(
                &with(hs.clone(), "cty", json!("JWT")),
                &json!(token),
                secret,
            ),
        ),
        (
            "conditions nobody knows",
            forged(
                &with(
                    with(hs.clone(), "crit", json!(["b64"])),
                    "b64",
                    json!(false),
                ),
                &good,
                secret,
            ),
        ),
        ("claims a token", forged(&hs, &json!(token), secret)),
        ("claims a list", forged(&hs, &json!([good]), secret)),
        ("claims nested too deep", {
            let deep = format!("{}1{}", "[".repeat(2_000), "]".repeat(2_000));
            let message = format!("{header}.{}", base64(&format!(r#"{{"sub":{deep}}}"#)));
            let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
            let tag = aws_lc_rs::hmac::sign(&key, message.as_bytes());
            format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))
        }),
        (
            "subject missing",
            signed(&with(good.clone(), "sub", Value::Null)),
        ),
        (
            "subject empty",
            signed(&with(good.clone(), "sub", json!(""))),
        ),
        (
            "subject an object",
            signed(&with(good.clone(), "sub", json!({"id": "ann"}))),
        ),
        (
            "subject with a line break",
            signed(&with(good.clone(), "sub", json!("ann\nbob"))),
        ),
        (
            "subject too long",
            signed(&with(good.clone(), "sub", json!("x".repeat(129)))),
        ),
        (
            "permissions an object",
            signed(&with(good.clone(), "permissions", json!({"admin": true}))),
        ),
        (
            "permissions not all texts",
            signed(&with(good.clone(), "permissions", json!(["a", 1]))),
        ),
        (
            "claims changed",
            format!(
                "{header}.{}.{signature}",
                base64(&with(good.clone(), "sub", json!("bob")).to_string())
            ),
        ),
        (
            "signed with another secret",
            forged(&hs, &good, b"fedcba9876543210fedcba9876543210"),
        ),
        ("signed with an empty secret", forged(&hs, &good, b"")),
        ("signature cut", token[..token.len() - 2].to_owned()),
        ("signature empty", format!("{header}.{body}.")),
        ("signature missing", format!("{header}.{body}")),
        ("signature twice", format!("{token}.{signature}")),
        (
            "bad base64 in the header",
            format!("!{}.{body}.{signature}", &header[1..]),
        ),
        (
            "bad base64 in the claims",
            format!("{header}.{}=.{signature}", &body[1..]),
        ),
        (
            "bad base64 in the signature",
            format!("{header}.{body}.@@@@"),
        ),
        (
            "header no JSON",
            format!("{}.{body}.{signature}", base64("{")),
        ),
        (
            "header not UTF-8",
            format!(
                "{}.{body}.{signature}",
                URL_SAFE_NO_PAD.encode([0xff, 0xfe])
            ),
        ),
        ("dots only", "..".to_owned()),
        ("one word", "token".to_owned()),
        (
            "encrypted",
            format!(
                "{}.a.b.c.d",
                base64(r#"{"alg":"RSA-OAEP","enc":"A256GCM"}"#)
            ),
        ),
        ("huge", {
            let huge = with(good.clone(), "padding", json!("x".repeat(16_000)));
            signed(&huge)
        }),
    ]
}
