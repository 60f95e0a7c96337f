//! Who is there: what users say of themselves, and who is in a channel (contract R1 to R7, decisions D6, D7, D13).
//!
//! **Lives here:** records of users at their home (`users.rs`, `records.rs`) and questions that go from home to home (`ask.rs`), and whether
//! they are silent (`heartbeat.rs`); who
//! is in a channel, at the home of the channel that tells it (`members.rs`, `roster.rs`), inside a number of bytes per second
//! (`budget.rs`); what the operator chose (`settings.rs`). **Does not:** deliver (what is told goes through `channels/`, in the order
//! of a channel like any other); who may ask (`permissions/`); how many connections a user has (`users/`).
//! **Invariants:**
//! * Who is in `room:1` is told in the channel `$presence:room:1`, by the home of that one and nobody else. Whoever subscribes gets a
//!   state, and then each change in order: state and changes with versions behind it give the list as the home has it. A
//!   message that cannot go to all who watch goes to none, and what it would have told goes with the next one.
//! * A user is in a channel while any of its connections is, and for a grace period after that: a connection that comes back meanwhile
//!   changes nothing, and nobody is told.
//! * What one who watches is sent in any second stays inside the budget, a list for newcomers included: beyond it changes are told
//!   together, then only their number.
//! * Nothing is kept of a user that has said nothing of itself, and of the others not for longer than the operator chose.
//!
//! **Called by:** `routing/` (messages, commands), `channels/` (who joins, leaves, watches), `connections/` (who comes and goes), mail,
//! time. **Calls:** `channels/` (to tell), `permissions/`, `mesh/`.
//! **Tests:** beside each file; `tests/presence.rs` on whole shards; the simulator compares every list with the truth.

mod ask;
mod budget;
mod heartbeat;
mod members;
mod records;
mod rooms;
mod roster;
mod settings;
mod users;

use ahash::AHashMap;
use shardwire_protocol::envelope::PRESENCE_PREFIX;

use crate::timers::{Tick, Wheel};
use crate::vocabulary::{ChannelName, UserId};
use records::Records;
use roster::Roster;

pub use settings::PresenceSettings;

/// What a shard knows about presence: of the users it is home of, and of the channels whose presence it is home of.
#[derive(Debug, Default)]
pub(crate) struct Presences {
    records: Records,
    /// By the channel in which it is told.
    rosters: AHashMap<ChannelName, Roster>,
    /// Made with the first entry.
    wheel: Option<Box<Wheel<Due>>>,
    due: Vec<Due>,
    /// Where messages to all are written.
    text: Vec<u8>,
}

/// Something to look at when time has passed.
#[derive(Clone, Debug)]
enum Due {
    /// A user's record.
    Record(UserId),
    /// A member of a channel without connections, by the channel in which it is told.
    Member(ChannelName, UserId),
    /// What has changed in a channel, by the channel in which it is told.
    Changes(ChannelName),
}

impl Presences {
    fn arm(&mut self, at: Tick, due: Due) {
        self.wheel.get_or_insert_default().arm(at, due);
    }

    pub(crate) fn next_tick(&self) -> Option<Tick> {
        self.wheel.as_ref()?.next_tick()
    }

    /// Users of whom something is known.
    pub(crate) fn records(&self) -> usize {
        self.records.len()
    }

    /// Channels of which it is known who is in them.
    pub(crate) fn channels(&self) -> usize {
        self.rosters.len()
    }

    /// Members of all those channels.
    pub(crate) fn members(&self) -> usize {
        self.rosters.values().map(Roster::len).sum()
    }
}

/// The channel about which is told in this one, if it is one in which that is done.
pub(crate) fn told_about(channel: &str) -> Option<&str> {
    channel.strip_prefix(PRESENCE_PREFIX)
}

/// How a channel has to do with presence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    /// Not at all.
    None,
    /// It is known who is in it; told in that channel.
    Counted(ChannelName),
    /// It is one in which that is told.
    Telling,
}
