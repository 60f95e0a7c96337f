//! Subscribers that stop reading, over real sockets: what each policy gives them in the end, exactly, and what operators see meanwhile.
#![allow(clippy::unwrap_used)]

mod support;

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};
use shardwire::PublishOptions;
use shardwire::config::{ByteSize, ChannelsRule, PlacementRule, Slow};
use shardwire_shards::search::{ConnectionFilter, ConnectionInfo, ConnectionOrder};
use socket2::{Domain, Socket, Type};
use support::{Client, PATIENCE, TestEngine, config, eventually};
use tungstenite::Message;

/// Many times what the kernel takes for a socket whose peer does not read.
const PUBLICATIONS: u64 = 800;
const SIZE: usize = 16 << 10;
/// Publications that may be under way to the one who reads: fewer bytes than make it slow.
const AHEAD: u64 = 2;
const SOFT: u64 = 64 << 10;
const HARD: u64 = 256 << 10;

fn engine(slow: Slow) -> TestEngine {
    let mut config = config(2, PlacementRule::Accept);
    config.connections.outbox_soft_limit = ByteSize::bytes(SOFT);
    config.connections.outbox_hard_limit = ByteSize::bytes(HARD);
    config.channels.rules = vec![ChannelsRule {
        channel: "news".to_owned(),
        max_messages: Some(PUBLICATIONS as usize),
        max_age: None,
        max_bytes: Some(ByteSize::mib(64)),
        persistence: None,
        slow: Some(slow),
    }];
    TestEngine::start(config)
}

/// A subscriber whose kernel takes little for it.
fn subscriber(engine: &TestEngine) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4 << 10).unwrap();
    socket.connect(&engine.0.local_address().into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut client = Client::over(stream, "/ws");
    let told = client.ask(&json!({"type": "subscribe", "channel": "news"}));
    assert_eq!(told["offset"], 0);
    client
}

fn lagging(engine: &TestEngine) -> Vec<ConnectionInfo> {
    let filter = ConnectionFilter {
        lagging: true,
        ..ConnectionFilter::default()
    };
    let answers = engine
        .0
        .connections(&filter, ConnectionOrder::Behind, 10)
        .wait(PATIENCE);
    answers.into_iter().flat_map(Option::unwrap).collect()
}

/// Publishes everything while one subscriber does not read and another does; what the first one hears when it reads at last, up to the
/// last publication or the end, and what operators were told of it before.
fn run(slow: Slow) -> (Vec<Value>, Option<(u16, String)>, Vec<ConnectionInfo>) {
    let engine = engine(slow);
    let (mut stopped, mut reading) = (subscriber(&engine), subscriber(&engine));
    let has_read = Arc::new(AtomicU64::new(0));
    let reads = Arc::clone(&has_read);
    let reader = std::thread::spawn(move || {
        let mut offsets = Vec::new();
        for _ in 1..=PUBLICATIONS {
            offsets.push(reading.receive()["offset"].as_u64().unwrap());
            reads.store(offsets.len() as u64, Ordering::Release);
        }
        offsets
    });
    for n in 1..=PUBLICATIONS {
        let message = json!({"n": n, "filler": "x".repeat(SIZE)});
        let place = engine
            .0
            .publish_with("news", &message, PublishOptions::default());
        assert_eq!(place.unwrap().wait().unwrap().unwrap().offset, n);
        // On a busy machine the one who reads would be slow, too.
        eventually("the other keeps up", || {
            has_read.load(Ordering::Acquire) + AHEAD >= n || reader.is_finished()
        });
    }
    let all: Vec<u64> = (1..=PUBLICATIONS).collect();
    assert_eq!(reader.join().unwrap(), all, "nobody else notices");
    let told = lagging(&engine);
    let (mut heard, mut close) = (Vec::new(), None);
    loop {
        match stopped.0.read().unwrap() {
            Message::Text(text) => {
                let message: Value = serde_json::from_str(&text).unwrap();
                let last = message["offset"] == PUBLICATIONS;
                heard.push(message);
                if last {
                    break;
                }
            }
            Message::Close(frame) => {
                close = frame.map(|frame| (frame.code.into(), frame.reason.to_string()));
                break;
            }
            _ => {}
        }
    }
    assert_eq!(lagging(&engine).len(), 0, "it is level, or gone");
    (heard, close, told)
}

