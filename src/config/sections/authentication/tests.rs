#![allow(clippy::unwrap_used)]

use super::*;
use crate::config::{Config, Environment, Layers, Settings};

const MACHINE: Environment = Environment {
    cores: 2,
    open_file_limit: 10_000,
};

fn check(text: &str) -> Result<Settings, String> {
    // Without trying the files that are named.
    let config = Layers::new().toml("s", text).config();
    config
        .and_then(|config| config.check(&MACHINE))
        .map_err(|faults| faults.to_string())
}

fn jwt(text: &str) -> Result<JwtSettings, String> {
    let settings = check(&format!("[authentication]\ntype = \"jwt\"\n{text}"))?;
    match settings.authentication.method {
        AuthenticationMethod::Jwt(jwt) => Ok(jwt),
        other => panic!("{other:?}"),
    }
}

const SECRET: &str = "0123456789abcdef0123456789abcdef";

#[test]
fn contract_m5_d11_the_boolean_is_the_short_form() {
    let method = |text| check(text).unwrap().authentication.method;
    assert_eq!(method(""), AuthenticationMethod::Unset);
    assert_eq!(method("authentication = false"), AuthenticationMethod::None);
    assert_eq!(
        method("authentication = true"),
        AuthenticationMethod::Custom
    );
    assert_eq!(
        method("[authentication]\ntype = \"custom\""),
        AuthenticationMethod::Custom
    );
    let with = |value: &str| {
        let name = "SHARDWIRE_AUTHENTICATION".into();
        let loaded = Layers::new()
            .toml("s", "authentication = true")
            .variables([(name, value.into())])
            .load(&MACHINE);
        loaded.map(|loaded| loaded.settings.authentication.method)
    };
    assert_eq!(with("false").unwrap(), AuthenticationMethod::None);
    assert!(
        with("maybe")
            .unwrap_err()
            .to_string()
            .contains("true or false")
    );
    let option = Layers::new()
        .option("--set", "authentication", "true")
        .load(&MACHINE);
    assert_eq!(
        option.unwrap().settings.authentication.method,
        AuthenticationMethod::Custom
    );
    let faults = check("authentication = 5").unwrap_err();
    assert!(faults.contains("s:1:18"), "{faults}");
}

#[test]
fn contract_m6_m7_the_defaults() {
    let settings = check("").unwrap().authentication;
    assert!(settings.required && settings.first_frame);
    assert_eq!(settings.timeout_ms, 5_000);
    assert_eq!(
        (settings.cookie, settings.query, settings.header.as_str()),
        (None, None, "X-API-Key")
    );
}

#[test]
fn contract_m9_the_documents_own_example() {
    let settings = jwt(&format!(
        "secret = \"{SECRET}\"\nalgorithm = \"HS256\"\nissuer = \"your-app\"\naudience = \"websocket\""
    ))
    .unwrap();
    assert_eq!(
        settings.keys,
        [JwtKeySettings {
            id: None,
            algorithm: JwtAlgorithm::HS256,
            material: KeyMaterial::Secret(Secret::new(SECRET))
        }]
    );
    assert_eq!(settings.issuers, ["your-app"]);
    assert_eq!(settings.audiences, ["websocket"]);
    assert_eq!((settings.leeway_s, settings.require_expiry), (5, true));
    assert_eq!(settings.user_claim, "sub");
}

#[test]
fn keys_are_pinned_to_an_algorithm_they_can_sign_with() {
    let settings = jwt(&format!(
        "[[authentication.keys]]\nid = \"a\"\nalgorithm = \"HS256\"\nsecret = \"{SECRET}\"\n\
         [[authentication.keys]]\nid = \"b\"\nalgorithm = \"ES256\"\npublic_key_file = \"b.pem\""
    ))
    .unwrap();
    assert_eq!(settings.keys.len(), 2);
    for (text, told) in [
        ("", "needs a key"),
        ("secret = \"short\"", "at least 32 bytes, this one has 5"),
        (
            "algorithm = \"HS512\"\nsecret = \"0123456789abcdef0123456789abcdef\"",
            "at least 64 bytes",
        ),
        (
            "algorithm = \"RS256\"\nsecret = \"0123456789abcdef0123456789abcdef\"",
            "signs with a private key",
        ),
        ("public_key_file = \"k.pem\"", "signs with a shared secret"),
        (
            "secret = \"0123456789abcdef0123456789abcdef\"\nsecret_file = \"k\"",
            "only one of",
        ),
        ("algorithm = \"none\"", "must be \"HS256\""),
        (
            "[[authentication.keys]]\nid = \"a\"\nalgorithm = \"HS256\"",
            "exactly one of",
        ),
        ("jwks_file = \"k\"\nleeway = \"6s\"", "from 0s to 5s"),
        ("jwks_file = \"k\"\nissuer = []", "must not be empty"),
        ("jwks_file = \"k\"\nuser_claim = \"\"", "must not be empty"),
    ] {
        let faults = jwt(text).unwrap_err();
        assert!(faults.contains(told), "{text}: {faults}");
    }
}

