//! `[authentication]`: who may connect, and how they show who they are.

use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::bounds;
use crate::config::check::Checker;
use crate::config::text::{HIDDEN, Secret, TextDuration, Texts};

/// Who may connect, and how they show who they are. `authentication = false` (at the top of a file) is short for `type = "none"`, `true`
/// for `type = "custom"` (contract D11). The guide docs/guides/authentication.md shows each type at work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-boolean" = ["type", "none", "custom"]))]
pub struct Authentication {
    /// With `type = "jwt"`: how `secret` or `public_key_file` signs, and how keys of `jwks_file` do that do not say it themselves. What a
    /// token says of its algorithm is compared with that, and never believed (RFC 8725 section 3.1).
    #[schemars(extend("x-default" = "`\"HS256\"`"))]
    pub algorithm: Option<JwtAlgorithm>,

    /// With `type = "api-key"`: the keys, as `[[authentication.api_keys]]`. `sha256` is the SHA-256 of a key in hexadecimal
    /// (`printf %s "$KEY" | sha256sum`), so that the configuration holds nothing one could log in with; `user` is who shows it; `name` and
    /// `permissions` may be given, too.
    #[schemars(extend("x-allowed" = "tables with sha256 and user, and maybe name and permissions"))]
    pub api_keys: Vec<ApiKey>,

    /// With `type = "jwt"`: whom a token must be meant for (`aud`); one of several will do. When it is set, a token without it is refused.
    #[schemars(extend("x-allowed" = "a text or a list of texts", "x-default" = "none: tokens with an audience are refused"))]
    pub audience: Option<Texts>,

    /// Cookie that may carry the token. Cookies are sent along by a browser whatever page opens the connection: list the allowed origins as
    /// well (`listen.origins`).
    #[schemars(extend("x-allowed" = NAME, "x-default" = "none: cookies are not looked at"))]
    pub cookie: Option<String>,

    /// How long a connection lives on after its token has expired, so that a `refresh` on its way still arrives; then it is closed with
    /// 4001.
    #[schemars(extend("x-allowed" = bounds::EXPIRY.to_string()))]
    pub expiry_grace: TextDuration,

    /// How long before its token expires a client is told `token-expiring`.
    #[schemars(extend("x-allowed" = bounds::EXPIRY.to_string()))]
    pub expiry_warning: TextDuration,

    /// Whether a client that shows nothing with its request may connect and say who it is in its first message (contract D18):
    /// `{"type":"auth","token":"…"}`, within `timeout`. From a browser, this is the way that leaves the token in nobody's log.
    pub first_frame: bool,

    /// With `type = "api-key"`: the request header that carries the key (contract M10).
    #[schemars(extend("x-allowed" = NAME))]
    pub header: String,

    /// With `type = "jwt"`: who must have issued a token (`iss`); one of several will do. When it is set, a token without it is refused.
    #[schemars(extend("x-allowed" = "a text or a list of texts", "x-default" = "none: any issuer whose key is known"))]
    pub issuer: Option<Texts>,

    /// With `type = "jwt"`: a file with a JSON Web Key Set (RFC 7517). It is looked at every two seconds, and what it holds then counts; a
    /// file that cannot be read keeps the keys it had.
    #[schemars(extend("x-allowed" = "a path", "x-default" = "none"))]
    pub jwks_file: Option<PathBuf>,

    /// With `type = "jwt"`: several keys, as `[[authentication.keys]]`, each with `id`, `algorithm`, and one of `secret`, `secret_file`
    /// and `public_key_file`. A token names its key in `kid`.
    #[schemars(extend("x-allowed" = "tables with id, algorithm, and secret, secret_file or public_key_file", "x-secret" = true))]
    pub keys: Vec<JwtKey>,

    /// With `type = "jwt"`: how far the clocks of issuer and server may differ.
    #[schemars(extend("x-allowed" = bounds::LEEWAY.to_string()))]
    pub leeway: TextDuration,

    /// With `type = "jwt"`: the claim with the user's name for others to read.
    #[schemars(extend("x-allowed" = "a text"))]
    pub name_claim: String,

    /// With `type = "jwt"`: the claim with the permissions, a list of texts or one text of words (as `scope` is).
    #[schemars(extend("x-allowed" = "a text"))]
    pub permissions_claim: String,

