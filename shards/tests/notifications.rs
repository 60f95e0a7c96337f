//! Inboxes over whole shards: who gets what, what counts as delivered, what every device of a user knows, and what outlives the process.

#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use shardwire_protocol::codes::ErrorCode;
use shardwire_protocol::envelope::notifications::write_members;
use shardwire_shards::bounds::INBOX_BYTES_MAX;
use shardwire_shards::mesh::LaneBounds;
use shardwire_shards::notifications::NotificationSettings;
use shardwire_shards::vocabulary::{
    Answer, AnswerId, Command, Event, Input, LogKind, Mark, NotificationAnswer,
    NotificationCommand, NotificationId, NotificationList, NotificationQuery, SentNotification,
    StoreOutcome, StoreRequest,
};
use shardwire_shards::{Residue, ShardSettings, StoreModel};
use support::{Frame, PeerId, UNIX_MS, World, echo, open_settings, user};

fn settings(notifications: NotificationSettings) -> ShardSettings {
    ShardSettings {
        notifications: Some(notifications),
        heartbeat_interval_ms: 100_000_000_000,
        ..open_settings()
    }
}

fn world(shards: u16) -> World {
    World::with(shards, settings(NotificationSettings::default()))
}

fn members(title: &str) -> Box<[u8]> {
    let mut out = Vec::new();
    write_members(&mut out, title, Some("b"), Some("order"), Some("[1]"));
    out.into()
}

fn home(world: &World, user: &str) -> usize {
    world.placement.home_of_user(user).index()
}

/// Sends and says what came of it, if that is known at once.
fn send_as(
    world: &mut World,
    to: &str,
    title: &str,
    lifetime_ms: Option<u64>,
    deliver: bool,
) -> Option<Result<SentNotification, ErrorCode>> {
    let command = NotificationCommand::Send {
        user: to.into(),
        members: members(title),
        lifetime_ms,
        deliver,
        answer: Some(AnswerId(7)),
    };
    world.command(home(world, to), Command::Notification(command));
    world.settle();
    sent(world)
}

fn sent(world: &mut World) -> Option<Result<SentNotification, ErrorCode>> {
    match world.answers.pop() {
        Some(Answer::Notification(NotificationAnswer::Sent(sent))) => Some(sent),
        None => None,
        other => panic!("{other:?}"),
    }
}

fn send(world: &mut World, to: &str, title: &str) -> SentNotification {
    send_as(world, to, title, None, true).unwrap().unwrap()
}

fn list(world: &mut World, of: &str, pending: bool) -> NotificationList {
    let command = NotificationCommand::List {
        user: of.into(),
        query: NotificationQuery {
            pending,
            limit: 1000,
            offset: 0,
            cursor: None,
        },
        answer: AnswerId(8),
    };
    world.command(home(world, of), Command::Notification(command));
    match world.answers.pop() {
        Some(Answer::Notification(NotificationAnswer::List(list))) => list,
        other => panic!("{other:?}"),
    }
}

fn mark(world: &mut World, of: &str, ids: &[NotificationId], mark: Mark) -> usize {
    let command = NotificationCommand::Mark {
        user: of.into(),
        ids: ids.to_vec(),
        mark,
        answer: Some(AnswerId(9)),
    };
    world.command(home(world, of), Command::Notification(command));
    world.settle();
    match world.answers.pop() {
        Some(Answer::Notification(NotificationAnswer::Marked(count))) => count,
        other => panic!("{other:?}"),
    }
}

fn say(world: &mut World, peer: PeerId, message: Value) -> Vec<Value> {
    world.say(peer, &message.to_string());
    world.settle();
    world.messages(peer)
}

fn notification(id: NotificationId, title: &str, unix_ms: u64) -> Value {
    json!({
        "type": "notification", "id": id.to_string(), "title": title, "body": "b",
        "notificationType": "order", "data": [1], "timestamp": unix_ms, "read": false, "delivered": false,
    })
}

fn unread(count: usize) -> Value {
    json!({"type": "unread-count", "unread": count})
}

