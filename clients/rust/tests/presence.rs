//! What a session says of its user and hears of others, against a server of a few lines in memory.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use shardwire_client::{
    PresenceChange, PresenceEvent, Session, SessionError, SessionEvent, SessionOptions,
};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{Heard, Memory, Peer, options};
use tokio::sync::broadcast;
use tokio::time::{self, Instant};

/// What the test says to every connection, and what the server has heard, when.
#[derive(Clone)]
struct Server {
    orders: broadcast::Sender<Order>,
    seen: Arc<Mutex<Vec<(Instant, Value)>>>,
    /// Answers to `set-presence`, before it is granted; `null`: the connection is cut instead.
    refusals: Arc<Mutex<Vec<Value>>>,
}

#[derive(Clone, Debug)]
enum Order {
    Say(Value),
    Cut,
}

fn refusal(code: u16, temporary: bool, id: &Value) -> Value {
    json!({"type": "error", "error": "No", "code": code, "temporary": temporary, "id": id})
}

fn server() -> (Server, Arc<Memory>) {
    let server = Server {
        orders: broadcast::Sender::new(64),
        seen: Arc::default(),
        refusals: Arc::default(),
    };
    let inside = server.clone();
    let memory = Memory::serve(move |_, stream| inside.clone().serve(stream));
    (server, memory)
}

impl Server {
    async fn serve(self, stream: tokio::io::DuplexStream) {
        let mut orders = self.orders.subscribe();
        let mut peer = Peer::accept(stream).await;
        let hello = json!({"type": "hello", "connection": "0:1.1", "user": "ann", "limits": {"maxMessageSize": 1024, "maxChannels": 8},
            "heartbeat": {"interval": 3_000_000, "timeout": 10_000, "presence": 30_000}, "serverTime": 1});
        peer.text(&hello.to_string()).await.unwrap();
        loop {
            let heard = tokio::select! {
                order = orders.recv() => match order.unwrap() {
                    Order::Say(text) => { peer.text(&text.to_string()).await.unwrap(); continue }
                    Order::Cut => return,
                },
                heard = peer.hear() => heard,
            };
            let text = match heard {
                Heard::Text(text) => text,
                Heard::Close(_) | Heard::End => return,
                _ => continue,
            };
            let message: Value = serde_json::from_str(&text).unwrap();
            let entry = (Instant::now(), message.clone());
            self.seen.lock().unwrap().push(entry);
            let id = &message["id"];
            let answer = match message["type"].as_str().unwrap() {
                "subscribe" => {
                    json!({"type": "subscribed", "channel": message["channel"], "id": id})
                }
                "set-presence" => {
                    let mut refusals = self.refusals.lock().unwrap();
                    match refusals.pop() {
                        Some(Value::Null) => return,
                        Some(code) => refusal(code.as_u64().unwrap() as u16, true, id),
                        None => {
                            json!({"type": "presence-update", "presence": {"ann": {"status": "busy", "metadata": {"n": 1}}}, "id": id})
                        }
                    }
                }
                "get-presence" if message["channel"] == "room:1" => {
                    json!({"type": "presence-state", "channel": "room:1", "members": ["ann", "bob"], "count": 2, "version": 9, "id": id})
                }
                "get-presence" if message["channel"] != Value::Null => refusal(125, false, id),
                "get-presence" => {
                    json!({"type": "presence-update", "presence": {"bob": {"status": "offline", "lastSeen": 5}}, "id": id})
                }
                _ => continue,
            };
            peer.text(&answer.to_string()).await.unwrap();
        }
    }

    fn say(&self, text: Value) {
        self.orders.send(Order::Say(text)).unwrap();
    }

    fn heard(&self, kind: &str) -> Vec<(Instant, Value)> {
        let seen = self.seen.lock().unwrap();
        let heard = seen.iter().filter(|(_, message)| message["type"] == kind);
        heard.cloned().collect()
    }
}

fn start(memory: Arc<Memory>, change: impl FnOnce(&mut SessionOptions)) -> Session {
    let mut wished = SessionOptions {
        connect: options(memory),
        ..SessionOptions::default()
    };
    wished.reconnect.seed = Some(1);
    change(&mut wished);
    Session::start("ws://server/ws", wished).unwrap()
}

