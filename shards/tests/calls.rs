//! Calls to application handlers: one at a time, in order, and what becomes of a connection meanwhile.

#![allow(clippy::unwrap_used)]

mod support;

use shardwire_protocol::codes::ErrorCode;
use shardwire_protocol::websocket::frame::Kind;
use shardwire_shards::vocabulary::{CallTarget, CloseCause, Command, Returned};
use shardwire_shards::{ApplicationRoutes, ShardSettings};
use support::{Frame, PeerId, World, close, masked, open_settings};

fn settings(routes: ApplicationRoutes) -> ShardSettings {
    ShardSettings {
        outbox_soft_limit: 2_000,
        outbox_hard_limit: 100_000,
        routes,
        ..open_settings()
    }
}

fn work() -> World {
    let types = vec!["work".to_owned()];
    World::with(
        1,
        settings(ApplicationRoutes {
            types,
            ..ApplicationRoutes::default()
        }),
    )
}

fn every_message() -> World {
    World::with(
        1,
        settings(ApplicationRoutes {
            every_message: true,
            ..ApplicationRoutes::default()
        }),
    )
}

fn send(world: &mut World, peer: PeerId, text: &str) {
    let connection = world.id(peer);
    let text = text.into();
    world.command(
        0,
        Command::SendText {
            connection,
            text,
            answer: None,
        },
    );
}

fn pass_on(world: &mut World, peer: PeerId) {
    let (_, _, message) = world.calls[0].clone();
    let connection = world.id(peer);
    let message = message.into();
    world.command(
        0,
        Command::RouteBuiltIn {
            connection,
            message,
        },
    );
}

const PING: &str = r#"{"type":"ping","id":9}"#;

#[test]
fn a_message_of_the_applications_type_is_its_own_and_what_follows_waits() {
    let mut world = work();
    let peer = world.connect(0);
    let message = r#"{"type":"work","id":1,"more":[1,2]}"#;
    world.bytes(
        peer,
        &[
            masked(Kind::Text, message.as_bytes()),
            masked(Kind::Text, PING.as_bytes()),
        ]
        .concat(),
    );
    world.say(peer, message);
    assert_eq!(
        world.calls,
        [(peer, CallTarget::Route(0), message.to_owned())]
    );
    assert_eq!(world.heard(peer), []);
    send(&mut world, peer, "done");
    world.return_to(peer, Returned::Done);
    let heard = world.texts(peer);
    assert_eq!(heard[0], "done");
    assert!(heard[1].contains("pong"), "{heard:?}");
    assert_eq!(world.calls.len(), 1, "the second work runs now");
    world.return_to(peer, Returned::Done);
    assert_eq!(world.ask(peer, PING).len(), 1);
}

