//! The application's seam over real sockets: routes, middleware, hooks, and what becomes of handlers that err, panic, await or
//! never return (contract M26, M27, M29, M30; decision D21).
#![allow(clippy::unwrap_used)]

mod support;

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use serde_json::json;
use shardwire::config::PlacementRule;
use shardwire::{
    Access, Action, Audience, CloseCause, Context, Engine, EngineBuilder, Failure, FailureCause,
    HandlerError, Json, Message, Next, TagError,
};
use shardwire_protocol::websocket::frame::{self, Kind};
use socket2::SockRef;
use support::{TestEngine, config, eventually};
use tungstenite::protocol::{CloseFrame, frame::coding::CloseCode};

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
                    context.close_reason().to_owned(),
                ));
            })
    });
    let mut ann = engine.client("/ws?user=ann");
    assert_eq!(ann.ask(&json!({"type": "greet"})), json!("hello ann"));
    assert_eq!(connected.load(Ordering::SeqCst), 1);
    let frame = CloseFrame {
        code: CloseCode::Library(3000),
        reason: "lunch".into(),
    };
    ann.0.close(Some(frame)).unwrap();
    let end = ended.recv_timeout(support::PATIENCE).unwrap();
    assert_eq!(
        end,
        (
            Some("ann".into()),
            "hello ann".into(),
            CloseCause::Peer(3000),
            "lunch".into(),
        )
    );
    // Many go without a word.
    let mut cleo = engine.client("/ws?user=cleo");
    cleo.0.close(None).unwrap();
    let end = ended.recv_timeout(support::PATIENCE).unwrap();
    assert_eq!((end.2, &*end.3), (CloseCause::Peer(1005), ""));

    // Cut in the middle of a call: the handler is dropped, the end is seen all the same.
    drop(engine.client("/ws?user=bob"));
    let end = ended.recv_timeout(support::PATIENCE).unwrap();
    assert_eq!((end.0, end.2), (Some("bob".into()), CloseCause::Lost));
    eventually("nobody is left", || engine.0.active_connections() == 0);
}

#[test]
fn contract_m29_k11_the_error_hook_hears_of_every_failure_and_can_tell_others() {
    let (sender, failures) = mpsc::channel();
    let engine = start(move |builder| {
        builder
            .route("fail", async |_: Context, _: Message| {
                Err(HandlerError::failed("no luck"))
            })
            .route("shape", async |_: Context, _: Json<Chat>| Ok(()))
            .route("panic", async |_: Context, _: Message| {
                panic!("a planted panic")
            })
            .route("never", async |_: Context, _: Message| {
                std::future::pending().await
            })
            .route("refuse", async |_: Context, _: Message| {
                Err(HandlerError::refused("Invalid chat message"))
            })
            .on_error(async move |context: Context, failure: Failure| {
                elsewhere(Duration::from_millis(1)).await;
                let user = context.user().unwrap_or("?").to_owned();
                let told = format!("{user} {failure}");
                context.publish("failures", &told).unwrap();
                sender.send(told).unwrap();
                if matches!(failure.cause, FailureCause::TimedOut) {
                    panic!("a planted panic in the hook");
                }
            })
    });
    let mut watcher = engine.client("/ws");
    watcher.subscribe("failures");
    let mut ann = engine.client("/ws?user=ann");
    // An answer, and no failure.
    assert_eq!(
        ann.ask(&json!({"type": "refuse"}))["error"],
        "Invalid chat message"
    );
    for (kind, error, told) in [
        ("fail", "Invalid message format", "no luck"),
        ("shape", "Invalid message", "missing field"),
        ("never", "Handler timeout", "took too long"),
        ("panic", "Internal error", "a planted panic"),
    ] {
        assert_eq!(ann.ask(&json!({"type": kind}))["error"], error);
        let failure = failures.recv_timeout(support::PATIENCE).unwrap();
        assert!(
            failure.starts_with(&format!("ann {kind:?}: ")) && failure.contains(told),
            "{failure}"
        );
        assert_eq!(watcher.receive()["message"], failure);
    }
    assert_eq!(ann.read_close().0, 1011);
    assert_eq!(watcher.ask(&json!({"type": "ping"}))["type"], "pong");
}

