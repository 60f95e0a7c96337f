//! How a session closes: what it still brings to the server, how long it tries, and what it says of the rest. Goal: nothing that was given to a
//! session is lost without a word.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use shardwire_client::text::Operation;
use shardwire_client::{
    PublishOptions, Published, Session, SessionDocument, SessionError, SessionOptions, Unconfirmed,
    UnconfirmedDocument,
};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{Heard, Memory, Peer, options, refused};
use tokio::time::{self, Instant};

/// What the server does.
#[derive(Clone, Copy)]
struct Manner {
    /// How long its answers to edits, publishes and requests take; `None`: there are none.
    answers: Option<Duration>,
    /// How long it cannot be reached.
    opens: Duration,
    /// Whether it reads what comes after the first message.
    reads: bool,
    /// Whether it lets anybody into documents a second time.
    joins_again: bool,
}

const AT_ONCE: Manner = Manner {
    answers: Some(Duration::ZERO),
    opens: Duration::ZERO,
    reads: true,
    joins_again: true,
};
const MUTE: Manner = Manner {
    answers: None,
    ..AT_ONCE
};

/// What it has heard, over all connections.
type Seen = Arc<Mutex<Vec<Value>>>;

fn server(manner: Manner) -> (Seen, Arc<Memory>) {
    let (seen, begin) = (Seen::default(), Instant::now());
    let inside = seen.clone();
    let gate = move |_: &_| match begin.elapsed() < manner.opens {
        true => Err(refused()),
        false => Ok(Duration::ZERO),
    };
    let server = Memory::gated(gate, move |_, stream| {
        let seen = inside.clone();
        async move {
            let mut peer = Peer::accept(stream).await;
            let mut versions = BTreeMap::<String, u64>::new();
            loop {
                let text = match peer.hear().await {
                    Heard::Text(text) => text,
                    Heard::Close(_) => return peer.close(1000, "").await.unwrap(),
                    _ => return,
                };
                let message: Value = serde_json::from_str(&text).unwrap();
                let is_first_join = |seen: &Vec<Value>| {
                    let joins = seen.iter().filter(|one| one["type"] == "join-document");
                    joins.count() == 1
                };
                let first = {
                    let mut seen = seen.lock().unwrap();
                    seen.push(message.clone());
                    is_first_join(&seen)
                };
                let (id, document) = (&message["id"], &message["documentId"]);
                let answer = match message["type"].as_str().unwrap() {
                    "join-document" if first || manner.joins_again => {
                        let state = json!({"type": "document-state", "id": id, "documentId": document, "version": 0,
                            "epoch": if first { "00000000000000ff" } else { "00000000000000fe" }, "readOnly": false, "content": "", "sequence": null, "users": [], "cursors": {}});
                        peer.text(&state.to_string()).await.unwrap();
                        continue;
                    }
                    "join-document" => {
                        let error = json!({"type": "error", "id": id, "code": 115, "error": "Not permitted", "temporary": false});
                        peer.text(&error.to_string()).await.unwrap();
                        continue;
                    }
                    "edit" if message["operation"] == json!(["cut"]) => return,
                    "edit" => {
                        let version = versions.entry(document.to_string()).or_default();
                        *version += 1;
                        json!({"type": "edit-ack", "id": id, "documentId": document, "version": version, "sequence": message["sequence"]})
                    }
                    "publish" if message["idempotencyKey"] == Value::Null => continue,
                    "publish" => {
                        json!({"type": "published", "channel": "log", "offset": 9, "epoch": "e", "id": id})
                    }
                    "ping" => json!({"type": "pong", "timestamp": 1, "id": id}),
                    _ => continue,
                };
                if let Some(delay) = manner.answers {
                    time::sleep(delay).await;
                    peer.text(&answer.to_string()).await.unwrap();
                }
                if !manner.reads {
                    std::future::pending().await
                }
            }
        }
    });
    (seen, server)
}

fn start(server: Arc<Memory>) -> Session {
    let mut wished = SessionOptions {
        connect: options(server),
        ..SessionOptions::default()
    };
    wished.reconnect.seed = Some(1);
    Session::start("ws://server/ws", wished).unwrap()
}

fn count(seen: &Seen, kind: &str) -> usize {
    let seen = seen.lock().unwrap();
    seen.iter().filter(|one| one["type"] == kind).count()
}

fn typed(text: &str) -> Operation {
    Operation::replacement(0, 0, text).unwrap()
}

