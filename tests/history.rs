//! History over real sockets and several shards: recovery after cuts, acknowledgements, topics, reading.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Barrier;
use std::time::Instant;

use serde_json::{Value, json};
use shardwire::config::{ChannelsRule, Config, PlacementRule, Slow};
use shardwire::{PublishError, PublishOptions};
use support::{Client, PATIENCE, TestEngine, config};

fn with_history(shards: usize, max_messages: usize) -> Config {
    let mut config = config(shards, PlacementRule::Accept);
    config.channels.rules = vec![ChannelsRule {
        channel: "room:*".to_owned(),
        max_messages: Some(max_messages),
        max_age: None,
        max_bytes: None,
        persistence: None,
        slow: Some(Slow::CatchUp),
    }];
    config
}

fn subscribe(client: &mut Client, channel: &str, since: Option<&Value>) -> Value {
    let mut message = json!({"type": "subscribe", "channel": channel});
    if let Some(since) = since {
        message["since"] = since.clone();
    }
    let answer = client.ask(&message);
    assert_eq!(answer["type"], "subscribed", "{answer}");
    answer
}

/// What `since` says of a message or an answer.
fn place(message: &Value) -> Value {
    json!({"offset": message["offset"], "epoch": message["epoch"]})
}

#[test]
fn contract_q5_a_publication_is_acknowledged_with_its_place_and_known_by_its_key() {
    let engine = TestEngine::start(config(2, PlacementRule::Accept));
    let mut clients: Vec<_> = (0..8).map(|_| engine.client("/ws")).collect();
    let first = subscribe_topic(&mut clients[0], "orders");
    for (index, client) in clients.iter_mut().enumerate() {
        let message = json!({"type": "publish", "topic": "orders", "message": index, "exclude": "self",
            "idempotencyKey": format!("order-{}", index / 2), "id": index});
        client.send(&message);
        // The subscriber's own answer may come behind messages of others.
        let told = loop {
            let told = client.receive();
            if told["type"] != "topic-message" {
                break told;
            }
        };
        assert_eq!(
            told,
            json!({"type": "published", "topic": "orders", "offset": index / 2 + 1,
            "epoch": first["epoch"], "id": index})
        );
    }
    let once = PublishOptions {
        key: Some("order-2".into()),
        ..PublishOptions::default()
    };
    let again = engine
        .0
        .publish_with("topic:orders", &"again", once.clone());
    assert_eq!(again.unwrap().wait().unwrap().unwrap().offset, 3);
    let options = PublishOptions::default();
    let new = engine
        .0
        .publish_with("topic:orders", &"new", options.clone());
    assert_eq!(new.unwrap().wait().unwrap().unwrap().offset, 5);
    assert_eq!(
        engine
            .0
            .publish_with("elsewhere", &1, options)
            .unwrap()
            .wait()
            .unwrap(),
        None
    );
    let refused = engine.0.publish_with("elsewhere", &1, once).unwrap().wait();
    assert!(
        matches!(refused, Err(PublishError::NoHistory)),
        "{refused:?}"
    );
}

fn subscribe_topic(client: &mut Client, topic: &str) -> Value {
    let answer = client.ask(&json!({"type": "subscribe-topic", "topic": topic}));
    assert_eq!(
        (&answer["type"], &answer["topic"]),
        (&json!("subscribed"), &json!(topic))
    );
    answer
}

#[test]
fn history_is_read_over_any_shard() {
    let engine = TestEngine::start(with_history(3, 100));
    let mut clients: Vec<_> = (0..6).map(|_| engine.client("/ws")).collect();
    for n in 1..=30 {
        let told = clients[n % 6]
            .ask(&json!({"type": "publish", "channel": "room:1", "message": n, "id": 1}));
        assert_eq!(told["offset"], n);
    }
    for client in &mut clients {
        let answer = client.ask(
            &json!({"type": "history", "channel": "room:1", "limit": 3, "direction": "backward"}),
        );
        let messages = answer["messages"].as_array().unwrap();
        let numbers: Vec<_> = messages
            .iter()
            .map(|it| it["message"].as_u64().unwrap())
            .collect();
        assert_eq!((numbers, &answer["more"]), (vec![30, 29, 28], &json!(true)));
    }
}