fn busy() -> PresenceChange {
    PresenceChange::new().status("busy")
}

async fn settle() {
    time::sleep(Duration::from_millis(10)).await;
}

/// Cuts every connection, and waits until there is another one that has said what it says first.
async fn cut(server: &Server, session: &Session) {
    let mut events = session.events().await;
    server.orders.send(Order::Cut).unwrap();
    while !matches!(events.next().await, Some(SessionEvent::Connected { .. })) {}
    settle().await;
}

#[tokio::test(start_paused = true)]
async fn presence_is_set_and_asked_for() {
    let (server, memory) = server();
    let session = start(memory, |_| {});
    let change = busy().metadata("n", 1).unwrap();
    let own = session.set_presence(change).await.unwrap();
    assert_eq!((&*own.status, &own.metadata["n"]), ("busy", &json!(1)));
    assert_eq!(
        server.heard("set-presence")[0].1["presence"],
        json!({"status": "busy", "metadata": {"n": 1}})
    );
    let bob = &session.presence(&["bob"]).await.unwrap()["bob"];
    assert_eq!((&*bob.status, bob.last_seen), ("offline", Some(5)));
    assert_eq!(server.heard("get-presence")[0].1["ids"], json!(["bob"]));
    let members = session.members("room:1").await.unwrap();
    assert_eq!((members.members.unwrap().len(), members.count), (2, 2));
    assert!(matches!(
        session.members("elsewhere").await,
        Err(SessionError::Refused(refusal)) if refusal.code == 125
    ));
}

#[tokio::test(start_paused = true)]
async fn what_was_said_is_said_again_after_a_cut_as_one_change() {
    let (server, memory) = server();
    let session = start(memory, |_| {});
    session.set_presence(busy()).await.unwrap();
    let room = PresenceChange::new().current_room("room:1");
    session.set_presence(room).await.unwrap();
    // Refused: it was not said.
    server.refusals.lock().unwrap().push(json!(106));
    assert!(matches!(
        session
            .set_presence(PresenceChange::new().username("Ann"))
            .await,
        Err(SessionError::Refused(_))
    ));
    // What is said again is refused for now twice, and tried until it is granted.
    *server.refusals.lock().unwrap() = vec![json!(110), json!(110)];
    cut(&server, &session).await;
    assert_eq!(server.heard("set-presence").len(), 4);
    time::sleep(Duration::from_secs(10)).await;
    let said = server.heard("set-presence");
    assert_eq!(said.len(), 6);
    for (_, again) in &said[3..] {
        assert_eq!(
            again["presence"],
            json!({"status": "busy", "currentRoom": "room:1"})
        );
    }
    assert!(said[4].0 - said[3].0 >= Duration::from_secs(1));
    // One that is cut before its answer is sent again, behind what was said before.
    server.refusals.lock().unwrap().push(Value::Null);
    session
        .set_presence(PresenceChange::new().status("away"))
        .await
        .unwrap();
    let statuses: Vec<Value> = server.heard("set-presence")[6..]
        .iter()
        .map(|(_, said)| said["presence"]["status"].clone())
        .collect();
    assert_eq!(statuses, [json!("away"), json!("busy"), json!("away")]);
}

