//! Chat rooms on whole shards by hand (contract section 8). Goal: every member reads the same in the same order, nobody is in a room
//! twice, hears what is not for it, or stays behind. Method: rooms and members on every pair of shards, and what races: messages before
//! the home has answered, leaving and coming back, full lanes, limits.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use shardwire_shards::history::{ChannelRule, ChannelSettings, HistoryRule, SlowPolicy};
use shardwire_shards::mesh::LaneBounds;
use shardwire_shards::permissions::{Action, Grant, Permissions, Rule};
use shardwire_shards::vocabulary::{Identity, Verdict};
use shardwire_shards::{AuthenticationTimes, ChatSettings, Residue, ShardSettings};
use support::{Frame, PeerId, UNIX_MS, World, open_settings, user, verified};

fn settings() -> ShardSettings {
    ShardSettings {
        chat: Some(ChatSettings::default()),
        heartbeat_interval_ms: 3_600_000,
        ..open_settings()
    }
}

fn small_rooms(max_members: usize) -> ShardSettings {
    ShardSettings {
        chat: Some(ChatSettings {
            max_members,
            ..ChatSettings::default()
        }),
        ..settings()
    }
}

/// A room whose home is this shard.
fn room_at(world: &World, shard: usize) -> String {
    world.channel_at(shard)["room:".len()..].to_owned()
}

fn join(room: &str) -> String {
    json!({"type": "join-room", "roomId": room}).to_string()
}

fn say(content: &str) -> String {
    json!({"type": "send-message", "content": content}).to_string()
}

const LEAVE: &str = r#"{"type":"leave-room"}"#;
const TYPES: &str = r#"{"type":"typing-start"}"#;
const STOPS: &str = r#"{"type":"typing-stop"}"#;

fn ask(world: &mut World, peer: PeerId, text: &str) -> Vec<Value> {
    world.say(peer, text);
    world.settle();
    world.messages(peer)
}

/// Everything heard, each as `type` and who or what it is about.
fn told(world: &mut World, peer: PeerId) -> Vec<String> {
    let short = |message: Value| {
        let part = |name: &str| message[name].as_str().map(str::to_owned);
        let kind = part("type").unwrap();
        match part("content")
            .or_else(|| part("userId"))
            .or_else(|| part("error"))
        {
            Some(about) => format!("{kind} {about}"),
            None => kind,
        }
    };
    world.messages(peer).into_iter().map(short).collect()
}

#[test]
fn contract_c1_c3_c6_c8_a_room_hears_who_comes_and_what_is_said_wherever_its_home_is() {
    for (home, annas, bobs) in [(0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1), (2, 0, 1)] {
        let mut world = World::with(3, settings());
        let room = room_at(&world, home);
        let ann = world.connect_as(annas, verified(Identity::new("u1").named("Ann")));
        let bob = world.connect_as(bobs, user("bob"));
        let joined = |user: &str, name: &str| json!({"type": "user-joined", "userId": user, "username": name, "timestamp": UNIX_MS});
        assert_eq!(ask(&mut world, ann, &join(&room)), [joined("u1", "Ann")]);
        assert_eq!(ask(&mut world, bob, &join(&room)), [joined("bob", "bob")]);
        assert_eq!(world.messages(ann), [joined("bob", "bob")]);
        let heard = ask(&mut world, ann, &say("h\u{e9}llo \"bob\""));
        let id = heard[0]["id"].as_str().unwrap().to_owned();
        let message = json!({
            "type": "message", "id": id, "userId": "u1", "username": "Ann",
            "content": "h\u{e9}llo \"bob\"", "timestamp": UNIX_MS,
        });
        assert_eq!(heard, std::slice::from_ref(&message));
        assert_eq!(world.messages(bob), [message]);
        let second = ask(&mut world, bob, &say("x"));
        assert_ne!(second[0]["id"], json!(id), "ids are unique");
    }
}

