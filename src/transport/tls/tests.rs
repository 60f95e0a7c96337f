//! Sessions against rustls' client, in memory: every split, every version, every way to end.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion,
    RootCertStore, ServerConfig, SupportedProtocolVersion,
};

use super::{Progress, Session, SessionError};
use crate::listen::certificate::server_config;

const BOTH: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];

/// A server's configuration, and a client's that trusts it.
fn configs(version: &'static SupportedProtocolVersion) -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let provider = aws_lc_rs::default_provider();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let pair = CertifiedKey::from_der(vec![cert.der().clone()], key, &provider).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (server_config(pair).unwrap(), Arc::new(client))
}

fn client(config: &Arc<ClientConfig>) -> ClientConnection {
    ClientConnection::new(
        Arc::clone(config),
        ServerName::try_from("localhost").unwrap(),
    )
    .unwrap()
}

/// All ciphertext the client wants to send.
fn sealed_by(client: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).unwrap();
    }
    bytes
}

/// Gives the client what the session has to say, and returns the plaintext it finds in it.
fn hand_over(session: &mut Session, client: &mut ClientConnection) -> Vec<u8> {
    let bytes = session.unsent().to_vec();
    session.sent(bytes.len());
    open_by(client, &bytes)
}

fn open_by(client: &mut ClientConnection, mut sealed: &[u8]) -> Vec<u8> {
    let mut plaintext = Vec::new();
    while !sealed.is_empty() {
        client.read_tls(&mut sealed).unwrap();
        client.process_new_packets().unwrap();
        let mut chunk = [0; 20_000];
        while let Ok(count) = client.reader().read(&mut chunk)
            && count > 0
        {
            plaintext.extend_from_slice(&chunk[..count]);
        }
    }
    plaintext
}

/// Shakes hands; what the client sends arrives in pieces of at most `piece` bytes.
fn open_session(
    server: &Arc<ServerConfig>,
    client: &mut ClientConnection,
    piece: usize,
) -> Session {
    let mut session = Session::new(Arc::clone(server)).unwrap();
    let mut plaintext = Vec::new();
    for _ in 0..4 {
        for piece in sealed_by(client).chunks_mut(piece) {
            assert_eq!(
                session.received(piece, &mut plaintext).unwrap(),
                Progress::Goes
            );
        }
        hand_over(&mut session, client);
    }
    assert!(plaintext.is_empty());
    assert!(!session.is_handshaking() && !client.is_handshaking());
    session
}

#[test]
fn messages_pass_in_both_directions_whatever_the_pieces() {
    for version in BOTH {
        let (server, config) = configs(version);
        for piece in [1, 2, 5, 6, 100, 100_000] {
            let mut client = client(&config);
            let mut session = open_session(&server, &mut client, piece);
            assert_eq!(session.held_bytes(), 0, "idle, it holds no buffer");
            let said: Vec<u8> = (0..70_000_u32).map(|n| (n % 251) as u8).collect();
            client.set_buffer_limit(None);
            client.writer().write_all(&said).unwrap();
            let mut heard = Vec::new();
            for piece in sealed_by(&mut client).chunks_mut(piece) {
                session.received(piece, &mut heard).unwrap();
                assert!(session.held_bytes() <= 2 * super::session::INCOMING_MAX);
            }
            assert!(heard == said, "{version:?} by {piece}");
            assert_eq!(session.held_bytes(), 0);

            let mut sealed = Vec::new();
            session.seal(&said, &mut sealed).unwrap();
            assert!(open_by(&mut client, &sealed) == said);
            session.say(b"hello").unwrap();
            assert_eq!(hand_over(&mut session, &mut client), b"hello");
            assert_eq!(session.held_bytes(), 0);
        }
    }
}

#[test]
fn the_protocol_is_http_1_1_and_a_client_that_wants_only_another_is_refused() {
    let (server, config) = configs(&rustls::version::TLS13);
    for (offered, agreed) in [
        (vec![], None),
        (vec![&b"h2"[..], b"http/1.1"], Some(&b"http/1.1"[..])),
    ] {
        let mut config = ClientConfig::clone(&config);
        config.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
        let mut client = client(&Arc::new(config));
        let session = open_session(&server, &mut client, usize::MAX);
        assert_eq!(client.alpn_protocol(), agreed);
        assert_eq!(session.tls().alpn_protocol(), agreed);
    }
    for version in BOTH {
        let (server, config) = configs(version);
        let mut config = ClientConfig::clone(&config);
        config.alpn_protocols = vec![b"h2".to_vec()];
        let mut client = client(&Arc::new(config));
        let mut session = Session::new(server).unwrap();
        let refused = session.received(&mut sealed_by(&mut client), &mut Vec::new());
        assert!(matches!(refused, Err(SessionError::Tls(_))), "{refused:?}");
        let mut said = session.unsent();
        let told = loop {
            client.read_tls(&mut said).unwrap();
            if let Err(told) = client.process_new_packets() {
                break told;
            }
        };
        let expected = rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol);
        assert_eq!(told, expected);
    }
}

