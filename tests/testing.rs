//! The test kit, as an application's own tests use it: the real shards, handlers and middleware in virtual time, no socket.
//! Goal: what holds over sockets holds here, at once and every time.
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use shardwire::auth::Identity;
use shardwire::config::{ChannelsRule, Config, Limit, PermissionRule, Persistence, PlacementRule};
use shardwire::testing::{TestClient, VirtualClock};
use shardwire::{Access, CloseCause, Context, Engine, Failure, HandlerError, Message, Next};

fn config(shards: usize) -> Config {
    let mut config = Config::default();
    config.shards.count = Some(shards);
    config.shards.placement = PlacementRule::Accept;
    config
}

fn join(client: &TestClient, channel: &str) {
    let answer = client.ask(&json!({"type": "subscribe", "channel": channel}));
    assert_eq!(answer["type"], "subscribed");
}

#[test]
fn channels_reach_clients_on_all_shards_in_one_order() {
    let simulation = Engine::builder(config(3)).simulate().unwrap();
    let clients: Vec<_> = (0..6).map(|_| simulation.connect()).collect();
    clients.iter().for_each(|client| join(client, "news"));
    for n in 0..50 {
        clients[n % 6].send(&json!({"type": "publish", "channel": "news", "message": n}));
    }
    simulation.engine().publish("news", "from outside").unwrap();
    for client in &clients {
        let heard: Vec<Value> = client
            .received()
            .into_iter()
            .map(|it| it["message"].clone())
            .collect();
        let expected: Vec<Value> = (0..50)
            .map(Value::from)
            .chain(["from outside".into()])
            .collect();
        assert_eq!(heard, expected);
    }
}

#[test]
fn documents_on_disk_are_read_back_when_somebody_wants_them() {
    let mut config = config(2);
    config.storage.directory = Some("/nowhere/at/all".into());
    config.collaboration.enabled = Some(true);
    config.collaboration.persistence = Persistence::Disk;
    let simulation = Engine::builder(config).simulate().unwrap();
    let open = json!({"type": "join-document", "documentId": "plan"});
    let ann = simulation.connect_as("ann");
    ann.ask(&open);
    let edit = json!({"type": "edit", "documentId": "plan", "version": 0, "operation": ["hello"]});
    assert_eq!(ann.ask(&edit)["type"], "edit-ack");
    ann.cut();
    simulation.advance(Duration::from_secs(3_600));
    let bob = simulation.connect_as("bob");
    assert_eq!(bob.ask(&open)["content"], "hello");
}

#[test]
fn channels_on_disk_behave_as_on_a_disk_that_is_never_slow() {
    let mut config = config(2);
    config.storage.directory = Some("/nowhere/at/all".into());
    config.channels.rules = vec![ChannelsRule {
        channel: "orders".to_owned(),
        max_messages: Some(10),
        max_age: None,
        max_bytes: None,
        persistence: Some(Persistence::Disk),
        slow: None,
    }];
    let simulation = Engine::builder(config).simulate().unwrap();
    let client = simulation.connect();
    let publish = |n: u64| {
        client.ask(&json!({"type": "publish", "channel": "orders", "message": n, "id": n}))
    };
    let told = publish(1);
    assert_eq!(
        (&told["type"], &told["offset"]),
        (&json!("published"), &json!(1))
    );
    assert_eq!(publish(2)["offset"], 2);
    let since = json!({"offset": 1, "epoch": told["epoch"]});
    let answer = client.ask(&json!({"type": "subscribe", "channel": "orders", "since": since}));
    assert_eq!(answer["recovered"], true);
    assert_eq!(client.received()[0]["message"], 2);
    assert!(!std::path::Path::new("/nowhere").exists());
}

#[test]
fn handlers_await_in_virtual_time_and_keep_their_order() {
    let clock = VirtualClock::default();
    let mut config = config(1);
    config.handlers.timeout = "1h".parse().unwrap();
    let sleeping = clock.clone();
    let simulation = Engine::builder(config)
        .route("wait", async move |context: Context, message: Message| {
            sleeping.sleep(HOUR / 2).await;
            let message: Value = message.parse()?;
            context.send(&message["n"]).map_err(HandlerError::failed)
        })
        .simulate_with(clock)
        .unwrap();
    let client = simulation.connect();
    let begin = Instant::now();
    for n in 0..3 {
        client.send(&json!({"type": "wait", "n": n}));
    }
    assert_eq!(client.receive(), None);
    simulation.advance(HOUR / 2);
    assert_eq!(client.received(), [json!(0)]);
    simulation.advance(HOUR);
    assert_eq!(client.received(), [json!(1), json!(2)]);
    assert_eq!(simulation.clock().elapsed(), HOUR * 3 / 2);
    assert!(
        begin.elapsed() < Duration::from_secs(10),
        "no real time passes"
    );
}

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn a_handler_that_never_returns_is_given_up_and_a_panic_ends_its_connection() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&told);
    let mut config = config(2);
    config.handlers.timeout = "30s".parse().unwrap();
    let simulation = Engine::builder(config)
        .route("never", async |_: Context, _: Message| {
            std::future::pending().await
        })
        .route("panic", async |_: Context, _: Message| panic!("planted"))
        .on_error(async move |_: Context, failure: Failure| {
            note.lock().unwrap().push(failure.route.unwrap());
        })
        .simulate()
        .unwrap();
    let (client, other) = (simulation.connect(), simulation.connect());
    client.send(&json!({"type": "never"}));
    simulation.advance(Duration::from_secs(29));
    assert_eq!(client.receive(), None);
    assert_eq!(other.ask(&json!({"type": "ping"}))["type"], "pong");
    simulation.advance(Duration::from_secs(2));
    assert_eq!(client.receive().unwrap()["error"], "Handler timeout");
    assert_eq!(
        client.ask(&json!({"type": "panic"}))["error"],
        "Internal error"
    );
    assert_eq!(client.closed().unwrap().0, 1011);
    assert_eq!(other.closed(), None);
    assert_eq!(*told.lock().unwrap(), ["never", "panic"]);
}

