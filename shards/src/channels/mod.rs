//! Named audiences: subscribe, publish, order, interest, fan-out.
//!
//! **Lives here:** which local connections listen to a channel (`audience.rs`), which shards do (`home.rs`, on the
//! channel's home), the way of a publication between them, those of one turn as one frame (`gather.rs`), in what form its subscribers read it (`body.rs`), and subscribers that are not level with the others of their audience: what
//! they lag by (`lag.rs`, `laggards.rs`) and how they catch up (`catch_up.rs`). **Does not:** logs (`history/`), presence, permissions;
//! writing to sockets (an outbox is only filled).
//! **Invariants:** a channel's home orders all its publications, so every subscriber sees the same order and a
//! publisher's own order is kept; a client told `subscribed` gets everything its channel's home accepts from then on, or is told what
//! not; a publication of a channel without history reaches every interested shard or, refused to its publisher, none; one encoding per
//! publication; what waits for slow subscribers is bounded for each connection and for the shard.
//! **Called by:** `routing/`, mail from other shards, `connections/` (leaving, drained sockets), `history/`. **Calls:** `permissions/`,
//! `history/`, `presence/` (who has come, who watches), `mesh/`, `connections/` outboxes.
//! **Tests:** beside `lag.rs`; `tests/channels.rs`, `tests/catching_up.rs`, `tests/slow_policies.rs`; the simulator checks order, loss,
//! duplicates and strays.

mod audience;
mod body;
mod catch_up;
mod fan_out;
mod gather;
mod home;
mod lag;
mod laggards;
mod names;
mod publish;
mod subscribe;

use std::collections::VecDeque;

use shardwire_protocol::envelope::outbound::Place;

pub(crate) use audience::{AudienceKey, Audiences, Membership, SinceAsked};
pub(crate) use body::Body;
pub(crate) use gather::Gathering;
pub(crate) use home::{Homes, Interested};
pub(crate) use lag::Lag;
pub(crate) use names::{DOCUMENT_PREFIX, SHARD_COUNTS, is_document_channel, is_reserved};
pub use names::{document_channel, is_valid_channel_name};

use crate::vocabulary::{ConnectionId, Position};

/// The channels a shard knows: those with a local audience, and those it is home of.
#[derive(Debug, Default)]
pub(crate) struct Channels {
    pub(crate) audiences: Audiences,
    pub(crate) homes: Homes,
    /// Publications of this turn that an audience has still to be given.
    gathering: Gathering,
    /// The same for a huge one, of some turns.
    held: Gathering,
    /// Members of all local audiences together.
    pub(crate) memberships: usize,
    /// Who can go on catching up, in a row; each at most once.
    catching_up: VecDeque<ConnectionId>,
    /// Who would have asked another shard, which is asked enough already.
    parked: Vec<ConnectionId>,
    /// Questions about logs under way, by home.
    asking: Box<[u32]>,
    /// Bytes that wait for slow subscribers.
    queued_bytes: usize,
}

impl Channels {
    pub(crate) fn new(shards: u16) -> Self {
        Self {
            asking: vec![0; usize::from(shards)].into(),
            ..Self::default()
        }
    }

    /// Whether somebody has still to be given what was published in this turn.
    #[inline]
    pub(crate) fn has_gathered(&self) -> bool {
        self.gathering.has_any()
    }

    /// Whether something is held for a huge audience.
    #[inline]
    pub(crate) fn holds(&self) -> bool {
        self.held.has_any()
    }

    fn gathering_of(&mut self, huge: bool) -> &mut Gathering {
        if huge {
            &mut self.held
        } else {
            &mut self.gathering
        }
    }

    /// Bytes that wait for slow subscribers.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Whether somebody waits for a question of another to be answered.
    pub(crate) fn has_parked(&self) -> bool {
        !self.parked.is_empty()
    }
}

/// A place as clients read it.
pub(crate) fn place_on_the_wire(position: Position) -> Place {
    Place {
        offset: position.offset,
        epoch: position.epoch.0,
    }
}
