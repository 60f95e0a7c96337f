//! What each socket of a shard is at the moment.

use std::collections::VecDeque;

use shardwire_shards::vocabulary::{ConnectionId, ShardId, SocketToken};

use crate::listen::{Newcomer, Upgrading};
use crate::runtime::SocketId;

/// What a socket is at the moment.
#[derive(Debug)]
pub(crate) enum SocketState {
    /// Its upgrade request is being read.
    Upgrading(Box<Upgrading>),
    /// Upgraded, but at home on another shard: leaves as soon as the driver has stopped receiving.
    HandingOff(Box<HandingOff>),
    /// Given to the shard, which names it in the same turn.
    Opening,
    /// A connection.
    Connection(ConnectionId),
    /// A plain answer is being written; then it is closed.
    Responding(Box<Responding>),
    /// All is said; what the peer still sends is thrown away until it closes too.
    Lingering,
}

/// A socket on its way to another shard.
#[derive(Debug)]
pub(crate) struct HandingOff {
    pub(crate) home: ShardId,
    /// What still comes before the driver has stopped is added to its early bytes.
    pub(crate) newcomer: Newcomer,
}

/// The rest of a plain answer.
#[derive(Debug)]
pub(crate) struct Responding {
    pub(crate) bytes: Vec<u8>,
    pub(crate) written: usize,
}

/// The sockets of one driver, by the driver's own index.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    entries: Vec<Option<(SocketId, SocketState)>>,
    count: usize,
    upgrading: usize,
}

impl Sockets {
    /// Sets what a socket is.
    pub(crate) fn set(&mut self, id: SocketId, state: SocketState) {
        if self.entries.len() <= id.index() {
            self.entries.resize_with(id.index() + 1, || None);
        }
        self.upgrading += usize::from(matches!(state, SocketState::Upgrading(_)));
        let before = self.entries[id.index()].replace((id, state));
        self.forget(before.as_ref().map(|(_, state)| state));
        self.count += 1;
    }

    pub(crate) fn get_mut(&mut self, id: SocketId) -> Option<&mut SocketState> {
        match self.entries.get_mut(id.index()) {
            Some(Some((known, state))) if *known == id => Some(state),
            _ => None,
        }
    }

    /// Takes the entry out, as it is.
    pub(crate) fn take(&mut self, id: SocketId) -> Option<SocketState> {
        match self.entries.get(id.index()) {
            Some(Some((known, _))) if *known == id => {}
            _ => return None,
        }
        let taken = self.entries[id.index()].take();
        self.forget(taken.as_ref().map(|(_, state)| state));
        taken.map(|(_, state)| state)
    }

    fn forget(&mut self, state: Option<&SocketState>) {
        if let Some(state) = state {
            self.count -= 1;
            self.upgrading -= usize::from(matches!(state, SocketState::Upgrading(_)));
        }
    }

    /// The socket a shard's effect means; none if it is gone.
    pub(crate) fn by_token(&self, token: SocketToken) -> Option<SocketId> {
        let index = usize::try_from(token.0 & u64::from(u32::MAX)).ok()?;
        match self.entries.get(index) {
            Some(Some((id, _))) if token_of(*id) == token => Some(*id),
            _ => None,
        }
    }

    /// Sockets of any state.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Sockets whose upgrade request is being read.
    pub(crate) fn upgrading(&self) -> usize {
        self.upgrading
    }

    /// All sockets whose upgrade request is being read.
    pub(crate) fn all_upgrading(&self) -> Vec<SocketId> {
        let upgrading = |entry: &Option<(SocketId, SocketState)>| match entry {
            Some((id, SocketState::Upgrading(_))) => Some(*id),
            _ => None,
        };
        self.entries.iter().filter_map(upgrading).collect()
    }
}

/// What the shard calls a socket.
pub(crate) fn token_of(id: SocketId) -> SocketToken {
    SocketToken(id.as_u64())
}

/// Deadlines that all lie the same time ahead, so that the earliest is always in front.
#[derive(Debug, Default)]
pub(crate) struct Deadlines(VecDeque<(u64, SocketId)>);

impl Deadlines {
    pub(crate) fn push(&mut self, at_ms: u64, id: SocketId) {
        debug_assert!(self.0.back().is_none_or(|(last, _)| *last <= at_ms));
        self.0.push_back((at_ms, id));
    }

    pub(crate) fn next(&self) -> Option<u64> {
        self.0.front().map(|(at, _)| *at)
    }

    /// One socket whose deadline has passed; the caller checks that the deadline still means something.
    pub(crate) fn pop_due(&mut self, now_ms: u64) -> Option<SocketId> {
        if self.next()? > now_ms {
            return None;
        }
        self.0.pop_front().map(|(_, id)| id)
    }
}
