//! The first frame, the verdict, the hand-off, and how long it all holds, on whole shards by hand (contract M6, M7, decision
//! D18). Goal: nobody does anything before the verdict, nothing that was sent gets lost by waiting for it, and every place
//! that was taken is given back. Method: verdicts, mail and time come when the test says so.
#![allow(clippy::unwrap_used)]

mod support;

use shardwire_protocol::websocket::frame::Kind;
use shardwire_shards::mesh::LaneBounds;
use shardwire_shards::permissions::{Action, Grant, Permissions, Rule as Allow};
use shardwire_shards::placement::{Placement, Rule};
use shardwire_shards::vocabulary::{Denied, Identity, Input};
use shardwire_shards::{AuthenticationTimes, Residue, ShardSettings};
use support::{Frame, PeerId, UNIX_MS, Who, World, masked, open_settings, stranger, verified};

const AUTH: &str = r#"{"type":"auth","token":"t","id":"a"}"#;

fn settings() -> ShardSettings {
    ShardSettings {
        authentication: Some(AuthenticationTimes {
            timeout_ms: 5_000,
            warning_ms: 60_000,
            grace_ms: 10_000,
        }),
        ..open_settings()
    }
}

fn world(shards: u16) -> World {
    World::with(shards, settings())
}

fn close_of(world: &mut World, peer: PeerId) -> u16 {
    let heard = world.heard(peer);
    match heard.as_slice() {
        [Frame::Close(code, _)] => *code,
        other => panic!("{other:?}"),
    }
}

