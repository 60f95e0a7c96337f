//! Records that outlive the process: nobody gets or is promised anything before it is stored, and a restored log goes on.

#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use shardwire_protocol::codes::ErrorCode;
use shardwire_shards::ShardSettings;
use shardwire_shards::history::{ChannelRule, ChannelSettings, HistoryRule, SlowPolicy};
use shardwire_shards::vocabulary::{
    Input, LogName, Position, RestoredLog, StoreOutcome, StoreRequest, StoredRecord,
};
use support::{PeerId, World, open_settings};

fn settings(max_messages: usize) -> ShardSettings {
    let rules = Box::new([ChannelRule {
        channels: "room:*".parse().unwrap(),
        history: Some(HistoryRule {
            max_messages,
            max_age_ms: 60_000,
            max_bytes: 1 << 20,
            durable: true,
        }),
        slow: SlowPolicy::CatchUp,
    }]);
    ShardSettings {
        channels: ChannelSettings {
            rules,
            forget_after_ms: 60_000,
            ..ChannelSettings::default()
        },
        heartbeat_interval_ms: 100_000_000,
        ..open_settings()
    }
}

fn ask(world: &mut World, peer: PeerId, message: Value) -> Vec<Value> {
    world.say(peer, &message.to_string());
    world.pass(5);
    world.messages(peer)
}

fn publish(world: &mut World, peer: PeerId, channel: &str, n: u64) {
    let text = json!({"type": "publish", "channel": channel, "message": n, "id": n});
    world.say(peer, &text.to_string());
    world.pass(5);
}

/// Answers the oldest `Append` that waits, passing over what needs no answer.
fn store(world: &mut World, outcome: StoreOutcome) -> StoredRecord {
    loop {
        let (shard, request) = world.store.remove(0);
        if let StoreRequest::Append { ticket, record, .. } = request {
            world.hand_in(shard, Input::Stored { ticket, outcome });
            world.pass(5);
            return record;
        }
    }
}

#[test]
fn nothing_is_delivered_or_acknowledged_before_it_is_stored() {
    for shards in [1, 2] {
        let mut world = World::with(shards, settings(100));
        let channel = world.channel_at(0);
        let (publisher, reader) = (world.connect(usize::from(shards) - 1), world.connect(0));
        let told = ask(
            &mut world,
            reader,
            json!({"type": "subscribe", "channel": channel}),
        );
        assert_eq!(told[0]["offset"], 0);
        let epoch = told[0]["epoch"].clone();
        assert!(
            matches!(&world.store[0].1, StoreRequest::Begin { position, .. } if position.offset == 0)
        );
        for n in 1..=2 {
            publish(&mut world, publisher, &channel, n);
        }
        assert!(world.messages(publisher).is_empty() && world.messages(reader).is_empty());
        let record = store(&mut world, StoreOutcome::Stored);
        assert_eq!((record.offset, record.lifetime_ms), (1, None));
        assert_eq!(
            world.messages(publisher),
            [
                json!({"type": "published", "channel": channel, "offset": 1, "epoch": epoch, "id": 1})
            ]
        );
        let heard = world.messages(reader);
        assert_eq!((heard.len(), &heard[0]["offset"]), (1, &json!(1)));
        // A position given meanwhile is that of what is stored.
        let late = world.connect(0);
        assert_eq!(
            ask(
                &mut world,
                late,
                json!({"type": "subscribe", "channel": channel})
            )[0]["offset"],
            1
        );
        store(&mut world, StoreOutcome::Stored);
        assert_eq!(world.messages(late)[0]["offset"], 2);
    }
}

