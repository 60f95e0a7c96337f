//! Inboxes over real sockets: by the handle, over HTTP, with a hook for users who are away, and on disk across a restart with another
//! number of shards.
#![allow(clippy::unwrap_used)]

#[path = "support/http.rs"]
mod http;
mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Admin;
use serde_json::{Value, json};
use shardwire::config::{ByteSize, Config, Persistence, PlacementRule, Secret};
use shardwire::{
    Context, Engine, EngineHandle, HandlerError, Json, Notification, NotificationPages,
    NotifyError, Unreached,
};
use support::{Client, TestEngine, config, eventually};

const KEY: &str = "correct-horse-battery-staple";

fn with_inboxes(shards: usize) -> Config {
    let mut config = config(shards, PlacementRule::Accept);
    config.notifications.enabled = Some(true);
    config.admin.address = Some("127.0.0.1:0".parse().unwrap());
    config.admin.key = Some(Secret::new(KEY));
    config
}

fn admin(engine: &TestEngine) -> Admin {
    Admin {
        address: engine.0.admin_address().unwrap(),
        key: Some(KEY.to_owned()),
    }
}

fn user(engine: &TestEngine, name: &str) -> Client {
    engine.client(&format!("/ws?user={name}"))
}

/// A device that is there: whatever is sent from now on comes live.
fn present(engine: &TestEngine, name: &str) -> Client {
    let mut client = user(engine, name);
    assert_eq!(client.ask(&json!({"type": "ping"}))["type"], "pong");
    client
}

fn unread(count: usize) -> Value {
    json!({"type": "unread-count", "unread": count})
}

fn wait_for_delivery(engine: &TestEngine, of: &str) {
    eventually("it is delivered", || {
        let pending = engine.0.pending_notifications(of).unwrap().wait();
        pending.notifications.is_empty()
    });
}

#[test]
fn contract_n1_n4_to_n9_n13_an_inbox_outlives_the_server_with_what_became_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let on_disk = |shards| {
        let mut config = with_inboxes(shards);
        config.notifications.persistence = Persistence::Disk;
        config.storage.directory = Some(directory.path().join("store"));
        config.storage.keep_free = ByteSize::bytes(0);
        config
    };
    let engine = TestEngine::start(on_disk(3));
    let mut ann = present(&engine, "ann");
    let order = Notification {
        body: Some("On Friday.".into()),
        kind: Some("order".into()),
        data: json!({"order": 4711}),
        ..Notification::new("On its way")
    };
    let live = engine
        .0
        .send_notification("ann", &order)
        .unwrap()
        .wait()
        .unwrap();
    assert_eq!(live.connections, 1);
    let heard = ann.receive();
    let expected = json!({
        "type": "notification", "id": live.id.to_string(), "title": "On its way", "body": "On Friday.",
        "notificationType": "order", "data": {"order": 4711}, "timestamp": heard["timestamp"],
        "read": false, "delivered": false,
    });
    assert_eq!(heard, expected);
    assert_eq!(ann.receive(), unread(1));
    wait_for_delivery(&engine, "ann");
    drop(ann);
    eventually("Ann is gone", || engine.0.active_connections() == 0);
    let send = |title: &str| {
        let sent = engine.0.send_notification("ann", &Notification::new(title));
        sent.unwrap().wait().unwrap()
    };
    let (seen, waiting) = (send("seen elsewhere"), send("waiting"));
    assert_eq!((seen.connections, waiting.connections), (0, 0));
    assert_eq!(engine.0.mark_read("ann", &[seen.id]).unwrap().wait(), 1);
    let before = engine.0.notifications("ann", NotificationPages::default());
    let before = before.unwrap().wait();
    assert_eq!((before.total, before.unread), (3, 2));
    drop(engine);

    let engine = TestEngine::start(on_disk(2));
    let after = engine.0.notifications("ann", NotificationPages::default());
    assert_eq!(after.unwrap().wait(), before);
    let pending = engine.0.pending_notifications("ann").unwrap().wait();
    let ids: Vec<_> = pending.notifications.iter().map(|it| it.id).collect();
    assert_eq!(ids, [waiting.id]);
    let mut ann = user(&engine, "ann");
    assert_eq!(ann.receive()["id"], waiting.id.to_string());
    assert_eq!(ann.receive(), unread(2));
    wait_for_delivery(&engine, "ann");
    // Only stored: for the next time.
    let later = engine
        .0
        .store_notification("ann", &Notification::new("later"));
    let later = later.unwrap().wait().unwrap();
    assert_eq!(ann.receive(), unread(3));
    drop(engine);
    let engine = TestEngine::start(on_disk(1));
    assert_eq!(
        engine.0.mark_delivered("ann", &[later.id]).unwrap().wait(),
        1
    );
    let mut ann = user(&engine, "ann");
    assert_eq!(ann.receive(), unread(3), "nothing is pending");
}

