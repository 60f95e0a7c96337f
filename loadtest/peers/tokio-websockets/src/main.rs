//! A peer to measure against: tokio-websockets on one tokio thread.
//!
//! `/echo` echoes; any other path speaks `{"type":"subscribe","channel":…}` and `{"type":"publish","channel":…,"message":…}`.
//! One task per connection, one queue per subscriber; what waits for a subscriber leaves in one flush.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_websockets::{Limits, Message, ServerBuilder, WebSocketStream};

#[derive(Deserialize)]
struct Inbound<'a> {
    r#type: &'a str,
    channel: &'a str,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
}

type Socket = WebSocketStream<TcpStream>;
type Rooms = Rc<RefCell<HashMap<String, HashMap<u64, UnboundedSender<Message>>>>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:8081".to_owned());
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
                tokio::task::spawn_local(serve(socket, number, rooms.clone()));
            }
        })
        .await
}

async fn serve(socket: TcpStream, number: u64, rooms: Rooms) {
    let _ = socket.set_nodelay(true);
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

async fn echo(mut websocket: Socket) {
    while let Some(Ok(message)) = websocket.next().await {
        let is_data = message.is_text() || message.is_binary();
        if is_data && websocket.send(message).await.is_err() {
            return;
        }
    }
}

async fn speak(mut websocket: Socket, number: u64, rooms: &Rooms, channels: &mut Vec<String>) {
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