#[test]
fn middleware_hooks_permissions_and_tags_are_those_of_the_application() {
    let ended = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&ended);
    let mut config = config(2);
    config.permissions.rules = vec![PermissionRule {
        channel: "room:*".to_owned(),
        subscribe: Some(vec!["@user".to_owned()]),
        publish: Some(vec!["write".to_owned()]),
        ..PermissionRule::default()
    }];
    let simulation = Engine::builder(config)
        .on_connect(async |context: Context| {
            let may_write = context.identity().is_some_and(|who| who.may("write"));
            if may_write {
                context.tag("writer")?;
            }
            Ok(())
        })
        .middleware(async |context: Context, message: Message, next: Next| {
            if message.text().len() > 100 {
                return Err(HandlerError::refused("Too long for this room"));
            }
            next.run(context, message).await
        })
        .authorize(|access: &Access<'_>| access.channel != "room:closed")
        .on_close(async move |context: Context, cause: CloseCause| {
            let user = context.user().map(str::to_owned);
            note.lock().unwrap().push((user, cause));
        })
        .simulate()
        .unwrap();
    let ann = simulation.connect_verified(Identity::new("ann").with_permissions(["write"]));
    let bob = simulation.connect_verified(Identity::new("bob"));
    let nobody = simulation.connect_as("bob");
    for client in [&ann, &bob] {
        join(client, "room:1");
        let closed = client.ask(&json!({"type": "subscribe", "channel": "room:closed"}));
        assert_eq!(closed["code"], 115);
    }
    let refused = nobody.ask(&json!({"type": "subscribe", "channel": "room:1"}));
    assert_eq!(refused["code"], 115);
    let publish =
        |message: &str| json!({"type": "publish", "channel": "room:1", "message": message});
    assert_eq!(bob.ask(&publish("hello"))["code"], 115);
    assert_eq!(ann.ask(&publish("hello"))["message"], "hello");
    assert_eq!(bob.receive().unwrap()["message"], "hello");
    let long = "x".repeat(100);
    assert_eq!(ann.ask(&publish(&long))["error"], "Too long for this room");

    let writers = shardwire::Audience::Tag("writer".into());
    simulation
        .engine()
        .broadcast("for writers", &writers)
        .unwrap();
    assert_eq!(ann.receive().unwrap(), json!("for writers"));
    assert_eq!(bob.receive(), None);

    ann.close(1000);
    bob.cut();
    assert_eq!(ann.closed().unwrap().0, 1000);
    assert_eq!(
        *ended.lock().unwrap(),
        [
            (Some("ann".to_owned()), CloseCause::Peer(1000)),
            (Some("bob".to_owned()), CloseCause::Lost)
        ]
    );
    assert_eq!(simulation.engine().active_connections(), 1);
}

#[test]
fn heartbeats_and_limits_hold() {
    let mut config = config(2);
    config.connections.max_connections_per_user = Some(Limit::AtMost(2));
    let simulation = Engine::builder(config).simulate().unwrap();
    let (first, second) = (simulation.connect_as("ann"), simulation.connect_as("ann"));
    let third = simulation.connect_as("ann");
    assert_eq!(third.closed().unwrap().0, 4101);
    let mine = simulation.engine().user_connections("ann");
    simulation.settle();
    assert_eq!(mine.wait().len(), 2);
    first.fall_silent();
    simulation.advance(Duration::from_secs(300));
    assert_eq!(first.closed().unwrap().0, 4000);
    assert_eq!(second.closed(), None);
}

/// What a handler awaits may also come from a thread of the real world.
#[test]
fn a_handler_is_woken_from_another_thread() {
    let simulation = Engine::builder(config(1))
        .route("ask", async |context: Context, _: Message| {
            let (sender, receiver) = oneshot::channel();
            std::thread::spawn(move || sender.send(7));
            let answer = receiver.await.map_err(HandlerError::failed)?;
            context.send(&answer).map_err(HandlerError::failed)
        })
        .simulate()
        .unwrap();
    let client = simulation.connect();
    client.send(&json!({"type": "ask"}));
    let mut answer = None;
    assert!(simulation.settle_until(Duration::from_secs(20), || {
        answer = client.receive();
        answer.is_some()
    }));
    assert_eq!(answer, Some(json!(7)));
}