fn ping(world: &mut World, peer: PeerId) -> bool {
    let heard = world.ask(peer, r#"{"type":"ping"}"#);
    heard.len() == 1 && heard[0].contains("pong")
}

#[test]
fn contract_d18_a_token_in_the_first_frame_opens_the_connection_with_hello_before_anything_else() {
    let mut world = world(1);
    let ann = world.connect_as(0, stranger());
    assert!(world.peers[ann].receiving);
    let mut bytes = masked(Kind::Text, AUTH.as_bytes());
    bytes.extend(masked(Kind::Text, br#"{"type":"ping","id":"early"}"#));
    // Half a frame behind it, too.
    let last = masked(Kind::Text, br#"{"type":"ping","id":"last"}"#);
    bytes.extend(&last[..9]);
    world.bytes(ann, &bytes);
    assert_eq!(world.heard(ann), []);
    assert_eq!(world.verifications, [(ann, "t".to_owned(), None)]);
    world.verdict(Ok(Identity::new("ann").named("Ann")));
    world.bytes(ann, &last[9..]);
    let heard = world.texts(ann);
    assert_eq!(
        heard[0],
        format!(
            concat!(
                r#"{{"type":"hello","connection":"0:0.0","user":"ann","name":"Ann","limits":{{"maxMessageSize":65536,"#,
                r#""maxChannels":128}},"heartbeat":{{"interval":30000,"timeout":10000,"presence":30000}},"serverTime":{},"id":"a"}}"#
            ),
            UNIX_MS
        )
    );
    assert!(heard[1].contains(r#""id":"early""#) && heard[2].contains(r#""id":"last""#));
}

#[test]
fn anything_else_first_and_it_is_over() {
    for first in [
        masked(Kind::Text, br#"{"type":"subscribe","channel":"c"}"#),
        masked(Kind::Text, br#"{"type":"auth"}"#),
        masked(Kind::Text, br#"{"type":"auth","token":7}"#),
        masked(Kind::Text, b"token"),
        masked(Kind::Binary, b"{}"),
        masked(
            Kind::Text,
            format!(r#"{{"type":"auth","token":"{}"}}"#, "x".repeat(8193)).as_bytes(),
        ),
    ] {
        let mut world = world(1);
        let peer = world.connect_as(0, stranger());
        world.bytes(peer, &first);
        assert_eq!(close_of(&mut world, peer), 4501);
        assert!(world.verifications.is_empty());
        world.lose(peer);
        world.settle();
        assert_eq!(world.residue(), Residue::default());
        assert_eq!(world.node_count.get(), 0);
    }
}

#[test]
fn contract_m7_who_does_not_say_it_in_time_is_closed() {
    let mut world = world(1);
    let silent = world.connect_as(0, stranger());
    // Pings are answered, but are no credentials.
    world.bytes(silent, &masked(Kind::Ping, b"?"));
    assert_eq!(world.heard(silent), [Frame::Pong(b"?".to_vec())]);
    let waiting = world.connect_as(0, stranger());
    world.say(waiting, AUTH);
    world.pass(4_900);
    assert_eq!(world.heard(silent), []);
    world.pass(200);
    assert_eq!(close_of(&mut world, silent), 4501);
    // Nobody answered: that is not the client's fault.
    assert_eq!(close_of(&mut world, waiting), 1013);
    // Too late.
    world.verdict(Ok(Identity::new("ann")));
    assert_eq!(world.heard(waiting), []);
}

#[test]
fn every_refusal_has_its_code() {
    for (denied, code) in [
        (Denied::Wrong, 4501),
        (Denied::Missing, 4501),
        (Denied::Expired, 4001),
        (Denied::Unavailable, 1013),
    ] {
        let mut world = world(1);
        let peer = world.connect_as(0, stranger());
        world.say(peer, AUTH);
        world.verdict(Err(denied));
        assert_eq!(close_of(&mut world, peer), code);
    }
    // A verifier that names nobody properly lets nobody in.
    let mut world = world(1);
    let peer = world.connect_as(0, stranger());
    world.say(peer, AUTH);
    world.verdict(Ok(Identity::new("a\nb")));
    assert_eq!(close_of(&mut world, peer), 4501);
}

#[test]
fn strangers_count_for_their_address_and_users_for_their_user() {
    let mut world = World::with(
        4,
        ShardSettings {
            max_connections_per_ip: Some(3),
            max_connections_per_user: Some(1),
            ..settings()
        },
    );
    let peers: Vec<_> = (0..3).map(|n| world.connect_as(n, stranger())).collect();
    let fourth = world.connect_as(3, stranger());
    assert_eq!(close_of(&mut world, fourth), 4102);
    world.say(peers[0], AUTH);
    world.verdict(Ok(Identity::new("ann")));
    assert_eq!(world.texts(peers[0]).len(), 1);
    world.say(peers[1], AUTH);
    world.verdict(Ok(Identity::new("ann")));
    assert_eq!(close_of(&mut world, peers[1]), 4101);
    for peer in [fourth, peers[0], peers[1], peers[2]] {
        world.lose(peer);
    }
    world.settle();
    assert_eq!(world.residue(), Residue::default());
}

/// A user whose home is this shard.
fn user_at(world: &World, shard: usize) -> String {
    (0..)
        .map(|n| format!("user{n}"))
        .find(|user| world.placement.home_of_user(user).index() == shard)
        .unwrap()
}

#[test]
fn the_verified_user_decides_where_the_connection_lives_and_nothing_is_lost_on_the_way() {
    for home in 0..4 {
        let mut world = World::placed(
            Placement::new(Rule::UserHash, 4),
            ShardSettings {
                max_connections_per_ip: Some(1),
                ..settings()
            },
            LaneBounds::default(),
        );
        let user = user_at(&world, home);
        let peer = world.connect_as(1, stranger());
        // The socket takes nothing for the moment: what waits goes along.
        world.peers[peer].room = Some(0);
        world.bytes(peer, &masked(Kind::Ping, b"waits"));
        let mut bytes = masked(Kind::Text, AUTH.as_bytes());
        bytes.extend(masked(Kind::Text, br#"{"type":"ping","id":"early"}"#));
        world.bytes(peer, &bytes);
        world.verdict(Ok(Identity::new(user.as_str())));
        assert_eq!(world.peers[peer].shard, home);
        assert_eq!(world.id(peer).shard().index(), home);
        world.make_room(peer, None);
        let heard = world.heard(peer);
        assert_eq!(heard[0], Frame::Pong(b"waits".to_vec()));
        assert!(
            matches!(&heard[1], Frame::Text(text) if text.starts_with(r#"{"type":"hello""#) && text.contains(r#""id":"a""#))
        );
        assert!(matches!(&heard[2], Frame::Text(text) if text.contains("early")));
        // It kept the one place of its address; nobody else has it.
        let other = world.connect_as(2, stranger());
        assert_eq!(close_of(&mut world, other), 4102);
        assert_eq!(world.node_count.get(), 2);
        world.lose(peer);
        world.lose(other);
        world.settle();
        assert_eq!(world.node_count.get(), 0);
        assert_eq!(world.residue(), Residue::default());
    }
}

#[test]
fn a_hand_off_that_does_not_arrive_gives_its_places_back() {
    let mut world = World::placed(
        Placement::new(Rule::UserHash, 2),
        ShardSettings {
            max_connections_per_ip: Some(1),
            ..settings()
        },
        LaneBounds::default(),
    );
    let user = user_at(&world, 1);
    let peer = world.connect_as(0, stranger());
    world.say(peer, AUTH);
    let connection = world.id(peer);
    let now = world.now();
    world.shards[0].handle(
        now,
        Input::Verdict {
            connection,
            verdict: Ok(Identity::new(user)),
        },
    );
    let effect = world.shards[0].poll_effect().unwrap();
    let shardwire_shards::vocabulary::Effect::HandOff { opening, .. } = effect else {
        panic!("{effect:?}");
    };
    world.shards[0].abandon(&opening);
    world.settle();
    assert_eq!(world.node_count.get(), 0);
    assert_eq!(world.residue(), Residue::default());
}

fn expiring(user: &str, in_ms: u64) -> Who {
    Who {
        hello: true,
        ..verified(Identity::new(user).expiring_at(UNIX_MS + in_ms))
    }
}

#[test]
fn a_token_is_warned_of_then_expires_after_its_grace() {
    let mut world = world(1);
    let peer = world.connect_as(0, expiring("ann", 100_000));
    let hello = world.texts(peer);
    assert!(hello[0].contains(&format!(r#""expires":{}"#, UNIX_MS + 100_000)));
    let texts = |frames: Vec<Frame>| -> Vec<Frame> {
        let is_ping = |frame: &Frame| matches!(frame, Frame::Ping(_));
        frames.into_iter().filter(|frame| !is_ping(frame)).collect()
    };
    let stay = |world: &mut World, ms: u64| {
        for _ in 0..ms / 1_000 {
            world.pass(1_000);
            world.bytes(peer, &masked(Kind::Pong, b""));
        }
    };
    stay(&mut world, 39_000);
    assert_eq!(texts(world.heard(peer)), []);
    stay(&mut world, 2_000);
    let expires = UNIX_MS + 100_000;
    assert_eq!(
        texts(world.heard(peer)),
        [Frame::Text(format!(
            r#"{{"type":"token-expiring","expires":{expires}}}"#
        ))]
    );
    stay(&mut world, 68_000);
    assert_eq!(texts(world.heard(peer)), []);
    stay(&mut world, 2_000);
    assert_eq!(
        texts(world.heard(peer)),
        [Frame::Close(4001, "the token has expired".into())]
    );
}

#[test]
fn a_refresh_in_time_keeps_the_connection_and_only_the_new_token_counts() {
    let mut world = world(1);
    let peer = world.connect_as(0, expiring("ann", 30_000));
    // Shorter than the warning time: warned at once, but after hello.
    let heard = world.texts(peer);
    assert!(heard[0].contains("hello") && heard[1].contains("token-expiring"));
    world.pass(20_000);
    world.say(peer, r#"{"type":"refresh","token":"new","id":3}"#);
    assert_eq!(
        world.verifications,
        [(peer, "new".to_owned(), Some("ann".to_owned()))]
    );
    // One at a time.
    assert!(world.ask(peer, r#"{"type":"refresh","token":"x"}"#)[0].contains("Overloaded"));
    let expires = UNIX_MS + 200_000;
    world.verdict(Ok(Identity::new("ann").expiring_at(expires)));
    assert_eq!(
        world.texts(peer),
        [format!(
            r#"{{"type":"refreshed","expires":{expires},"id":3}}"#
        )]
    );
    for _ in 0..30 {
        world.pass(1_000);
        assert!(ping(&mut world, peer));
    }
}

#[test]
fn a_refresh_that_fails_changes_nothing() {
    let mut world = world(1);
    let peer = world.connect_as(0, expiring("ann", 100_000));
    world.heard(peer);
    for (verdict, error) in [
        (Err(Denied::Wrong), "Authentication failed"),
        (Err(Denied::Expired), "Authentication failed"),
        (Err(Denied::Unavailable), "Overloaded"),
        (Ok(Identity::new("bob")), "Not permitted"),
    ] {
        world.say(peer, r#"{"type":"refresh","token":"new"}"#);
        world.verdict(verdict);
        let heard = world.texts(peer);
        assert!(heard[0].contains(error), "{heard:?}");
        assert!(ping(&mut world, peer));
    }
    assert!(world.ask(peer, r#"{"type":"refresh"}"#)[0].contains("Invalid message"));
    assert!(world.ask(peer, AUTH)[0].contains("Invalid message"));
}

#[test]
fn whoever_asked_for_a_refresh_in_time_is_not_closed_while_it_is_verified() {
    let mut world = world(1);
    let peer = world.connect_as(0, expiring("ann", 5_000));
    world.pass(14_900);
    world.say(peer, r#"{"type":"refresh","token":"new"}"#);
    world.heard(peer);
    world.pass(2_000);
    assert_eq!(world.heard(peer), []);
    world.verdict(Ok(Identity::new("ann")));
    assert_eq!(world.texts(peer), [r#"{"type":"refreshed"}"#]);
    // And one that is never answered does not keep the connection for ever.
    let other = world.connect_as(0, expiring("bob", world.ms + 5_000));
    world.pass(14_900);
    world.say(other, r#"{"type":"refresh","token":"new"}"#);
    world.heard(other);
    world.pass(5_200);
    assert_eq!(close_of(&mut world, other), 4001);
}

#[test]
fn a_refresh_takes_permissions_away_from_running_subscriptions() {
    let rules = [Allow::about("room:*".parse().unwrap())
        .allow(Action::Subscribe, [Grant::from_text("room.read")])
        .allow(Action::Publish, [Grant::Anyone])];
    let mut world = World::with(
        2,
        ShardSettings {
            permissions: Permissions::new(rules, true),
            ..settings()
        },
    );
    let reader = Identity::new("ann").with_permissions(["room.read"]);
    let ann = world.connect_as(0, verified(reader));
    let bob = world.connect_as(1, verified(Identity::new("bob")));
    world.subscribe(ann, "room:1");
    world.subscribe(ann, "open");
    world.say(ann, r#"{"type":"refresh","token":"less"}"#);
    world.verdict(Ok(Identity::new("ann")));
    assert_eq!(
        world.texts(ann),
        [
            r#"{"type":"refreshed"}"#,
            r#"{"type":"unsubscribed","channel":"room:1","error":"Not permitted","code":115}"#
        ]
    );
    world.publish(bob, "room:1", "1");
    world.publish(bob, "open", "2");
    world.settle();
    let heard = world.texts(ann);
    assert!(heard.len() == 1 && heard[0].contains("open"), "{heard:?}");
}

#[test]
fn without_authentication_its_messages_are_unknown_and_hello_comes_only_when_asked_for() {
    let mut world = World::new(1);
    let quiet = world.connect(0);
    assert!(world.ask(quiet, AUTH)[0].contains("Unknown message type"));
    let greeted = world.connect_as(
        0,
        Who {
            hello: true,
            ..support::user("ann")
        },
    );
    let hello = world.texts(greeted);
    // A name that nobody verified is nobody's.
    assert!(hello[0].starts_with(r#"{"type":"hello","connection":"0:1.0","user":null,"#));
}
