//! Peers that do not read: what waits for them is bounded, they are slowed down, then closed; nobody else notices.

#![allow(clippy::unwrap_used)]

mod support;

use shardwire_protocol::websocket::frame::Kind;
use shardwire_shards::vocabulary::{CloseCause, Command};
use shardwire_shards::{Residue, ShardSettings};
use support::{Frame, UNIX_MS, World, broadcast, echo, masked, open_settings};

const SOFT: usize = 8 << 10;
const HARD: usize = 32 << 10;

fn settings() -> ShardSettings {
    ShardSettings {
        outbox_soft_limit: SOFT,
        outbox_hard_limit: HARD,
        ..open_settings()
    }
}

/// A JSON string so long that broadcasts of it have about `len` bytes.
fn message(len: usize) -> String {
    format!("\"{}\"", "x".repeat(len))
}

fn slow_consumer() -> Frame {
    Frame::Close(4103, "slow consumer".into())
}

#[test]
fn beyond_the_soft_limit_a_peer_is_not_read_from_until_half_of_it_has_drained() {
    let mut world = World::with(1, settings());
    let peer = world.connect_as(0, echo());
    world.peers[peer].room = Some(0);
    let frame = masked(Kind::Binary, &[7; 1000]);
    for n in 0..8 {
        world.bytes(peer, &frame);
        assert!(world.peers[peer].receiving, "{n}");
    }
    world.bytes(peer, &frame);
    assert!(!world.peers[peer].receiving);
    world.make_room(peer, Some(4000));
    assert!(
        !world.peers[peer].receiving,
        "{} bytes wait",
        world.waiting(peer)
    );
    world.make_room(peer, Some(1500));
    assert!(
        world.peers[peer].receiving,
        "{} bytes wait",
        world.waiting(peer)
    );
    world.make_room(peer, None);
    assert_eq!(world.heard(peer).len(), 9);
    assert_eq!(world.disconnected(peer), []);
}

/// Sizes that are copied behind each other, that are referred to, and that have storage of their own.
const SIZES: [usize; 4] = [10, 240, 2_000, 10_000];

#[test]
fn attack_slow_consumer_in_broadcast() {
    for size in SIZES {
        let mut world = World::with(2, settings());
        let channel = world.channel_at(1);
        let (slow, publisher) = (world.connect(0), world.connect(1));
        world.subscribe(slow, &channel);
        world.heard(slow);
        world.peers[slow].room = Some(500);
        let message = message(size);
        let mut published = 0;
        while world.shards[0].counters().slow_consumers == 0 {
            world.publish(publisher, &channel, &message);
            world.settle();
            published += size;
            assert!(
                published < 2 * HARD + 20_000,
                "{} bytes wait",
                world.waiting(slow)
            );
            assert!(
                world.waiting(slow) <= HARD + size + 200,
                "{} bytes wait",
                world.waiting(slow)
            );
        }
        assert!(
            published + 200 * published / size > HARD,
            "closed after {published} bytes"
        );
        // What waited is dropped, but for the rest of the frame that is half written.
        assert!(
            world.waiting(slow) <= size + 200,
            "{} bytes wait",
            world.waiting(slow)
        );
        let held = world.residue();
        assert_eq!((held.local_channels, held.homed_channels), (0, 0));
        world.make_room(slow, None);
        let heard = world.heard(slow);
        assert_eq!(heard.last(), Some(&slow_consumer()));
        assert!(heard.len() <= 2 + 500 / size, "{}", heard.len());
        assert_eq!(world.disconnected(slow), [CloseCause::Us(4103)]);
        assert!(world.peers[slow].closed);
        assert_eq!(world.residue().frames, 0);
    }
}

#[test]
fn a_peer_that_never_reads_again_is_gone_after_the_close_timeout() {
    let mut world = World::with(1, settings());
    let (slow, publisher) = (world.connect(0), world.connect(0));
    world.subscribe(slow, "c");
    world.peers[slow].room = Some(0);
    for _ in 0..20 {
        world.publish(publisher, "c", &message(4000));
    }
    assert_eq!(world.shards[0].counters().slow_consumers, 1);
    assert!(!world.peers[slow].closed);
    world.pass(5_100);
    assert!(world.peers[slow].closed);
    assert_eq!(world.disconnected(slow), [CloseCause::Us(4103)]);
    assert_eq!(world.residue().frames, 0);
}

