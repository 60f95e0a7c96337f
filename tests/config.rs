//! The configuration as an operator meets it: through the binary. Goal: one round of mending is enough, and a service manager sees by
//! the exit code that a restart does not help. Method: run `check-config` on texts, variables and options, right and wrong.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::process::Command;

/// What the program said and how it ended.
struct Outcome {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Outcome {
    /// The lines that tell a fault.
    fn faults(&self) -> Vec<&str> {
        self.stderr
            .lines()
            .filter_map(|line| line.strip_prefix("error: "))
            .collect()
    }
}

/// Runs the binary with these arguments, and of our variables only these.
fn shardwire(arguments: &[&str], variables: &[(&str, &str)]) -> Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shardwire"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SHARDWIRE_") {
            command.env_remove(name);
        }
    }
    let output = command
        .args(arguments)
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    Outcome {
        code: output.status.code().expect("the program ends by itself"),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A configuration file that lives as long as this.
struct ConfigFile(PathBuf);

impl ConfigFile {
    fn new(name: &str, text: impl AsRef<[u8]>) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for ConfigFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// `check-config` on a file of this text, which must name the file in every fault.
fn check_file(name: &str, text: impl AsRef<[u8]>) -> Outcome {
    let file = ConfigFile::new(name, text);
    let outcome = shardwire(&["check-config", "--config", file.path()], &[]);
    for fault in outcome.faults() {
        assert!(fault.starts_with(file.path()), "{fault}");
    }
    outcome
}

#[test]
fn contract_m19_no_configuration_is_valid_and_says_what_it_means() {
    let outcome = shardwire(&["check-config"], &[]);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    assert!(
        outcome.stdout.starts_with("configuration is valid\n"),
        "{}",
        outcome.stdout
    );
    assert!(
        outcome
            .stdout
            .contains("note: listening on loopback only: the limits"),
        "{}",
        outcome.stdout
    );
    assert!(
        outcome.stdout.contains("the open-file limit of "),
        "{}",
        outcome.stdout
    );
}

#[test]
fn a_public_address_keeps_the_limits() {
    let outcome = shardwire(&["check-config", "--listen", "0.0.0.0:8080"], &[]);
    assert_eq!(outcome.code, 0);
    assert!(!outcome.stdout.contains("loopback"), "{}", outcome.stdout);
}

#[test]
fn three_faults_are_told_in_one_round() {
    let outcome = check_file(
        "three.toml",
        "[shards]\ncount = 0\nplacment = \"accept\"\n\n[connections]\nconnection_timeout = 30\n",
    );
    assert_eq!((outcome.code, outcome.stdout.as_str()), (78, ""));
    let faults = outcome.faults();
    assert_eq!(faults.len(), 3, "{}", outcome.stderr);
    assert!(
        faults[0].ends_with(":2:9: shards.count = 0: must be a whole number from 1 to 256"),
        "{}",
        faults[0]
    );
    assert!(
        faults[1].contains(":3:12: shards.placment")
            && faults[1].contains("did you mean shards.placement?"),
        "{}",
        faults[1]
    );
    assert!(
        faults[2].contains(":6:22: connections.connection_timeout = 30: ")
            && faults[2].contains("\"30s\""),
        "{}",
        faults[2]
    );
}

#[test]
fn faults_of_file_environment_and_options_are_told_together() {
    let file = ConfigFile::new("together.toml", "[shards]\npin = 1\n");
    let outcome = shardwire(
        &[
            "check-config",
            "--config",
            file.path(),
            "--set",
            "log.level=loud",
            "--listen",
            "localhost:80",
        ],
        &[
            ("SHARDWIRE_CONNECTIONS__MAX_MESSAGE_SIZE", "1GiB"),
            ("SHARDWIRE_SHARDS_COUNT", "2"),
        ],
    );
    assert_eq!(outcome.code, 78);
    let starts = [
        format!("{}:2:7: shards.pin = 1: ", file.path()),
        "environment variable SHARDWIRE_CONNECTIONS__MAX_MESSAGE_SIZE: connections.max_message_size = \"1GiB\": ".to_owned(),
        "environment variable SHARDWIRE_SHARDS_COUNT: there is no such key; did you mean SHARDWIRE_SHARDS__COUNT?".to_owned(),
        "option --listen: listen.address = \"localhost:80\": ".to_owned(),
        "option --set: log.level = \"loud\": ".to_owned(),
    ];
    let faults = outcome.faults();
    assert_eq!(faults.len(), starts.len(), "{}", outcome.stderr);
    for (fault, start) in faults.iter().zip(&starts) {
        assert!(fault.starts_with(start.as_str()), "{fault}\n{start}");
    }
}

#[test]
fn options_go_before_the_environment_and_it_before_the_file() {
    let shares = |outcome: &Outcome| {
        outcome
            .stdout
            .lines()
            .find(|line| line.contains(" shards share "))
            .map(str::to_owned)
    };
    let file = ConfigFile::new("layers.toml", "shards.count = 250");
    let variable = [("SHARDWIRE_SHARDS__COUNT", "251")];
    let of_file = shardwire(&["check-config", "--config", file.path()], &[]);
    assert!(
        shares(&of_file).unwrap().contains("250 shards"),
        "{}",
        of_file.stdout
    );
    let of_variable = shardwire(&["check-config", "--config", file.path()], &variable);
    assert!(
        shares(&of_variable).unwrap().contains("251 shards"),
        "{}",
        of_variable.stdout
    );
    let of_option = shardwire(
        &[
            "--set",
            "shards.count=252",
            "check-config",
            "--config",
            file.path(),
        ],
        &variable,
    );
    assert!(
        shares(&of_option).unwrap().contains("252 shards"),
        "{}",
        of_option.stdout
    );
}

#[test]
fn every_broken_file_is_refused_with_its_place() {
    let broken: [&[u8]; 25] = [
        b"[shards",
        b"shards = ",
        b"shards.count = 1\nshards.count = 2",
        b"shards.count = 1 2",
        b"= 1",
        b"[listen]\naddress = \"127.0.0.1:80",
        b"[listen]\naddress = '''",
        b"\xff\xfe",
        b"[log]\nlevel = info",
        b"nothing = 1",
        b"[shards]\ncount = 257",
        b"[shards]\ncount = \"two\"",
        b"[shards]\nplacement = \"random\"",
        b"[listen]\naddress = \"8080\"",
        b"[listen]\naddress = \"example.org:80\"",
        b"[listen]\nbacklog = 0",
        b"[connections]\nmax_connections = 0",
        b"[connections]\nmax_connections_per_ip = 0",
        b"[connections]\nheartbeat_interval = \"1ms\"",
        b"[connections]\nheartbeat_timeout = \"31s\"",
        b"[connections]\nmax_message_size = \"124B\"",
        b"[connections]\noutbox_hard_limit = \"300KiB\"",
        b"[connections]\nprotocols = [\"a b\"]",
        b"[shutdown]\ndrain_timeout = \"forever\"",
        b"[echo]\nenabled = \"yes\"",
    ];
    for (index, text) in broken.iter().enumerate() {
        let outcome = check_file(&format!("broken-{index}.toml"), text);
        let text = String::from_utf8_lossy(text);
        assert_eq!(
            (outcome.code, outcome.stdout.as_str()),
            (78, ""),
            "{text}\n{}",
            outcome.stderr
        );
        assert_eq!(outcome.faults().len(), 1, "{text}\n{}", outcome.stderr);
        assert_eq!(
            outcome.stderr.lines().count(),
            1,
            "one line per fault: {}",
            outcome.stderr
        );
    }
}

#[test]
fn the_server_does_not_start_with_a_fault() {
    for arguments in [
        ["--set", "shards.count=0"].as_slice(),
        &["serve", "--set", "shards.count=0"],
    ] {
        let outcome = shardwire(arguments, &[]);
        assert_eq!(
            (outcome.code, outcome.stdout.as_str()),
            (78, ""),
            "{}",
            outcome.stderr
        );
        assert_eq!(
            outcome.faults(),
            ["option --set: shards.count = 0: must be a whole number from 1 to 256"]
        );
    }
    let outcome = shardwire(
        &["--listen", "127.0.0.1:0"],
        &[("RUST_LOG", "shardwire=loud")],
    );
    assert_eq!(outcome.code, 78);
    assert!(
        outcome.faults()[0].starts_with("environment variable RUST_LOG = \"shardwire=loud\": "),
        "{}",
        outcome.stderr
    );
}

#[test]
fn a_missing_file_is_named() {
    let outcome = shardwire(
        &["check-config", "--config", "/nonexistent/shardwire.toml"],
        &[],
    );
    assert_eq!(outcome.code, 78);
    assert!(
        outcome.faults()[0].starts_with("/nonexistent/shardwire.toml: cannot read this file: "),
        "{}",
        outcome.stderr
    );
}

#[test]
fn the_command_line_is_answered_by_its_own_codes() {
    for (arguments, code) in [
        (["--version"].as_slice(), 0),
        (&["--help"], 0),
        (&["frobnicate"], 64),
        (&["check-config", "--set", "shards.count"], 64),
        (&["check-config", "--unknown"], 64),
    ] {
        let outcome = shardwire(arguments, &[]);
        assert_eq!(outcome.code, code, "{arguments:?}: {}", outcome.stderr);
        assert_eq!(
            outcome.stdout.is_empty(),
            code != 0,
            "{arguments:?}: {}",
            outcome.stdout
        );
    }
    assert!(
        shardwire(&["--version"], &[])
            .stdout
            .starts_with("shardwire ")
    );
}

#[test]
fn a_certificate_is_tried_before_the_start_and_every_fault_told() {
    let made = |name: &str| rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let (one, other) = (made("one"), made("other"));
    let certificate = ConfigFile::new("tls-chain.pem", one.cert.pem());
    let key = ConfigFile::new("tls-key.pem", one.signing_key.serialize_pem());
    let wrong = ConfigFile::new("tls-wrong.pem", other.signing_key.serialize_pem());
    let text = |certificate: &str, key: &str| {
        format!("[listen.tls]\ncertificate = {certificate:?}\nkey = {key:?}\n")
    };
    let good = check_file("tls-good.toml", text(certificate.path(), key.path()));
    assert_eq!((good.code, good.stderr.as_str()), (0, ""));

    for (name, certificate, key, faults) in [
        (
            "mismatch",
            certificate.path(),
            wrong.path(),
            &[(3, "listen.tls.key", "does not belong to")][..],
        ),
        (
            "missing",
            "/nonexistent/chain.pem",
            "/nonexistent/key.pem",
            &[
                (
                    2,
                    "listen.tls.certificate",
                    "cannot be read (No such file or directory",
                ),
                (
                    3,
                    "listen.tls.key",
                    "cannot be read (No such file or directory",
                ),
            ],
        ),
        (
            "exchanged",
            key.path(),
            certificate.path(),
            &[
                (2, "listen.tls.certificate", "are the two files exchanged?"),
                (3, "listen.tls.key", "are the two files exchanged?"),
            ],
        ),
    ] {
        // Beside a fault of another kind: one round of mending is enough.
        let text = text(certificate, key) + "[shards]\ncount = 0\n";
        let outcome = check_file(&format!("tls-{name}.toml"), &text);
        assert_eq!(
            (outcome.code, outcome.stdout.as_str()),
            (78, ""),
            "{}",
            outcome.stderr
        );
        let told = outcome.faults();
        assert_eq!(told.len(), faults.len() + 1, "{}", outcome.stderr);
        for (told, (line, path, words)) in told.iter().zip(faults) {
            let file = if *path == "listen.tls.key" {
                key
            } else {
                certificate
            };
            assert!(
                told.contains(&format!(":{line}:")) && told.contains(&format!("{path} = {file:?}")),
                "{told}"
            );
            assert!(told.contains(words), "{told}");
        }
        // The server does not start either.
        let config = ConfigFile::new(&format!("tls-serve-{name}.toml"), text);
        assert_eq!(shardwire(&["--config", config.path()], &[]).code, 78);
    }
    let half = shardwire(&["--set", &format!("listen.tls.key={}", key.path())], &[]);
    assert_eq!(half.code, 78);
    assert!(
        half.faults()[0].contains("set listen.tls.certificate"),
        "{}",
        half.stderr
    );
}

#[test]
fn keys_of_authentication_are_tried_before_the_start_and_every_fault_told() {
    let short = ConfigFile::new("auth-short", "open sesame");
    let set = ConfigFile::new("auth-set.json", "{}");
    let text = format!(
        "[authentication]\ntype = \"jwt\"\njwks_file = {:?}\n\
         [[authentication.keys]]\nid = \"a\"\nalgorithm = \"HS256\"\nsecret_file = {:?}\n\
         [[authentication.keys]]\nid = \"b\"\nalgorithm = \"HS256\"\nsecret_file = \"/nonexistent/secret\"\n[shards]\ncount = 0\n",
        set.path(),
        short.path()
    );
    let outcome = check_file("auth.toml", &text);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (78, ""));
    let told = outcome.faults();
    for (line, key, words) in [
        (3, "authentication.jwks_file", "is no JSON Web Key Set"),
        (4, "authentication.keys", "needs at least 32"),
        (
            4,
            "authentication.keys = \"/nonexistent/secret\"",
            "cannot be read (No such file",
        ),
    ] {
        let fits = |fault: &&str| {
            fault.contains(&format!(":{line}:")) && fault.contains(key) && fault.contains(words)
        };
        assert_eq!(
            told.iter().copied().filter(fits).count(),
            1,
            "{key} {words}: {}",
            outcome.stderr
        );
    }
    assert_eq!(told.len(), 4, "{}", outcome.stderr);
    assert!(!outcome.stderr.contains("sesame"));
}

#[test]
fn a_public_address_without_tls_is_noted() {
    let outcome = shardwire(&["check-config", "--listen", "0.0.0.0:8080"], &[]);
    assert!(
        outcome
            .stdout
            .contains("note: listening on 0.0.0.0:8080 without TLS"),
        "{}",
        outcome.stdout
    );
}