    /// With `type = "jwt"`: a file with the public key of the issuer in PEM, for every algorithm but the HS ones.
    #[schemars(extend("x-allowed" = "a path", "x-default" = "none"))]
    pub public_key_file: Option<PathBuf>,

    /// Name in the query that may carry the token: `/ws?token=…`. It then stands in the logs of every proxy on the way, so it is off unless
    /// named.
    #[schemars(extend("x-allowed" = NAME, "x-default" = "none: the query is not looked at"))]
    pub query: Option<String>,

    /// Whether everybody has to show who they are (contract M6). `false` lets those who show nothing connect as nobody; wrong
    /// credentials are refused all the same.
    pub required: bool,

    /// With `type = "jwt"`: whether a token must say when it expires (`exp`).
    pub require_expiry: bool,

    /// With `type = "jwt"`: the shared secret of an HS algorithm, as many bytes as its hash has: 32, 48 or 64 (RFC 7518 section 3.2).
    /// Better in the environment (`SHARDWIRE_AUTHENTICATION__SECRET`) or in a file.
    #[schemars(extend("x-allowed" = "a text of at least 32 bytes", "x-default" = "none", "x-secret" = true))]
    pub secret: Option<Secret>,

    /// With `type = "jwt"`: a file whose content is the shared secret; a line break at its end does not count.
    #[schemars(extend("x-allowed" = "a path", "x-default" = "none"))]
    pub secret_file: Option<PathBuf>,

    /// Threads that verify, apart from the shards. One checks tens of thousands of tokens per second; custom verifiers may await
    /// without occupying one.
    #[schemars(extend("x-allowed" = bounds::VERIFIER_THREADS.to_string()))]
    pub threads: usize,

    /// How long a verdict may take, and a client its first message (contract M7).
    #[schemars(extend("x-allowed" = bounds::AUTHENTICATION_TIMEOUT.to_string()))]
    pub timeout: TextDuration,

    /// `"none"`: nobody is asked, and a client may name itself by `?user=`, which nobody checks. `"jwt"`: JSON Web Tokens (contract M9).
    /// `"api-key"`: keys from this configuration (contract M10). `"custom"`: a verifier that the embedding program brings (contract M11).
    #[serde(rename = "type")]
    #[schemars(extend("x-default" = "`\"none\"`; `\"custom\"` when the embedding program brings a verifier"))]
    pub kind: Option<AuthenticationType>,

    /// With `type = "jwt"`: the claim with the user's id.
    #[schemars(extend("x-allowed" = "a text"))]
    pub user_claim: String,
}

const NAME: &str = "a name of letters, digits and !#$%&'*+-.^_`|~";

impl Default for Authentication {
    fn default() -> Self {
        Self {
            algorithm: None,
            api_keys: Vec::new(),
            audience: None,
            cookie: None,
            expiry_grace: TextDuration::from_secs(10),
            expiry_warning: TextDuration::from_secs(60),
            first_frame: true,
            header: "X-API-Key".to_owned(),
            issuer: None,
            jwks_file: None,
            keys: Vec::new(),
            leeway: TextDuration::from_secs(5),
            name_claim: "name".to_owned(),
            permissions_claim: "permissions".to_owned(),
            public_key_file: None,
            query: None,
            required: true,
            require_expiry: true,
            secret: None,
            secret_file: None,
            threads: 2,
            timeout: TextDuration::from_secs(5),
            kind: None,
            user_claim: "sub".to_owned(),
        }
    }
}

/// How clients show who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum AuthenticationType {
    /// Nobody is asked.
    None,
    /// JSON Web Tokens.
    Jwt,
    /// Keys from the configuration.
    ApiKey,
    /// A verifier of the embedding program.
    Custom,
}

/// How a token is signed (RFC 7518 section 3.1, RFC 8037).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
#[allow(missing_docs, reason = "the names are the standard's")]
pub enum JwtAlgorithm {
    HS256,
    HS384,
    HS512,
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

impl JwtAlgorithm {
    /// The least length of a shared secret in bytes: that of the hash (RFC 7518 section 3.2); none for public keys.
    pub fn least_secret(self) -> Option<usize> {
        match self {
            Self::HS256 => Some(32),
            Self::HS384 => Some(48),
            Self::HS512 => Some(64),
            _ => None,
        }
    }
}

impl fmt::Display for JwtAlgorithm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, formatter)
    }
}

