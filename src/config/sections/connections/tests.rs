//! Limits that follow the machine or the address, and how keys relate.

#![allow(clippy::unwrap_used)]
use super::*;
use crate::config::{Faults, Shards};

fn check(
    connections: &Connections,
    on_loopback: bool,
    open_file_limit: u64,
) -> Result<(ConnectionSettings, Vec<String>), Faults> {
    check_with(
        DirectDescriptors::Auto,
        connections,
        on_loopback,
        open_file_limit,
    )
}

fn check_with(
    direct_descriptors: DirectDescriptors,
    connections: &Connections,
    on_loopback: bool,
    open_file_limit: u64,
) -> Result<(ConnectionSettings, Vec<String>), Faults> {
    let mut checker = Checker::default();
    let environment = Environment {
        cores: 2,
        open_file_limit,
    };
    let shards = Shards {
        direct_descriptors,
        ..Shards::default()
    };
    let shards = shards.check(&environment, &mut checker);
    let settings = connections.check(&shards, on_loopback, &environment, &mut checker);
    checker.finish().map(|notes| (settings, notes))
}

#[test]
fn limits_per_user_and_address_are_the_contracts_unless_only_this_machine_can_connect() {
    let (public, notes) = check(&Connections::default(), false, 20_000).unwrap();
    assert_eq!(
        (
            public.max_connections_per_user,
            public.max_connections_per_ip
        ),
        (Some(5), Some(10))
    );
    assert!(
        !notes.iter().any(|note| note.contains("loopback")),
        "{notes:?}"
    );

    let (loopback, notes) = check(&Connections::default(), true, 20_000).unwrap();
    assert_eq!(
        (
            loopback.max_connections_per_user,
            loopback.max_connections_per_ip
        ),
        (None, None)
    );
    assert!(
        notes
            .iter()
            .any(|note| note.contains("per IP address and per user are off")),
        "{notes:?}"
    );

    let written = Connections {
        max_connections_per_ip: Some(Limit::AtMost(3)),
        ..Connections::default()
    };
    let (loopback, notes) = check(&written, true, 20_000).unwrap();
    assert_eq!(
        (
            loopback.max_connections_per_user,
            loopback.max_connections_per_ip
        ),
        (None, Some(3))
    );
    assert!(
        notes
            .iter()
            .any(|note| note.contains("limit of connections per user is off")),
        "{notes:?}"
    );
}

#[test]
fn connections_follow_the_open_file_limit_less_what_the_engine_needs() {
    let (settings, notes) = check(&Connections::default(), true, 20_000).unwrap();
    assert_eq!(settings.max_connections, 20_000 - 64 - 2 * 16);
    assert!(
        notes
            .iter()
            .any(|note| note.contains("at most 19904 connections")),
        "{notes:?}"
    );
    let (settings, _) = check(&Connections::default(), true, u64::MAX).unwrap();
    assert_eq!(settings.max_connections, bounds::CONNECTIONS.most);
    let faults = check(&Connections::default(), true, 96)
        .unwrap_err()
        .to_string();
    assert!(
        faults.contains("leaves no connection") && faults.contains("`ulimit -n 1096`"),
        "{faults}"
    );
}

#[test]
fn more_connections_than_files_is_a_note_for_the_machine_and_no_fault_of_the_text() {
    let written = Connections {
        max_connections: Some(50_000),
        ..Connections::default()
    };
    for (direct, remedy) in [
        (DirectDescriptors::Off, "`ulimit -n 50096`"),
        (DirectDescriptors::Auto, "held by direct descriptors"),
        (DirectDescriptors::On, "held by direct descriptors"),
    ] {
        let (settings, notes) = check_with(direct, &written, true, 20_000).unwrap();
        assert_eq!(settings.max_connections, 50_000);
        assert!(notes.iter().any(|note| note.contains(remedy)), "{notes:?}");
    }
}

#[test]
fn every_wrong_subprotocol_is_told() {
    let names = ["chat", "", "a b", "bearer.x", "chat", "ü"]
        .map(str::to_owned)
        .to_vec();
    let faults = check(
        &Connections {
            protocols: names,
            ..Connections::default()
        },
        true,
        20_000,
    )
    .unwrap_err();
    assert_eq!(faults.iter().count(), 5, "{faults}");
    assert!(faults.to_string().contains("twice"), "{faults}");
    let many = (0..65).map(|index| format!("p{index}")).collect();
    assert!(
        check(
            &Connections {
                protocols: many,
                ..Connections::default()
            },
            true,
            20_000
        )
        .is_err()
    );
}

#[test]
fn the_outbox_has_room_for_one_largest_message_above_the_soft_limit() {
    let exact = Connections {
        outbox_hard_limit: ByteSize::kib(320),
        ..Connections::default()
    };
    assert!(check(&exact, true, 20_000).is_ok());
    let short = Connections {
        outbox_hard_limit: ByteSize::kib(319),
        ..Connections::default()
    };
    assert!(
        check(&short, true, 20_000)
            .unwrap_err()
            .to_string()
            .contains("together: 320KiB")
    );
    // Sizes near the end of the number range are refused, not added.
    let huge = ByteSize::bytes(u64::MAX);
    let huge = Connections {
        outbox_soft_limit: huge,
        outbox_hard_limit: huge,
        max_message_size: huge,
        ..Connections::default()
    };
    assert_eq!(check(&huge, true, 20_000).unwrap_err().iter().count(), 3);
}
