//! SIGHUP and `config print`, through the program: what can change does, what cannot is told, a bad file changes nothing.
#![allow(clippy::unwrap_used)]

#[path = "support/http.rs"]
mod http;
#[path = "support/program.rs"]
mod program;
mod support;

use std::net::TcpStream;
use std::process::Command;

use http::Admin;
use program::Program;
use serde_json::json;
use support::{Client, eventually};

const OLD: &str = "correct-horse-battery-staple";
const NEW: &str = "a-new-key-for-the-operators";

fn file(name: &str, text: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn sighup_takes_over_what_can_change_and_tells_what_cannot() {
    let config = |rest: &str| format!("[log]\nlevel = \"info\"\n[shards]\ncount = 1\n{rest}");
    let path = file(
        "reload.toml",
        &config(&format!(
            "[admin]\naddress = \"127.0.0.1:0\"\nkey = \"{OLD}\"\n"
        )),
    );
    let mut program =
        Program::start_with(&[("ADMIN__ADDRESS", "127.0.0.1:0")], &["--config", &path]);
    let admin = |key: &str| Admin {
        address: program.admin.unwrap(),
        key: Some(key.to_owned()),
    };
    let client = || Client::over(TcpStream::connect(program.address).unwrap(), "/ws?user=ann");
    let (mut first, _second) = (client(), client());
    assert_eq!(admin(OLD).ask("/v1/shards")["connections"], 2);

    let new = config(&format!(
        "pin = false\n[admin]\nkey = \"{NEW}\"\n[connections]\nmax_connections_per_user = 2\nmax_channels = 1\n[shutdown]\ndrain_window = \"0s\"\n"
    ))
    .replace("count = 1", "count = 3");
    file("reload.toml", &new);
    program.signal("HUP");
    eventually("the new key opens", || {
        admin(NEW).get("/v1/shards").status == 200
    });
    assert_eq!(admin(OLD).get("/v1/shards").status, 401);
    assert_eq!(
        admin(NEW).ask("/v1/shards")["shards"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    eventually("it is told", || {
        program.said().contains("configuration read again")
    });
    let said = program.said();
    assert!(
        said.contains("shards.count") && said.contains("shards.pin"),
        "{said}"
    );
    assert!(said.contains("admin.key, connections.max_channels, connections.max_connections_per_user, shutdown.drain_window"), "{said}");
    assert!(
        !said.contains(NEW) && !said.contains(OLD),
        "a secret is in the log:\n{said}"
    );
    let (code, _) = client().read_close();
    assert_eq!(code, 4101, "the third of this user");
    first.subscribe("one");
    assert_eq!(
        first.ask(&json!({"type": "subscribe", "channel": "two"}))["error"],
        "Too many channels"
    );

    file(
        "reload.toml",
        &format!(
            "{}[connections]\nmax_channels = 0\n",
            config(&format!("[admin]\nkey = \"{OLD}\"\n"))
        ),
    );
    program.signal("HUP");
    eventually("the fault is told", || {
        program
            .said()
            .contains("the old configuration stays in force")
    });
    assert!(
        program.said().contains("connections.max_channels = 0"),
        "{}",
        program.said()
    );
    assert_eq!(
        admin(NEW).get("/v1/shards").status,
        200,
        "nothing of a bad file is taken over"
    );

    let quiet = new.replace("\"info\"", "\"off\"");
    file("reload.toml", &quiet);
    program.signal("HUP");
    eventually("the log falls silent", || {
        let before = program.said().len();
        program.signal("HUP");
        std::thread::sleep(std::time::Duration::from_millis(200));
        program.said().len() == before
    });
    program.signal("TERM");
    assert_eq!(program.wait(), 0);
}

#[test]
fn the_configuration_in_force_is_printed_without_secrets() {
    let path = file(
        "print.toml",
        "[shards]\ncount = 2\n[shutdown]\ndrain_timeout = \"8s\"\n",
    );
    let printed = Command::new(env!("CARGO_BIN_EXE_shardwire"))
        .args([
            "--config",
            &path,
            "config",
            "print",
            "--set",
            "log.format=json",
        ])
        .env("SHARDWIRE_ADMIN__KEY", OLD)
        .output()
        .unwrap();
    assert!(printed.status.success());
    let text = String::from_utf8(printed.stdout).unwrap();
    for line in [
        format!("count = 2  # {path}:2:9"),
        "format = \"json\"  # option --set".to_owned(),
        "drain_window = \"4s\"  # default".to_owned(),
        "# key = (hidden)  # environment variable SHARDWIRE_ADMIN__KEY".to_owned(),
    ] {
        assert!(
            text.lines().any(|printed| printed == line),
            "{line}\n{text}"
        );
    }
    assert!(!text.contains(OLD));
    // It is a configuration itself.
    let again = file("printed.toml", &text);
    let checked = Command::new(env!("CARGO_BIN_EXE_shardwire"))
        .args(["--config", &again, "check-config"])
        .output()
        .unwrap();
    assert!(
        checked.status.success(),
        "{}",
        String::from_utf8_lossy(&checked.stderr)
    );
}
