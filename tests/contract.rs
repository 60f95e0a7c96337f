//! Ids of the contract that no other file is about, over real sockets, and the table of all of them
//! (`docs/reference/contract.md`). Goal: whoever asks whether an id is kept finds the test that says so.
#![allow(clippy::unwrap_used)]

#[path = "support/contract_table.rs"]
mod contract_table;
mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use shardwire::config::PlacementRule;
use shardwire::{CloseCause, Context, Engine, HandlerError, Json, Message};
use support::{TestEngine, config, eventually};

#[test]
fn contract_m2_an_upgrade_request_has_a_deadline_that_a_trickle_does_not_move() {
    let mut config = config(1, PlacementRule::Accept);
    config.connections.connection_timeout = "500ms".parse().unwrap();
    let engine = TestEngine::start(config);
    let begin = Instant::now();
    let mut socket: TcpStream = engine.socket();
    let head = b"GET /ws HTTP/1.1\r\nHost: server\r\nX-Long: ";
    socket.write_all(head).unwrap();
    // A byte now and then, until the server has had enough.
    let mut writer = socket.try_clone().unwrap();
    let trickle = std::thread::spawn(move || {
        for _ in 0..100 {
            if writer.write_all(b"x").is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    let mut rest = Vec::new();
    // What the server says before it closes does not matter here; a reset is an end, too.
    let _ = socket.read_to_end(&mut rest);
    let lasted = begin.elapsed();
    // The engine's clock shows whole milliseconds: it may have been one on its way when the socket came.
    assert!(lasted > Duration::from_millis(499), "{lasted:?}");
    assert!(
        lasted < Duration::from_secs(8),
        "a trickle keeps it: {lasted:?}"
    );
    assert!(!String::from_utf8_lossy(&rest).contains("101"), "{rest:?}");
    trickle.join().unwrap();
}

#[test]
fn contract_m20_m30_an_accepted_socket_has_its_answer_its_user_and_its_own_context() {
    let mut config = config(2, PlacementRule::UserHash);
    config.connections.protocols = vec!["stream".into(), "chat".into()];
    let engine = TestEngine(
        Engine::builder(config)
            .route("who", async |context: Context, _: Message| {
                *context.data::<usize>() += 1;
                let asked = *context.data::<usize>();
                let answer = json!({
                    "user": context.user(),
                    "address": context.address(),
                    "connection": context.connection().to_string(),
                    "asked": asked,
                });
                context.send(&answer).map_err(HandlerError::failed)
            })
            .start()
            .unwrap(),
    );
    let mut socket = engine.socket();
    let request = "GET /ws?user=ann HTTP/1.1\r\nHost: server\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                   Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    let answer = String::from_utf8(answer).unwrap().to_lowercase();
    for part in [
        "http/1.1 101",
        "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=",
        "sec-websocket-protocol: chat\r\n",
        "sec-websocket-extensions: permessage-deflate",
    ] {
        assert!(answer.contains(part), "{part}: {answer}");
    }
    let mut ann = support::Client::behind_upgrade(socket);
    let mut bob = engine.client("/ws?user=bob");
    let first = ann.ask(&json!({"type": "who"}));
    assert_eq!(
        (&first["user"], &first["address"], &first["asked"]),
        (&json!("ann"), &json!("127.0.0.1"), &json!(1))
    );
    let others = bob.ask(&json!({"type": "who"}));
    assert_eq!(
        (&others["user"], &others["asked"]),
        (&json!("bob"), &json!(1)),
        "what a handler keeps is kept with one connection"
    );
    let again = ann.ask(&json!({"type": "who"}));
    assert_eq!(again["asked"], 2);
    assert_eq!(again["connection"], first["connection"]);
    assert_ne!(again["connection"], others["connection"]);
    let listed = engine.0.user_connections("ann").wait();
    assert_eq!(listed.len(), 1);
    assert_eq!(json!(listed[0].to_string()), first["connection"]);
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Join {
    room_id: String,
}

/// The room of a connection, as an application of the document keeps it.
#[derive(Default)]
struct Room(String);

#[test]
fn contract_w3_k11_a_room_is_joined_and_the_others_are_told_who_has_gone() {
    let engine = TestEngine(
        Engine::builder(config(2, PlacementRule::Accept))
            .route("room:join", async |context: Context, join: Json<Join>| {
                context.subscribe(&format!("room:{}", join.room_id));
                context.data::<Room>().0.clone_from(&join.room_id);
                let joined = json!({"type": "room:joined", "roomId": join.room_id});
                context.send(&joined).map_err(HandlerError::failed)
            })
            .on_close(async |context: Context, cause: CloseCause| {
                let room = context.data::<Room>().0.clone();
                let lost = cause == CloseCause::Lost;
                let left = json!({"type": "user-left", "user": context.user(), "lost": lost});
                // Nobody is left to be told of a mistake here.
                let _ = context.engine().publish(&format!("room:{room}"), &left);
            })
            .start()
            .unwrap(),
    );
    let join = |user: &str| {
        let mut client = engine.client(&format!("/ws?user={user}"));
        client.send(&json!({"type": "room:join", "roomId": "7"}));
        let mut answers = [client.receive(), client.receive()];
        answers.sort_by_key(|answer| answer["type"].to_string());
        assert_eq!(answers[0], json!({"type": "room:joined", "roomId": "7"}));
        assert_eq!(
            answers[1],
            json!({"type": "subscribed", "channel": "room:7"})
        );
        client
    };
    let (mut ann, mut bob, cid) = (join("ann"), join("bob"), join("cid"));
    // One closes in order, one is cut: the rest hears of both, and nothing of either is kept.
    bob.0.close(None).unwrap();
    let left = ann.receive();
    assert_eq!(
        left["message"],
        json!({"type": "user-left", "user": "bob", "lost": false})
    );
    drop(cid);
    let left = ann.receive();
    assert_eq!(
        left["message"],
        json!({"type": "user-left", "user": "cid", "lost": true})
    );
    eventually("one is left", || engine.0.active_connections() == 1);
}

#[test]
fn the_table_in_docs_names_every_id_and_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/reference/contract.md")).unwrap();
    let tests = contract_table::tests_by_id(root);
    let faults = contract_table::faults(&page, &tests);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
