//! permessage-deflate on whole shards: who gets what compressed, once or for itself, and what is kept for whom
//! (contract M12 to M14, M28, decision D16).
#![allow(clippy::unwrap_used)]

mod support;

use shardwire_protocol::websocket::deflate::{DeflateContext, InflateContext};
use shardwire_protocol::websocket::frame::{self, Kind};
use shardwire_shards::mesh::LaneBounds;
use shardwire_shards::placement::{Placement, Rule};
use shardwire_shards::vocabulary::{Audience, CloseCause, Command, Identity, Input};
use shardwire_shards::{AuthenticationTimes, CompressionSettings, Residue, ShardSettings};
use support::{Frame, Who, World, broadcast, compressing, masked, open_settings};

const PLAIN_TEXT: u8 = 0x81;
const COMPRESSED_TEXT: u8 = 0xc1;
const COMPRESSED_BINARY: u8 = 0xc2;

/// A JSON text of about this many bytes that compresses well.
fn long_text(len: usize) -> String {
    format!("\"{}\"", "lorem ipsum ".repeat(len / 12))
}

fn with_offer(offer: &'static str) -> Who {
    Who {
        offer: Some(offer),
        ..Who::default()
    }
}

fn echoing(who: Who) -> Who {
    Who {
        mode: support::echo().mode,
        ..who
    }
}

fn with(compression: CompressionSettings) -> ShardSettings {
    ShardSettings {
        compression,
        ..open_settings()
    }
}

fn keeping(context_memory: usize) -> ShardSettings {
    with(CompressionSettings {
        context_takeover: true,
        context_memory,
        ..CompressionSettings::default()
    })
}

#[test]
fn contract_m13_d16_a_message_above_the_threshold_is_compressed() {
    let mut world = World::with(1, with(CompressionSettings::default()));
    let peer = world.connect_as(0, echoing(compressing()));
    let plain = world.connect_as(0, support::echo());
    for (len, first) in [(1024, PLAIN_TEXT), (1025, COMPRESSED_TEXT)] {
        let text = "x".repeat(len);
        world.say(peer, &text);
        assert_eq!(world.texts(peer), vec![text.clone()]);
        assert_eq!(std::mem::take(&mut world.peers[peer].first_bytes), [first]);
        // Nobody gets what they have not negotiated.
        world.say(plain, &text);
        assert_eq!(world.texts(plain), [text]);
    }
    assert_eq!(world.peers[plain].first_bytes, [PLAIN_TEXT; 2]);
    world.bytes(peer, &masked(Kind::Binary, &[7; 5000]));
    assert_eq!(world.heard(peer), [Frame::Binary(vec![7; 5000])]);
    assert_eq!(world.peers[peer].first_bytes, [COMPRESSED_BINARY]);
}

#[test]
fn what_does_not_shrink_is_sent_plain() {
    let mut world = World::new(1);
    let peer = world.connect_as(0, echoing(compressing()));
    let mut state = 7_u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(5000)
    .collect();
    world.bytes(peer, &masked(Kind::Binary, &noise));
    assert_eq!(world.heard(peer), [Frame::Binary(noise)]);
    assert_eq!(world.peers[peer].first_bytes, [0x82]);
}