/// Events since the last call: to whom nothing came.
fn unreached(world: &mut World) -> Vec<(String, NotificationId)> {
    world
        .events
        .drain(..)
        .filter_map(|event| match event {
            Event::Unreached { user, notice } => Some((user.to_string(), notice.id)),
            _ => None,
        })
        .collect()
}

#[test]
fn contract_n9_a_notification_goes_to_all_devices_and_is_delivered_then() {
    for shards in [1, 3] {
        let mut world = world(shards);
        let devices: Vec<PeerId> = (0..3)
            .map(|n| world.connect_as(n % usize::from(shards), user("ann")))
            .collect();
        let other = world.connect_as(0, user("bob"));
        for &device in devices.iter().chain([&other]) {
            assert!(world.messages(device).is_empty(), "nothing is unread");
        }
        let it = send(&mut world, "ann", "one");
        assert_eq!(it.connections, 3);
        let id = it.id;
        for &device in &devices {
            assert_eq!(
                world.messages(device),
                [notification(id, "one", UNIX_MS), unread(1)]
            );
        }
        assert!(world.messages(other).is_empty());
        let kept = list(&mut world, "ann", false);
        assert_eq!((kept.total, kept.unread), (1, 1));
        let marks = kept.notices[0].marks;
        assert!(marks.delivered && !marks.read && !marks.acknowledged);
        assert!(list(&mut world, "ann", true).notices.is_empty());
        assert!(unreached(&mut world).is_empty());
        assert_eq!(world.residue().watched_devices, 0);
    }
}

#[test]
fn contract_n13_what_is_pending_comes_on_connect_once_and_only_to_its_user() {
    for shards in [1, 3] {
        let mut world = world(shards);
        let ids: Vec<_> = ["one", "two", "three"]
            .map(|title| send(&mut world, "ann", title).id)
            .into();
        assert_eq!(
            unreached(&mut world),
            ids.iter()
                .map(|id| ("ann".to_owned(), *id))
                .collect::<Vec<_>>()
        );
        assert_eq!(mark(&mut world, "ann", &ids[1..2], Mark::Read), 1);
        // The echo path takes no notifications, and is no device.
        let mut deaf = echo();
        deaf.standing = user("ann").standing;
        let deaf = world.connect_as(0, deaf);
        assert_eq!(list(&mut world, "ann", true).notices.len(), 2);
        let device = world.connect_as(usize::from(shards) - 1, user("ann"));
        assert_eq!(
            world.messages(device),
            [
                notification(ids[0], "one", UNIX_MS),
                notification(ids[2], "three", UNIX_MS),
                unread(2)
            ]
        );
        let again = world.connect_as(0, user("ann"));
        assert_eq!(world.messages(again), [unread(2)], "it was delivered");
        let stranger = world.connect_as(0, user("bob"));
        assert!(world.messages(stranger).is_empty());
        let nobody = world.connect(0);
        assert!(world.heard(nobody).is_empty() && world.heard(deaf).is_empty());
        assert!(unreached(&mut world).is_empty());
    }
}

#[test]
fn contract_n9_d9_delivered_is_what_a_socket_took_and_not_what_was_queued() {
    for shards in [1, 2] {
        let mut world = world(shards);
        let device = world.connect_as(usize::from(shards) - 1, user("ann"));
        world.messages(device);
        world.peers[device].room = Some(10);
        send(&mut world, "ann", "zero");
        assert_eq!(list(&mut world, "ann", true).notices.len(), 1, "queued");
        // The socket takes the notification, and not yet all of what is behind it.
        world.make_room(device, Some(world.waiting(device) - 1));
        world.settle();
        assert!(list(&mut world, "ann", true).notices.is_empty());
        let first = send(&mut world, "ann", "one");
        assert_eq!(first.connections, 1);
        assert_eq!(list(&mut world, "ann", true).notices[0].id, first.id);
        assert!(unreached(&mut world).is_empty(), "it may still get it");
        world.lose(device);
        world.settle();
        assert_eq!(unreached(&mut world), [("ann".to_owned(), first.id)]);
        assert_eq!(world.residue().watched_devices, 0);
        let device = world.connect_as(0, user("ann"));
        assert_eq!(
            world.messages(device),
            [notification(first.id, "one", UNIX_MS), unread(2)]
        );
        assert!(unreached(&mut world).is_empty());
    }
}

