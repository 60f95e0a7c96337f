//! The other end of a connection.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;

use serde::Serialize;
use serde_json::Value;
use shardwire_protocol::websocket::frame::{Kind, write_client};
use shardwire_protocol::websocket::{Decoder, Event as Decoded, Role, Rules};
use shardwire_shards::vocabulary::ConnectionId;

use super::world::World;

const CLIENT: Rules = Rules {
    role: Role::Client,
    max_message_size: 1 << 30,
};

/// A client that speaks JSON to a simulated engine. It answers pings and closes as any client library does. Dropping it does nothing:
/// [`cut`](Self::cut) ends its connection.
pub struct TestClient {
    world: Rc<RefCell<World>>,
    number: usize,
}

impl fmt::Debug for TestClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TestClient").field(&self.number).finish()
    }
}

impl TestClient {
    pub(super) fn new(world: Rc<RefCell<World>>, number: usize) -> Self {
        Self { world, number }
    }

    /// Its id at the engine.
    ///
    /// # Panics
    /// When it was refused.
    #[must_use]
    pub fn connection(&self) -> ConnectionId {
        let connection = self.with(|peer| peer.connection);
        connection.expect("the engine has opened it")
    }

    /// Sends a message, and lets everything run that follows.
    ///
    /// # Panics
    /// When it has no JSON form.
    pub fn send(&self, message: &(impl Serialize + ?Sized)) {
        let text = serde_json::to_string(message).expect("a test's message has a JSON form");
        self.send_text(&text);
    }

    /// Sends any text.
    pub fn send_text(&self, text: &str) {
        self.with(|peer| peer.say(Kind::Text, text.as_bytes()));
        self.settle();
    }

    /// The next message that has come; none: nothing has, and nothing will before time passes or somebody acts.
    ///
    /// # Panics
    /// When it is not JSON.
    #[must_use]
    pub fn receive(&self) -> Option<Value> {
        self.settle();
        let text = self.with(|peer| peer.texts.pop_front())?;
        Some(serde_json::from_str(&text).expect("an engine says JSON"))
    }

    /// All messages that have come.
    #[must_use]
    pub fn received(&self) -> Vec<Value> {
        std::iter::from_fn(|| self.receive()).collect()
    }

    /// Sends a message, and takes the next one that has come.
    ///
    /// # Panics
    /// When none has.
    pub fn ask(&self, message: &(impl Serialize + ?Sized)) -> Value {
        self.send(message);
        self.receive().expect("an answer has come")
    }

    /// How the engine closed the connection; none: it has not.
    #[must_use]
    pub fn closed(&self) -> Option<(u16, String)> {
        self.settle();
        self.with(|peer| peer.close.clone())
    }

    /// Closes with the closing handshake.
    pub fn close(&self, code: u16) {
        self.with(|peer| {
            if !std::mem::replace(&mut peer.said_close, true) {
                peer.say(Kind::Close, &code.to_be_bytes());
            }
        });
        self.settle();
    }

    /// Is gone without a word, as when a cable is cut.
    pub fn cut(&self) {
        self.world.borrow_mut().cut(self.number);
        self.settle();
    }

    /// Answers pings no more, as a machine that sleeps: the heartbeat finds out.
    pub fn fall_silent(&self) {
        self.with(|peer| peer.silent = true);
    }

    fn with<T>(&self, f: impl FnOnce(&mut Peer) -> T) -> T {
        f(self.world.borrow_mut().peer(self.number))
    }

    fn settle(&self) {
        self.world.borrow_mut().settle();
    }
}

/// What the world knows of a client.
#[derive(Debug, Default)]
pub(super) struct Peer {
    pub(super) shard: usize,
    pub(super) connection: Option<ConnectionId>,
    /// The shard reads.
    pub(super) receiving: bool,
    /// The socket is no more.
    pub(super) ended: bool,
    /// Said, and not read yet.
    pub(super) said: Vec<u8>,
    texts: VecDeque<String>,
    close: Option<(u16, String)>,
    said_close: bool,
    silent: bool,
    decoder: Decoder,
}

impl Peer {
    /// A client whose home is that shard.
    pub(super) fn at(shard: usize) -> Self {
        Self {
            shard,
            ..Self::default()
        }
    }

    fn say(&mut self, kind: Kind, payload: &[u8]) {
        if !self.ended {
            // Every client picks its masks by chance; a test does better without.
            write_client(&mut self.said, kind, payload, [1, 2, 3, 4]);
        }
    }

    /// Takes in what the engine wrote.
    pub(super) fn hear(&mut self, bytes: &mut [u8]) {
        let mut at = 0;
        while at < bytes.len() {
            let decoded = self.decoder.decode(&CLIENT, &mut bytes[at..]);
            let decoded = decoded.expect("an engine speaks WebSocket");
            at += decoded.consumed;
            let answer = match decoded.event {
                None | Some(Decoded::Binary(_) | Decoded::Pong(_)) => None,
                Some(Decoded::Text(text)) => {
                    self.texts.push_back(text.to_owned());
                    None
                }
                Some(Decoded::Ping(payload)) => {
                    (!self.silent).then(|| (Kind::Pong, payload.to_vec()))
                }
                Some(Decoded::Close(close)) => {
                    let (code, reason) = close.map_or((1005, String::new()), |close| {
                        (close.code, close.reason.to_owned())
                    });
                    self.close = Some((code, reason));
                    let first = !std::mem::replace(&mut self.said_close, true) && !self.silent;
                    first.then(|| (Kind::Close, Vec::new()))
                }
            };
            if let Some((kind, payload)) = answer {
                self.say(kind, &payload);
            }
        }
    }
}