#[tokio::test(start_paused = true)]
async fn it_is_not_said_again_where_that_is_not_wanted() {
    let (server, memory) = server();
    let session = start(memory, |options| options.presence_again = false);
    session.set_presence(busy()).await.unwrap();
    cut(&server, &session).await;
    assert_eq!(server.heard("set-presence").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn contract_r1_a_silent_session_says_ping_as_often_as_the_server_asks() {
    let (server, memory) = server();
    let session = start(memory, |_| {});
    session.connected().await.unwrap();
    let begin = Instant::now();
    let hello = session.hello();
    assert!(hello.is_none_or(|hello| hello.heartbeat_presence == Some(Duration::from_secs(30))));
    time::sleep(Duration::from_secs(45)).await;
    // What is said counts.
    let _ = session.publish("news", "x").await.unwrap();
    time::sleep(Duration::from_secs(50)).await;
    let pings: Vec<u64> = server
        .heard("ping")
        .iter()
        .map(|(at, _)| (*at - begin).as_secs())
        .collect();
    assert_eq!(pings, [30, 75]);
    assert_eq!(server.heard("ping")[0].1, json!({"type": "ping"}));
    // While there is no connection, nothing is due.
    cut(&server, &session).await;
    session.close().await;

    let (server, memory) = self::server();
    let session = start(memory, |options| options.presence_heartbeat = false);
    session.connected().await.unwrap();
    time::sleep(Duration::from_secs(300)).await;
    assert_eq!(server.heard("ping").len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_watch_outlives_cuts_and_asks_when_a_change_is_missing() {
    let (server, memory) = server();
    let session = start(memory, |_| {});
    let mut room = session.watch_presence("room:1").await.unwrap();
    let told = |kind: &str, version: u64, fields: Value| {
        let mut text = json!({"type": kind, "channel": "room:1", "count": 1, "version": version});
        for (name, value) in fields.as_object().unwrap() {
            text[name] = value.clone();
        }
        text
    };
    server.say(told("presence-state", 0, json!({"members": ["ann"]})));
    let members = |joins: &[&str], leaves: &[&str]| {
        let owned = |names: &[&str]| names.iter().map(|name| Arc::from(*name)).collect();
        Some(PresenceEvent::Members {
            joins: owned(joins),
            leaves: owned(leaves),
        })
    };
    assert_eq!(room.next().await, members(&["ann"], &[]));
    server.say(told(
        "presence-diff",
        1,
        json!({"joins": ["eve"], "leaves": ["ann"]}),
    ));
    assert_eq!(room.next().await, members(&["eve"], &["ann"]));
    cut(&server, &session).await;
    assert_eq!(room.next().await, Some(PresenceEvent::Stale));
    assert_eq!(room.members().unwrap().collect::<Vec<_>>(), ["eve"]);
    server.say(told("presence-state", 7, json!({"members": ["joe"]})));
    assert_eq!(room.next().await, members(&["joe"], &["eve"]));
    // Version 8 is missing: the list is asked for, and is as of version 9. Whether it was stale for long enough to be told is up to the server.
    server.say(told(
        "presence-diff",
        9,
        json!({"joins": ["bob"], "leaves": []}),
    ));
    let mut next = room.next().await;
    if next == Some(PresenceEvent::Stale) {
        next = room.next().await;
    }
    assert_eq!(next, members(&["ann", "bob"], &["joe"]));
    assert_eq!(server.heard("get-presence").len(), 1);
    server.say(told("presence-diff", 10, json!({"count": 5_000})));
    assert_eq!(room.next().await, Some(PresenceEvent::Count(5_000)));
    // A newer token does not allow it.
    server.say(json!({"type": "unsubscribed", "channel": "$presence:room:1", "error": "Not permitted", "code": 115}));
    assert!(matches!(
        room.next().await,
        Some(PresenceEvent::Refused(refusal)) if refusal.code == 115
    ));
    assert_eq!(room.next().await, None);
    let watched = server.heard("subscribe");
    assert_eq!(watched.len(), 2);
    cut(&server, &session).await;
    assert_eq!(server.heard("subscribe").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_dropped_leaves() {
    let (server, memory) = server();
    let session = start(memory, |_| {});
    let room = session.watch_presence("room:1").await.unwrap();
    let other = session.watch_presence("room:1").await.unwrap();
    assert_eq!(server.heard("subscribe").len(), 1);
    drop(room);
    settle().await;
    assert_eq!(server.heard("unsubscribe").len(), 0);
    drop(other);
    settle().await;
    assert_eq!(
        server.heard("unsubscribe")[0].1["channel"],
        "$presence:room:1"
    );
}

#[tokio::test(start_paused = true)]
async fn a_plain_subscription_to_who_is_there_is_pointed_to_the_watch() {
    let (server, memory) = server();
    let session = start(memory, |_| {});
    let plain = session.subscribe("$presence:room:1").await;
    assert!(
        matches!(&plain, Err(SessionError::WatchPresence(channel)) if channel == "room:1"),
        "{plain:?}"
    );
    let told = plain.unwrap_err().to_string();
    assert!(told.contains("Session::watch_presence"), "{told}");
    assert!(server.heard("subscribe").is_empty());
    // Other channels of the server are channels like any.
    session.subscribe("$shards").await.unwrap();
}
