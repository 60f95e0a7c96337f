//! Behind proxies (contract D17): placement and limits go by the client's address, which is believed of trusted proxies alone.
#![allow(clippy::unwrap_used)]

mod support;
#[path = "support/tls.rs"]
mod tls;

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use shardwire::Engine;
use shardwire::auth::{Attempt, Denied, Identity};
use shardwire::config::{Config, ForwardedHeader, Limit, PlacementRule, ProxyProtocol};
use shardwire_shards::placement::{Placement, Rule};
use support::{Client, TestEngine, config, lives_on};
use tls::{Certificate, Files, secure};

/// The proxies' network, from which tests connect; everybody else on loopback is a stranger.
const TRUSTED: &str = "127.9.0.0/16";
const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 9, 0, 1));
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 7));

fn behind(shards: usize, protocol: ProxyProtocol, header: ForwardedHeader) -> Config {
    let mut config = config(shards, PlacementRule::IpHash);
    config.listen.proxy.trusted = vec![TRUSTED.to_owned()];
    config.listen.proxy.protocol = protocol;
    config.listen.proxy.header = header;
    config.echo.enabled = Some(true);
    config.connections.max_connections_per_ip = Some(Limit::Unlimited);
    config.connections.max_connections_per_user = Some(Limit::Unlimited);
    config
}

fn v1(client: IpAddr) -> Vec<u8> {
    let (family, to) = match client {
        IpAddr::V4(_) => ("TCP4", "192.0.2.1"),
        IpAddr::V6(_) => ("TCP6", "2001:db8::1"),
    };
    format!("PROXY {family} {client} {to} 4711 443\r\n").into_bytes()
}

fn v2(client: IpAddr) -> Vec<u8> {
    let mut addresses = Vec::new();
    let family = match client {
        IpAddr::V4(client) => {
            addresses.extend(client.octets());
            addresses.extend([192, 0, 2, 1]);
            0x11
        }
        IpAddr::V6(client) => {
            addresses.extend(client.octets());
            addresses.extend([0; 16]);
            0x21
        }
    };
    addresses.extend([0x12, 0x67, 0x01, 0xbb]);
    // What a load balancer adds: the name the client asked for.
    addresses.extend(b"\x02\x00\x0bexample.org");
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21".to_vec();
    header.push(family);
    header.extend((addresses.len() as u16).to_be_bytes());
    header.extend(addresses);
    header
}

fn clients() -> impl Iterator<Item = IpAddr> {
    let v4 = (0..10).map(|n| IpAddr::V4(Ipv4Addr::new(203, 0, 113, 3 + n * 11)));
    let v6 = (0..6_u16).map(|n| IpAddr::V6([0x2001, 0xdb8, n * 7, 0, 0, 0, 0, n].into()));
    v4.chain(v6)
}

fn assert_at_home(engine: &TestEngine, user: &str, placement: &Placement, address: IpAddr) {
    assert_eq!(
        lives_on(engine, user),
        placement.home_of_address(address),
        "{address}"
    );
}

fn request(path: &str, headers: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{headers}\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .into_bytes()
}

