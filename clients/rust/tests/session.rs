//! Sessions against a small server of the JSON protocol in memory.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use shardwire_client::{
    GapReason, GaveUp, PublishOptions, Published, Session, SessionEnd, SessionError, SessionEvent,
    SessionOptions, SessionState, SubscriptionEvent,
};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{Heard, Memory, Peer, options};
use tokio::sync::broadcast;
use tokio::time::{self, Instant};

/// What the test may do to the server, and what the server saw.
#[derive(Clone)]
struct Control {
    orders: broadcast::Sender<Order>,
    seen: Arc<Mutex<Vec<Value>>>,
    accepts: Arc<Mutex<Accepts>>,
}

#[derive(Clone, Debug)]
enum Order {
    Say(String),
    Close(u16),
    Cut,
    /// Answers nothing from now on.
    Mute,
}

#[derive(Clone, Debug)]
enum Accepts {
    All,
    /// Refuses subscribes with this code.
    Refuse(u16, bool),
    Nobody,
}

fn server() -> (Control, Arc<Memory>) {
    let control = Control {
        orders: broadcast::Sender::new(4096),
        seen: Arc::default(),
        accepts: Arc::new(Mutex::new(Accepts::All)),
    };
    let inside = control.clone();
    let server = Memory::serve(move |_, stream| {
        let control = inside.clone();
        async move {
            if matches!(*control.accepts.lock().unwrap(), Accepts::Nobody) {
                return;
            }
            let mut orders = control.orders.subscribe();
            let mut peer = Peer::accept(stream).await;
            let mut mute = false;
            loop {
                let heard = tokio::select! {
                    order = orders.recv() => {
                        match order.unwrap() {
                            Order::Say(text) => peer.text(&text).await.unwrap(),
                            Order::Close(code) => { let _ = peer.close(code, "").await; peer.hear().await; return; }
                            Order::Cut => return,
                            Order::Mute => mute = true,
                        }
                        continue;
                    }
                    heard = peer.hear() => heard,
                };
                match heard {
                    Heard::Text(text) => {
                        let message: Value = serde_json::from_str(&text).unwrap();
                        control.seen.lock().unwrap().push(message.clone());
                        if mute {
                            continue;
                        }
                        let accepts = control.accepts.lock().unwrap().clone();
                        let id = &message["id"];
                        let channel = &message["channel"];
                        let answer = match (message["type"].as_str().unwrap(), accepts) {
                            ("subscribe", Accepts::Refuse(code, temporary)) => Some(
                                json!({"type":"error","error":"No","code":code,"temporary":temporary,"id":id}),
                            ),
                            ("subscribe", _) if channel == "log" => {
                                let since = &message["since"]["offset"];
                                let from = since.as_u64().unwrap_or(5);
                                Some(
                                    json!({"type":"subscribed","channel":channel,"id":id,"offset":from,"epoch":"e","recovered":from >= 6}),
                                )
                            }
                            ("subscribe", _) => {
                                Some(json!({"type":"subscribed","channel":channel,"id":id}))
                            }
                            // The first of each key is swallowed with its connection.
                            ("publish", _) if message["idempotencyKey"] != Value::Null => {
                                let seen = control.seen.lock().unwrap();
                                let key = &message["idempotencyKey"];
                                let same = seen.iter().filter(|one| one["idempotencyKey"] == *key);
                                if same.count() == 1 {
                                    return;
                                }
                                Some(
                                    json!({"type":"published","channel":channel,"offset":9,"epoch":"e","id":id}),
                                )
                            }
                            ("unsubscribe", _) => {
                                Some(json!({"type":"unsubscribed","channel":channel,"id":id}))
                            }
                            ("publish", _) if channel == "$x" => Some(
                                json!({"type":"error","error":"Reserved channel","code":111,"temporary":false,"id":id}),
                            ),
                            ("publish", _) => None,
                            ("ping", _) => Some(json!({"type":"pong","timestamp":1,"id":id})),
                            ("echo", _) => Some(
                                json!({"type":"echo","data":message["data"],"timestamp":1,"id":id}),
                            ),
                            _ => Some(
                                json!({"type":"error","error":"Unknown message type","code":103,"temporary":false,"id":id}),
                            ),
                        };
                        if let Some(answer) = answer {
                            peer.text(&answer.to_string()).await.unwrap();
                        }
                    }
                    Heard::Close(_) => {
                        let _ = peer.close(1000, "").await;
                        return;
                    }
                    Heard::End => return,
                    _ => {}
                }
            }
        }
    });
    (control, server)
}