#[test]
fn closing_is_said_once_and_heard() {
    for version in BOTH {
        let (server, config) = configs(version);
        let mut client = client(&config);
        let mut session = open_session(&server, &mut client, usize::MAX);
        session.say(b"last words").unwrap();
        session.say_closing();
        session.say_closing();
        assert_eq!(hand_over(&mut session, &mut client), b"last words");
        assert!(client.process_new_packets().unwrap().peer_has_closed());

        client.writer().write_all(b"and mine").unwrap();
        client.send_close_notify();
        let mut heard = Vec::new();
        let progress = session.received(&mut sealed_by(&mut client), &mut heard);
        assert_eq!(progress.unwrap(), Progress::PeerClosed);
        assert_eq!(heard, b"and mine");
        session.say_closing();
        assert!(session.unsent().is_empty());
    }
}

#[test]
fn what_is_no_tls_fails_with_an_alert_or_is_known_as_http() {
    let (server, _) = configs(&rustls::version::TLS13);
    let fails = |bytes: &[u8], held: bool| {
        let mut session = Session::new(Arc::clone(&server)).unwrap();
        let mut plaintext = Vec::new();
        let result = if held {
            session.hold(bytes).unwrap();
            session.received(&mut [], &mut plaintext)
        } else {
            session.received(&mut bytes.to_vec(), &mut plaintext)
        };
        assert!(plaintext.is_empty());
        assert!(
            session.say(b"anything").is_err(),
            "a failed session seals nothing"
        );
        session.say_closing();
        (result.unwrap_err(), session.unsent().to_vec())
    };
    for held in [false, true] {
        let (error, said) = fails(b"GET /ws HTTP/1.1\r\nHost: h\r\n\r\n", held);
        assert!(matches!(error, SessionError::PlainHttp) && said.is_empty());
        for garbage in [
            &b"\r\n\r\n\0\r\nQUIT\n"[..],
            &[0xff; 64],
            b"\x16\x03\x01\xff\xff\0\0",
            b"\x80\x2e\x01\x03\x01",
        ] {
            let (error, said) = fails(garbage, held);
            assert!(
                matches!(error, SessionError::Tls(_)),
                "{garbage:?}: {error}"
            );
            assert_eq!(
                (said.len(), said[0], said[5]),
                (7, 21, 2),
                "{garbage:?}: a fatal alert"
            );
        }
        // ClientHello of TLS 1.1: a suite that everybody knew, and the one extension without which rustls looks no further.
        let mut hello = b"\x16\x03\x01\x00\x37\x01\x00\x00\x33\x03\x02".to_vec();
        hello.extend([7; 32]);
        hello.extend(b"\x00\x00\x02\x00\x2f\x01\x00\x00\x08\x00\x0d\x00\x04\x00\x02\x04\x03");
        let (_, said) = fails(&hello, held);
        assert_eq!(said[5..], [2, 70], "protocol_version");
    }
}

#[test]
fn a_flight_that_never_ends_is_not_collected_for_ever() {
    let (server, _) = configs(&rustls::version::TLS13);
    let mut session = Session::new(server).unwrap();
    // A ClientHello of 16 MB, in records that are each in order.
    let mut record = b"\x16\x03\x01\x40\x00\x01\xff\xff\xff".to_vec();
    record.resize(5 + (1 << 14), 3);
    let mut failed = false;
    for _ in 0..8 {
        failed = session
            .received(&mut record.clone(), &mut Vec::new())
            .is_err();
        if failed {
            break;
        }
    }
    assert!(failed);

    let (server, _) = configs(&rustls::version::TLS13);
    let mut session = Session::new(server).unwrap();
    let held = (0..8)
        .map(|_| session.hold(&[0x16; 5000]))
        .find(Result::is_err);
    assert!(matches!(held, Some(Err(SessionError::TooLong))));
}

