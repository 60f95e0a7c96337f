//! Documents in the Rust client's sessions against the engine. Goal: whatever is cut while several people edit, all end with one text, and what each
//! has typed is in it once.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use shardwire::config::{Config, PlacementRule};
use shardwire_client::collaboration::DocumentEvent;
use shardwire_client::text::Operation;
use shardwire_client::{
    DocumentUpdate, ReconnectOptions, Session, SessionDocument, SessionError, SessionOptions,
};
use support::{PATIENCE, TestEngine, config};

fn documents() -> Config {
    let mut config = config(2, PlacementRule::UserHash);
    config.collaboration.enabled = Some(true);
    config
}

fn session(engine: &TestEngine, user: &str) -> Session {
    let options = SessionOptions {
        reconnect: ReconnectOptions {
            first_delay: Duration::from_millis(5),
            ceiling: Duration::from_millis(20),
            ..ReconnectOptions::default()
        },
        ..SessionOptions::default()
    };
    let address = engine.0.local_address();
    Session::start(&format!("ws://{address}/ws?user={user}"), options).unwrap()
}

async fn next(document: &mut SessionDocument) -> DocumentUpdate {
    let update = tokio::time::timeout(PATIENCE, document.next()).await;
    update
        .expect("it comes in time")
        .expect("the session lives")
}

/// Reads until the text is this one.
async fn until(document: &mut SessionDocument, expected: &str) {
    while document.text().to_string() != expected {
        next(document).await;
    }
}

async fn settled(document: &SessionDocument) {
    let settled = tokio::time::timeout(PATIENCE, document.settled()).await;
    settled.expect("in time").unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_joins_edits_hears_and_leaves() {
    let engine = TestEngine::start(documents());
    let (ann, bob) = (session(&engine, "ann"), session(&engine, "bob"));
    let mut hers = ann.document("plan").await.unwrap();
    hers.edit(&Operation::replacement(0, 0, "hello").unwrap())
        .unwrap();
    settled(&hers).await;
    assert_eq!(
        engine.0.document("plan").unwrap().wait().unwrap().content,
        "hello"
    );
    let mut his = bob.document("plan").await.unwrap();
    assert_eq!(his.text().to_string(), "hello");
    // What he types is of the text he sees, also when hers has changed meanwhile.
    hers.edit(&Operation::replacement(0, 0, "oh, ").unwrap())
        .unwrap();
    settled(&hers).await;
    his.edit(&Operation::replacement(5, 0, "!").unwrap())
        .unwrap();
    assert_eq!(his.text().to_string(), "hello!");
    until(&mut his, "oh, hello!").await;
    until(&mut hers, "oh, hello!").await;
    settled(&his).await;
    his.move_cursor(4);
    while hers.cursors() != [("bob".to_owned(), 4)] {
        next(&mut hers).await;
    }
    assert_eq!(hers.users(), ["ann", "bob"]);
    assert!(matches!(
        ann.document("plan").await,
        Err(SessionError::AlreadyOpen)
    ));
    drop(his);
    while hers.users() != ["ann"] {
        next(&mut hers).await;
    }
    // Left, it may be opened again.
    let again = bob.document("plan").await.unwrap();
    assert_eq!(again.text().to_string(), "oh, hello!");
    assert_eq!(engine.0.forget_document("plan").unwrap().wait(), 1);
    while !matches!(next(&mut hers).await, DocumentUpdate::Event(DocumentEvent::Left(why)) if why == "forgotten")
    {
    }
    let refused = ann.document(&"x".repeat(500)).await;
    assert!(
        matches!(refused, Err(SessionError::Refused(_))),
        "{refused:?}"
    );
    // What was typed a moment ago is in the document when the session is closed.
    hers.edit(&Operation::replacement(0, 0, "last words").unwrap())
        .unwrap();
    let unconfirmed = ann.close().await;
    assert!(unconfirmed.is_empty(), "{unconfirmed:?}");
    let text = engine.0.document("plan").unwrap().wait().unwrap().content;
    assert!(text.contains("last words"), "{text:?}");
    while hers.next().await.is_some() {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn editors_that_are_cut_again_and_again_end_with_one_text_that_has_every_word_once() {
    const WORDS: usize = 120;
    let engine = TestEngine::start(documents());
    let sessions = [
        session(&engine, "ann"),
        session(&engine, "bob"),
        session(&engine, "ann"),
    ];
    let mut editors = Vec::new();
    for session in &sessions {
        editors.push(session.document("shared").await.unwrap());
    }
    let mut chance = 1_u32;
    for word in 0..WORDS {
        if word % 10 == 5 {
            engine.0.close(4000, "cut");
        }
        chance = chance.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let editor = &mut editors[word % 3];
        // Words keep together: each goes before or behind all others, as its user sees them.
        let end = if chance >> 31 == 0 {
            0
        } else {
            editor.text().length()
        };
        let typed = Operation::replacement(end, 0, &format!("<{word}😭>")).unwrap();
        editor.edit(&typed).unwrap();
        if chance.is_multiple_of(3) {
            settled(editor).await;
        }
        if chance.is_multiple_of(5)
            && let Ok(Some(update)) =
                tokio::time::timeout(Duration::from_millis(1), editor.next()).await
        {
            assert!(
                !matches!(update, DocumentUpdate::Event(DocumentEvent::InDoubt(_))),
                "the server remembers every edit"
            );
        }
    }
    for editor in &editors {
        settled(editor).await;
    }
    let text = engine.0.document("shared").unwrap().wait().unwrap().content;
    for word in 0..WORDS {
        assert_eq!(
            text.matches(&format!("<{word}😭>")).count(),
            1,
            "{word}: {text}"
        );
    }
    for editor in &mut editors {
        until(editor, &text).await;
    }
}