#[test]
fn contract_n11_reading_on_one_device_clears_the_count_on_all() {
    for shards in [1, 3] {
        let mut world = world(shards);
        let devices: Vec<PeerId> = (0..3)
            .map(|n| world.connect_as(n % usize::from(shards), user("ann")))
            .collect();
        let ids = ["one", "two"].map(|title| send(&mut world, "ann", title).id.to_string());
        for &device in &devices {
            world.messages(device);
        }
        let ask =
            json!({"type": "mark-read", "notificationIds": [ids[0], ids[1], "no id"], "id": 4});
        assert_eq!(
            say(&mut world, devices[1], ask.clone()),
            [
                unread(0),
                json!({"type": "marked-read", "count": 2, "unread": 0, "id": 4})
            ]
        );
        for device in [devices[0], devices[2]] {
            assert_eq!(world.messages(device), [unread(0)]);
        }
        assert_eq!(
            say(&mut world, devices[0], ask),
            [json!({"type": "marked-read", "count": 0, "unread": 0, "id": 4})],
            "nothing changed, so nobody else is told"
        );
        assert!(world.messages(devices[1]).is_empty());
        let ask = json!({"type": "ack-notification", "notificationIds": [ids[0]], "id": 5});
        assert_eq!(
            say(&mut world, devices[2], ask),
            [json!({"type": "acknowledged", "count": 1, "unread": 0, "id": 5})]
        );
        let kept = list(&mut world, "ann", false);
        let acknowledged: Vec<bool> = kept
            .notices
            .iter()
            .map(|notice| notice.marks.acknowledged)
            .collect();
        assert_eq!(acknowledged, [false, true], "newest first");
    }
}

#[test]
fn contract_n12_a_list_goes_by_limit_and_offset_or_by_cursor() {
    for shards in [1, 2] {
        let mut world = world(shards);
        let device = world.connect_as(usize::from(shards) - 1, user("ann"));
        let ids: Vec<_> = (0..7)
            .map(|n| send(&mut world, "ann", &format!("{n}")).id.to_string())
            .collect();
        world.messages(device);
        let ask = |world: &mut World, ask: Value| {
            let answer = say(world, device, ask).remove(0);
            let titles: Vec<String> = answer["notifications"]
                .as_array()
                .unwrap()
                .iter()
                .map(|it| it["title"].as_str().unwrap().to_owned())
                .collect();
            (titles.concat(), answer)
        };
        let get = "get-notifications";
        let (titles, answer) = ask(&mut world, json!({"type": get, "id": "a"}));
        assert_eq!(titles, "6543210");
        assert_eq!(
            (&answer["total"], &answer["unread"], &answer["id"]),
            (&json!(7), &json!(7), &json!("a"))
        );
        assert_eq!(answer["next"], Value::Null);
        assert_eq!(
            answer["notifications"][0],
            json!({
                "id": ids[6], "title": "6", "body": "b", "notificationType": "order", "data": [1],
                "timestamp": UNIX_MS, "read": false, "delivered": true, "acknowledged": false,
            })
        );
        let (titles, _) = ask(&mut world, json!({"type": get, "limit": 2, "offset": 3}));
        assert_eq!(titles, "32");
        let (titles, answer) = ask(&mut world, json!({"type": get, "limit": 3}));
        assert_eq!((titles.as_str(), &answer["next"]), ("654", &json!(ids[4])));
        send(&mut world, "ann", "new");
        world.messages(device);
        let next = answer["next"].clone();
        let (titles, answer) = ask(&mut world, json!({"type": get, "limit": 3, "cursor": next}));
        assert_eq!(titles, "321", "what came meanwhile moves nothing");
        let next = answer["next"].clone();
        let (titles, answer) = ask(&mut world, json!({"type": get, "limit": 3, "cursor": next}));
        assert_eq!((titles.as_str(), &answer["next"]), ("0", &Value::Null));
        let (titles, _) = ask(&mut world, json!({"type": get, "offset": 99}));
        assert_eq!(titles, "");
    }
}

