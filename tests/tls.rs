//! `wss://` as clients meet it: every placement, every way to begin and to end, and what is no TLS.
#![allow(clippy::unwrap_used)]

mod support;
#[path = "support/tls.rs"]
mod tls;

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustls::{ClientConnection, HandshakeKind};
use serde_json::json;
use shardwire::config::{Config, PlacementRule};
use shardwire_protocol::websocket::frame;
use shardwire_shards::placement::{Placement, Rule};
use shardwire_shards::vocabulary::ShardId;
use support::{Client, PATIENCE, TestEngine, config, eventually, read_messages};
use tls::{Certificate, Files, secure, try_secure};
use tungstenite::Message;

/// An engine that speaks TLS, and what belongs to it.
struct Secure {
    engine: TestEngine,
    certificate: Certificate,
    _files: Files,
}

impl Secure {
    fn start(name: &str, mut config: Config) -> Self {
        let certificate = Certificate::new();
        let files = Files::new(name, &certificate);
        files.name_in(&mut config);
        Self {
            engine: TestEngine::start(config),
            certificate,
            _files: files,
        }
    }

    fn stream(&self) -> tls::Secured {
        secure(self.engine.socket(), &self.certificate.client())
    }

    fn client(&self, path: &str) -> Client<tls::Secured> {
        Client::over(self.stream(), path)
    }
}

fn source(n: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, (n / 200) as u8, 1 + (n % 200) as u8))
}

#[test]
fn every_placement_serves_wss_and_finds_the_right_home() {
    for (placement, rule) in [
        (PlacementRule::Accept, Rule::Accept),
        (PlacementRule::IpHash, Rule::IpHash),
        (PlacementRule::UserHash, Rule::UserHash),
    ] {
        for (shards, kernel_steering) in [(1, true), (2, true), (2, false), (4, true), (4, false)] {
            let mut config = config(shards, placement);
            config.shards.kernel_steering = kernel_steering;
            let secure_engine =
                Secure::start(&format!("{placement}-{shards}-{kernel_steering}"), config);
            let engine = &secure_engine.engine;
            let placement = Placement::new(rule, shards as u16);
            let trust = secure_engine.certificate.client();
            let mut clients = Vec::new();
            for n in 0..16 {
                let (user, address) = (format!("user{n}"), source(n * 13));
                let stream = secure(engine.socket_from(address), &trust);
                assert!(secure_engine.certificate.was_shown_to(&stream.conn));
                clients.push(Client::over(stream, &format!("/ws?user={user}")));
                let mut found = Vec::new();
                eventually("the user is registered", || {
                    found = engine.0.user_connections(&user).wait();
                    !found.is_empty()
                });
                if rule != Rule::Accept {
                    let home = placement.home(ShardId(0), address, Some(&user));
                    assert_eq!(found[0].shard(), home, "{rule:?} over {shards}");
                }
            }
            for client in &mut clients {
                client.subscribe("all");
            }
            clients[3]
                .send(&json!({"type": "publish", "channel": "all", "message": "x".repeat(40_000)}));
            for client in &mut clients {
                assert_eq!(client.receive()["message"].as_str().unwrap().len(), 40_000);
            }
        }
    }
}

/// Frames sealed behind the upgrade request and cut anywhere, also within records, while the socket moves with its session.
#[test]
fn a_hand_off_inside_tls_loses_no_byte() {
    let seed = 20_261_122;
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    for placement in [
        PlacementRule::UserHash,
        PlacementRule::IpHash,
        PlacementRule::Accept,
    ] {
        let mut config = config(4, placement);
        config.shards.kernel_steering = false;
        let engine = Secure::start(&format!("hand-off-{placement}"), config);
        for n in 0..30 {
            echo_stream(&engine, &mut random, n);
        }
    }
}

