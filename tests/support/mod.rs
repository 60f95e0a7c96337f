//! An engine of the test's own on a free port, and clients that are not ours.
#![allow(clippy::unwrap_used, dead_code)]

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use shardwire::config::{Config, DirectDescriptors, DriverChoice, PlacementRule};
use shardwire::{Engine, EngineHandle};
use shardwire_protocol::websocket::{Decoder, Event, Rules};
use shardwire_shards::vocabulary::ShardId;
use socket2::{Domain, Socket, Type};
use tungstenite::protocol::Role;
use tungstenite::{Message, WebSocket};

/// Longest any single step of a test may take; generous, because the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A configuration on a free port.
pub fn config(shards: usize, placement: PlacementRule) -> Config {
    let mut config = Config::default();
    config.listen.address = "127.0.0.1:0".parse().unwrap();
    config.shards.count = Some(shards);
    config.shards.pin = Some(false);
    config.shards.placement = placement;
    config.shards.driver = driver();
    config.shards.direct_descriptors = direct_descriptors();
    config
}

/// Which driver the whole suite tries: as the server reads it.
fn driver() -> DriverChoice {
    match std::env::var("SHARDWIRE_SHARDS__DRIVER").as_deref() {
        Ok("epoll") => DriverChoice::Epoll,
        Ok("io-uring") => DriverChoice::IoUring,
        Ok("auto") | Err(_) => DriverChoice::Auto,
        Ok(other) => panic!("there is no driver {other:?}"),
    }
}

/// Whether the whole suite tries direct descriptors: as the server reads it.
fn direct_descriptors() -> DirectDescriptors {
    match std::env::var("SHARDWIRE_SHARDS__DIRECT_DESCRIPTORS").as_deref() {
        Ok("on") => DirectDescriptors::On,
        Ok("off") => DirectDescriptors::Off,
        Ok("auto") | Err(_) => DirectDescriptors::Auto,
        Ok(other) => panic!("direct descriptors are not {other:?}"),
    }
}

/// A running engine that is stopped at the end of the test.
pub struct TestEngine(pub EngineHandle);

impl TestEngine {
    pub fn start(config: Config) -> Self {
        Self(Engine::builder(config).start().unwrap())
    }

    pub fn client(&self, path: &str) -> Client {
        self.client_from(IpAddr::V4(Ipv4Addr::LOCALHOST), path)
    }

    pub fn client_from(&self, source: IpAddr, path: &str) -> Client {
        Client::over(self.socket_from(source), path)
    }

    pub fn socket(&self) -> TcpStream {
        self.socket_from(IpAddr::V4(Ipv4Addr::LOCALHOST))
    }

    /// A TCP connection from one of this machine's loopback addresses.
    pub fn socket_from(&self, source: IpAddr) -> TcpStream {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(source, 0).into()).unwrap();
        socket.connect(&self.0.local_address().into()).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }
}

impl Drop for TestEngine {
    fn drop(&mut self) {
        let ended = self.0.drain_and_stop();
        if !std::thread::panicking() {
            ended.unwrap();
        }
    }
}

/// tungstenite's client.
pub struct Client<S = TcpStream>(pub WebSocket<S>);

impl<S: Read + Write> Client<S> {
    pub fn over(stream: S, path: &str) -> Self {
        let (socket, _) = tungstenite::client(format!("ws://server{path}"), stream).unwrap();
        Self(socket)
    }

    /// Behind an upgrade that was done by hand.
    pub fn behind_upgrade(stream: S) -> Self {
        Self(WebSocket::from_raw_socket(stream, Role::Client, None))
    }

    pub fn send(&mut self, message: &Value) {
        self.0.send(Message::text(message.to_string())).unwrap();
    }

    /// The next text message as JSON.
    pub fn receive(&mut self) -> Value {
        loop {
            if let Message::Text(text) = self.0.read().unwrap() {
                return serde_json::from_str(text.as_str()).unwrap();
            }
        }
    }

    pub fn ask(&mut self, message: &Value) -> Value {
        self.send(message);
        self.receive()
    }

    pub fn subscribe(&mut self, channel: &str) {
        let answer = self.ask(&json!({"type": "subscribe", "channel": channel}));
        assert_eq!(answer, json!({"type": "subscribed", "channel": channel}));
    }

    /// Reads until the close frame: its code and reason.
    pub fn read_close(&mut self) -> (u16, String) {
        loop {
            match self.0.read() {
                Ok(Message::Close(Some(frame))) => {
                    return (frame.code.into(), frame.reason.to_string());
                }
                Ok(Message::Close(None)) => return (1005, String::new()),
                Ok(_) => {}
                Err(error) => panic!("ended without a close frame: {error}"),
            }
        }
    }
}

/// Waits until `condition` holds.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < PATIENCE, "did not happen: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The upgrade's answer and then this many binary messages, however the stream is cut.
pub fn read_messages(reader: &mut impl Read, count: usize) -> Vec<Vec<u8>> {
    let rules = Rules {
        role: shardwire_protocol::websocket::Role::Client,
        max_message_size: 1 << 20,
    };
    let mut decoder = Decoder::default();
    let (mut messages, mut head, mut buffer) = (Vec::new(), Vec::new(), vec![0; 16 << 10]);
    let mut upgraded = false;
    while messages.len() < count {
        let received = reader.read(&mut buffer).unwrap();
        assert_ne!(
            received,
            0,
            "the server closed after {} of {count} messages",
            messages.len()
        );
        let mut bytes = buffer[..received].to_vec();
        if !upgraded {
            head.extend_from_slice(&bytes);
            let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") else {
                continue;
            };
            assert!(head.starts_with(b"HTTP/1.1 101 "));
            upgraded = true;
            bytes = head.split_off(end + 4);
        }
        let mut at = 0;
        while at < bytes.len() {
            let decoded = decoder.decode(&rules, &mut bytes[at..]).unwrap();
            at += decoded.consumed;
            if let Some(Event::Binary(payload)) = decoded.event {
                messages.push(payload.to_vec());
            }
        }
    }
    messages
}

/// Where the engine says that this user's one connection lives.
pub fn lives_on(engine: &TestEngine, user: &str) -> ShardId {
    let mut found = Vec::new();
    eventually("the user is registered", || {
        found = engine.0.user_connections(user).wait();
        !found.is_empty()
    });
    assert_eq!(found.len(), 1);
    found[0].shard()
}