#[test]
fn what_cannot_be_stored_is_refused_and_nobody_gets_it() {
    for shards in [1, 2] {
        let mut world = World::with(shards, settings(100));
        let channel = world.channel_at(0);
        let (publisher, reader) = (world.connect(usize::from(shards) - 1), world.connect(0));
        ask(
            &mut world,
            reader,
            json!({"type": "subscribe", "channel": channel}),
        );
        for n in 1..=4 {
            publish(&mut world, publisher, &channel, n);
        }
        for (outcome, code) in [
            (StoreOutcome::Stored, None),
            (StoreOutcome::Full, Some(ErrorCode::StorageFull)),
            (StoreOutcome::Failed, Some(ErrorCode::StorageFailed)),
            (StoreOutcome::Stored, None),
        ] {
            store(&mut world, outcome);
            let told = world.messages(publisher);
            assert_eq!(
                told[0]["code"].as_u64(),
                code.map(|code| u64::from(code.number()))
            );
        }
        let heard = world.messages(reader);
        let got: Vec<_> = heard
            .iter()
            .map(|it| (it["offset"].as_u64(), it["message"].as_u64()))
            .collect();
        assert_eq!(
            got,
            [(Some(1), Some(1)), (Some(4), Some(4))],
            "and what was refused is no gap"
        );
        let counters = world.shards[0].counters();
        assert_eq!(counters.publications_unstored, 2);
    }
}

#[test]
fn a_repetition_of_what_is_on_its_way_is_told_with_the_first() {
    let mut world = World::with(1, settings(100));
    let (ann, bob) = (world.connect(0), world.connect(0));
    let message = |id: u64| {
        json!({"type": "publish", "channel": "room:1", "message": 1, "idempotencyKey": "k", "id": id}).to_string()
    };
    world.say(ann, &message(1));
    world.say(bob, &message(2));
    assert_eq!(world.store.len(), 2, "begun, and appended once");
    store(&mut world, StoreOutcome::Stored);
    let told = [world.messages(ann), world.messages(bob)].concat();
    let told: Vec<_> = told
        .iter()
        .map(|it| (it["id"].as_u64(), it["offset"].as_u64()))
        .collect();
    assert_eq!(told, [(Some(1), Some(1)), (Some(2), Some(1))]);
    // One that failed was never published, so its repetition is.
    let other = |id: u64| message(id).replace("\"k\"", "\"l\"");
    world.say(ann, &other(3));
    store(&mut world, StoreOutcome::Full);
    world.say(ann, &other(4));
    store(&mut world, StoreOutcome::Stored);
    let told = world.messages(ann);
    assert_eq!(
        (&told[0]["code"], &told[1]["offset"]),
        (&json!(118), &json!(3))
    );
}

#[test]
fn the_queue_to_the_store_is_bounded() {
    let mut world = World::with(1, settings(100));
    let peer = world.connect(0);
    let mut refused = 0;
    for n in 1..=5_000 {
        let text = json!({"type": "publish", "channel": "room:1", "message": n, "id": n});
        world.say(peer, &text.to_string());
        let heard = world.messages(peer);
        refused += heard.iter().filter(|it| it["code"] == 110).count();
    }
    assert_eq!(
        refused,
        5_000 - shardwire_shards::bounds::UNSTORED_RECORDS_MAX
    );
    for _ in 0..shardwire_shards::bounds::UNSTORED_RECORDS_MAX {
        store(&mut world, StoreOutcome::Stored);
    }
    let acknowledged = world
        .messages(peer)
        .iter()
        .filter(|it| it["type"] == "published")
        .count();
    assert_eq!(acknowledged, shardwire_shards::bounds::UNSTORED_RECORDS_MAX);
}

#[test]
fn the_store_is_told_what_may_go_and_when_a_log_is_forgotten() {
    let mut world = World::with(1, settings(10));
    let peer = world.connect(0);
    for n in 1..=200 {
        let text = json!({"type": "publish", "channel": "room:1", "message": n});
        world.say(peer, &text.to_string());
    }
    let mut trimmed = 0;
    let mut appended = 0;
    while !world.store.is_empty() {
        let (shard, request) = world.store.remove(0);
        match request {
            StoreRequest::Append { ticket, .. } => {
                appended += 1;
                let outcome = StoreOutcome::Stored;
                world.hand_in(shard, Input::Stored { ticket, outcome });
            }
            StoreRequest::Trim { through, .. } => {
                assert!(through.offset <= appended - 10, "never what is still kept");
                trimmed = through.offset;
            }
            StoreRequest::Begin { .. } => {}
            StoreRequest::Forget { .. } => panic!("it is in use"),
            StoreRequest::Load { .. } => panic!("a history is in memory"),
        }
    }
    assert!(trimmed >= 190 - 64, "{trimmed}");
    world.pass(60_100);
    let last = world.store.drain(..).last().unwrap().1;
    assert!(
        matches!(last, StoreRequest::Trim { through, .. } if through.offset == 200),
        "{last:?}"
    );
    world.pass(60_100);
    assert!(matches!(
        world.store.pop().unwrap().1,
        StoreRequest::Forget { .. }
    ));
    assert_eq!(world.residue().logs, 0);
}

