//! Logs: places, what is kept and how long, reading, idempotency, acknowledgements.

#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use shardwire_protocol::codes::ErrorCode;
use shardwire_shards::ShardSettings;
use shardwire_shards::history::{ChannelRule, ChannelSettings, HistoryRule, SlowPolicy};
use shardwire_shards::vocabulary::{Answer, AnswerId, Command, PublishOptions};
use support::{PeerId, World, open_settings};

const SHARDS: [u16; 2] = [1, 3];

fn rule(max_messages: usize, max_age_ms: u64) -> HistoryRule {
    HistoryRule {
        max_messages,
        max_age_ms,
        max_bytes: 1 << 20,
        durable: false,
    }
}

/// Channels `room:*` have this history; forgotten after 60 s.
fn settings(history: HistoryRule) -> ShardSettings {
    let rules = Box::new([ChannelRule {
        channels: "room:*".parse().unwrap(),
        history: Some(history),
        slow: SlowPolicy::CatchUp,
    }]);
    ShardSettings {
        channels: ChannelSettings {
            rules,
            forget_after_ms: 60_000,
            idempotency_window_ms: 10_000,
            ..ChannelSettings::default()
        },
        heartbeat_interval_ms: 100_000_000,
        ..open_settings()
    }
}

fn world(shards: u16, history: HistoryRule) -> World {
    World::with(shards, settings(history))
}

fn ask(world: &mut World, peer: PeerId, message: Value) -> Vec<Value> {
    world.say(peer, &message.to_string());
    world.pass(10);
    world.messages(peer)
}

fn publish(world: &mut World, peer: PeerId, channel: &str, message: Value) -> Vec<Value> {
    ask(
        world,
        peer,
        json!({"type": "publish", "channel": channel, "message": message, "id": 1}),
    )
}

/// What came of messages: offset and message of each.
fn messages(heard: &[Value]) -> Vec<(u64, Value)> {
    heard
        .iter()
        .filter(|it| it["type"] == "broadcast")
        .map(|it| (it["offset"].as_u64().unwrap(), it["message"].clone()))
        .collect()
}

#[test]
fn every_message_has_its_place_and_a_subscription_begins_at_one() {
    for shards in SHARDS {
        let mut world = world(shards, rule(100, 600_000));
        let channel = world.channel_at(0);
        let publisher = world.connect(0);
        let reader = world.connect(usize::from(shards) - 1);
        let told = ask(
            &mut world,
            reader,
            json!({"type": "subscribe", "channel": channel}),
        );
        let epoch = told[0]["epoch"].as_str().unwrap().to_owned();
        assert_eq!(epoch.len(), 16);
        assert_eq!(
            told,
            [json!({"type": "subscribed", "channel": channel, "offset": 0, "epoch": epoch})]
        );
        let told = publish(&mut world, publisher, &channel, json!("a"));
        assert_eq!(
            told,
            [
                json!({"type": "published", "channel": channel, "offset": 1, "epoch": epoch, "id": 1})
            ]
        );
        publish(&mut world, publisher, &channel, json!("b"));
        let heard = world.messages(reader);
        assert_eq!(messages(&heard), [(1, json!("a")), (2, json!("b"))]);
        assert!(heard.iter().all(|it| it["epoch"] == epoch.as_str()));
        let late = world.connect(usize::from(shards) - 1);
        let told = ask(
            &mut world,
            late,
            json!({"type": "subscribe", "channel": channel}),
        );
        assert_eq!((&told[0]["offset"], told.len()), (&json!(2), 1));
    }
}

