//! Tokens: asked for before every connection, replaced when the server refuses them, renewed before they expire.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use shardwire_client::{
    Backend, BreakerState, ConnectOptions, GaveUp, Hello, PoolOptions, Session, SessionEnd,
    SessionEvent, SessionOptions, TokenError, TokenSource, TokenUse, WebSocketPool,
};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{Heard, Memory, Peer, options};
use tokio::time;

/// Tokens `t1`, `t2` and so on, and why each was asked for.
#[derive(Clone, Default)]
struct Asked(Arc<Mutex<Vec<TokenUse>>>);

impl Asked {
    fn source(&self) -> TokenSource {
        let asked = self.clone();
        TokenSource::new(move |why| {
            let number = {
                let mut asked = asked.0.lock().unwrap();
                asked.push(why);
                asked.len()
            };
            async move {
                time::sleep(Duration::from_millis(5)).await;
                Ok(format!("t{number}"))
            }
        })
    }

    fn uses(&self) -> Vec<TokenUse> {
        self.0.lock().unwrap().clone()
    }
}

fn session(server: Arc<Memory>, source: TokenSource) -> Session {
    let mut wished = SessionOptions {
        connect: ConnectOptions {
            token: Some(source),
            ..options(server)
        },
        ..SessionOptions::default()
    };
    wished.reconnect.seed = Some(1);
    Session::start("ws://server/ws?user=x", wished).unwrap()
}

