//! The end of a connection: who says what, who waits for whom, and what is reported (RFC 6455, section 7).

#![allow(clippy::unwrap_used)]

mod support;

use shardwire_protocol::websocket::frame::{self, Kind};
use shardwire_shards::ShardSettings;
use shardwire_shards::vocabulary::{CloseCause, Command, Event, Input};
use support::{Frame, PeerId, Who, World, close, masked, open_settings};

fn close_all(world: &mut World, code: u16, reason: &str) {
    let reason = reason.to_owned();
    world.command(0, Command::CloseAll { code, reason });
}

fn one() -> (World, PeerId) {
    let mut world = World::new(1);
    let peer = world.connect(0);
    (world, peer)
}

fn is_over(world: &World, peer: PeerId, cause: CloseCause) {
    assert!(world.peers[peer].closed);
    assert_eq!(world.disconnected(peer), [cause]);
    assert_eq!(world.residue(), Default::default());
    assert_eq!(world.node_count.get(), 0);
}

#[test]
fn a_peers_close_is_answered_with_its_code_and_the_socket_closed() {
    for code in [1000, 1001, 1011, 3000, 4999] {
        let (mut world, peer) = one();
        world.bytes(peer, &close(code, "so long"));
        assert_eq!(world.heard(peer), [Frame::Close(code, String::new())]);
        is_over(&world, peer, CloseCause::Peer(code));
    }
}

#[test]
fn a_close_without_a_code_is_answered_without_one() {
    let (mut world, peer) = one();
    world.bytes(peer, &masked(Kind::Close, b""));
    assert_eq!(world.heard(peer), [Frame::Close(1005, String::new())]);
    is_over(&world, peer, CloseCause::Peer(1005));
}

