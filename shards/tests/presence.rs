//! Who is there, on whole shards by hand: users' records wherever they are at home, and lists of channels that whoever watches can
//! keep from what it is told.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use shardwire_protocol::websocket::frame::Kind;
use shardwire_shards::mesh::LaneBounds;
use shardwire_shards::permissions::{Action, Grant, Permissions, Rule};
use shardwire_shards::presence::PresenceSettings;
use shardwire_shards::vocabulary::{
    Answer, AnswerId, ChannelMembers, Command, Identity, PresenceAnswer, PresenceChange,
    PresenceCommand,
};
use shardwire_shards::{Residue, ShardSettings};
use support::{Frame, PeerId, Who, World, masked, open_settings, user, verified};

const SHARDS: [u16; 2] = [1, 3];
const GRACE_MS: u64 = 2_000;
const ROOM: &str = "room:1";
const TOLD: &str = "$presence:room:1";

fn settings(budget_bytes: usize) -> ShardSettings {
    ShardSettings {
        presence: PresenceSettings {
            channels: Box::new(["room:*".parse().unwrap()]),
            grace_ms: GRACE_MS,
            heartbeat_timeout_ms: 1_000_000,
            budget_bytes,
            ..PresenceSettings::default()
        },
        heartbeat_interval_ms: 100_000_000,
        max_connections: 10_000,
        ..open_settings()
    }
}

fn world(shards: u16) -> World {
    World::with(shards, settings(32 << 10))
}

fn named(name: String) -> Who {
    user(name.leak())
}

fn ask(world: &mut World, peer: PeerId, message: &Value) -> Vec<Value> {
    world.say(peer, &message.to_string());
    world.settle();
    world.messages(peer)
}

fn last_shard(world: &World) -> usize {
    world.shards.len() - 1
}

/// One who watches, and keeps the list as the documents say.
struct Watcher {
    peer: PeerId,
    version: u64,
    /// None: only the number is told.
    list: Option<BTreeSet<String>>,
    count: u64,
    heard: Vec<Value>,
    /// Bytes and when they came.
    bytes: Vec<(u64, usize)>,
}

impl Watcher {
    fn new(world: &mut World, shard: usize) -> Self {
        let peer = world.connect(shard);
        let mut heard = ask(world, peer, &json!({"type": "subscribe", "channel": TOLD}));
        assert_eq!(heard[0], json!({"type": "subscribed", "channel": TOLD}));
        let mut this = Self {
            peer,
            version: 0,
            list: None,
            count: 0,
            heard: Vec::new(),
            bytes: Vec::new(),
        };
        assert_eq!(heard.len(), 2, "{heard:?}");
        assert_eq!(heard[1]["type"], "presence-state");
        this.take(world.ms, heard.remove(1));
        this
    }

    fn take(&mut self, ms: u64, message: Value) {
        assert_eq!(message["channel"], ROOM);
        self.bytes.push((ms, message.to_string().len()));
        self.count = message["count"].as_u64().unwrap();
        let version = message["version"].as_u64().unwrap();
        let names = |field: &str| -> Option<BTreeSet<String>> {
            let names = message[field].as_array()?.iter();
            Some(names.map(|it| it.as_str().unwrap().to_owned()).collect())
        };
        if message["type"] == "presence-state" {
            self.list = names("members");
        } else {
            assert_eq!(version, self.version + 1, "nothing was left out");
            match (names("joins"), names("leaves"), &mut self.list) {
                (Some(joins), Some(leaves), Some(list)) => {
                    list.extend(joins);
                    list.retain(|it| !leaves.contains(it));
                }
                (None, None, list) => *list = None,
                other => panic!("changes of what list? {other:?}"),
            }
        }
        self.version = version;
        if let Some(list) = &self.list {
            assert_eq!(list.len() as u64, self.count, "{message}");
        }
        self.heard.push(message);
    }

    fn listen(&mut self, world: &mut World) {
        for message in world.messages(self.peer) {
            self.take(world.ms, message);
        }
    }

    fn names(&self) -> Vec<&str> {
        let list = self.list.as_ref().expect("names are told");
        list.iter().map(String::as_str).collect()
    }

    fn most_in_a_second(&self) -> usize {
        let within = |from: u64| {
            let bytes = self.bytes.iter();
            bytes
                .filter(|(at, _)| (from..from + 1000).contains(at))
                .map(|(_, bytes)| bytes)
                .sum::<usize>()
        };
        self.bytes
            .iter()
            .map(|(at, _)| within(*at))
            .max()
            .unwrap_or(0)
    }
}