/// A handshake message after the handshake, cut anywhere, with an answer sealed in the middle: rustls notes a place in the kept
/// bytes, which must still be there when it is asked to seal.
#[test]
fn keys_are_updated_while_a_record_is_half_read() {
    let (server, config) = configs(&rustls::version::TLS13);
    for cut in 1..200 {
        let mut client = client(&config);
        let mut session = open_session(&server, &mut client, usize::MAX);
        client.writer().write_all(b"before").unwrap();
        client.refresh_traffic_keys().unwrap();
        client.writer().write_all(b"after").unwrap();
        let mut sealed = sealed_by(&mut client);
        let cut = cut.min(sealed.len());
        let (first, second) = sealed.split_at_mut(cut);
        let mut heard = Vec::new();
        session.received(first, &mut heard).unwrap();
        session.say(b"in between").unwrap();
        session.received(second, &mut heard).unwrap();
        session.say(b"and then").unwrap();
        assert_eq!(heard, b"beforeafter", "cut at {cut}");
        assert_eq!(hand_over(&mut session, &mut client), b"in betweenand then");
        assert_eq!(session.held_bytes(), 0);
    }
}

#[test]
fn the_rest_of_a_short_write_is_kept_in_order() {
    let (server, config) = configs(&rustls::version::TLS13);
    let mut client = client(&config);
    let mut session = open_session(&server, &mut client, usize::MAX);
    let mut sealed = Vec::new();
    session.seal(b"first", &mut sealed).unwrap();
    let mut heard = open_by(&mut client, &sealed[..10]);
    session.keep_unsent(&sealed[10..]);
    assert!(session.is_blocked());
    session.say(b"second").unwrap();
    let some = session.unsent()[..4].to_vec();
    session.sent(4);
    assert!(session.is_blocked());
    heard.extend(open_by(&mut client, &some));
    let mut last = Vec::new();
    session.take_unsent(&mut last);
    session.seal(b"third", &mut last).unwrap();
    heard.extend(open_by(&mut client, &last));
    assert_eq!(heard, b"firstsecondthird");
    assert!(!session.is_blocked());
    assert_eq!(session.held_bytes(), 0);
}

#[test]
fn a_client_comes_back_by_its_ticket_but_not_under_another_certificate() {
    for version in BOTH {
        let (server, config) = configs(version);
        let mut first = client(&config);
        open_session(&server, &mut first, usize::MAX);
        assert_eq!(first.handshake_kind(), Some(HandshakeKind::Full));
        let mut second = client(&config);
        open_session(&server, &mut second, usize::MAX);
        assert_eq!(second.handshake_kind(), Some(HandshakeKind::Resumed));
        // The same certificate, read again: tickets of the old configuration are worth nothing.
        let mut renewed = ServerConfig::clone(&server);
        renewed.ticketer = aws_lc_rs::Ticketer::new().unwrap();
        let mut third = client(&config);
        open_session(&Arc::new(renewed), &mut third, usize::MAX);
        assert_eq!(third.handshake_kind(), Some(HandshakeKind::Full));
    }
}

#[test]
fn newest_clients_agree_on_keys_that_a_quantum_computer_does_not_find() {
    let (server, config) = configs(&rustls::version::TLS13);
    let mut client = client(&config);
    let session = open_session(&server, &mut client, usize::MAX);
    assert_eq!(
        session.tls().protocol_version(),
        Some(ProtocolVersion::TLSv1_3)
    );
    let group = session.tls().negotiated_key_exchange_group().unwrap();
    assert_eq!(group.name(), rustls::NamedGroup::X25519MLKEM768);
}

#[test]
fn a_session_can_move_to_another_thread() {
    let (server, config) = configs(&rustls::version::TLS13);
    let mut client = client(&config);
    let mut session = Box::new(open_session(&server, &mut client, usize::MAX));
    client.writer().write_all(b"half here, half there").unwrap();
    let mut sealed = sealed_by(&mut client);
    let (first, second) = sealed.split_at_mut(9);
    session.received(first, &mut Vec::new()).unwrap();
    let heard = std::thread::scope(|scope| {
        let there = move || {
            let mut heard = Vec::new();
            session.received(second, &mut heard).unwrap();
            heard
        };
        scope.spawn(there).join().unwrap()
    });
    assert_eq!(heard, b"half here, half there");
}
