//! Real sockets: TCP, TLS with a certificate of the test's own, a proxy.
#![allow(clippy::unwrap_used)]

mod support;

use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ClientConfig, RootCertStore, ServerConfig, crypto::aws_lc_rs};
use shardwire_client::{ConnectError, ConnectOptions, Message, Proxy, Tls, connect};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use support::Peer;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

fn direct() -> ConnectOptions {
    ConnectOptions {
        proxy: Proxy::Direct,
        ..ConnectOptions::default()
    }
}

/// An echo server behind a stream of any kind.
async fn echo_over(
    mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
) {
    let (mut ours, theirs) = duplex(support::STREAM_BYTES);
    let pipe = async { copy_bidirectional(&mut stream, &mut ours).await };
    let echo = async {
        if let Some(peer) = Peer::try_accept(theirs).await {
            peer.echo().await;
        }
    };
    let _ = tokio::join!(pipe, echo);
}

async fn tcp_server() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(echo_over(stream));
        }
    });
    address
}

/// A `wss` server for `localhost`, and what trusts it.
async fn tls_server() -> (SocketAddr, Tls) {
    let mut authority = CertificateParams::new(vec![]).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".into()])
        .unwrap()
        .signed_by(&key, &authority)
        .unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    let trusting = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    echo_over(stream).await;
                }
            });
        }
    });
    (address, Tls::custom(Arc::new(trusting)))
}

async fn exchange(url: &str, options: &ConnectOptions) {
    let mut socket = connect(url, options).await.unwrap();
    for size in [0, 1, 1000, 100_000] {
        let text = "é".repeat(size);
        socket.send(Message::text(text.clone())).await.unwrap();
        assert_eq!(socket.receive().await.unwrap(), Message::Text(text));
    }
    socket.close(1000, "").await.unwrap();
}

#[tokio::test]
async fn over_tcp() {
    let address = tcp_server().await;
    exchange(&format!("ws://{address}/"), &direct()).await;
    exchange(&format!("ws://localhost:{}/", address.port()), &direct()).await;
}

#[tokio::test]
async fn over_tls_with_the_right_certificate_only() {
    let (address, trusting) = tls_server().await;
    let url = format!("wss://localhost:{}/", address.port());
    let trusted = ConnectOptions {
        tls: trusting.clone(),
        ..direct()
    };
    exchange(&url, &trusted).await;
    // Not one the system trusts; not for this name.
    let error = connect(&url, &direct()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Tls(_)), "{error}");
    let error = connect(&format!("wss://{address}/"), &trusted)
        .await
        .unwrap_err();
    assert!(matches!(error, ConnectError::Tls(_)), "{error}");
    // Nothing there at all.
    let nowhere = format!("ws://127.0.0.1:{}/", free_port().await);
    assert!(matches!(
        connect(&nowhere, &direct()).await,
        Err(ConnectError::Io(_))
    ));
}

async fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    listener.local_addr().unwrap().port()
}

/// A proxy that keeps the requests it got; it answers 407 unless they carry the password.
async fn proxy() -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let requests = Arc::new(Mutex::new(Vec::new()));
    let kept = requests.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let kept = kept.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                kept.lock().unwrap().push(head.clone());
                if !head.contains("Proxy-Authorization: Basic bWU6cHc=") {
                    let _ = stream.write_all(b"HTTP/1.1 407 Who\r\n\r\n").await;
                    return;
                }
                let target = head
                    .split(' ')
                    .nth(1)
                    .unwrap()
                    .replace("localhost", "127.0.0.1");
                let mut onward = TcpStream::connect(target).await.unwrap();
                // In two pieces, as it happens.
                stream
                    .write_all(b"HTTP/1.1 200 Connection est")
                    .await
                    .unwrap();
                tokio::task::yield_now().await;
                stream
                    .write_all(b"ablished\r\nVia: test\r\n\r\n")
                    .await
                    .unwrap();
                let _ = copy_bidirectional(&mut stream, &mut onward).await;
            });
        }
    });
    (address, requests)
}

#[tokio::test]
async fn through_a_proxy() {
    let (secure, trusting) = tls_server().await;
    let plain = tcp_server().await;
    let (proxy, requests) = proxy().await;
    let through = |credentials: &str| ConnectOptions {
        proxy: Proxy::Through(format!("http://{credentials}{proxy}")),
        tls: trusting.clone(),
        ..ConnectOptions::default()
    };
    let url = format!("wss://localhost:{}/", secure.port());
    exchange(&url, &through("me:pw@")).await;
    exchange(&format!("ws://{plain}/"), &through("me:pw@")).await;
    {
        let requests = requests.lock().unwrap();
        let port = secure.port();
        assert!(requests[0].starts_with(&format!("CONNECT localhost:{port} HTTP/1.1\r\n")));
        assert!(requests[0].contains(&format!("Host: localhost:{port}\r\n")));
        assert!(requests[1].starts_with(&format!("CONNECT {plain} HTTP/1.1\r\n")));
    }
    let error = connect(&url, &through("")).await.unwrap_err();
    assert!(
        matches!(&error, ConnectError::Proxy(why) if why.contains("407")),
        "{error}"
    );
}
