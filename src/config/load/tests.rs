//! Layers: what goes before what, and that all faults of all of them are told at once.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::config::{Limit, PlacementRule, TextDuration};

const MACHINE: Environment = Environment {
    cores: 2,
    open_file_limit: 20_000,
};

fn variables(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs
        .iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

/// The lines an operator would see for this file; empty when nothing is wrong.
fn faults_of(toml: &str) -> Vec<String> {
    lines(Layers::new().toml("s.toml", toml))
}

fn lines(layers: Layers) -> Vec<String> {
    match layers.load(&MACHINE) {
        Ok(_) => Vec::new(),
        Err(faults) => faults.to_string().lines().map(str::to_owned).collect(),
    }
}

#[test]
fn nothing_written_is_the_default() {
    let loaded = Layers::new().load(&MACHINE).unwrap();
    assert_eq!(loaded.config, Config::default());
    assert_eq!(loaded.settings, Config::default().check(&MACHINE).unwrap());
}

#[test]
fn what_the_defaults_write_out_reads_back() {
    let text = toml::to_string(&Config::default()).unwrap();
    assert_eq!(Config::from_toml(&text).unwrap(), Config::default());
}

#[test]
fn options_go_before_variables_and_variables_before_the_file() {
    let loaded = Layers::new()
        .toml("s.toml", "[shards]\ncount = 1\nplacement = \"accept\"\npin = false\n[connections]\nclose_timeout = \"1s\"")
        .variables(variables(&[("SHARDWIRE_SHARDS__COUNT", "2"), ("SHARDWIRE_SHARDS__PLACEMENT", "user-hash"), ("HOME", "/")]))
        .option("--set", "shards.count", "3")
        .option("--set", "shards.count", "4")
        .load(&MACHINE)
        .unwrap();
    assert_eq!(loaded.settings.shards.count, 4);
    assert_eq!(loaded.settings.shards.placement, PlacementRule::UserHash);
    assert!(!loaded.settings.shards.pin);
    assert_eq!(
        loaded.config.connections.close_timeout,
        TextDuration::from_secs(1)
    );
}

#[test]
fn every_kind_of_value_can_come_from_a_variable() {
    let loaded = Layers::new()
        .variables(variables(&[
            ("SHARDWIRE_LISTEN__ADDRESS", "[::]:9"),
            ("SHARDWIRE_CONNECTIONS__MAX_CONNECTIONS_PER_IP", "unlimited"),
            ("SHARDWIRE_CONNECTIONS__MAX_CONNECTIONS_PER_USER", "3"),
            ("SHARDWIRE_CONNECTIONS__PROTOCOLS", "chat,stream"),
            ("SHARDWIRE_CONNECTIONS__MAX_MESSAGE_SIZE", "1KiB"),
            ("SHARDWIRE_SHARDS__PIN", "true"),
        ]))
        .load(&MACHINE)
        .unwrap();
    assert_eq!(loaded.settings.listen.address.to_string(), "[::]:9");
    assert_eq!(
        loaded.config.connections.max_connections_per_ip,
        Some(Limit::Unlimited)
    );
    assert_eq!(loaded.settings.connections.max_connections_per_ip, None);
    assert_eq!(
        loaded.settings.connections.max_connections_per_user,
        Some(3)
    );
    assert_eq!(loaded.settings.connections.protocols, ["chat", "stream"]);
    assert_eq!(loaded.settings.connections.max_message_size, 1_024);
}

#[test]
fn a_list_may_be_written_as_in_the_file_and_nothing_else_in_brackets() {
    let channels = |text: &str| {
        let layers = Layers::new().option("--set", "presence.channels", text);
        layers.load(&MACHINE).map(|it| it.config.presence.channels)
    };
    for text in [r#"["room:*", "a,b"]"#, r#" [ "room:*", 'a,b', ] "#] {
        assert_eq!(channels(text).unwrap(), ["room:*", "a,b"], "{text}");
    }
    assert_eq!(channels("room:*, team:*").unwrap(), ["room:*", "team:*"]);
    assert!(channels("[]").unwrap().is_empty());
    // As a shell leaves it that has eaten the quotes; and more than a list.
    for text in ["[room:*]", "[1]", "[\"a\"]\nother = 1", "[\"a\"", "[[]]"] {
        let faults = channels(text).unwrap_err().to_string();
        assert!(faults.contains("presence.channels = "), "{text}: {faults}");
    }
}

#[test]
fn all_faults_of_all_layers_are_told_at_once() {
    let layers = Layers::new()
        .toml("s.toml", "[shards]\ncount = 0\ncuont = 1\npin = \"yes\"\n\n[connections]\nmax_message_size = \"64KB\"\n")
        .variables(variables(&[("SHARDWIRE_LISTEN__BACKLOG", "many"), ("SHARDWIRE_SHARDS_COUNT", "2")]))
        .option("--listen", "listen.address", "localhost:80")
        .option("--set", "shard.count", "2");
    assert_eq!(
        lines(layers),
        [
            "s.toml:2:9: shards.count = 0: must be a whole number from 1 to 256",
            "s.toml:3:9: shards.cuont = 1: there is no such key; did you mean shards.count?",
            "s.toml:4:7: shards.pin = \"yes\": must be true or false",
            "s.toml:7:20: connections.max_message_size = \"64KB\": must be a size from 125B to 64MiB (\"KB\" is not a unit: write \"64KiB\")",
            "environment variable SHARDWIRE_LISTEN__BACKLOG: listen.backlog = \"many\": must be a whole number from 1 to 65535",
            "environment variable SHARDWIRE_SHARDS_COUNT: there is no such key; did you mean SHARDWIRE_SHARDS__COUNT?",
            "option --listen: listen.address = \"localhost:80\": must be an IP address and a port, such as \"127.0.0.1:8080\" or \
             \"[::]:8080\" (names are not looked up: write \"127.0.0.1:80\")",
            "option --set: shard.count = \"2\": there is no such key; did you mean shards.count?",
        ]
    );
}

#[test]
fn a_text_that_is_not_toml_gives_every_syntax_error_with_its_place() {
    let faults = faults_of("[shards]\ncount = = 2\n\n[listen]\naddress = \"127.0.0.1:80\n");
    assert_eq!(faults.len(), 2, "{faults:#?}");
    assert!(
        faults[0].starts_with("s.toml:2:9: not TOML: "),
        "{faults:#?}"
    );
    assert!(faults[1].starts_with("s.toml:5:"), "{faults:#?}");
}

#[test]
fn a_broken_file_does_not_hide_what_is_wrong_elsewhere() {
    let layers = Layers::new()
        .toml("s.toml", "[shards\ncount = 2")
        .variables(variables(&[
            ("SHARDWIRE_SHARDS__COUNT", "1000"),
            ("SHARDWIRE_CONNECTIONS__OUTBOX_SOFT_LIMIT", "2MiB"),
        ]));
    let faults = lines(layers);
    assert!(faults[0].starts_with("s.toml:1:"), "{faults:#?}");
    // The hard limit may stand in the file, so nothing is said about how the soft one relates to it.
    assert_eq!(
        faults.last().unwrap(),
        "environment variable SHARDWIRE_SHARDS__COUNT: shards.count = 1000: must be a whole number from 1 to 256"
    );
    assert!(
        !faults.iter().any(|line| line.contains("outbox")),
        "{faults:#?}"
    );
}

#[test]
fn a_file_that_cannot_be_read_is_a_fault_like_any_other() {
    let layers =
        Layers::new()
            .file(Path::new("/nonexistent/s.toml"))
            .option("--set", "shards.count", "0");
    let faults = lines(layers);
    assert!(
        faults[0].starts_with("/nonexistent/s.toml: cannot read this file: "),
        "{faults:#?}"
    );
    assert_eq!(faults.len(), 2, "{faults:#?}");
}

#[test]
fn a_relation_is_told_where_one_of_its_keys_was_written() {
    assert_eq!(
        faults_of("[connections]\nheartbeat_timeout = \"40s\"\noutbox_soft_limit = \"1MiB\"\n"),
        [
            "s.toml:2:21: connections.heartbeat_timeout = \"40s\": must be at most heartbeat_interval (30s), so that only one ping is ever open",
            "s.toml:3:21: connections.outbox_hard_limit = \"1MiB\": must be at least outbox_soft_limit (1MiB) and max_message_size (64KiB) \
             together: 1088KiB",
        ]
    );
}

#[test]
fn a_relation_with_a_key_at_fault_is_not_told() {
    let faults =
        faults_of("[connections]\noutbox_soft_limit = \"2MiB\"\noutbox_hard_limit = \"3MB\"\n");
    assert_eq!(faults.len(), 1, "{faults:#?}");
    let faults = faults_of("[connections]\nheartbeat_timeout = \"2h\"\n");
    assert_eq!(
        faults,
        [
            "s.toml:2:21: connections.heartbeat_timeout = \"2h\": must be a duration from 100ms to 1h"
        ]
    );
}

#[test]
fn values_of_every_wrong_type_are_told_what_is_allowed() {
    for value in [
        "-1",
        "1.5",
        "true",
        "\"2\"",
        "[2]",
        "1979-05-27",
        "99999999999999999999",
    ] {
        let faults = faults_of(&format!("shards.count = {value}"));
        assert_eq!(faults.len(), 1, "{value}: {faults:#?}");
        assert_eq!(
            faults[0],
            format!("s.toml:1:16: shards.count = {value}: must be a whole number from 1 to 256")
        );
    }
    for (line, told) in [
        ("listen.address = 8080", "must be an IP address and a port"),
        (
            "shards.placement = \"random\"",
            "must be \"accept\", \"ip-hash\" or \"user-hash\"",
        ),
        (
            "shards.placement = 1",
            "must be \"accept\", \"ip-hash\" or \"user-hash\"",
        ),
        (
            "connections.max_connections_per_ip = \"none\"",
            "must be a whole number from 1 to 16777216, or \"unlimited\"",
        ),
        (
            "connections.max_connections_per_ip = 0",
            "must be a whole number from 1 to 16777216, or \"unlimited\"",
        ),
        (
            "connections.heartbeat_interval = 30",
            "a duration needs a unit, as text: \"30s\" or \"30ms\"",
        ),
        ("connections.protocols = \"chat\"", "must be a list"),
        ("connections.protocols = [\"chat\", 3]", "must be a list"),
        (
            "log.level = \"loud\"",
            "must be \"off\", \"error\", \"warn\", \"info\", \"debug\" or \"trace\"",
        ),
    ] {
        let faults = faults_of(line);
        assert!(
            faults.len() == 1 && faults[0].contains(told),
            "{line}: {faults:#?}"
        );
    }
}

#[test]
fn unknown_keys_are_told_what_was_meant_or_what_there_is() {
    for (text, told) in [
        (
            "max_connections = 5",
            "did you mean connections.max_connections?",
        ),
        (
            "[shard]\ncount = 1",
            "s.toml:1:2: shard: there is no such key; did you mean shards?",
        ),
        (
            "[tls]\ncertificate = 1",
            "the sections are admin, authentication, channels, chat, collaboration, compression, connections, echo, handlers, listen, log, notifications, page, permissions, presence, rates, shards, shutdown, storage, topics",
        ),
        ("[page]\nbackground = \"blue\"", "[page] has enabled"),
        (
            "shards = 3",
            "s.toml:1:10: shards = 3: is a section: write [shards] and below it its keys: count, ",
        ),
        ("[[shards]]\ncount = 1", "is a section"),
        (
            "\"shards.count\" = 3",
            "there is no such key; did you mean shards.count?",
        ),
        (
            "\"a\\nb\" = 3",
            "s.toml:1:10: a b = 3: there is no such key",
        ),
    ] {
        let faults = faults_of(text);
        assert!(
            faults.len() == 1 && faults[0].contains(told),
            "{text}: {faults:#?}"
        );
    }
}

#[test]
fn what_kubernetes_sets_for_a_service_of_our_name_is_no_key() {
    for name in [
        "SHARDWIRE_SERVICE_HOST",
        "SHARDWIRE_SERVICE_PORT",
        "SHARDWIRE_SERVICE_PORT_HTTP",
        "SHARDWIRE_PORT",
        "SHARDWIRE_PORT_8080_TCP",
        "SHARDWIRE_PORT_8080_TCP_ADDR",
        "SHARDWIRE_ADMIN_PORT_9090_UDP_PROTO",
    ] {
        assert_eq!(
            lines(Layers::new().variables(variables(&[(name, "tcp://10.0.0.1:8080")]))),
            Vec::<String>::new(),
            "{name}"
        );
    }
    for name in [
        "SHARDWIRE_LISTEN__PORT",
        "SHARDWIRE_TLS",
        "SHARDWIRE_",
        "SHARDWIRE_PORT_OF_CALL",
        "SHARDWIRE_shards__count",
    ] {
        let faults = lines(Layers::new().variables(variables(&[(name, "1")])));
        assert!(
            faults.len() == 1 && faults[0].contains("there is no such key"),
            "{name}: {faults:#?}"
        );
    }
}

#[test]
fn text_from_a_program_is_read_for_its_form_only() {
    assert_eq!(
        Config::from_toml("shards.count = 1000")
            .unwrap()
            .shards
            .count,
        Some(1_000)
    );
    let faults = Config::from_toml("shards.count = true").unwrap_err();
    assert_eq!(
        faults.to_string(),
        "configuration:1:16: shards.count = true: must be a whole number from 1 to 256"
    );
}