fn echo_stream(engine: &Secure, random: &mut StdRng, n: usize) {
    let mut plaintext = format!(
        "GET /echo?user=user{n} HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .into_bytes();
    let mut expected = Vec::new();
    for number in 0..300_u32 {
        let mut payload = number.to_be_bytes().to_vec();
        payload.resize(4 + random.random_range(0..300), number as u8);
        frame::write_client(
            &mut plaintext,
            frame::Kind::Binary,
            &payload,
            random.random(),
        );
        expected.push(payload);
    }
    let mut stream = secure(
        engine.engine.socket_from(source(n)),
        &engine.certificate.client(),
    );
    // All of it sealed at once, in records of random length; then written in pieces that respect no record.
    stream.conn.set_buffer_limit(None);
    let mut sealed = Vec::new();
    let mut at = 0;
    while at < plaintext.len() {
        let to = (at + random.random_range(1..4000)).min(plaintext.len());
        stream.conn.writer().write_all(&plaintext[at..to]).unwrap();
        at = to;
        while stream.conn.wants_write() {
            stream.conn.write_tls(&mut sealed).unwrap();
        }
    }
    let mut cuts: Vec<usize> = (0..20)
        .map(|_| random.random_range(1..sealed.len()))
        .collect();
    cuts.push(sealed.len());
    cuts.sort_unstable();
    let mut socket = stream.sock.try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        let mut from = 0;
        for to in cuts {
            socket.write_all(&sealed[from..to]).unwrap();
            from = to;
        }
    });
    let got = read_messages(&mut stream, expected.len());
    assert!(
        got == expected,
        "connection {n}: bytes were lost or changed"
    );
    writer.join().unwrap();
}

#[test]
fn both_versions_are_spoken_and_a_client_comes_back_by_its_ticket() {
    let engine = Secure::start("versions", config(2, PlacementRule::Accept));
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let trust = std::sync::Arc::new(engine.certificate.client_config(&[version]));
        for kind in [
            HandshakeKind::Full,
            HandshakeKind::Resumed,
            HandshakeKind::Resumed,
        ] {
            // Whichever shard it meets: tickets are good on all of them.
            let mut client = Client::over(secure(engine.engine.socket(), &trust), "/ws");
            assert_eq!(client.ask(&json!({"type": "ping"}))["type"], "pong");
            let tls = &client.0.get_ref().conn;
            assert_eq!(tls.protocol_version(), Some(version.version));
            assert_eq!(tls.handshake_kind(), Some(kind), "{version:?}");
        }
    }
}

#[test]
fn the_closing_handshake_is_followed_by_a_clean_end_of_tls() {
    let engine = Secure::start("closing", config(2, PlacementRule::UserHash));
    let mut client = engine.client("/ws?user=ann");
    client.0.close(None).unwrap();
    loop {
        match client.0.read() {
            Ok(_) => {}
            Err(tungstenite::Error::ConnectionClosed) => break,
            Err(error) => panic!("{error}"),
        }
    }
    // rustls tells an end without close_notify as an error.
    assert_eq!(client.0.get_mut().read(&mut [0; 10]).unwrap(), 0);

    // A client that ends TLS and says nothing of WebSocket is gone.
    let mut client = engine.client("/ws?user=bob");
    eventually("bob is there", || {
        engine.engine.0.user_connections("bob").wait().len() == 1
    });
    let stream = client.0.get_mut();
    stream.conn.send_close_notify();
    stream.conn.complete_io(&mut stream.sock).unwrap();
    assert_eq!(stream.read(&mut [0; 10]).unwrap(), 0);
    eventually("bob is gone", || {
        engine.engine.0.user_connections("bob").wait().is_empty()
    });
    eventually("nobody is left", || {
        engine.engine.0.active_connections() == 0
    });
}

#[test]
fn plain_answers_are_sealed_too() {
    let engine = Secure::start("answers", config(1, PlacementRule::Accept));
    for (path, status) in [("/", "200"), ("/ws", "400"), ("/nowhere", "404")] {
        let mut stream = engine.stream();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{path}: {answer}"
        );
    }
}

