//! A connection with a task of its own: queues, pings, keepalive, and exactly one ending.
#![allow(clippy::unwrap_used)]

mod support;

use shardwire_client::{ConnectOptions, Connection, Error, Message};
use shardwire_protocol::websocket::frame::Kind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use support::{Heard, Memory, Peer, echo_server, options};
use tokio::time::{self, Instant};

const URL: &str = "ws://server/";

#[tokio::test(start_paused = true)]
async fn messages_pings_and_a_close() {
    let mut connection = Connection::open(URL, &options(echo_server()))
        .await
        .unwrap();
    connection.send("a").await.unwrap();
    connection.try_send("b").unwrap();
    connection.flush().await.unwrap();
    assert_eq!(connection.receive().await.unwrap(), Message::text("a"));
    assert_eq!(connection.receive().await.unwrap(), Message::text("b"));
    connection.ping(Duration::from_secs(1)).await.unwrap();
    let sender = connection.sender();
    let ending = connection.close(1000, "bye").await;
    assert_eq!(ending.code, 1000);
    assert!(matches!(sender.send("late").await, Err(Error::Ended(_))));
}

#[tokio::test(start_paused = true)]
async fn pings_are_answered_while_nobody_looks() {
    let server = Memory::serve(|_, stream| async move {
        let mut peer = Peer::accept(stream).await;
        for _ in 0..10 {
            time::sleep(Duration::from_secs(20)).await;
            peer.say(Kind::Ping, b"?").await.unwrap();
            assert_eq!(peer.hear().await, Heard::Pong(b"?".to_vec()));
        }
        peer.close(4000, "").await.unwrap();
        peer.hear().await;
    });
    let mut connection = Connection::open(URL, &options(server)).await.unwrap();
    time::sleep(Duration::from_secs(300)).await;
    assert!(matches!(connection.receive().await, Err(Error::Ended(ending)) if ending.code == 4000));
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_given_up_and_a_slow_one_is_not() {
    let deaf = Memory::serve(|_, stream| async move {
        let _peer = Peer::accept(stream).await;
        time::sleep(Duration::from_secs(3600)).await;
    });
    let mut connection = Connection::open(URL, &options(deaf)).await.unwrap();
    let begin = Instant::now();
    assert!(connection.receive().await.is_err());
    assert_eq!(begin.elapsed(), Duration::from_secs(40));
    assert!(!connection.ending().unwrap().is_clean());

    // One message of 100 bytes that takes 200 s to arrive: every byte is a sign of life.
    let slow = Memory::serve(|_, stream| async move {
        use tokio::io::AsyncWriteExt;
        let mut peer = Peer::accept(stream).await;
        peer.stream.write_all(&[0x82, 100]).await.unwrap();
        for _ in 0..100 {
            time::sleep(Duration::from_secs(2)).await;
            peer.stream.write_all(&[0]).await.unwrap();
        }
        peer.echo().await;
    });
    let mut connection = Connection::open(URL, &options(slow)).await.unwrap();
    assert_eq!(connection.receive().await.unwrap().len(), 100);
}

#[tokio::test(start_paused = true)]
async fn a_user_that_does_not_read_makes_the_peer_wait() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = sent.clone();
    let server = Memory::serve(move |_, stream| {
        let counted = counted.clone();
        async move {
            let mut peer = Peer::accept(stream).await;
            for number in 0..1000u32 {
                peer.text(&format!("{number:01000}")).await.unwrap();
                counted.fetch_add(1, Ordering::Relaxed);
            }
            peer.echo().await;
        }
    });
    let mut connection = Connection::open(URL, &options(server)).await.unwrap();
    time::sleep(Duration::from_secs(100)).await;
    let waiting = sent.load(Ordering::Relaxed);
    // 64 messages in the queue, 16 KiB being decoded, 64 KiB in the stream.
    assert!((120..=160).contains(&waiting), "{waiting}");
    assert!(
        connection.is_open(),
        "our own user's sleep is not the peer's silence"
    );
    for number in 0..1000u32 {
        let Message::Text(text) = connection.receive().await.unwrap() else {
            panic!()
        };
        assert_eq!(text.parse::<u32>().unwrap(), number);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_connection_sends_what_was_queued_and_closes() {
    let (heard, mut hears) = tokio::sync::mpsc::unbounded_channel();
    let server = Memory::serve(move |_, stream| {
        let heard = heard.clone();
        async move {
            let mut peer = Peer::accept(stream).await;
            loop {
                let next = peer.hear().await;
                let last = matches!(next, Heard::Close(_));
                heard.send(next).unwrap();
                if last {
                    peer.close(1000, "").await.unwrap();
                    return;
                }
            }
        }
    });
    let connection = Connection::open(URL, &options(server)).await.unwrap();
    for number in 0..50 {
        connection.send(format!("{number}")).await.unwrap();
    }
    drop(connection);
    for number in 0..50 {
        assert_eq!(
            hears.recv().await.unwrap(),
            Heard::Text(format!("{number}"))
        );
    }
    assert_eq!(
        hears.recv().await.unwrap(),
        Heard::Close(Some((1000, String::new())))
    );
}

#[tokio::test(start_paused = true)]
async fn the_send_queue_is_bounded_and_close_is_in_time_all_the_same() {
    let deaf = Memory::serve(|_, stream| async move {
        let _peer = Peer::accept(stream).await;
        time::sleep(Duration::from_secs(3600)).await;
    });
    let wished = ConnectOptions {
        ping_interval: None,
        ..options(deaf)
    };
    let connection = Connection::open(URL, &wished).await.unwrap();
    let message = "x".repeat(10_000);
    let mut queued = 0;
    while time::timeout(Duration::from_secs(1), connection.send(message.clone()))
        .await
        .is_ok()
    {
        queued += 1;
    }
    // The queue's 64, and 64 KiB each in the write buffer and the stream.
    assert!((70..=90).contains(&queued), "{queued}");
    assert!(matches!(connection.try_send("x"), Err(Error::QueueFull)));
    let begin = Instant::now();
    let ending = connection.close(1000, "").await;
    assert_eq!(begin.elapsed(), Duration::from_secs(5));
    assert!(!ending.is_clean());
}

#[tokio::test(start_paused = true)]
async fn pings_time_out_and_survive_cancellation() {
    let server = Memory::serve(|_, stream| async move {
        let mut peer = Peer::accept(stream).await;
        loop {
            match peer.hear().await {
                Heard::Ping(payload) => {
                    time::sleep(Duration::from_secs(3)).await;
                    if peer.say(Kind::Pong, &payload).await.is_err() {
                        return;
                    }
                }
                Heard::End => return,
                _ => {}
            }
        }
    });
    let connection = Connection::open(URL, &options(server)).await.unwrap();
    assert!(matches!(
        connection.ping(Duration::from_secs(1)).await,
        Err(Error::PongTimedOut(_))
    ));
    assert!(connection.is_open());
    // The second ping's answer is not taken for the first one's.
    let round_trip = connection.ping(Duration::from_secs(60)).await.unwrap();
    assert_eq!(round_trip, Duration::from_secs(5));
}
