//! A new certificate while the engine runs: shown at once to whoever connects, unnoticed by whoever is connected.
#![allow(clippy::unwrap_used)]

mod support;
#[path = "support/tls.rs"]
mod tls;

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use shardwire::ReloadError;
use shardwire::config::PlacementRule;
use support::{Client, PATIENCE, TestEngine, config, eventually};
use tls::{Certificate, Files, secure, try_secure};

#[test]
fn new_handshakes_see_the_new_certificate_at_once_and_old_connections_stay() {
    for shards in [1, 4] {
        let (old, new) = (Certificate::new(), Certificate::new());
        let files = Files::new(&format!("reload-{shards}"), &old);
        let mut config = config(shards, PlacementRule::UserHash);
        files.name_in(&mut config);
        let engine = TestEngine::start(config);
        let trust = old.client();
        let mut clients: Vec<_> = (0..8)
            .map(|n| Client::over(secure(engine.socket(), &trust), &format!("/ws?user=u{n}")))
            .collect();

        files.put(&new.pem, &new.key_pem);
        engine.0.reload_certificate().unwrap();
        eventually("every shard shows the new certificate", || {
            (0..16).all(|_| try_secure(engine.socket(), &new.client()).is_ok())
        });
        // Tickets of the old certificate are worth nothing: a client that knows the old one alone is refused.
        for _ in 0..16 {
            assert!(try_secure(engine.socket(), &trust).is_err());
        }
        for client in &mut clients {
            assert!(old.was_shown_to(&client.0.get_ref().conn));
            assert_eq!(client.ask(&json!({"type": "ping"}))["type"], "pong");
        }
    }
}

#[test]
fn a_faulty_pair_is_refused_with_every_fault_and_the_old_one_stays() {
    let (old, other) = (Certificate::new(), Certificate::new());
    let files = Files::new("faulty", &old);
    let mut config = config(2, PlacementRule::Accept);
    files.name_in(&mut config);
    let engine = TestEngine::start(config);
    let faults = || match engine.0.reload_certificate() {
        Err(ReloadError::Files(faults)) => faults.to_string(),
        result => panic!("{result:?}"),
    };

    files.put(&other.pem, &old.key_pem);
    let told = faults();
    assert!(
        told.contains("listen.tls.key = ") && told.contains("does not belong to"),
        "{told}"
    );
    files.put("", "");
    let told = faults();
    assert_eq!(told.lines().count(), 2, "{told}");
    std::fs::remove_file(files.certificate()).unwrap();
    assert!(faults().contains("No such file"));
    for _ in 0..8 {
        let mut client = Client::over(secure(engine.socket(), &old.client()), "/ws");
        assert_eq!(client.ask(&json!({"type": "ping"}))["type"], "pong");
    }
    files.put(&other.pem, &other.key_pem);
    engine.0.reload_certificate().unwrap();
    eventually("mended files are used", || {
        try_secure(engine.socket(), &other.client()).is_ok()
    });
}

#[test]
fn an_engine_without_tls_says_that_there_is_nothing_to_reload() {
    let engine = TestEngine::start(config(1, PlacementRule::Accept));
    assert!(matches!(
        engine.0.reload_certificate(),
        Err(ReloadError::Plain)
    ));
}

