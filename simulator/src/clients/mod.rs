//! The fake clients: real frames and the JSON protocol, spoken and understood.
//!
//! **Lives here:** one [`Client`] per connection attempt (who it is, how it behaves, how far its life is), what it says as
//! bytes (`speech.rs`), what it understands of what it hears (`hearing.rs`), its copies of documents (`copies.rs`). **Does not:** when it acts (the world draws
//! that) and whether what it hears is right (`checks/`).
//! **Invariants:** what a client hears was decoded from the bytes its socket delivered, in the role of a client.
//! **Called by:** `world/`. **Calls:** `shardwire_protocol`. **Tests:** beside `speech.rs`.

mod copies;
mod hearing;
mod speech;

pub use copies::{Copy, Reaction};
pub use hearing::{Heard, Listed, Place, understand};
pub use speech::{Offence, Request, Speech};

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use shardwire_protocol::websocket::{Decoder, Role, Rules};
use shardwire_shards::vocabulary::{ConnectionId, Mode};

/// Where a client is in its life, as it sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Speaks, even before it was admitted: clients do not wait.
    Speaking,
    /// Has sent a close frame, of its own or as an answer, or broke the protocol: says nothing more.
    Silent,
    /// Its socket has ended.
    Gone,
}

/// One client with one connection.
#[derive(Debug)]
pub struct Client {
    /// Where from.
    pub address: IpAddr,
    /// Which user, as an index into the scenario's.
    pub user: Option<usize>,
    /// What it speaks.
    pub mode: Mode,
    /// Reads hardly anything during a storm.
    pub slow: bool,
    /// Answers no ping.
    pub mute: bool,
    /// How far it is.
    pub stage: Stage,
    /// The close code it has earned by breaking the protocol, or asked for by closing itself.
    pub earned: Option<u16>,
    /// It has done something, or something was done to it, that may end the connection.
    pub disturbed: bool,
    /// What the server calls it, while it lives there.
    pub connection: Option<ConnectionId>,
    /// The server said `Connected`.
    pub connected: bool,
    /// The server said `Disconnected`.
    pub disconnected: bool,
    /// When the server was last given bytes of it, in milliseconds.
    pub heard_at: u64,
    /// The channels it was told that it is subscribed to.
    pub channels: BTreeSet<usize>,
    /// By channel with history: the place up to which it knows everything.
    pub places: BTreeMap<usize, Place>,
    /// The chat room it was told that it is in.
    pub room: Option<usize>,
    /// The number of unread notifications it was told last.
    pub unread: u64,
    /// Notifications it has heard of: their numbers and ids.
    pub notices: BTreeMap<usize, String>,
    /// Codes of `CloseAll` commands that were given to its shard while it was there.
    pub told_to_go: Vec<u16>,
    pub(crate) decoder: Decoder,
    pub(crate) next_id: u64,
}

/// What clients ask of the server's frames: unmasked, and of any size.
pub(crate) const RULES: Rules = Rules {
    role: Role::Client,
    max_message_size: 16 << 20,
};

impl Client {
    pub(crate) fn new(address: IpAddr, user: Option<usize>, mode: Mode) -> Self {
        Self {
            address,
            user,
            mode,
            slow: false,
            mute: false,
            stage: Stage::Speaking,
            earned: None,
            disturbed: false,
            connection: None,
            connected: false,
            disconnected: false,
            heard_at: 0,
            channels: BTreeSet::new(),
            places: BTreeMap::new(),
            room: None,
            unread: 0,
            notices: BTreeMap::new(),
            told_to_go: Vec::new(),
            decoder: Decoder::default(),
            next_id: 0,
        }
    }

    /// Whether the server has it as an open connection and nothing it knows of is going to end that.
    #[must_use]
    pub fn lives(&self) -> bool {
        self.connected && !self.disconnected && self.stage == Stage::Speaking
    }
}
