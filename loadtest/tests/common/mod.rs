//! A small WebSocket server with planted faults, and a way to run the program against it.
//!
//! One thread per connection on std sockets; frames are read and handshakes answered by tungstenite, so the client is checked
//! against a foreign implementation. `/echo` echoes, anything else speaks subscribe and publish.
#![allow(dead_code, clippy::unwrap_used, missing_docs)]

use std::collections::HashMap;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;
use shardwire_protocol::websocket::frame::{Kind, write_server};
use tungstenite::handshake::server::{Request, Response};
use tungstenite::{Message, WebSocket, accept_hdr};

/// What the server does wrong, to one connection (echo) or the first subscriber (room).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// The message with this number (from 0) is not delivered.
    Lose(u32),
    /// It is delivered twice.
    Duplicate(u32),
    /// It is delivered after the next one of the same publisher.
    Swap(u32),
    /// It is delivered after the next one of another publisher.
    OtherOrder(u32),
    /// Its last character is changed.
    Corrupt(u32),
    /// The connection is closed with 1013 instead.
    Close(u32),
    /// The connection is cut instead.
    Cut(u32),
    /// Subscriptions are answered with an error, publishes too.
    Refuse,
    /// It is delivered to a connection of another channel or another connection's echo: with a changed source.
    Misroute(u32),
}

#[derive(Default)]
struct Room {
    channels: HashMap<String, Vec<Arc<Subscriber>>>,
    subscribers: u32,
}

struct Subscriber {
    socket: TcpStream,
    faulty: bool,
    state: Mutex<FaultState>,
}

#[derive(Default)]
struct FaultState {
    delivered: u32,
    /// Held back: publisher and text.
    held: Option<(u32, String)>,
}

impl Subscriber {
    fn write(&self, text: &str) {
        let mut frame = Vec::new();
        write_server(&mut frame, Kind::Text, text.as_bytes());
        let _ = (&self.socket).write_all(&frame);
    }

    fn deliver(&self, fault: Fault, publisher: u32, text: &str) {
        if !self.faulty {
            return self.write(text);
        }
        let mut state = self.state.lock().unwrap();
        let number = state.delivered;
        state.delivered += 1;
        if let Some((held_by, held)) = state.held.clone() {
            let same = held_by == publisher;
            let pass = (fault_is_swap(fault) && same) || (!fault_is_swap(fault) && !same);
            if pass {
                self.write(text);
                self.write(&held);
                state.held = None;
            } else if fault_is_swap(fault) {
                self.write(text);
            } else {
                // The same publisher again: its own order must stay; hold the newer one instead.
                self.write(&held);
                state.held = Some((publisher, text.to_owned()));
            }
            return;
        }
        match fault {
            Fault::Lose(at) if at == number => {}
            Fault::Duplicate(at) if at == number => {
                self.write(text);
                self.write(text);
            }
            Fault::Swap(at) | Fault::OtherOrder(at) if at == number => {
                state.held = Some((publisher, text.to_owned()));
            }
            Fault::Corrupt(at) if at == number => self.write(&corrupted(text)),
            Fault::Close(at) if at == number => {
                let mut frame = Vec::new();
                let mut body = 1013u16.to_be_bytes().to_vec();
                body.extend(b"try later");
                write_server(&mut frame, Kind::Close, &body);
                let _ = (&self.socket).write_all(&frame);
            }
            Fault::Cut(at) if at == number => {
                let _ = self.socket.shutdown(std::net::Shutdown::Both);
            }
            _ => self.write(text),
        }
    }
}

fn fault_is_swap(fault: Fault) -> bool {
    matches!(fault, Fault::Swap(_))
}

/// The last filler character changed: the message still carries its stamp.
fn corrupted(text: &str) -> String {
    let place = text.rfind(['x', 'w']).unwrap();
    let mut text = text.to_owned();
    text.replace_range(place..=place, "!");
    text
}

/// A running server; its threads end with the test process.
pub struct Server {
    pub address: SocketAddr,
    pub connections: Arc<AtomicU32>,
}

impl Server {
    pub fn start(fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&connections);
        thread::spawn(move || {
            let room = Arc::new(Mutex::new(Room::default()));
            for socket in listener.incoming().flatten() {
                let number = counter.fetch_add(1, Ordering::Relaxed);
                let room = Arc::clone(&room);
                thread::spawn(move || serve(socket, number, fault, &room));
            }
        });
        Self {
            address,
            connections,
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("ws://{}{path}", self.address)
    }
}