/// Subscribers whose connections are cut again and again, in the middle of frames or not, while publishers never pause.
#[test]
fn whoever_is_cut_off_and_comes_back_has_everything_once_and_in_order() {
    const ROOMS: usize = 4;
    const READERS: usize = 8;
    const MESSAGES: u64 = 3_000;
    let engine = TestEngine::start(with_history(2, 100_000));
    let begin = Barrier::new(ROOMS + READERS);
    std::thread::scope(|scope| {
        let publishers: Vec<_> = (0..ROOMS)
            .map(|room| {
                let (engine, begin) = (&engine, &begin);
                scope.spawn(move || {
                    let mut publisher = engine.client("/ws");
                    begin.wait();
                    let mut acknowledged = Vec::new();
                    for n in 1..=MESSAGES {
                        let told = publisher.ask(
                            &json!({"type": "publish", "channel": format!("room:{room}"),
                            "message": n, "id": n}),
                        );
                        assert_eq!(told["id"], n, "{told}");
                        acknowledged.push((told["offset"].as_u64().unwrap(), n));
                    }
                    acknowledged
                })
            })
            .collect();
        let readers: Vec<_> = (0..READERS)
            .map(|reader| {
                let (engine, begin) = (&engine, &begin);
                let channel = format!("room:{}", reader % ROOMS);
                scope.spawn(move || read_with_cuts(engine, reader, &channel, MESSAGES, begin))
            })
            .collect();
        let acknowledged: Vec<_> = publishers
            .into_iter()
            .map(|it| it.join().unwrap())
            .collect();
        for (reader, got) in readers.into_iter().enumerate() {
            let (got, cuts) = got.join().unwrap();
            assert!(
                got == acknowledged[reader % ROOMS],
                "reader {reader} has them all, once and in order"
            );
            assert!(cuts >= 3, "reader {reader} was cut {cuts} times");
        }
    });
}

/// Reads until the last offset has come; every so many messages its socket is closed without a word. What it got, and how often
/// it was cut.
fn read_with_cuts(
    engine: &TestEngine,
    reader: usize,
    channel: &str,
    last: u64,
    begin: &Barrier,
) -> (Vec<(u64, u64)>, u32) {
    let patience_ends = Instant::now() + 6 * PATIENCE;
    let mut got: Vec<(u64, u64)> = Vec::new();
    let mut since: Option<Value> = None;
    for cuts in 0.. {
        assert!(Instant::now() < patience_ends, "it takes too long");
        let mut client = engine.client("/ws");
        let told = subscribe(&mut client, channel, since.as_ref());
        if since.is_some() {
            assert_eq!(told["recovered"], true);
        } else {
            assert_eq!(told["offset"], 0);
            begin.wait();
            since = Some(place(&told));
        }
        for _ in 0..97 + 61 * ((reader + cuts as usize) % 7) {
            let message = client.receive();
            assert_eq!(message["type"], "broadcast", "{message}");
            let offset = message["offset"].as_u64().unwrap();
            got.push((offset, message["message"].as_u64().unwrap()));
            since = Some(place(&message));
            if offset == last {
                return (got, cuts);
            }
        }
    }
    unreachable!("it reads until it returns")
}

#[test]
fn what_is_no_longer_kept_is_named() {
    let engine = TestEngine::start(with_history(2, 10));
    let (mut reader, mut publisher) = (engine.client("/ws"), engine.client("/ws"));
    let begun = subscribe(&mut reader, "room:x", None);
    drop(reader);
    for n in 1..=25 {
        publisher.ask(&json!({"type": "publish", "channel": "room:x", "message": n, "id": n}));
    }
    let mut reader = engine.client("/ws");
    let told = subscribe(&mut reader, "room:x", Some(&place(&begun)));
    assert_eq!(
        (&told["recovered"], &told["offset"]),
        (&json!(false), &json!(0))
    );
    assert_eq!(
        reader.receive(),
        json!({"type": "gap", "channel": "room:x", "from": 1, "to": 15,
        "epoch": begun["epoch"], "reason": "evicted"})
    );
    for n in 16..=25 {
        assert_eq!(reader.receive()["message"], n);
    }
    // Another server, or this one after a restart, has another life of the log.
    let other = TestEngine::start(with_history(2, 10));
    let told = subscribe(&mut other.client("/ws"), "room:x", Some(&place(&begun)));
    assert_eq!(told["recovered"], false);
    assert_ne!(told["epoch"], begun["epoch"]);
}
