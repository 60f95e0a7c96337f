//! What lies between the program and frames: TLS, and permessage-deflate.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use common::{Fault, Server, run};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use shardwire_protocol::handshake::server::{
    Progress, RequestLimits, read_request, upgrade, write_accept,
};
use shardwire_protocol::websocket::deflate::{Deflater, Inflater, negotiate};
use shardwire_protocol::websocket::frame::{Kind, write_server, write_server_deflated};
use shardwire_protocol::websocket::{Decoder, Event, Lent, Role, Rules};

/// Serves every connection on a thread of its own; they end with the test process.
fn listen(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let serve = Arc::clone(&serve);
            thread::spawn(move || serve(socket));
        }
    });
    address
}

/// Echo by rustls and tungstenite, and the file with its certificate.
fn secure_echo(test: &str) -> (SocketAddr, PathBuf) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{test}.pem"));
    fs::write(&file, made.cert.pem()).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    let config = Arc::new(config);
    let address = listen(move |socket| {
        let tls = ServerConnection::new(Arc::clone(&config)).unwrap();
        let Ok(mut websocket) = tungstenite::accept(StreamOwned::new(tls, socket)) else {
            return;
        };
        while let Ok(message) = websocket.read() {
            let is_data = message.is_text() || message.is_binary();
            if is_data && websocket.send(message).is_err() {
                return;
            }
        }
    });
    (address, file)
}

#[test]
fn messages_come_back_through_tls() {
    let (address, ca) = secure_echo("through_tls");
    for size in ["64", "300KiB"] {
        let ran = run(&format!(
            "echo --url wss://{address}/ --ca {} -c 5 --in-flight 3 --size {size} --count 200",
            ca.display()
        ));
        assert_eq!((ran.code, ran.found()), (0, (0, 0, 0, 0)), "{}", ran.stdout);
        assert_eq!(ran.report["received"], 200);
    }
}

#[test]
fn a_certificate_that_is_not_trusted_is_named_as_the_reason() {
    let (address, _) = secure_echo("untrusted");
    let (_, other) = secure_echo("another");
    let ran = run(&format!(
        "echo --url wss://{address}/ --ca {} -c 2 --count 2",
        other.display()
    ));
    assert_eq!(ran.code, 1);
    assert!(
        ran.stderr.contains("TLS: invalid peer certificate"),
        "{}",
        ran.stderr
    );
    let plain = run(&format!("echo --url wss://{address}/ -c 1 --count 1"));
    assert!(
        plain.code != 0 && plain.stderr.contains("--ca"),
        "{}",
        plain.stderr
    );
}

/// Echo that insists on permessage-deflate in both directions: it closes when a long message is not compressed.
fn compressing_echo(mut socket: TcpStream) {
    let mut head = Vec::new();
    let mut accept = Vec::new();
    while accept.is_empty() {
        let mut byte = [0];
        if socket.read(&mut byte).unwrap_or(0) == 0 {
            return;
        }
        head.push(byte[0]);
        if let Progress::Complete { request, .. } =
            read_request(&head, 0, &RequestLimits::default()).unwrap()
        {
            let upgrade = upgrade(&request).unwrap();
            let agreement = negotiate(upgrade.extensions.iter().copied(), false);
            assert!(agreement.is_some(), "nothing was offered");
            write_accept(&mut accept, upgrade.key, None, agreement.as_ref());
        }
    }
    socket.write_all(&accept).unwrap();
    let rules = Rules {
        role: Role::Server,
        max_message_size: 1 << 20,
    };
    let (mut decoder, mut inflater, mut deflater) =
        (Decoder::default(), Inflater::default(), Deflater::new(1));
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = socket.read(&mut buffer) {
        let mut input = &mut buffer[..count];
        assert!(
            count > 1000 || input[0] & 0x40 != 0 || input[0] == 0x88,
            "not compressed"
        );
        let mut out = Vec::new();
        while !input.is_empty() {
            let lent = Lent {
                inflater: &mut inflater,
                context: None,
            };
            let decoded = decoder.decode_with(&rules, Some(lent), input).unwrap();
            match decoded.event {
                Some(Event::Binary(bytes)) => {
                    let deflated = deflater.deflate(bytes, 15).expect("it shrinks");
                    write_server_deflated(&mut out, Kind::Binary, deflated);
                }
                Some(Event::Close(_)) => write_server(&mut out, Kind::Close, &[3, 232]),
                _ => {}
            }
            let consumed = decoded.consumed;
            input = &mut input[consumed..];
        }
        if socket.write_all(&out).is_err() {
            return;
        }
    }
}

#[test]
fn messages_come_back_compressed() {
    let address = listen(compressing_echo);
    let ran = run(&format!(
        "echo --url ws://{address}/ --compress -c 4 --size 4KiB --count 100"
    ));
    assert_eq!(
        (ran.code, ran.found()),
        (0, (0, 0, 0, 0)),
        "{} {}",
        ran.stdout,
        ran.stderr
    );
    assert_eq!(ran.report["received"], 100);
}

#[test]
fn a_server_that_does_not_compress_is_not_measured_as_if_it_did() {
    let server = Server::start(Fault::None);
    let ran = run(&format!(
        "echo --url {} --compress -c 2 --count 2",
        server.url("/echo")
    ));
    assert_eq!(ran.code, 1);
    assert!(
        ran.stderr.contains("did not take the offer"),
        "{}",
        ran.stderr
    );
}
