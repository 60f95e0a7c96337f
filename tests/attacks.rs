//! Peers that mean harm, over real sockets. What each must be met with is in docs/reference/attacks.md, which names these tests; those
//! without a socket in them are in `protocol` and `shards`, those about the program's memory in tests/foreign.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use serde_json::json;
use shardwire::config::{MissingOrigin, PlacementRule};
use socket2::{Domain, Socket, Type};
use support::{Client, PATIENCE, TestEngine, config, eventually};
use tungstenite::Message;

/// An upgrade request with further header lines.
fn request(path: &str, lines: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{lines}\r\n"
    )
}

/// The head of the answer.
fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() > 0 {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

fn upgraded(engine: &TestEngine, path: &str) -> TcpStream {
    let mut stream = engine.socket();
    stream.write_all(request(path, "").as_bytes()).unwrap();
    assert!(head(&mut stream).starts_with("HTTP/1.1 101 "));
    stream
}

/// A frame of a client, with a mask that changes nothing.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..126 => frame.push(0x80 | len as u8),
        len => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&u16::try_from(len).unwrap().to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

fn text(message: &serde_json::Value) -> Vec<u8> {
    frame(0x81, message.to_string().as_bytes())
}

/// The code of the close frame that is all there is until the end, which must be in order.
fn only_close(stream: &mut TcpStream) -> u16 {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("an orderly end");
    assert_eq!(rest[0], 0x88, "{rest:x?}");
    assert_eq!(rest.len(), 2 + usize::from(rest[1]), "nothing follows");
    u16::from_be_bytes([rest[2], rest[3]])
}

/// Writes until the other side has taken nothing for half a second; how much it took.
fn write_until_stuck(stream: &mut TcpStream, piece: &[u8], most: usize) -> usize {
    stream
        .set_write_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let mut taken = 0;
    while taken < most {
        // A piece that is cut off in its middle goes on where it was cut.
        match stream.write(&piece[taken % piece.len()..]) {
            Ok(len) => taken += len,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    taken
}

#[test]
fn attack_silent_after_handshake() {
    let mut config = config(1, PlacementRule::Accept);
    config.connections.heartbeat_interval = "400ms".parse().unwrap();
    config.connections.heartbeat_timeout = "400ms".parse().unwrap();
    let engine = TestEngine::start(config);
    let mut stream = upgraded(&engine, "/ws");
    let begin = Instant::now();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    let took = begin.elapsed();
    assert_eq!(all[..2], [0x89, 0], "a ping first");
    assert_eq!((all[2], &all[4..6]), (0x88, &4000_u16.to_be_bytes()[..]));
    assert!(took > Duration::from_millis(600), "{took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    eventually("it is gone", || engine.0.active_connections() == 0);
}

#[test]
fn attack_huge_or_many_headers() {
    let engine = TestEngine::start(config(1, PlacementRule::Accept));
    let lines = [
        format!("X: {}\r\n", "x".repeat(60_000)),
        "X: y\r\n".repeat(5_000),
    ];
    for lines in &lines {
        let request = request("/ws", lines);
        // Whole, and without an end: the answer comes at the limit, not at the deadline.
        for bytes in [request.as_bytes(), &request.as_bytes()[..request.len() - 4]] {
            let begin = Instant::now();
            let mut stream = engine.socket();
            // It may be answered before it is written.
            let _ = stream.write_all(bytes);
            let head = head(&mut stream);
            assert!(head.starts_with("HTTP/1.1 431 "), "{head}");
            assert!(begin.elapsed() < Duration::from_secs(5));
        }
    }
}

#[test]
fn attack_odd_extension_header() {
    let engine = TestEngine::start(config(2, PlacementRule::UserHash));
    for (index, offer) in [
        "constructor",
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=16; client_max_window_bits=x",
        "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
        "permessage-deflate; constructor",
        "permessage-deflate; server_no_context_takeover=1",
        ";;,=,\"",
        "permessage-deflate; server_max_window_bits=\"",
    ]
    .into_iter()
    .enumerate()
    {
        let lines = format!("Sec-WebSocket-Extensions: {offer}\r\n");
        let mut stream = engine.socket();
        let request = request(&format!("/echo?user=u{index}"), &lines);
        stream.write_all(request.as_bytes()).unwrap();
        let head = head(&mut stream);
        assert!(head.starts_with("HTTP/1.1 101 "), "{offer}: {head}");
        assert!(!head.contains("Extensions"), "{offer}: {head}");
        // It is declined, and the connection works without.
        stream.write_all(&frame(0x81, b"plain")).unwrap();
        let mut echo = [0; 7];
        stream.read_exact(&mut echo).unwrap();
        assert_eq!(&echo, b"\x81\x05plain");
        stream.write_all(&frame(0xc1, b"deflated?")).unwrap();
        assert_eq!(only_close(&mut stream), 1002);
    }
    // The smallest window there is: agreed on or declined, but never a panic.
    let lines = "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=8\r\n";
    let mut stream = engine.socket();
    stream
        .write_all(request("/echo", lines).as_bytes())
        .unwrap();
    assert!(head(&mut stream).starts_with("HTTP/1.1 101 "));
    let long = [b'x'; 4000];
    stream.write_all(&frame(0x81, &long)).unwrap();
    let mut first = [0];
    stream.read_exact(&mut first).unwrap();
    assert!([0x81, 0xc1].contains(&first[0]), "{first:x?}");
}

/// Other pages' scripts, and names that only look like ours.
#[test]
fn attack_cross_site_websocket_hijacking() {
    for missing in [MissingOrigin::Allow, MissingOrigin::Refuse] {
        let mut config = config(1, PlacementRule::Accept);
        config.listen.origins = vec![
            "https://app.example.org".into(),
            "https://*.apps.example.org".into(),
        ];
        config.listen.missing_origin = missing;
        let engine = TestEngine::start(config);
        let answer = |lines: &str| {
            let mut stream = engine.socket();
            stream.write_all(request("/ws", lines).as_bytes()).unwrap();
            head(&mut stream)[9..12].to_owned()
        };
        for origin in [
            "https://evil.example",
            "http://app.example.org",
            "https://app.example.org:8443",
            "https://app.example.org.evil.example",
            "https://evilapp.example.org",
            "https://evil.example/https://app.example.org",
            "https://evil.example#https://app.example.org",
            "https://app.example.org@evil.example",
            "https://a.b.apps.example.org",
            "https://apps.example.org",
            "null",
            "",
        ] {
            assert_eq!(answer(&format!("Origin: {origin}\r\n")), "403", "{origin}");
        }
        let both = "Origin: https://app.example.org\r\nOrigin: https://evil.example\r\n";
        assert!(["400", "403"].contains(&&*answer(both)));
        assert_eq!(answer("Origin: https://app.example.org\r\n"), "101");
        assert_eq!(answer("Origin: https://x.apps.example.org\r\n"), "101");
        let expected = match missing {
            MissingOrigin::Allow => "101",
            MissingOrigin::Refuse => "403",
        };
        assert_eq!(answer(""), expected);
    }
}

/// Pings without end from a peer that reads no pong: it is not read from any more, others are served, and when it reads, every
/// ping is answered, in order.
#[test]
fn attack_ping_flood_from_a_peer_that_does_not_read() {
    const MOST: usize = 64 << 20;
    let engine = TestEngine::start(config(1, PlacementRule::Accept));
    let mut other = engine.client("/ws");
    let mut flooder = upgraded(&engine, "/echo");
    let pings: Vec<u8> = (0..10_000_u32)
        .flat_map(|number| frame(0x89, &number.to_be_bytes()))
        .collect();
    let taken = write_until_stuck(&mut flooder, &pings, MOST);
    assert!(taken < MOST, "it is read from for ever");
    let begin = Instant::now();
    assert_eq!(other.ask(&json!({"type": "ping"}))["type"], "pong");
    assert!(begin.elapsed() < Duration::from_secs(2));
    // The last ping may have been cut off.
    let whole = taken / 10;
    let mut pongs = vec![0; whole * 6];
    flooder.set_read_timeout(Some(PATIENCE)).unwrap();
    flooder.read_exact(&mut pongs).unwrap();
    for (index, pong) in pongs.chunks(6).enumerate() {
        let number = (index % 10_000) as u32;
        assert_eq!(
            (&pong[..2], &pong[2..]),
            (&b"\x8a\x04"[..], &number.to_be_bytes()[..])
        );
    }
}

/// A subscriber that does not read is closed when its bound is reached, and told why; the others get everything.
#[test]
fn attack_slow_consumer_in_broadcast() {
    const MESSAGES: usize = 300;
    let engine = TestEngine::start(config(2, PlacementRule::Accept));
    let mut reader = engine.client("/ws");
    reader.subscribe("c");
    let stream = engine.socket();
    // Few bytes wait in the kernel for it, so that the others wait with us.
    socket2::SockRef::from(&stream)
        .set_recv_buffer_size(64 << 10)
        .unwrap();
    let mut slow = Client::over(stream, "/ws");
    slow.subscribe("c");
    let message = json!("x".repeat(60_000)).to_string();
    for _ in 0..MESSAGES {
        engine.0.publish("c", &message).unwrap();
        assert!(reader.receive()["message"].is_string());
    }
    let mut received = 0;
    let close = loop {
        match slow.0.read().unwrap() {
            Message::Close(close) => break close.unwrap(),
            _ => received += 1,
        }
    };
    assert_eq!(u16::from(close.code), 4103);
    assert!(received < MESSAGES, "{received}");
    engine.0.publish("c", "after").unwrap();
    assert_eq!(reader.receive()["message"], "after");
}

#[test]
fn attack_close_never_answered() {
    let mut config = config(1, PlacementRule::Accept);
    config.connections.close_timeout = "500ms".parse().unwrap();
    let engine = TestEngine::start(config);
    let mut stream = upgraded(&engine, "/ws");
    engine.0.close(1001, "going");
    let begin = Instant::now();
    // The close frame is here: what was said before it would have been answered.
    stream.peek(&mut [0]).unwrap();
    // Whoever answers nothing, and goes on talking, gains nothing.
    let chatter = text(&json!({"type": "ping"}));
    for _ in 0..20 {
        if stream.write_all(&chatter).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(only_close(&mut stream), 1001);
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    eventually("it is gone", || engine.0.active_connections() == 0);
}

/// The end of a peer's stream without a close frame: what it said before counts, and it is gone.
#[test]
fn attack_fin_without_close() {
    const PUBLICATIONS: usize = 3_000;
    let engine = TestEngine::start(config(1, PlacementRule::Accept));
    let mut members: Vec<Client> = (0..20).map(|_| engine.client("/ws")).collect();
    for member in &mut members {
        member.subscribe("c");
    }
    let publish = text(&json!({"type": "publish", "channel": "c", "message": 7}));
    let mut stream = upgraded(&engine, "/ws");
    stream.write_all(&publish.repeat(PUBLICATIONS)).unwrap();
    drop(stream);
    for member in &mut members {
        for _ in 0..PUBLICATIONS {
            assert_eq!(member.receive()["message"], 7);
        }
    }
    eventually("it is gone", || engine.0.active_connections() == 20);
    // One that only ends its own direction still gets its answers.
    let mut stream = upgraded(&engine, "/ws");
    stream
        .write_all(&text(&json!({"type": "echo", "data": 1})))
        .unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert!(rest.windows(6).any(|part| part == b"\"echo\""), "{rest:x?}");
}

#[test]
fn attack_data_after_close() {
    let engine = TestEngine::start(config(1, PlacementRule::Accept));
    let mut member = engine.client("/ws");
    member.subscribe("c");
    let mut stream = upgraded(&engine, "/ws");
    let mut bytes = frame(0x88, &1000_u16.to_be_bytes());
    bytes.extend(text(
        &json!({"type": "publish", "channel": "c", "message": 1}),
    ));
    bytes.extend(frame(0x88, &1002_u16.to_be_bytes()));
    stream.write_all(&bytes).unwrap();
    assert_eq!(only_close(&mut stream), 1000);
    assert_eq!(member.ask(&json!({"type": "ping"}))["type"], "pong");
}

/// A peer is told why it is closed, however much it has sent behind the frame that broke the protocol: an end with unread bytes would
/// be a reset, and a reset takes the close frame with it.
#[test]
fn attack_bytes_behind_a_broken_frame() {
    let engine = TestEngine::start(config(1, PlacementRule::Accept));
    for _ in 0..10 {
        let mut stream = upgraded(&engine, "/echo");
        stream.write_all(b"\x83\x80\0\0\0\0").unwrap();
        for _ in 0..64 {
            stream.write_all(&[0x5a; 64 << 10]).unwrap();
        }
        assert_eq!(only_close(&mut stream), 1002);
    }
}

/// A frame without a mask is refused before anything is done about it.
#[test]
fn attack_unmasked_client_frame() {
    let engine = TestEngine::start(config(1, PlacementRule::Accept));
    let mut member = engine.client("/ws");
    member.subscribe("c");
    let mut stream = upgraded(&engine, "/ws");
    let publish = br#"{"type":"publish","channel":"c","message":1}"#;
    let mut bytes = vec![0x81, publish.len() as u8];
    bytes.extend_from_slice(publish);
    stream.write_all(&bytes).unwrap();
    assert_eq!(only_close(&mut stream), 1002);
    assert_eq!(member.ask(&json!({"type": "ping"}))["type"], "pong");
}

/// Codes that nobody may send are answered 1002 and never repeated; no code is answered by none.
#[test]
fn attack_close_codes() {
    let engine = TestEngine::start(config(1, PlacementRule::Accept));
    for code in [0_u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535] {
        let mut stream = upgraded(&engine, "/ws");
        stream.write_all(&frame(0x88, &code.to_be_bytes())).unwrap();
        assert_eq!(only_close(&mut stream), 1002, "{code}");
    }
    let mut client = engine.client("/ws");
    client.0.send(Message::Close(None)).unwrap();
    assert_eq!(client.read_close(), (1005, String::new()));
}

/// Frames in the packet of the request, or right behind it, are the first frames, wherever the connection is at home.
#[test]
fn attack_bytes_pipelined_behind_the_handshake() {
    for placement in [PlacementRule::Accept, PlacementRule::UserHash] {
        let engine = TestEngine::start(config(4, placement));
        for user in 0..16 {
            let mut stream = engine.socket();
            let mut bytes = request(&format!("/echo?user=u{user}"), "").into_bytes();
            bytes.extend(frame(0x81, b"early"));
            bytes.extend(frame(0x88, &1000_u16.to_be_bytes()));
            stream.write_all(&bytes).unwrap();
            assert!(head(&mut stream).starts_with("HTTP/1.1 101 "));
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).unwrap();
            assert_eq!(rest, b"\x81\x05early\x88\x02\x03\xe8");
        }
    }
}

#[test]
fn attack_slow_handshake_from_one_address_leaves_room_for_the_others() {
    let engine = TestEngine::start(config(1, PlacementRule::Accept));
    let half_open: Vec<TcpStream> = (0..1024)
        .map(|_| {
            let mut stream = engine.socket();
            stream.write_all(b"GET /ws HTTP/1.1\r\n").unwrap();
            stream
        })
        .collect();
    // Accepted in order, so that this one is looked at behind all of them.
    let mut next = engine.socket();
    next.write_all(request("/ws", "").as_bytes()).unwrap();
    let refused = head(&mut next);
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    assert!(refused.contains("Retry-After: "), "{refused}");

    let mut other = engine.socket_from("127.0.0.2".parse().unwrap());
    other.write_all(request("/ws", "").as_bytes()).unwrap();
    assert!(head(&mut other).starts_with("HTTP/1.1 101 "));

    drop(half_open);
    eventually("their places are free again", || {
        let mut stream = engine.socket();
        stream.write_all(request("/ws", "").as_bytes()).unwrap();
        head(&mut stream).starts_with("HTTP/1.1 101 ")
    });
}

/// Sockets of any state that the engine holds.
fn sockets(engine: &TestEngine) -> usize {
    let told = engine.0.snapshot(PATIENCE).to_text();
    let of_it = told
        .lines()
        .filter_map(|line| line.strip_prefix("shardwire_transport_sockets{"));
    of_it
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<usize>().unwrap())
        .sum()
}

/// Asks for the largest page, over segments so small that the kernel does not take its answer at once.
fn ask_for_a_page(engine: &TestEngine) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(1).unwrap();
    socket.set_tcp_mss(300).unwrap();
    socket.connect(&engine.0.local_address().into()).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = "GET /document.js HTTP/1.1\r\nHost: h\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

/// Whoever reads gets the whole of an answer, however little of it fits on the way; for one that nobody reads its socket is kept for
/// a bounded time.
#[test]
fn attack_an_answer_that_does_not_fit_and_that_nobody_reads() {
    let engine = TestEngine::start(config(1, PlacementRule::Accept));
    let mut told = String::new();
    ask_for_a_page(&engine).read_to_string(&mut told).unwrap();
    let (head, body) = told.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(
        head.contains(&format!("Content-Length: {}", body.len())),
        "{head}"
    );

    let mut stream = ask_for_a_page(&engine);
    eventually("it is asked", || sockets(&engine) == 1);
    eventually("its socket is given up", || sockets(&engine) == 0);
    // What the kernel had taken is still there; the rest never left.
    let mut got = Vec::new();
    let _ = stream.read_to_end(&mut got);
    assert!(!got.is_empty() && got.len() < told.len(), "{}", got.len());
    assert_eq!(got, told.as_bytes()[..got.len()]);
}
