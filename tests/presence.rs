//! Presence over real sockets, by every door: clients, handlers, the library, HTTP. Goal: they all mean the same users and channels, and
//! what one says the others find.
#![allow(clippy::unwrap_used)]

#[path = "support/http.rs"]
mod http;
mod support;

use http::Admin;
use serde_json::{Value, json};
use shardwire::config::{Config, PlacementRule, Secret};
use shardwire::{Context, Engine, HandlerError, Message, PresenceChange, PresenceError};
use support::{Client, TestEngine, config, eventually};

const KEY: &str = "correct-horse-battery-staple";

fn with_presence() -> Config {
    let mut config = config(3, PlacementRule::UserHash);
    config.admin.address = Some("127.0.0.1:0".parse().unwrap());
    config.admin.key = Some(Secret::new(KEY));
    config.presence.channels = vec!["room:*".into()];
    config.presence.grace_period = "200ms".parse().unwrap();
    config
}

fn start() -> (TestEngine, Admin) {
    let engine = Engine::builder(with_presence())
        .route("lunch", async |context: Context, _: Message| {
            let change = PresenceChange::read(r#"{"status":"at lunch"}"#);
            let change = change.map_err(|_| HandlerError::failed("not a change"))?;
            context.set_presence(change).map_err(HandlerError::failed)
        })
        .start()
        .unwrap();
    let admin = Admin {
        address: engine.admin_address().unwrap(),
        key: Some(KEY.to_owned()),
    };
    (TestEngine(engine), admin)
}

fn user(engine: &TestEngine, name: &str) -> Client {
    let mut client = engine.client(&format!("/ws?user={name}"));
    assert_eq!(client.ask(&json!({"type": "ping"}))["type"], "pong");
    client
}

#[test]
fn contract_r4_r5_presence_is_set_and_asked_for_from_the_program_and_by_http() {
    let (engine, admin) = start();
    let mut ann = user(&engine, "ann");
    let change = |json: &str| PresenceChange::read(json).unwrap();
    let set = engine
        .0
        .set_presence("ann", change(r#"{"username":"Ann","metadata":{"n":1.50}}"#))
        .unwrap();
    assert_eq!(
        set.wait().unwrap().to_json(),
        r#"{"status":"online","username":"Ann","metadata":{"n":1.50}}"#
    );
    let told = admin.post(
        "/v1/users/ann/presence",
        &json!({"currentRoom": "room:1", "metadata": {"n": null}}),
    );
    let presence = json!({"status": "online", "username": "Ann", "currentRoom": "room:1"});
    assert_eq!(told, json!({"user": "ann", "presence": presence}));
    assert_eq!(admin.ask("/v1/users/ann/presence"), told);
    ann.send(&json!({"type": "lunch"}));
    let status = || {
        let found = engine.0.presence(&["ann", "eve"]).unwrap().wait().unwrap();
        let mut status: Vec<String> = found
            .iter()
            .map(|(user, presence)| format!("{user}: {}", presence.status))
            .collect();
        status.sort();
        status
    };
    eventually("the handler's word", || {
        status() == ["ann: at lunch", "eve: offline"]
    });
    let get = json!({"type": "get-presence", "ids": ["ann"], "id": 1});
    let told = ann.ask(&get);
    assert_eq!(told["presence"]["ann"]["currentRoom"], "room:1", "{told}");
    drop(ann);
    eventually("the end of the grace period", || {
        status() == ["ann: offline", "eve: offline"]
    });
    let seen = admin.ask("/v1/users/ann/presence")["presence"]["lastSeen"].clone();
    assert!(seen.as_u64().unwrap() > 1_600_000_000_000, "{seen}");
}

#[test]
fn mistakes_are_told_at_every_door() {
    let (engine, admin) = start();
    let refused = |user: &str| {
        let set = engine.0.set_presence(user, PresenceChange::default());
        set.err()
    };
    assert_eq!(refused(""), Some(PresenceError::Name(String::new())));
    let many = vec!["ann"; 101];
    assert!(matches!(
        engine.0.presence(&many),
        Err(PresenceError::TooMuch)
    ));
    let long = format!(r#"{{"metadata":{{"a":"{}"}}}}"#, "x".repeat(3_000));
    for (body, status) in [("[]", 400), (r#"{"status":1}"#, 400), (long.as_str(), 413)] {
        let answer = admin.call("POST", "/v1/users/ann/presence", body);
        assert_eq!(answer.status, status, "{body}");
    }
    assert_eq!(
        admin.get("/v1/channels/room:1/presence?limit=0").status,
        400
    );
}

#[test]
fn members_of_a_channel_are_told_by_every_door() {
    let (engine, admin) = start();
    let mut eve = user(&engine, "eve");
    let told_in = "$presence:room:1";
    eve.send(&json!({"type": "subscribe", "channel": told_in}));
    assert_eq!(eve.receive()["type"], "subscribed");
    let mut version = {
        let state = eve.receive();
        let expected = json!({"type": "presence-state", "channel": "room:1", "members": [], "count": 0, "version": 0});
        assert_eq!(state, expected);
        0
    };
    let mut clients: Vec<Client> = Vec::new();
    for n in 0..5 {
        let mut client = user(&engine, &format!("user-{n}"));
        client.subscribe("room:1");
        clients.push(client);
        version += 1;
        let joined = json!({"type": "presence-diff", "channel": "room:1", "joins": [format!("user-{n}")], "leaves": [],
            "count": n + 1, "version": version});
        assert_eq!(eve.receive(), joined);
    }
    let listed = admin.ask("/v1/channels/room:1/presence?limit=2");
    assert_eq!(
        listed,
        json!({"channel": "room:1", "count": 5, "members": ["user-0", "user-1"]})
    );
    let found = engine.0.channel_presence("room:1", 100).unwrap();
    assert_eq!(found.wait().unwrap().members.len(), 5);
    drop(clients);
    let mut left: Vec<Value> = Vec::new();
    while left.len() < 5 {
        let told = eve.receive();
        left.extend(told["leaves"].as_array().unwrap().iter().cloned());
    }
    left.sort_by_key(ToString::to_string);
    let everybody: Vec<Value> = (0..5).map(|n| json!(format!("user-{n}"))).collect();
    assert_eq!(left, everybody);
    assert_eq!(admin.ask("/v1/channels/room:1/presence")["count"], 0);
}