#[test]
fn without_an_id_nothing_is_acknowledged_and_without_history_nothing_ever() {
    let mut world = world(1, rule(100, 600_000));
    let peer = world.connect(0);
    let text = json!({"type": "publish", "channel": "room:1", "message": 1});
    assert!(ask(&mut world, peer, text).is_empty());
    assert!(publish(&mut world, peer, "elsewhere", json!(1)).is_empty());
    let refused = ask(
        &mut world,
        peer,
        json!({"type": "publish", "channel": "elsewhere", "message": 1, "idempotencyKey": "k", "id": 2}),
    );
    assert_eq!(refused[0]["code"], ErrorCode::NoHistory.number());
    let refused = ask(
        &mut world,
        peer,
        json!({"type": "history", "channel": "elsewhere"}),
    );
    assert_eq!(refused[0]["code"], ErrorCode::NoHistory.number());
    let told = ask(
        &mut world,
        peer,
        json!({"type": "subscribe", "channel": "elsewhere", "since": {"offset": 1, "epoch": "0000000000000001"}}),
    );
    assert_eq!(
        told,
        [json!({"type": "subscribed", "channel": "elsewhere", "recovered": false})]
    );
}

#[test]
fn history_is_read_forwards_and_backwards_in_bounded_answers() {
    for shards in SHARDS {
        let mut world = world(shards, rule(200, 600_000));
        let channel = world.channel_at(0);
        let peer = world.connect(usize::from(shards) - 1);
        for n in 1..=150 {
            publish(&mut world, peer, &channel, json!(n));
        }
        let mut read = |fields: Value| {
            let mut message = json!({"type": "history", "channel": channel, "id": 7});
            message
                .as_object_mut()
                .unwrap()
                .extend(fields.as_object().unwrap().clone());
            let heard = ask(&mut world, peer, message);
            assert_eq!(heard.len(), 1, "{heard:?}");
            let answer = &heard[0];
            assert_eq!(
                (&answer["type"], &answer["id"]),
                (&json!("history"), &json!(7))
            );
            assert_eq!(answer["offset"], 150);
            let got = messages(answer["messages"].as_array().unwrap());
            let offsets: Vec<u64> = got.iter().map(|(offset, _)| *offset).collect();
            assert!(got.iter().all(|(offset, message)| message == offset));
            (offsets, answer["more"].as_bool().unwrap())
        };
        assert_eq!(read(json!({})), ((1..=50).collect(), true));
        assert_eq!(
            read(json!({"limit": 2, "from": 149})),
            (vec![149, 150], false)
        );
        assert_eq!(
            read(json!({"limit": 1_000_000})),
            ((1..=100).collect(), true)
        );
        assert_eq!(
            read(json!({"limit": 3, "direction": "backward"})),
            (vec![150, 149, 148], true)
        );
        assert_eq!(
            read(json!({"from": 2, "direction": "backward"})),
            (vec![2, 1], false)
        );
        assert_eq!(read(json!({"from": 151})), (vec![], false));
        assert_eq!(read(json!({"limit": 0})), (vec![], true));
        for wrong in [
            json!({"limit": "many"}),
            json!({"direction": "up"}),
            json!({"from": -1}),
        ] {
            let mut message = json!({"type": "history", "channel": channel});
            message
                .as_object_mut()
                .unwrap()
                .extend(wrong.as_object().unwrap().clone());
            let heard = ask(&mut world, peer, message);
            assert_eq!(heard[0]["code"], ErrorCode::InvalidMessage.number());
        }
    }
}

#[test]
fn a_topic_is_a_channel_with_history_by_another_name() {
    for shards in SHARDS {
        let mut world = World::new(shards);
        let (ann, bob) = (world.connect(0), world.connect(usize::from(shards) - 1));
        let told = ask(
            &mut world,
            ann,
            json!({"type": "subscribe-topic", "topic": "news", "id": 1}),
        );
        let epoch = told[0]["epoch"].clone();
        assert_eq!(
            told,
            [json!({"type": "subscribed", "topic": "news", "offset": 0, "epoch": epoch, "id": 1})]
        );
        let told = ask(
            &mut world,
            bob,
            json!({"type": "publish", "topic": "news", "message": {"a": 1}, "id": 2}),
        );
        assert_eq!(
            told,
            [json!({"type": "published", "topic": "news", "offset": 1, "epoch": epoch, "id": 2})]
        );
        let heard = world.messages(ann);
        assert_eq!(heard.len(), 1);
        let mut message = heard[0].clone();
        message.as_object_mut().unwrap().remove("timestamp");
        assert_eq!(
            message,
            json!({"type": "topic-message", "topic": "news", "message": {"a": 1}, "offset": 1, "epoch": epoch})
        );
        let told = ask(
            &mut world,
            ann,
            json!({"type": "unsubscribe-topic", "topic": "news"}),
        );
        assert_eq!(told, [json!({"type": "unsubscribed", "topic": "news"})]);
        for wrong in [
            json!({"type": "subscribe-topic"}),
            json!({"type": "subscribe-topic", "topic": ""}),
            json!({"type": "subscribe-topic", "topic": 5}),
        ] {
            let told = ask(&mut world, ann, wrong);
            assert_eq!(told[0]["code"], ErrorCode::InvalidChannel.number());
        }
    }
}