/// Sends a whole request and reads its answer's head.
fn upgrade(stream: &mut (impl Read + Write), path: &str, headers: &str) -> String {
    stream.write_all(&request(path, headers)).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        assert_eq!(
            stream.read(&mut byte).unwrap(),
            1,
            "{}",
            String::from_utf8_lossy(&head)
        );
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

#[test]
fn contract_d17_the_proxy_protocol_decides_where_a_client_is_at_home() {
    for shards in [1, 2, 4] {
        for (protocol, write) in [
            (ProxyProtocol::V1, &(v1 as fn(IpAddr) -> Vec<u8>)),
            (ProxyProtocol::V2, &(v2 as fn(IpAddr) -> Vec<u8>)),
            (ProxyProtocol::Any, &(v1 as fn(IpAddr) -> Vec<u8>)),
            (ProxyProtocol::Any, &(v2 as fn(IpAddr) -> Vec<u8>)),
        ] {
            let engine = TestEngine::start(behind(shards, protocol, ForwardedHeader::None));
            let placement = Placement::new(Rule::IpHash, shards as u16);
            let mut open = Vec::new();
            for (n, address) in clients().enumerate() {
                let user = format!("user{n}");
                let mut stream = engine.socket_from(PROXY);
                let mut bytes = write(address);
                // Header and request in one piece, in two, or cut anywhere.
                match n % 3 {
                    0 => {}
                    1 => stream.write_all(&std::mem::take(&mut bytes)).unwrap(),
                    _ => {
                        for byte in std::mem::take(&mut bytes) {
                            stream.write_all(&[byte]).unwrap();
                        }
                    }
                }
                bytes.extend(request(&format!("/ws?user={user}"), ""));
                stream.write_all(&bytes).unwrap();
                assert_at_home(&engine, &user, &placement, address);
                open.push(stream);
            }
        }
    }
}

#[test]
fn contract_d17_limits_count_clients_and_not_their_proxy() {
    let mut config = behind(2, ProxyProtocol::V1, ForwardedHeader::None);
    config.connections.max_connections_per_ip = Some(Limit::AtMost(1));
    let engine = TestEngine::start(config);
    let mut open = Vec::new();
    for address in clients().take(5) {
        let mut stream = engine.socket_from(PROXY);
        stream.write_all(&v1(address)).unwrap();
        let mut client = Client::over(stream, "/ws");
        assert_eq!(client.ask(&json!({"type": "ping"}))["type"], "pong");
        open.push(client);
    }
    let mut stream = engine.socket_from(PROXY);
    stream.write_all(&v1(clients().next().unwrap())).unwrap();
    assert_eq!(Client::over(stream, "/ws").read_close().0, 4102);
    // The proxy's own checks count as the proxy.
    for _ in 0..2 {
        let mut stream = engine.socket_from(PROXY);
        stream.write_all(b"PROXY UNKNOWN\r\n").unwrap();
        open.push(Client::over(stream, "/ws"));
    }
    assert_eq!(open.pop().unwrap().read_close().0, 4102);
}

/// Verifiers are told of the client, before the upgrade and after it.
#[test]
fn contract_d17_a_verifier_sees_the_client_and_not_its_proxy() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&seen);
    let mut config = behind(2, ProxyProtocol::None, ForwardedHeader::XForwardedFor);
    config.listen.proxy.protocol = ProxyProtocol::V1;
    config.authentication.query = Some("token".to_owned());
    let verifier = move |attempt: Attempt| {
        told.lock().unwrap().push(attempt.address());
        // A token that came with the request names its user; without one, the first message has to.
        let verdict = match attempt.token() {
            Some(user) => Ok(Identity::new(user)),
            None => Err(Denied::Missing),
        };
        std::future::ready(verdict)
    };
    let engine = TestEngine(Engine::builder(config).verifier(verifier).start().unwrap());
    let introduced: IpAddr = "127.9.0.9".parse().unwrap();
    let client: IpAddr = "203.0.113.5".parse().unwrap();
    let claim = format!("X-Forwarded-For: {client}\r\n");
    for target in ["/ws?token=ann", "/ws"] {
        let mut stream = engine.socket_from(PROXY);
        stream.write_all(&v1(introduced)).unwrap();
        assert!(upgrade(&mut stream, target, &claim).starts_with("HTTP/1.1 101 "));
        let mut client = Client::behind_upgrade(stream);
        if target == "/ws" {
            client.send(&json!({"type": "auth", "token": "bob"}));
        }
        assert_eq!(client.receive()["type"], "hello");
    }
    assert_eq!(*seen.lock().unwrap(), [client; 3]);
}

/// Whether the server ends the connection without an answer, and how long it took. A reset is an end as well.
fn ends_silently(mut stream: TcpStream) -> Duration {
    let begin = Instant::now();
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
    }
    assert_eq!(answer, b"", "{}", String::from_utf8_lossy(&answer));
    begin.elapsed()
}

