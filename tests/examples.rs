//! The examples do what they say.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use support::{Client, PATIENCE};

/// A running example, ended as Ctrl-C ends it.
struct Example(Child);

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn http(address: SocketAddr, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (
        head.split(' ').nth(1).unwrap().parse().unwrap(),
        body.to_owned(),
    )
}

/// Starts an example that prints the addresses of its HTTP service and of its engine.
fn start(name: &str) -> (Example, SocketAddr, SocketAddr) {
    let (example, line) = run(name);
    let (service, engine) = line
        .strip_prefix("http on ")
        .unwrap()
        .split_once(", websocket on ws://")
        .unwrap();
    let engine = engine.strip_suffix("/ws").unwrap();
    (example, service.parse().unwrap(), engine.parse().unwrap())
}

/// Starts an example on free ports, and reads the line it says.
fn run(name: &str) -> (Example, String) {
    // A run of all tests has built the examples already; a test that is run alone builds the one it needs.
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_shardwire"))
        .with_file_name("examples")
        .join(name);
    if !program.exists() {
        let built = Command::new(env!("CARGO"))
            .args(["build", "--locked", "--quiet", "--example", name])
            .status()
            .unwrap();
        assert!(built.success());
    }
    let mut child = Command::new(program)
        .args(["127.0.0.1:0", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    (Example(child), line.trim().to_owned())
}

fn connect(engine: SocketAddr, path: &str) -> Client {
    let stream = TcpStream::connect(engine).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    Client::over(stream, path)
}

#[test]
fn embed_joins_a_tokio_http_service_and_the_engine() {
    let (_example, service, engine) = start("embed");
    let mut client = connect(engine, "/ws?user=ann");
    client.subscribe("news");

    assert_eq!(
        http(service, "POST", "/channels/news", r#"{"title":"hello"}"#).0,
        202
    );
    assert_eq!(client.receive()["message"], json!({"title": "hello"}));
    assert_eq!(http(service, "POST", "/channels/$shards", "1").0, 400);
    let counts: Value = serde_json::from_str(&http(service, "GET", "/connections", "").1).unwrap();
    assert_eq!(counts["active"], 1);
    let anns: Value =
        serde_json::from_str(&http(service, "GET", "/users/ann/connections", "").1).unwrap();
    assert_eq!(anns.as_array().unwrap().len(), 1);
}

#[test]
fn custom_auth_asks_the_services_own_sessions() {
    let (_example, service, engine) = start("custom_auth");
    let login = |user: &str| {
        let (status, token) = http(service, "POST", "/login", user);
        assert_eq!(status, 200);
        token
    };
    let enter = |token: &str| {
        let mut client = connect(engine, "/ws");
        client.send(&json!({"type": "auth", "token": token}));
        client
    };
    let (mut ann, mut bob) = (enter(&login("ann")), enter(&login("bob")));
    assert_eq!(ann.receive()["user"], "ann");
    assert_eq!(bob.receive()["user"], "bob");
    bob.subscribe("room:1");
    bob.subscribe("inbox:bob");
    let refused = bob.ask(&json!({"type": "subscribe", "channel": "inbox:ann"}));
    assert_eq!(refused["error"], "Not permitted");
    let refused = bob.ask(&json!({"type": "publish", "channel": "room:1", "message": 1}));
    assert_eq!(refused["error"], "Not permitted");
    ann.send(&json!({"type": "publish", "channel": "room:1", "message": "hello"}));
    assert_eq!(bob.receive()["message"], "hello");
    let answer = ann.ask(&json!({"type": "refresh", "token": login("ann")}));
    assert_eq!(answer["type"], "refreshed");
    assert_eq!(enter("made up").read_close().0, 4501);
}

#[test]
fn middleware_checks_slows_tags_and_tells() {
    let (_example, line) = run("middleware");
    let engine = line.strip_prefix("websocket on ws://").unwrap();
    let engine: SocketAddr = engine.strip_suffix("/ws").unwrap().parse().unwrap();
    let (mut ann, mut mia) = (
        connect(engine, "/ws?user=ann"),
        connect(engine, "/ws?user=mia"),
    );
    for client in [&mut ann, &mut mia] {
        assert_eq!(client.receive()["type"], "subscribed");
    }
    let refused = ann.ask(&json!({"type": "chat", "message": 7}));
    assert_eq!(refused["error"], "Invalid chat message");
    ann.send(&json!({"type": "chat", "message": "hello"}));
    let line = json!({"from": "ann", "message": "hello"});
    for client in [&mut ann, &mut mia] {
        assert_eq!(client.receive()["message"], line);
    }
    let refused = ann.ask(&json!({"type": "chat", "message": "again"}));
    assert_eq!(refused["error"], "Slow mode: one message a second");

    let news = json!({"type": "publish", "channel": "news", "message": 1});
    assert_eq!(ann.ask(&news)["error"], "Not permitted");
    mia.subscribe("news");
    assert_eq!(mia.ask(&news)["type"], "broadcast");

    ann.send(&json!({"type": "announce", "message": "help"}));
    assert_eq!(mia.receive(), json!({"type": "notice", "message": "help"}));
    ann.0.close(None).unwrap();
    assert_eq!(mia.receive()["message"]["left"], "ann");
}