/// What the server sends until it ends its direction, in order; and that this is an end, not a reset.
fn until_the_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn what_is_no_tls_is_ended_in_order() {
    let engine = Secure::start("garbage", config(1, PlacementRule::Accept));
    let mut http = engine.engine.socket();
    http.write_all(b"GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n")
        .unwrap();
    let answer = String::from_utf8(until_the_end(&mut http)).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 400 ") && answer.contains("wss://"),
        "{answer}"
    );

    let mut hello_1_1 = b"\x16\x03\x01\x00\x37\x01\x00\x00\x33\x03\x02".to_vec();
    hello_1_1.extend([7; 32]);
    hello_1_1.extend(b"\x00\x00\x02\x00\x2f\x01\x00\x00\x08\x00\x0d\x00\x04\x00\x02\x04\x03");
    for (bytes, alert) in [
        (&b"\0\0\0\0\0\0\0\0\0\0"[..], 50),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", 50),
        (&hello_1_1, 70),
    ] {
        let mut garbage = engine.engine.socket();
        garbage.write_all(bytes).unwrap();
        let said = until_the_end(&mut garbage);
        assert_eq!(
            (said.len(), said[0], said[5], said[6]),
            (7, 21, 2, alert),
            "{bytes:?}"
        );
    }
    // Broken later, in the middle of a connection: an alert, and the shard hears of it.
    let mut client = engine.client("/ws?user=ann");
    eventually("ann is there", || {
        engine.engine.0.user_connections("ann").wait().len() == 1
    });
    let stream = client.0.get_mut();
    stream
        .sock
        .write_all(b"\x17\x03\x03\x00\x20garbage where ciphertext was due")
        .unwrap();
    let told = stream.read(&mut [0; 10]).unwrap_err();
    assert!(told.to_string().contains("BadRecordMac"), "{told}");
    eventually("ann is gone", || engine.engine.0.active_connections() == 0);
}