#[test]
fn contract_c2_c7_d8_who_leaves_or_goes_elsewhere_has_left_for_the_others() {
    let mut world = World::with(2, settings());
    let (here, there) = (room_at(&world, 0), room_at(&world, 1));
    let (ann, bob) = (
        world.connect_as(0, user("ann")),
        world.connect_as(1, user("bob")),
    );
    ask(&mut world, ann, &join(&here));
    ask(&mut world, bob, &join(&here));
    told(&mut world, ann);
    // Elsewhere: the old room is told.
    let heard = ask(&mut world, bob, &join(&there));
    assert_eq!(heard[0]["type"], "user-joined");
    assert_eq!(heard.len(), 1);
    let left =
        json!({"type": "user-left", "userId": "bob", "username": "bob", "timestamp": UNIX_MS});
    assert_eq!(world.messages(ann), [left]);
    ask(&mut world, ann, &say("alone"));
    assert!(told(&mut world, bob).is_empty(), "bob is elsewhere");
    ask(&mut world, bob, &join(&here));
    told(&mut world, ann);
    let answer = ask(&mut world, bob, r#"{"type":"leave-room","id":7}"#);
    assert_eq!(
        answer,
        [json!({"type": "room:left", "roomId": here, "id": 7})],
        "who leaves is not told that it left, but answered"
    );
    assert_eq!(told(&mut world, ann), ["user-left bob"]);
    ask(&mut world, ann, LEAVE);
    assert_eq!(world.residue().rooms + world.residue().seats, 0);
}

#[test]
fn contract_c3_d5_outside_of_rooms_nothing_is_said_and_who_asks_is_told_so() {
    let mut world = World::with(2, settings());
    let ann = world.connect_as(0, user("ann"));
    for text in [&*say("x"), LEAVE, TYPES, STOPS] {
        assert!(ask(&mut world, ann, text).is_empty(), "{text}");
        let with_id = text.replacen('{', r#"{"id":1,"#, 1);
        let answer = ask(&mut world, ann, &with_id);
        assert_eq!(answer[0]["error"], "Not joined", "{text}");
        assert_eq!(answer[0]["id"], 1);
    }
    for (text, error) in [
        (r#"{"type":"join-room"}"#.to_owned(), "Invalid message"),
        (
            r#"{"type":"join-room","roomId":7}"#.to_owned(),
            "Invalid message",
        ),
        (join(""), "Invalid channel"),
        (join("a\nb"), "Invalid channel"),
        (join(&"x".repeat(251)), "Invalid channel"),
        (r#"{"type":"send-message"}"#.to_owned(), "Invalid message"),
        (
            r#"{"type":"send-message","content":{}}"#.to_owned(),
            "Invalid message",
        ),
        (
            r#"{"type":"send-message","content":"\ud800"}"#.to_owned(),
            "Invalid message",
        ),
        (say(""), "Invalid message"),
        (say(&"x".repeat(4097)), "Message too large"),
    ] {
        let answer = ask(&mut world, ann, &text);
        assert_eq!(answer.len(), 1, "{text}");
        assert_eq!(answer[0]["error"], error, "{text}");
    }
    assert_eq!(world.residue().seats, 0);
    let mut world = World::new(1);
    let ann = world.connect(0);
    assert_eq!(
        ask(&mut world, ann, &join("1"))[0]["error"],
        "Unknown message type",
        "without rooms"
    );
}

#[test]
fn contract_c4_c5_c9_the_others_see_who_types_until_it_stops_or_has_not_said_so_for_long() {
    let mut world = World::with(2, settings());
    let room = room_at(&world, 1);
    let (ann, bob) = (
        world.connect_as(0, user("ann")),
        world.connect_as(1, user("bob")),
    );
    ask(&mut world, ann, &join(&room));
    ask(&mut world, bob, &join(&room));
    told(&mut world, ann);
    for (text, kind) in [(TYPES, "typing-start"), (STOPS, "typing-stop")] {
        assert!(ask(&mut world, ann, text).is_empty(), "the others only");
        assert_eq!(
            world.messages(bob),
            [json!({"type": kind, "userId": "ann", "username": "ann"})]
        );
        ask(&mut world, ann, text);
        assert!(told(&mut world, bob).is_empty(), "nothing new");
    }
    // Saying so again lasts longer; then it is over by itself, once.
    ask(&mut world, ann, TYPES);
    world.pass(5_000);
    ask(&mut world, ann, TYPES);
    world.pass(5_000);
    assert_eq!(told(&mut world, bob), ["typing-start ann"]);
    world.pass(1_100);
    assert_eq!(told(&mut world, bob), ["typing-stop ann"]);
    world.pass(60_000);
    assert!(told(&mut world, bob).is_empty());
    // A thousand times back and forth arms one timer.
    for _ in 0..1_000 {
        ask(&mut world, ann, TYPES);
        ask(&mut world, ann, STOPS);
    }
    ask(&mut world, ann, LEAVE);
    told(&mut world, bob);
    world.pass(60_000);
    assert!(
        told(&mut world, bob).is_empty(),
        "who has left does not stop typing"
    );
}

#[test]
fn contract_c7_c10_c11_whoever_is_gone_has_left_and_an_empty_room_is_gone() {
    let mut world = World::with(2, settings());
    let room = room_at(&world, 0);
    let ann = world.connect_as(0, user("ann"));
    ask(&mut world, ann, &join(&room));
    for (number, name) in ["bob", "cid"].into_iter().enumerate() {
        let peer = world.connect_as(1, user(name));
        ask(&mut world, peer, &join(&room));
        told(&mut world, ann);
        if number == 0 {
            world.lose(peer);
        } else {
            world.bytes(peer, &support::close(1000, "bye"));
        }
        world.settle();
        assert_eq!(told(&mut world, ann), [format!("user-left {name}")]);
    }
    // Gone before the home has answered.
    let dan = world.connect_as(1, user("dan"));
    world.say(dan, &join(&room));
    world.lose(dan);
    world.settle();
    assert_eq!(told(&mut world, ann), ["user-joined dan", "user-left dan"]);
    world.lose(ann);
    // What their presence says of when they were there last stays for a while.
    world.pass(400_000);
    assert_eq!(world.residue(), Residue::default());
}

/// Where others see that this user is.
fn whereabouts(world: &mut World, watcher: PeerId, user: &str) -> Value {
    let question = json!({"type": "get-presence", "ids": [user]}).to_string();
    let told = ask(world, watcher, &question);
    told.last().unwrap()["presence"][user]["currentRoom"].clone()
}

#[test]
fn contract_c1_c2_presence_shows_the_room_a_user_came_into_last() {
    for shards in [1, 3] {
        let mut world = World::with(shards, settings());
        let last = usize::from(shards) - 1;
        let (first, second) = (room_at(&world, 0), room_at(&world, last));
        let second = format!("{second}2");
        let phone = world.connect_as(0, user("ann"));
        let desk = world.connect_as(last, user("ann"));
        let bob = world.connect_as(0, user("bob"));
        let sees = |world: &mut World, room: Option<&str>| {
            assert_eq!(whereabouts(world, bob, "ann"), json!(room));
        };
        sees(&mut world, None);
        ask(&mut world, phone, &join(&first));
        sees(&mut world, Some(&first));
        ask(&mut world, phone, &join(&second));
        sees(&mut world, Some(&second));
        ask(&mut world, phone, LEAVE);
        sees(&mut world, None);
        // Two devices in one room: it stays until both have left.
        ask(&mut world, phone, &join(&first));
        ask(&mut world, desk, &join(&first));
        ask(&mut world, phone, LEAVE);
        sees(&mut world, Some(&first));
        // In two: the last one, and when that is left the other again.
        ask(&mut world, phone, &join(&second));
        sees(&mut world, Some(&second));
        ask(&mut world, desk, &join(&first));
        sees(&mut world, Some(&second));
        world.lose(phone);
        world.settle();
        sees(&mut world, Some(&first));
        // What the user says itself holds until the next room, and no leaving takes it away.
        let elsewhere = json!({"type": "set-presence", "presence": {"currentRoom": "kitchen"}});
        ask(&mut world, desk, &elsewhere.to_string());
        ask(&mut world, desk, LEAVE);
        sees(&mut world, Some("kitchen"));
        ask(&mut world, desk, &join(&first));
        sees(&mut world, Some(&first));
        // Who is gone is in no room, and (C11) away since then.
        world.lose(desk);
        world.pass(15_000);
        sees(&mut world, None);
        let question = json!({"type": "get-presence", "ids": ["ann"]}).to_string();
        let told = ask(&mut world, bob, &question);
        let ann = &told.last().unwrap()["presence"]["ann"];
        assert_eq!(ann["status"], "offline");
        assert_eq!(ann["lastSeen"], json!(UNIX_MS), "{ann}");
    }
}

#[test]
fn rooms_joined_and_left_in_one_breath_leave_the_right_one_in_the_presence() {
    let mut world = World::with(3, settings());
    let rooms: Vec<String> = (0..3).map(|shard| room_at(&world, shard)).collect();
    let ann = world.connect_as(1, user("ann"));
    let bob = world.connect_as(2, user("bob"));
    for turn in 0..30 {
        for step in 0..7 {
            world.say(ann, &join(&rooms[(turn + step * 2) % 3]));
        }
        let here = &rooms[turn % 3];
        world.say(ann, &join(here));
        world.settle();
        assert_eq!(whereabouts(&mut world, bob, "ann"), json!(here));
    }
}

#[test]
fn presence_shows_no_room_of_who_is_nobody_or_where_it_is_not_wanted() {
    let unseen = ShardSettings {
        chat: Some(ChatSettings {
            presence: false,
            ..ChatSettings::default()
        }),
        ..settings()
    };
    let mut world = World::with(2, unseen);
    let ann = world.connect_as(0, user("ann"));
    ask(&mut world, ann, &join("1"));
    assert_eq!(whereabouts(&mut world, ann, "ann"), Value::Null);
    let mut world = World::with(2, settings());
    let nobody = world.connect(0);
    ask(&mut world, nobody, &join("1"));
    assert_eq!(world.residue().presence_records, 0);
}

#[test]
fn who_is_closed_is_not_told_of_its_own_leaving() {
    for home in [0, 1] {
        let mut world = World::with(2, settings());
        let room = room_at(&world, home);
        let ann = world.connect_as(0, user("ann"));
        ask(&mut world, ann, &join(&room));
        world.bytes(ann, &support::close(1000, "bye"));
        world.settle();
        assert_eq!(world.heard(ann), [Frame::Close(1000, String::new())]);
    }
}

#[test]
fn nobody_is_in_a_room_twice() {
    let mut world = World::with(2, settings());
    let room = room_at(&world, 1);
    let ann = world.connect_as(0, user("ann"));
    ask(&mut world, ann, &join(&room));
    assert!(ask(&mut world, ann, &join(&room)).is_empty());
    let again = json!({"type": "join-room", "roomId": room, "id": "a"}).to_string();
    assert_eq!(
        ask(&mut world, ann, &again),
        [json!({"type": "room:joined", "roomId": room, "id": "a"})]
    );
    // A second connection of the same user: it is told, the others know her already.
    let also = world.connect_as(1, user("ann"));
    assert_eq!(
        ask(&mut world, also, &join(&room)),
        [json!({"type": "user-joined", "userId": "ann", "username": "ann", "timestamp": UNIX_MS})]
    );
    assert!(told(&mut world, ann).is_empty());
    ask(&mut world, ann, &say("once"));
    assert_eq!(told(&mut world, also), ["message once"]);
    world.lose(ann);
    world.settle();
    assert!(told(&mut world, also).is_empty(), "she is still there");
    // Two that are nobody are two.
    let (one, two) = (world.connect(0), world.connect(1));
    let (first, second) = (
        ask(&mut world, one, &join(&room)),
        ask(&mut world, two, &join(&room)),
    );
    assert_eq!(
        first[0]["userId"],
        json!(format!("guest:{}", world.id(one)))
    );
    assert_eq!(
        second[0]["userId"],
        json!(format!("guest:{}", world.id(two)))
    );
}

#[test]
fn who_asks_with_an_id_is_told_who_is_there() {
    let mut world = World::with(2, settings());
    let room = room_at(&world, 1);
    let wish = json!({"type": "join-room", "roomId": room, "id": 1}).to_string();
    let ann = world.connect_as(0, verified(Identity::new("u2").named("Ann")));
    for shard in [0, 1] {
        let bob = world.connect_as(shard, user("bob"));
        ask(&mut world, bob, &join(&room));
    }
    let member = |user: &str, name: &str| json!({"userId": user, "username": name});
    let heard = ask(&mut world, ann, &wish);
    let expected = json!({
        "type": "room:joined", "roomId": room, "id": 1, "count": 2,
        "members": [member("bob", "bob"), member("u2", "Ann")],
    });
    assert_eq!(heard[0], expected, "each user once, and oneself");
    assert_eq!(heard[1]["type"], "user-joined");
    // Two hundred and fifty are told one by one, more are not.
    for _ in 2..250 {
        let guest = world.connect(0);
        ask(&mut world, guest, &join(&room));
    }
    let last = world.connect(1);
    let heard = ask(&mut world, last, &wish);
    assert_eq!(
        (&heard[0]["count"], heard[0].get("members")),
        (&json!(251), None)
    );
}

#[test]
fn what_is_done_without_waiting_is_done_in_its_order() {
    let mut world = World::with(2, settings());
    let (here, there) = (room_at(&world, 1), room_at(&world, 0));
    let bob = world.connect_as(1, user("bob"));
    ask(&mut world, bob, &join(&here));
    let ann = world.connect_as(0, user("ann"));
    // All of it before any shard has looked into its mailbox.
    for text in [
        &*join(&here),
        &*say("one"),
        LEAVE,
        &*join(&here),
        &*say("two"),
        &*join(&there),
        &*say("elsewhere"),
        &*join(&here),
        TYPES,
        &*say("three"),
    ] {
        world.say(ann, text);
    }
    world.settle();
    assert_eq!(
        told(&mut world, bob),
        [
            "user-joined ann",
            "message one",
            "user-left ann",
            "user-joined ann",
            "message two",
            "user-left ann",
            "user-joined ann",
            "typing-start ann",
            "message three",
        ]
    );
    // Of the rooms it has left since it hears nothing, of the one it is in everything from its own coming on. (The home of the
    // other room is its own shard, which answers at once.)
    assert_eq!(
        told(&mut world, ann),
        [
            "user-joined ann",
            "message elsewhere",
            "user-joined ann",
            "message three"
        ]
    );
}

#[test]
fn a_late_answer_lets_nobody_in() {
    let mut world = World::with(2, small_rooms(1));
    let room = room_at(&world, 1);
    let (ann, bob) = (
        world.connect_as(0, user("ann")),
        world.connect_as(0, user("bob")),
    );
    // Ann is in and out again; Bob asks in between, and is refused; then there is room.
    world.say(ann, &join(&room));
    world.say(bob, &join(&room));
    world.say(ann, LEAVE);
    world.say(bob, &join(&room));
    world.say(ann, &say("nowhere"));
    world.settle();
    assert!(told(&mut world, ann).is_empty());
    assert_eq!(
        told(&mut world, bob),
        ["error Too many members"],
        "he asked twice while the first question was open: that is one question"
    );
    assert_eq!(ask(&mut world, bob, &join(&room))[0]["type"], "user-joined");
}

#[test]
fn a_full_room_takes_nobody_and_who_is_refused_hears_nothing() {
    let mut world = World::with(2, small_rooms(2));
    let room = room_at(&world, 0);
    let peers: Vec<_> = (0..3).map(|n| world.connect(n % 2)).collect();
    ask(&mut world, peers[0], &join(&room));
    ask(&mut world, peers[1], &join(&room));
    told(&mut world, peers[0]);
    let wish = json!({"type": "join-room", "roomId": room, "id": 5}).to_string();
    let refused = ask(&mut world, peers[2], &wish);
    assert_eq!(
        (&refused[0]["code"], &refused[0]["id"]),
        (&json!(121), &json!(5))
    );
    assert!(told(&mut world, peers[0]).is_empty());
    world.say(peers[2], &wish);
    world.say(peers[2], &say("from outside"));
    world.say(
        peers[2],
        &say("from outside").replacen('{', r#"{"id":6,"#, 1),
    );
    world.settle();
    assert_eq!(
        told(&mut world, peers[2]),
        ["error Too many members", "error Not joined"]
    );
    ask(&mut world, peers[0], &say("inside"));
    assert!(told(&mut world, peers[2]).is_empty());
    ask(&mut world, peers[1], LEAVE);
    assert_eq!(ask(&mut world, peers[2], &wish)[0]["type"], "room:joined");
}

#[test]
fn a_plain_subscriber_reads_along_unseen_and_its_subscription_outlives_a_visit() {
    let mut world = World::with(2, settings());
    let room = room_at(&world, 0);
    let channel = format!("room:{room}");
    let (ann, eve) = (
        world.connect_as(0, user("ann")),
        world.connect_as(1, user("eve")),
    );
    world.subscribe(eve, &channel);
    ask(&mut world, ann, &join(&room));
    ask(&mut world, ann, &say("hello"));
    assert_eq!(told(&mut world, eve), ["user-joined ann", "message hello"]);
    // What she publishes there is no message of a member.
    world.publish(eve, &channel, "1");
    world.settle();
    assert_eq!(told(&mut world, ann), ["broadcast"]);
    told(&mut world, eve);
    ask(&mut world, eve, &join(&room));
    ask(&mut world, eve, LEAVE);
    assert_eq!(told(&mut world, ann), ["user-joined eve", "user-left eve"]);
    told(&mut world, eve);
    ask(&mut world, ann, &say("still?"));
    assert_eq!(told(&mut world, eve), ["message still?"]);
    // Whoever is in by joining hears nothing any more when it unsubscribes, and so has left.
    let gone = ask(
        &mut world,
        ann,
        &json!({"type": "unsubscribe", "channel": channel}).to_string(),
    );
    assert_eq!(gone[0]["type"], "unsubscribed");
    assert_eq!(told(&mut world, eve), ["user-left ann"]);
    // A subscription asked for while the home has not answered is told with the joining.
    world.say(ann, &join(&room));
    world.say(
        ann,
        &json!({"type": "subscribe", "channel": channel}).to_string(),
    );
    world.settle();
    assert_eq!(told(&mut world, ann), ["user-joined ann", "subscribed"]);
}

fn kept(max_messages: usize, history: usize) -> ShardSettings {
    let rule = ChannelRule {
        channels: "room:*".parse().unwrap(),
        history: Some(HistoryRule {
            max_messages,
            max_age_ms: 3_600_000,
            max_bytes: 1 << 20,
            durable: false,
        }),
        slow: SlowPolicy::CatchUp,
    };
    ShardSettings {
        chat: Some(ChatSettings {
            history,
            ..ChatSettings::default()
        }),
        channels: ChannelSettings {
            rules: Box::new([rule]),
            ..ChannelSettings::default()
        },
        ..settings()
    }
}

#[test]
fn who_joins_a_room_with_history_reads_what_was_said_before_then_itself_then_the_rest() {
    for home in [0, 1] {
        let mut world = World::with(2, kept(100, 3));
        let room = room_at(&world, home);
        let (ann, bob) = (
            world.connect_as(0, user("ann")),
            world.connect_as(1, user("bob")),
        );
        assert_eq!(
            ask(&mut world, ann, &join(&room))[0]["type"],
            "user-joined",
            "there was nothing before"
        );
        for content in ["one", "two", "three"] {
            let id = json!({"type": "send-message", "content": content, "id": 1}).to_string();
            let heard = ask(&mut world, ann, &id);
            let published = heard.iter().find(|it| it["type"] == "published").unwrap();
            assert_eq!((&published["id"], heard.len()), (&json!(1), 2));
            world.say(ann, TYPES);
            world.say(ann, STOPS);
        }
        world.settle();
        world.say(bob, &join(&room));
        world.say(bob, &say("four"));
        world.settle();
        let heard = world.messages(bob);
        let kinds: Vec<_> = heard.iter().map(|it| it["type"].clone()).collect();
        assert_eq!(kinds, ["history", "user-joined", "message"]);
        let before = heard[0]["messages"].as_array().unwrap();
        let contents: Vec<_> = before.iter().map(|it| it["content"].clone()).collect();
        assert_eq!(
            contents,
            ["three", "two", "one"],
            "newest first, and no typing"
        );
        assert_eq!(heard[0]["more"], true, "she came before that");
        assert_eq!(
            (&heard[0]["offset"], &heard[1]["offset"]),
            (&json!(4), &json!(5))
        );
        // The same place is known to a client that resumes by subscribing.
        assert_eq!(heard[2]["epoch"], heard[0]["epoch"]);
        assert_eq!(told(&mut world, ann).len(), 2);
    }
}

#[test]
fn a_repeated_message_is_said_once_where_there_is_history() {
    let mut world = World::with(1, kept(100, 0));
    let ann = world.connect_as(0, user("ann"));
    ask(&mut world, ann, &join("1"));
    let once = json!({"type": "send-message", "content": "x", "idempotencyKey": "k", "id": 1});
    let first = ask(&mut world, ann, &once.to_string());
    assert_eq!(first.len(), 2);
    let again = ask(&mut world, ann, &once.to_string());
    assert_eq!(again.len(), 1);
    assert_eq!(
        again[0]["offset"],
        first.iter().find(|it| it["type"] == "published").unwrap()["offset"]
    );
}

fn rules() -> Permissions {
    let grants = |words: &[&str]| -> Vec<Grant> {
        words.iter().map(|word| Grant::from_text(word)).collect()
    };
    Permissions::new(
        [
            Rule::about("room:staff".parse().unwrap()).allow(Action::Join, grants(&["staff"])),
            Rule::about("room:read".parse().unwrap()).allow(Action::Subscribe, grants(&["guest"])),
        ],
        true,
    )
}

#[test]
fn contract_d5_a_room_is_joined_and_heard_by_those_who_may_and_by_no_detour() {
    let mut world = World::with(
        2,
        ShardSettings {
            permissions: rules(),
            authentication: Some(AuthenticationTimes::default()),
            ..settings()
        },
    );
    let ann = world.connect_as(
        0,
        verified(Identity::new("ann").with_permissions(["staff"])),
    );
    let bob = world.connect_as(1, verified(Identity::new("bob")));
    let gus = world.connect_as(
        1,
        verified(Identity::new("gus").with_permissions(["guest"])),
    );
    let refused = "Not permitted";
    for text in [
        join("staff"),
        json!({"type": "subscribe", "channel": "room:staff"}).to_string(),
        json!({"type": "publish", "channel": "room:staff", "message": 1}).to_string(),
        json!({"type": "history", "channel": "room:staff"}).to_string(),
        join("read"),
    ] {
        assert_eq!(ask(&mut world, bob, &text)[0]["error"], refused, "{text}");
    }
    assert_eq!(
        ask(&mut world, ann, &join("staff"))[0]["type"],
        "user-joined"
    );
    assert_eq!(
        ask(&mut world, gus, &join("read"))[0]["type"],
        "user-joined",
        "who may hear it may join it where the rule says no more"
    );
    // Whose permissions go, goes with them, and is told.
    let before = ask(&mut world, bob, &join("open"));
    assert_eq!(before[0]["type"], "user-joined");
    let cleo = Identity::new("cleo").with_permissions(["staff"]);
    let cleo = world.connect_as(1, verified(cleo));
    ask(&mut world, cleo, &join("staff"));
    told(&mut world, ann);
    world.say(cleo, r#"{"type":"refresh","token":"t"}"#);
    let verdict: Verdict = Ok(Identity::new("cleo"));
    world.verdict(verdict);
    world.settle();
    assert_eq!(
        told(&mut world, cleo),
        ["refreshed", "unsubscribed Not permitted"]
    );
    assert_eq!(told(&mut world, ann), ["user-left cleo"]);
}

#[test]
fn full_lanes_keep_people_out_and_keep_nobody_in() {
    let lanes = LaneBounds {
        lane_messages: 2,
        overflow_messages: 2,
        overflow_bytes: 1 << 20,
    };
    let mut world = World::bounded(2, settings(), lanes);
    let room = room_at(&world, 0);
    let (ann, bob) = (
        world.connect_as(0, user("ann")),
        world.connect_as(1, user("bob")),
    );
    ask(&mut world, ann, &join(&room));
    ask(&mut world, bob, &join(&room));
    told(&mut world, ann);
    // Shard 1 does not look at its mail: the way there fills up with what Ann says.
    for n in 0..6 {
        world.say(ann, &say(&format!("{n}")));
    }
    let refused = told(&mut world, ann);
    assert!(refused.ends_with(&["error Overloaded".to_owned(), "error Overloaded".to_owned()]));
    let cid = world.open(0, user("cid"));
    world.say(cid, &join(&room));
    assert_eq!(told(&mut world, cid), ["error Overloaded"]);
    // She leaves all the same, and Bob is told when he gets there.
    world.say(ann, LEAVE);
    world.settle();
    world.pass(10);
    let heard = told(&mut world, bob);
    assert_eq!(heard.last().unwrap(), "user-left ann", "{heard:?}");
    // The way from shard 1 is full, too: what Bob does there is refused, but for his leaving.
    for n in 0..6 {
        world.say(bob, &say(&format!("{n}")));
    }
    world.say(bob, LEAVE);
    world.settle();
    world.pass(10);
    assert_eq!(world.residue().rooms, 0);
}

#[test]
fn a_room_takes_one_of_a_connections_channels_and_gives_it_back() {
    let mut world = World::with(
        2,
        ShardSettings {
            max_channels: 1,
            ..settings()
        },
    );
    let (here, there) = (room_at(&world, 0), room_at(&world, 1));
    let ann = world.connect_as(0, user("ann"));
    for room in [&here, &there, &here] {
        assert_eq!(ask(&mut world, ann, &join(room))[0]["type"], "user-joined");
    }
    let other = json!({"type": "subscribe", "channel": "news"}).to_string();
    assert_eq!(
        ask(&mut world, ann, &other)[0]["error"],
        "Too many channels"
    );
    ask(&mut world, ann, LEAVE);
    assert_eq!(ask(&mut world, ann, &other)[0]["type"], "subscribed");
    assert_eq!(
        ask(&mut world, ann, &join(&here))[0]["error"],
        "Too many channels"
    );
    assert_eq!(world.residue().seats, 0);
}

#[test]
fn who_says_much_and_is_gone_has_said_it_all() {
    let mut world = World::with(2, settings());
    let room = room_at(&world, 1);
    let (ann, bob) = (
        world.connect_as(0, user("ann")),
        world.connect_as(1, user("bob")),
    );
    ask(&mut world, bob, &join(&room));
    ask(&mut world, ann, &join(&room));
    told(&mut world, bob);
    // More than one turn's worth in one piece, and then the socket ends.
    let mut bytes = Vec::new();
    let large = "x".repeat(4_000);
    for _ in 0..400 {
        let kind = shardwire_protocol::websocket::frame::Kind::Text;
        bytes.extend(support::masked(kind, say(&large).as_bytes()));
    }
    world.bytes(ann, &bytes);
    world.lose(ann);
    world.pass(1_000);
    let heard = told(&mut world, bob);
    assert_eq!(heard.len(), 401);
    assert_eq!(heard.last().unwrap(), "user-left ann");
    assert_eq!(world.residue().seats, 1);
}

#[test]
fn what_is_said_behind_a_change_of_rooms_is_not_said_in_the_old_one() {
    let mut world = World::with(2, settings());
    let (old, new) = (room_at(&world, 1), room_at(&world, 0));
    let (ann, bob) = (
        world.connect_as(0, user("ann")),
        world.connect_as(1, user("bob")),
    );
    ask(&mut world, bob, &join(&old));
    ask(&mut world, ann, &join(&old));
    told(&mut world, bob);
    // More than one turn's worth, the change behind it; and the socket ends before any of that is handled.
    let kind = shardwire_protocol::websocket::frame::Kind::Text;
    let large = "x".repeat(4_000);
    let mut bytes = Vec::new();
    for text in vec![say(&large); 400]
        .iter()
        .chain(&[join(&new), say("for the new room")])
    {
        bytes.extend(support::masked(kind, text.as_bytes()));
    }
    world.bytes(ann, &bytes);
    world.lose(ann);
    world.pass(1_000);
    let heard = told(&mut world, bob);
    assert_eq!(heard.len(), 401);
    assert_eq!(heard.last().unwrap(), "user-left ann");
    assert_eq!(world.residue().seats, 1);
}