#[test]
fn contract_m10_api_keys_are_digests() {
    let key = |digest: &str| {
        format!(
            "[authentication]\ntype = \"api-key\"\n[[authentication.api_keys]]\nsha256 = \"{digest}\"\nuser = \"svc\"\npermissions = [\"p\"]"
        )
    };
    let settings = check(&key(&"0A".repeat(32))).unwrap();
    assert_eq!(
        settings.authentication.method,
        AuthenticationMethod::ApiKey(vec![ApiKeySettings {
            sha256: [10; 32],
            user: "svc".to_owned(),
            name: None,
            permissions: vec!["p".to_owned()]
        }])
    );
    for digest in ["", "00", &"zz".repeat(32), "the key itself"] {
        assert!(
            check(&key(digest))
                .unwrap_err()
                .contains("64 hexadecimal digits")
        );
    }
    let faults = check("[authentication]\ntype = \"api-key\"").unwrap_err();
    assert!(faults.contains("needs keys"), "{faults}");
}

#[test]
fn what_belongs_to_another_type_is_a_fault() {
    for (text, told) in [
        ("issuer = \"a\"", "type = \"jwt\""),
        (
            "type = \"custom\"\n[[authentication.api_keys]]\nsha256 = \"\"\nuser = \"a\"",
            "type = \"api-key\"",
        ),
    ] {
        let faults = check(&format!("[authentication]\n{text}")).unwrap_err();
        assert!(faults.contains(told), "{text}: {faults}");
    }
    // Switching off what is written is meant.
    let off = check("[authentication]\ntype = \"none\"\njwks_file = \"a\"").unwrap();
    assert_eq!(off.authentication.method, AuthenticationMethod::None);
}

#[test]
fn a_secret_is_in_no_fault_and_in_no_dump() {
    const OPEN: &str = "open-sesame-open-sesame";
    for text in [
        // Too short, mistyped, misspelt, in the wrong place, beside the wrong type.
        format!("type = \"jwt\"\nsecret = \"{OPEN}\""),
        format!("type = \"jwt\"\nsecret = [\"{OPEN}\"]"),
        format!("type = \"jwt\"\nsecert = \"{OPEN}\""),
        format!("type = \"jwt\"\nkeys = \"{OPEN}\""),
        format!(
            "type = \"jwt\"\n[[authentication.keys]]\nid = \"a\"\nalgorithm = \"HS256\"\nsecret = \"{OPEN}\""
        ),
        format!(
            "type = \"jwt\"\n[[authentication.keys]]\nid = \"a\"\nalgoritm = \"HS256\"\nsecret = \"{OPEN}\""
        ),
        format!("type = \"custom\"\nsecret = \"{OPEN}\""),
    ] {
        let faults = check(&format!("[authentication]\n{text}")).unwrap_err();
        assert!(!faults.contains("sesame"), "{text}: {faults}");
    }
    for name in [
        "SHARDWIRE_AUTHENTICATION__SECRET",
        "SHARDWIRE_AUTHENTICATION__SECERT",
    ] {
        let faults = Layers::new()
            .variables([(name.into(), OPEN.into())])
            .load(&MACHINE)
            .unwrap_err();
        assert!(!faults.to_string().contains("sesame"), "{faults}");
    }
    let faults = Layers::new()
        .option("--set", "authentication.secert", OPEN)
        .option("--set", "authentication.secret", OPEN)
        .load(&MACHINE)
        .unwrap_err();
    assert!(!faults.to_string().contains("sesame"), "{faults}");
    let config = Config {
        authentication: Authentication {
            secret: Some(Secret::new(OPEN)),
            ..Authentication::default()
        },
        ..Config::default()
    };
    assert!(!format!("{config:?}").contains("sesame"));
    assert!(!toml::to_string(&config).unwrap().contains("sesame"));
}

#[test]
fn a_cookie_that_every_page_may_use_is_noted() {
    let noted = |text: &str| {
        let notes = check(text).unwrap().notes;
        notes.iter().any(|note| note.contains("listen.origins"))
    };
    let cookie = "[authentication]\ncookie = \"session\"";
    assert!(noted(cookie));
    assert!(!noted(&format!(
        "{cookie}\n[listen]\norigins = [\"https://app.example.org\"]"
    )));
    assert!(!noted(""));
}
