//! What a peer has said before its socket ended is handled like the words of one that stays: behind a handler that runs, in shares of
//! turns, behind its admission. Then it is gone, and after a bounded time in any case.

#![allow(clippy::unwrap_used)]

mod support;

use serde_json::json;
use shardwire_protocol::websocket::frame::Kind;
use shardwire_shards::bounds::LAST_WORDS_MS;
use shardwire_shards::collaboration::CollaborationSettings;
use shardwire_shards::placement::{Placement, Rule};
use shardwire_shards::vocabulary::{
    Answer, AnswerId, CallTarget, CloseCause, Command, Identity, Input, Returned,
};
use shardwire_shards::{ApplicationRoutes, ChatSettings, Residue, ShardSettings};
use support::{PeerId, Who, World, close, masked, open_settings, stranger, user};

fn settings() -> ShardSettings {
    ShardSettings {
        routes: ApplicationRoutes {
            types: vec!["work".to_owned()],
            ..ApplicationRoutes::default()
        },
        heartbeat_interval_ms: 10_000_000,
        ..open_settings()
    }
}

fn work(number: usize) -> Vec<u8> {
    masked(
        Kind::Text,
        format!(r#"{{"type":"work","id":{number}}}"#).as_bytes(),
    )
}

fn text(message: &serde_json::Value) -> Vec<u8> {
    masked(Kind::Text, message.to_string().as_bytes())
}

/// Ends one call after the other; the numbers of what they were called with.
fn work_off(world: &mut World, peer: PeerId) -> Vec<u64> {
    let mut numbers = Vec::new();
    while let Some((called, _, message)) = world.calls.first().cloned() {
        assert_eq!((called, world.calls.len()), (peer, 1));
        let message: serde_json::Value = serde_json::from_str(&message).unwrap();
        numbers.push(message["id"].as_u64().unwrap());
        assert_eq!(world.disconnected(peer), []);
        world.return_to(peer, Returned::Done);
        world.pass(0);
    }
    numbers
}

#[test]
fn what_waits_behind_a_handler_is_handled_after_the_socket_has_ended() {
    for (goodbye, cause) in [
        (close(3000, "lunch"), CloseCause::Peer(3000)),
        (Vec::new(), CloseCause::Lost),
    ] {
        let mut world = World::with(1, settings());
        let peer = world.connect_as(0, user("ann"));
        let mut bytes = (1..=5).flat_map(work).collect::<Vec<u8>>();
        bytes.extend(goodbye);
        world.bytes(peer, &bytes);
        world.lose(peer);
        // Whatever the world still believes of it.
        world.lose(peer);
        world.bytes(peer, &work(6));
        assert_eq!(work_off(&mut world, peer), [1, 2, 3, 4, 5]);
        assert_eq!(world.disconnected(peer), [cause]);
        assert!(!world.peers[peer].closed, "its socket has ended already");
        assert_eq!(world.residue(), Residue::default());
    }
}

/// A call among what waits for its share of a turn.
#[test]
fn calls_among_postponed_bytes_are_made_after_the_socket_has_ended() {
    let mut world = World::with(1, settings());
    let peer = world.connect(0);
    let pings = masked(Kind::Ping, b"").repeat(20_000);
    let mut bytes = Vec::new();
    for number in 1..=3 {
        bytes.extend_from_slice(&pings);
        bytes.extend(work(number));
    }
    bytes.extend(close(1000, ""));
    world.bytes(peer, &bytes);
    assert_eq!(world.residue().postponed, 1);
    world.lose(peer);
    world.pass(0);
    assert_eq!(work_off(&mut world, peer), [1, 2, 3]);
    assert_eq!(world.disconnected(peer), [CloseCause::Peer(1000)]);
    assert_eq!(world.residue(), Residue::default());
}

/// It counts for no limit, hears nothing, and comes into nothing any more.
#[test]
fn it_is_gone_for_everybody_else_meanwhile() {
    let mut world = World::with(1, settings());
    let (peer, other) = (world.connect_as(0, user("ann")), world.connect(0));
    world.subscribe(peer, "c");
    let mut bytes = work(1);
    bytes.extend(text(&json!({"type": "subscribe", "channel": "d"})));
    bytes.extend(work(2));
    world.bytes(peer, &bytes);
    world.lose(peer);
    assert_eq!(world.residue().counted_users, 0);
    assert_eq!(world.residue().local_channels, 0);
    let connection = world.id(peer);
    let send = Command::SendText {
        connection,
        text: "late".into(),
        answer: Some(AnswerId(1)),
    };
    world.command(0, send);
    assert_eq!(world.answers, [Answer::Count(0)]);
    world.return_to(peer, Returned::Done);
    assert_eq!(world.calls.len(), 1, "its second work runs");
    world.publish(other, "c", "1");
    world.publish(other, "d", "1");
    assert_eq!(world.waiting(peer), 0);
    assert_eq!(world.residue().frames, 0);
    assert_eq!(world.residue().local_channels, 0);
    assert_eq!(work_off(&mut world, peer), [2]);
    assert_eq!(world.heard(peer), []);
}

#[test]
fn a_handler_that_does_not_return_keeps_it_for_a_bounded_time() {
    let mut world = World::with(1, settings());
    let peer = world.connect(0);
    world.bytes(peer, &[work(1), work(2)].concat());
    world.pass(1_000);
    world.lose(peer);
    world.pass(LAST_WORDS_MS - 1_000);
    world.return_to(peer, Returned::Done);
    assert_eq!(world.calls.len(), 1, "the second was in time");
    assert_eq!(world.residue().connections, 1);
    // One tick more, because the present one had begun.
    world.pass(1_000 + 100);
    assert_eq!(world.disconnected(peer), [CloseCause::Lost]);
    assert_eq!(world.residue(), Residue::default());
    world.return_to(peer, Returned::Done);
    assert_eq!(world.disconnected(peer).len(), 1);
}

/// Nothing is left to be said to it, so what it has said is of no use to it either.
#[test]
fn it_is_over_at_once_when_it_is_closed() {
    let begin = || {
        let mut world = World::with(1, settings());
        let peer = world.connect(0);
        world.bytes(peer, &[work(1), work(2)].concat());
        world.lose(peer);
        (world, peer)
    };
    let (mut world, peer) = begin();
    let (code, reason) = (4200, "draining".into());
    world.command(0, Command::CloseAll { code, reason });
    assert_eq!(world.disconnected(peer), [CloseCause::Us(4200)]);
    assert_eq!(world.residue(), Residue::default());

    let (mut world, peer) = begin();
    world.return_to(peer, Returned::Panicked);
    assert_eq!(world.disconnected(peer), [CloseCause::Us(1011)]);
    assert_eq!(world.residue(), Residue::default());
    assert!(!world.peers[peer].closed);
}

/// What was said to a room or a document is said there: it leaves both when all is said.
#[test]
fn it_stays_in_its_room_and_its_documents_until_all_is_said() {
    let settings = ShardSettings {
        chat: Some(ChatSettings::default()),
        collaboration: Some(CollaborationSettings::default()),
        ..settings()
    };
    let mut world = World::with(2, settings);
    let (ann, bob) = (
        world.connect_as(0, user("ann")),
        world.connect_as(1, user("bob")),
    );
    for peer in [ann, bob] {
        world.ask(peer, r#"{"type":"join-room","roomId":"r"}"#);
        world.ask(peer, r#"{"type":"join-document","documentId":"d"}"#);
    }
    world.heard(ann);
    world.heard(bob);
    let mut bytes = work(1);
    bytes.extend(text(&json!({"type": "send-message", "content": "last"})));
    bytes.extend(text(&json!({
        "type": "edit", "documentId": "d", "version": 0, "operation": ["last"]
    })));
    bytes.extend(close(1000, ""));
    world.bytes(ann, &bytes);
    world.lose(ann);
    world.settle();
    assert_eq!(world.heard(bob), [], "nothing is said yet, and nobody left");
    assert_eq!(work_off(&mut world, ann), [1]);
    world.pass(1_000);
    let told = world.messages(bob);
    let kind = |kind: &str| told.iter().filter(|it| it["type"] == kind).count();
    assert_eq!(
        (kind("message"), kind("edit"), kind("user-left")),
        (1, 1, 2),
        "{told:?}"
    );
}

/// It may be gone before its user's home has let it in.
#[test]
fn what_came_with_the_upgrade_is_handled_behind_the_admission() {
    let mut world = World::with(2, settings());
    let away = 1 - world.placement.home_of_user("ann").index();
    let listener = world.connect(0);
    world.subscribe(listener, "c");
    let mut early = text(&json!({"type": "publish", "channel": "c", "message": 1}));
    early.extend(work(1));
    early.extend(close(1000, ""));
    let who = Who {
        early,
        ..user("ann")
    };
    let peer = world.open(away, who);
    world.lose(peer);
    assert_eq!(world.disconnected(peer), []);
    world.settle();
    assert_eq!(work_off(&mut world, peer), [1]);
    world.settle();
    assert_eq!(world.texts(listener).len(), 1);
    assert_eq!(world.disconnected(peer), [CloseCause::Peer(1000)]);
    world.lose(listener);
    world.settle();
    assert_eq!(world.residue(), Residue::default());
}

/// Nor does it have to wait for the verdict on its token, on whichever shard its user is at home.
#[test]
fn what_came_behind_a_token_is_handled_behind_the_verdict() {
    for knows in [true, false] {
        let settings = ShardSettings {
            authentication: Some(Default::default()),
            ..settings()
        };
        let placement = Placement::new(Rule::UserHash, 2);
        let mut world = World::placed(placement, settings, Default::default());
        let away = 1 - world.placement.home_of_user("ann").index();
        let peer = world.open(away, stranger());
        world.settle();
        let mut bytes = text(&json!({"type": "auth", "token": "t"}));
        bytes.extend(work(1));
        bytes.extend(work(2));
        world.bytes(peer, &bytes);
        world.lose(peer);
        assert_eq!(world.calls, []);
        if knows {
            world.verdict(Ok(Identity::new("ann")));
            assert_eq!(work_off(&mut world, peer), [1, 2]);
            assert_eq!(world.disconnected(peer), [CloseCause::Lost]);
        } else {
            world.verdict(Err(shardwire_shards::vocabulary::Denied::Wrong));
            assert_eq!(world.disconnected(peer), [CloseCause::Us(4501)]);
        }
        world.settle();
        assert_eq!(world.residue(), Residue::default());
    }
}

/// One that brought nothing has nothing to wait for.
#[test]
fn one_that_has_said_nothing_is_gone_at_once() {
    let mut world = World::with(2, settings());
    let away = 1 - world.placement.home_of_user("ann").index();
    let peer = world.open(away, user("ann"));
    world.hand_in(
        away,
        Input::Closed {
            connection: world.id(peer),
        },
    );
    assert_eq!(world.disconnected(peer), [CloseCause::Lost]);
    world.settle();
    assert_eq!(world.residue(), Residue::default());

    let mut world = World::with(
        1,
        ShardSettings {
            routes: ApplicationRoutes {
                on_connect: true,
                ..ApplicationRoutes::default()
            },
            ..settings()
        },
    );
    let peer = world.connect(0);
    assert_eq!(world.calls, [(peer, CallTarget::Connect, String::new())]);
    world.lose(peer);
    assert_eq!(world.disconnected(peer), [], "its greeting is under way");
    world.return_to(peer, Returned::Done);
    assert_eq!(world.disconnected(peer), [CloseCause::Lost]);
    assert_eq!(world.residue(), Residue::default());
}
