//! Whole runs of the program: scenarios, processes, the line of progress, and what it says when something is wrong.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use common::{Fault, Server, run, run_with};

#[test]
fn an_open_loop_keeps_its_rate() {
    let server = Server::start(Fault::None);
    let ran = run(&format!(
        "echo --url {} -c 4 --rate 500 --duration 1s --warmup 200ms --text",
        server.url("/echo")
    ));
    assert_eq!((ran.code, ran.found()), (0, (0, 0, 0, 0)), "{}", ran.stdout);
    // The schedule is exact however busy the machine is: 1.2 s at 500 per second.
    assert_eq!(ran.correctness("expected"), 600);
    assert!(ran.report["latency"]["p50_us"].as_f64().unwrap() > 0.0);
}

#[test]
fn large_messages_come_back_whole() {
    let server = Server::start(Fault::None);
    let ran = run(&format!(
        "echo --url {} -c 3 --in-flight 4 --size 1MiB --count 60",
        server.url("/echo")
    ));
    assert_eq!((ran.code, ran.found()), (0, (0, 0, 0, 0)), "{}", ran.stdout);
    assert_eq!(ran.report["received"], 60);
}

#[test]
fn several_processes_share_connections_and_load() {
    let server = Server::start(Fault::None);
    let url = server.url("/ws");
    let sources = "--source-addresses 127.0.0.2-127.0.0.4";
    let ran = run(&format!(
        "fanout --url {url} --subscribers 9 --publishers 2 --channels 3 --rate 300 --duration 1s --warmup 200ms --processes 3 {sources}"
    ));
    assert_eq!(
        (ran.code, ran.found()),
        (0, (0, 0, 0, 0)),
        "{} {}",
        ran.stdout,
        ran.stderr
    );
    assert_eq!(ran.report["opened"], 11);
    assert_eq!(ran.report["clients"].as_array().unwrap().len(), 3);
    // 1.2 s at 300 per second, each to the three subscribers of its channel.
    let expected = ran.correctness("expected");
    assert!((1_070..=1_090).contains(&expected), "{expected}");
    assert_eq!(ran.correctness("subscribers_compared"), 9);
}

#[test]
fn subscribers_that_stop_reading_are_not_waited_for() {
    let server = Server::start(Fault::None);
    let ran = run(&format!(
        "fanout --url {} --subscribers 10 --stopped 3 --channels 2 --rate 100 --duration 1s --warmup 0s",
        server.url("/ws")
    ));
    assert_eq!((ran.code, ran.found()), (0, (0, 0, 0, 0)), "{}", ran.stdout);
    assert_eq!(ran.report["events"]["stopped reading"], 3);
    // 50 to the three of the first channel that read, 50 to the four of the second.
    assert_eq!(ran.correctness("expected"), 350);
}

#[test]
fn idle_connections_are_held_and_probed() {
    let server = Server::start(Fault::None);
    let pid = std::process::id();
    let ran = run(&format!(
        "idle --url {} -c 50 --duration 1s --warmup 100ms --probe-rate 100 --pid {pid}",
        server.url("/ws")
    ));
    assert_eq!(ran.code, 0, "{}", ran.stdout);
    assert_eq!(
        (&ran.report["opened"], &ran.report["dropped"]),
        (&50.into(), &0.into())
    );
    assert_eq!(ran.correctness("expected"), 110);
    assert_eq!(ran.correctness("lost"), 0);
    assert!(
        ran.report["server"]["rss_per_connection_bytes"]
            .as_f64()
            .is_some(),
        "{}",
        ran.stdout
    );
}

#[test]
fn churn_opens_and_closes_with_handshakes() {
    let server = Server::start(Fault::None);
    let ran = run(&format!(
        "churn --url {} --in-flight 4 --count 100",
        server.url("/echo")
    ));
    assert_eq!(
        (ran.code, ran.found()),
        (0, (0, 0, 0, 0)),
        "{} {}",
        ran.stdout,
        ran.stderr
    );
    assert_eq!(
        (&ran.report["received"], &ran.report["opened"]),
        (&100.into(), &100.into())
    );
    assert_eq!(ran.report["connect_and_upgrade"]["count"], 100);
    let paced = run(&format!(
        "churn --url {} --rate 100 --duration 1s --warmup 0s",
        server.url("/echo")
    ));
    assert_eq!(paced.code, 0, "{} {}", paced.stdout, paced.stderr);
    assert_eq!(paced.correctness("expected"), 100);
}