/// What the server does with each connection, one after the other; the last one again and again.
#[derive(Clone, Copy)]
enum Step {
    Refuse(&'static str),
    /// Accepts, and closes with this code.
    Close(u16),
    /// The same, after 20 seconds: long enough to have proved good.
    CloseLater(u16),
    Keep,
}

const UNAUTHORIZED: &str = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer\r\n\r\n";

/// Also the heads of the requests that it accepted.
fn server(steps: &'static [Step]) -> (Arc<Memory>, Arc<Mutex<Vec<String>>>) {
    let (number, requests) = (Mutex::new(0), Arc::new(Mutex::new(Vec::new())));
    let kept = requests.clone();
    let server = Memory::serve(move |_, stream| {
        let step = {
            let mut number = number.lock().unwrap();
            *number += 1;
            steps[(*number - 1).min(steps.len() - 1)]
        };
        let requests = kept.clone();
        async move {
            match step {
                Step::Refuse(answer) => Peer::refuse(stream, answer).await,
                Step::Close(code) | Step::CloseLater(code) => {
                    let mut peer = Peer::accept(stream).await;
                    requests.lock().unwrap().push(peer.request.clone());
                    if matches!(step, Step::CloseLater(_)) {
                        time::sleep(Duration::from_secs(20)).await;
                    }
                    let _ = peer.close(code, "").await;
                    peer.hear().await;
                }
                Step::Keep => {
                    let peer = Peer::accept(stream).await;
                    requests.lock().unwrap().push(peer.request.clone());
                    peer.echo().await;
                }
            }
        }
    });
    (server, requests)
}

#[tokio::test(start_paused = true)]
async fn it_is_asked_for_before_every_connect_and_replaced_when_refused() {
    let (server, requests) = server(&[
        Step::Close(1012),
        Step::Refuse(UNAUTHORIZED),
        Step::CloseLater(4001),
        Step::Refuse("HTTP/1.1 503 Busy\r\n\r\n"),
        Step::Keep,
    ]);
    let asked = Asked::default();
    let session = session(server, asked.source());
    time::sleep(Duration::from_secs(120)).await;
    session.connected().await.unwrap();
    use TokenUse::{Connect, Replace};
    // After the 4001, too; the 503 says nothing about the token.
    assert_eq!(asked.uses(), [Connect, Connect, Replace, Replace, Replace]);
    let requests = requests.lock().unwrap();
    let shown: Vec<&str> = requests
        .iter()
        .filter_map(|head| {
            head.lines()
                .find(|line| line.starts_with("Authorization: "))
        })
        .collect();
    assert_eq!(
        shown,
        [
            "Authorization: Bearer t1",
            "Authorization: Bearer t3",
            "Authorization: Bearer t5"
        ]
    );
    assert!(requests[0].starts_with("GET /ws?user=x&hello=1 HTTP/1.1"));
}

#[tokio::test(start_paused = true)]
async fn when_the_server_refuses_two_in_a_row_there_is_no_third() {
    let (server, _) = server(&[Step::Refuse(UNAUTHORIZED)]);
    let asked = Asked::default();
    let session = session(server, asked.source());
    assert!(matches!(
        session.ended().await,
        SessionEnd::GaveUp(GaveUp::NewToken, _)
    ));
    assert_eq!(asked.uses(), [TokenUse::Connect, TokenUse::Replace]);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_cannot_now_is_asked_again_and_one_that_never_can_ends_it() {
    let (server, requests) = server(&[Step::Keep]);
    let count = Arc::new(Mutex::new(0));
    let counted = count.clone();
    let source = TokenSource::new(move |_| {
        *counted.lock().unwrap() += 1;
        let number = *counted.lock().unwrap();
        async move {
            match number {
                1..=3 => Err(TokenError::Later("the issuer restarts".into())),
                // Hangs: given up after connect_timeout.
                4 => std::future::pending().await,
                _ => Err(TokenError::Never("logged out".into())),
            }
        }
    });
    let session = session(server, source);
    let SessionEnd::GaveUp(GaveUp::NewToken, why) = session.ended().await else {
        panic!("{:?}", session.state());
    };
    assert!(why.contains("logged out"), "{why}");
    assert_eq!(*count.lock().unwrap(), 5);
    assert!(requests.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_pool_without_a_token_does_not_blame_its_backends() {
    let (server, _) = server(&[Step::Keep]);
    let source = TokenSource::new(|_| async { Err(TokenError::Later("away".into())) });
    let pool = WebSocketPool::new(PoolOptions {
        backends: vec![Backend::new("a", "ws://a/")],
        connect: ConnectOptions {
            token: Some(source),
            ..options(server)
        },
        ..PoolOptions::default()
    })
    .unwrap();
    let error = pool.acquire().await.unwrap_err().to_string();
    assert!(error.contains("no token now: away"), "{error}");
    assert_eq!(pool.health_status()["a"].breaker, BreakerState::Closed);
}

/// The session's end is told what to answer to each `refresh`.
async fn refreshing(mut peer: Peer, answers: Vec<Value>) -> Vec<Value> {
    let hello = json!({"type": "hello", "connection": "1:2.3", "user": "ann", "name": "Ann",
        "limits": {"maxMessageSize": 65536, "maxChannels": 128, "messagesPerSecond": 2.5},
        "heartbeat": {"interval": 30000, "timeout": 10000}, "serverTime": 5, "expires": 9});
    peer.text(&hello.to_string()).await.unwrap();
    peer.text(r#"{"type":"token-expiring","expires":9}"#)
        .await
        .unwrap();
    let mut heard = Vec::new();
    for mut answer in answers {
        let Heard::Text(text) = peer.hear().await else {
            panic!("no refresh")
        };
        let refresh: Value = serde_json::from_str(&text).unwrap();
        answer["id"] = refresh["id"].clone();
        heard.push(refresh);
        peer.text(&answer.to_string()).await.unwrap();
    }
    // Nothing more is asked.
    let more = time::timeout(Duration::from_secs(3600), async {
        while let Heard::Ping(payload) = peer.hear().await {
            peer.say(shardwire_protocol::websocket::frame::Kind::Pong, &payload)
                .await
                .unwrap();
        }
    });
    assert!(more.await.is_err());
    heard
}

#[tokio::test(start_paused = true)]
async fn a_session_says_hello_and_renews_its_token_before_it_expires() {
    let (done, refreshes) = tokio::sync::oneshot::channel();
    let done = Mutex::new(Some(done));
    let server = Memory::serve(move |_, stream| {
        let done = done.lock().unwrap().take().unwrap();
        async move {
            let peer = Peer::accept(stream).await;
            let answers = vec![
                json!({"type":"error","error":"Overloaded","code":110,"temporary":true}),
                json!({"type":"refreshed","expires":99}),
            ];
            done.send(refreshing(peer, answers).await).unwrap();
        }
    });
    let asked = Asked::default();
    let session = session(server, asked.source());
    let mut events = session.events().await;
    session.connected().await.unwrap();
    let hello = loop {
        if let SessionEvent::Hello(hello) = events.next().await.unwrap() {
            break hello;
        }
    };
    let Hello { user, expires, .. } = &hello;
    assert_eq!((user.as_deref(), *expires), (Some("ann"), Some(9)));
    assert_eq!(hello.heartbeat_interval, Duration::from_secs(30));
    assert_eq!(session.hello(), Some(hello));
    assert!(matches!(
        events.next().await,
        Some(SessionEvent::Refused { refusal, .. }) if refusal.code == 110
    ));
    let refreshes = refreshes.await.unwrap();
    let tokens: Vec<_> = refreshes.iter().map(|one| one["token"].clone()).collect();
    assert_eq!(tokens, ["t2", "t3"]);
    use TokenUse::{Connect, Refresh};
    assert_eq!(asked.uses(), [Connect, Refresh, Refresh]);
}