#[test]
fn contract_m24_handlers_tag_connections_and_reach_them_on_every_shard() {
    let engine = start(|builder| {
        builder
            .on_connect(async |context: Context| {
                context.tag("everybody")?;
                let user = context.user().unwrap_or("nobody").to_owned();
                context.tag(&user).map_err(HandlerError::from)
            })
            .route("untag", async |context: Context, _: Message| {
                context.untag("everybody");
                context.send(&context.tags()).map_err(HandlerError::failed)
            })
            .route("tags", async |context: Context, _: Message| {
                assert_eq!(context.tag(""), Err(TagError::Invalid));
                assert_eq!(context.tag(&"x".repeat(129)), Err(TagError::Invalid));
                for n in 1.. {
                    if context.tag(&format!("t{n}")) == Err(TagError::TooMany) {
                        // One twice is none too many.
                        assert_eq!(context.tag("t1"), Ok(()));
                        return context.send(&n).map_err(HandlerError::failed);
                    }
                }
                Ok(())
            })
            .route("all", async |context: Context, _: Message| {
                let everybody = Audience::Tag("everybody".into());
                let (engine, greeting) = (context.engine(), json!({"type": "greeting"}));
                engine
                    .broadcast(&greeting, &everybody)
                    .map_err(HandlerError::failed)
            })
    });
    // Enough for both shards.
    let mut clients: Vec<_> = (0..8)
        .map(|n| engine.client(&format!("/ws?user=user{n}")))
        .collect();
    let mut ann = engine.client("/ws?user=ann");
    assert_eq!(ann.ask(&json!({"type": "untag"})), json!(["ann"]));
    for client in &mut clients {
        assert_eq!(client.ask(&json!({"type": "ping"}))["type"], "pong");
    }
    ann.send(&json!({"type": "all"}));
    for client in &mut clients {
        assert_eq!(client.receive(), json!({"type": "greeting"}));
    }
    // One tag has its name, so of 32 there was room for 31.
    assert_eq!(ann.ask(&json!({"type": "tags"})), json!(32));
    let direct = Audience::AnyOf(vec![
        Audience::Tag("ann".into()),
        Audience::Tag("user3".into()),
    ]);
    engine.0.broadcast(&json!({"n": 1}), &direct).unwrap();
    for client in [&mut ann, &mut clients[3]] {
        assert_eq!(client.receive(), json!({"n": 1}));
    }
    assert_eq!(ann.ask(&json!({"type": "ping"}))["type"], "pong");
}

#[test]
fn contract_d5_the_applications_check_refuses_subscribe_and_publish() {
    let engine = start(|builder| {
        builder
            .on_connect(async |context: Context| {
                elsewhere(Duration::from_millis(5)).await;
                if context.user() == Some("ann") {
                    context.tag("writer")?;
                }
                Ok(())
            })
            .authorize(|access: &Access<'_>| {
                assert_ne!(access.channel, "panic");
                match access.action {
                    Action::Subscribe => access.channel != "closed",
                    _ => access.tags.iter().any(|tag| **tag == *"writer"),
                }
            })
    });
    let (mut ann, mut bob) = (engine.client("/ws?user=ann"), engine.client("/ws?user=bob"));
    let refused = |answer: serde_json::Value| answer["code"] == 115;
    for client in [&mut ann, &mut bob] {
        client.subscribe("open");
        let subscribe = |channel: &str| json!({"type": "subscribe", "channel": channel});
        assert!(refused(client.ask(&subscribe("closed"))));
        assert!(refused(client.ask(&subscribe("panic"))));
    }
    let publish = json!({"type": "publish", "channel": "open", "message": 1});
    assert!(refused(bob.ask(&publish)));
    assert_eq!(ann.ask(&publish)["message"], 1);
    assert_eq!(bob.receive()["message"], 1);
    // The program itself may.
    engine.0.publish("open", &2).unwrap();
    assert_eq!(bob.receive()["message"], 2);
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

/// What an application sees of a connection's end.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Work(u64),
    Closed(CloseCause),
}