#[allow(clippy::result_large_err)]
fn serve(socket: TcpStream, number: u32, fault: Fault, room: &Mutex<Room>) {
    socket.set_nodelay(true).unwrap();
    let mut path = String::new();
    let accepted = accept_hdr(socket, |request: &Request, response: Response| {
        path = request.uri().path().to_owned();
        Ok(response)
    });
    let Ok(websocket) = accepted else { return };
    if path == "/echo" {
        echo(websocket, number, fault);
    } else {
        speak(websocket, number, fault, room);
    }
}

fn echo(mut websocket: WebSocket<TcpStream>, number: u32, fault: Fault) {
    let mut at = 0;
    let mut held: Option<Message> = None;
    while let Ok(message) = websocket.read() {
        if !message.is_text() && !message.is_binary() {
            continue;
        }
        let copy = message.clone();
        let planned = if number == 0 { fault } else { Fault::None };
        let result = match planned {
            Fault::Lose(n) if n == at => Ok(()),
            Fault::Duplicate(n) if n == at => {
                websocket.send(message).and_then(|()| websocket.send(copy))
            }
            Fault::Swap(n) if n == at => {
                held = Some(message);
                Ok(())
            }
            Fault::Corrupt(n) if n == at => {
                let mut bytes = message.into_data().to_vec();
                *bytes.last_mut().unwrap() ^= 1;
                websocket.send(Message::binary(bytes))
            }
            Fault::Misroute(n) if n == at => {
                let mut bytes = message.into_data().to_vec();
                // The last digit of the source.
                bytes[11] = if bytes[11] == b'B' { b'A' } else { b'B' };
                websocket.send(Message::binary(bytes))
            }
            Fault::Close(n) if n == at => websocket.close(None),
            Fault::Cut(n) if n == at => return,
            _ => websocket.send(message),
        };
        if let Some(late) = held.take_if(|_| planned == Fault::Swap(at.wrapping_sub(1))) {
            let _ = websocket.send(late);
        }
        at += 1;
        if result.is_err() {
            return;
        }
    }
}

fn speak(mut websocket: WebSocket<TcpStream>, number: u32, fault: Fault, room: &Mutex<Room>) {
    while let Ok(message) = websocket.read() {
        let Message::Text(text) = message else {
            continue;
        };
        let value: Value = serde_json::from_str(&text).unwrap();
        let channel = value["channel"].as_str().unwrap_or_default().to_owned();
        if fault == Fault::Refuse {
            let _ = websocket.send(Message::text(
                r#"{"type":"error","error":"Unknown message type"}"#,
            ));
            continue;
        }
        let mut room = room.lock().unwrap();
        match value["type"].as_str() {
            Some("subscribe") => {
                let subscriber = Arc::new(Subscriber {
                    socket: websocket.get_ref().try_clone().unwrap(),
                    faulty: room.subscribers == 0,
                    state: Mutex::default(),
                });
                subscriber.write(&format!(r#"{{"type":"subscribed","channel":"{channel}"}}"#));
                room.subscribers += 1;
                room.channels.entry(channel).or_default().push(subscriber);
            }
            Some("publish") => {
                let text = format!(
                    r#"{{"type":"broadcast","channel":"{channel}","message":{},"timestamp":1}}"#,
                    value["message"]
                );
                // The lock is held: all subscribers get the same order.
                for subscriber in room.channels.entry(channel).or_default() {
                    subscriber.deliver(fault, number, &text);
                }
            }
            other => panic!("the test does not send {other:?}"),
        }
    }
}

/// What the program did.
pub struct Ran {
    pub code: i32,
    pub report: Value,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    pub fn correctness(&self, what: &str) -> u64 {
        self.report["correctness"][what].as_u64().unwrap()
    }

    /// lost, duplicated, out of order, corrupted
    pub fn found(&self) -> (u64, u64, u64, u64) {
        (
            self.correctness("lost"),
            self.correctness("duplicated"),
            self.correctness("out_of_order"),
            self.correctness("corrupted"),
        )
    }
}

/// Runs the program with `--json`; `arguments` are separated by spaces.
pub fn run(arguments: &str) -> Ran {
    run_with(arguments, &["--json", "--quiet"])
}

pub fn run_with(arguments: &str, further: &[&str]) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args(arguments.split(' '))
        .args(further)
        .output()
        .unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        report: serde_json::from_str(&stdout).unwrap_or(Value::Null),
        stdout,
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}