#[test]
fn contract_m28_answers_are_compressed_and_compressed_requests_are_read() {
    let mut world = World::new(1);
    let peer = world.connect_as(0, compressing());
    let data = long_text(3000);
    world.say_compressed(peer, &format!(r#"{{"type":"echo","data":{data}}}"#));
    let heard = world.texts(peer);
    assert!(heard[0].starts_with(&format!(r#"{{"type":"echo","data":{data}"#)));
    assert_eq!(world.peers[peer].first_bytes, [COMPRESSED_TEXT]);
    assert_eq!(world.residue().promised_bytes, 0);
}

#[test]
fn a_broadcast_is_compressed_once_and_everybody_gets_the_form_they_take() {
    for shards in [1, 2, 4] {
        for home in 0..usize::from(shards) {
            let mut world = World::new(shards);
            let channel = world.channel_at(home);
            let offers = [
                None,
                Some("permessage-deflate"),
                Some("permessage-deflate; server_max_window_bits=15"),
                Some("permessage-deflate; server_max_window_bits=13"),
                Some("permessage-deflate; server_max_window_bits=9"),
                Some("permessage-deflate; server_max_window_bits=8"),
            ];
            let mut peers = Vec::new();
            for shard in 0..usize::from(shards) {
                for offer in offers {
                    let who = Who {
                        offer,
                        ..Who::default()
                    };
                    let peer = world.connect_as(shard, who);
                    world.subscribe(peer, &channel);
                    world.peers[peer].first_bytes.clear();
                    peers.push((peer, offer));
                }
            }
            for len in [100, 4000, 20_000] {
                let message = long_text(len);
                world.publish(peers[0].0, &channel, &message);
                world.settle();
                let expected = broadcast(&channel, &message, world.now().unix_ms);
                let mut compressed_payloads = Vec::new();
                for (peer, offer) in &peers {
                    assert_eq!(world.texts(*peer), vec![expected.clone()], "{offer:?}");
                    let first = std::mem::take(&mut world.peers[*peer].first_bytes);
                    // A window must hold the whole message for the shared form to be read with it.
                    let takes = match offer {
                        None => false,
                        Some(offer) if offer.ends_with("=13") => len < 8000,
                        Some(offer) => !offer.ends_with("=9") && !offer.ends_with("=8"),
                    };
                    let compressed = first == [COMPRESSED_TEXT];
                    assert_eq!(compressed, len > 1024 && takes, "{offer:?}, {len}");
                    compressed_payloads.extend(compressed.then_some(()));
                }
                assert_eq!(compressed_payloads.is_empty(), len < 1024);
            }
            for (peer, _) in &peers {
                world.lose(*peer);
            }
            world.settle();
            assert_eq!(world.residue(), Residue::default());
        }
    }
}

#[test]
fn nothing_is_compressed_for_an_audience_of_which_nobody_takes_it() {
    let mut world = World::new(2);
    let channel = world.channel_at(0);
    let plain = world.connect(1);
    let other = world.connect_as(1, compressing());
    world.subscribe(plain, &channel);
    world.subscribe(other, &channel);
    let message = long_text(4000);
    let frame_bytes = |world: &mut World| {
        world.publish(plain, &channel, &message);
        // The publication goes home, and comes back as one mail whose size tells its forms.
        world.turn(0);
        let before = world.shards[1].counters().deliveries;
        world.turn(1);
        assert!(world.shards[1].counters().deliveries > before);
        std::mem::take(&mut world.peers[other].first_bytes)
    };
    world.peers[other].first_bytes.clear();
    assert_eq!(frame_bytes(&mut world), [COMPRESSED_TEXT]);
    world.ask(
        other,
        &format!(r#"{{"type":"unsubscribe","channel":"{channel}"}}"#),
    );
    world.peers[other].first_bytes.clear();
    assert_eq!(frame_bytes(&mut world), [0; 0]);
    // And again when it comes back.
    world.subscribe(other, &channel);
    world.peers[other].first_bytes.clear();
    assert_eq!(frame_bytes(&mut world), [COMPRESSED_TEXT]);
}

#[test]
fn contract_m24_a_broadcast_to_connections_is_compressed_too() {
    let mut world = World::new(1);
    let plain = world.connect(0);
    let compressed = world.connect_as(0, compressing());
    let text = long_text(4000);
    let mut frame_bytes = Vec::new();
    frame::write_server(&mut frame_bytes, Kind::Text, text.as_bytes());
    let command = Command::Broadcast {
        frame: frame_bytes.into(),
        audience: Audience::Everyone,
    };
    world.command(0, command);
    for (peer, first) in [(plain, PLAIN_TEXT), (compressed, COMPRESSED_TEXT)] {
        assert_eq!(world.texts(peer), vec![text.clone()]);
        assert_eq!(world.peers[peer].first_bytes, [first]);
    }
    assert_eq!(world.residue().frames, 0);
}

#[test]
fn contexts_are_kept_for_who_offers_them_and_given_back() {
    let mut world = World::with(2, keeping(64 << 20));
    let channel = world.channel_at(1);
    // Through another shard's door: its promise must find the way back.
    let keeps = world.connect_as(
        0,
        Who {
            door: Some(1),
            ..with_offer("permessage-deflate")
        },
    );
    let shared = world.connect_as(
        0,
        with_offer("permessage-deflate; server_no_context_takeover"),
    );
    let both = DeflateContext::heap_bytes(15) + InflateContext::HEAP_BYTES;
    assert_eq!(world.shards[1].residue().promised_bytes, both);
    assert_eq!(
        world.shards[0].residue().promised_bytes,
        InflateContext::HEAP_BYTES
    );
    for peer in [keeps, shared] {
        world.subscribe(peer, &channel);
        world.peers[peer].first_bytes.clear();
    }
    // Broadcasts, answers and plain messages in any order: the contexts of both ends stay in step, or nothing could be read.
    for round in 0..5 {
        let message = long_text(3000 + round * 700);
        world.publish(shared, &channel, &message);
        world.settle();
        let expected = broadcast(&channel, &message, world.now().unix_ms);
        for peer in [keeps, shared] {
            assert_eq!(world.texts(peer), vec![expected.clone()]);
            world.say_compressed(peer, &format!(r#"{{"type":"echo","data":{message}}}"#));
            assert_eq!(world.texts(peer).len(), 1);
            assert!(world.ask(peer, r#"{"type":"ping"}"#)[0].contains("pong"));
            let first = std::mem::take(&mut world.peers[peer].first_bytes);
            assert_eq!(first, [COMPRESSED_TEXT, COMPRESSED_TEXT, PLAIN_TEXT]);
        }
    }
    for peer in [keeps, shared] {
        world.lose(peer);
    }
    world.settle();
    assert_eq!(world.residue(), Residue::default());
}

/// Memory for contexts is bounded per shard, whatever clients offer.
#[test]
fn attack_deflate_memory() {
    let both = DeflateContext::heap_bytes(15) + InflateContext::HEAP_BYTES;
    let mut world = World::with(1, keeping(3 * both));
    let peers: Vec<_> = (0..10)
        .map(|_| world.connect_as(0, echoing(with_offer("permessage-deflate"))))
        .collect();
    assert_eq!(world.residue().promised_bytes, 3 * both);
    // All are served alike, with contexts or without.
    for &peer in &peers {
        for _ in 0..2 {
            let text = long_text(2000);
            world.say_compressed(peer, &text);
            assert_eq!(world.texts(peer), [text]);
        }
        assert_eq!(world.peers[peer].first_bytes, [COMPRESSED_TEXT; 2]);
    }
    // A place that is given back is promised again.
    world.lose(peers[0]);
    assert_eq!(world.residue().promised_bytes, 2 * both);
    world.connect_as(0, with_offer("permessage-deflate"));
    assert_eq!(world.residue().promised_bytes, 3 * both);
    // By default nothing is promised to anybody.
    let mut world = World::new(1);
    world.connect_as(0, with_offer("permessage-deflate"));
    assert_eq!(world.residue().promised_bytes, 0);
}

#[test]
fn a_negotiation_that_comes_to_nothing_is_given_back() {
    let mut world = World::with(2, keeping(64 << 20));
    let (_, compression) = world.shards[0]
        .negotiate(["permessage-deflate"], false)
        .unwrap();
    assert!(world.residue().promised_bytes > 0);
    // The socket ended on its way: on another shard.
    world.shards[1].revoke_compression(compression);
    world.settle();
    assert_eq!(world.residue(), Residue::default());
    let (_, compression) = world.shards[0]
        .negotiate(["permessage-deflate"], false)
        .unwrap();
    world.shards[0].revoke_compression(compression);
    assert_eq!(world.residue(), Residue::default());
}

#[test]
fn contract_m12_m14_compression_can_be_switched_off() {
    let off = CompressionSettings {
        enabled: false,
        ..CompressionSettings::default()
    };
    let mut world = World::with(1, with(off));
    assert!(
        world.shards[0]
            .negotiate(["permessage-deflate"], false)
            .is_none()
    );
}

/// A bomb closes its sender and nobody else, with the limit in the reason.
#[test]
fn attack_deflate_bomb() {
    let mut world = World::new(1);
    let peer = world.connect_as(0, echoing(compressing()));
    let other = world.connect_as(0, echoing(compressing()));
    world.say_compressed(peer, &"0".repeat(1 << 20));
    let reason = "message larger than the limit of 65536 bytes";
    assert_eq!(world.heard(peer), [Frame::Close(1009, reason.into())]);
    assert_eq!(world.disconnected(peer), [CloseCause::Us(1009)]);
    world.say_compressed(other, &long_text(60_000));
    assert_eq!(world.heard(other).len(), 1);
}

/// What is compressed wrongly, or not negotiated, closes its sender alone.
#[test]
fn attack_broken_compression() {
    let mut world = World::new(1);
    for (who, frame, code) in [
        (compressing(), (0xc1, &b"\xff\xff\xff"[..]), 1007),
        (compressing(), (0xc9, b""), 1002),
        (compressing(), (0xc0, b""), 1002),
        (Who::default(), (0xc1, b"\x00"), 1002),
    ] {
        let peer = world.connect_as(0, who);
        let mut bytes = masked(Kind::Binary, frame.1);
        bytes[0] = frame.0;
        let (shard, connection) = (0, world.id(peer));
        world.hand_in(
            shard,
            Input::Bytes {
                connection,
                bytes: &mut bytes,
            },
        );
        let heard = world.heard(peer);
        assert!(
            matches!(heard[..], [Frame::Close(found, _)] if found == code),
            "{heard:?}"
        );
    }
    // The inflater they shared is as good as new.
    let peer = world.connect_as(0, echoing(compressing()));
    world.say_compressed(peer, &long_text(2000));
    assert_eq!(world.texts(peer), [long_text(2000)]);
}

/// Who says in the first frame who it is may move to its user's shard: what was negotiated moves too, and nothing that could
/// not follow was agreed on.
#[test]
fn a_stranger_that_moves_stays_compressed() {
    let settings = ShardSettings {
        authentication: Some(AuthenticationTimes::default()),
        ..keeping(64 << 20)
    };
    for home in 0..2 {
        let placement = Placement::new(Rule::UserHash, 2);
        let mut world = World::placed(placement, settings.clone(), LaneBounds::default());
        let user = (0..)
            .map(|n| format!("user{n}"))
            .find(|user| placement.home_of_user(user).index() == home)
            .unwrap();
        let who = Who {
            offer: compressing().offer,
            ..support::stranger()
        };
        let peer = world.connect_as(0, who);
        assert_eq!(world.residue().promised_bytes, 0);
        // The token itself may come compressed.
        let padding = "x".repeat(2000);
        world.say_compressed(
            peer,
            &format!(r#"{{"type":"auth","token":"t","padding":"{padding}"}}"#),
        );
        world.verdict(Ok(Identity::new(user)));
        assert_eq!(world.id(peer).shard().index(), home);
        assert!(world.texts(peer)[0].contains("hello"));
        world.peers[peer].first_bytes.clear();
        world.say_compressed(
            peer,
            &format!(r#"{{"type":"echo","data":{}}}"#, long_text(3000)),
        );
        assert_eq!(world.texts(peer).len(), 1);
        assert_eq!(world.peers[peer].first_bytes, [COMPRESSED_TEXT]);
        world.lose(peer);
        world.settle();
        assert_eq!(world.residue(), Residue::default());
    }
}

/// A higher level takes more work and gives a shorter message; both are read by whoever speaks the extension.
#[test]
fn contract_m15_the_level_decides_how_short_a_message_becomes() {
    // Words in an order that never repeats for long: what is found depends on how far one looks.
    let mut state = 7_u32;
    let text: String = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ["alpha ", "beta ", "gamma ", "delta ", "epsilon "][(state >> 24) as usize % 5]
    })
    .take(5_000)
    .collect();
    let sent = |level| {
        let mut world = World::with(
            1,
            with(CompressionSettings {
                level,
                ..CompressionSettings::default()
            }),
        );
        let peer = world.connect_as(0, echoing(compressing()));
        world.say(peer, &text);
        assert_eq!(world.texts(peer), std::slice::from_ref(&text));
        assert_eq!(world.peers[peer].first_bytes, [COMPRESSED_TEXT]);
        world.shards[0].counters().bytes_sent
    };
    let (fast, usual, best) = (sent(1), sent(6), sent(9));
    assert!(best <= usual && usual < fast, "{fast}, {usual}, {best}");
    assert!(fast < text.len() as u64 / 2, "{fast}");
}