fn join(world: &mut World, shard: usize, name: &str) -> PeerId {
    let peer = world.connect_as(shard, named(name.to_owned()));
    world.subscribe(peer, ROOM);
    peer
}

#[test]
fn contract_r4_r5_r6_d7_a_presence_is_set_merged_and_found_on_every_shard() {
    for shards in SHARDS {
        let mut world = world(shards);
        let last = last_shard(&world);
        let ann = world.connect_as(0, user("ann"));
        let bob = world.connect_as(last, user("bob"));
        let told = ask(
            &mut world,
            ann,
            &json!({"type": "set-presence", "presence": {"status": "busy", "username": "Ann",
                "metadata": {"device": "phone", "location": "Ulm"}}, "id": 1}),
        );
        let first = json!({"status": "busy", "username": "Ann", "metadata": {"device": "phone", "location": "Ulm"}});
        assert_eq!(
            told,
            [json!({"type": "presence-update", "presence": {"ann": first}, "id": 1})]
        );
        ask(
            &mut world,
            ann,
            &json!({"type": "set-presence", "presence": {"currentRoom": "lobby", "metadata": {"device": null}}}),
        );
        let told = ask(
            &mut world,
            bob,
            &json!({"type": "get-presence", "ids": ["ann", "bob", "cleo", "ann"], "id": "q"}),
        );
        let presence = json!({
            "ann": {"status": "busy", "username": "Ann", "currentRoom": "lobby", "metadata": {"location": "Ulm"}},
            "bob": {"status": "online"},
            "cleo": {"status": "offline"},
        });
        assert_eq!(
            told,
            [json!({"type": "presence-update", "presence": presence, "id": "q"})]
        );
    }
}

#[test]
fn contract_r7_d6_offline_when_the_last_connection_is_gone_and_the_grace_period_over() {
    for shards in SHARDS {
        let mut world = world(shards);
        let last = last_shard(&world);
        let (first, second) = (
            world.connect_as(0, user("ann")),
            world.connect_as(last, user("ann")),
        );
        let bob = world.connect_as(last, user("bob"));
        let set = json!({"type": "set-presence", "presence": {"status": "busy"}});
        ask(&mut world, first, &set);
        let get = json!({"type": "get-presence", "ids": ["ann"]});
        let status = |world: &mut World| ask(world, bob, &get)[0]["presence"]["ann"].clone();
        world.lose(first);
        world.pass(GRACE_MS * 2);
        assert_eq!(status(&mut world)["status"], "busy", "one is left");
        world.lose(second);
        let gone_at = support::UNIX_MS + world.ms;
        world.pass(GRACE_MS - 1);
        assert_eq!(status(&mut world)["status"], "busy", "the grace period");
        world.pass(1);
        assert_eq!(
            status(&mut world),
            json!({"status": "offline", "lastSeen": gone_at})
        );
        let back = world.connect_as(0, user("ann"));
        assert_eq!(status(&mut world), json!({"status": "busy"}));
        world.lose(back);
        world.pass(GRACE_MS + 300_100);
        assert_eq!(status(&mut world), json!({"status": "offline"}));
        world.lose(bob);
        world.settle();
        assert_eq!(world.residue(), Residue::default());
    }
}

#[test]
fn contract_r2_d13_who_says_nothing_for_too_long_is_offline_until_it_speaks() {
    for shards in SHARDS {
        let mut settings = settings(32 << 10);
        settings.presence.heartbeat_timeout_ms = 90_000;
        settings.heartbeat_interval_ms = 30_000;
        let mut world = World::with(shards, settings);
        let last = last_shard(&world);
        let ann: Vec<PeerId> = [0, last]
            .map(|shard| world.connect_as(shard, user("ann")))
            .into();
        let bob = world.connect_as(last, user("bob"));
        let set = json!({"type": "set-presence", "presence": {"status": "busy"}});
        ask(&mut world, ann[0], &set);
        let spoke_at = support::UNIX_MS + world.ms;
        let status = |world: &mut World| {
            let get = json!({"type": "get-presence", "ids": ["ann"]});
            ask(world, bob, &get)[0]["presence"]["ann"].clone()
        };
        // Whose machine answers pings is not for that reason there itself.
        let pass = |world: &mut World, ms: u64| {
            for _ in 0..ms / 1_000 {
                world.pass(1_000);
                for peer in [ann[0], ann[1], bob] {
                    let pinged = |frame: &Frame| matches!(frame, Frame::Ping(_));
                    if world.heard(peer).iter().any(pinged) {
                        world.bytes(peer, &masked(Kind::Pong, &[]));
                    }
                }
            }
        };
        pass(&mut world, 89_000);
        assert_eq!(status(&mut world)["status"], "busy");
        pass(&mut world, 3_000);
        let silent = status(&mut world);
        assert_eq!(silent["status"], "offline");
        let last_seen = silent["lastSeen"].as_u64().unwrap();
        assert!(
            (spoke_at..=spoke_at + 1000).contains(&last_seen),
            "{silent}"
        );
        ask(&mut world, ann[1], &json!({"type": "ping"}));
        assert_eq!(status(&mut world), json!({"status": "busy"}));
        for _ in 0..6 {
            pass(&mut world, 60_000);
            ask(&mut world, ann[0], &json!({"type": "ping"}));
            assert_eq!(status(&mut world), json!({"status": "busy"}));
        }
        pass(&mut world, 95_000);
        assert_eq!(status(&mut world)["status"], "offline");
        let told = ask(&mut world, ann[0], &set);
        assert_eq!(told[0]["presence"]["ann"]["status"], "busy", "it speaks");
    }
}

