//! A verdict and a hand-off inside TLS: the session stays with its socket whatever becomes of it (contract M9, D18).
#![allow(clippy::unwrap_used)]

mod support;
#[path = "support/tls.rs"]
mod tls;
#[path = "support/tokens.rs"]
mod tokens;

use std::io::{Read, Write};
use std::time::Duration;

use serde_json::json;
use shardwire::Engine;
use shardwire::auth::{Attempt, Denied, Identity};
use shardwire::config::{AuthenticationType, PlacementRule, Secret, Texts};
use support::{Client, TestEngine, config, eventually};
use tls::{Certificate, Files, Secured, secure};
use tokens::{SECRET, claims, signed, with};

fn upgrade(mut stream: Secured, headers: &str) -> (String, Secured) {
    write!(
        stream,
        "GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    )
    .unwrap();
    stream.flush().unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    (String::from_utf8(head).unwrap(), stream)
}

#[test]
fn verified_clients_keep_their_session_in_both_doors_and_on_every_shard() {
    let certificate = Certificate::new();
    let files = Files::new("authentication", &certificate);
    for placement in [PlacementRule::UserHash, PlacementRule::Accept] {
        let mut config = config(4, placement);
        files.name_in(&mut config);
        config.authentication.kind = Some(AuthenticationType::Jwt);
        config.authentication.secret = Some(Secret::new(SECRET));
        config.authentication.audience = Some(Texts::One("websocket".to_owned()));
        let engine = TestEngine::start(config);
        let trust = certificate.client();
        for n in 0..12 {
            let user = format!("user{n}");
            let token = signed(&with(claims(), "sub", json!(user)));
            let stream = secure(engine.socket(), &trust);
            let (head, stream) = upgrade(stream, &format!("Authorization: Bearer {token}\r\n"));
            assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
            let mut shown = Client::behind_upgrade(stream);
            assert_eq!(shown.receive()["user"], json!(user));
            assert_eq!(shown.ask(&json!({"type": "ping"}))["type"], "pong");

            let mut said = Client::over(secure(engine.socket(), &trust), "/ws");
            said.send(&json!({"type": "auth", "token": token}));
            said.send(&json!({"type": "echo", "data": "x".repeat(20_000)}));
            assert_eq!(said.receive()["user"], json!(user));
            assert_eq!(said.receive()["data"].as_str().unwrap().len(), 20_000);

            let (head, _) = upgrade(
                secure(engine.socket(), &trust),
                "Authorization: Bearer wrong\r\n",
            );
            assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
        }
    }
}

#[test]
fn whoever_breaks_the_session_while_being_verified_leaves_nothing_behind() {
    let certificate = Certificate::new();
    let files = Files::new("verifying", &certificate);
    let mut config = config(2, PlacementRule::Accept);
    files.name_in(&mut config);
    let engine = Engine::builder(config).verifier(|attempt: Attempt| async move {
        match attempt.token() {
            Some("slow") => std::future::pending().await,
            Some(user) => Ok(Identity::new(user)),
            None => Err(Denied::Missing),
        }
    });
    let engine = TestEngine(engine.start().unwrap());
    let trust = certificate.client();
    for broken in [true, false] {
        let mut stream = secure(engine.socket(), &trust);
        write!(
            stream,
            "GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer slow\r\n\r\n"
        )
        .unwrap();
        stream.flush().unwrap();
        eventually("it is being verified", || {
            engine.0.active_connections() == 1
        });
        if broken {
            // No record of TLS.
            stream.sock.write_all(&[0xff; 64]).unwrap();
            std::thread::sleep(Duration::from_millis(50));
        }
        drop(stream);
        eventually("its place is free", || engine.0.active_connections() == 0);
    }
}