/// One key of several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JwtKey {
    /// The `kid` by which a token names it.
    pub id: String,
    /// How it signs.
    pub algorithm: JwtAlgorithm,
    /// The shared secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// A file whose content is the shared secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
    /// A file with the public key in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key_file: Option<PathBuf>,
}

/// One API key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// The SHA-256 of the key, in hexadecimal.
    pub sha256: String,
    /// Who shows it.
    pub user: String,
    /// A name for others to read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it may do.
    #[serde(default)]
    pub permissions: Vec<String>,
}

/// `[authentication]`, checked. Files are not read yet: that is for the engine's start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthenticationSettings {
    /// Who verifies.
    pub method: AuthenticationMethod,
    /// Whether nobody in particular is refused.
    pub required: bool,
    /// For a verdict, and for a first message.
    pub timeout_ms: u64,
    /// Before expiry.
    pub expiry_warning_ms: u64,
    /// After expiry.
    pub expiry_grace_ms: u64,
    /// Whether the first message may carry the token.
    pub first_frame: bool,
    /// Header of API keys.
    pub header: String,
    /// Cookie with the token.
    pub cookie: Option<String>,
    /// Name in the query with the token.
    pub query: Option<String>,
    /// Threads that verify.
    pub threads: usize,
}

/// Who verifies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthenticationMethod {
    /// Nobody, unless the embedding program brings a verifier.
    Unset,
    /// Nobody.
    None,
    /// The verifier of JSON Web Tokens.
    Jwt(JwtSettings),
    /// The verifier of API keys.
    ApiKey(Vec<ApiKeySettings>),
    /// The verifier of the embedding program.
    Custom,
}

/// JSON Web Tokens, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtSettings {
    /// Keys, each with its own `kid` or, one at most, none.
    pub keys: Vec<JwtKeySettings>,
    /// More keys.
    pub jwks_file: Option<PathBuf>,
    /// Of keys in `jwks_file` that do not say theirs.
    pub algorithm: JwtAlgorithm,
    /// Empty: any.
    pub issuers: Vec<String>,
    /// Empty: tokens without audience only.
    pub audiences: Vec<String>,
    /// At most 5 seconds.
    pub leeway_s: u64,
    /// Whether `exp` must be there.
    pub require_expiry: bool,
    /// Claim with the user's id.
    pub user_claim: String,
    /// Claim with the user's name.
    pub name_claim: String,
    /// Claim with the permissions.
    pub permissions_claim: String,
}

/// One key, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtKeySettings {
    /// `kid`; none: of tokens that name no key.
    pub id: Option<String>,
    /// The only algorithm it is used with.
    pub algorithm: JwtAlgorithm,
    /// Where it is.
    pub material: KeyMaterial,
}

/// Where a key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyMaterial {
    /// Here.
    Secret(Secret),
    /// In a file, as it is.
    SecretFile(PathBuf),
    /// In a file, in PEM.
    PublicKeyFile(PathBuf),
}

/// One API key, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKeySettings {
    /// SHA-256 of the key.
    pub sha256: [u8; 32],
    /// Who shows it.
    pub user: String,
    /// A name for others to read.
    pub name: Option<String>,
    /// What it may do.
    pub permissions: Vec<String>,
}

impl Authentication {
    pub(in crate::config) fn check(&self, checker: &mut Checker) -> AuthenticationSettings {
        for (key, name) in [
            ("authentication.cookie", self.cookie.as_ref()),
            ("authentication.query", self.query.as_ref()),
            ("authentication.header", Some(&self.header)),
        ] {
            if let Some(name) = name
                && (name.is_empty() || !name.bytes().all(super::is_token_byte))
            {
                checker.refuse(key, format!("{name:?}"), format!("must be {NAME}"));
            }
        }
        for (key, claim) in [
            ("authentication.user_claim", &self.user_claim),
            ("authentication.name_claim", &self.name_claim),
            ("authentication.permissions_claim", &self.permissions_claim),
        ] {
            if claim.is_empty() {
                checker.refuse(key, "\"\"", "must not be empty".to_owned());
            }
        }
        self.check_belonging(checker);
        let method = match self.kind {
            None => AuthenticationMethod::Unset,
            Some(AuthenticationType::None) => AuthenticationMethod::None,
            Some(AuthenticationType::Custom) => AuthenticationMethod::Custom,
            Some(AuthenticationType::Jwt) => AuthenticationMethod::Jwt(self.check_jwt(checker)),
            Some(AuthenticationType::ApiKey) => {
                AuthenticationMethod::ApiKey(self.check_api_keys(checker))
            }
        };
        AuthenticationSettings {
            method,
            required: self.required,
            timeout_ms: checker.milliseconds(
                "authentication.timeout",
                self.timeout,
                &bounds::AUTHENTICATION_TIMEOUT,
            ),
            expiry_warning_ms: checker.milliseconds(
                "authentication.expiry_warning",
                self.expiry_warning,
                &bounds::EXPIRY,
            ),
            expiry_grace_ms: checker.milliseconds(
                "authentication.expiry_grace",
                self.expiry_grace,
                &bounds::EXPIRY,
            ),
            first_frame: self.first_frame,
            header: self.header.clone(),
            cookie: self.cookie.clone(),
            query: self.query.clone(),
            threads: checker.whole(
                "authentication.threads",
                self.threads,
                &bounds::VERIFIER_THREADS,
            ),
        }
    }