#[test]
fn what_cannot_be_asked_is_refused_with_its_id() {
    let mut world = world(2);
    let (ann, nobody) = (world.connect_as(1, user("ann")), world.connect(0));
    world.messages(ann);
    let error = |code: ErrorCode| json!({"type": "error", "error": code.text(), "code": code.number(), "temporary": false, "id": 1});
    for wrong in [
        json!({"type": "mark-read", "id": 1}),
        json!({"type": "mark-read", "notificationIds": "all", "id": 1}),
        json!({"type": "ack-notification", "notificationIds": [1], "id": 1}),
        json!({"type": "mark-read", "notificationIds": vec!["x"; 1001], "id": 1}),
        json!({"type": "get-notifications", "limit": -1, "id": 1}),
        json!({"type": "get-notifications", "offset": "1", "id": 1}),
        json!({"type": "get-notifications", "cursor": "12", "id": 1}),
    ] {
        let told = say(&mut world, ann, wrong.clone());
        assert_eq!(told, [error(ErrorCode::InvalidMessage)], "{wrong}");
    }
    for kind in ["mark-read", "ack-notification", "get-notifications"] {
        let ask = json!({"type": kind, "notificationIds": [], "id": 1});
        let told = say(&mut world, nobody, ask.clone());
        assert_eq!(told, [error(ErrorCode::NotPermitted)]);
        let mut off = World::with(1, open_settings());
        let peer = off.connect_as(0, user("ann"));
        assert_eq!(say(&mut off, peer, ask), [error(ErrorCode::UnknownType)]);
    }
}

#[test]
fn contract_n2_the_oldest_goes_when_an_inbox_is_full_and_every_device_knows_the_count() {
    let mut world = World::with(
        2,
        settings(NotificationSettings {
            max_per_user: 3,
            ..NotificationSettings::default()
        }),
    );
    let device = world.connect_as(0, user("ann"));
    for n in 0..5 {
        send(&mut world, "ann", &n.to_string());
    }
    assert_eq!(*world.messages(device).last().unwrap(), unread(3));
    let kept = list(&mut world, "ann", false);
    assert_eq!((kept.notices.len(), kept.unread), (3, 3));
    let counters = world.shards[home(&world, "ann")].counters();
    assert_eq!(counters.notifications_dropped, 2);
    // By bytes, too.
    let mut world = self::world(1);
    let big = "x".repeat(7 << 10);
    let most = INBOX_BYTES_MAX / big.len() + 2;
    for _ in 0..most {
        send(&mut world, "ann", &big);
    }
    let kept = list(&mut world, "ann", false).notices.len();
    assert!((most - 10..most).contains(&kept), "{kept} of {most}");
}

#[test]
fn what_is_too_large_or_too_much_is_refused() {
    let mut world = World::with(
        1,
        settings(NotificationSettings {
            memory: 20_000,
            ..NotificationSettings::default()
        }),
    );
    let big = "x".repeat(8 << 10);
    assert_eq!(
        send_as(&mut world, "ann", &big, None, true),
        Some(Err(ErrorCode::MessageTooLarge))
    );
    let mut users = (0..).map(|n| format!("user {n}"));
    let refused = loop {
        let user = users.next().unwrap();
        if let Err(code) = send_as(&mut world, &user, &big[..1000], None, true).unwrap() {
            break code;
        }
    };
    assert_eq!(refused, ErrorCode::Overloaded);
    let residue = world.residue();
    assert!((20_000..22_000).contains(&residue.inbox_bytes));
    assert!((10..20).contains(&residue.inboxes));
}

#[test]
fn contract_n3_what_is_too_old_goes_by_itself_and_takes_the_inbox_along() {
    let mut world = World::with(
        2,
        settings(NotificationSettings {
            ttl_ms: 10_000,
            ..NotificationSettings::default()
        }),
    );
    let device = world.connect_as(0, user("ann"));
    send(&mut world, "ann", "long");
    send_as(&mut world, "ann", "short", Some(2_000), true);
    send_as(&mut world, "ann", "longer than allowed", Some(99_000), true);
    world.messages(device);
    world.pass(1_900);
    assert!(world.messages(device).is_empty());
    world.pass(200);
    assert_eq!(world.messages(device), [unread(2)]);
    world.pass(8_000);
    assert_eq!(world.messages(device), [unread(0)]);
    let residue = world.residue();
    assert_eq!((residue.inboxes, residue.inbox_bytes), (0, 0));
    let again = send(&mut world, "ann", "again").id;
    assert_eq!(list(&mut world, "ann", false).notices[0].id, again);
}

