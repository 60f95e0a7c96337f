//! Reaching particular connections from outside (contract M23, M25): one by one, or all of a user's, wherever they are.
#![allow(clippy::unwrap_used)]

mod support;

use bytes::Bytes;
use shardwire_protocol::codes::close;
use shardwire_protocol::websocket::frame;
use shardwire_shards::ShardSettings;
use shardwire_shards::vocabulary::{Answer, AnswerId, Command};
use support::{Frame, World, close as close_frame, echo, open_settings, user};

const ASKED: Option<AnswerId> = Some(AnswerId(7));

fn text(message: &str) -> Bytes {
    let mut out = Vec::new();
    frame::write_server(&mut out, frame::Kind::Text, message.as_bytes());
    out.into()
}

/// Ann on three shards, Bob on one; the shard that is Ann's home.
fn world() -> (World, [usize; 4], usize) {
    let mut world = World::new(3);
    let ann = [0, 1, 2].map(|shard| world.connect_as(shard, user("ann")));
    let bob = world.connect_as(1, user("bob"));
    let home = world.placement.home_of_user("ann").index();
    (world, [ann[0], ann[1], ann[2], bob], home)
}

#[test]
fn contract_m23_a_message_reaches_every_connection_of_a_user_but_the_excepted() {
    let (mut world, [a, b, c, bob], home) = world();
    let except = vec![world.id(b)];
    world.command(
        home,
        Command::SendToUser {
            user: "ann".into(),
            frame: text("hello"),
            except,
            answer: ASKED,
        },
    );
    world.settle();
    assert_eq!(world.answers, [Answer::Count(2)]);
    assert_eq!(world.texts(a), ["hello"]);
    assert_eq!(world.texts(c), ["hello"]);
    assert!(world.texts(b).is_empty() && world.texts(bob).is_empty());
}

#[test]
fn contract_m25_a_user_is_closed_with_code_and_reason_but_for_the_excepted() {
    let (mut world, [a, b, c, bob], home) = world();
    let except = vec![world.id(c)];
    world.command(
        home,
        Command::CloseUser {
            user: "ann".into(),
            code: 4500,
            reason: "banned".into(),
            except,
            answer: ASKED,
        },
    );
    world.settle();
    assert_eq!(world.answers, [Answer::Count(2)]);
    for gone in [a, b] {
        assert_eq!(world.heard(gone), [Frame::Close(4500, "banned".into())]);
    }
    assert!(world.heard(c).is_empty() && world.heard(bob).is_empty());
}

#[test]
fn one_connection_is_sent_to_and_closed_once_and_a_stale_id_reaches_nobody() {
    let mut world = World::new(1);
    let (peer, plain) = (world.connect(0), world.connect_as(0, echo()));
    let id = world.id(peer);
    let send = |connection| Command::SendText {
        connection,
        text: "for you".into(),
        answer: ASKED,
    };
    let close = || Command::CloseConnection {
        connection: id,
        code: close::REFUSED,
        reason: "refused".into(),
        answer: ASKED,
    };
    world.command(0, send(id));
    world.command(0, send(world.id(plain)));
    world.command(0, close());
    world.command(0, close());
    world.bytes(peer, &close_frame(close::REFUSED, ""));
    world.command(0, send(id));
    assert_eq!(
        world.answers,
        [1, 0, 1, 0, 0].map(Answer::Count),
        "sent; the echo path speaks no JSON; closed; closing already; gone"
    );
    assert_eq!(
        world.heard(peer),
        [
            Frame::Text("for you".into()),
            Frame::Close(close::REFUSED, "refused".into())
        ]
    );
}

#[test]
fn a_publisher_outside_is_told_whether_it_was_taken() {
    let mut world = World::new(1);
    world.command(
        0,
        Command::Publish {
            channel: "nobody listens".into(),
            message: Bytes::from_static(b"1"),
            exclude: Vec::new(),
            options: None,
            answer: ASKED,
        },
    );
    assert_eq!(world.answers, [Answer::Published(Ok(None))]);
}

#[test]
fn new_settings_hold_from_now_on() {
    let mut world = World::new(1);
    let old = world.connect_as(0, user("ann"));
    let settings = ShardSettings {
        max_message_size: 200,
        max_channels: 1,
        max_connections_per_user: Some(1),
        ..open_settings()
    };
    world.command(0, Command::Settings(settings.into()));
    let second = world.connect_as(0, user("ann"));
    assert!(
        matches!(
            world.heard(second)[..],
            [Frame::Close(close::TOO_MANY_OF_USER, _)]
        ),
        "the connection that was there counts"
    );
    world.subscribe(old, "one");
    assert!(
        world.ask(old, r#"{"type":"subscribe","channel":"two"}"#)[0].contains("Too many channels")
    );
    world.say(old, &"x".repeat(201));
    assert!(matches!(
        world.heard(old)[..],
        [Frame::Close(close::MESSAGE_TOO_LARGE, _)]
    ));
}