#[test]
fn contract_n11_three_devices_know_the_same_count() {
    let engine = TestEngine::start(with_inboxes(3));
    let mut devices: Vec<Client> = (0..3).map(|_| present(&engine, "ann")).collect();
    let mut ids = Vec::new();
    for number in 1..=5 {
        let sent = engine.0.send_notification("ann", &Notification::new("x"));
        ids.push(sent.unwrap().wait().unwrap().id.to_string());
        for device in &mut devices {
            assert_eq!(device.receive()["type"], "notification");
            assert_eq!(device.receive(), unread(number));
        }
    }
    for (number, id) in ids.iter().enumerate() {
        let left = 4 - number;
        let reader = number % 3;
        devices[reader].send(&json!({"type": "mark-read", "notificationIds": [id], "id": number}));
        for device in &mut devices {
            assert_eq!(device.receive(), unread(left));
        }
        assert_eq!(
            devices[reader].receive(),
            json!({"type": "marked-read", "count": 1, "unread": left, "id": number})
        );
    }
}

#[test]
fn a_hook_hears_of_what_reached_nobody_and_a_handler_may_send() {
    #[derive(serde::Deserialize)]
    struct Ship {
        to: String,
    }
    let missed: Arc<Mutex<Vec<Unreached>>> = Arc::default();
    let hook = Arc::clone(&missed);
    let builder = Engine::builder(with_inboxes(2))
        .route("ship", async |context: Context, ship: Json<Ship>| {
            let sent = context
                .engine()
                .send_notification(&ship.to, &Notification::new("shipped"))
                .map_err(HandlerError::failed)?
                .await
                .map_err(HandlerError::failed)?;
            let answer = json!({"type": "shipped", "connections": sent.connections});
            context.send(&answer).map_err(HandlerError::failed)
        })
        .on_unreached(async move |_: EngineHandle, unreached: Unreached| {
            hook.lock().unwrap().push(unreached);
        });
    let engine = TestEngine(builder.start().unwrap());
    let (mut ann, mut bob) = (present(&engine, "ann"), present(&engine, "bob"));
    let shipped = |client: &mut Client, to: &str| {
        client.ask(&json!({"type": "ship", "to": to}))["connections"].clone()
    };
    assert_eq!(shipped(&mut ann, "bob"), 1);
    assert_eq!(bob.receive()["title"], "shipped");
    assert_eq!(shipped(&mut ann, "cyd"), 0);
    eventually("the hook was called", || !missed.lock().unwrap().is_empty());
    let missed = missed.lock().unwrap();
    assert_eq!(missed.len(), 1);
    assert_eq!(missed[0].user, "cyd");
    assert_eq!(missed[0].notification.title, "shipped");
    let pending = engine.0.pending_notifications("cyd").unwrap().wait();
    assert_eq!(pending.notifications, [missed[0].notification.clone()]);
}

