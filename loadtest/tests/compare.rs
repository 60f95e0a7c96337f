//! `loadtest compare` as far as it goes without peers: what it offers, and what it refuses before anything is started.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::process::{Command, Output};

fn compare(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .arg("compare")
        .args(arguments)
        .output()
        .unwrap()
}

fn refusal(arguments: &[&str]) -> String {
    let output = compare(arguments);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn everybody_and_everything_is_listed() {
    let output = compare(&["--list"]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    for name in ["shardwire", "bun", "nchan", "echo-64-1000", "churn"] {
        assert!(text.contains(name), "{name}: {text}");
    }
}

#[test]
fn unknown_names_are_told() {
    assert!(refusal(&["--peers", "nobody"]).contains("no peer \"nobody\""));
    assert!(refusal(&["--cases", "nothing"]).contains("no case \"nothing\""));
}

#[test]
fn a_peer_that_is_not_installed_names_the_way_out() {
    let nowhere = std::env::temp_dir().join(format!("compare-{}", std::process::id()));
    fs::create_dir_all(&nowhere).unwrap();
    let root = nowhere.display().to_string();
    let told = refusal(&["--root", &root, "--output", &root]);
    assert!(
        told.contains("shardwire is not there") && told.contains("loadtest/peers/install"),
        "{told}"
    );
    fs::remove_dir_all(&nowhere).unwrap();
}