#[test]
fn who_breaks_a_silence_and_leaves_with_the_same_bytes_is_not_there_for_ever() {
    for shards in SHARDS {
        let mut settings = settings(32 << 10);
        settings.presence.heartbeat_timeout_ms = 90_000;
        settings.presence.status_expiration_ms = 60_000;
        let mut world = World::with(shards, settings);
        for shard in 0..world.shards.len() {
            let ann = world.connect_as(shard, user("ann"));
            let set = json!({"type": "set-presence", "presence": {"status": "busy"}});
            ask(&mut world, ann, &set);
            world.pass(95_000);
            world.settle();
            let mut bytes = masked(Kind::Text, br#"{"type":"ping"}"#);
            bytes.extend(support::close(1000, ""));
            world.bytes(ann, &bytes);
            world.settle();
            let bob = world.connect_as(shard, user("bob"));
            world.pass(GRACE_MS + 1_000);
            let get = json!({"type": "get-presence", "ids": ["ann"]});
            let shown = &ask(&mut world, bob, &get)[0]["presence"]["ann"];
            assert_eq!(shown["status"], "offline", "{shown}");
            let left_at = support::UNIX_MS + world.ms - GRACE_MS - 1_000;
            assert_eq!(shown["lastSeen"], left_at);
            world.lose(bob);
            world.lose(ann);
            world.pass(61_000);
            world.settle();
            assert_eq!(world.residue(), Residue::default());
        }
    }
}

#[test]
fn a_slow_reader_is_not_told_of_its_own_leaving_behind_what_it_was_not_told() {
    let mut settings = settings(32 << 10);
    settings.presence.grace_ms = 0;
    settings.outbox_hard_limit = 32 << 10;
    settings.outbox_soft_limit = 8 << 10;
    let mut world = World::with(1, settings);
    let slow = world.connect_as(0, user("slow"));
    world.say(
        slow,
        &json!({"type": "subscribe", "channel": TOLD}).to_string(),
    );
    world.subscribe(slow, ROOM);
    world.settle();
    world.heard(slow);
    world.peers[slow].room = Some(0);
    let ann = world.connect_as(0, user("ann"));
    world.subscribe(ann, ROOM);
    world.publish(ann, ROOM, &json!("x".repeat(33 << 10)).to_string());
    world.settle();
    assert_eq!(world.shards[0].counters().slow_consumers, 1);
    world.make_room(slow, None);
    let slow_consumer = Frame::Close(4103, "slow consumer".into());
    assert_eq!(world.heard(slow), [slow_consumer]);
}

#[test]
fn a_presence_needs_a_user_and_a_shape() {
    let mut world = world(2);
    let nobody = world.connect(0);
    let ann = world.connect_as(1, user("ann"));
    let code = |heard: Vec<Value>| heard[0]["code"].as_u64();
    let set = json!({"type": "set-presence", "presence": {}});
    assert_eq!(code(ask(&mut world, nobody, &set)), Some(115));
    let long = "x".repeat(3_000);
    let many: Vec<String> = (0..101).map(|n| format!("u{n}")).collect();
    for (message, told) in [
        (json!({"type": "set-presence"}), 112),
        (
            json!({"type": "set-presence", "presence": {"status": 1}}),
            112,
        ),
        (
            json!({"type": "set-presence", "presence": {"status": ""}}),
            112,
        ),
        (
            json!({"type": "set-presence", "presence": {"status": "x".repeat(65)}}),
            106,
        ),
        (
            json!({"type": "set-presence", "presence": {"metadata": {"a": long}}}),
            106,
        ),
        (json!({"type": "get-presence"}), 112),
        (json!({"type": "get-presence", "ids": "ann"}), 112),
        (json!({"type": "get-presence", "ids": [""]}), 112),
        (json!({"type": "get-presence", "ids": many}), 106),
        (
            json!({"type": "get-presence", "ids": ["ann"], "channel": ROOM}),
            112,
        ),
        (json!({"type": "get-presence", "channel": "elsewhere"}), 125),
        (
            json!({"type": "subscribe", "channel": "$presence:elsewhere"}),
            111,
        ),
        (
            json!({"type": "publish", "channel": TOLD, "message": 1}),
            111,
        ),
    ] {
        assert_eq!(
            code(ask(&mut world, ann, &message)),
            Some(told),
            "{message}"
        );
    }
}

#[test]
fn who_watches_gets_a_state_and_then_every_change() {
    for shards in SHARDS {
        let mut world = world(shards);
        let last = last_shard(&world);
        let ann = join(&mut world, 0, "ann");
        let mut watchers: Vec<Watcher> = (0..shards)
            .map(|shard| Watcher::new(&mut world, usize::from(shard)))
            .collect();
        for watcher in &watchers {
            assert_eq!(watcher.names(), ["ann"]);
        }
        let bob = join(&mut world, last, "bob");
        // Nobody in particular is not a member, and another connection of somebody changes nothing.
        let nobody = world.connect(0);
        world.subscribe(nobody, ROOM);
        let again = join(&mut world, last, "ann");
        let told = json!({"type": "presence-diff", "channel": ROOM, "joins": ["bob"], "leaves": [], "count": 2,
            "version": 1});
        for watcher in &mut watchers {
            watcher.listen(&mut world);
            assert_eq!(&watcher.heard[1..], std::slice::from_ref(&told));
            assert_eq!(watcher.names(), ["ann", "bob"]);
        }
        let asked = ask(
            &mut world,
            bob,
            &json!({"type": "get-presence", "channel": ROOM, "id": 7}),
        );
        let mut members = asked[0]["members"].as_array().unwrap().clone();
        members.sort_by_key(|it| it.to_string());
        assert_eq!(
            (&members[..], &asked[0]["id"]),
            (&[json!("ann"), json!("bob")][..], &json!(7))
        );
        world.lose(ann);
        world.pass(GRACE_MS * 2);
        world.ask(
            bob,
            &json!({"type": "unsubscribe", "channel": ROOM}).to_string(),
        );
        world.pass(GRACE_MS - 20);
        for watcher in &mut watchers {
            watcher.listen(&mut world);
            assert_eq!(watcher.names(), ["ann", "bob"]);
        }
        world.pass(40);
        world.lose(again);
        world.pass(GRACE_MS + 40);
        for watcher in &mut watchers {
            watcher.listen(&mut world);
            assert_eq!(watcher.names(), [""; 0]);
            assert_eq!(watcher.version, 3);
        }
        for peer in 0..world.peers.len() {
            world.lose(peer);
        }
        world.settle();
        assert_eq!(world.residue(), Residue::default());
    }
}

#[test]
fn contract_d6_flaps_shorter_than_the_grace_period_are_not_told() {
    let mut world = world(3);
    let mut watcher = Watcher::new(&mut world, 1);
    let mut ann = join(&mut world, 0, "ann");
    watcher.listen(&mut world);
    let told = watcher.heard.len();
    for turn in 0..20 {
        if turn % 2 == 0 {
            world.lose(ann);
        } else {
            world.ask(
                ann,
                &json!({"type": "unsubscribe", "channel": ROOM}).to_string(),
            );
        }
        world.pass(GRACE_MS - 100);
        ann = join(&mut world, turn % 3, "ann");
    }
    world.pass(10 * GRACE_MS);
    watcher.listen(&mut world);
    assert_eq!(watcher.heard.len(), told, "{:?}", &watcher.heard[told..]);
    assert_eq!(watcher.names(), ["ann"]);
    let unsubscribe = json!({"type": "unsubscribe", "channel": TOLD});
    assert_eq!(
        ask(&mut world, watcher.peer, &unsubscribe),
        [json!({"type": "unsubscribed", "channel": TOLD})]
    );
    join(&mut world, 2, "bob");
    assert_eq!(world.messages(watcher.peer), Vec::<Value>::new());
}

#[test]
fn a_large_channel_is_told_in_batches_then_as_a_number_and_at_last_by_name_again() {
    const BUDGET: usize = 4 << 10;
    for shards in SHARDS {
        let mut world = World::with(shards, settings(BUDGET));
        let mut watchers: Vec<Watcher> = (0..shards)
            .map(|shard| Watcher::new(&mut world, usize::from(shard)))
            .collect();
        let mut members = Vec::new();
        for n in 0..400 {
            members.push(join(
                &mut world,
                n % usize::from(shards),
                &format!("user-{n}"),
            ));
            // A few quickly, so that they are gathered; then too many to be named.
            world.pass(if n == 30 { 2_000 } else { 2 });
            if n % 50 == 0 {
                watchers.push(Watcher::new(&mut world, n % usize::from(shards)));
            }
            for watcher in &mut watchers {
                watcher.listen(&mut world);
            }
        }
        world.pass(5_000);
        for watcher in &mut watchers {
            watcher.listen(&mut world);
            assert_eq!((&watcher.list, watcher.count), (&None, 400));
        }
        let heard = &watchers[0].heard;
        let joins = |message: &Value| message["joins"].as_array().map(Vec::len);
        assert!(heard.iter().any(|it| joins(it) == Some(1)), "one by one");
        assert!(heard.iter().any(|it| joins(it) > Some(1)), "together");
        assert!(heard.iter().any(|it| joins(it).is_none()), "as a number");
        let left = members.split_off(20);
        for (n, peer) in left.into_iter().enumerate() {
            world.lose(peer);
            world.pass(2);
            if n % 50 == 0 {
                watchers.push(Watcher::new(&mut world, n % usize::from(shards)));
            }
            for watcher in &mut watchers {
                watcher.listen(&mut world);
            }
        }
        world.pass(GRACE_MS + 5_000);
        let truth: BTreeSet<String> = (0..20).map(|n| format!("user-{n}")).collect();
        for watcher in &mut watchers {
            watcher.listen(&mut world);
            assert_eq!((watcher.list.as_ref(), watcher.count), (Some(&truth), 20));
            let most = watcher.most_in_a_second();
            assert!(most <= BUDGET, "{most} bytes in a second");
        }
    }
}

#[test]
fn a_number_that_only_newcomers_and_askers_were_told_is_put_right_for_them() {
    for shards in SHARDS {
        // Too little for names, and no grace: who comes and goes within one interval changes nothing in the end.
        let mut brief = settings(400);
        brief.presence.grace_ms = 0;
        let mut world = World::with(shards, brief);
        let mut early = Watcher::new(&mut world, 0);
        let away = last_shard(&world);
        join(&mut world, away, "ann");
        world.pass(5_000);
        early.listen(&mut world);
        assert_eq!((&early.list, early.count), (&None, 1));
        let bob = join(&mut world, 0, "bob");
        let mut late = Watcher::new(&mut world, away);
        assert_eq!(late.count, 2);
        world.lose(bob);
        world.pass(5_000);
        let question = json!({"type": "get-presence", "channel": ROOM, "id": 1});
        let bob = join(&mut world, 0, "bob");
        for answer in ask(&mut world, early.peer, &question) {
            early.take(world.ms, answer);
        }
        assert_eq!(early.count, 2);
        world.lose(bob);
        world.pass(5_000);
        for watcher in [&mut early, &mut late] {
            watcher.listen(&mut world);
            assert_eq!(watcher.count, 1, "{:?}", watcher.heard);
        }
    }
}

#[test]
fn full_lanes_delay_what_is_told_and_leave_nothing_out() {
    let lanes = LaneBounds {
        lane_messages: 2,
        overflow_messages: 1,
        overflow_bytes: 1 << 20,
    };
    let mut world = World::bounded(2, settings(32 << 10), lanes);
    let home = world.placement.home_of_channel(TOLD).index();
    let away = 1 - home;
    let mut watchers = [
        Watcher::new(&mut world, home),
        Watcher::new(&mut world, away),
    ];
    let mut members = Vec::new();
    for n in 0..40 {
        members.push(world.connect_as(home, named(format!("user-{n}"))));
    }
    // Only the home runs: nobody takes its mail.
    for (n, &peer) in members.iter().enumerate() {
        world.say(
            peer,
            &json!({"type": "subscribe", "channel": ROOM}).to_string(),
        );
        world.ms += 100;
        let at_home = world.shards[home].next_deadline(world.now());
        if at_home.is_some_and(|at| at <= world.ms) {
            world.hand_in(home, shardwire_shards::vocabulary::Input::Deadline);
        }
        if n == 30 {
            world.lose(members[0]);
        }
    }
    let refused = world.shards[home].counters().presence_refused;
    assert!(refused > 0, "the lane was full");
    world.pass(GRACE_MS + 5_000);
    let truth: BTreeSet<String> = (1..40).map(|n| format!("user-{n}")).collect();
    for watcher in &mut watchers {
        watcher.listen(&mut world);
        assert_eq!(watcher.list.as_ref(), Some(&truth));
    }
}

#[test]
fn presence_is_a_permission_of_its_own() {
    let grants = |words: &[&str]| -> Vec<Grant> {
        words.iter().map(|word| Grant::from_text(word)).collect()
    };
    let rules = [
        Rule::about("room:*".parse().unwrap())
            .allow(Action::Subscribe, grants(&["*"]))
            .allow(Action::Presence, grants(&["staff"])),
        Rule::about("@bob".parse().unwrap()).allow(Action::Presence, grants(&["@user"])),
    ];
    let mut world = World::with(
        2,
        ShardSettings {
            permissions: Permissions::new(rules, false),
            ..settings(32 << 10)
        },
    );
    let staff = Identity::new("eve").with_permissions(["staff"]);
    let (eve, ann) = (
        world.connect_as(0, verified(staff)),
        world.connect_as(1, verified(Identity::new("ann"))),
    );
    let code = |heard: Vec<Value>| heard[0]["code"].as_u64().unwrap_or(0);
    for (message, of_eve, of_ann) in [
        (json!({"type": "subscribe", "channel": ROOM}), 0, 0),
        (json!({"type": "subscribe", "channel": TOLD}), 0, 115),
        (json!({"type": "get-presence", "channel": ROOM}), 0, 115),
        (json!({"type": "get-presence", "ids": ["eve"]}), 0, 115),
        (json!({"type": "get-presence", "ids": ["ann"]}), 115, 0),
        (
            json!({"type": "get-presence", "ids": ["bob", "ann"]}),
            115,
            0,
        ),
        (
            json!({"type": "set-presence", "presence": {"status": "away"}}),
            0,
            0,
        ),
    ] {
        assert_eq!(
            code(ask(&mut world, eve, &message)),
            of_eve,
            "eve: {message}"
        );
        assert_eq!(
            code(ask(&mut world, ann, &message)),
            of_ann,
            "ann: {message}"
        );
    }
}

#[test]
fn services_set_and_ask_at_any_shard() {
    for shards in SHARDS {
        let mut world = world(shards);
        for shard in 0..usize::from(shards) {
            let name = format!("user-{shard}");
            let set = PresenceCommand::Set {
                user: name.as_str().into(),
                change: Box::new(PresenceChange::read(r#"{"status":"online"}"#).unwrap()),
                answer: Some(AnswerId(0)),
            };
            world.command(shard, Command::Presence(set));
            world.settle();
            let Some(Answer::Presence(PresenceAnswer::Users(users))) = world.answers.pop() else {
                panic!("no answer");
            };
            assert_eq!(
                (&*users[0].0, &*users[0].1.status),
                (name.as_str(), "online")
            );
            join(&mut world, shard, &name);
        }
        let names = || (0..shards).map(|n| format!("user-{n}").into());
        let get = PresenceCommand::Get {
            users: names().chain(["nobody".into()]).collect(),
            answer: AnswerId(1),
        };
        world.command(0, Command::Presence(get));
        world.settle();
        let Some(Answer::Presence(PresenceAnswer::Users(users))) = world.answers.pop() else {
            panic!("no answer");
        };
        assert_eq!(users.len(), usize::from(shards) + 1);
        for (user, presence) in users {
            let status = if &*user == "nobody" {
                "offline"
            } else {
                "online"
            };
            assert_eq!(&*presence.status, status, "{user}");
        }
        let members = PresenceCommand::Members {
            channel: ROOM.into(),
            limit: 2,
            answer: AnswerId(2),
        };
        world.command(last_shard(&world), Command::Presence(members));
        world.settle();
        let told = ChannelMembers {
            count: usize::from(shards),
            members: names().take(2).collect(),
        };
        let answer = Answer::Presence(PresenceAnswer::Members(told));
        assert_eq!(world.answers.pop(), Some(answer));
    }
}