#[test]
fn contract_n4_to_n9_over_http() {
    let engine = TestEngine::start(with_inboxes(2));
    let admin = admin(&engine);
    let mut ann = present(&engine, "ann");
    let path = "/v1/users/ann/notifications";
    let sent = admin.post(
        path,
        &json!({"title": "one", "body": "b", "type": "order", "data": [1], "ttl": 60_000}),
    );
    assert_eq!(sent["connections"], 1);
    assert_eq!(ann.receive()["notificationType"], "order");
    assert_eq!(ann.receive(), unread(1));
    wait_for_delivery(&engine, "ann");
    let stored = admin.post(path, &json!({"title": "two", "deliver": false}));
    assert_eq!(stored["connections"], 0);
    assert_eq!(ann.receive(), unread(2));
    let pending = admin.ask(&format!("{path}?pending=true"));
    assert_eq!(pending["notifications"][0]["id"], stored["id"]);
    let page = admin.ask(&format!("{path}?limit=1"));
    assert_eq!(
        (&page["total"], &page["unread"], &page["next"]),
        (&json!(2), &json!(2), &stored["id"])
    );
    let page = admin.ask(&format!(
        "{path}?limit=1&cursor={}",
        stored["id"].as_str().unwrap()
    ));
    let one = &page["notifications"][0];
    assert_eq!(
        *one,
        json!({
            "id": sent["id"], "title": "one", "body": "b", "type": "order", "data": [1],
            "timestamp": one["timestamp"], "delivered": true, "acknowledged": false, "read": false,
        })
    );
    let marked = admin.post(
        &format!("{path}/mark"),
        &json!({"read": [sent["id"]], "delivered": [stored["id"], sent["id"]]}),
    );
    assert_eq!(marked, json!({"delivered": 1, "read": 1}));
    assert_eq!(ann.receive(), unread(1));
    for (body, status) in [
        ("{}", 400),
        (r#"{"title":1}"#, 400),
        (r#"{"title":"x","nonsense":1}"#, 400),
        (&format!(r#"{{"title":"{}"}}"#, "x".repeat(9_000)), 413),
    ] {
        assert_eq!(admin.call("POST", path, body).status, status, "{body}");
    }
    assert_eq!(
        admin
            .call("POST", "/v1/users/%01/notifications", r#"{"title":"x"}"#)
            .status,
        400
    );
    assert_eq!(admin.get(&format!("{path}?cursor=12")).status, 400);
}

#[test]
fn without_inboxes_everything_about_them_says_so() {
    let mut config = with_inboxes(1);
    config.notifications.enabled = Some(false);
    let engine = TestEngine::start(config);
    let mut ann = present(&engine, "ann");
    assert_eq!(ann.ask(&json!({"type": "get-notifications"}))["code"], 103);
    let refused = engine.0.send_notification("ann", &Notification::new("x"));
    assert!(matches!(refused, Err(NotifyError::Disabled)));
    let path = "/v1/users/ann/notifications";
    assert_eq!(admin(&engine).get(path).status, 404);
}

#[test]
fn what_a_door_can_see_is_refused_at_the_door() {
    let engine = TestEngine::start(with_inboxes(1));
    let mut deep = json!(1);
    for _ in 0..200 {
        deep = json!([deep]);
    }
    let deep = Notification {
        data: deep,
        ..Notification::new("x")
    };
    let send = |user: &str, notification: &Notification| {
        engine.0.send_notification(user, notification).unwrap_err()
    };
    assert!(matches!(send("ann", &deep), NotifyError::TooDeep));
    let ann = Notification::new("x");
    assert!(matches!(send("", &ann), NotifyError::User(_)));
    let large = Notification::new("x".repeat(9_000));
    assert!(matches!(send("ann", &large), NotifyError::TooLarge { .. }));
    let short = Notification {
        ttl: Some(Duration::from_millis(50)),
        ..ann
    };
    engine
        .0
        .send_notification("ann", &short)
        .unwrap()
        .wait()
        .unwrap();
    eventually("its time has passed", || {
        let page = engine.0.notifications("ann", NotificationPages::default());
        page.unwrap().wait().total == 0
    });
}
