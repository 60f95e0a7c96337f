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

#[test]
fn embed_joins_a_tokio_http_service_and_the_engine() {
    // `cargo test` and `cargo nextest` build the examples of this package beside its binary.
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_shardwire"))
        .with_file_name("examples")
        .join("embed");
    let mut child = Command::new(program)
        .args(["127.0.0.1:0", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let _example = Example(child);
    let (service, engine) = line
        .trim()
        .strip_prefix("http on ")
        .unwrap()
        .split_once(", websocket on ws://")
        .unwrap();
    let service: SocketAddr = service.parse().unwrap();
    let engine: SocketAddr = engine.strip_suffix("/ws").unwrap().parse().unwrap();

    let stream = TcpStream::connect(engine).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut client = Client::over(stream, "/ws?user=ann");
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