/// An engine that tells which work it was given, and how its connections ended. The first work waits until it is let go.
fn telling(placement: PlacementRule) -> (TestEngine, mpsc::Receiver<Told>, oneshot::Sender<()>) {
    let (tell, told) = mpsc::channel();
    let (let_go, wait) = oneshot::channel();
    let (tell_end, wait) = (tell.clone(), Arc::new(Mutex::new(Some(wait))));
    let builder = Engine::builder(config(2, placement))
        .route("work", move |_: Context, message: Message| {
            let (tell, wait) = (tell.clone(), wait.lock().unwrap().take());
            async move {
                let number: serde_json::Value = message.parse()?;
                if let Some(wait) = wait {
                    let _ = wait.await;
                }
                let _ = tell.send(Told::Work(number["id"].as_u64().unwrap()));
                Ok(())
            }
        })
        .on_close(async move |_: Context, cause: CloseCause| {
            let _ = tell_end.send(Told::Closed(cause));
        });
    (TestEngine(builder.start().unwrap()), told, let_go)
}

/// A client's frame.
fn masked(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::write_client(&mut out, kind, payload, [1, 2, 3, 4]);
    out
}

fn works() -> Vec<u8> {
    let work = |id: u64| json!({"type": "work", "id": id}).to_string();
    let works = (1..=5).map(|id| masked(Kind::Text, work(id).as_bytes()));
    works.collect::<Vec<_>>().concat()
}

fn expect(told: &mpsc::Receiver<Told>, cause: CloseCause) {
    for id in 1..=5 {
        let next = told.recv_timeout(support::PATIENCE).unwrap();
        assert_eq!(next, Told::Work(id));
    }
    let end = told.recv_timeout(support::PATIENCE).unwrap();
    assert_eq!(end, Told::Closed(cause));
}

fn say_and_end(stream: &mut TcpStream, said: &[u8]) {
    stream.write_all(said).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
}

#[test]
fn what_came_while_a_handler_ran_reaches_the_next_ones_though_the_socket_has_ended() {
    for (goodbye, cause) in [
        (masked(Kind::Close, &[0x03, 0xe8]), CloseCause::Peer(1000)),
        (Vec::new(), CloseCause::Lost),
    ] {
        let (engine, told, let_go) = telling(PlacementRule::Accept);
        let mut ann = engine.client("/ws?user=ann");
        support::lives_on(&engine, "ann");
        say_and_end(ann.0.get_mut(), &[works(), goodbye].concat());
        // For everybody else it is gone, while its first message is being handled and the others wait.
        eventually("the end is seen", || {
            engine.0.user_connections("ann").wait().is_empty()
        });
        assert_eq!(engine.0.active_connections(), 1);
        let_go.send(()).unwrap();
        expect(&told, cause);
        eventually("nobody is left", || engine.0.active_connections() == 0);
    }
}

/// So many frames that they take many turns, wherever among them the end is seen.
#[test]
fn what_waited_for_its_share_of_a_turn_reaches_its_handlers_though_the_socket_has_ended() {
    let (engine, told, let_go) = telling(PlacementRule::Accept);
    let_go.send(()).unwrap();
    let mut ann = engine.client("/ws");
    let mut said = masked(Kind::Pong, b"").repeat(100_000);
    said.extend(works());
    said.extend(masked(Kind::Close, &[0x03, 0xe8]));
    say_and_end(ann.0.get_mut(), &said);
    expect(&told, CloseCause::Peer(1000));
    eventually("nobody is left", || engine.0.active_connections() == 0);
}

/// All in one write, and then the end: also where the socket has to go to another shard first.
#[test]
fn what_came_with_the_upgrade_reaches_its_handlers_though_the_socket_has_ended() {
    for user in ["ann", "bob", "cleo", "dan", "eve", "fay"] {
        let (engine, told, let_go) = telling(PlacementRule::UserHash);
        let_go.send(()).unwrap();
        let mut stream = engine.socket();
        let request = format!(
            "GET /ws?user={user} HTTP/1.1\r\nHost: server\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        // In so many pieces that it is read from without being asked for each, and the last one together with the end.
        let (begin, end) = request.as_bytes().split_at(request.len() - 1);
        for piece in begin.chunks(16) {
            stream.write_all(piece).unwrap();
            std::thread::sleep(Duration::from_millis(2));
        }
        SockRef::from(&stream).set_tcp_cork(true).unwrap();
        say_and_end(&mut stream, &[end, &works()].concat());
        expect(&told, CloseCause::Lost);
        eventually("nobody is left", || engine.0.active_connections() == 0);
    }
}
