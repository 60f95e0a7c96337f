//! Rates of messages on whole shards by hand (contract W6, decision D22). Goal: what was promised passes, what exceeds it is
//! answered and has no effect, and nobody gets around a limit by spreading over shards or by coming back.
#![allow(clippy::unwrap_used)]

mod support;

use shardwire_shards::ShardSettings;
use shardwire_shards::rate_limits::{Rate, Rates};
use shardwire_shards::vocabulary::Command;
use support::{Frame, PeerId, World, from, open_settings, user};

const REFUSED: &str =
    r#"{"type":"error","error":"Rate limit exceeded","code":102,"temporary":true}"#;

fn world(shards: u16, rates: Rates) -> World {
    World::with(
        shards,
        ShardSettings {
            rates,
            ..open_settings()
        },
    )
}

/// Says so many pings; how many were answered, and how many refused.
fn pings(world: &mut World, peer: PeerId, count: usize) -> (usize, usize) {
    for _ in 0..count {
        world.say(peer, r#"{"type":"ping"}"#);
    }
    world.settle();
    let heard = world.texts(peer);
    let refused = heard.iter().filter(|text| *text == REFUSED).count();
    let answered = heard.iter().filter(|text| text.contains("pong")).count();
    assert_eq!(answered + refused, count, "{heard:?}");
    (answered, refused)
}

#[test]
fn contract_w6_a_connection_has_its_burst_and_then_its_rate() {
    let mut world = world(
        1,
        Rates {
            connection_messages: Some(Rate::new(10, 1000, 5)),
            ..Rates::default()
        },
    );
    let (ann, bob) = (world.connect(0), world.connect(0));
    assert_eq!(pings(&mut world, ann, 8), (5, 3));
    assert_eq!(pings(&mut world, bob, 5), (5, 0), "everybody has their own");
    world.pass(300);
    assert_eq!(pings(&mut world, ann, 8), (3, 5));
    let heard = world.ask(
        ann,
        r#"{"type":"publish","channel":"c","message":1,"id":"x"}"#,
    );
    assert_eq!(
        heard,
        [r#"{"type":"error","error":"Rate limit exceeded","code":102,"temporary":true,"id":"x"}"#]
    );
    assert_eq!(world.shards[0].counters().publications, 0);
    assert_eq!(world.shards[0].counters().messages_refused, 9);
}

#[test]
fn bytes_are_limited_too() {
    let mut world = world(
        1,
        Rates {
            connection_bytes: Some(Rate::new(1000, 1000, 1000)),
            ..Rates::default()
        },
    );
    let ann = world.connect(0);
    let large = format!(r#"{{"type":"echo","data":"{}"}}"#, "x".repeat(600));
    assert!(world.ask(ann, &large)[0].contains("xxx"));
    assert_eq!(world.ask(ann, &large), [REFUSED]);
    world.pass(300);
    assert!(world.ask(ann, &large)[0].contains("xxx"));
}

#[test]
fn a_user_has_one_bucket_on_all_shards_and_leaving_does_not_fill_it() {
    let rates = Rates {
        user_messages: Some(Rate::new(10, 1000, 6)),
        ..Rates::default()
    };
    for shards in [1, 2, 4] {
        let mut world = world(shards, rates);
        let last = usize::from(shards) - 1;
        let (here, there) = (
            world.connect_as(0, user("ann")),
            world.connect_as(last, user("ann")),
        );
        let bob = world.connect_as(last, user("bob"));
        assert_eq!(pings(&mut world, here, 4), (4, 0), "{shards} shards");
        if shards > 1 {
            // The other shard takes from its own copy, and is told at once that there is less.
            pings(&mut world, there, 1);
        }
        let (answered, _) = pings(&mut world, there, 4);
        assert!(answered <= 2, "{shards} shards: {answered}");
        assert_eq!(pings(&mut world, bob, 6), (6, 0));
        // Who heard that the last token is gone lets nothing through any more, on whichever shard.
        pings(&mut world, here, 3);
        assert_eq!(pings(&mut world, here, 2), (0, 2));
        assert_eq!(pings(&mut world, there, 2), (0, 2));
        world.lose(here);
        world.lose(there);
        world.settle();
        let again = world.connect_as(last, user("ann"));
        let (answered, _) = pings(&mut world, again, 6);
        assert!(
            answered <= 2,
            "{shards} shards: {answered} after coming back"
        );
    }
}

#[test]
fn over_a_longer_time_the_rate_holds_on_any_number_of_shards() {
    let rates = Rates {
        ip_messages: Some(Rate::new(50, 1000, 10)),
        refused: Rate::new(1_000_000, 1000, 1_000_000),
        ..Rates::default()
    };
    for shards in [1_u16, 2, 4, 7] {
        let mut world = world(shards, rates);
        let peers: Vec<_> = (0..usize::from(shards))
            .map(|shard| world.connect_as(shard, from(9)))
            .collect();
        let mut passed = 0;
        for _ in 0..200 {
            // All in one moment: no mail moves between them.
            for &peer in &peers {
                for _ in 0..5 {
                    world.say(peer, r#"{"type":"ping"}"#);
                }
            }
            world.pass(50);
            for &peer in &peers {
                passed += world
                    .heard(peer)
                    .iter()
                    .filter(|frame| matches!(frame, Frame::Text(text) if text.contains("pong")))
                    .count();
            }
        }
        // Ten seconds of 50 a second and one burst; what passed in the last moment may not be paid back yet.
        let most = 510 + 10 * (usize::from(shards) - 1);
        assert!((490..=most).contains(&passed), "{shards} shards: {passed}");
    }
}

#[test]
fn who_goes_on_although_refused_is_closed() {
    let mut world = world(
        1,
        Rates {
            connection_messages: Some(Rate::new(1, 1000, 1)),
            refused: Rate::new(3, 10_000, 3),
            ..Rates::default()
        },
    );
    let ann = world.connect(0);
    assert_eq!(pings(&mut world, ann, 4), (1, 3));
    world.say(ann, r#"{"type":"ping"}"#);
    assert_eq!(
        world.heard(ann),
        [Frame::Close(4104, "too many messages".into())]
    );
}

#[test]
fn pings_of_the_protocol_cost_too() {
    let mut world = world(
        1,
        Rates {
            connection_messages: Some(Rate::new(1, 1000, 2)),
            ..Rates::default()
        },
    );
    let ann = world.connect(0);
    for _ in 0..3 {
        let ping = support::masked(shardwire_protocol::websocket::frame::Kind::Ping, b"?");
        world.bytes(ann, &ping);
    }
    let heard = world.heard(ann);
    assert_eq!(
        heard,
        [
            Frame::Pong(b"?".to_vec()),
            Frame::Pong(b"?".to_vec()),
            Frame::Text(REFUSED.into())
        ]
    );
}

#[test]
fn nothing_is_held_for_those_who_are_gone() {
    let mut world = world(
        3,
        Rates {
            user_messages: Some(Rate::new(10, 1000, 20)),
            ip_messages: Some(Rate::new(10, 1000, 20)),
            ..Rates::default()
        },
    );
    let peers = [
        world.connect_as(0, user("ann")),
        world.connect_as(1, user("bob")),
        world.connect_as(2, from(7)),
    ];
    for peer in peers {
        pings(&mut world, peer, 15);
        world.lose(peer);
    }
    world.settle();
    assert!(world.residue().buckets > 0);
    world.pass(3_500);
    assert_eq!(world.residue(), shardwire_shards::Residue::default());
}

#[test]
fn new_rates_hold_at_once_and_nobody_owes_what_an_old_one_was_about() {
    let slow = |count| {
        let rate = Some(Rate::new(count, 3_600_000, 5));
        ShardSettings {
            rates: Rates {
                connection_messages: rate,
                user_messages: rate,
                new_connections: Some(Rate::new(1, 3_600_000, 1)),
                ..Rates::default()
            },
            ..open_settings()
        }
    };
    let mut world = World::with(2, slow(1));
    let ann = world.connect_as(0, user("ann"));
    let (first, second) = (world.now(), world.now());
    assert!(world.shards[1].admit_another(first).is_ok());
    assert!(world.shards[0].admit_another(second).is_err());
    assert_eq!(pings(&mut world, ann, 8), (5, 3));
    // The same again changes nothing.
    let change = |world: &mut World, settings: &ShardSettings| {
        for shard in 0..2 {
            let settings = std::sync::Arc::new(settings.clone());
            world.command(shard, Command::Settings(settings));
        }
    };
    change(&mut world, &slow(1));
    assert_eq!(pings(&mut world, ann, 1), (0, 1));
    // A new rate, were it only a little faster, begins with its burst.
    change(&mut world, &slow(2));
    assert_eq!(pings(&mut world, ann, 8), (5, 3));
    let now = world.now();
    assert!(world.shards[0].admit_another(now).is_ok());
    change(&mut world, &open_settings());
    assert_eq!(pings(&mut world, ann, 50), (50, 0));
}