#[test]
fn a_repetition_is_known_by_its_key_for_a_while() {
    for shards in SHARDS {
        let mut world = world(shards, rule(2, 600_000));
        let channel = world.channel_at(0);
        let (publisher, reader) = (world.connect(usize::from(shards) - 1), world.connect(0));
        ask(
            &mut world,
            reader,
            json!({"type": "subscribe", "channel": channel}),
        );
        let send = |world: &mut World, key: &str, n: u64| {
            let told = ask(
                world,
                publisher,
                json!({"type": "publish", "channel": channel, "message": n, "idempotencyKey": key, "id": n}),
            );
            assert_eq!(
                (&told[0]["type"], &told[0]["id"]),
                (&json!("published"), &json!(n))
            );
            told[0]["offset"].as_u64().unwrap()
        };
        assert_eq!(send(&mut world, "a", 1), 1);
        assert_eq!(send(&mut world, "a", 2), 1);
        assert_eq!(send(&mut world, "b", 3), 2);
        assert_eq!(send(&mut world, "c", 4), 3);
        // The record has gone long since; the key has not.
        assert_eq!(send(&mut world, "a", 5), 1);
        let heard = world.messages(reader);
        assert_eq!(
            messages(&heard),
            [(1, json!(1)), (2, json!(3)), (3, json!(4))]
        );
        world.pass(10_000);
        assert_eq!(
            send(&mut world, "a", 6),
            4,
            "after its window it is another one"
        );
        assert_eq!(
            world
                .shards
                .iter()
                .map(|it| it.counters().publications_repeated)
                .sum::<u64>(),
            2
        );
    }
}

#[test]
fn a_message_lives_as_long_as_its_publisher_says_if_that_is_shorter() {
    let mut world = world(1, rule(100, 5_000));
    let peer = world.connect(0);
    for (n, ttl) in [(1, json!(null)), (2, json!(100)), (3, json!(1_000_000))] {
        let text = json!({"type": "publish", "channel": "room:1", "message": n, "ttl": ttl});
        assert!(ask(&mut world, peer, text).is_empty());
    }
    let kept = |world: &mut World| {
        let heard = ask(world, peer, json!({"type": "history", "channel": "room:1"}));
        messages(heard[0]["messages"].as_array().unwrap())
            .into_iter()
            .map(|(offset, _)| offset)
            .collect::<Vec<_>>()
    };
    assert_eq!(kept(&mut world), [1, 2, 3]);
    world.pass(100);
    assert_eq!(kept(&mut world), [1, 3]);
    world.pass(4_900);
    assert!(kept(&mut world).is_empty());
    assert_eq!(world.residue().log_bytes, 512, "only its place is left");
}

#[test]
fn what_is_volatile_is_not_kept_and_has_no_place() {
    for shards in SHARDS {
        let mut world = world(shards, rule(100, 600_000));
        let channel = world.channel_at(0);
        let (publisher, reader) = (world.connect(0), world.connect(usize::from(shards) - 1));
        ask(
            &mut world,
            reader,
            json!({"type": "subscribe", "channel": channel}),
        );
        let text = json!({"type": "publish", "channel": channel, "message": "now", "volatile": true, "id": 1});
        assert!(ask(&mut world, publisher, text).is_empty());
        let heard = world.messages(reader);
        assert_eq!(heard[0]["message"], "now");
        assert!(heard[0].get("offset").is_none() && heard[0].get("epoch").is_none());
        let told = publish(&mut world, publisher, &channel, json!("kept"));
        assert_eq!(told[0]["offset"], 1);
    }
}

