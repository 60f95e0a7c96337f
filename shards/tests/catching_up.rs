//! Recovery: what was missed comes first, then what is live, nothing twice and nothing not at all, or with a word about it.

#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use shardwire_shards::ShardSettings;
use shardwire_shards::history::{ChannelRule, ChannelSettings, HistoryRule, SlowPolicy};
use shardwire_shards::mesh::LaneBounds;
use support::{PeerId, World, open_settings};

fn settings(max_messages: usize) -> ShardSettings {
    let rules = Box::new([ChannelRule {
        channels: "room:*".parse().unwrap(),
        history: Some(HistoryRule {
            max_messages,
            max_age_ms: 600_000,
            max_bytes: 64 << 20,
            durable: false,
        }),
        slow: SlowPolicy::CatchUp,
    }]);
    ShardSettings {
        channels: ChannelSettings {
            rules,
            ..ChannelSettings::default()
        },
        outbox_soft_limit: 8 << 10,
        outbox_hard_limit: 32 << 10,
        ..open_settings()
    }
}

fn publish(world: &mut World, publisher: PeerId, channel: &str, n: u64, filler: usize) {
    let message = json!({"n": n, "filler": "x".repeat(filler)});
    world.publish(publisher, channel, &message.to_string());
}

fn subscribe_since(world: &mut World, peer: PeerId, channel: &str, offset: u64, epoch: &str) {
    let since = json!({"offset": offset, "epoch": epoch});
    let text = json!({"type": "subscribe", "channel": channel, "since": since, "id": "s"});
    world.say(peer, &text.to_string());
}

/// Everything a subscriber got, as offsets; what it was told it would not get, as (from, to).
#[derive(Debug, Default, PartialEq, Eq)]
struct Got {
    recovered: Option<bool>,
    offsets: Vec<u64>,
    gaps: Vec<(u64, u64)>,
}

fn got(heard: &[Value]) -> Got {
    let mut got = Got::default();
    for message in heard {
        match message["type"].as_str().unwrap() {
            "subscribed" => {
                assert!(got.offsets.is_empty(), "told before anything comes");
                got.recovered = message["recovered"].as_bool();
            }
            "broadcast" => {
                let offset = message["offset"].as_u64().unwrap();
                assert_eq!(
                    message["message"]["n"].as_u64(),
                    Some(offset),
                    "its own message"
                );
                got.offsets.push(offset);
            }
            "gap" => got.gaps.push((
                message["from"].as_u64().unwrap(),
                message["to"].as_u64().unwrap(),
            )),
            _ => {}
        }
    }
    got
}

fn epoch_of(world: &mut World, peer: PeerId, channel: &str) -> String {
    let answer = world.ask(
        peer,
        &json!({"type": "history", "channel": channel}).to_string(),
    );
    let answer: Value = serde_json::from_str(&answer[0]).unwrap();
    answer["epoch"].as_str().unwrap().to_owned()
}

/// The reader on the last shard, the channel's home shard 0, so that with several shards everything goes through lanes.
#[test]
fn what_was_missed_comes_first_from_every_place() {
    for shards in [1, 2, 4] {
        let mut world = World::with(shards, settings(1000));
        let channel = world.channel_at(0);
        let publisher = world.connect(0);
        let epoch = epoch_of(&mut world, publisher, &channel);
        for n in 1..=150 {
            publish(&mut world, publisher, &channel, n, 0);
        }
        for since in 0..=150 {
            let reader = world.connect(usize::from(shards) - 1);
            subscribe_since(&mut world, reader, &channel, since, &epoch);
            world.pass(20);
            let expected = Got {
                recovered: Some(true),
                offsets: (since + 1..=150).collect(),
                gaps: vec![],
            };
            assert_eq!(
                got(&world.messages(reader)),
                expected,
                "{shards} shards, since {since}"
            );
            world.lose(reader);
        }
        assert_eq!(world.residue().laggards, 0);
    }
}

