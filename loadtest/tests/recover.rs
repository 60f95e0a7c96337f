//! `recover` against a small server with histories, right and wrong in all the ways it is to tell apart.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use common::{Ran, run};
use serde_json::{Value, json};
use shardwire_protocol::websocket::frame::{Kind, write_server};
use tungstenite::{Message, WebSocket, accept};

/// What the server does wrong: to every subscriber that comes back and has missed enough, or to every tenth publication, since whoever is cut
/// off at that moment does not notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// The first message that a returning subscriber missed does not come.
    LoseFirst,
    /// The last message it had comes again.
    RepeatLast,
    /// The first two it missed come the wrong way round.
    Swap,
    /// It is told that the first two do not come.
    Gap,
    /// It gets everything, and is told that it does not.
    NotRecovered,
    /// A publication is acknowledged, and kept nowhere.
    AcknowledgeOnly,
    /// A publication is refused although it is kept; its key is remembered.
    RefuseKept,
    /// The same, and its key is not remembered.
    RefuseKeptAndForget,
    /// A publication is acknowledged at another place than it has.
    WrongPlace,
}

#[derive(Default)]
struct Log {
    /// At offset 1, 2, ….
    messages: Vec<Value>,
    keys: HashMap<String, u64>,
    subscribers: Vec<TcpStream>,
}

struct Room {
    logs: HashMap<String, Log>,
    fault: Fault,
    /// Publications that came before.
    came: HashSet<u64>,
}

fn write(socket: &TcpStream, message: &Value) {
    let mut frame = Vec::new();
    write_server(&mut frame, Kind::Text, message.to_string().as_bytes());
    // Whoever was cut off gets nothing.
    let _ = (&*socket).write_all(&frame);
}

const EPOCH: &str = "00000000000000aa";

fn record(channel: &str, offset: u64, message: &Value) -> Value {
    json!({"type": "broadcast", "channel": channel, "message": message, "timestamp": 1, "offset": offset, "epoch": EPOCH})
}

impl Room {
    fn subscribe(&mut self, socket: &TcpStream, channel: &str, since: Option<u64>) {
        let fault = self.fault;
        let log = self.logs.entry(channel.to_owned()).or_default();
        let head = log.messages.len() as u64;
        log.subscribers.push(socket.try_clone().unwrap());
        let answer = json!({"type": "subscribed", "channel": channel, "offset": since.unwrap_or(head), "epoch": EPOCH});
        let Some(since) = since else {
            return write(socket, &answer);
        };
        let mut missed: Vec<Value> = (since + 1..=head)
            .filter(|offset| !log.messages[*offset as usize - 1].is_null())
            .map(|offset| record(channel, offset, &log.messages[offset as usize - 1]))
            .collect();
        let last = (since > 0).then(|| record(channel, since, &log.messages[since as usize - 1]));
        let enough = missed.len() >= 2;
        let mut recovered = true;
        match fault {
            Fault::LoseFirst if enough => drop(missed.remove(0)),
            Fault::Swap if enough => missed.swap(0, 1),
            Fault::Gap if enough => {
                missed.drain(..2);
                recovered = false;
                let gap = json!({"type": "gap", "channel": channel, "from": since + 1, "to": since + 2, "epoch": EPOCH, "reason": "evicted"});
                missed.insert(0, gap);
            }
            Fault::NotRecovered => recovered = false,
            Fault::RepeatLast => missed.splice(0..0, last).for_each(drop),
            _ => {}
        }
        let mut answer = answer;
        answer["recovered"] = recovered.into();
        write(socket, &answer);
        for message in &missed {
            write(socket, message);
        }
    }

    fn publish(&mut self, socket: &TcpStream, channel: &str, asked: &Value) {
        let id = &asked["id"];
        let key = asked["idempotencyKey"].as_str().unwrap().to_owned();
        let number = id.as_u64().unwrap();
        let fault = match number % 10 {
            3 => self.fault,
            _ => Fault::None,
        };
        let again = !self.came.insert(number);
        let log = self.logs.entry(channel.to_owned()).or_default();
        if let Some(&offset) = log.keys.get(&key) {
            return write(socket, &published(channel, offset, id));
        }
        if fault == Fault::AcknowledgeOnly {
            // Its place stays empty for ever.
            log.messages.push(Value::Null);
            let offset = log.messages.len() as u64;
            return write(socket, &published(channel, offset, id));
        }
        let forget = fault == Fault::RefuseKeptAndForget && !again;
        let refuse = fault == Fault::RefuseKept || forget;
        let elsewhere = fault == Fault::WrongPlace;
        log.messages.push(asked["message"].clone());
        let offset = log.messages.len() as u64;
        if !forget {
            log.keys.insert(key, offset);
        }
        let message = record(channel, offset, &asked["message"]);
        for subscriber in &log.subscribers {
            write(subscriber, &message);
        }
        if refuse {
            let error = json!({"type": "error", "error": "Try again", "code": 110, "temporary": true, "id": id});
            return write(socket, &error);
        }
        write(
            socket,
            &published(channel, offset + u64::from(elsewhere), id),
        );
    }
}

fn published(channel: &str, offset: u64, id: &Value) -> Value {
    json!({"type": "published", "channel": channel, "offset": offset, "epoch": EPOCH, "id": id})
}

