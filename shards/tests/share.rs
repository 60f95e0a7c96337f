//! No peer keeps a shard to itself: what one sends is handled in shares, a turn apart, and nothing of it is lost.
#![allow(clippy::unwrap_used)]

mod support;

use shardwire_protocol::websocket::frame::Kind;
use shardwire_shards::bounds::TURN_WORK_MAX;
use shardwire_shards::vocabulary::{CloseCause, Command, Input};
use shardwire_shards::{Residue, ShardSettings};
use support::{Frame, Who, World, compressing, echo, masked, open_settings, user};

/// As many bytes as a shard's receive buffers hold: what may come in one turn.
const TURN_BYTES: usize = 2 << 20;

/// A client's frame with any first byte.
fn raw(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = masked(Kind::Binary, payload);
    frame[0] = first;
    frame
}

/// Hands bytes in as the engine does, a buffer at a time, without a turn ending in between.
fn flood(world: &mut World, peer: usize, bytes: &[u8]) {
    let (now, connection) = (world.now(), world.id(peer));
    for buffer in bytes.chunks(16 << 10) {
        let mut bytes = buffer.to_vec();
        world.shards[0].handle(
            now,
            Input::Bytes {
                connection,
                bytes: &mut bytes,
            },
        );
    }
}

/// The turns it takes until all is handled.
fn turns(world: &mut World) -> usize {
    for turn in 1..100_000 {
        world.hand_in(0, Input::Deadline);
        let now = world.now();
        if world.shards[0].next_deadline(now) != Some(now.ms) {
            return turn;
        }
    }
    panic!("it never ends")
}

/// Tiny fragments: a message in far more pieces than anybody needs is still read, but not all in one turn.
#[test]
fn attack_tiny_or_empty_fragments() {
    let mut world = World::new(1);
    let peer = world.connect_as(0, echo());
    let other = world.connect_as(0, echo());
    let mut bytes = raw(0x02, b"begin");
    let empty = raw(0x00, b"");
    while bytes.len() < TURN_BYTES {
        bytes.extend_from_slice(&empty);
    }
    bytes.extend(raw(0x80, b"end"));
    flood(&mut world, peer, &bytes);
    // Others are served in the same turn, and in every one that follows.
    world.say(other, "still here");
    assert_eq!(world.texts(other), ["still here"]);
    assert!(!world.peers[peer].receiving);
    assert_eq!(world.heard(peer), []);
    let frames = (TURN_BYTES / empty.len()) as u64;
    assert!(turns(&mut world) as u64 >= frames * 100 / TURN_WORK_MAX);
    assert_eq!(world.heard(peer), [Frame::Binary(b"beginend".to_vec())]);
    assert!(world.peers[peer].receiving);
    assert_eq!(world.residue().postponed, 0);
}

/// 4 MiB in fragments of 64 bytes, 65,536 of them, as the conformance suite sends: one message, not an offence.
#[test]
fn as_many_fragments_as_the_conformance_suite_sends_are_one_message() {
    let settings = ShardSettings {
        max_message_size: 4 << 20,
        outbox_soft_limit: 8 << 20,
        outbox_hard_limit: 16 << 20,
        ..open_settings()
    };
    let mut world = World::with(1, settings);
    let peer = world.connect_as(0, echo());
    let mut bytes = raw(0x01, &[b'x'; 64]);
    for _ in 0..65_534 {
        bytes.extend(raw(0x00, &[b'x'; 64]));
    }
    bytes.extend(raw(0x80, &[b'x'; 64]));
    for part in bytes.chunks(TURN_BYTES) {
        flood(&mut world, peer, part);
        turns(&mut world);
    }
    assert!(world.texts(peer) == ["x".repeat(4 << 20)]);
}

