//! Planted faults: the counts must be exactly what the server did wrong, and nothing else.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{Fault, Ran, Server, run};

fn echo(fault: Fault) -> Ran {
    let server = Server::start(fault);
    // One connection, so that message n of the server is message n of the client.
    let url = server.url("/echo");
    run(&format!(
        "echo --url {url} -c 1 --in-flight 8 --count 200 --duration 5s --grace 300ms"
    ))
}

fn fanout(fault: Fault, further: &str) -> Ran {
    let server = Server::start(fault);
    let url = server.url("/ws");
    let common = "--count 100 --duration 5s --grace 300ms";
    run(&format!("fanout --url {url} {common} {further}"))
}

#[test]
fn an_honest_echo_server_passes() {
    let ran = echo(Fault::None);
    assert_eq!((ran.code, ran.found()), (0, (0, 0, 0, 0)), "{}", ran.stdout);
    assert_eq!(ran.correctness("expected"), 200);
    assert_eq!(ran.report["passed"], true);
}

#[test]
fn faults_of_an_echo_server_are_counted_exactly() {
    for (fault, found) in [
        (Fault::Lose(17), (1, 0, 0, 0)),
        (Fault::Duplicate(17), (0, 1, 0, 0)),
        (Fault::Swap(17), (0, 0, 1, 0)),
        // What comes back changed has not come back.
        (Fault::Corrupt(17), (1, 0, 0, 1)),
        (Fault::Misroute(17), (1, 0, 0, 1)),
    ] {
        let ran = echo(fault);
        assert_eq!(
            (ran.code, ran.found()),
            (1, found),
            "{fault:?}: {}",
            ran.stdout
        );
        assert_eq!(ran.report["passed"], false);
    }
}

#[test]
fn what_a_dropped_connection_had_in_flight_is_lost() {
    for fault in [Fault::Close(17), Fault::Cut(17)] {
        let ran = echo(fault);
        assert_eq!(ran.code, 1);
        assert_eq!(ran.report["dropped"], 1, "{fault:?}: {}", ran.stdout);
        assert_eq!(ran.correctness("lost"), 8, "{fault:?}: {}", ran.stdout);
    }
}

#[test]
fn an_honest_room_passes() {
    let ran = fanout(
        Fault::None,
        "--subscribers 10 --publishers 3 --channels 2 --in-flight 8",
    );
    assert_eq!((ran.code, ran.found()), (0, (0, 0, 0, 0)), "{}", ran.stdout);
    // 100 publishes, each to the five subscribers of its channel.
    assert_eq!(ran.correctness("expected"), 500);
    assert_eq!(ran.correctness("subscribers_compared"), 10);
    assert_eq!(ran.correctness("subscribers_in_other_order"), 0);
    assert_eq!(ran.report["to_last_subscriber"]["count"], 100);
    assert_eq!(ran.report["latency"]["count"], 500);
}

#[test]
fn faults_of_a_room_are_counted_exactly() {
    for (fault, found) in [
        (Fault::Lose(17), (1, 0, 0, 0)),
        (Fault::Duplicate(17), (0, 1, 0, 0)),
        (Fault::Swap(17), (0, 0, 1, 0)),
        (Fault::Corrupt(17), (1, 0, 0, 1)),
    ] {
        let ran = fanout(fault, "--subscribers 10 --in-flight 8");
        assert_eq!(
            (ran.code, ran.found()),
            (1, found),
            "{fault:?}: {}",
            ran.stdout
        );
        assert_eq!(ran.correctness("expected"), 1_000);
    }
}

#[test]
fn a_loss_at_the_very_end_is_found() {
    let ran = fanout(Fault::Lose(99), "--subscribers 10 --rate 500");
    assert_eq!((ran.code, ran.found()), (1, (1, 0, 0, 0)), "{}", ran.stdout);
}

#[test]
fn another_order_for_one_subscriber_is_found_though_every_publisher_keeps_its_own() {
    let ran = fanout(
        Fault::OtherOrder(17),
        "--subscribers 10 --publishers 2 --rate 500",
    );
    assert_eq!((ran.code, ran.found()), (1, (0, 0, 0, 0)), "{}", ran.stdout);
    assert_eq!(ran.correctness("subscribers_compared"), 10);
    assert_eq!(ran.correctness("subscribers_in_other_order"), 1);
}

#[test]
fn another_order_is_found_across_processes() {
    let further = "--subscribers 4 --publishers 2 --rate 500 --processes 3";
    let ran = fanout(Fault::OtherOrder(17), further);
    assert_eq!(
        (ran.code, ran.found()),
        (1, (0, 0, 0, 0)),
        "{} {}",
        ran.stdout,
        ran.stderr
    );
    assert_eq!(ran.correctness("expected"), 400);
    assert_eq!(ran.correctness("subscribers_in_other_order"), 1);
}

#[test]
fn a_dropped_subscriber_has_lost_what_came_after() {
    let ran = fanout(Fault::Close(17), "--subscribers 10 --in-flight 4");
    assert_eq!(
        (ran.code, ran.found()),
        (1, (83, 0, 0, 0)),
        "{}",
        ran.stdout
    );
    assert_eq!(
        ran.report["errors"]["closed by the server with 1013 \"try later\""],
        1
    );
}