#[test]
fn what_was_asked_before_the_close_is_answered_before_it() {
    let (mut world, peer) = one();
    let mut bytes = masked(Kind::Text, br#"{"type":"echo","data":1}"#);
    bytes.extend(close(1000, ""));
    bytes.extend(masked(Kind::Text, br#"{"type":"echo","data":2}"#));
    world.bytes(peer, &bytes);
    let heard = world.heard(peer);
    assert_eq!(heard.len(), 2, "{heard:?}");
    assert_eq!(heard[1], Frame::Close(1000, String::new()));
    is_over(&world, peer, CloseCause::Peer(1000));
}

#[test]
fn we_close_and_wait_for_the_peer_s_frame() {
    let (mut world, peer) = one();
    close_all(&mut world, 1001, "going away");
    assert_eq!(world.heard(peer), [Frame::Close(1001, "going away".into())]);
    assert!(!world.peers[peer].closed);
    assert_eq!(world.disconnected(peer), []);
    world.pass(4_000);
    assert!(!world.peers[peer].closed);
    world.bytes(peer, &close(1001, ""));
    is_over(&world, peer, CloseCause::Us(1001));
}

#[test]
fn attack_close_never_answered() {
    let (mut world, peer) = one();
    close_all(&mut world, 4200, "draining");
    world.heard(peer);
    // It may say other things meanwhile; they are not looked at and buy no time.
    for _ in 0..49 {
        world.pass(100);
        world.bytes(peer, &masked(Kind::Text, br#"{"type":"ping"}"#));
        world.bytes(peer, &masked(Kind::Ping, b"x"));
    }
    assert!(!world.peers[peer].closed);
    assert_eq!(world.heard(peer), []);
    world.pass(200);
    is_over(&world, peer, CloseCause::Us(4200));
}

#[test]
fn both_close_at_once() {
    let (mut world, peer) = one();
    world.peers[peer].room = Some(0);
    close_all(&mut world, 1001, "");
    world.bytes(peer, &close(1000, ""));
    assert!(!world.peers[peer].closed, "our frame is not out");
    world.make_room(peer, None);
    assert_eq!(world.heard(peer), [Frame::Close(1001, String::new())]);
    is_over(&world, peer, CloseCause::Us(1001));
}

#[test]
fn closing_twice_is_closing_once() {
    let (mut world, peer) = one();
    close_all(&mut world, 1001, "first");
    close_all(&mut world, 1012, "second");
    assert_eq!(world.heard(peer), [Frame::Close(1001, "first".into())]);
    world.bytes(peer, &close(1001, ""));
    is_over(&world, peer, CloseCause::Us(1001));
}

#[test]
fn a_long_reason_is_cut_at_a_character() {
    let (mut world, peer) = one();
    close_all(&mut world, 1001, &"ü".repeat(100));
    assert_eq!(world.heard(peer), [Frame::Close(1001, "ü".repeat(61))]);
}

#[test]
fn what_breaks_the_protocol_is_closed_with_the_reason_and_not_listened_to() {
    let mut unmasked = Vec::new();
    frame::write_server(&mut unmasked, Kind::Text, b"hello");
    let changed = |kind, at: usize, to: u8| {
        let mut frame = masked(kind, b"xx");
        frame[at] = to;
        frame
    };
    let too_long = {
        let mut header = vec![0x82, 0x80 | 127];
        header.extend(65_537_u64.to_be_bytes());
        header.extend([0; 4]);
        header
    };
    for (bytes, code, reason) in [
        (unmasked, 1002, "frame is not masked"),
        (changed(Kind::Text, 0, 0xc1), 1002, "reserved bits are set"),
        (changed(Kind::Text, 0, 0x83), 1002, "reserved opcode 3"),
        (
            changed(Kind::Text, 0, 0x80),
            1002,
            "continuation without a message",
        ),
        (
            changed(Kind::Ping, 0, 0x09),
            1002,
            "fragmented control frame",
        ),
        (
            masked(Kind::Close, b"\x03"),
            1002,
            "close frame with a payload of one byte",
        ),
        (
            masked(Kind::Close, b"\x03\xed"),
            1002,
            "close code 1005 is not allowed",
        ),
        (masked(Kind::Text, b"\xff"), 1007, "invalid UTF-8"),
        (masked(Kind::Close, b"\x03\xe8\xff"), 1007, "invalid UTF-8"),
        (
            too_long,
            1009,
            "message larger than the limit of 65536 bytes",
        ),
    ] {
        let (mut world, peer) = one();
        let mut all = masked(Kind::Text, br#"{"type":"subscribe","channel":"c"}"#);
        all.extend(&bytes);
        all.extend(masked(Kind::Text, br#"{"type":"ping"}"#));
        world.bytes(peer, &all);
        let heard = world.heard(peer);
        assert_eq!(heard.len(), 2, "{heard:?}");
        assert_eq!(heard[1], Frame::Close(code, reason.into()));
        is_over(&world, peer, CloseCause::Us(code));
        assert_eq!(world.shards[0].counters().connections_failed, 1);
    }
}

#[test]
fn fragments_count_together_against_the_limit() {
    let settings = ShardSettings {
        max_message_size: 100,
        ..open_settings()
    };
    let mut world = World::with(1, settings);
    let peer = world.connect_as(0, support::echo());
    let fragment = |first: u8| {
        let mut frame = masked(Kind::Binary, &[0; 50]);
        frame[0] = first;
        frame
    };
    world.bytes(peer, &[fragment(0x02), fragment(0x80)].concat());
    assert_eq!(world.heard(peer), [Frame::Binary(vec![0; 100])]);
    world.bytes(
        peer,
        &[fragment(0x02), fragment(0x00), fragment(0x80)].concat(),
    );
    let reason = "message larger than the limit of 100 bytes".to_owned();
    assert_eq!(world.heard(peer), [Frame::Close(1009, reason)]);
}

#[test]
fn a_socket_that_ends_without_a_word_is_lost() {
    let (mut world, peer) = one();
    world.subscribe(peer, "c");
    world.lose(peer);
    assert_eq!(world.disconnected(peer), [CloseCause::Lost]);
    assert!(!world.peers[peer].closed, "it is the world's to close");
    assert_eq!(world.residue(), Default::default());
    // Ending is final: a stale id does nothing.
    world.lose(peer);
    world.bytes(peer, &masked(Kind::Text, br#"{"type":"ping"}"#));
    world.pass(60_000);
    assert_eq!(world.disconnected(peer), [CloseCause::Lost]);
    assert_eq!(world.heard(peer), []);
}

#[test]
fn a_socket_that_ends_while_we_close_reports_why_we_closed() {
    let (mut world, peer) = one();
    close_all(&mut world, 1001, "");
    world.lose(peer);
    assert_eq!(world.disconnected(peer), [CloseCause::Us(1001)]);
    world.pass(10_000);
    assert_eq!(world.disconnected(peer).len(), 1);
}

#[test]
fn a_stale_id_does_not_hit_the_slots_next_tenant() {
    let (mut world, old) = one();
    world.lose(old);
    let new = world.connect(0);
    assert_ne!(world.id(old), world.id(new));
    world.lose(old);
    world.bytes(old, &close(1000, ""));
    world.pass(10_000);
    assert_eq!(world.disconnected(new), []);
    assert_eq!(world.ask(new, r#"{"type":"ping"}"#).len(), 1);
}

#[test]
fn nothing_is_delivered_to_one_that_closes() {
    let (mut world, peer) = one();
    let publisher = world.connect(0);
    world.subscribe(peer, "c");
    world.peers[peer].room = Some(0);
    world.bytes(peer, &close(1000, ""));
    world.publish(publisher, "c", "1");
    world.make_room(peer, None);
    assert_eq!(world.heard(peer), [Frame::Close(1000, String::new())]);
}

#[test]
fn what_waits_goes_out_before_our_close() {
    let (mut world, peer) = one();
    let publisher = world.connect(0);
    world.subscribe(peer, "c");
    world.peers[peer].room = Some(0);
    world.publish(publisher, "c", "1");
    close_all(&mut world, 1001, "");
    world.make_room(peer, None);
    let heard = world.heard(peer);
    assert_eq!(heard.len(), 2);
    assert_eq!(heard[1], Frame::Close(1001, String::new()));
}

#[test]
fn early_bytes_are_the_first_frames() {
    let mut world = World::new(1);
    let mut early = masked(Kind::Text, br#"{"type":"ping"}"#);
    let rest = early.split_off(8);
    let peer = world.connect_as(
        0,
        Who {
            early,
            ..Who::default()
        },
    );
    assert_eq!(world.heard(peer), []);
    world.bytes(peer, &rest);
    assert_eq!(world.texts(peer).len(), 1);
    // Whole ones are answered at once, a close among them too.
    let early = [masked(Kind::Text, br#"{"type":"ping"}"#), close(1000, "")].concat();
    let peer = world.connect_as(
        0,
        Who {
            early,
            ..Who::default()
        },
    );
    assert_eq!(world.heard(peer).len(), 2);
    assert!(world.peers[peer].closed);
    assert_eq!(world.disconnected(peer), [CloseCause::Peer(1000)]);
}

#[test]
fn connected_comes_before_everything_and_disconnected_last() {
    let mut world = World::new(1);
    let early = close(1000, "");
    let peer = world.connect_as(
        0,
        Who {
            early,
            ..Who::default()
        },
    );
    let connection = world.id(peer);
    assert_eq!(world.events.len(), 2);
    assert_eq!(world.events[0], Event::Connected { connection });
    assert!(
        matches!(world.events[1], Event::Disconnected { connection: it, .. } if it == connection)
    );
}

#[test]
fn a_paused_peer_is_read_again_to_see_its_close() {
    let settings = ShardSettings {
        outbox_soft_limit: 1_000,
        outbox_hard_limit: 100_000,
        ..open_settings()
    };
    let mut world = World::with(1, settings);
    let peer = world.connect_as(0, support::echo());
    world.peers[peer].room = Some(0);
    world.bytes(peer, &masked(Kind::Binary, &[0; 2_000]));
    assert!(!world.peers[peer].receiving);
    close_all(&mut world, 1001, "");
    assert!(world.peers[peer].receiving);
    world.bytes(peer, &close(1001, ""));
    world.make_room(peer, None);
    is_over(&world, peer, CloseCause::Us(1001));
}

#[test]
fn closing_one_leaves_the_others_alone() {
    let (mut world, peer) = one();
    let other = world.connect(0);
    world.bytes(peer, &masked(Kind::Text, b"\xff"));
    assert!(world.peers[peer].closed);
    assert_eq!(world.ask(other, r#"{"type":"ping"}"#).len(), 1);
    world.hand_in(
        0,
        Input::Closed {
            connection: world.id(peer),
        },
    );
    assert_eq!(world.disconnected(other), []);
}
