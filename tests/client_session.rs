//! The Rust client's session against the engine: what it resumes, the history gives it, once and in order.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use shardwire::config::{ChannelsRule, PlacementRule};
use shardwire_client::{
    PublishOptions, ReconnectOptions, Session, SessionError, SessionOptions, Subscription,
    SubscriptionEvent,
};
use support::{PATIENCE, TestEngine, config};

const MESSAGES: u64 = 300;
/// Every so many messages, all connections are closed.
const BETWEEN_CUTS: u64 = 20;

fn engine() -> TestEngine {
    let mut config = config(2, PlacementRule::Accept);
    config.channels.rules = vec![ChannelsRule {
        channel: "room:*".to_owned(),
        max_messages: Some(1_000),
        max_age: None,
        max_bytes: None,
        persistence: None,
        slow: None,
    }];
    TestEngine::start(config)
}

fn session(engine: &TestEngine) -> Session {
    let options = SessionOptions {
        reconnect: ReconnectOptions {
            first_delay: Duration::from_millis(5),
            ceiling: Duration::from_millis(20),
            ..ReconnectOptions::default()
        },
        subscription_queue: 2 * MESSAGES as usize,
        ..SessionOptions::default()
    };
    Session::start(&format!("ws://{}/ws", engine.0.local_address()), options).unwrap()
}

async fn next(subscription: &mut Subscription) -> SubscriptionEvent {
    let event = tokio::time::timeout(PATIENCE, subscription.next()).await;
    event.expect("it comes in time").expect("the session lives")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_are_cut_again_and_again_miss_nothing_and_see_nothing_twice() {
    let engine = engine();
    let (reader, writer) = (session(&engine), session(&engine));
    let mut subscription = reader.subscribe("room:1").await.unwrap();
    let mut last = 0;
    for number in 0..MESSAGES {
        if number % BETWEEN_CUTS == BETWEEN_CUTS / 2 {
            engine.0.close(4000, "cut");
        }
        let published = writer
            .publish_acknowledged("room:1", &number, None, PublishOptions::default())
            .await
            .unwrap();
        assert_eq!(
            published.offset,
            last + 1,
            "published once, whatever was cut"
        );
        last = published.offset;
    }
    for number in 0..MESSAGES {
        match next(&mut subscription).await {
            SubscriptionEvent::Message(message) => {
                assert_eq!(message.decode::<u64>().unwrap(), number);
                assert_eq!(message.offset, Some(number + 1));
            }
            other => panic!("instead of message {number}: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_history_an_acknowledgement_is_refused_with_the_code_in_the_docs() {
    let engine = engine();
    let session = session(&engine);
    let refused = session
        .publish_acknowledged("elsewhere", "text", None, PublishOptions::default())
        .await;
    assert!(
        matches!(&refused, Err(SessionError::Refused(refusal)) if refusal.code == 117),
        "{refused:?}"
    );
}
