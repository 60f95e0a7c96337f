//! A peer to measure against: axum (tokio-tungstenite inside) on one tokio thread, rooms by tokio's broadcast channels as in its chat
//! example.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::any;
use axum::serve::ListenerExt;
use futures_util::future::pending;
use peers::{Inbound, MESSAGE_MAX, address, understand};
use tokio::net::TcpListener;
use tokio::sync::broadcast::{Receiver, Sender, channel};

/// Messages a room keeps for those who are late.
const ROOM_KEEPS: usize = 1024;

type Rooms = Arc<Mutex<HashMap<String, Sender<Utf8Bytes>>>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let address = address();
    let listener = TcpListener::bind(&address).await?.tap_io(|socket| {
        let _ = socket.set_nodelay(true);
    });
    println!("listening on {address}");
    let router = Router::new()
        .route("/echo", any(on_echo))
        .route("/ws", any(on_rooms))
        .with_state(Rooms::default());
    axum::serve(listener, router).await
}

async fn on_echo(upgrade: WebSocketUpgrade) -> Response {
    upgrade.max_message_size(MESSAGE_MAX).on_upgrade(echo)
}

async fn on_rooms(upgrade: WebSocketUpgrade, State(rooms): State<Rooms>) -> Response {
    upgrade
        .max_message_size(MESSAGE_MAX)
        .on_upgrade(move |socket| speak(socket, rooms))
}

async fn echo(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        let is_data = matches!(message, Message::Text(_) | Message::Binary(_));
        if is_data && socket.send(message).await.is_err() {
            return;
        }
    }
}

/// One room per connection, which is what is measured.
async fn speak(mut socket: WebSocket, rooms: Rooms) {
    let mut room: Option<Receiver<Utf8Bytes>> = None;
    loop {
        let said = async {
            match &mut room {
                Some(room) => room.recv().await,
                None => pending().await,
            }
        };
        let answer = tokio::select! {
            message = socket.recv() => {
                let Some(Ok(message)) = message else { return };
                let Message::Text(text) = message else { continue };
                match understand(&text) {
                    Inbound::Subscribe(name, answer) => {
                        room = Some(sender(&rooms, name).subscribe());
                        answer.into()
                    }
                    Inbound::Publish(name, answer) => {
                        // Nobody there is no error.
                        let _ = sender(&rooms, name).send(answer.into());
                        continue;
                    }
                    Inbound::Other => continue,
                }
            }
            said = said => match said {
                Ok(said) => said,
                // Late: what was missed is gone.
                Err(_) => continue,
            },
        };
        if socket.send(Message::Text(answer)).await.is_err() {
            return;
        }
    }
}

fn sender(rooms: &Rooms, name: &str) -> Sender<Utf8Bytes> {
    let mut rooms = rooms.lock().expect("nobody panics while it holds the rooms");
    if let Some(sender) = rooms.get(name) {
        return sender.clone();
    }
    let sender = channel(ROOM_KEEPS).0;
    rooms.insert(name.to_owned(), sender.clone());
    sender
}