#[test]
fn attack_slow_handshake_of_tls() {
    let mut config = config(1, PlacementRule::Accept);
    config.connections.connection_timeout = Duration::from_millis(400).into();
    let engine = Secure::start("stalled", config);
    let mut hello = Vec::new();
    let mut client = ClientConnection::new(
        engine.certificate.client(),
        rustls::pki_types::ServerName::try_from("localhost").unwrap(),
    )
    .unwrap();
    client.write_tls(&mut hello).unwrap();
    type Stall<'a> = Box<dyn Fn() -> TcpStream + 'a>;
    let stalls: [(&str, Stall<'_>); 4] = [
        ("silent", Box::new(|| engine.engine.socket())),
        (
            "half a greeting",
            Box::new(|| {
                let mut stream = engine.engine.socket();
                stream.write_all(&hello[..hello.len() / 2]).unwrap();
                stream
            }),
        ),
        (
            "greeting and no more",
            Box::new(|| {
                let mut stream = engine.engine.socket();
                stream.write_all(&hello).unwrap();
                stream
            }),
        ),
        (
            "handshake and no request",
            Box::new(|| engine.stream().sock),
        ),
    ];
    for (what, stall) in stalls {
        let begin = Instant::now();
        let mut stream = stall();
        let _ = stream.read_to_end(&mut Vec::new());
        let waited = begin.elapsed();
        assert!(
            (Duration::from_millis(390)..Duration::from_secs(5)).contains(&waited),
            "{what}: {waited:?}"
        );
    }
    // One byte now and then does not prolong it.
    let begin = Instant::now();
    let mut stream = engine.engine.socket();
    stream
        .set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    let mut ended = false;
    for byte in &hello {
        let _ = stream.write_all(&[*byte]);
        match stream.read(&mut [0; 100]) {
            Ok(0) => ended = true,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            _ => ended = true,
        }
        if ended {
            break;
        }
    }
    assert!(
        ended && begin.elapsed() < Duration::from_secs(10),
        "{:?}",
        begin.elapsed()
    );
}

/// More greetings in one moment than a turn answers: all are answered, and whoever is connected is served meanwhile.
#[test]
fn a_wave_of_handshakes_is_served() {
    let engine = Secure::start("wave", config(1, PlacementRule::Accept));
    let trust = engine.certificate.client();
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let mut connected = engine.client("/ws");
    let mut wave: Vec<_> = (0..200)
        .map(|_| {
            let client = ClientConnection::new(trust.clone(), name.clone()).unwrap();
            (client, engine.engine.socket())
        })
        .collect();
    for (client, stream) in &mut wave {
        // The greeting in two pieces, so that some of it is already kept when its turn comes.
        let mut hello = Vec::new();
        client.write_tls(&mut hello).unwrap();
        stream.write_all(&hello[..100]).unwrap();
        stream.write_all(&hello[100..]).unwrap();
    }
    assert_eq!(connected.ask(&json!({"type": "ping"}))["type"], "pong");
    for (client, mut stream) in wave {
        let mut client = client;
        while client.is_handshaking() {
            client.complete_io(&mut stream).unwrap();
        }
        let mut client = Client::over(rustls::StreamOwned::new(client, stream), "/ws");
        assert_eq!(client.ask(&json!({"type": "ping"}))["type"], "pong");
    }
}

/// A client that writes much and reads nothing for a while: what waits for it is bounded, and nothing is lost or mixed up.
#[test]
fn a_client_that_reads_late_gets_everything_in_order() {
    let mut config = config(2, PlacementRule::UserHash);
    // Read slowly, but not a slow consumer: what one turn takes in may all come back before reading stops.
    config.connections.outbox_hard_limit = "64MiB".parse().unwrap();
    let engine = Secure::start("late", config);
    let mut client = engine.client("/echo?user=late");
    let stream = client.0.get_mut();
    stream.sock.set_nonblocking(true).unwrap();
    stream.conn.set_buffer_limit(None);
    let mut sent = 0_u32;
    let mut write_some = |client: &mut Client<tls::Secured>, most: u32| {
        for _ in 0..most {
            let mut payload = sent.to_be_bytes().to_vec();
            payload.resize(20_000, sent as u8);
            match client.0.send(Message::binary(payload)) {
                Ok(()) => sent += 1,
                Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {
                    sent += 1;
                    break;
                }
                Err(error) => panic!("{error}"),
            }
        }
        sent
    };
    let count = write_some(&mut client, 1500);
    std::thread::sleep(Duration::from_millis(300));
    let mut next = 0_u32;
    let begin = Instant::now();
    while next < count {
        assert!(begin.elapsed() < PATIENCE, "{next} of {count}");
        match client.0.read() {
            Ok(Message::Binary(payload)) => {
                assert_eq!(payload[..4], next.to_be_bytes());
                assert!(payload[4..].iter().all(|byte| *byte == next as u8));
                next += 1;
            }
            Ok(_) => {}
            Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {
                match client.0.flush() {
                    Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {
                    }
                    flushed => flushed.unwrap(),
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => panic!("{error} after {next} of {count}"),
        }
    }
    assert!(count > 20, "the pipe was filled: {count}");
}

#[test]
fn a_client_that_trusts_somebody_else_ends_the_handshake() {
    let engine = Secure::start("distrust", config(1, PlacementRule::Accept));
    for _ in 0..3 {
        let refused = try_secure(engine.engine.socket(), &Certificate::new().client());
        assert!(refused.unwrap_err().to_string().contains("certificate"));
    }
    let mut client = engine.client("/ws");
    assert_eq!(client.ask(&json!({"type": "ping"}))["type"], "pong");
}

#[test]
fn draining_says_goodbye_inside_tls() {
    let engine = Secure::start("drain", config(2, PlacementRule::UserHash));
    let mut clients: Vec<_> = (0..6)
        .map(|n| engine.client(&format!("/ws?user=u{n}")))
        .collect();
    let stalled = engine.engine.socket();
    engine.engine.0.drain();
    for client in &mut clients {
        assert_eq!(client.read_close().0, 4200);
        let _ = client.0.read();
    }
    drop(stalled);
}