#[test]
fn contract_n8_what_is_only_stored_waits_for_the_next_connect_and_is_counted() {
    let mut world = world(2);
    let device = world.connect_as(0, user("ann"));
    world.messages(device);
    let stored = send_as(&mut world, "ann", "later", None, false);
    let stored = stored.unwrap().unwrap();
    assert_eq!(stored.connections, 0);
    assert_eq!(world.messages(device), [unread(1)]);
    assert!(unreached(&mut world).is_empty(), "nobody tried to reach it");
    assert_eq!(list(&mut world, "ann", true).notices[0].id, stored.id);
    assert_eq!(mark(&mut world, "ann", &[stored.id], Mark::Delivered), 1);
    let next = world.connect_as(1, user("ann"));
    assert_eq!(world.messages(next), [unread(1)], "contract N5");
}

#[test]
fn a_device_that_connects_while_something_is_sent_gets_it_once() {
    // Mail between shards is moved in every order that is possible around the welcome.
    for before in 0..4 {
        let mut world = world(2);
        let ann = home(&world, "ann");
        let away = 1 - ann;
        let waiting = send(&mut world, "ann", "waiting").id;
        let device = world.open(away, user("ann"));
        for step in 0..before {
            world.turn(if step % 2 == 0 { ann } else { away });
        }
        let live = send(&mut world, "ann", "live").id;
        world.settle();
        let heard = world.messages(device);
        let mut got: Vec<&str> = heard.iter().filter_map(|it| it["id"].as_str()).collect();
        got.sort_unstable();
        assert_eq!(got, [waiting.to_string(), live.to_string()], "{before}");
        assert_eq!(*heard.last().unwrap(), unread(2));
        assert!(list(&mut world, "ann", true).notices.is_empty());
        assert_eq!(world.residue().watched_devices, 0);
    }
}

/// Lanes that are full at once.
fn narrow() -> LaneBounds {
    LaneBounds {
        lane_messages: 1,
        overflow_messages: 2,
        ..LaneBounds::default()
    }
}

#[test]
fn a_full_lane_delays_and_every_device_knows_the_count_in_the_end() {
    let mut world = World::bounded(2, settings(NotificationSettings::default()), narrow());
    let ann = home(&world, "ann");
    let device = world.connect_as(1 - ann, user("ann"));
    world.messages(device);
    for n in 0..20 {
        let command = NotificationCommand::Send {
            user: "ann".into(),
            members: members(&n.to_string()),
            lifetime_ms: None,
            deliver: true,
            answer: None,
        };
        world.command(ann, Command::Notification(command));
    }
    world.settle();
    world.pass(1_000);
    let heard = world.messages(device);
    let mut titles: Vec<u64> = heard
        .iter()
        .filter_map(|it| it["title"].as_str()?.parse().ok())
        .collect();
    titles.sort_unstable();
    assert_eq!(titles, (0..20).collect::<Vec<_>>());
    assert_eq!(*heard.last().unwrap(), unread(20));
    assert!(list(&mut world, "ann", true).notices.is_empty());
}

#[test]
fn a_device_that_connects_while_its_inbox_ends_and_begins_again_gets_each_once() {
    let brief = NotificationSettings {
        ttl_ms: 1_000,
        ..NotificationSettings::default()
    };
    for before in 0..6 {
        let mut world = World::with(2, settings(brief));
        let ann = home(&world, "ann");
        let away = 1 - ann;
        let device = world.open(away, user("ann"));
        for step in 0..before {
            world.turn(if step % 2 == 0 { ann } else { away });
        }
        let notify = |world: &mut World, title: &str| {
            let command = NotificationCommand::Send {
                user: "ann".into(),
                members: members(title),
                lifetime_ms: None,
                deliver: true,
                answer: None,
            };
            world.command(ann, Command::Notification(command));
        };
        notify(&mut world, "old");
        // Its time passes while it is on its way.
        world.ms += 2_000;
        world.hand_in(ann, Input::Deadline);
        notify(&mut world, "new");
        notify(&mut world, "newer");
        world.settle();
        let heard = world.messages(device);
        let titles = heard.iter().filter_map(|it| it["title"].as_str());
        let titles: Vec<&str> = titles.filter(|title| *title != "old").collect();
        assert_eq!(titles, ["new", "newer"], "{before}");
        assert_eq!(*heard.last().unwrap(), unread(2));
    }
}