/// 500 handshakes by 4 threads while the certificate changes all the time: each sees one or the other, none fails.
#[test]
fn no_handshake_fails_while_certificates_change() {
    let pair = [Certificate::new(), Certificate::new()];
    let files = Files::new("storm", &pair[0]);
    let mut config = config(2, PlacementRule::Accept);
    files.name_in(&mut config);
    let engine = TestEngine::start(config);
    let trust = {
        let mut both = pair[0].client_config(rustls::DEFAULT_VERSIONS);
        let mut roots = rustls::RootCertStore::empty();
        for certificate in &pair {
            roots.add(certificate.der()).unwrap();
        }
        both = rustls::ClientConfig::builder_with_provider(both.crypto_provider().clone())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(both)
    };
    let (done, reloads) = (AtomicBool::new(false), AtomicUsize::new(0));
    let seen = [AtomicUsize::new(0), AtomicUsize::new(0)];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for turn in 1.. {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                let certificate = &pair[turn % 2];
                files.put(&certificate.pem, &certificate.key_pem);
                engine.0.reload_certificate().unwrap();
                reloads.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(3));
            }
        });
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..125 {
                        let stream = secure(engine.socket(), &trust);
                        let shown = usize::from(pair[1].was_shown_to(&stream.conn));
                        seen[shown].fetch_add(1, Ordering::Relaxed);
                        let mut client = Client::over(stream, "/ws");
                        assert_eq!(client.ask(&json!({"type": "ping"}))["type"], "pong");
                    }
                })
            })
            .collect();
        let failed = threads
            .into_iter()
            .filter_map(|thread| thread.join().err())
            .count();
        done.store(true, Ordering::Relaxed);
        assert_eq!(failed, 0);
    });
    let seen = seen.map(AtomicUsize::into_inner);
    println!(
        "{} reloads, the two certificates were seen {seen:?} times",
        reloads.into_inner()
    );
    assert_eq!(seen[0] + seen[1], 500);
    assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
}

#[test]
fn changed_files_are_found_without_being_told() {
    let (old, new) = (Certificate::new(), Certificate::new());
    let files = Files::new("found", &old);
    let mut config = config(2, PlacementRule::Accept);
    files.name_in(&mut config);
    config.listen.tls.reload_interval = Duration::from_millis(100).into();
    let engine = TestEngine::start(config);
    assert!(try_secure(engine.socket(), &old.client()).is_ok());
    // First a pair that does not fit, as when only one of the files is written yet.
    files.put(&new.pem, &old.key_pem);
    std::thread::sleep(Duration::from_millis(300));
    assert!(try_secure(engine.socket(), &old.client()).is_ok());
    files.put(&new.pem, &new.key_pem);
    eventually("the new certificate is shown", || {
        try_secure(engine.socket(), &new.client()).is_ok()
    });
}

/// The program: SIGHUP reloads and does not end it, and a bad pair is told in the log.
#[test]
fn sighup_reloads_the_certificate_of_a_running_server() {
    use std::io::{BufRead, BufReader, Read};

    let (old, new) = (Certificate::new(), Certificate::new());
    let files = Files::new("sighup", &old);
    let mut server = Command::new(env!("CARGO_BIN_EXE_shardwire"))
        .args(["--listen", "127.0.0.1:0"])
        .env("SHARDWIRE_LISTEN__TLS__CERTIFICATE", files.certificate())
        .env("SHARDWIRE_LISTEN__TLS__KEY", files.key())
        .env("SHARDWIRE_LISTEN__TLS__RELOAD_INTERVAL", "1h")
        .env("SHARDWIRE_SHARDS__COUNT", "2")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let address = line.trim().rsplit(' ').next().unwrap().to_owned();
    let connect = || std::net::TcpStream::connect(&address).unwrap();
    let signal = |name: &str| {
        let sent = Command::new("kill")
            .args([name, &server.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
    };
    let mut client = Client::over(secure(connect(), &old.client()), "/ws");

    files.put(&old.pem, &new.key_pem);
    signal("-HUP");
    std::thread::sleep(Duration::from_millis(200));
    assert!(try_secure(connect(), &old.client()).is_ok());
    files.put(&new.pem, &new.key_pem);
    signal("-HUP");
    let begin = Instant::now();
    while try_secure(connect(), &new.client()).is_err() {
        assert!(begin.elapsed() < PATIENCE);
    }
    assert_eq!(client.ask(&json!({"type": "ping"}))["type"], "pong");
    signal("-TERM");
    assert_eq!(client.read_close().0, 4200);
    let _ = client.0.read();
    assert_eq!(server.wait().unwrap().code(), Some(0));
    let mut log = String::new();
    server
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut log)
        .unwrap();
    assert!(
        log.contains("the old one stays") && log.contains("listen.tls.key"),
        "{log}"
    );
    assert!(log.contains("new certificate"), "{log}");
    assert!(log.contains(&format!("wss://{address}/ws")), "{log}");
}