/// A session at such a server, in whose document `plan` the user has just typed.
async fn typing(manner: Manner, text: &str) -> (Seen, Session, SessionDocument) {
    let (seen, server) = server(manner);
    let session = start(server);
    let mut plan = session.document("plan").await.unwrap();
    plan.edit(&typed(text)).unwrap();
    (seen, session, plan)
}

/// What `closing` says, and how many seconds it took.
async fn timed(closing: impl Future<Output = Unconfirmed>) -> (Unconfirmed, u64) {
    let begin = Instant::now();
    let unconfirmed = closing.await;
    (unconfirmed, begin.elapsed().as_secs())
}

#[tokio::test(start_paused = true)]
async fn closing_waits_for_edits_that_the_server_has_not_confirmed() {
    let manner = Manner {
        answers: Some(Duration::from_secs(1)),
        ..AT_ONCE
    };
    let (seen, session, mut plan) = typing(manner, "one ").await;
    time::sleep(Duration::from_millis(10)).await;
    // Behind the one under way: it is sent when that is confirmed.
    plan.edit(&typed("two ")).unwrap();
    let (unconfirmed, seconds) = timed(session.close()).await;
    assert_eq!((unconfirmed, seconds), (Unconfirmed::default(), 1));
    assert_eq!(count(&seen, "edit"), 2);
    assert!(plan.is_settled());
}

#[tokio::test(start_paused = true)]
async fn what_is_not_confirmed_in_time_is_named() {
    let (seen, session, mut plan) = typing(MUTE, "one ").await;
    let other = session.document("other").await.unwrap();
    time::sleep(Duration::from_millis(10)).await;
    plan.edit(&typed("two ")).unwrap();
    let asking = {
        let session = session.clone();
        async move {
            let options = PublishOptions::default();
            session
                .publish_acknowledged("log", "x", Some("key"), options)
                .await
        }
    };
    let asking = tokio::spawn(asking);
    time::sleep(Duration::from_millis(10)).await;
    let (unconfirmed, seconds) = timed(session.close()).await;
    assert_eq!(seconds, 5);
    let document = UnconfirmedDocument {
        id: "plan".into(),
        edits: vec![typed("one "), typed("two ")],
        in_doubt: Vec::new(),
    };
    assert_eq!(unconfirmed.documents, [document]);
    assert_eq!(unconfirmed.requests, 1);
    assert!(unconfirmed.publishes.is_empty() && !unconfirmed.publishes_in_doubt);
    assert!(!unconfirmed.is_empty());
    // It was sent, so it may have been carried out.
    let asked = asking.await.unwrap();
    assert!(matches!(asked, Err(SessionError::Lost)), "{asked:?}");
    assert_eq!(count(&seen, "edit"), 1);
    assert!(!plan.is_settled() && other.is_settled());
    // Whoever asks later is told the same.
    assert_eq!(session.close().await, unconfirmed);
}

#[tokio::test(start_paused = true)]
async fn closing_waits_for_answers_that_somebody_waits_for() {
    let manner = Manner {
        answers: Some(Duration::from_secs(2)),
        ..AT_ONCE
    };
    let (_, server) = server(manner);
    let session = start(server);
    session.connected().await.unwrap();
    let options = PublishOptions::default();
    let publishing = session.publish_acknowledged("log", "x", None, options);
    let (published, closed) = tokio::join!(publishing, session.close());
    assert_eq!(published.unwrap().offset, 9);
    assert!(closed.is_empty());
    assert!(matches!(session.ping().await, Err(SessionError::Ended)));
}

