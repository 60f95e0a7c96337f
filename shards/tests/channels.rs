//! Channels over several shards: who gets what, in which order, and what is said to whom.

#![allow(clippy::unwrap_used)]

mod support;

use bytes::Bytes;
use shardwire_shards::ShardSettings;
use shardwire_shards::mesh::LaneBounds;
use shardwire_shards::vocabulary::{Command, Input};
use support::{UNIX_MS, World, broadcast, open_settings};

const SHARDS: [u16; 4] = [1, 2, 4, 7];

fn told(channel: &str) -> String {
    format!(r#"{{"type":"subscribed","channel":"{channel}"}}"#)
}

#[test]
fn a_publication_reaches_every_subscriber_on_every_shard_and_nobody_else() {
    for shards in SHARDS {
        for home in 0..usize::from(shards) {
            let mut world = World::new(shards);
            let channel = world.channel_at(home);
            let subscribers: Vec<_> = (0..3 * usize::from(shards))
                .map(|n| world.connect(n % usize::from(shards)))
                .collect();
            let bystander = world.connect(0);
            for &subscriber in &subscribers {
                world.subscribe(subscriber, &channel);
            }
            let publisher = world.connect(usize::from(shards) - 1);
            world.publish(publisher, &channel, r#"{"any": ["json", 1]}"#);
            world.settle();
            let expected = broadcast(&channel, r#"{"any": ["json", 1]}"#, UNIX_MS);
            for &subscriber in &subscribers {
                assert_eq!(world.texts(subscriber), [expected.as_str()]);
            }
            assert!(world.heard(bystander).is_empty() && world.heard(publisher).is_empty());
            let deliveries: u64 = world.shards.iter().map(|it| it.counters().deliveries).sum();
            assert_eq!(deliveries, subscribers.len() as u64);
        }
    }
}

/// A publication crosses to a shard once, however many subscribers it has there, and not at all to a shard without one.
#[test]
fn a_publication_is_one_mail_per_shard_with_an_audience_whatever_its_size() {
    const PUBLICATIONS: usize = 5;
    // Each lane takes one message, so what is sent beyond that is counted by its sender.
    let lanes = LaneBounds {
        lane_messages: 1,
        ..LaneBounds::default()
    };
    for audience in [1, 20, 300] {
        let mut world = World::bounded(4, open_settings(), lanes);
        let channel = world.channel_at(0);
        let mut subscribers = Vec::new();
        for shard in [0, 1, 2] {
            for _ in 0..audience {
                let subscriber = world.connect(shard);
                world.subscribe(subscriber, &channel);
                subscribers.push(subscriber);
            }
        }
        let publisher = world.connect(0);
        assert!(!world.shards.iter().any(|shard| shard.has_mail()));
        for number in 0..PUBLICATIONS {
            world.publish(publisher, &channel, &number.to_string());
        }
        let mailed: Vec<_> = (0..4)
            .filter(|&shard| world.shards[shard].has_mail())
            .collect();
        assert_eq!(mailed, [1, 2], "audience of {audience}");
        let held = world.shards[0].residue().held_mail;
        assert_eq!(
            mailed.len() + held,
            2 * PUBLICATIONS,
            "audience of {audience}"
        );
        // What the lanes had no room for is tried again after a while.
        world.pass(100);
        for subscriber in subscribers {
            assert_eq!(world.texts(subscriber).len(), PUBLICATIONS);
        }
    }
}

#[test]
fn all_subscribers_see_one_order_and_a_publisher_its_own() {
    for shards in SHARDS {
        let count = usize::from(shards);
        let mut world = World::new(shards);
        let channel = world.channel_at(count / 2);
        let peers: Vec<_> = (0..2 * count).map(|n| world.connect(n % count)).collect();
        for &peer in &peers {
            world.subscribe(peer, &channel);
        }
        for n in 0..200 {
            world.publish(peers[n * 7 % peers.len()], &channel, &n.to_string());
            // Shards look into their mail at odd times.
            if n % 3 == 0 {
                world.turn(n % count);
            }
        }
        world.settle();
        let first = world.texts(peers[0]);
        assert_eq!(first.len(), 200);
        let numbers: Vec<usize> = first.iter().map(|text| number(text)).collect();
        for publisher in 0..peers.len() {
            let own: Vec<_> = numbers
                .iter()
                .filter(|n| **n * 7 % peers.len() == publisher)
                .collect();
            assert!(own.is_sorted(), "publisher {publisher}: {own:?}");
        }
        for &peer in &peers[1..] {
            assert_eq!(world.texts(peer), first);
        }
    }
}

fn number(text: &str) -> usize {
    let value: serde_json::Value = serde_json::from_str(text).unwrap();
    value["message"].as_u64().unwrap() as usize
}

#[test]
fn a_publisher_may_exclude_itself_wherever_the_home_is() {
    for shards in SHARDS {
        for home in 0..usize::from(shards) {
            let mut world = World::new(shards);
            let channel = world.channel_at(home);
            let (a, b) = (world.connect(0), world.connect(usize::from(shards) - 1));
            world.subscribe(a, &channel);
            world.subscribe(b, &channel);
            let text = format!(
                r#"{{"type":"publish","channel":"{channel}","message":1,"exclude":"self"}}"#
            );
            assert!(world.ask(a, &text).is_empty());
            assert_eq!(world.texts(b), [broadcast(&channel, "1", UNIX_MS)]);
        }
    }
}

#[test]
fn a_command_publishes_from_any_shard_and_may_exclude_connections() {
    for shards in SHARDS {
        let mut world = World::new(shards);
        let channel = world.channel_at(0);
        let (a, b) = (world.connect(0), world.connect(usize::from(shards) - 1));
        world.subscribe(a, &channel);
        world.subscribe(b, &channel);
        for shard in 0..usize::from(shards) {
            let command = Command::Publish {
                channel: channel.as_str().into(),
                message: Bytes::from_static(b"\"news\""),
                exclude: vec![world.id(b)],
                options: None,
                answer: None,
            };
            world.command(shard, command);
            world.settle();
            assert_eq!(world.texts(a), [broadcast(&channel, "\"news\"", UNIX_MS)]);
            assert!(world.heard(b).is_empty());
        }
    }
}

#[test]
fn whoever_unsubscribes_gets_nothing_more_and_nothing_stays_behind() {
    for shards in SHARDS {
        let mut world = World::new(shards);
        let channel = world.channel_at(0);
        let peers: Vec<_> = (0..usize::from(shards))
            .map(|shard| world.connect(shard))
            .collect();
        for &peer in &peers {
            world.subscribe(peer, &channel);
        }
        for &peer in &peers {
            let heard = world.ask(
                peer,
                &format!(r#"{{"type":"unsubscribe","channel":"{channel}"}}"#),
            );
            assert_eq!(
                heard,
                [format!(
                    r#"{{"type":"unsubscribed","channel":"{channel}"}}"#
                )]
            );
        }
        world.publish(peers[0], &channel, "1");
        world.settle();
        for &peer in &peers {
            assert!(world.heard(peer).is_empty());
        }
        let residue = world.residue();
        assert_eq!((residue.local_channels, residue.homed_channels), (0, 0));
    }
}

#[test]
fn leaving_a_channel_one_is_not_in_is_answered_alike() {
    let mut world = World::new(2);
    let peer = world.connect(0);
    assert_eq!(
        world.ask(peer, r#"{"type":"unsubscribe","channel":"never","id":1}"#),
        [r#"{"type":"unsubscribed","channel":"never","id":1}"#]
    );
    assert_eq!(world.residue().local_channels, 0);
}

#[test]
fn subscribing_twice_is_one_subscription() {
    let mut world = World::new(2);
    let channel = world.channel_at(1);
    let peer = world.connect(0);
    world.subscribe(peer, &channel);
    world.subscribe(peer, &channel);
    world.publish(peer, &channel, "1");
    world.settle();
    assert_eq!(world.texts(peer), [broadcast(&channel, "1", UNIX_MS)]);
    world.ask(
        peer,
        &format!(r#"{{"type":"unsubscribe","channel":"{channel}"}}"#),
    );
    world.publish(peer, &channel, "2");
    world.settle();
    assert!(world.heard(peer).is_empty());
}

#[test]
fn a_remote_home_is_asked_before_subscribed_is_said() {
    let mut world = World::new(2);
    let channel = world.channel_at(1);
    let (peer, publisher) = (world.connect(0), world.connect(1));
    world.say(
        peer,
        &format!(r#"{{"type":"subscribe","channel":"{channel}"}}"#),
    );
    assert!(world.heard(peer).is_empty(), "the home does not know yet");
    world.turn(1);
    // Published after the home knew, delivered in the same mail as its answer.
    world.publish(publisher, &channel, "1");
    world.turn(0);
    assert_eq!(
        world.texts(peer),
        [told(&channel), broadcast(&channel, "1", UNIX_MS)]
    );
}

/// A publication that was on its way to an audience that has left must not reach the next one before that is told
/// `subscribed`: it would be the first of a row with a hole in it.
#[test]
fn nothing_is_delivered_before_subscribed_is_said() {
    let mut world = World::new(2);
    let channel = world.channel_at(1);
    let (old, new, publisher) = (world.connect(0), world.connect(0), world.connect(1));
    world.subscribe(old, &channel);
    world.publish(publisher, &channel, "1");
    // The delivery is in the mail when the audience changes.
    world.say(
        old,
        &format!(r#"{{"type":"unsubscribe","channel":"{channel}"}}"#),
    );
    world.say(
        new,
        &format!(r#"{{"type":"subscribe","channel":"{channel}"}}"#),
    );
    world.turn(0);
    assert!(world.heard(new).is_empty());
    world.settle();
    world.publish(publisher, &channel, "2");
    world.settle();
    assert_eq!(
        world.texts(new),
        [told(&channel), broadcast(&channel, "2", UNIX_MS)]
    );
}

/// The audience goes and comes again while the home's first answer is under way: that answer is not for the second audience,
/// of which the home does not know yet.
#[test]
fn an_answer_to_an_older_question_is_not_taken_for_the_newer_ones() {
    let mut world = World::new(2);
    let channel = world.channel_at(1);
    let (peer, publisher) = (world.connect(0), world.connect(1));
    let subscribe = format!(r#"{{"type":"subscribe","channel":"{channel}"}}"#);
    let unsubscribe = format!(r#"{{"type":"unsubscribe","channel":"{channel}"}}"#);
    world.say(peer, &subscribe);
    world.turn(1);
    world.say(peer, &unsubscribe);
    world.say(peer, &subscribe);
    world.heard(peer);
    world.turn(0);
    assert!(world.heard(peer).is_empty(), "that was the old answer");
    world.publish(publisher, &channel, "1");
    world.turn(1);
    world.publish(publisher, &channel, "2");
    world.settle();
    assert_eq!(
        world.texts(peer),
        [told(&channel), broadcast(&channel, "2", UNIX_MS)]
    );
}

/// Whoever leaves before the home has answered is still told that it was in: every request has its answer.
#[test]
fn a_subscription_that_is_given_up_at_once_is_answered_too() {
    for home in 0..2 {
        let mut world = World::new(2);
        let channel = world.channel_at(home);
        let peer = world.connect(0);
        world.say(
            peer,
            &format!(r#"{{"type":"subscribe","channel":"{channel}","id":1}}"#),
        );
        world.say(
            peer,
            &format!(r#"{{"type":"subscribe","channel":"{channel}","id":2}}"#),
        );
        world.say(
            peer,
            &format!(r#"{{"type":"unsubscribe","channel":"{channel}","id":3}}"#),
        );
        world.settle();
        assert_eq!(
            world.texts(peer),
            [
                format!(r#"{{"type":"subscribed","channel":"{channel}","id":1}}"#),
                format!(r#"{{"type":"subscribed","channel":"{channel}","id":2}}"#),
                format!(r#"{{"type":"unsubscribed","channel":"{channel}","id":3}}"#),
            ]
        );
    }
}

fn narrow() -> LaneBounds {
    LaneBounds {
        lane_messages: 1,
        overflow_messages: 1,
        overflow_bytes: 1 << 20,
    }
}

/// Two publications fit on the way to the home; the third is refused, with its own id.
#[test]
fn a_full_way_to_the_home_refuses_the_publisher_with_the_id() {
    let mut world = World::bounded(2, open_settings(), narrow());
    let channel = world.channel_at(1);
    let (publisher, subscriber) = (world.connect(0), world.connect(1));
    world.subscribe(subscriber, &channel);
    for n in 1..=3 {
        world.say(
            publisher,
            &format!(r#"{{"type":"publish","channel":"{channel}","message":{n},"id":"p{n}"}}"#),
        );
    }
    let overloaded =
        r#"{"type":"error","error":"Overloaded","code":110,"temporary":true,"id":"p3"}"#;
    assert_eq!(world.texts(publisher), [overloaded]);
    world.pass(10);
    assert_eq!(
        world.texts(subscriber),
        [
            broadcast(&channel, "1", UNIX_MS),
            broadcast(&channel, "2", UNIX_MS + 1)
        ]
    );
    assert_eq!(world.shards[0].counters().publications_refused, 1);
}

/// When the home cannot reach one audience, none gets the publication and its publisher is told which one it was, wherever
/// it is.
#[test]
fn a_full_way_from_the_home_refuses_the_whole_publication_with_the_id() {
    for publishes_at in 0..3 {
        let mut world = World::bounded(3, open_settings(), narrow());
        let channel = world.channel_at(1);
        let publisher = world.connect(publishes_at);
        let subscribers = [world.connect(0), world.connect(1), world.connect(2)];
        for subscriber in subscribers {
            world.subscribe(subscriber, &channel);
        }
        // Shard 0 does not look into its mail: the third publication does not fit behind the first two.
        for n in 1..=3 {
            world.say(
                publisher,
                &format!(r#"{{"type":"publish","channel":"{channel}","message":{n},"id":{n}}}"#),
            );
            world.turn(1);
            world.turn(2);
        }
        world.pass(10);
        let overloaded =
            r#"{"type":"error","error":"Overloaded","code":110,"temporary":true,"id":3}"#;
        assert_eq!(world.texts(publisher), [overloaded]);
        for subscriber in subscribers {
            let got: Vec<_> = world
                .texts(subscriber)
                .iter()
                .map(|text| number(text))
                .collect();
            assert_eq!(got, [1, 2]);
        }
    }
}

#[test]
fn a_subscription_that_cannot_be_announced_is_refused_and_leaves_nothing() {
    let mut world = World::bounded(2, open_settings(), narrow());
    let peer = world.connect(0);
    let channels: Vec<String> = (0..)
        .map(|n| format!("far:{n}"))
        .filter(|name| world.placement.home_of_channel(name).index() == 1)
        .take(3)
        .collect();
    for channel in &channels {
        world.say(
            peer,
            &format!(r#"{{"type":"subscribe","channel":"{channel}","id":7}}"#),
        );
    }
    let overloaded = r#"{"type":"error","error":"Overloaded","code":110,"temporary":true,"id":7}"#;
    assert_eq!(world.texts(peer), [overloaded]);
    world.pass(10);
    assert_eq!(world.texts(peer).len(), 2);
    assert_eq!(world.residue().local_channels, 2);
    world.subscribe(peer, &channels[2]);
}

#[test]
fn names_that_begin_with_a_dollar_are_the_servers() {
    let mut world = World::new(2);
    let peer = world.connect(0);
    let reserved = r#"{"type":"error","error":"Reserved channel","code":111,"temporary":false}"#;
    for text in [
        r#"{"type":"subscribe","channel":"$mine"}"#,
        r#"{"type":"publish","channel":"$shards","message":1}"#,
        r#"{"type":"publish","channel":"$","message":1}"#,
    ] {
        assert_eq!(world.ask(peer, text), [reserved]);
    }
}

#[test]
fn a_connection_has_so_many_channels_and_no_more() {
    let settings = ShardSettings {
        max_channels: 3,
        ..open_settings()
    };
    let mut world = World::with(2, settings);
    let peer = world.connect(0);
    for channel in ["a", "b", "c"] {
        world.subscribe(peer, channel);
    }
    let refused =
        r#"{"type":"error","error":"Too many channels","code":109,"temporary":false,"id":4}"#;
    assert_eq!(
        world.ask(peer, r#"{"type":"subscribe","channel":"d","id":4}"#),
        [refused]
    );
    world.subscribe(peer, "a");
    world.ask(peer, r#"{"type":"unsubscribe","channel":"b"}"#);
    world.subscribe(peer, "d");
    let residue = world.residue();
    assert_eq!((residue.local_channels, residue.homed_channels), (3, 3));
}

#[test]
fn shard_counts_come_about_once_a_second_while_somebody_listens() {
    for shards in SHARDS {
        let mut world = World::new(shards);
        let peer = world.connect(0);
        for shard in 0..usize::from(shards) {
            for _ in 0..shard {
                world.connect(shard);
            }
        }
        world.subscribe(peer, "$shards");
        world.pass(5_500);
        let heard = world.texts(peer);
        assert!((5..=6).contains(&heard.len()), "{heard:?}");
        let mut counts: Vec<usize> = (0..usize::from(shards)).collect();
        counts[0] = 1;
        let counts: Vec<String> = counts.iter().map(usize::to_string).collect();
        let message = format!(r#""message":{{"shards":[{}]}}"#, counts.join(","));
        for text in heard {
            assert!(text.contains(&message), "{text}");
        }
        world.ask(peer, r#"{"type":"unsubscribe","channel":"$shards"}"#);
        world.pass(5_000);
        assert!(world.heard(peer).is_empty());
    }
}

#[test]
fn shard_counts_can_be_switched_off() {
    let settings = ShardSettings {
        publish_shard_counts: false,
        ..open_settings()
    };
    let mut world = World::with(1, settings);
    let peer = world.connect(0);
    let reserved = r#"{"type":"error","error":"Reserved channel","code":111,"temporary":false}"#;
    assert_eq!(
        world.ask(peer, r#"{"type":"subscribe","channel":"$shards"}"#),
        [reserved]
    );
}

#[test]
fn a_connection_that_ends_leaves_its_channels() {
    for shards in SHARDS {
        let mut world = World::new(shards);
        let last = usize::from(shards) - 1;
        let (a, b) = (world.connect(0), world.connect(last));
        for channel in ["x", "y", "z"] {
            world.subscribe(a, channel);
            world.subscribe(b, channel);
        }
        world.lose(a);
        world.settle();
        world.publish(b, "y", "1");
        world.settle();
        assert_eq!(world.texts(b), [broadcast("y", "1", UNIX_MS)]);
        world.lose(b);
        world.settle();
        assert_eq!(world.residue(), Default::default());
        assert_eq!(world.node_count.get(), 0);
    }
}

/// The order of members changes when one leaves from the middle; the others stay reachable.
#[test]
fn a_crowd_may_leave_in_any_order() {
    let mut world = World::new(1);
    let peers: Vec<_> = (0..9).map(|_| world.connect(0)).collect();
    for &peer in &peers {
        world.subscribe(peer, "c");
        world.subscribe(peer, "d");
    }
    let mut staying = peers.clone();
    for leaver in [4, 0, 8, 1, 7] {
        staying.retain(|peer| *peer != peers[leaver]);
        world.lose(peers[leaver]);
        world.publish(staying[0], "c", "1");
        world.publish(staying[0], "d", "2");
        for &peer in &staying {
            assert_eq!(world.texts(peer).len(), 2);
        }
    }
}

#[test]
fn a_full_lane_is_tried_again_by_itself() {
    let mut world = World::bounded(2, open_settings(), narrow());
    let channel = world.channel_at(1);
    let (publisher, subscriber) = (world.connect(0), world.connect(1));
    world.subscribe(subscriber, &channel);
    world.publish(publisher, &channel, "1");
    world.publish(publisher, &channel, "2");
    let now = world.now();
    assert_eq!(world.residue().held_mail, 1);
    assert_eq!(world.shards[0].next_deadline(world.now()), Some(now.ms + 1));
    world.turn(1);
    world.ms += 1;
    // A driver that asks again after it has slept must be told the same.
    assert_eq!(world.shards[0].next_deadline(world.now()), Some(now.ms + 1));
    world.hand_in(0, Input::Deadline);
    assert_eq!(world.residue().held_mail, 0);
    world.turn(1);
    assert_eq!(world.texts(subscriber).len(), 2);
}
