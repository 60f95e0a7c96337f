//! A peer to measure against: tokio-websockets on one tokio thread.
//!
//! With two more arguments, a certificate and its key (PEM files), it speaks wss by tokio-rustls.
//!
//! `/echo` echoes; any other path speaks `{"type":"subscribe","channel":…}` and `{"type":"publish","channel":…,"message":…}`.
//! One task per connection, one queue per subscriber; what waits for a subscriber leaves in one flush.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_websockets::{Limits, Message, ServerBuilder, WebSocketStream};

#[derive(Deserialize)]
struct Inbound<'a> {
    r#type: &'a str,
    channel: &'a str,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
}

type Rooms = Rc<RefCell<HashMap<String, HashMap<u64, UnboundedSender<Message>>>>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:8081".to_owned());
    let acceptor = acceptor();
    let listener = TcpListener::bind(&address).await?;
    println!("listening on {address}");
    let rooms = Rooms::default();
    tokio::task::LocalSet::new()
        .run_until(async move {
            let mut number = 0;
            loop {
                let Ok((socket, _)) = listener.accept().await else {
                    continue;
                };
                number += 1;
                let _ = socket.set_nodelay(true);
                let (acceptor, rooms) = (acceptor.clone(), rooms.clone());
                tokio::task::spawn_local(async move {
                    match acceptor {
                        None => serve(socket, number, rooms).await,
                        Some(acceptor) => {
                            if let Ok(socket) = acceptor.accept(socket).await {
                                serve(socket, number, rooms).await;
                            }
                        }
                    }
                });
            }
        })
        .await
}

/// None without the two arguments.
fn acceptor() -> Option<TlsAcceptor> {
    let (certificate, key) = (std::env::args().nth(2)?, std::env::args().nth(3)?);
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .expect("a PEM file with a certificate");
    let key = PrivateKeyDer::from_pem_file(key).expect("a PEM file with a key");
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a certificate and its key");
    Some(TlsAcceptor::from(Arc::new(config)))
}

async fn serve(socket: impl AsyncRead + AsyncWrite + Unpin, number: u64, rooms: Rooms) {
    let limits = Limits::default().max_payload_len(Some(16 * 1024 * 1024));
    let Ok((request, websocket)) = ServerBuilder::new().limits(limits).accept(socket).await else {
        return;
    };
    if request.uri().path() == "/echo" {
        echo(websocket).await;
    } else {
        let mut channels = Vec::new();
        speak(websocket, number, &rooms, &mut channels).await;
        for channel in channels {
            if let Some(room) = rooms.borrow_mut().get_mut(&channel) {
                room.remove(&number);
            }
        }
    }
}

async fn echo(mut websocket: WebSocketStream<impl AsyncRead + AsyncWrite + Unpin>) {
    while let Some(Ok(message)) = websocket.next().await {
        let is_data = message.is_text() || message.is_binary();
        if is_data && websocket.send(message).await.is_err() {
            return;
        }
    }
}

async fn speak(
    mut websocket: WebSocketStream<impl AsyncRead + AsyncWrite + Unpin>,
    number: u64,
    rooms: &Rooms,
    channels: &mut Vec<String>,
) {
    let (sender, mut queue): (_, UnboundedReceiver<Message>) = unbounded_channel();
    let mut waiting = Vec::new();
    loop {
        tokio::select! {
            message = websocket.next() => {
                let Some(Ok(message)) = message else { return };
                if let Some(text) = message.as_text() {
                    handle(text, number, &sender, rooms, channels);
                }
            }
            _ = queue.recv_many(&mut waiting, 64) => {
                for message in waiting.drain(..) {
                    if websocket.feed(message).await.is_err() {
                        return;
                    }
                }
                if websocket.flush().await.is_err() {
                    return;
                }
            }
        }
    }
}

fn handle(
    text: &str,
    number: u64,
    sender: &UnboundedSender<Message>,
    rooms: &Rooms,
    channels: &mut Vec<String>,
) {
    let Ok(inbound) = serde_json::from_str::<Inbound<'_>>(text) else {
        return;
    };
    let mut rooms = rooms.borrow_mut();
    match (inbound.r#type, inbound.message) {
        ("subscribe", _) => {
            rooms
                .entry(inbound.channel.to_owned())
                .or_default()
                .insert(number, sender.clone());
            channels.push(inbound.channel.to_owned());
            let answer = format!(r#"{{"type":"subscribed","channel":"{}"}}"#, inbound.channel);
            let _ = sender.send(Message::text(answer));
        }
        ("publish", Some(body)) => {
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |time| time.as_millis());
            let answer = format!(
                r#"{{"type":"broadcast","channel":"{}","message":{},"timestamp":{now}}}"#,
                inbound.channel,
                body.get()
            );
            let message = Message::text(answer);
            for subscriber in rooms
                .get(inbound.channel)
                .into_iter()
                .flat_map(HashMap::values)
            {
                let _ = subscriber.send(message.clone());
            }
        }
        _ => {}
    }
}