/// Every ping is answered, in order, while the peer reads; while it does not, what waits for it stays within the limit.
#[test]
fn attack_ping_flood() {
    let settings = ShardSettings {
        outbox_soft_limit: 8 << 10,
        outbox_hard_limit: 80 << 10,
        ..open_settings()
    };
    let mut world = World::with(1, settings);
    let peer = world.connect(0);
    let other = world.connect(0);
    world.peers[peer].room = Some(0);
    let mut bytes = Vec::new();
    let mut pings = 0_u32;
    while bytes.len() < TURN_BYTES {
        bytes.extend(masked(Kind::Ping, &pings.to_be_bytes()));
        pings += 1;
    }
    flood(&mut world, peer, &bytes);
    world.hand_in(0, Input::Deadline);
    assert!(world.ask(other, r#"{"type":"ping"}"#)[0].contains("pong"));
    turns(&mut world);
    assert!(world.waiting(peer) <= (8 << 10) + 127);
    assert!(!world.peers[peer].receiving);
    // It begins to read: all of them are answered.
    world.make_room(peer, None);
    turns(&mut world);
    let heard = world.heard(peer);
    assert_eq!(heard.len(), pings as usize);
    for (number, frame) in heard.into_iter().enumerate() {
        assert_eq!(frame, Frame::Pong((number as u32).to_be_bytes().to_vec()));
    }
    assert!(world.peers[peer].receiving);
    assert_eq!(world.disconnected(peer), []);
}

/// A publication costs as much as it has receivers: one publisher's flood leaves room for the others.
#[test]
fn attack_publications_to_many() {
    let mut world = World::new(1);
    let members: Vec<_> = (0..200).map(|_| world.connect(0)).collect();
    for &member in &members {
        world.subscribe(member, "c");
        world.subscribe(member, "d");
    }
    let publisher = world.connect(0);
    // In turn to two channels, so that none can be given to the members behind another one, which costs them little.
    let publish = [
        br#"{"type":"publish","channel":"c","message":1}"#,
        br#"{"type":"publish","channel":"d","message":1}"#,
    ];
    let publish = publish.map(|text| masked(Kind::Text, text)).concat();
    flood(&mut world, publisher, &publish.repeat(500));
    world.hand_in(0, Input::Deadline);
    let delivered = world.heard(members[0]).len();
    assert!(0 < delivered && delivered < 300, "{delivered}");
    turns(&mut world);
    assert_eq!(delivered + world.heard(members[0]).len(), 1000);
}

/// What inflates to much is counted by what it inflates to.
#[test]
fn attack_inflating_flood() {
    let mut world = World::new(1);
    let peer = world.connect_as(
        0,
        Who {
            mode: echo().mode,
            ..compressing()
        },
    );
    let mut deflater = shardwire_protocol::websocket::deflate::Deflater::new(6);
    let mut frame = Vec::new();
    shardwire_protocol::websocket::frame::write_client_deflated(
        &mut frame,
        Kind::Binary,
        deflater.deflate(&[0; 60_000], 15).unwrap(),
        [1, 2, 3, 4],
    );
    flood(&mut world, peer, &frame.repeat(100));
    world.hand_in(0, Input::Deadline);
    let echoed = world.heard(peer).len();
    assert!(0 < echoed && echoed < 10, "{echoed}");
    turns(&mut world);
    assert_eq!(echoed + world.heard(peer).len(), 100);
}

/// What is inflated more than once, to be counted while it is gathered, is paid for each time.
#[test]
fn attack_counting_flood() {
    let mut world = World::new(1);
    let peer = world.connect_as(0, compressing());
    world.heard(peer);
    // Much from little, and 40,000 bytes of empty blocks behind it: at each mark, the little is inflated again.
    let mut deflater = shardwire_protocol::websocket::deflate::Deflater::new(6);
    let zeros = deflater.deflate(&[0; 50_000], 15).unwrap();
    let mut message = [zeros, &[0, 0, 0xff, 0xff]].concat();
    message.extend([0, 0, 0, 0xff, 0xff].repeat(8_000));
    message.push(0);
    let (mut bytes, parts) = (Vec::new(), message.chunks(8_000));
    let last = parts.len() - 1;
    for (index, part) in parts.enumerate() {
        let opcode = if index == 0 { 0x42 } else { 0 };
        let fin = if index == last { 0x80 } else { 0 };
        bytes.extend(raw(fin | opcode, part));
    }
    flood(&mut world, peer, &bytes.repeat(40));
    let (mut all, mut most) = (0, 0);
    for _ in 0..1000 {
        world.hand_in(0, Input::Deadline);
        let answers = world.heard(peer).len();
        most = most.max(answers);
        all += answers;
    }
    // Inflated once each, four would take half of a turn.
    assert!(all == 40 && most < 4, "{all}, {most}");
}

#[test]
fn several_offenders_take_turns() {
    let mut world = World::new(1);
    let peers: Vec<_> = (0..20).map(|_| world.connect_as(0, echo())).collect();
    let bytes = masked(Kind::Text, b"x").repeat(40_000);
    for &peer in &peers {
        flood(&mut world, peer, &bytes);
    }
    // Nobody is finished long before the others have begun.
    world.hand_in(0, Input::Deadline);
    for _ in 0..8 {
        world.hand_in(0, Input::Deadline);
    }
    let heard = |world: &mut World| peers.iter().map(|&peer| world.heard(peer).len()).collect();
    let before: Vec<usize> = heard(&mut world);
    assert!(
        before.iter().all(|&heard| 0 < heard && heard < 40_000),
        "{before:?}"
    );
    turns(&mut world);
    let after: Vec<usize> = heard(&mut world);
    for (&peer, (before, after)) in peers.iter().zip(before.iter().zip(after)) {
        assert_eq!(before + after, 40_000);
        assert!(world.peers[peer].receiving);
    }
}

/// A client that says much, says goodbye and is gone, all in one moment, was heard like one that stays.
#[test]
fn what_was_sent_before_the_socket_ended_is_still_handled() {
    for says_goodbye in [true, false] {
        let mut world = World::new(1);
        let (publisher, subscriber) = (world.connect_as(0, user("ann")), world.connect(0));
        world.subscribe(subscriber, "c");
        let publish = r#"{"type":"publish","channel":"c","message":1}"#;
        let mut bytes = masked(Kind::Text, publish.as_bytes()).repeat(20_000);
        // Nobody reads what would be said to it.
        bytes.extend(masked(Kind::Text, br#"{"type":"subscribe","channel":"c"}"#));
        bytes.extend(masked(Kind::Text, publish.as_bytes()));
        if says_goodbye {
            bytes.extend(support::close(1000, ""));
        }
        flood(&mut world, publisher, &bytes);
        assert_eq!(world.residue().postponed, 1);
        world.lose(publisher);
        // It is gone for everybody else: it counts for no limit and nothing is written to it.
        assert_eq!(world.residue().counted_users, 0);
        let mut heard = 0;
        for _ in 0..100_000 {
            world.hand_in(0, Input::Deadline);
            world.settle();
            heard += world.texts(subscriber).len();
            let now = world.now();
            if world.shards[0].next_deadline(now) != Some(now.ms) {
                break;
            }
        }
        assert_eq!(heard, 20_001);
        assert_eq!(world.waiting(publisher), 0);
        assert!(
            !world.peers[publisher].closed,
            "its socket has ended already"
        );
        let cause = match says_goodbye {
            true => CloseCause::Peer(1000),
            false => CloseCause::Lost,
        };
        assert_eq!(world.disconnected(publisher), [cause]);
        assert_eq!(world.residue().connections, 1);
    }
}

/// It is over at once for one that we close, or that has broken the protocol, while its last words are being handled.
#[test]
fn whoever_has_ended_and_is_closed_is_gone() {
    let flooded = |last: &[u8]| {
        let mut world = World::new(1);
        let peer = world.connect(0);
        let mut bytes = masked(Kind::Text, br#"{"type":"ping"}"#).repeat(40_000);
        bytes.extend_from_slice(last);
        flood(&mut world, peer, &bytes);
        world.lose(peer);
        assert_eq!(world.residue().connections, 1);
        (world, peer)
    };
    let (mut world, peer) = flooded(b"");
    let (code, reason) = (4200, "draining".into());
    world.command(0, Command::CloseAll { code, reason });
    assert_eq!(world.residue(), Residue::default());
    assert_eq!(world.disconnected(peer), [CloseCause::Us(4200)]);
    assert_eq!(turns(&mut world), 1);

    let (mut world, peer) = flooded(&raw(0x83, b""));
    turns(&mut world);
    assert_eq!(world.residue(), Residue::default());
    assert_eq!(world.disconnected(peer), [CloseCause::Us(1002)]);
    assert!(!world.peers[peer].closed);
}

#[test]
fn what_waits_goes_with_its_connection() {
    let flooded = || {
        let mut world = World::new(1);
        let peer = world.connect_as(0, echo());
        let mut bytes = masked(Kind::Text, b"x").repeat(100_000);
        bytes.extend(support::close(1000, ""));
        flood(&mut world, peer, &bytes);
        assert_eq!(world.residue().postponed, 1);
        (world, peer)
    };
    // We close: its close frame is found behind all the rest.
    let (mut world, peer) = flooded();
    let close = shardwire_shards::vocabulary::Command::CloseAll {
        code: 4200,
        reason: "draining".into(),
    };
    world.command(0, close);
    turns(&mut world);
    assert_eq!(world.residue(), Residue::default());
    assert_eq!(world.disconnected(peer).len(), 1);
    // It breaks the protocol somewhere in what waits.
    let mut world = World::new(1);
    let peer = world.connect_as(0, echo());
    let mut bytes = masked(Kind::Text, b"x").repeat(100_000);
    bytes.extend(raw(0x83, b""));
    bytes.extend(masked(Kind::Text, b"not heard"));
    flood(&mut world, peer, &bytes);
    turns(&mut world);
    let heard = world.heard(peer);
    assert_eq!(heard.len(), 100_001);
    assert!(matches!(heard.last(), Some(Frame::Close(1002, _))));
    assert_eq!(world.residue(), Residue::default());
}
