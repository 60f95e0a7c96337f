//! One WebSocket without a task: messages both ways, backpressure, and every way it can end.
#![allow(clippy::unwrap_used)]

mod support;

use bytes::Bytes;
use futures_util::{FutureExt, SinkExt, StreamExt};
use shardwire_client::{CloseFrame, ConnectError, ConnectOptions, Error, Message, connect};
use shardwire_protocol::codes::close::Advice;
use shardwire_protocol::websocket::frame::Kind;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{Heard, Memory, Peer, echo_server, options, refused};
use tokio::time::{self, Instant};

const URL: &str = "ws://server/ws?x=1";

#[tokio::test(start_paused = true)]
async fn messages_come_back_through_stream_and_sink() {
    let mut socket = connect(URL, &options(echo_server())).await.unwrap();
    socket.send("hello".into()).await.unwrap();
    assert_eq!(socket.receive().await.unwrap(), Message::text("hello"));
    for size in [0, 1, 125, 126, 65535, 65536, 1 << 20] {
        let payload = Bytes::from(vec![7u8; size]);
        let (mut sink, mut stream) = socket.split();
        let (sent, received) = tokio::join!(sink.send(payload.clone().into()), stream.next());
        sent.unwrap();
        assert_eq!(received.unwrap().unwrap(), Message::Binary(payload));
        socket = sink.reunite(stream).unwrap();
    }
    assert_eq!(
        socket.close(1000, "done").await.unwrap().unwrap().code,
        1000
    );
    assert!(socket.next().await.is_none());
    assert!(matches!(
        socket.send("late".into()).await,
        Err(Error::Ended(_))
    ));
}

#[tokio::test(start_paused = true)]
async fn the_request_carries_headers_credentials_and_subprotocols() {
    let seen = Arc::new(Mutex::new(String::new()));
    let kept = seen.clone();
    let server = Memory::serve(move |_, stream| {
        let kept = kept.clone();
        async move {
            let peer = Peer::accept_with(stream, Some("b")).await;
            *kept.lock().unwrap() = peer.request.clone();
            peer.echo().await;
        }
    });
    let wished = ConnectOptions {
        headers: vec![("X-API-Key".into(), "k".into())],
        protocols: vec!["a".into(), "b".into()],
        ..options(server)
    };
    let socket = connect("ws://me:pw@server:99/ws?x=1", &wished)
        .await
        .unwrap();
    assert_eq!(socket.protocol(), Some("b"));
    let request = seen.lock().unwrap().clone();
    for line in [
        "GET /ws?x=1 HTTP/1.1",
        "Host: server:99",
        "X-API-Key: k",
        "Authorization: Basic bWU6cHc=",
        "Sec-WebSocket-Protocol: a, b",
    ] {
        assert!(
            request.contains(&format!("{line}\r\n")),
            "{line}\n{request}"
        );
    }
    let other = ConnectOptions {
        protocols: vec!["a".into()],
        ..wished
    };
    assert!(matches!(
        connect(URL, &other).await,
        Err(ConnectError::Subprotocol(_))
    ));
}

