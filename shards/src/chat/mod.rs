//! Chat rooms: who is in which, and what is said there (contract section 8).
//!
//! **Lives here:** at a connection's shard its seat, the room it is in (`seats.rs`), and whether it types (`typing.rs`); at the room's
//! home who is in it (`rooms.rs`), how many may be, and what the room is told (`home.rs`). **Does not:** delivery, order and history (a
//! room is the channel `room:<id>`; what it is told is published there, see `channels/`); permissions (`permissions/` is asked).
//! **Invariants:**
//! * A connection is in one room at most, and a room has it at most once. Whoever has left, by a message or by its end, is in none.
//! * What is published in a room comes to a member after its own `user-joined` and before its `user-left` of the others' view: members,
//!   messages and departures have one order, that of the channel, and it is the same for all.
//! * A user with several connections in a room comes with the first and goes with the last of them.
//! * All that a connection does in a room goes to its home in the lane of interest: behind the interest of its shard, and in the order
//!   it was done.
//! * Who types and never says that it has stopped has stopped after `typing_ms`.
//!
//! **Called by:** `routing/`, `connections/` (the end, a refresh), `channels/` (leaving), mail from other shards, the shard (time).
//! **Calls:** `channels/`, `permissions/`, `history/` (what was said before), `presence/` (where a user is), `mesh/`.
//! **Tests:** `tests/chat.rs` on whole shards; the simulator checks that nobody is in a room twice or left behind.

mod home;
mod rooms;
mod seats;
mod typing;

use ahash::{AHashMap, AHashSet};

use crate::timers::{Tick, Wheel};
use crate::vocabulary::ConnectionId;
use rooms::Rooms;
use seats::Seat;

/// What the operator chose for rooms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChatSettings {
    /// Connections in one room.
    pub max_members: usize,
    /// Bytes of one message's content.
    pub max_content: usize,
    /// How long somebody types that does not say so again, in milliseconds.
    pub typing_ms: u64,
    /// Publications of before that who joins is given, where the room's channel has history; 0: none.
    pub history: usize,
    /// Whether the presence of a user shows the room it is in.
    pub presence: bool,
}

impl Default for ChatSettings {
    fn default() -> Self {
        Self {
            max_members: 1000,
            max_content: 4 << 10,
            typing_ms: 6_000,
            history: 50,
            presence: true,
        }
    }
}

/// What a shard knows of chat.
#[derive(Debug)]
pub(crate) struct Chat {
    /// Connections of this shard that are in a room, or on their way in.
    seats: AHashMap<ConnectionId, Seat>,
    /// Rooms homed here with anybody in them.
    rooms: Rooms,
    /// When those that type are to be looked at; each of `armed` is in it once.
    wheel: Wheel<ConnectionId>,
    armed: AHashSet<ConnectionId>,
    /// Numbers the questions to homes.
    asks: u32,
    /// What the ids of this shard's messages begin with, and how many there were.
    life: u64,
    said: u64,
    /// Where events are written.
    event: Vec<u8>,
}

impl Chat {
    /// `seed`: a number that no other shard and no other start has.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seats: AHashMap::new(),
            rooms: Rooms::default(),
            wheel: Wheel::default(),
            armed: AHashSet::new(),
            asks: 0,
            life: seed,
            said: 0,
            event: Vec::new(),
        }
    }

    /// Connections of this shard in rooms.
    pub(crate) fn seats(&self) -> usize {
        self.seats.len()
    }

    /// Rooms homed here.
    pub(crate) fn rooms(&self) -> usize {
        self.rooms.len()
    }

    /// When somebody who types is to be looked at.
    pub(crate) fn next_tick(&self) -> Option<Tick> {
        self.wheel.next_tick()
    }
}