#[test]
fn a_restored_log_goes_on_where_it_was_and_clients_recover_across_the_restart() {
    for shards in [1, 2] {
        let mut world = World::with(shards, settings(100));
        let channel = world.channel_at(0);
        let publisher = world.connect(0);
        let mut kept = Vec::new();
        let mut position: Option<Position> = None;
        for n in 1..=20_u64 {
            let text = json!({"type": "publish", "channel": channel, "message": n, "idempotencyKey": format!("k{n}"), "id": n});
            world.say(publisher, &text.to_string());
            if let StoreRequest::Begin {
                position: begun, ..
            } = &world.store[0].1
            {
                position = Some(*begun);
            }
            kept.push(store(&mut world, StoreOutcome::Stored));
        }
        let told = world.messages(publisher);
        let epoch = told[0]["epoch"].as_str().unwrap().to_owned();
        let head = Position {
            offset: 20,
            ..position.unwrap()
        };

        // The process ends; another one begins with what the store has: the first five have been trimmed.
        let mut world = World::with(shards, settings(100));
        let now = world.now();
        let records = kept.split_off(5);
        let restored = RestoredLog {
            log: LogName::channel(channel.as_str()),
            head,
            records,
        };
        world.shards[0].restore(now, restored);
        let (publisher, reader) = (world.connect(0), world.connect(usize::from(shards) - 1));
        let since = json!({"offset": 8, "epoch": epoch});
        let heard = ask(
            &mut world,
            reader,
            json!({"type": "subscribe", "channel": channel, "since": since}),
        );
        assert_eq!(heard[0]["recovered"], true);
        let got: Vec<_> = heard[1..]
            .iter()
            .map(|it| it["message"].as_u64().unwrap())
            .collect();
        assert_eq!(got, (9..=20).collect::<Vec<_>>());
        // A publisher that had no answer before the crash asks again.
        let again = json!({"type": "publish", "channel": channel, "message": 20, "idempotencyKey": "k20", "id": 1});
        assert_eq!(ask(&mut world, publisher, again)[0]["offset"], 20);
        publish(&mut world, publisher, &channel, 21);
        assert_eq!(store(&mut world, StoreOutcome::Stored).offset, 21);
        assert_eq!(world.messages(reader)[0]["offset"], 21);
        // What was trimmed is named.
        let late = world.connect(0);
        let since = json!({"offset": 2, "epoch": epoch});
        let heard = ask(
            &mut world,
            late,
            json!({"type": "subscribe", "channel": channel, "since": since}),
        );
        assert_eq!(heard[0]["recovered"], false);
        assert_eq!((&heard[1]["from"], &heard[1]["to"]), (&json!(3), &json!(5)));
    }
}

#[test]
fn what_is_too_old_by_the_clock_on_the_wall_does_not_come_back() {
    let mut world = World::with(1, settings(100));
    let now = world.now();
    let record = |offset, age_ms, lifetime_ms| StoredRecord {
        offset,
        unix_ms: now.unix_ms - age_ms,
        lifetime_ms,
        key: None,
        body: "\u{0}".into(),
    };
    let head = Position {
        epoch: shardwire_shards::vocabulary::Epoch(5),
        offset: 9,
    };
    let mut ahead = record(4, 0, None);
    ahead.unix_ms = now.unix_ms + 1_000_000; // The clock was set back since.
    let records = vec![
        record(1, 60_000, None),
        record(2, 500, Some(400)),
        record(3, 59_000, None),
        ahead,
    ];
    let log = LogName::channel("room:1");
    world.shards[0].restore(now, RestoredLog { log, head, records });
    let log = |world: &World| world.residue().log_bytes;
    let two = log(&world);
    world.pass(1_100);
    assert!(log(&world) < two, "one more was too old soon");
    world.pass(60_000);
    assert_eq!(
        log(&world),
        512,
        "and the last one is kept for no longer than the rule says"
    );
}