fn serve(mut websocket: WebSocket<TcpStream>, room: &Mutex<Room>) {
    let socket = websocket.get_ref().try_clone().unwrap();
    while let Ok(message) = websocket.read() {
        let Message::Text(text) = message else {
            continue;
        };
        let asked: Value = serde_json::from_str(&text).unwrap();
        let channel = asked["channel"].as_str().unwrap();
        // All subscribers see one order, because the lock is held until all have it.
        let mut room = room.lock().unwrap();
        match asked["type"].as_str().unwrap() {
            "subscribe" => {
                let since = asked["since"]["offset"].as_u64();
                room.subscribe(&socket, channel, since);
            }
            "publish" => room.publish(&socket, channel, &asked),
            other => panic!("the test does not send {other}"),
        }
    }
}

fn start(fault: Fault) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let room = Arc::new(Mutex::new(Room {
        logs: HashMap::new(),
        fault,
        came: HashSet::new(),
    }));
    thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let room = Arc::clone(&room);
            thread::spawn(move || {
                if let Ok(websocket) = accept(socket) {
                    serve(websocket, &room);
                }
            });
        }
    });
    address
}

fn recover(fault: Fault) -> Ran {
    let address = start(fault);
    run(&format!(
        "recover --url ws://{address}/ --subscribers 6 --channels 2 --publishers 2 --rate 200 --cut-every 200ms --duration 2s --warmup 0s"
    ))
}

fn counted(ran: &Ran, what: &str) -> u64 {
    ran.report["events"][what].as_u64().unwrap()
}

#[test]
fn a_server_that_keeps_its_word_passes() {
    let ran = recover(Fault::None);
    assert_eq!((ran.code, ran.found()), (0, (0, 0, 0, 0)), "{}", ran.stdout);
    // 400 publications, each to three subscribers.
    assert_eq!(ran.correctness("expected"), 1_200);
    assert!(counted(&ran, "cuts") > 0, "{}", ran.stdout);
    assert!(counted(&ran, "recovered") > 0, "{}", ran.stdout);
    assert!(
        ran.report["recovery"]["p99_us"].as_f64().unwrap() > 0.0,
        "{}",
        ran.stdout
    );
}

/// Only this is found, and it fails the run.
fn is_found(fault: Fault, what: &str) -> Ran {
    let ran = recover(fault);
    assert_eq!(ran.code, 1, "{}", ran.stdout);
    for kind in ["lost", "duplicated", "out_of_order", "corrupted"] {
        assert_eq!(
            ran.correctness(kind) > 0,
            kind == what,
            "{kind}: {}",
            ran.stdout
        );
    }
    ran
}

#[test]
fn a_message_lost_in_recovery_is_counted() {
    is_found(Fault::LoseFirst, "lost");
}

#[test]
fn a_message_that_comes_again_at_the_seam_is_counted() {
    is_found(Fault::RepeatLast, "duplicated");
}

#[test]
fn two_messages_the_wrong_way_round_are_counted() {
    is_found(Fault::Swap, "out_of_order");
}

#[test]
fn what_is_announced_as_missing_fails_the_run_and_is_not_called_lost() {
    let ran = is_found(Fault::Gap, "no such fault");
    let (announced, gaps) = (counted(&ran, "announced missing"), counted(&ran, "gaps"));
    assert!(announced > 0 && announced <= 2 * gaps, "{}", ran.stdout);
    assert!(counted(&ran, "not recovered") >= gaps, "{}", ran.stdout);
}

#[test]
fn a_recovery_that_the_server_denies_fails_the_run() {
    let ran = is_found(Fault::NotRecovered, "no such fault");
    assert!(counted(&ran, "not recovered") > 0, "{}", ran.stdout);
}

#[test]
fn what_was_acknowledged_and_not_kept_is_lost() {
    let ran = recover(Fault::AcknowledgeOnly);
    let (lost, duplicated, _, corrupted) = ran.found();
    // Sent again it is behind what was published later, so there may be some out of order.
    assert!(lost > 0, "{}", ran.stdout);
    assert_eq!(
        (ran.code, duplicated, corrupted),
        (1, 0, 0),
        "{}",
        ran.stdout
    );
}

#[test]
fn what_was_refused_is_sent_again_with_its_key_and_is_there_once() {
    let ran = recover(Fault::RefuseKept);
    assert_eq!((ran.code, ran.found()), (0, (0, 0, 0, 0)), "{}", ran.stdout);
    assert!(counted(&ran, "publications refused") > 0, "{}", ran.stdout);
    assert!(
        counted(&ran, "publications sent again") > 0,
        "{}",
        ran.stdout
    );
}

#[test]
fn a_server_that_forgets_keys_publishes_twice() {
    let ran = recover(Fault::RefuseKeptAndForget);
    let (lost, duplicated, _, corrupted) = ran.found();
    // The second is behind what was published later, so there may be some out of order.
    assert!(duplicated > 0, "{}", ran.stdout);
    assert_eq!((ran.code, lost, corrupted), (1, 0, 0), "{}", ran.stdout);
}

#[test]
fn an_acknowledgement_of_another_place_is_noticed() {
    is_found(Fault::WrongPlace, "corrupted");
}

#[test]
fn a_server_that_does_not_start_is_shown_with_what_it_said() {
    let ran = run("recover --url ws://127.0.0.1:0/ws --server /bin/false --duration 1s");
    assert_eq!(ran.code, 1);
    assert!(
        ran.stderr.contains("did not say where it listens"),
        "{}",
        ran.stderr
    );
}