fn session(server: Arc<Memory>) -> Session {
    start(server, |_| {})
}

fn start(server: Arc<Memory>, change: impl FnOnce(&mut SessionOptions)) -> Session {
    let mut wished = SessionOptions {
        connect: options(server),
        ..SessionOptions::default()
    };
    wished.reconnect.seed = Some(1);
    change(&mut wished);
    Session::start("ws://server/ws", wished).unwrap()
}

impl Control {
    fn order(&self, order: Order) {
        self.orders.send(order).unwrap();
    }

    fn broadcast(&self, channel: &str, number: u64) {
        let text =
            json!({"type":"broadcast","channel":channel,"message":number,"timestamp":number});
        self.order(Order::Say(text.to_string()));
    }

    fn count(&self, kind: &str) -> usize {
        let seen = self.seen.lock().unwrap();
        seen.iter()
            .filter(|message| message["type"] == kind)
            .count()
    }
}

async fn settle() {
    time::sleep(Duration::from_millis(10)).await;
}

fn number(event: Option<SubscriptionEvent>) -> u64 {
    match event {
        Some(SubscriptionEvent::Message(publication)) => publication.decode().unwrap(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn subscribe_publish_request_and_ping() {
    let (control, server) = server();
    let session = session(server);
    let mut news = session.subscribe("news").await.unwrap();
    let mut again = session.subscribe("news").await.unwrap();
    assert_eq!(control.count("subscribe"), 1, "one for the server");
    control.broadcast("news", 7);
    assert_eq!(number(news.next().await), 7);
    assert_eq!(number(again.next().await), 7);
    let published = session
        .publish("news", &json!({"a": [1, null]}))
        .await
        .unwrap();
    assert!(matches!(published, Published::Queued(_)));
    let options = PublishOptions {
        exclude_self: true,
        ..PublishOptions::default()
    };
    let _ = session.publish_with("news", "text", options).await.unwrap();
    let answer = session
        .request(
            "echo",
            &json!({"data": {"x": 1}, "id": "mine", "type": "no"}),
        )
        .await
        .unwrap();
    assert_eq!(answer.kind, "echo");
    assert_eq!(answer.decode::<Value>().unwrap()["data"], json!({"x": 1}));
    session.ping().await.unwrap();
    assert!(matches!(
        session.request("shout", &json!({})).await,
        Err(SessionError::Refused(refusal)) if refusal.code == 103 && !refusal.temporary
    ));
    assert!(matches!(
        session.request("echo", &7).await,
        Err(SessionError::Json(_))
    ));
    {
        let seen = control.seen.lock().unwrap();
        let publishes: Vec<&Value> = seen
            .iter()
            .filter(|message| message["type"] == "publish")
            .collect();
        assert_eq!(publishes[0]["message"], json!({"a": [1, null]}));
        assert_eq!(
            (&publishes[1]["message"], &publishes[1]["exclude"]),
            (&json!("text"), &json!("self"))
        );
    }
    drop(news);
    settle().await;
    assert_eq!(control.count("unsubscribe"), 0);
    drop(again);
    settle().await;
    assert_eq!(control.count("unsubscribe"), 1);
}

#[tokio::test(start_paused = true)]
async fn after_a_cut_it_subscribes_again_and_says_that_messages_may_be_missing() {
    let (control, server) = server();
    let session = session(server);
    let mut events = session.events().await;
    let mut news = session.subscribe("news").await.unwrap();
    let mut other = session.subscribe("other").await.unwrap();
    control.broadcast("news", 1);
    settle().await;
    let begin = Instant::now();
    control.order(Order::Cut);
    settle().await;
    assert_eq!(session.state(), SessionState::Connecting);
    session.connected().await.unwrap();
    settle().await;
    control.broadcast("news", 2);
    assert_eq!(number(news.next().await), 1);
    let Some(SubscriptionEvent::Gap(GapReason::Reconnected(away))) = news.next().await else {
        panic!("no gap");
    };
    assert!(away <= begin.elapsed() && away < Duration::from_secs(1));
    assert_eq!(number(news.next().await), 2);
    assert!(matches!(
        other.next().await,
        Some(SubscriptionEvent::Gap(_))
    ));
    assert_eq!(control.count("subscribe"), 4);
    assert_eq!(
        events.next().await,
        Some(SessionEvent::Connected { again: false })
    );
    assert!(matches!(
        events.next().await,
        Some(SessionEvent::Disconnected { ending, .. }) if ending.code == 1006
    ));
    assert_eq!(
        events.next().await,
        Some(SessionEvent::Connected { again: true })
    );
}

#[tokio::test(start_paused = true)]
async fn offline_publishes_wait_within_bounds_and_volatile_ones_do_not() {
    let (control, server) = server();
    *control.accepts.lock().unwrap() = Accepts::Nobody;
    let session = start(server, |options| options.offline_queue = 10);
    let options = PublishOptions {
        volatile: true,
        ..PublishOptions::default()
    };
    for number in 0..10 {
        let _ = session.publish("news", &number).await.unwrap();
        assert_eq!(
            session.publish_with("news", "now", options).await.unwrap(),
            Published::Dropped
        );
    }
    assert!(matches!(
        session.publish("news", &10).await,
        Err(SessionError::QueueFull)
    ));
    let big = "x".repeat(2 << 20);
    assert!(matches!(
        session.publish("news", &big).await,
        Err(SessionError::QueueFull)
    ));
    session.close().await;
    assert_eq!(session.ended().await, SessionEnd::Closed);

    let (control, server) = super_slow();
    let session = start(server, |_| {});
    for number in 0..100 {
        let _ = session.publish("news", &number).await.unwrap();
    }
    let waiting = session.subscribe("news");
    let mut news = waiting.await.unwrap();
    let _ = session.publish_with("news", "now", options).await.unwrap();
    settle().await;
    let seen = control.seen.lock().unwrap().clone();
    assert_eq!(
        seen[0]["type"], "subscribe",
        "before what waited, so that nothing of one's own is missed"
    );
    let numbers: Vec<u64> = seen
        .iter()
        .filter_map(|message| message["message"].as_u64())
        .collect();
    assert_eq!(numbers, (0..100).collect::<Vec<_>>());
    assert_eq!(seen.last().unwrap()["message"], "now");
    session.close().await;
    assert!(news.next().await.is_none());
    assert!(matches!(
        session.publish("news", &1).await,
        Err(SessionError::Ended)
    ));
}

/// Takes two seconds to open.
fn super_slow() -> (Control, Arc<Memory>) {
    let (control, server) = server();
    let slow = Memory::gated(
        |_| Ok(Duration::from_secs(2)),
        move |target, stream| {
            let server = server.clone();
            async move {
                use shardwire_client::Connector;
                let mut inner = server.connect(&target).await.unwrap();
                let mut stream = stream;
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut inner).await;
            }
        },
    );
    (control, slow)
}

#[tokio::test(start_paused = true)]
async fn requests_end_also_when_nobody_answers_or_the_connection_is_cut() {
    let (control, server) = server();
    let session = session(server);
    session.connected().await.unwrap();
    control.order(Order::Mute);
    settle().await;
    let begin = Instant::now();
    assert!(matches!(
        session.ping().await,
        Err(SessionError::TimedOut(_))
    ));
    assert_eq!(begin.elapsed(), Duration::from_secs(10));
    let asking = tokio::spawn({
        let session = session.clone();
        async move { session.ping().await }
    });
    settle().await;
    control.order(Order::Cut);
    assert!(matches!(asking.await.unwrap(), Err(SessionError::Lost)));
    // One that was not sent yet survives the reconnection.
    session.ping().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_is_not_read_loses_messages_and_says_how_many() {
    let (control, server) = server();
    let session = start(server, |options| options.subscription_queue = 4);
    let mut slow = session.subscribe("news").await.unwrap();
    for number in 1..=10 {
        control.broadcast("news", number);
    }
    settle().await;
    session.ping().await.unwrap();
    for expected in 1..=4 {
        assert_eq!(number(slow.next().await), expected);
    }
    assert!(matches!(
        slow.next().await,
        Some(SubscriptionEvent::Gap(GapReason::Overflowed(6)))
    ));
    control.broadcast("news", 11);
    assert_eq!(number(slow.next().await), 11);
    // And when reading begins again in the middle, the gap stands where it was.
    for number in 12..=20 {
        control.broadcast("news", number);
    }
    settle().await;
    for expected in 12..=14 {
        assert_eq!(number(slow.next().await), expected);
    }
    control.broadcast("news", 21);
    settle().await;
    assert_eq!(number(slow.next().await), 15);
    assert!(matches!(
        slow.next().await,
        Some(SubscriptionEvent::Gap(GapReason::Overflowed(5)))
    ));
    assert_eq!(number(slow.next().await), 21);
}

#[tokio::test(start_paused = true)]
async fn refusals_come_to_whom_they_concern() {
    let (control, server) = server();
    let session = session(server);
    let mut events = session.events().await;
    let mut news = session.subscribe("news").await.unwrap();
    let Published::Queued(sent) = session.publish("$x", &1).await.unwrap() else {
        panic!("dropped");
    };
    events.next().await;
    assert!(matches!(
        events.next().await,
        Some(SessionEvent::Refused { id: Some(id), refusal }) if id == sent && refusal.code == 111
    ));
    *control.accepts.lock().unwrap() = Accepts::Refuse(109, false);
    assert!(matches!(
        session.subscribe("more").await,
        Err(SessionError::Refused(refusal)) if refusal.code == 109
    ));
    // Refused for now after a reconnection: tried again until it is granted.
    *control.accepts.lock().unwrap() = Accepts::Refuse(110, true);
    control.order(Order::Cut);
    time::sleep(Duration::from_secs(5)).await;
    *control.accepts.lock().unwrap() = Accepts::All;
    assert!(matches!(news.next().await, Some(SubscriptionEvent::Gap(_))));
    assert!(
        (4..=8).contains(&control.count("subscribe")),
        "{}",
        control.count("subscribe")
    );
    // For good: the subscription ends.
    *control.accepts.lock().unwrap() = Accepts::Refuse(107, false);
    control.order(Order::Cut);
    assert!(
        matches!(news.next().await, Some(SubscriptionEvent::Refused(refusal)) if refusal.code == 107)
    );
    assert!(news.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn close_codes_decide_whether_and_when_it_comes_back() {
    for (code, least, most) in [
        (4200, 0, 0),
        (1001, 0, 1000),
        (4100, 10_000, 11_000),
        (4000, 0, 1000),
    ] {
        let (control, server) = server();
        let session = session(server);
        session.connected().await.unwrap();
        let mut events = session.events().await;
        control.order(Order::Close(code));
        let Some(SessionEvent::Disconnected { retry_in, ending }) = events.next().await else {
            panic!("{code}");
        };
        assert_eq!(ending.code, code);
        assert!(
            (least..=most).contains(&retry_in.as_millis()),
            "{code}: {retry_in:?}"
        );
        session.connected().await.unwrap();
    }
    for (code, why) in [
        (4500, GaveUp::Refused),
        (1008, GaveUp::Refused),
        (4001, GaveUp::NewToken),
    ] {
        let (control, server) = server();
        let session = session(server);
        session.connected().await.unwrap();
        control.order(Order::Close(code));
        assert!(matches!(session.ended().await, SessionEnd::GaveUp(gave_up, _) if gave_up == why));
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_nobody_holds_closes() {
    let (control, server) = server();
    let session = session(server);
    let mut news = session.subscribe("news").await.unwrap();
    let _ = session.publish("news", "last").await.unwrap();
    drop(session);
    assert!(news.next().await.is_none());
    assert_eq!(control.count("publish"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_channel_with_history_is_resumed_where_it_was() {
    let (control, server) = server();
    let session = session(server);
    let mut log = session.subscribe("log").await.unwrap();
    let broadcast = |offset: u64| {
        let text = json!({"type":"broadcast","channel":"log","message":offset,"timestamp":1,"offset":offset,"epoch":"e"});
        control.order(Order::Say(text.to_string()));
    };
    broadcast(6);
    assert_eq!(number(log.next().await), 6);
    control.order(Order::Cut);
    settle().await;
    session.connected().await.unwrap();
    settle().await;
    let resumed = control.seen.lock().unwrap().last().unwrap().clone();
    assert_eq!(resumed["since"], json!({"offset": 6, "epoch": "e"}));
    // What was missed comes, and nobody speaks of a gap.
    broadcast(7);
    let Some(SubscriptionEvent::Message(seventh)) = log.next().await else {
        panic!("no message");
    };
    assert_eq!(seventh.offset, Some(7));
    // Where the server leaves something out it says so, and the place is behind it.
    let gap = json!({"type":"gap","channel":"log","from":8,"to":11,"epoch":"e","reason":"evicted"});
    control.order(Order::Say(gap.to_string()));
    assert!(matches!(
        log.next().await,
        Some(SubscriptionEvent::Gap(GapReason::LeftOut(4)))
    ));
    control.order(Order::Cut);
    settle().await;
    session.connected().await.unwrap();
    settle().await;
    let resumed = control.seen.lock().unwrap().last().unwrap().clone();
    assert_eq!(resumed["since"]["offset"], 11);
}

#[tokio::test(start_paused = true)]
async fn a_channel_whose_history_does_not_reach_back_has_a_gap() {
    let (control, server) = server();
    let session = session(server);
    let mut log = session.subscribe("log").await.unwrap();
    // Nothing came: it resumes at 5, where it began, and is told that 5 is unknown.
    control.order(Order::Cut);
    settle().await;
    session.connected().await.unwrap();
    assert!(matches!(
        log.next().await,
        Some(SubscriptionEvent::Gap(GapReason::Reconnected(_)))
    ));
}

#[tokio::test(start_paused = true)]
async fn an_acknowledged_publish_is_sent_again_after_a_cut_with_the_same_key() {
    let (control, server) = server();
    let session = session(server);
    let publish = |key: &'static str| {
        let session = session.clone();
        async move {
            let options = PublishOptions::default();
            session
                .publish_acknowledged("log", "x", Some(key), options)
                .await
        }
    };
    let (one, other) = tokio::join!(publish("a"), publish("b"));
    assert_eq!((one.unwrap().offset, &*other.unwrap().epoch), (9, "e"));
    let seen = control.seen.lock().unwrap().clone();
    let keys: Vec<&str> = seen
        .iter()
        .filter_map(|message| message["idempotencyKey"].as_str())
        .collect();
    // In their order, each time.
    assert_eq!(keys.first(), Some(&"a"));
    assert!(
        keys.iter().filter(|key| **key == "a").count() == 2,
        "{keys:?}"
    );
    assert!(
        keys.iter().filter(|key| **key == "b").count() == 2,
        "{keys:?}"
    );
    // A random key where none is given.
    let options = PublishOptions::default();
    session
        .publish_acknowledged("log", "x", None, options)
        .await
        .unwrap();
    let seen = control.seen.lock().unwrap();
    assert_eq!(
        seen.last().unwrap()["idempotencyKey"]
            .as_str()
            .unwrap()
            .len(),
        32
    );
}
