//! The first messages of the wire, word for word: echo, ping, errors, ids given back (contract W1, W4, W5, W7, W8, K10).

#![allow(clippy::unwrap_used)]

mod support;

use shardwire_protocol::websocket::frame::Kind;
use support::{Frame, UNIX_MS, World, echo, masked};

/// What one message is answered with.
fn answer(text: &str) -> Vec<String> {
    let mut world = World::new(1);
    let peer = world.connect(0);
    world.ask(peer, text)
}

fn error(text: &str, code: u16) -> String {
    format!(r#"{{"type":"error","error":"{text}","code":{code},"temporary":false}}"#)
}

#[test]
fn contract_w1_echo_gives_the_data_back_as_it_was_written() {
    for data in [
        r#""hello""#,
        "null",
        r#"{"b": [1, 2.50, -0],  "a":"ü\u0041"}"#,
        "12345678901234567890123",
        r#"[[],{}]"#,
    ] {
        assert_eq!(
            answer(&format!(r#"{{"type":"echo","data":{data}}}"#)),
            [format!(
                r#"{{"type":"echo","data":{data},"timestamp":{UNIX_MS}}}"#
            )]
        );
    }
    assert_eq!(
        answer(r#"{"type":"echo"}"#),
        [format!(
            r#"{{"type":"echo","data":null,"timestamp":{UNIX_MS}}}"#
        )]
    );
}

#[test]
fn contract_w4_ping_is_answered_with_the_time() {
    assert_eq!(
        answer(r#"{"type":"ping"}"#),
        [format!(r#"{{"type":"pong","timestamp":{UNIX_MS}}}"#)]
    );
    let mut world = World::new(1);
    world.ms = 4_321;
    let peer = world.connect(0);
    assert_eq!(
        world.ask(peer, r#"{"type":"ping","id":"a"}"#),
        [format!(
            r#"{{"type":"pong","timestamp":{},"id":"a"}}"#,
            UNIX_MS + 4_321
        )]
    );
}

#[test]
fn contract_w5_w7_w8_k10_the_errors() {
    for (text, expected) in [
        ("{}", error("Missing message type", 101)),
        (r#"{"data":1}"#, error("Missing message type", 101)),
        (r#"{"type":null}"#, error("Missing message type", 101)),
        (r#"{"type":"dance"}"#, error("Unknown message type", 103)),
        (r#"{"type":""}"#, error("Unknown message type", 103)),
        (r#"{"type":"Ping"}"#, error("Unknown message type", 103)),
        ("", error("Invalid message format", 104)),
        ("hello", error("Invalid message format", 104)),
        ("[]", error("Invalid message format", 104)),
        (r#"{"type":"ping""#, error("Invalid message format", 104)),
        (r#"{"type":"ping"} x"#, error("Invalid message format", 104)),
        (
            r#"{"type":"ping","type":"ping"}"#,
            error("Invalid message format", 104),
        ),
        (
            r#"{"type":"ping","id":{}}"#,
            error("Invalid message format", 104),
        ),
        (r#"{"type":7}"#, error("Invalid message type", 105)),
        (r#"{"type":{"a":1}}"#, error("Invalid message type", 105)),
    ] {
        assert_eq!(answer(text), [expected], "{text}");
    }
}

#[test]
fn what_a_channel_message_lacks_is_said() {
    let long = format!(r#"{{"type":"subscribe","channel":"{}"}}"#, "x".repeat(256));
    for text in [
        r#"{"type":"subscribe"}"#,
        r#"{"type":"unsubscribe"}"#,
        r#"{"type":"publish","message":1}"#,
        r#"{"type":"subscribe","channel":""}"#,
        r#"{"type":"subscribe","channel":null}"#,
        r#"{"type":"subscribe","channel":"a\u0000b"}"#,
        r#"{"type":"unsubscribe","channel":"a\nb"}"#,
        r#"{"type":"publish","channel":"","message":1}"#,
        &long,
    ] {
        assert_eq!(answer(text), [error("Invalid channel", 107)], "{text}");
    }
    for text in [
        r#"{"type":"publish","channel":"c"}"#,
        r#"{"type":"publish","channel":"c","message":1,"exclude":"others"}"#,
    ] {
        assert_eq!(answer(text), [error("Invalid message", 112)], "{text}");
    }
    assert_eq!(
        answer(r#"{"type":"subscribe","channel":7}"#),
        [error("Invalid message format", 104)]
    );
}

#[test]
fn the_clients_own_id_comes_back_as_it_was_written() {
    for id in [r#""a\u00fc""#, "7", "-1.50", "1e3", r#""""#] {
        for (text, rest) in [
            (
                r#"{"type":"ping""#,
                format!(r#"{{"type":"pong","timestamp":{UNIX_MS}"#),
            ),
            (
                r#"{"type":"echo""#,
                format!(r#"{{"type":"echo","data":null,"timestamp":{UNIX_MS}"#),
            ),
            (
                r#"{"type":"subscribe","channel":"c""#,
                r#"{"type":"subscribed","channel":"c""#.into(),
            ),
            (
                r#"{"type":"unsubscribe","channel":"c""#,
                r#"{"type":"unsubscribed","channel":"c""#.into(),
            ),
            (
                r#"{"type":"dance""#,
                r#"{"type":"error","error":"Unknown message type","code":103,"temporary":false"#
                    .into(),
            ),
            (
                r#"{"type":"subscribe","channel":"$x""#,
                r#"{"type":"error","error":"Reserved channel","code":111,"temporary":false"#.into(),
            ),
        ] {
            assert_eq!(
                answer(&format!(r#"{text},"id":{id}}}"#)),
                [format!(r#"{rest},"id":{id}}}"#)]
            );
        }
    }
}

#[test]
fn an_error_leaves_the_connection_open() {
    let mut world = World::new(1);
    let peer = world.connect(0);
    for _ in 0..3 {
        assert_eq!(world.ask(peer, "nonsense").len(), 1);
        assert_eq!(world.ask(peer, r#"{"type":"ping"}"#).len(), 1);
    }
    assert_eq!(world.disconnected(peer), []);
    assert_eq!(world.shards[0].counters().errors_answered, 3);
    assert_eq!(world.shards[0].counters().messages_received, 6);
    assert_eq!(world.shards[0].counters().messages_sent, 6);
}

#[test]
fn binary_is_not_a_message_of_the_json_protocol() {
    let mut world = World::new(1);
    let peer = world.connect(0);
    world.bytes(peer, &masked(Kind::Binary, br#"{"type":"ping"}"#));
    assert_eq!(world.texts(peer), [error("Invalid message format", 104)]);
}

#[test]
fn the_echo_path_gives_every_message_back_in_kind_and_order() {
    let mut world = World::new(1);
    let peer = world.connect_as(0, echo());
    let large = vec![0xab; 60_000];
    let mut bytes = masked(Kind::Text, "größer".as_bytes());
    bytes.extend(masked(Kind::Binary, &large));
    bytes.extend(masked(Kind::Ping, b"between"));
    bytes.extend(masked(Kind::Text, b""));
    // In one piece, and byte by byte.
    world.bytes(peer, &bytes);
    for byte in &bytes {
        world.bytes(peer, &[*byte]);
    }
    let once = [
        Frame::Text("größer".into()),
        Frame::Binary(large),
        Frame::Pong(b"between".to_vec()),
        Frame::Text(String::new()),
    ];
    assert_eq!(world.heard(peer), [once.clone(), once].concat());
}

#[test]
fn a_protocol_ping_is_answered_with_its_payload() {
    let mut world = World::new(1);
    let peer = world.connect(0);
    for payload in [&b""[..], b"x", &[0xff; 125]] {
        world.bytes(peer, &masked(Kind::Ping, payload));
        assert_eq!(world.heard(peer), [Frame::Pong(payload.to_vec())]);
    }
    world.bytes(peer, &masked(Kind::Pong, b"unasked"));
    assert_eq!(world.heard(peer), []);
}

#[test]
fn many_messages_in_one_piece_are_answered_in_order_with_one_write() {
    let mut world = World::new(1);
    let peer = world.connect(0);
    let bytes: Vec<u8> = (0..50)
        .flat_map(|n| {
            masked(
                Kind::Text,
                format!(r#"{{"type":"ping","id":{n}}}"#).as_bytes(),
            )
        })
        .collect();
    let before = world.writes;
    world.bytes(peer, &bytes);
    assert_eq!(world.writes - before, 1);
    let expected: Vec<String> = (0..50)
        .map(|n| format!(r#"{{"type":"pong","timestamp":{UNIX_MS},"id":{n}}}"#))
        .collect();
    assert_eq!(world.texts(peer), expected);
}

#[test]
fn a_users_connections_are_listed_at_the_users_home() {
    use shardwire_shards::vocabulary::{Answer, AnswerId, Command};
    let mut world = World::new(4);
    let home = world.placement.home_of_user("ann").index();
    let peers = [
        world.connect_as(0, support::user("ann")),
        world.connect_as(3, support::user("ann")),
    ];
    world.connect_as(1, support::user("bob"));
    let question = || Command::ConnectionsOfUser {
        user: "ann".into(),
        answer: AnswerId(9),
    };
    world.command(home, question());
    let ids = peers.map(|peer| world.id(peer));
    assert_eq!(world.answers.pop(), Some(Answer::Connections(ids.to_vec())));
    world.lose(peers[0]);
    world.settle();
    world.command(home, question());
    assert_eq!(world.answers.pop(), Some(Answer::Connections(vec![ids[1]])));
}

#[test]
fn a_broadcast_to_connections_reaches_whom_it_is_meant_for() {
    use shardwire_protocol::websocket::frame::write_server;
    use shardwire_shards::vocabulary::{Audience, Command};
    let mut world = World::new(1);
    let ann = world.connect_as(0, support::user("ann"));
    let bob = world.connect_as(0, support::user("bob"));
    let nobody = world.connect(0);
    let echoes = world.connect_as(0, echo());
    let mut frame = Vec::new();
    write_server(&mut frame, Kind::Text, b"news");
    for (audience, expected) in [
        (Audience::Everyone, vec![ann, bob, nobody]),
        (Audience::Users(vec!["bob".into(), "zoe".into()]), vec![bob]),
        (Audience::Except(vec![world.id(bob)]), vec![ann, nobody]),
    ] {
        world.command(
            0,
            Command::Broadcast {
                frame: frame.clone().into(),
                audience,
            },
        );
        let got: Vec<_> = [ann, bob, nobody, echoes]
            .into_iter()
            .filter(|&peer| !world.texts(peer).is_empty())
            .collect();
        assert_eq!(got, expected);
    }
}

#[test]
fn contract_m24_a_broadcast_finds_connections_by_permission_channel_and_tag() {
    use shardwire_protocol::websocket::frame::write_server;
    use shardwire_shards::vocabulary::{Audience, Command, Identity};
    let mut world = World::new(1);
    let staff = Identity::new("ann").with_permissions(["staff"]);
    let ann = world.connect_as(0, support::verified(staff));
    let bob = world.connect_as(0, support::user("bob"));
    let nobody = world.connect(0);
    for peer in [bob, nobody] {
        world.subscribe(peer, "news");
    }
    let tag = |world: &mut World, peer, tag: &str, on| {
        let (connection, tag) = (world.id(peer), tag.into());
        world.command(
            0,
            Command::Tag {
                connection,
                tag,
                on,
            },
        );
    };
    for (peer, word) in [(ann, "beta"), (bob, "beta"), (bob, "mobile")] {
        tag(&mut world, peer, word, true);
    }
    let mut frame = Vec::new();
    write_server(&mut frame, Kind::Text, b"news");
    let reached = |world: &mut World, audience: Audience| {
        let frame = frame.clone().into();
        world.command(0, Command::Broadcast { frame, audience });
        let mut peers = vec![ann, bob, nobody];
        peers.retain(|&peer| !world.texts(peer).is_empty());
        peers
    };
    let by_tag = |tag: &str| Audience::Tag(tag.into());
    let channel = |name: &str| Audience::Channel(name.into());
    for (audience, expected) in [
        (Audience::Permission("staff".into()), vec![ann]),
        (Audience::Permission("sta".into()), vec![]),
        (channel("news"), vec![bob, nobody]),
        (channel("other"), vec![]),
        (by_tag("beta"), vec![ann, bob]),
        (by_tag("mobile"), vec![bob]),
        (by_tag("gamma"), vec![]),
        (
            Audience::AllOf(vec![by_tag("beta"), channel("news")]),
            vec![bob],
        ),
        (
            Audience::AllOf(vec![channel("news"), Audience::Except(vec![world.id(bob)])]),
            vec![nobody],
        ),
        (
            Audience::AnyOf(vec![Audience::Permission("staff".into()), channel("news")]),
            vec![ann, bob, nobody],
        ),
        (Audience::AnyOf(vec![]), vec![]),
    ] {
        assert_eq!(
            reached(&mut world, audience.clone()),
            expected,
            "{audience:?}"
        );
    }
    tag(&mut world, bob, "beta", false);
    assert_eq!(reached(&mut world, by_tag("beta")), [ann]);
    // Who has gone leaves nothing, and gets no tag any more.
    let gone = world.id(ann);
    world.lose(ann);
    world.lose(bob);
    let late = Command::Tag {
        connection: gone,
        tag: "late".into(),
        on: true,
    };
    world.command(0, late);
    assert_eq!(world.residue().tagged, 0);
}
