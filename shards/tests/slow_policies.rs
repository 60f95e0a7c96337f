//! What becomes of subscribers that do not read, by the channel's policy: each one's received set, exactly.

#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use shardwire_shards::ShardSettings;
use shardwire_shards::history::{ChannelRule, ChannelSettings, HistoryRule, SlowPolicy};
use shardwire_shards::search::{
    ConnectionFilter, ConnectionInfo, ConnectionOrder, ConnectionSearch, Search,
};
use shardwire_shards::vocabulary::CloseCause;
use support::{Frame, PeerId, World, open_settings};

const SOFT: usize = 8 << 10;
const HARD: usize = 32 << 10;

fn settings(slow: SlowPolicy, with_history: bool) -> ShardSettings {
    let history = with_history.then_some(HistoryRule {
        max_messages: 1000,
        max_age_ms: 600_000,
        max_bytes: 64 << 20,
        durable: false,
    });
    let rules = Box::new([ChannelRule {
        channels: "room:*".parse().unwrap(),
        history,
        slow,
    }]);
    ShardSettings {
        channels: ChannelSettings {
            rules,
            ..ChannelSettings::default()
        },
        outbox_soft_limit: SOFT,
        outbox_hard_limit: HARD,
        ..open_settings()
    }
}

/// A subscriber whose socket takes nothing, `count` publications of 1,000 bytes, then everything is read.
fn run(slow: SlowPolicy, history: bool, shards: u16, count: u64) -> (World, PeerId, Vec<Value>) {
    run_with(settings(slow, history), shards, count)
}

