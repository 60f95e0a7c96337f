//! The protocol heartbeat: who is silent is pinged, who stays silent is closed, who speaks is left alone (contract M3, M4).

#![allow(clippy::unwrap_used)]

mod support;

use shardwire_protocol::websocket::frame::Kind;
use shardwire_shards::vocabulary::{CloseCause, Input};
use shardwire_shards::{ShardSettings, bounds};
use support::{Frame, World, close, masked, open_settings};

/// A tick, and what rounding to ticks adds up to.
const SLACK_MS: u64 = 50;

fn settings(interval: u64, timeout: u64) -> ShardSettings {
    ShardSettings {
        heartbeat_interval_ms: interval,
        heartbeat_timeout_ms: timeout,
        ..open_settings()
    }
}

fn ping() -> Frame {
    Frame::Ping(Vec::new())
}

#[test]
fn contract_m3_m4_a_silent_peer_is_pinged_after_the_interval_and_closed_after_the_timeout() {
    let mut world = World::with(1, settings(30_000, 10_000));
    let peer = world.connect(0);
    // The first interval is shortened by at most a quarter; see `connections_of_one_burst_are_not_pinged_together`.
    world.pass(22_000);
    assert_eq!(world.heard(peer), []);
    world.pass(8_000 + SLACK_MS);
    assert_eq!(world.heard(peer), [ping()]);
    world.pass(10_000 + SLACK_MS);
    assert_eq!(
        world.heard(peer),
        [Frame::Close(4000, "heartbeat timeout".into())]
    );
    assert_eq!(world.disconnected(peer), [CloseCause::Us(4000)]);
    assert!(world.peers[peer].closed);
    assert_eq!(world.shards[0].counters().heartbeat_timeouts, 1);
}

/// A timer armed after a time without any lies in a coarse slot of the wheel, whose beginning is past: nobody stood still.
#[test]
fn a_quiet_second_is_not_taken_for_a_stall() {
    let settings = ShardSettings {
        close_timeout_ms: 200,
        ..settings(30_000, 10_000)
    };
    let mut world = World::with(1, settings);
    let silent = world.connect(0);
    world.pass(30_000 + SLACK_MS);
    assert_eq!(world.heard(silent), [ping()]);
    let rude = world.connect(0);
    world.pass(1_200);
    // Breaks the protocol and does not answer the close frame: a deadline of 200 ms.
    world.bytes(rude, &[0xff, 0x80, 0, 0, 0, 0]);
    world.pass(8_800 + SLACK_MS);
    assert_eq!(world.disconnected(silent), [CloseCause::Us(4000)]);
}

#[test]
fn pings_that_are_due_together_leave_room_for_others_between() {
    const CONNECTIONS: u64 = 300;
    // So short that nothing is left to spread it over.
    let mut world = World::with(1, settings(100, 100));
    let peers: Vec<_> = (0..CONNECTIONS).map(|_| world.connect(0)).collect();
    let begin = world.ms;
    let mut turns = 0;
    while world.shards[0].counters().pings_sent < CONNECTIONS {
        let now = world.now();
        world.ms = world.shards[0].next_deadline(now).unwrap();
        let before = world.shards[0].counters().pings_sent;
        world.hand_in(0, Input::Deadline);
        let sent = world.shards[0].counters().pings_sent - before;
        assert!(
            sent <= bounds::LOOKED_AFTER_PER_TURN as u64,
            "{sent} at once"
        );
        turns += u64::from(sent > 0);
    }
    assert_eq!(
        turns,
        CONNECTIONS.div_ceil(bounds::LOOKED_AFTER_PER_TURN as u64)
    );
    // Nobody waits for time between the turns.
    assert!(world.ms - begin <= 100 + SLACK_MS);
    for peer in peers {
        assert_eq!(world.heard(peer), [ping()]);
    }
}

#[test]
fn a_peer_that_answers_is_pinged_for_ever_and_never_closed() {
    let mut world = World::with(1, settings(30_000, 10_000));
    let peer = world.connect(0);
    let mut pings = 0;
    for _ in 0..200 {
        world.pass(1_000);
        for frame in world.heard(peer) {
            assert_eq!(frame, ping());
            world.bytes(peer, &masked(Kind::Pong, b""));
            pings += 1;
        }
    }
    assert!((6..=7).contains(&pings), "{pings} pings in 200 s");
}

#[test]
fn any_traffic_postpones_the_ping() {
    let mut world = World::with(1, settings(30_000, 10_000));
    let peer = world.connect(0);
    for _ in 0..20 {
        world.pass(20_000);
        world.bytes(peer, &masked(Kind::Pong, b"unasked"));
    }
    assert_eq!(world.heard(peer), []);
    let spoke = world.ms;
    world.pass(30_000 - SLACK_MS);
    assert_eq!(world.heard(peer), []);
    world.pass(2 * SLACK_MS);
    assert_eq!(world.heard(peer), [ping()], "{} ms after {spoke}", world.ms);
}

#[test]
fn half_a_frame_is_a_sign_of_life() {
    let mut world = World::with(1, settings(30_000, 10_000));
    let peer = world.connect(0);
    let frame = masked(Kind::Text, &[b'x'; 100]);
    for byte in &frame[..20] {
        world.pass(29_000);
        world.bytes(peer, &[*byte]);
        world.heard(peer);
    }
    assert_eq!(world.disconnected(peer), []);
}