#[test]
fn others_are_not_held_up() {
    let mut world = work();
    let (busy, other) = (world.connect(0), world.connect(0));
    world.say(busy, r#"{"type":"work"}"#);
    assert_eq!(world.ask(other, PING).len(), 1);
    world.say(other, r#"{"type":"work"}"#);
    assert_eq!(world.calls.len(), 2);
}

#[test]
fn a_connection_still_gets_what_others_publish_while_its_handler_runs() {
    let mut world = work();
    let (busy, other) = (world.connect(0), world.connect(0));
    world.subscribe(busy, "c");
    world.say(busy, r#"{"type":"work"}"#);
    world.publish(other, "c", "1");
    assert_eq!(world.texts(busy).len(), 1);
}

#[test]
fn a_handler_that_fails_is_answered_and_one_that_panics_ends_the_connection() {
    let mut world = work();
    let peer = world.connect(0);
    world.say(peer, r#"{"type":"work"}"#);
    world.return_to(peer, Returned::Failed(ErrorCode::InvalidMessage));
    assert_eq!(
        world.texts(peer),
        [r#"{"type":"error","error":"Invalid message","code":112,"temporary":false}"#]
    );
    world.say(peer, r#"{"type":"work"}"#);
    world.return_to(peer, Returned::Panicked);
    let heard = world.heard(peer);
    assert_eq!(heard[1], Frame::Close(1011, "internal error".into()));
    world.bytes(peer, &close(1011, ""));
    assert_eq!(world.disconnected(peer), [CloseCause::Us(1011)]);
}

#[test]
fn the_connect_handler_comes_before_the_first_message() {
    let mut world = World::with(
        1,
        settings(ApplicationRoutes {
            on_connect: true,
            ..ApplicationRoutes::default()
        }),
    );
    let early = masked(Kind::Text, PING.as_bytes());
    let who = support::Who {
        early,
        ..support::Who::default()
    };
    let peer = world.connect_as(0, who);
    assert_eq!(world.calls, [(peer, CallTarget::Connect, String::new())]);
    assert_eq!(world.heard(peer), []);
    world.return_to(peer, Returned::Done);
    assert_eq!(world.texts(peer).len(), 1);
}

/// A handler may be late: its connection is closing by then, and must get into no audience any more, where it would stay for
/// ever and be written to behind its close frame.
#[test]
fn what_a_handler_asks_for_a_closing_connection_is_not_done() {
    let subscribe = r#"{"type":"subscribe","channel":"c"}"#;
    let mut world = every_message();
    let (peer, other) = (world.connect(0), world.connect(0));
    world.say(peer, subscribe);
    world.command(
        0,
        Command::CloseConnection {
            connection: world.id(peer),
            code: 4500,
            reason: "no".into(),
            answer: None,
        },
    );
    assert_eq!(world.heard(peer), [Frame::Close(4500, "no".into())]);
    pass_on(&mut world, peer);
    let connection = world.id(peer);
    let channel = || "d".into();
    world.command(
        0,
        Command::Subscribe {
            connection,
            channel: channel(),
        },
    );
    send(&mut world, peer, "too late");
    world.return_to(peer, Returned::Done);
    assert_eq!(world.residue().local_channels, 0);
    for channel in ["c", "d"] {
        let message = r#""x""#.into();
        let channel = channel.into();
        world.command(
            0,
            Command::Publish {
                channel,
                message,
                exclude: Vec::new(),
                options: None,
                answer: None,
            },
        );
    }
    assert_eq!(world.heard(peer), []);
    world.bytes(peer, &close(4500, ""));
    world.lose(other);
    assert_eq!(world.residue(), Default::default());
}

#[test]
fn nobody_is_subscribed_who_is_not_admitted_yet() {
    let mut world = World::with(
        2,
        ShardSettings {
            max_connections_per_user: Some(0),
            ..open_settings()
        },
    );
    let away = 1 - world.placement.home_of_user("ann").index();
    let peer = world.open(away, support::user("ann"));
    let connection = world.id(peer);
    let channel = "c".into();
    world.command(
        away,
        Command::Subscribe {
            connection,
            channel,
        },
    );
    assert_eq!(world.residue().local_channels, 0);
    world.settle();
    assert_eq!(world.residue().local_channels, 0);
}

/// What a peer sends while its handler runs is kept, so it must stop being read from; and what is written to it meanwhile must
/// not make it be read from again.
#[test]
fn a_peer_that_floods_while_its_handler_runs_is_not_read_from() {
    let mut world = work();
    let peer = world.connect(0);
    world.say(peer, r#"{"type":"work"}"#);
    let ping = masked(Kind::Text, PING.as_bytes());
    let mut flood = 0;
    for _ in 0..1_000 {
        if world.peers[peer].receiving {
            world.bytes(peer, &ping);
            flood += 1;
        }
        send(&mut world, peer, "something");
    }
    assert!(flood * ping.len() <= 2_100, "{flood} messages are kept");
    world.heard(peer);
    world.return_to(peer, Returned::Done);
    // More answers than its outbox may hold at once: the rest is handled when those are written.
    world.pass(1);
    assert_eq!(world.texts(peer).len(), flood);
    assert!(
        world.peers[peer].receiving,
        "all is handled, it is read again"
    );
}

#[test]
fn contract_k10_a_handler_refuses_in_its_own_words() {
    let mut world = work();
    let peer = world.connect(0);
    world.say(peer, r#"{"type":"work"}"#);
    world.return_to(peer, Returned::Refused("Invalid \"chat\" message".into()));
    assert_eq!(
        world.texts(peer),
        [r#"{"type":"error","error":"Invalid \"chat\" message","code":112,"temporary":false}"#]
    );
    assert_eq!(world.ask(peer, r#"{"type":"ping"}"#).len(), 1);
}