/// The offsets that came, and the gaps between them; each message is the one that was published there.
fn received(heard: &[Value]) -> (Vec<u64>, Vec<(u64, u64, String)>) {
    let (mut offsets, mut gaps) = (Vec::new(), Vec::new());
    for message in heard {
        if message["type"] == "gap" {
            let end = |name: &str| message[name].as_u64().unwrap();
            let reason = message["reason"].as_str().unwrap().to_owned();
            gaps.push((end("from"), end("to"), reason));
        } else {
            assert_eq!(message["message"]["n"], message["offset"]);
            offsets.push(message["offset"].as_u64().unwrap());
        }
    }
    (offsets, gaps)
}

/// What an operator is told of the only one who is behind: messages, and bytes in its queue.
fn behind(told: &[ConnectionInfo]) -> (u64, usize) {
    assert_eq!(told.len(), 1, "{told:?}");
    let lag = &told[0].lags[0];
    assert_eq!((told[0].lagging, &*lag.channel), (1, "news"));
    (lag.behind, lag.queued_bytes)
}

#[test]
fn catch_up_gives_everything_once_and_in_order() {
    let (heard, close, told) = run(Slow::CatchUp);
    assert_eq!(received(&heard), ((1..=PUBLICATIONS).collect(), vec![]));
    assert_eq!(close, None);
    let (messages, queued) = behind(&told);
    assert!(messages > 0);
    assert_eq!(queued, 0, "it has a place in the history and no queue");
}

#[test]
fn drop_oldest_names_what_is_missing_and_gives_the_newest_that_fit() {
    let (heard, close, told) = run(Slow::DropOldest);
    let (offsets, gaps) = received(&heard);
    let [(from, to, reason)] = gaps.as_slice() else {
        panic!("one gap, not {gaps:?}");
    };
    let expected: Vec<u64> = (1..*from).chain(to + 1..=PUBLICATIONS).collect();
    assert_eq!((offsets, reason.as_str(), close), (expected, "slow", None));
    let (messages, queued) = behind(&told);
    assert_eq!(messages, PUBLICATIONS - from + 1);
    // What waits is bounded, and used.
    assert!(queued as u64 <= HARD, "{queued}");
    let kept = PUBLICATIONS - to;
    assert!((5..=HARD / SIZE as u64).contains(&kept), "{kept}");
}

#[test]
fn keep_latest_names_what_is_missing_and_gives_the_last() {
    let (heard, close, told) = run(Slow::KeepLatest);
    let (offsets, gaps) = received(&heard);
    let [(from, to, reason)] = gaps.as_slice() else {
        panic!("one gap, not {gaps:?}");
    };
    let expected: Vec<u64> = (1..*from).chain([PUBLICATIONS]).collect();
    assert_eq!((offsets, reason.as_str(), close), (expected, "slow", None));
    assert_eq!(*to, PUBLICATIONS - 1);
    assert_eq!(behind(&told).0, PUBLICATIONS - from + 1);
}

#[test]
fn disconnect_gives_a_prefix_and_the_reason() {
    let (heard, close, told) = run(Slow::Disconnect);
    let (offsets, gaps) = received(&heard);
    let prefix: Vec<u64> = (1..=offsets.len() as u64).collect();
    assert_eq!((&offsets, gaps), (&prefix, vec![]));
    assert!(offsets.len() < PUBLICATIONS as usize);
    assert_eq!(close, Some((4103, "slow consumer".to_owned())));
    assert!(told.is_empty(), "{told:?}");
}