#[tokio::test(start_paused = true)]
async fn offline_it_waits_for_a_connection_and_names_what_was_never_sent() {
    let manner = Manner {
        opens: Duration::from_secs(2),
        ..AT_ONCE
    };
    let (seen, server) = server(manner);
    let session = start(server);
    let _ = session.publish("news", "late").await.unwrap();
    assert_eq!(session.close().await, Unconfirmed::default());
    assert_eq!(count(&seen, "publish"), 1);

    let manner = Manner {
        opens: Duration::from_secs(3600),
        ..AT_ONCE
    };
    let (seen, server) = self::server(manner);
    let session = start(server.clone());
    // Nothing to bring: nothing to wait for.
    assert_eq!(timed(session.close()).await, (Unconfirmed::default(), 0));
    let session = start(server);
    let Published::Queued(id) = session.publish("news", "never").await.unwrap() else {
        panic!("it waits");
    };
    let asking = {
        let session = session.clone();
        tokio::spawn(async move { session.ping().await })
    };
    time::sleep(Duration::from_millis(10)).await;
    let (unconfirmed, seconds) = timed(session.close()).await;
    assert_eq!(seconds, 5);
    assert_eq!(unconfirmed.publishes, [id]);
    assert_eq!((unconfirmed.requests, unconfirmed.documents.len()), (1, 0));
    // It was never sent.
    let asked = asking.await.unwrap();
    assert!(matches!(asked, Err(SessionError::Ended)), "{asked:?}");
    assert!(seen.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_cannot_wait_closes_now() {
    let (_, session, _plan) = typing(MUTE, "one ").await;
    let waiting = {
        let session = session.clone();
        tokio::spawn(async move { timed(session.close()).await })
    };
    time::sleep(Duration::from_millis(10)).await;
    let (unconfirmed, seconds) = timed(session.close_now()).await;
    assert_eq!(seconds, 0);
    assert_eq!(unconfirmed.documents[0].edits, [typed("one ")]);
    assert_eq!(waiting.await.unwrap(), (unconfirmed, 0));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_read_does_not_hold_the_close_up() {
    let manner = Manner {
        reads: false,
        ..MUTE
    };
    let (_, server) = server(manner);
    let session = start(server);
    session.connected().await.unwrap();
    let asking = session.clone();
    tokio::spawn(async move { asking.ping().await });
    time::sleep(Duration::from_millis(10)).await;
    let text = "x".repeat(3 << 10);
    let mut queued = 0;
    while session.publish("news", &text).await.is_ok() {
        queued += 1;
        time::sleep(Duration::from_millis(1)).await;
    }
    assert!(queued > 256, "{queued}");
    // Until the answers are given up, then until the close handshake is.
    let (unconfirmed, seconds) = timed(session.close()).await;
    assert_eq!(seconds, 10);
    assert_eq!(unconfirmed.publishes.len(), 256);
    assert!(unconfirmed.publishes.is_sorted());
    assert!(unconfirmed.publishes_in_doubt);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_nobody_holds_brings_its_edits_to_the_server_too() {
    let manner = Manner {
        answers: Some(Duration::from_secs(1)),
        ..AT_ONCE
    };
    let (seen, session, mut plan) = typing(manner, "one ").await;
    drop(session);
    while plan.next().await.is_some() {}
    assert!(plan.is_settled());
    assert_eq!(count(&seen, "edit"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_document_that_the_server_lets_nobody_into_is_not_waited_for() {
    let manner = Manner {
        joins_again: false,
        ..AT_ONCE
    };
    let (seen, session, _plan) = typing(manner, "cut").await;
    while count(&seen, "join-document") < 2 {
        time::sleep(Duration::from_millis(10)).await;
    }
    time::sleep(Duration::from_millis(10)).await;
    let (unconfirmed, seconds) = timed(session.close()).await;
    assert_eq!(seconds, 0);
    assert_eq!(unconfirmed.documents[0].edits, [typed("cut")]);
}

#[tokio::test(start_paused = true)]
async fn an_edit_that_a_restarted_server_cannot_know_is_named_as_in_doubt() {
    let (_, session, _plan) = typing(AT_ONCE, "cut").await;
    let unconfirmed = session.close().await;
    assert_eq!(unconfirmed.documents[0].in_doubt, [typed("cut")]);
    assert!(unconfirmed.documents[0].edits.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_document_that_is_dropped_leaves_when_the_server_has_its_edits() {
    let manner = Manner {
        answers: Some(Duration::from_secs(1)),
        ..AT_ONCE
    };
    let (seen, session, mut plan) = typing(manner, "one ").await;
    time::sleep(Duration::from_millis(10)).await;
    plan.edit(&typed("two ")).unwrap();
    drop(plan);
    // Who opens it again meanwhile has the same text.
    let mut again = session.document("plan").await.unwrap();
    assert_eq!(again.text().to_string(), "two one ");
    let other = session.document("plan").await;
    assert!(matches!(other, Err(SessionError::AlreadyOpen)), "{other:?}");
    again.edit(&typed("three ")).unwrap();
    drop(again);
    assert!(session.close().await.is_empty());
    let seen = seen.lock().unwrap();
    let kinds: Vec<&str> = seen
        .iter()
        .map(|one| one["type"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["join-document", "edit", "edit", "leave-document"]);
    assert_eq!(seen[2]["operation"], json!(["three two "]));
}

#[tokio::test(start_paused = true)]
async fn edits_of_a_dropped_document_are_named_when_the_server_does_not_confirm_them() {
    let (_, session, plan) = typing(MUTE, "one ").await;
    drop(plan);
    let unconfirmed = session.close().await;
    assert_eq!(unconfirmed.documents[0].edits, [typed("one ")]);
}