#[test]
fn what_is_only_stored_while_a_device_connects_waits_for_it_too() {
    // Its home is told of it only after that.
    for before in 0..3 {
        let mut world = world(2);
        let ann = home(&world, "ann");
        let away = 1 - ann;
        let device = world.open(away, user("ann"));
        for step in 0..before {
            world.turn(if step % 2 == 0 { ann } else { away });
        }
        for (title, deliver) in [("live", true), ("stored", false)] {
            let command = NotificationCommand::Send {
                user: "ann".into(),
                members: members(title),
                lifetime_ms: None,
                deliver,
                answer: None,
            };
            world.command(ann, Command::Notification(command));
        }
        world.settle();
        let heard = world.messages(device);
        let titles: Vec<&str> = heard.iter().filter_map(|it| it["title"].as_str()).collect();
        assert_eq!(titles, ["live", "stored"], "{before}");
    }
}

#[test]
fn a_device_behind_a_full_lane_gets_what_another_device_was_lost_with() {
    let mut world = World::bounded(3, settings(NotificationSettings::default()), narrow());
    let ann = home(&world, "ann");
    let (near, far) = ((ann + 1) % 3, (ann + 2) % 3);
    let slow = world.connect_as(near, user("ann"));
    let behind = world.connect_as(far, user("ann"));
    world.messages(slow);
    world.messages(behind);
    // The one takes nothing; the other's shard takes no mail for a while.
    world.peers[slow].room = Some(0);
    for n in 0..8 {
        let command = NotificationCommand::Send {
            user: "ann".into(),
            members: members(&n.to_string()),
            lifetime_ms: None,
            deliver: true,
            answer: None,
        };
        world.command(ann, Command::Notification(command));
        world.turn(near);
        world.turn(ann);
    }
    world.settle();
    world.pass(1_000);
    world.lose(slow);
    world.settle();
    world.pass(1_000);
    let heard = world.messages(behind);
    let mut titles: Vec<u64> = heard
        .iter()
        .filter_map(|it| it["title"].as_str()?.parse().ok())
        .collect();
    titles.sort_unstable();
    assert_eq!(titles, (0..8).collect::<Vec<_>>());
    assert!(list(&mut world, "ann", true).notices.is_empty());
}

#[test]
fn a_slow_reader_that_is_closed_has_not_been_delivered_what_it_did_not_take() {
    let mut world = World::with(
        1,
        ShardSettings {
            outbox_hard_limit: 4_000,
            outbox_soft_limit: 2_000,
            ..settings(NotificationSettings::default())
        },
    );
    let device = world.connect_as(0, user("ann"));
    world.messages(device);
    world.peers[device].room = Some(100);
    for n in 0..40 {
        send(&mut world, "ann", &n.to_string());
    }
    let told = unreached(&mut world);
    world.make_room(device, None);
    assert!(matches!(
        world.heard(device).last(),
        Some(Frame::Close(4103, _))
    ));
    let pending = list(&mut world, "ann", true).notices;
    assert_eq!(told.len(), pending.len(), "all that waits, and only that");
    assert!(pending.len() >= 39, "{}", pending.len());
    let next = world.connect_as(0, user("ann"));
    assert_eq!(world.messages(next).len(), pending.len() + 1);
}

/// What is on the disk, and the most records that ever were in one log.
#[derive(Default)]
struct Disk {
    kept: StoreModel,
    most: usize,
}