#[test]
fn contract_d17_without_a_good_header_from_a_trusted_proxy_nobody_gets_in() {
    let engine = TestEngine::start(behind(1, ProxyProtocol::Any, ForwardedHeader::None));
    let client: IpAddr = "203.0.113.9".parse().unwrap();
    let mut stranger = engine.socket_from(STRANGER);
    let _ = stranger.write_all(&[v1(client), request("/ws", "")].concat());
    ends_silently(stranger);

    let mut long = v2(client);
    long.truncate(14);
    long.extend([0xff, 0xff]);
    let mut broken_sum = v2(client);
    broken_sum.extend(b"\x03\0\x04\0\0\0\0");
    let added = (broken_sum.len() - 16) as u16;
    broken_sum[14..16].copy_from_slice(&added.to_be_bytes());
    for header in [
        &b""[..],
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01\x00\x05hello",
        b"PROXY TCP4 nonsense\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n",
        &[b"PROXY UNKNOWN ", &[b'x'; 120][..]].concat(),
        &long,
        &broken_sum,
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c",
    ] {
        let mut stream = engine.socket_from(PROXY);
        let _ = stream.write_all(&[header, &request("/ws", "")].concat());
        let took = ends_silently(stream);
        assert!(took < Duration::from_millis(900), "{took:?} for {header:?}");
    }
    assert_eq!(engine.0.active_connections(), 0);

    // On a listener for one version the other is none.
    let engine = TestEngine::start(behind(1, ProxyProtocol::V2, ForwardedHeader::None));
    let mut stream = engine.socket_from(PROXY);
    stream
        .write_all(&[v1(client), request("/ws", "")].concat())
        .unwrap();
    ends_silently(stream);
}

#[test]
fn a_header_that_does_not_come_is_waited_for_one_second() {
    let engine = TestEngine::start(behind(1, ProxyProtocol::Any, ForwardedHeader::None));
    let header = v1("203.0.113.9".parse().unwrap());
    for part in [0, 1, 20] {
        let mut stream = engine.socket_from(PROXY);
        stream.write_all(&header[..part]).unwrap();
        let took = ends_silently(stream);
        assert!(
            (Duration::from_millis(900)..Duration::from_secs(5)).contains(&took),
            "{part} bytes: {took:?}"
        );
    }
    // In time, the rest may take as long as anybody's request.
    let mut stream = engine.socket_from(PROXY);
    stream.write_all(&header).unwrap();
    std::thread::sleep(Duration::from_millis(1300));
    assert!(upgrade(&mut stream, "/ws", "").starts_with("HTTP/1.1 101 "));
    // A proxy that goes before it has said anything is no event.
    engine.socket_from(PROXY).shutdown(Shutdown::Both).unwrap();
}

#[test]
fn contract_d17_the_header_of_a_trusted_proxy_names_the_client() {
    for (header, write) in [
        (
            ForwardedHeader::XForwardedFor,
            &(|address: IpAddr| format!("X-Forwarded-For: 127.9.3.3, {address}, 127.9.0.8\r\n"))
                as &dyn Fn(IpAddr) -> String,
        ),
        (
            ForwardedHeader::Forwarded,
            &|address: IpAddr| match address {
                IpAddr::V4(address) => format!(
                    "Forwarded: for=127.9.3.3;host=\"a,b\", for={address};proto=https\r\nforwarded: For=\"127.9.0.8:80\"\r\n"
                ),
                IpAddr::V6(address) => format!("Forwarded: for=_x, for=\"[{address}]:4711\"\r\n"),
            },
        ),
    ] {
        for shards in [1, 2, 4] {
            let engine = TestEngine::start(behind(shards, ProxyProtocol::None, header));
            let placement = Placement::new(Rule::IpHash, shards as u16);
            let mut open = Vec::new();
            for (n, address) in clients().enumerate() {
                let user = format!("user{n}");
                let mut stream = engine.socket_from(PROXY);
                let answer = upgrade(&mut stream, &format!("/ws?user={user}"), &write(address));
                assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
                assert_at_home(&engine, &user, &placement, address);
                open.push(stream);
            }
        }
    }
}