#[tokio::test(start_paused = true)]
async fn refusals_say_whether_to_come_back() {
    for (answer, status, wait, advice) in [
        (
            "HTTP/1.1 503 Busy\r\nRetry-After: 7\r\n\r\n",
            503,
            Some(7),
            Advice::ComeBackLate,
        ),
        (
            "HTTP/1.1 503 Busy\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nRetry-After: Sun, 06 Nov 1994 08:50:07 GMT\r\n\r\n",
            503,
            Some(30),
            Advice::ComeBackLate,
        ),
        (
            "HTTP/1.1 404 Not Found\r\n\r\n",
            404,
            None,
            Advice::DoNotComeBack,
        ),
        ("HTTP/1.1 502 Bad\r\n\r\n", 502, None, Advice::ComeBack),
        ("HTTP/1.1 401 Who\r\n\r\n", 401, None, Advice::NewTokenFirst),
        (
            "HTTP/1.1 301 Moved\r\nLocation: ws://x\r\n\r\n",
            301,
            None,
            Advice::DoNotComeBack,
        ),
    ] {
        let server = Memory::serve(move |_, stream| Peer::refuse(stream, answer));
        let error = connect(URL, &options(server)).await.unwrap_err();
        assert!(
            matches!(error, ConnectError::Refused { status: s, .. } if s == status),
            "{error}"
        );
        assert_eq!(error.retry_after(), wait.map(Duration::from_secs));
        assert_eq!(error.advice(), advice, "{status}");
    }
    let server = Memory::gated(|_| Err(refused()), |_, _| async {});
    let error = connect(URL, &options(server)).await.unwrap_err();
    assert!(matches!(error, ConnectError::Io(_)) && error.advice() == Advice::ComeBack);
    let server = Memory::serve(|_, stream| Peer::refuse(stream, "SSH-2.0\r\n\r\n"));
    assert!(matches!(
        connect(URL, &options(server)).await,
        Err(ConnectError::Handshake(_))
    ));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_answers_is_given_up_in_time() {
    let server = Memory::serve(|_, stream| async move {
        let _kept = stream;
        time::sleep(Duration::from_secs(3600)).await;
    });
    let begin = Instant::now();
    let error = connect(URL, &options(server)).await.unwrap_err();
    assert!(matches!(error, ConnectError::TimedOut(_)));
    assert_eq!(begin.elapsed(), Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn pings_are_answered_and_a_flood_of_them_holds_no_memory() {
    let server = Memory::serve(|_, stream| async move {
        let mut peer = Peer::accept(stream).await;
        peer.say(Kind::Ping, b"one").await.unwrap();
        assert_eq!(peer.hear().await, Heard::Pong(b"one".to_vec()));
        // 40,000 pings, none of whose pongs is read: 5 MB of them could pile up.
        for number in 0..40_000u32 {
            let mut payload = [0; 120];
            payload[..4].copy_from_slice(&number.to_be_bytes());
            peer.say(Kind::Ping, &payload).await.unwrap();
        }
        let mut last = 0;
        let mut count = 0;
        while last != 39_999 {
            let Heard::Pong(payload) = peer.hear().await else {
                panic!("not a pong");
            };
            last = u32::from_be_bytes(payload[..4].try_into().unwrap());
            count += 1;
        }
        assert!(count < 3_000, "{count} pongs were kept");
        peer.close(1000, "").await.unwrap();
        peer.hear().await;
    });
    let mut socket = connect(URL, &options(server)).await.unwrap();
    let mut pings = 0;
    loop {
        match socket.receive().await.unwrap() {
            Message::Ping(_) => pings += 1,
            Message::Close(_) => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(pings, 40_001);
}

#[tokio::test(start_paused = true)]
async fn sending_waits_for_a_peer_that_does_not_read() {
    let server = Memory::serve(|_, stream| async move {
        let mut peer = Peer::accept(stream).await;
        time::sleep(Duration::from_secs(5)).await;
        for _ in 0..1000 {
            assert!(matches!(peer.hear().await, Heard::Binary(_)));
        }
        peer.echo().await;
    });
    let mut socket = connect(URL, &options(server)).await.unwrap();
    let begin = Instant::now();
    let mut before = 0;
    for _ in 0..1000 {
        socket
            .send(Bytes::from(vec![0; 1000]).into())
            .await
            .unwrap();
        before += u32::from(begin.elapsed().is_zero());
    }
    // 64 KiB in the stream; then it waits.
    assert!((60..=70).contains(&before), "{before}");
    socket.close(1000, "").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_peer_closes() {
    let server = Memory::serve(|_, stream| async move {
        let mut peer = Peer::accept(stream).await;
        peer.text("last").await.unwrap();
        peer.close(4200, "draining").await.unwrap();
        assert_eq!(peer.hear().await, Heard::Close(Some((4200, String::new()))));
        assert_eq!(peer.hear().await, Heard::End);
    });
    let mut socket = connect(URL, &options(server)).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("last"));
    let close = Message::Close(Some(CloseFrame::new(4200, "draining")));
    assert_eq!(socket.next().await.unwrap().unwrap(), close);
    assert!(!socket.is_open());
    assert!(socket.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_cut_is_an_error_once() {
    let server = Memory::serve(|_, stream| async move {
        Peer::accept(stream).await;
    });
    let mut socket = connect(URL, &options(server)).await.unwrap();
    assert!(matches!(socket.next().await, Some(Err(Error::Cut(_)))));
    assert!(socket.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_breaks_the_protocol_is_told_so() {
    for (bytes, code) in [
        (&b"\x83\x00"[..], 1002),
        (&b"\x81\x01\xff"[..], 1007),
        (&b"\x82\x7f\x00\x00\x00\x00\x00\x20\x00\x00"[..], 1009),
        (&b"\x81\x80abcd"[..], 1002),
    ] {
        let server = Memory::serve(move |_, stream| async move {
            use tokio::io::AsyncWriteExt;
            let mut peer = Peer::accept(stream).await;
            peer.stream.write_all(bytes).await.unwrap();
            let heard = peer.hear().await;
            assert!(
                matches!(&heard, Heard::Close(Some((c, _))) if *c == code),
                "{heard:?}"
            );
        });
        let mut socket = connect(URL, &options(server)).await.unwrap();
        assert!(matches!(socket.next().await, Some(Err(Error::Protocol(_)))));
        assert!(socket.next().await.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn close_has_a_deadline_also_against_a_flood() {
    let deaf = Memory::serve(|_, stream| async move {
        let _peer = Peer::accept(stream).await;
        time::sleep(Duration::from_secs(3600)).await;
    });
    let flood = Memory::serve(|_, stream| async move {
        let mut peer = Peer::accept(stream).await;
        while peer.text("more").await.is_ok() {
            time::sleep(Duration::from_millis(1)).await;
        }
    });
    for server in [deaf, flood] {
        let mut socket = connect(URL, &options(server)).await.unwrap();
        let begin = Instant::now();
        assert!(matches!(
            socket.close(1000, "").await,
            Err(Error::CloseTimedOut(_))
        ));
        let taken = begin.elapsed();
        assert!(
            taken >= Duration::from_secs(5) && taken < Duration::from_millis(5010),
            "{taken:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn control_frames_are_short() {
    let mut socket = connect(URL, &options(echo_server())).await.unwrap();
    let long = Message::Ping(Bytes::from(vec![0; 126]));
    assert!(matches!(
        socket.send(long).await,
        Err(Error::ControlTooLong(126))
    ));
    socket
        .send(Message::Ping(Bytes::from_static(b"x")))
        .await
        .unwrap();
    assert_eq!(
        socket.receive().await.unwrap(),
        Message::Pong(Bytes::from_static(b"x"))
    );
    assert!(socket.receive().now_or_never().is_none());
}