/// The interval holds whatever the timeout is: a peer that goes silent right after its pong, however late that was, is pinged
/// an interval later and closed a timeout after that.
#[test]
fn a_timeout_longer_than_the_interval_delays_no_ping() {
    for answers_after in [0, 2_700, 9_000] {
        let mut world = World::with(1, settings(1_000, 10_000));
        let peer = world.connect(0);
        world.pass(1_000 + SLACK_MS);
        assert_eq!(world.heard(peer), [ping()]);
        world.pass(answers_after);
        world.bytes(peer, &masked(Kind::Pong, b""));
        world.pass(1_000 + SLACK_MS);
        assert_eq!(world.heard(peer), [ping()]);
        world.pass(10_000 + SLACK_MS);
        assert_eq!(
            world.heard(peer),
            [Frame::Close(4000, "heartbeat timeout".into())]
        );
    }
}

/// Connections that come together are pinged over a quarter of the interval, not all in one tick.
#[test]
fn connections_of_one_burst_are_not_pinged_together() {
    for interval in [30_000, 32_768] {
        let mut world = World::with(1, settings(interval, 10_000));
        world.pass(60_000);
        let peers: Vec<_> = (0..500).map(|_| world.connect(0)).collect();
        let mut most = 0;
        for _ in 0..interval / 100 {
            world.pass(100);
            let pinged = peers
                .iter()
                .filter(|&&peer| !world.heard(peer).is_empty())
                .count();
            most = most.max(pinged);
        }
        world.pass(100 + SLACK_MS);
        let quarter_ms = interval / 4;
        let even = 500 * 100 / quarter_ms as usize;
        assert!(
            most <= 3 * even,
            "{most} of 500 pinged within 100 ms, evenly it were {even}"
        );
        assert_eq!(world.shards[0].counters().pings_sent, 500);
    }
}

#[test]
fn a_peer_that_has_closed_is_not_pinged() {
    let mut world = World::with(1, settings(1_000, 1_000));
    let peer = world.connect(0);
    world.peers[peer].room = Some(0);
    world.bytes(peer, &close(1000, ""));
    world.pass(3_000);
    world.make_room(peer, None);
    assert_eq!(world.heard(peer), [Frame::Close(1000, String::new())]);
    assert_eq!(world.shards[0].counters().pings_sent, 0);
}

#[test]
fn nothing_stays_armed_for_the_gone() {
    let mut world = World::with(1, settings(1_000, 1_000));
    let peer = world.connect(0);
    world.lose(peer);
    world.pass(5_000);
    assert_eq!(world.shards[0].next_deadline(world.now()), None);
}

/// A shard that stood still (a suspended machine, a starved core) has not listened, and says so to nobody's cost: whoever has
/// answered meanwhile is read before anyone is judged, whoever has not gets the whole timeout once more, and nobody is pinged in
/// one burst with all the others, then or later.
#[test]
fn attack_all_connections_time_out_together_after_a_stall() {
    let (interval, timeout) = (30_000, 10_000);
    for pinged_before in [true, false] {
        let mut world = World::with(1, settings(interval, timeout));
        let peers: Vec<_> = (0..500).map(|_| world.connect(0)).collect();
        if pinged_before {
            world.pass(interval + SLACK_MS);
            for &peer in &peers {
                assert_eq!(world.heard(peer), [ping()]);
            }
        }
        world.ms += interval + 2 * timeout;
        // The first of them is read before the deadlines are met, the others in later turns.
        world.bytes(peers[0], &masked(Kind::Pong, b""));
        world.hand_in(0, Input::Deadline);
        assert_eq!(world.shards[0].counters().heartbeat_timeouts, 0);
        let pings = world.shards[0].counters().pings_sent;
        for &peer in &peers[..400] {
            world.bytes(peer, &masked(Kind::Pong, b""));
        }
        // The mute are found out all the same, and the others are pinged over a quarter of the interval.
        let mut most = 0;
        for _ in 0..(interval + timeout + interval / 4) / 100 {
            let before = world.shards[0].counters().pings_sent;
            world.pass(100);
            most = most.max(world.shards[0].counters().pings_sent - before);
            for &peer in &peers[..400] {
                if world.heard(peer).contains(&ping()) {
                    world.bytes(peer, &masked(Kind::Pong, b""));
                }
            }
        }
        let even = 500 * 100 / (interval / 4);
        assert!(
            most <= 3 * even,
            "{most} pinged within 100 ms, evenly it were {even}"
        );
        assert!(world.shards[0].counters().pings_sent > pings);
        for (index, &peer) in peers.iter().enumerate() {
            let ended = world.disconnected(peer);
            if index < 400 {
                assert_eq!(ended, [], "{index}");
            } else {
                assert_eq!(ended, [CloseCause::Us(4000)], "{index}");
            }
        }
    }
}

/// Answers that come in one moment are not followed by pings in one moment.
#[test]
fn connections_that_spoke_together_are_not_pinged_together() {
    let interval = 30_000;
    let mut world = World::with(1, settings(interval, 10_000));
    let peers: Vec<_> = (0..500).map(|_| world.connect(0)).collect();
    for &peer in &peers {
        world.bytes(peer, &masked(Kind::Text, br#"{"type":"ping"}"#));
    }
    let mut most = 0;
    for _ in 0..(interval + SLACK_MS) / 100 + 1 {
        let before = world.shards[0].counters().pings_sent;
        world.pass(100);
        most = most.max(world.shards[0].counters().pings_sent - before);
    }
    assert_eq!(world.shards[0].counters().pings_sent, 500);
    assert!(
        most <= 3 * 500 * 100 / (interval / 4),
        "{most} pinged within 100 ms"
    );
}