    /// A key of one type beside another type is a slip that leaves the door other than it was meant. Only `"none"` is meant beside
    /// anything: it switches off what is written.
    fn check_belonging(&self, checker: &mut Checker) {
        if self.kind == Some(AuthenticationType::None) {
            return;
        }
        let jwt = [
            ("authentication.secret", self.secret.is_some()),
            ("authentication.secret_file", self.secret_file.is_some()),
            (
                "authentication.public_key_file",
                self.public_key_file.is_some(),
            ),
            ("authentication.jwks_file", self.jwks_file.is_some()),
            ("authentication.keys", !self.keys.is_empty()),
            ("authentication.issuer", self.issuer.is_some()),
            ("authentication.audience", self.audience.is_some()),
            ("authentication.algorithm", self.algorithm.is_some()),
        ];
        let api_key = [("authentication.api_keys", !self.api_keys.is_empty())];
        for (keys, kind, word) in [
            (&jwt[..], AuthenticationType::Jwt, "jwt"),
            (&api_key[..], AuthenticationType::ApiKey, "api-key"),
        ] {
            if self.kind == Some(kind) {
                continue;
            }
            for (key, written) in keys {
                if *written {
                    checker.refuse_relation(
                        key,
                        &["authentication.type"],
                        "",
                        format!("belongs to type = \"{word}\", which is not chosen"),
                    );
                }
            }
        }
    }

    fn check_jwt(&self, checker: &mut Checker) -> JwtSettings {
        let algorithm = self.algorithm.unwrap_or(JwtAlgorithm::HS256);
        let mut keys = Vec::new();
        let own = [
            self.secret.clone().map(KeyMaterial::Secret),
            self.secret_file.clone().map(KeyMaterial::SecretFile),
            self.public_key_file.clone().map(KeyMaterial::PublicKeyFile),
        ];
        let own: Vec<KeyMaterial> = own.into_iter().flatten().collect();
        if own.len() > 1 {
            checker.refuse(
                "authentication.secret",
                "",
                "write only one of secret, secret_file and public_key_file; several keys are [[authentication.keys]]".to_owned(),
            );
        }
        for material in own {
            let key = match material {
                KeyMaterial::Secret(_) => "authentication.secret",
                KeyMaterial::SecretFile(_) => "authentication.secret_file",
                KeyMaterial::PublicKeyFile(_) => "authentication.public_key_file",
            };
            check_material(key, "", algorithm, &material, checker);
            keys.push(JwtKeySettings {
                id: None,
                algorithm,
                material,
            });
        }
        for (index, written) in self.keys.iter().enumerate() {
            const KEY: &str = "authentication.keys";
            let place = format!("id = {:?}", written.id);
            if written.id.is_empty()
                || self.keys[..index]
                    .iter()
                    .any(|other| other.id == written.id)
            {
                checker.refuse(KEY, &place, "every key has an id of its own".to_owned());
            }
            let given = [
                written.secret.clone().map(KeyMaterial::Secret),
                written.secret_file.clone().map(KeyMaterial::SecretFile),
                written
                    .public_key_file
                    .clone()
                    .map(KeyMaterial::PublicKeyFile),
            ];
            let mut given = given.into_iter().flatten();
            match (given.next(), given.next()) {
                (Some(material), None) => {
                    check_material(KEY, &place, written.algorithm, &material, checker);
                    keys.push(JwtKeySettings {
                        id: Some(written.id.clone()),
                        algorithm: written.algorithm,
                        material,
                    });
                }
                _ => checker.refuse(
                    KEY,
                    &place,
                    "a key has exactly one of secret, secret_file and public_key_file".to_owned(),
                ),
            }
        }
        if keys.is_empty() && self.keys.is_empty() && self.jwks_file.is_none() {
            checker.refuse(
                "authentication.type",
                "\"jwt\"",
                "needs a key: secret, secret_file, public_key_file, jwks_file or [[authentication.keys]]".to_owned(),
            );
        }
        let texts = |texts: &Option<Texts>| match texts {
            Some(texts) => texts.as_slice().to_vec(),
            None => Vec::new(),
        };
        for (key, list) in [
            ("authentication.issuer", &self.issuer),
            ("authentication.audience", &self.audience),
        ] {
            if list
                .as_ref()
                .is_some_and(|list| list.as_slice().iter().all(String::is_empty))
            {
                checker.refuse(key, "", "must not be empty".to_owned());
            }
        }
        JwtSettings {
            keys,
            jwks_file: self.jwks_file.clone(),
            algorithm,
            issuers: texts(&self.issuer),
            audiences: texts(&self.audience),
            leeway_s: checker
                .duration("authentication.leeway", self.leeway, &bounds::LEEWAY)
                .as_secs(),
            require_expiry: self.require_expiry,
            user_claim: self.user_claim.clone(),
            name_claim: self.name_claim.clone(),
            permissions_claim: self.permissions_claim.clone(),
        }
    }