#[test]
fn the_report_for_people_goes_to_stdout_and_progress_to_stderr() {
    let server = Server::start(Fault::None);
    let ran = run_with(
        &format!(
            "echo --url {} -c 2 --duration 2s --warmup 100ms",
            server.url("/echo")
        ),
        &[],
    );
    assert_eq!(ran.code, 0, "{}", ran.stdout);
    for part in [
        "echo ws://127.0.0.1",
        "2 opened",
        "per second",
        "p99.9",
        "0 lost",
        "result        passed",
    ] {
        assert!(ran.stdout.contains(part), "{part} in {}", ran.stdout);
    }
    assert!(
        ran.stderr.contains("measuring") && ran.stderr.contains("received"),
        "{}",
        ran.stderr
    );
    assert!(!ran.stderr.contains('\r'), "not a terminal: one line each");
}

#[test]
fn nobody_listening_is_said_plainly() {
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    for processes in [1, 2] {
        let ran = run(&format!(
            "echo --url ws://{free}/ -c 20 --processes {processes}"
        ));
        assert_eq!(ran.code, 1);
        assert!(
            ran.stderr
                .contains("no connection could be opened: connection refused"),
            "{}",
            ran.stderr
        );
    }
    let churn = run(&format!("churn --url ws://{free}/"));
    assert!(
        churn
            .stderr
            .contains("no cycle succeeded: connection refused"),
        "{}",
        churn.stderr
    );
}

#[test]
fn a_refused_handshake_shows_the_status_line() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            let _ = socket.read(&mut [0; 4096]);
            let _ =
                socket.write_all(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let ran = run(&format!("idle --url ws://{address}/ -c 3"));
    assert_eq!(ran.code, 1);
    assert!(
        ran.stderr
            .contains("handshake refused: HTTP/1.1 503 Service Unavailable"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_server_that_never_answers_ends_the_run() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let ran = run(&format!(
        "echo --url ws://{address}/ -c 3 --connect-timeout 300ms"
    ));
    assert_eq!(ran.code, 1);
    assert!(
        ran.stderr
            .contains("no answer to the upgrade request in time"),
        "{}",
        ran.stderr
    );
}

#[test]
fn refused_subscriptions_show_what_the_server_said() {
    let server = Server::start(Fault::Refuse);
    let ran = run(&format!(
        "fanout --url {} --subscribers 3 --connect-timeout 300ms",
        server.url("/ws")
    ));
    assert_eq!(ran.code, 1);
    assert!(
        ran.stderr.contains("no subscription was confirmed"),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr.contains("Unknown message type"),
        "{}",
        ran.stderr
    );
}

#[test]
fn bad_arguments_are_explained() {
    let tls = run("echo --url wss://127.0.0.1/");
    assert_eq!(tls.code, 1);
    assert!(tls.stderr.contains("wss:// needs --ca"), "{}", tls.stderr);
    let small = run("echo --url ws://127.0.0.1/ --size 8");
    assert_eq!(small.code, 2);
    assert!(
        small.stderr.contains("cannot be shorter"),
        "{}",
        small.stderr
    );
}

#[test]
fn servers_are_spoken_to_by_templates() {
    let server = Server::start(Fault::None);
    let url = server.url("/echo");
    let ran = run_with(
        &format!("echo --url {url} -c 2 --count 20 --json --quiet --template"),
        &[r#"{"type":"echo","data":{message}}"#],
    );
    assert_eq!(
        (ran.code, ran.found()),
        (0, (0, 0, 0, 0)),
        "{} {}",
        ran.stdout,
        ran.stderr
    );
}