impl Disk {
    /// Answers all that waits, and all that follows from it.
    fn answer(&mut self, world: &mut World, outcome: StoreOutcome) {
        loop {
            world.settle();
            if world.store.is_empty() {
                return;
            }
            for (shard, request) in std::mem::take(&mut world.store) {
                let answer = self.kept.carry_out(request, outcome);
                let records = self.kept.logs().map(|kept| kept.records.len());
                self.most = self.most.max(records.max().unwrap_or(0));
                if let Some(answer) = answer {
                    world.hand_in(shard, answer);
                }
            }
        }
    }

    /// Another process begins with what is there, on as many shards as it likes.
    fn restart(&self, shards: u16, settings: ShardSettings, ms: u64) -> World {
        let mut world = World::with(shards, settings);
        world.ms = ms;
        let now = world.now();
        for kept in self.kept.logs() {
            assert_eq!(kept.log.kind, LogKind::Inbox);
            let home = world.placement.home_of_log(&kept.log).index();
            world.shards[home].restore(now, kept.clone());
        }
        world
    }
}

fn durable() -> ShardSettings {
    settings(NotificationSettings {
        durable: true,
        max_per_user: 10,
        ..NotificationSettings::default()
    })
}

/// As [`send`], on disk.
fn store(world: &mut World, disk: &mut Disk, to: &str, title: &str) -> NotificationId {
    assert_eq!(
        send_as(world, to, title, None, true),
        None,
        "not before it is stored"
    );
    disk.answer(world, StoreOutcome::Stored);
    sent(world).unwrap().unwrap().id
}

#[test]
fn contract_n1_pending_and_read_outlive_the_process() {
    for (shards, then) in [(1, 3), (3, 2)] {
        let (mut world, mut disk) = (World::with(shards, durable()), Disk::default());
        let device = world.connect_as(0, user("ann"));
        world.messages(device);
        assert_eq!(send_as(&mut world, "ann", "first", None, true), None);
        assert!(world.messages(device).is_empty(), "not before it is stored");
        disk.answer(&mut world, StoreOutcome::Stored);
        let first = sent(&mut world).unwrap().unwrap().id;
        assert_eq!(world.messages(device).len(), 2);
        let second = store(&mut world, &mut disk, "ann", "second");
        world.lose(device);
        let third = store(&mut world, &mut disk, "ann", "third");
        let fourth = store(&mut world, &mut disk, "ann", "fourth");
        mark(&mut world, "ann", &[second, fourth], Mark::Read);
        mark(&mut world, "ann", &[first], Mark::Acknowledged);
        store(&mut world, &mut disk, "bob", "other");
        let before = list(&mut world, "ann", false);

        let mut world = disk.restart(then, durable(), 5_000);
        assert_eq!(list(&mut world, "ann", false), before);
        let device = world.connect_as(usize::from(then) - 1, user("ann"));
        assert_eq!(
            world.messages(device),
            [notification(third, "third", UNIX_MS), unread(2)]
        );
        // And on from there, with ids that were never given.
        disk.answer(&mut world, StoreOutcome::Stored);
        let fifth = store(&mut world, &mut disk, "ann", "fifth");
        assert!(fifth.epoch == first.epoch && fifth.number > fourth.number);
        let mut world = disk.restart(1, durable(), 6_000);
        assert!(list(&mut world, "ann", true).notices.is_empty());
        assert_eq!(list(&mut world, "ann", false).unread, 3);
        assert_eq!(list(&mut world, "bob", true).notices.len(), 1);
    }
}

#[test]
fn contract_n1_what_was_on_its_way_to_the_disk_together_outlives_the_process_together() {
    let (mut world, mut disk) = (World::with(1, durable()), Disk::default());
    for title in ["first", "second", "third"] {
        assert_eq!(send_as(&mut world, "ann", title, None, true), None);
    }
    disk.answer(&mut world, StoreOutcome::Stored);
    world.answers.clear();
    let before = list(&mut world, "ann", true);
    assert_eq!(before.notices.len(), 3);
    let mut world = disk.restart(1, durable(), 5_000);
    assert_eq!(list(&mut world, "ann", true), before);
}

