//! A peer to measure against: tokio-websockets on one tokio thread.
//!
//! With two more arguments, a certificate and its key (PEM files), it speaks wss by tokio-rustls.
//!
//! One task per connection, one queue per subscriber; what waits for a subscriber leaves in one flush.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use peers::{Inbound, MESSAGE_MAX, address, understand};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_websockets::{Limits, Message, ServerBuilder, WebSocketStream};

type Rooms = Rc<RefCell<HashMap<String, HashMap<u64, UnboundedSender<Message>>>>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let address = address();
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
    let limits = Limits::default().max_payload_len(Some(MESSAGE_MAX));
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
    let mut rooms = rooms.borrow_mut();
    match understand(text) {
        Inbound::Subscribe(channel, answer) => {
            rooms
                .entry(channel.to_owned())
                .or_default()
                .insert(number, sender.clone());
            channels.push(channel.to_owned());
            let _ = sender.send(Message::text(answer));
        }
        Inbound::Publish(channel, answer) => {
            let message = Message::text(answer);
            for subscriber in rooms.get(channel).into_iter().flat_map(HashMap::values) {
                let _ = subscriber.send(message.clone());
            }
        }
        Inbound::Other => {}
    }
}