    fn check_api_keys(&self, checker: &mut Checker) -> Vec<ApiKeySettings> {
        const KEY: &str = "authentication.api_keys";
        if self.api_keys.is_empty() {
            checker.refuse(
                "authentication.type",
                "\"api-key\"",
                "needs keys: [[authentication.api_keys]]".to_owned(),
            );
        }
        if self.api_keys.len() > bounds::API_KEYS {
            checker.refuse(
                KEY,
                format!("{} keys", self.api_keys.len()),
                format!(
                    "at most {} keys are allowed: every one is compared at every connect",
                    bounds::API_KEYS
                ),
            );
        }
        let mut keys: Vec<ApiKeySettings> = Vec::with_capacity(self.api_keys.len());
        for written in &self.api_keys {
            let place = format!("user = {:?}", written.user);
            if !shardwire_shards::vocabulary::is_valid_user(&written.user) {
                checker.refuse(
                    KEY,
                    &place,
                    "a user is 1 to 128 bytes without control characters".to_owned(),
                );
            }
            let Some(sha256) = digest(&written.sha256) else {
                checker.refuse(
                    KEY,
                    &place,
                    "sha256 is 64 hexadecimal digits: printf %s \"$KEY\" | sha256sum".to_owned(),
                );
                continue;
            };
            if keys.iter().any(|key| key.sha256 == sha256) {
                checker.refuse(KEY, &place, "the same key stands here twice".to_owned());
            }
            keys.push(ApiKeySettings {
                sha256,
                user: written.user.clone(),
                name: written.name.clone(),
                permissions: written.permissions.clone(),
            });
        }
        keys
    }
}

/// Whether a key of this kind can sign this way, and is long enough where that can be seen already.
fn check_material(
    key: &'static str,
    place: &str,
    algorithm: JwtAlgorithm,
    material: &KeyMaterial,
    checker: &mut Checker,
) {
    let found = |otherwise: &str| {
        if place.is_empty() {
            otherwise.to_owned()
        } else {
            place.to_owned()
        }
    };
    match (material, algorithm.least_secret()) {
        (KeyMaterial::Secret(secret), Some(least)) if secret.expose().len() < least => {
            checker.refuse(
                key,
                found(HIDDEN),
                format!(
                    "a secret for {algorithm} has at least {least} bytes, this one has {}",
                    secret.expose().len()
                ),
            );
        }
        (KeyMaterial::Secret(_) | KeyMaterial::SecretFile(_), None) => {
            checker.refuse(
                key,
                found(""),
                format!("{algorithm} signs with a private key: a public_key_file is needed here"),
            );
        }
        (KeyMaterial::PublicKeyFile(_), Some(_)) => {
            checker.refuse(
                key,
                found(""),
                format!(
                    "{algorithm} signs with a shared secret: a secret or secret_file is needed here"
                ),
            );
        }
        _ => {}
    }
}

fn digest(hex: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, digits) in digest.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests;