fn run_with(settings: ShardSettings, shards: u16, count: u64) -> (World, PeerId, Vec<Value>) {
    let mut world = World::with(shards, settings);
    let channel = world.channel_at(0);
    let last = usize::from(shards) - 1;
    let (publisher, reader, fast) = (world.connect(0), world.connect(last), world.connect(last));
    for peer in [reader, fast] {
        world.ask(
            peer,
            &json!({"type": "subscribe", "channel": channel}).to_string(),
        );
    }
    world.peers[reader].room = Some(0);
    for n in 1..=count {
        let message = json!({"n": n, "filler": "x".repeat(1_000)});
        world.publish(publisher, &channel, &message.to_string());
        world.pass(1);
        assert!(
            world.waiting(reader) <= HARD + 1_200,
            "{} bytes",
            world.waiting(reader)
        );
        let queued = world.residue().queued_bytes;
        assert!(queued <= HARD, "{queued} bytes");
    }
    let heard = hear(&mut world, fast);
    assert_eq!(
        numbers(&heard),
        (1..=count).collect::<Vec<_>>(),
        "nobody else notices"
    );
    // Replies pass whatever waits.
    world.say(reader, r#"{"type":"ping","id":"p"}"#);
    world.make_room(reader, None);
    world.pass(50);
    let heard = hear(&mut world, reader);
    (world, reader, heard)
}

fn hear(world: &mut World, peer: PeerId) -> Vec<Value> {
    let heard = world.heard(peer);
    heard
        .into_iter()
        .filter_map(|frame| match frame {
            Frame::Text(text) => serde_json::from_str(&text).ok(),
            _ => None,
        })
        .collect()
}

fn numbers(heard: &[Value]) -> Vec<u64> {
    heard
        .iter()
        .filter_map(|it| it["message"]["n"].as_u64())
        .collect()
}

fn gaps(heard: &[Value]) -> Vec<Value> {
    heard
        .iter()
        .filter(|it| it["type"] == "gap")
        .map(|it| {
            let mut gap = it.clone();
            let fields = gap.as_object_mut().unwrap();
            for field in ["type", "channel", "epoch"] {
                fields.remove(field);
            }
            gap
        })
        .collect()
}

fn has_pong(heard: &[Value]) -> bool {
    heard
        .iter()
        .any(|it| it["type"] == "pong" && it["id"] == "p")
}

/// Publications that fit into an outbox before its reader is found slow: those that make it longer than the soft limit.
fn fit(heard: &[Value]) -> u64 {
    let first = heard.iter().position(|it| it["type"] == "gap");
    numbers(&heard[..first.unwrap_or(heard.len())]).len() as u64
}

/// What an operator is told of the one who does not read, while others do.
fn told(slow: SlowPolicy, history: bool) -> ConnectionInfo {
    let mut world = World::with(1, settings(slow, history));
    let (publisher, reader, fast) = (world.connect(0), world.connect(0), world.connect(0));
    for peer in [reader, fast] {
        for channel in ["room:1", "room:2"] {
            let text = json!({"type": "subscribe", "channel": channel}).to_string();
            world.ask(peer, &text);
        }
    }
    world.peers[reader].room = Some(0);
    for n in 1..=60 {
        let message = json!({"n": n, "filler": "x".repeat(1_000)});
        world.publish(publisher, "room:1", &message.to_string());
        world.pass(1);
    }
    let filter = ConnectionFilter {
        lagging: true,
        ..ConnectionFilter::default()
    };
    let mut search = ConnectionSearch::new(filter, ConnectionOrder::Behind, 10);
    while search.step(world.now(), &world.shards[0]) {}
    let mut found = search.found();
    assert_eq!(found.len(), 1, "the others keep up: {found:?}");
    found.remove(0)
}

#[test]
fn an_operator_is_told_who_is_behind_by_how_much_and_what_is_done_about_it() {
    for (slow, history) in [
        (SlowPolicy::CatchUp, true),
        (SlowPolicy::DropOldest, true),
        (SlowPolicy::DropOldest, false),
        (SlowPolicy::KeepLatest, true),
        (SlowPolicy::KeepLatest, false),
    ] {
        let info = told(slow, history);
        assert_eq!((info.lagging, info.lags.len()), (1, 1), "{info:?}");
        let lag = &info.lags[0];
        assert_eq!((&*lag.channel, lag.policy), ("room:1", slow));
        assert_eq!(lag.from_history, slow == SlowPolicy::CatchUp);
        // What is in its outbox it has got: everything behind that is missing.
        let in_outbox = (info.pending_bytes as u64 + 550) / 1_100;
        assert_eq!(lag.behind, 60 - in_outbox, "{slow:?} {info:?}");
        assert_eq!(lag.queued_bytes > 0, slow != SlowPolicy::CatchUp);
    }
}

#[test]
fn disconnect_closes_at_the_hard_limit_and_says_why() {
    for shards in [1, 2] {
        for history in [false, true] {
            let mut world = World::with(shards, settings(SlowPolicy::Disconnect, history));
            let channel = world.channel_at(0);
            let (publisher, reader) = (world.connect(0), world.connect(usize::from(shards) - 1));
            world.ask(
                reader,
                &json!({"type": "subscribe", "channel": channel}).to_string(),
            );
            world.peers[reader].room = Some(0);
            for n in 0..40 {
                let message = json!({"n": n, "filler": "x".repeat(1_000)});
                world.publish(publisher, &channel, &message.to_string());
                world.pass(1);
            }
            world.make_room(reader, None);
            assert_eq!(
                world.heard(reader),
                [Frame::Close(4103, "slow consumer".into())]
            );
            assert_eq!(world.disconnected(reader), [CloseCause::Us(4103)]);
        }
    }
}

#[test]
fn catch_up_reads_everything_from_the_history_when_it_reads_again() {
    for shards in [1, 2] {
        for count in [5, 9, 10, 50, 500] {
            let (world, reader, heard) = run(SlowPolicy::CatchUp, true, shards, count);
            assert_eq!(numbers(&heard), (1..=count).collect::<Vec<_>>());
            assert_eq!(gaps(&heard), [] as [Value; 0]);
            assert!(has_pong(&heard));
            assert_eq!(world.residue().laggards, 0);
            assert_eq!(world.disconnected(reader), []);
        }
    }
}

#[test]
fn catch_up_names_what_the_history_has_not_any_more() {
    for shards in [1, 2] {
        let (world, _, heard) = run(SlowPolicy::CatchUp, true, shards, 1_500);
        let gap = gaps(&heard);
        let fit = fit(&heard);
        assert_eq!(
            gap,
            [json!({"from": fit + 1, "to": 500, "reason": "evicted"})]
        );
        let expected: Vec<u64> = (1..=fit).chain(501..=1_500).collect();
        assert_eq!(numbers(&heard), expected);
        assert_eq!(world.residue().laggards, 0);
    }
}

#[test]
fn drop_oldest_keeps_the_newest_that_fit_and_names_the_others() {
    for shards in [1, 2] {
        for history in [false, true] {
            let (world, _, heard) = run(SlowPolicy::DropOldest, history, shards, 100);
            let (fit, got) = (fit(&heard), numbers(&heard));
            let kept = got.len() as u64 - fit;
            assert!(fit >= 8 && kept >= 15, "{fit} and {kept}");
            let expected: Vec<u64> = (1..=fit).chain(101 - kept..=100).collect();
            assert_eq!(got, expected);
            let missed = 100 - kept - fit;
            let gap = if history {
                json!({"from": fit + 1, "to": 100 - kept, "reason": "slow"})
            } else {
                json!({"missed": missed, "reason": "slow"})
            };
            assert_eq!(gaps(&heard), [gap]);
            assert!(has_pong(&heard));
            assert_eq!(
                (world.residue().laggards, world.residue().queued_bytes),
                (0, 0)
            );
            let dropped: u64 = world
                .shards
                .iter()
                .map(|it| it.counters().messages_dropped)
                .sum();
            assert_eq!(dropped, missed);
        }
    }
}

#[test]
fn drop_oldest_drops_nothing_while_all_fit() {
    let (_, _, heard) = run(SlowPolicy::DropOldest, true, 2, 20);
    assert_eq!(numbers(&heard), (1..=20).collect::<Vec<_>>());
    assert_eq!(gaps(&heard), [] as [Value; 0]);
}

#[test]
fn keep_latest_keeps_the_last_and_names_the_others() {
    for shards in [1, 2] {
        for history in [false, true] {
            let (world, _, heard) = run(SlowPolicy::KeepLatest, history, shards, 100);
            let fit = fit(&heard);
            let expected: Vec<u64> = (1..=fit).chain([100]).collect();
            assert_eq!(numbers(&heard), expected);
            let gap = if history {
                json!({"from": fit + 1, "to": 99, "reason": "slow"})
            } else {
                json!({"missed": 99 - fit, "reason": "slow"})
            };
            assert_eq!(gaps(&heard), [gap]);
            assert_eq!(
                (world.residue().laggards, world.residue().queued_bytes),
                (0, 0)
            );
        }
    }
}

#[test]
fn what_waits_on_a_shard_is_bounded_whoever_waits() {
    let mut settings = settings(SlowPolicy::DropOldest, false);
    settings.channels.slow_memory = 40_000;
    let mut world = World::with(1, settings);
    let channel = world.channel_at(0);
    let publisher = world.connect(0);
    let readers: Vec<PeerId> = (0..20).map(|_| world.connect(0)).collect();
    for &reader in &readers {
        world.subscribe(reader, &channel);
        world.peers[reader].room = Some(0);
    }
    for n in 1..=60 {
        let message = json!({"n": n, "filler": "x".repeat(1_000)});
        world.publish(publisher, &channel, &message.to_string());
        assert!(world.residue().queued_bytes <= 40_000);
    }
    assert!(world.residue().queued_bytes > 30_000);
    for &reader in &readers {
        world.make_room(reader, None);
        world.pass(5);
        let heard = hear(&mut world, reader);
        let missed: u64 = gaps(&heard)
            .iter()
            .map(|gap| gap["missed"].as_u64().unwrap())
            .sum();
        assert_eq!(
            numbers(&heard).len() as u64 + missed,
            60,
            "each is got or named"
        );
    }
    assert_eq!(world.residue().queued_bytes, 0);
}

#[test]
fn who_is_slow_and_goes_leaves_nothing_behind() {
    for slow in [
        SlowPolicy::DropOldest,
        SlowPolicy::KeepLatest,
        SlowPolicy::CatchUp,
    ] {
        let mut world = World::with(2, settings(slow, true));
        let channel = world.channel_at(0);
        let (publisher, reader) = (world.connect(0), world.connect(1));
        world.ask(
            reader,
            &json!({"type": "subscribe", "channel": channel}).to_string(),
        );
        world.peers[reader].room = Some(0);
        for n in 1..=50 {
            let message = json!({"n": n, "filler": "x".repeat(1_000)});
            world.publish(publisher, &channel, &message.to_string());
            world.pass(1);
        }
        assert_eq!(world.residue().laggards, 1);
        world.lose(reader);
        world.pass(10);
        let held = world.residue();
        assert_eq!(
            (
                held.laggards,
                held.queued_bytes,
                held.local_channels,
                held.frames
            ),
            (0, 0, 0, 0)
        );
    }
}