#[test]
fn what_cannot_be_stored_is_refused_and_nobody_gets_it() {
    let (mut world, mut disk) = (World::with(1, durable()), Disk::default());
    let device = world.connect_as(0, user("ann"));
    world.messages(device);
    for (outcome, code) in [
        (StoreOutcome::Full, ErrorCode::StorageFull),
        (StoreOutcome::Failed, ErrorCode::StorageFailed),
    ] {
        assert_eq!(send_as(&mut world, "ann", "x", None, true), None);
        disk.answer(&mut world, outcome);
        assert_eq!(sent(&mut world), Some(Err(code)));
    }
    assert!(world.messages(device).is_empty());
    assert_eq!(world.residue().inboxes, 0, "and nothing is left of it");
    assert_eq!(disk.kept.logs().count(), 0);
}

#[test]
fn marks_that_a_full_disk_refused_are_stored_when_there_is_room() {
    let (mut world, mut disk) = (World::with(1, durable()), Disk::default());
    let ids = ["one", "two"].map(|title| store(&mut world, &mut disk, "ann", title));
    mark(&mut world, "ann", &ids[..1], Mark::Read);
    let (shard, request) = world.store.remove(0);
    let StoreRequest::Append { ticket, .. } = request else {
        panic!("{request:?}")
    };
    let outcome = StoreOutcome::Full;
    world.hand_in(shard, Input::Stored { ticket, outcome });
    assert_eq!(
        list(&mut disk.restart(1, durable(), 0), "ann", false).unread,
        2
    );
    world.pass(1_100);
    disk.answer(&mut world, StoreOutcome::Stored);
    assert_eq!(
        list(&mut disk.restart(1, durable(), 0), "ann", false).unread,
        1
    );
}

#[test]
fn a_log_grows_with_what_is_in_the_inbox_and_not_with_all_that_ever_was() {
    let (mut world, mut disk) = (World::with(1, durable()), Disk::default());
    let device = world.connect_as(0, user("ann"));
    // One that stays in the way of all the others.
    let keeper = store(&mut world, &mut disk, "ann", "stays");
    mark(&mut world, "ann", &[keeper], Mark::Read);
    for n in 0..3_000 {
        let sent = send_as(&mut world, "ann", "short-lived", Some(50), true);
        assert_eq!(sent, None);
        disk.answer(&mut world, StoreOutcome::Stored);
        world.answers.clear();
        world.messages(device);
        if n % 5 == 0 {
            world.pass(100);
            disk.answer(&mut world, StoreOutcome::Stored);
        }
    }
    world.pass(100);
    let records = &disk.kept.logs().next().unwrap().records;
    let now = records.len();
    assert!(disk.most < 600, "{} records at most, {now} now", disk.most);
    let kept = list(&mut disk.restart(2, durable(), 0), "ann", false);
    let stays = kept.notices.iter().find(|it| it.id == keeper).unwrap();
    assert!(stays.marks.read);
}

#[test]
fn what_had_gone_does_not_come_back_with_the_log_it_still_stands_in() {
    let (mut world, mut disk) = (World::with(1, durable()), Disk::default());
    for n in 0..12 {
        // The first two go for the last two, and half of the others after a second.
        let lifetime = (n % 2 == 0).then_some(1_000);
        send_as(&mut world, "ann", &n.to_string(), lifetime, true);
        disk.answer(&mut world, StoreOutcome::Stored);
        world.answers.clear();
    }
    world.pass(2_000);
    let last = store(&mut world, &mut disk, "ann", "last");
    let before = list(&mut world, "ann", false);
    assert_eq!((before.total, before.notices[0].id), (6, last));
    let mut world = disk.restart(1, durable(), world.ms);
    assert_eq!(list(&mut world, "ann", false), before);
}

#[test]
fn nothing_is_left_when_all_are_gone() {
    let mut world = World::with(
        3,
        settings(NotificationSettings {
            ttl_ms: 5_000,
            ..NotificationSettings::default()
        }),
    );
    let devices: Vec<PeerId> = (0..3)
        .map(|n| world.connect_as(n, user(["ann", "bob", "cyd"][n])))
        .collect();
    for n in 0..30 {
        send(&mut world, ["ann", "bob", "dan"][n % 3], "x");
    }
    for device in devices {
        world.lose(device);
    }
    world.settle();
    world.pass(6_000);
    assert_eq!(world.residue(), Residue::default());
}
