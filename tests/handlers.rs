//! The application's seam over real sockets: routes, middleware, hooks, and what becomes of handlers that err, panic, await or
//! never return (contract M26, M27, M29, M30; decision D21).
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use serde_json::json;
use shardwire::config::PlacementRule;
use shardwire::{CloseCause, Context, Engine, EngineBuilder, HandlerError, Json, Message, Next};
use support::{TestEngine, config, eventually};

#[derive(serde::Deserialize)]
struct Chat {
    message: String,
}

fn start(build: impl FnOnce(EngineBuilder) -> EngineBuilder) -> TestEngine {
    let mut config = config(2, PlacementRule::Accept);
    config.handlers.timeout = "2s".parse().unwrap();
    TestEngine(build(Engine::builder(config)).start().unwrap())
}

/// Wakes a handler from a thread that is none of the engine's, after a while: what an async library does.
async fn elsewhere(delay: Duration) -> usize {
    let (sender, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        std::thread::sleep(delay);
        let _ = sender.send(7);
    });
    receiver.await.unwrap()
}

#[test]
fn contract_w2_w9_a_typed_route_publishes_and_answers() {
    let engine = start(|builder| {
        builder.route(
            "chat:message",
            async |context: Context, chat: Json<Chat>| {
                context.subscribe("room:1");
                let user = context.user().unwrap_or("nobody").to_owned();
                let out = json!({"type": "chat:message", "user": user, "message": chat.message});
                context
                    .publish("room:1", &out)
                    .map_err(HandlerError::failed)?;
                context
                    .send(&json!({"type": "sent"}))
                    .map_err(HandlerError::failed)
            },
        )
    });
    let mut ann = engine.client("/ws?user=ann");
    ann.send(&json!({"type": "chat:message", "message": "hello"}));
    let mut got: Vec<_> = (0..3)
        .map(|_| ann.receive()["type"].as_str().unwrap().to_owned())
        .collect();
    got.sort();
    assert_eq!(got, ["broadcast", "sent", "subscribed"]);
    // A message that has not the shape never reaches the handler; what has no handler is still built in or unknown.
    assert_eq!(
        ann.ask(&json!({"type": "chat:message", "message": 1}))["error"],
        "Invalid message"
    );
    assert_eq!(ann.ask(&json!({"type": "ping"}))["type"], "pong");
    assert_eq!(
        ann.ask(&json!({"type": "else"}))["error"],
        "Unknown message type"
    );
}

#[test]
fn a_connections_messages_keep_their_order_while_a_handler_awaits_and_nobody_else_waits() {
    let engine = start(|builder| {
        builder.route("slow", async |context: Context, message: Message| {
            elsewhere(Duration::from_millis(300)).await;
            context
                .send(&json!({"did": message.text().len()}))
                .map_err(HandlerError::failed)
        })
    });
    let (mut slow, mut other) = (engine.client("/ws"), engine.client("/ws"));
    slow.send(&json!({"type": "slow"}));
    slow.send(&json!({"type": "ping", "id": 1}));
    slow.send(&json!({"type": "slow", "longer": true}));
    slow.send(&json!({"type": "ping", "id": 2}));
    let begin = Instant::now();
    for _ in 0..20 {
        assert_eq!(other.ask(&json!({"type": "ping"}))["type"], "pong");
    }
    assert!(
        begin.elapsed() < Duration::from_millis(300),
        "others do not wait"
    );
    assert_eq!(slow.receive(), json!({"did": 15}));
    assert_eq!(slow.receive()["id"], 1);
    assert_eq!(slow.receive(), json!({"did": 29}));
    assert_eq!(slow.receive()["id"], 2);
}

#[test]
fn contract_k11_d21_errors_and_panics_are_answered_and_stay_inside_their_connection() {
    let engine = start(|builder| {
        builder
            .route("fail", async |_: Context, _: Message| {
                Err(HandlerError::failed("no luck"))
            })
            .route("panic", async |_: Context, _: Message| {
                panic!("a planted panic")
            })
            .route("late panic", async |_: Context, _: Message| {
                elsewhere(Duration::from_millis(10)).await;
                panic!("a planted panic, later")
            })
    });
    let mut other = engine.client("/ws");
    let mut client = engine.client("/ws");
    assert_eq!(
        client.ask(&json!({"type": "fail"}))["error"],
        "Invalid message format"
    );
    for kind in ["panic", "late panic"] {
        let mut client = engine.client("/ws");
        assert_eq!(
            client.ask(&json!({"type": kind}))["error"],
            "Internal error"
        );
        assert_eq!(client.read_close(), (1011, "internal error".into()));
        let _ = client.0.read();
    }
    assert_eq!(client.ask(&json!({"type": "ping"}))["type"], "pong");
    assert_eq!(other.ask(&json!({"type": "ping"}))["type"], "pong");
}