/// Publications at every moment of a recovery: before the request, between any two steps of any shard, and after.
#[test]
fn nothing_is_missed_or_doubled_at_the_seam_while_the_channel_is_published_to() {
    for shards in [1, 2, 3] {
        for filler in [0, 300, 3_000] {
            for burst in [1, 7] {
                let mut world = World::with(shards, settings(5_000));
                let channel = world.channel_at(0);
                let (publisher, reader) =
                    (world.connect(0), world.connect(usize::from(shards) - 1));
                let epoch = epoch_of(&mut world, publisher, &channel);
                let mut n = 0;
                let mut publish_some = |world: &mut World, count: u64| {
                    for _ in 0..count {
                        n += 1;
                        publish(world, publisher, &channel, n, filler);
                    }
                    n
                };
                publish_some(&mut world, 200);
                subscribe_since(&mut world, reader, &channel, 20, &epoch);
                for round in 0..400 {
                    publish_some(&mut world, burst * u64::from(round < 60));
                    for shard in 0..usize::from(shards) {
                        if (round + shard) % 3 != 0 {
                            world.turn(shard);
                        }
                    }
                    if round % 2 == 0 {
                        world.pass(1);
                    }
                }
                let last = publish_some(&mut world, 1);
                world.pass(50);
                let expected = Got {
                    recovered: Some(true),
                    offsets: (21..=last).collect(),
                    gaps: vec![],
                };
                assert_eq!(
                    got(&world.messages(reader)),
                    expected,
                    "{shards} shards, {filler} bytes, {burst} at once"
                );
                assert_eq!(world.residue().laggards, 0);
            }
        }
    }
}

#[test]
fn what_is_no_longer_kept_is_named_and_the_rest_comes() {
    for shards in [1, 2] {
        let mut world = World::with(shards, settings(10));
        let channel = world.channel_at(0);
        let (publisher, reader) = (world.connect(0), world.connect(usize::from(shards) - 1));
        let epoch = epoch_of(&mut world, publisher, &channel);
        for n in 1..=30 {
            publish(&mut world, publisher, &channel, n, 0);
        }
        subscribe_since(&mut world, reader, &channel, 5, &epoch);
        world.pass(10);
        publish(&mut world, publisher, &channel, 31, 0);
        world.pass(10);
        let expected = Got {
            recovered: Some(false),
            offsets: (21..=31).collect(),
            gaps: vec![(6, 20)],
        };
        assert_eq!(got(&world.messages(reader)), expected);
    }
}

#[test]
fn a_place_in_another_life_of_the_log_is_not_recovered() {
    for shards in [1, 2] {
        let mut world = World::with(shards, settings(10));
        let channel = world.channel_at(0);
        let publisher = world.connect(0);
        let epoch = epoch_of(&mut world, publisher, &channel);
        for n in 1..=5 {
            publish(&mut world, publisher, &channel, n, 0);
        }
        for (offset, epoch) in [
            (3, "00000000000000aa"),
            (3, "never seen"),
            (6, &*epoch),
            (u64::MAX, &*epoch),
        ] {
            let reader = world.connect(usize::from(shards) - 1);
            subscribe_since(&mut world, reader, &channel, offset, epoch);
            world.pass(10);
            let heard = world.messages(reader);
            let expected = Got {
                recovered: Some(false),
                ..Got::default()
            };
            assert_eq!(got(&heard), expected, "{offset} {epoch}");
            assert_eq!(heard[0]["offset"], 5);
        }
    }
}

/// Lanes of two messages: nearly everything overflows, and still everybody gets everything.
#[test]
fn a_full_lane_delays_a_channel_with_history_and_thins_nothing_out() {
    let lanes = LaneBounds {
        lane_messages: 2,
        overflow_messages: 3,
        overflow_bytes: 1 << 20,
    };
    let mut world = World::bounded(2, settings(1000), lanes);
    let channel = world.channel_at(0);
    let (publisher, reader) = (world.connect(0), world.connect(1));
    let epoch = epoch_of(&mut world, publisher, &channel);
    subscribe_since(&mut world, reader, &channel, 0, &epoch);
    world.pass(10);
    for n in 1..=300 {
        publish(&mut world, publisher, &channel, n, 0);
    }
    assert!(world.shards[0].counters().lanes_overflowed > 0);
    assert_eq!(world.shards[0].counters().publications_refused, 0);
    world.pass(500);
    let expected = Got {
        recovered: Some(true),
        offsets: (1..=300).collect(),
        gaps: vec![],
    };
    assert_eq!(got(&world.messages(reader)), expected);
}

#[test]
fn a_lane_that_is_full_for_longer_than_the_history_reaches_leaves_a_gap_that_is_told() {
    let lanes = LaneBounds {
        lane_messages: 2,
        overflow_messages: 3,
        overflow_bytes: 1 << 20,
    };
    let mut world = World::bounded(2, settings(10), lanes);
    let channel = world.channel_at(0);
    let (publisher, reader) = (world.connect(0), world.connect(1));
    let told = world.ask(
        reader,
        &json!({"type": "subscribe", "channel": channel}).to_string(),
    );
    assert_eq!(told.len(), 1);
    for n in 1..=100 {
        publish(&mut world, publisher, &channel, n, 0);
    }
    world.pass(500);
    let got = got(&world.messages(reader));
    assert_eq!(got.gaps.len(), 1);
    let (from, to) = got.gaps[0];
    assert_eq!(to, 90);
    let expected: Vec<u64> = (1..from).chain(91..=100).collect();
    assert_eq!(got.offsets, expected);
}