#[test]
fn contract_d17_what_a_stranger_claims_is_ignored() {
    for header in [
        ForwardedHeader::XForwardedFor,
        ForwardedHeader::Forwarded,
        ForwardedHeader::None,
    ] {
        let mut config = behind(4, ProxyProtocol::None, header);
        config.connections.max_connections_per_ip = Some(Limit::AtMost(2));
        if header == ForwardedHeader::None {
            config.listen.proxy.trusted.clear();
        }
        let engine = TestEngine::start(config);
        let placement = Placement::new(Rule::IpHash, 4);
        let mut open = Vec::new();
        for n in 0..3_u8 {
            let claims = format!(
                "X-Forwarded-For: 203.0.113.{n}\r\nForwarded: for=203.0.113.{n}\r\nX-Real-IP: 203.0.113.{n}\r\n"
            );
            let mut stream = engine.socket_from(STRANGER);
            let answer = upgrade(&mut stream, &format!("/ws?user=user{n}"), &claims);
            assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
            if n < 2 {
                assert_at_home(&engine, &format!("user{n}"), &placement, STRANGER);
                open.push(stream);
            } else {
                // The limit holds for the stranger's one address.
                let mut closed = [0; 4];
                stream.read_exact(&mut closed).unwrap();
                assert_eq!(
                    (closed[0], u16::from_be_bytes([closed[2], closed[3]])),
                    (0x88, 4102)
                );
            }
        }
        // A client behind the proxy cannot claim another's address either: its own comes behind what it wrote.
        if header == ForwardedHeader::XForwardedFor {
            let mut stream = engine.socket_from(PROXY);
            let spoofed =
                "X-Forwarded-For: 198.51.100.1\r\nX-Forwarded-For: 198.51.100.2, 203.0.113.77\r\n";
            upgrade(&mut stream, "/ws?user=spoofer", spoofed);
            let own: IpAddr = "203.0.113.77".parse().unwrap();
            assert_at_home(&engine, "spoofer", &placement, own);
        }
    }
}

/// A TCP load balancer before an HTTP proxy before the engine, which speaks TLS: header, handshake and request in one go, and the
/// socket moves after each.
#[test]
fn proxy_protocol_tls_and_a_forwarded_header_together() {
    let certificate = Certificate::new();
    let files = Files::new("proxied", &certificate);
    for shards in [1, 2, 4] {
        let mut config = behind(shards, ProxyProtocol::V2, ForwardedHeader::XForwardedFor);
        files.name_in(&mut config);
        let engine = TestEngine::start(config);
        let placement = Placement::new(Rule::IpHash, shards as u16);
        let trust = certificate.client();
        let mut open = Vec::new();
        for (n, address) in clients().enumerate() {
            // Every other time the balancer names the client itself, else an HTTP proxy of ours, which names the client.
            let direct = n % 2 == 0;
            let introduced = if direct {
                address
            } else {
                IpAddr::V4(Ipv4Addr::new(127, 9, 7, n as u8))
            };
            let mut stream = engine.socket_from(PROXY);
            stream.write_all(&v2(introduced)).unwrap();
            let mut stream = secure(stream, &trust);
            let claim = if direct {
                "203.0.113.200".to_owned()
            } else {
                address.to_string()
            };
            let user = format!("user{n}");
            let answer = upgrade(
                &mut stream,
                &format!("/ws?user={user}"),
                &format!("X-Forwarded-For: {claim}\r\n"),
            );
            assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
            assert_at_home(&engine, &user, &placement, address);
            open.push(stream);
        }
    }
}

/// Many frames behind header and request, while the socket moves before TLS or the request were looked at.
#[test]
fn a_hand_off_after_the_header_loses_no_byte() {
    use shardwire_protocol::websocket::frame;

    let engine = TestEngine::start(behind(4, ProxyProtocol::V1, ForwardedHeader::None));
    for (n, address) in clients().enumerate() {
        let mut bytes = [v1(address), request("/echo", "")].concat();
        for number in 0..200_u32 {
            frame::write_client(
                &mut bytes,
                frame::Kind::Binary,
                &number.to_be_bytes(),
                [n as u8, 1, 2, 3],
            );
        }
        let mut stream = engine.socket_from(PROXY);
        for piece in bytes.chunks(300 + 100 * n) {
            stream.write_all(piece).unwrap();
        }
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        for number in 0..200_u32 {
            let mut echoed = [0; 6];
            stream.read_exact(&mut echoed).unwrap();
            assert_eq!(
                (echoed[..2].to_vec(), echoed[2..].to_vec()),
                (vec![0x82, 4], number.to_be_bytes().to_vec())
            );
        }
    }
}