#[test]
fn a_handler_that_never_returns_is_given_up_and_its_connection_goes_on() {
    let engine = start(|builder| {
        builder.route("never", async |_: Context, _: Message| {
            std::future::pending::<()>().await;
            Ok(())
        })
    });
    let mut client = engine.client("/ws");
    let begin = Instant::now();
    client.send(&json!({"type": "never"}));
    client.send(&json!({"type": "ping"}));
    assert_eq!(client.receive()["error"], "Handler timeout");
    assert!(begin.elapsed() >= Duration::from_secs(2));
    assert_eq!(client.receive()["type"], "pong");
}

#[test]
fn contract_m26_middleware_wraps_every_message_and_may_end_it() {
    let engine = start(|builder| {
        builder
            .middleware(async |context: Context, message: Message, next: Next| {
                *context.data::<Vec<String>>() = vec!["outer".into()];
                next.run(context, message).await
            })
            .middleware(async |context: Context, message: Message, next: Next| {
                context.data::<Vec<String>>().push("inner".into());
                if message.text().contains("forbidden") {
                    return context
                        .send(&json!({"type": "refused"}))
                        .map_err(HandlerError::failed);
                }
                next.run(context, message).await
            })
            .route("seen", async |context: Context, _: Message| {
                let seen = context.data::<Vec<String>>().clone();
                context.send(&seen).map_err(HandlerError::failed)
            })
    });
    let mut client = engine.client("/ws");
    assert_eq!(
        client.ask(&json!({"type": "seen"})),
        json!(["outer", "inner"])
    );
    assert_eq!(client.ask(&json!({"type": "ping"}))["type"], "pong");
    assert_eq!(
        client.ask(&json!({"type": "forbidden"})),
        json!({"type": "refused"})
    );
    assert_eq!(
        client.ask(&json!({"type": "unheard-of"}))["error"],
        "Unknown message type"
    );
    client.subscribe("c");
}

#[test]
fn contract_m27_m29_hooks_see_a_connections_beginning_before_its_messages_and_its_end() {
    let (sender, ended) = mpsc::channel();
    let connected = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connected);
    let engine = start(move |builder| {
        builder
            .on_connect(async move |context: Context| {
                elsewhere(Duration::from_millis(50)).await;
                count.fetch_add(1, Ordering::SeqCst);
                *context.data::<String>() = format!("hello {}", context.user().unwrap_or("?"));
                Ok(())
            })
            .route("greet", async |context: Context, _: Message| {
                let greeting = context.data::<String>().clone();
                context.send(&greeting).map_err(HandlerError::failed)
            })
            .on_close(async move |context: Context, cause: CloseCause| {
                elsewhere(Duration::from_millis(5)).await;
                let _ = sender.send((
                    context.user().map(str::to_owned),
                    context.data::<String>().clone(),
                    cause,
                ));
            })
    });
    let mut ann = engine.client("/ws?user=ann");
    assert_eq!(ann.ask(&json!({"type": "greet"})), json!("hello ann"));
    assert_eq!(connected.load(Ordering::SeqCst), 1);
    ann.0.close(None).unwrap();
    let end = ended.recv_timeout(support::PATIENCE).unwrap();
    assert_eq!(
        end,
        (
            Some("ann".into()),
            "hello ann".into(),
            CloseCause::Peer(1005)
        )
    );

    // Cut in the middle of a call: the handler is dropped, the end is seen all the same.
    drop(engine.client("/ws?user=bob"));
    let end = ended.recv_timeout(support::PATIENCE).unwrap();
    assert_eq!((end.0, end.2), (Some("bob".into()), CloseCause::Lost));
    eventually("nobody is left", || engine.0.active_connections() == 0);
}

#[test]
fn a_flood_of_calls_answers_every_one_in_order() {
    let engine = start(|builder| {
        builder.route("n", async |context: Context, message: Message| {
            let message: serde_json::Value = message.parse()?;
            context.send(&message["n"]).map_err(HandlerError::failed)
        })
    });
    let mut client = engine.client("/ws");
    for n in 0..3000 {
        client
            .0
            .write(tungstenite::Message::text(
                json!({"type": "n", "n": n}).to_string(),
            ))
            .unwrap();
    }
    client.0.flush().unwrap();
    for n in 0..3000 {
        assert_eq!(client.receive(), json!(n));
    }
}