#[test]
fn many_that_come_back_at_once_are_served_in_slices_and_bounded() {
    let mut world = World::with(2, settings(1000));
    let channel = world.channel_at(0);
    let publisher = world.connect(0);
    let epoch = epoch_of(&mut world, publisher, &channel);
    for n in 1..=200 {
        publish(&mut world, publisher, &channel, n, 500);
    }
    let readers: Vec<PeerId> = (0..100).map(|_| world.connect(1)).collect();
    for &reader in &readers {
        // Nobody reads yet: what waits for each stays inside its outbox.
        world.peers[reader].room = Some(0);
        subscribe_since(&mut world, reader, &channel, 0, &epoch);
    }
    world.pass(100);
    for &reader in &readers {
        assert!(
            world.waiting(reader) <= (8 << 10) + 700,
            "{} bytes",
            world.waiting(reader)
        );
    }
    for &reader in &readers {
        world.make_room(reader, None);
    }
    world.pass(100);
    for &reader in &readers {
        let got = got(&world.messages(reader));
        assert_eq!(got.offsets, (1..=200).collect::<Vec<_>>());
    }
    assert_eq!(world.residue().laggards, 0);
}

#[test]
fn who_leaves_while_it_recovers_is_answered_and_leaves_nothing_behind() {
    for way in 0..3 {
        let mut world = World::with(2, settings(1000));
        let channel = world.channel_at(0);
        let (publisher, reader) = (world.connect(0), world.connect(1));
        let epoch = epoch_of(&mut world, publisher, &channel);
        for n in 1..=100 {
            publish(&mut world, publisher, &channel, n, 0);
        }
        // Interest asked and noted; the question about the log is under way, or not yet.
        subscribe_since(&mut world, reader, &channel, 10, &epoch);
        for _ in 0..way {
            world.turn(0);
            world.turn(1);
        }
        let unsubscribe = json!({"type": "unsubscribe", "channel": channel, "id": "u"}).to_string();
        world.say(reader, &unsubscribe);
        let heard = world.messages(reader);
        let kinds: Vec<&str> = heard.iter().filter_map(|it| it["type"].as_str()).collect();
        assert_eq!(kinds, ["subscribed", "unsubscribed"], "way {way}");
        // It comes back at once, while answers to its earlier question are still on their way.
        subscribe_since(&mut world, reader, &channel, 50, &epoch);
        world.pass(50);
        let expected = Got {
            recovered: Some(true),
            offsets: (51..=100).collect(),
            gaps: vec![],
        };
        assert_eq!(got(&world.messages(reader)), expected, "way {way}");
        world.lose(reader);
        world.pass(10);
        assert_eq!(
            (world.residue().laggards, world.residue().local_channels),
            (0, 0)
        );
    }
}

#[test]
fn a_second_subscribe_is_told_what_the_connection_has_got() {
    let mut world = World::with(1, settings(1000));
    let channel = world.channel_at(0);
    let (publisher, reader) = (world.connect(0), world.connect(0));
    let epoch = epoch_of(&mut world, publisher, &channel);
    for n in 1..=100 {
        publish(&mut world, publisher, &channel, n, 500);
    }
    world.peers[reader].room = Some(0);
    subscribe_since(&mut world, reader, &channel, 0, &epoch);
    world.pass(10);
    let again = json!({"type": "subscribe", "channel": channel, "id": "again"}).to_string();
    world.say(reader, &again);
    world.pass(10);
    world.make_room(reader, None);
    world.pass(10);
    let heard = world.messages(reader);
    let place = heard.iter().position(|it| it["id"] == "again").unwrap();
    let before = got(&heard[..place]).offsets;
    assert_eq!(heard[place]["offset"].as_u64(), before.last().copied());
    assert!(before.len() < 100);
}

#[test]
fn the_publisher_that_excludes_itself_is_excluded_from_the_log_too() {
    for shards in [1, 2] {
        let mut world = World::with(shards, settings(1000));
        let channel = world.channel_at(0);
        let (ann, bob) = (world.connect(usize::from(shards) - 1), world.connect(0));
        let epoch = epoch_of(&mut world, ann, &channel);
        let own =
            json!({"type": "publish", "channel": channel, "message": {"n": 1}, "exclude": "self"});
        world.say(ann, &own.to_string());
        world.pass(1);
        publish(&mut world, bob, &channel, 2, 0);
        subscribe_since(&mut world, ann, &channel, 0, &epoch);
        subscribe_since(&mut world, bob, &channel, 0, &epoch);
        world.pass(10);
        assert_eq!(got(&world.messages(ann)).offsets, [2]);
        assert_eq!(got(&world.messages(bob)).offsets, [1, 2]);
    }
}