#[test]
fn an_empty_log_is_forgotten_after_its_time_and_its_epoch_with_it() {
    let mut world = world(1, rule(100, 1_000));
    let peer = world.connect(0);
    let first = publish(&mut world, peer, "room:1", json!(1))[0]["epoch"].clone();
    world.pass(50_000);
    let again = publish(&mut world, peer, "room:1", json!(2));
    assert_eq!(
        (&again[0]["offset"], &again[0]["epoch"]),
        (&json!(2), &first),
        "its place was kept"
    );
    world.pass(62_000);
    assert_eq!(world.residue().logs, 0);
    let anew = publish(&mut world, peer, "room:1", json!(3));
    assert_eq!(anew[0]["offset"], 1);
    assert_ne!(anew[0]["epoch"], first);
    // While somebody listens, it is not forgotten.
    ask(
        &mut world,
        peer,
        json!({"type": "subscribe", "channel": "room:1"}),
    );
    world.pass(1_000_000);
    assert_eq!(world.residue().logs, 1);
    assert_eq!(
        publish(&mut world, peer, "room:1", json!(4))[1]["offset"],
        2
    );
    ask(
        &mut world,
        peer,
        json!({"type": "unsubscribe", "channel": "room:1"}),
    );
    world.pass(100_000);
    assert_eq!(world.residue().logs, 0);
}

#[test]
fn all_logs_of_a_shard_stay_inside_its_memory_and_the_oldest_records_go_first() {
    let mut settings = settings(rule(100_000, 600_000));
    settings.channels.history_memory = 64 << 10;
    let mut world = World::with(1, settings);
    let peer = world.connect(0);
    let filler = "x".repeat(1_000);
    for n in 0..500 {
        let channel = format!("room:{}", n % 5);
        publish(
            &mut world,
            peer,
            &channel,
            json!({"n": n, "filler": filler}),
        );
        let held = world.residue().log_bytes;
        assert!(held <= (64 << 10) + 2_000, "{held} bytes");
    }
    assert!(world.residue().log_bytes > 50 << 10);
    let mut kept: Vec<u64> = Vec::new();
    for room in 0..5 {
        let heard = ask(
            &mut world,
            peer,
            json!({"type": "history", "channel": format!("room:{room}"), "limit": 100}),
        );
        kept.extend(
            heard[0]["messages"]
                .as_array()
                .unwrap()
                .iter()
                .map(|it| it["message"]["n"].as_u64().unwrap()),
        );
    }
    kept.sort_unstable();
    let expected: Vec<u64> = (500 - kept.len() as u64..500).collect();
    assert_eq!(kept, expected);
}

#[test]
fn whoever_publishes_from_outside_is_told_the_place() {
    let mut world = world(2, rule(100, 600_000));
    let channel = world.channel_at(1);
    let publish = |world: &mut World, channel: &str, key: Option<&str>| {
        let options = PublishOptions {
            key: key.map(Into::into),
            ..PublishOptions::default()
        };
        let home = world.placement.home_of_channel(channel).index();
        world.command(
            home,
            Command::Publish {
                channel: channel.into(),
                message: "1".into(),
                exclude: Vec::new(),
                options: Some(Box::new(options)),
                answer: Some(AnswerId(1)),
            },
        );
        match world.answers.pop().unwrap() {
            Answer::Published(outcome) => outcome.map(|place| place.map(|place| place.offset)),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(publish(&mut world, &channel, None), Ok(Some(1)));
    assert_eq!(publish(&mut world, &channel, Some("k")), Ok(Some(2)));
    assert_eq!(publish(&mut world, &channel, Some("k")), Ok(Some(2)));
    assert_eq!(publish(&mut world, "elsewhere", None), Ok(None));
    assert_eq!(
        publish(&mut world, "elsewhere", Some("k")),
        Err(ErrorCode::NoHistory)
    );
}