/// What many members get in one turn leaves as one piece, which all of them share. The hard limit is about its bytes all the same, to the
/// last one, and what is dropped with it are whole messages.
#[test]
fn what_was_gathered_in_a_turn_obeys_the_limits_byte_by_byte() {
    const MESSAGES: usize = 12;
    const ROOM: usize = 500;
    let message = message(1_000);
    let frame = broadcast("c", &message, UNIX_MS).len() + 4;
    let exactly = MESSAGES * frame - ROOM;
    for (hard, stays) in [(exactly, true), (exactly - 1, false)] {
        let mut world = World::with(
            1,
            ShardSettings {
                outbox_soft_limit: 1_000,
                outbox_hard_limit: hard,
                ..open_settings()
            },
        );
        let slow = world.connect(0);
        let others: Vec<_> = (0..10).map(|_| world.connect(0)).collect();
        for &member in others.iter().chain([&slow]) {
            world.subscribe(member, "c");
        }
        world.peers[slow].room = Some(ROOM);
        let publish = format!(r#"{{"type":"publish","channel":"c","message":{message}}}"#);
        let writes = world.writes;
        world.bytes(
            others[0],
            &masked(Kind::Text, publish.as_bytes()).repeat(MESSAGES),
        );
        let most = others.len() + 2;
        assert!(
            world.writes <= writes + most,
            "gathered, one piece for each"
        );
        if stays {
            assert_eq!(world.waiting(slow), hard);
        } else {
            // The rest of the message that is half written, and why it was the last one.
            let close = 2 + 2 + "slow consumer".len();
            assert_eq!(world.waiting(slow), frame - ROOM + close);
        }
        world.make_room(slow, None);
        let heard = world.heard(slow);
        if stays {
            assert_eq!(heard.len(), MESSAGES);
            assert_eq!(world.disconnected(slow), []);
        } else {
            assert_eq!(heard.len(), 2);
            assert_eq!(heard.last(), Some(&slow_consumer()));
            assert_eq!(world.disconnected(slow), [CloseCause::Us(4103)]);
        }
        for other in others {
            assert_eq!(world.heard(other).len(), MESSAGES);
        }
        assert_eq!(world.residue().frames, 0);
    }
}

/// Behind what was dropped, what is held for a huge audience would be a hole without a word.
#[test]
fn what_is_held_for_a_huge_audience_is_dropped_with_what_waited() {
    let mut world = World::with(
        1,
        ShardSettings {
            flush_slice: 4,
            ..settings()
        },
    );
    let (slow, publisher) = (world.connect(0), world.connect(0));
    world.subscribe(slow, "huge");
    world.subscribe(slow, "small");
    for _ in 0..10 {
        let member = world.connect(0);
        world.subscribe(member, "huge");
    }
    world.heard(slow);
    world.peers[slow].room = Some(0);
    // The first fills the row, the second is held until it is empty.
    world.publish(publisher, "huge", r#""first""#);
    world.publish(publisher, "huge", r#""held""#);
    world.publish(publisher, "small", &message(HARD));
    assert_eq!(world.shards[0].counters().slow_consumers, 1);
    world.make_room(slow, None);
    let heard = world.heard(slow);
    assert_eq!(heard.last(), Some(&slow_consumer()));
    let told = |frame: &Frame| matches!(frame, Frame::Text(text) if text.contains("held"));
    assert!(!heard.iter().any(told), "{heard:?}");
    world.pass(100);
    assert_eq!(world.residue().frames, 0);
}

#[test]
fn the_others_get_everything() {
    let mut world = World::with(2, settings());
    let channel = world.channel_at(0);
    let slow = [world.connect(0), world.connect(1)];
    let good = [world.connect(0), world.connect(1)];
    for peer in slow.into_iter().chain(good) {
        world.subscribe(peer, &channel);
    }
    for peer in slow {
        world.peers[peer].room = Some(0);
    }
    for _ in 0..200 {
        world.publish(good[0], &channel, &message(1000));
        world.settle();
    }
    for peer in slow {
        assert_eq!(
            world.shards[world.peers[peer].shard]
                .counters()
                .slow_consumers,
            1
        );
    }
    for peer in good {
        assert_eq!(world.texts(peer).len(), 200);
        assert_eq!(world.disconnected(peer), []);
    }
}

/// Answers to what a peer itself asks for are no way around the limits: it is not read from, so that it cannot ask.
#[test]
fn a_peer_that_asks_and_never_reads_is_slowed_then_given_up() {
    for frame in [
        masked(Kind::Ping, &[1; 100]),
        masked(Kind::Text, br#"{"type":"ping"}"#),
        masked(Kind::Text, br#"{"type":"nonsense"}"#),
    ] {
        let mut world = World::with(1, settings());
        let peer = world.connect(0);
        world.peers[peer].room = Some(0);
        let mut asked = 0;
        while world.peers[peer].receiving {
            world.bytes(peer, &frame);
            asked += 1;
            assert!(asked < 1000, "{} bytes wait", world.waiting(peer));
        }
        assert!(world.waiting(peer) <= SOFT + 200);
        // What was already on its way is kept, but not answered before the peer has read.
        for _ in 0..1000 {
            world.bytes(peer, &frame);
        }
        world.pass(100);
        assert!(
            world.waiting(peer) <= SOFT + 200,
            "{} bytes wait",
            world.waiting(peer)
        );
        // Who never reads sends no pong we could see, and is given up.
        let settings = settings();
        world.pass(settings.heartbeat_interval_ms + settings.heartbeat_timeout_ms + 100);
        assert_eq!(world.shards[0].counters().heartbeat_timeouts, 1);
        world.pass(settings.close_timeout_ms + 100);
        assert_eq!(world.residue(), Residue::default());
    }
}

#[test]
fn a_broadcast_to_everyone_obeys_the_limits_too() {
    let mut world = World::with(1, settings());
    let peer = world.connect(0);
    world.peers[peer].room = Some(0);
    let mut frame = Vec::new();
    shardwire_protocol::websocket::frame::write_server(&mut frame, Kind::Text, &[b'x'; 4000]);
    for _ in 0..20 {
        let command = Command::Broadcast {
            frame: frame.clone().into(),
            audience: shardwire_shards::vocabulary::Audience::Everyone,
        };
        world.command(0, command);
    }
    assert_eq!(world.shards[0].counters().slow_consumers, 1);
    assert!(
        world.waiting(peer) <= 200,
        "{} bytes wait",
        world.waiting(peer)
    );
}

/// A peer that reads slowly but steadily shows that it lives, though its pongs are not read while it is paused and its pings
/// are far behind in the queue.
#[test]
fn a_steady_reader_is_not_given_up_by_the_heartbeat() {
    let settings = ShardSettings {
        heartbeat_interval_ms: 5_000,
        heartbeat_timeout_ms: 2_000,
        ..settings()
    };
    let mut world = World::with(1, settings);
    let (slow, publisher) = (world.connect(0), world.connect(0));
    world.subscribe(slow, "c");
    world.peers[slow].room = Some(0);
    for _ in 0..6 {
        world.publish(publisher, "c", &message(4000));
    }
    assert!(!world.peers[slow].receiving);
    for _ in 0..80 {
        world.pass(1_000);
        world.bytes(publisher, &masked(Kind::Pong, b""));
        world.make_room(slow, Some(100));
    }
    assert_eq!(world.disconnected(slow), []);
    // One that takes nothing at all is.
    world.pass(8_000);
    assert_eq!(
        world.shards[0].counters().heartbeat_timeouts,
        2,
        "and the publisher"
    );
}

/// A burst that the socket takes at once is no backlog, however large.
#[test]
fn a_peer_that_reads_may_ask_for_more_than_the_hard_limit_at_once() {
    let mut world = World::with(1, settings());
    let peer = world.connect_as(0, echo());
    let mut bytes = Vec::new();
    for _ in 0..100 {
        bytes.extend(masked(Kind::Binary, &[1; 1000]));
    }
    world.bytes(peer, &bytes);
    // Beyond the soft limit it has to read first, which it does.
    assert!(world.heard(peer).len() <= 9);
    world.pass(0);
    assert_eq!(world.residue().postponed, 0);
    assert!(world.peers[peer].receiving);
    assert_eq!(world.disconnected(peer), []);
}

/// One write gathers a bounded number of slices; what is left is asked for again.
#[test]
fn a_write_that_could_not_gather_everything_is_followed_by_another() {
    let mut world = World::with(1, open_settings());
    let (peer, publisher) = (world.connect(0), world.connect(0));
    world.subscribe(peer, "c");
    world.peers[peer].slices = Some(3);
    world.peers[peer].room = Some(0);
    for _ in 0..20 {
        world.publish(publisher, "c", &message(400));
    }
    world.make_room(peer, None);
    assert_eq!(world.texts(peer).len(), 20);
    assert_eq!(world.waiting(peer), 0);
}
