//! What each socket of a shard is at the moment.

use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap};
use std::net::IpAddr;

use shardwire_shards::vocabulary::{ConnectionId, Opening, ShardId, SocketToken};

use super::tls::Session;
use crate::auth::Ticket;
use crate::listen::{Introducing, Upgrading};
use crate::runtime::SocketId;

/// What a socket is at the moment.
#[derive(Debug)]
pub(crate) enum SocketState {
    /// A proxy's: who the client is, is being read.
    Introducing(Box<Introducing>),
    /// Its upgrade request is being read.
    Upgrading(Box<Upgrading>),
    /// Its upgrade waits for a verdict on who it is.
    Verifying(Box<Verifying>),
    /// At home on another shard: leaves as soon as the driver has stopped receiving.
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

impl SocketState {
    /// Whether it is on its way to being a connection, and costs this shard alone.
    fn is_upgrading(&self) -> bool {
        matches!(
            self,
            Self::Introducing(_) | Self::Upgrading(_) | Self::Verifying(_)
        )
    }

    /// From where an upgrade request is being read.
    fn upgrading_from(&self) -> Option<IpAddr> {
        match self {
            Self::Upgrading(upgrading) => Some(upgrading.address),
            _ => None,
        }
    }
}

/// A socket on its way to another shard.
#[derive(Debug)]
pub(crate) struct HandingOff {
    pub(crate) home: ShardId,
    /// What still comes before the driver has stopped is added to its early bytes.
    pub(crate) stage: Stage,
}

/// How far a socket has come when it is handed off.
#[derive(Debug)]
pub(crate) enum Stage {
    /// Its address is known and no more.
    Accepted {
        /// The client.
        address: IpAddr,
        /// When the patience for the upgrade ends.
        deadline_ms: u64,
        /// What came behind a PROXY protocol header: TLS or a request, not looked at. Empty where none is spoken.
        behind: Vec<u8>,
    },
    /// Upgraded; holds an admission. The socket's name in it is the former shard's.
    Upgraded(Box<Opening>),
}

impl Stage {
    /// Where bytes are kept that come during the hand-off.
    pub(crate) fn early(&mut self) -> &mut Vec<u8> {
        match self {
            Self::Accepted { behind, .. } => behind,
            Self::Upgraded(opening) => &mut opening.early,
        }
    }
}

/// A socket whose request is good, if it is somebody. Holds an admission.
#[derive(Debug)]
pub(crate) struct Verifying {
    /// What still comes is added to its early bytes.
    pub(crate) opening: Opening,
    /// The 101.
    pub(crate) response: Vec<u8>,
    /// Dropped, nobody verifies it any more.
    pub(crate) _ticket: Ticket,
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
    /// The TLS sessions, by the same index; as long as none is attached, this costs nothing.
    sessions: Vec<Option<Box<Session>>>,
    count: usize,
    upgrading: usize,
    /// Upgrade requests being read, by address; nothing of an address without any.
    upgrading_from: HashMap<IpAddr, usize>,
}

impl Sockets {
    /// Sets what a socket is, and gives back what it was.
    pub(crate) fn set(&mut self, id: SocketId, state: SocketState) -> Option<SocketState> {
        if self.entries.len() <= id.index() {
            self.entries.resize_with(id.index() + 1, || None);
        }
        self.upgrading += usize::from(state.is_upgrading());
        if let Some(address) = state.upgrading_from() {
            *self.upgrading_from.entry(address).or_default() += 1;
        }
        if !self.knows(id)
            && let Some(session) = self.sessions.get_mut(id.index())
        {
            *session = None;
        }
        let before = self.entries[id.index()].replace((id, state));
        self.forget(before.as_ref().map(|(_, state)| state));
        self.count += 1;
        before.map(|(_, state)| state)
    }

    pub(crate) fn get_mut(&mut self, id: SocketId) -> Option<&mut SocketState> {
        match self.entries.get_mut(id.index()) {
            Some(Some((known, state))) if *known == id => Some(state),
            _ => None,
        }
    }

    /// Takes the entry out, as it is; its session, if it has one and it was not detached before, is gone.
    pub(crate) fn take(&mut self, id: SocketId) -> Option<SocketState> {
        if !self.knows(id) {
            return None;
        }
        if let Some(session) = self.sessions.get_mut(id.index()) {
            *session = None;
        }
        let taken = self.entries[id.index()].take();
        self.forget(taken.as_ref().map(|(_, state)| state));
        taken.map(|(_, state)| state)
    }

    /// Gives a known socket its TLS session.
    pub(crate) fn attach(&mut self, id: SocketId, session: Box<Session>) {
        debug_assert!(self.knows(id), "a session belongs to a socket");
        if self.sessions.len() <= id.index() {
            self.sessions.resize_with(id.index() + 1, || None);
        }
        self.sessions[id.index()] = Some(session);
    }

    /// The TLS session of a socket that speaks TLS.
    pub(crate) fn session(&mut self, id: SocketId) -> Option<&mut Box<Session>> {
        if self.sessions.is_empty() || !self.knows(id) {
            return None;
        }
        self.sessions.get_mut(id.index())?.as_mut()
    }

    /// Whether a socket speaks TLS.
    pub(crate) fn is_secure(&self, id: SocketId) -> bool {
        self.sessions.get(id.index()).is_some_and(Option::is_some) && self.knows(id)
    }

    /// Takes the session away: its socket moves, or goes on in plain text.
    pub(crate) fn detach(&mut self, id: SocketId) -> Option<Box<Session>> {
        if self.sessions.is_empty() || !self.knows(id) {
            return None;
        }
        self.sessions.get_mut(id.index())?.take()
    }

    fn knows(&self, id: SocketId) -> bool {
        matches!(self.entries.get(id.index()), Some(Some((known, _))) if *known == id)
    }

    fn forget(&mut self, state: Option<&SocketState>) {
        if let Some(state) = state {
            self.count -= 1;
            self.upgrading -= usize::from(state.is_upgrading());
            if let Some(address) = state.upgrading_from()
                && let Entry::Occupied(mut from) = self.upgrading_from.entry(address)
            {
                *from.get_mut() -= 1;
                if *from.get() == 0 {
                    from.remove();
                }
            }
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

    /// Sockets whose upgrade is not answered yet.
    pub(crate) fn upgrading(&self) -> usize {
        self.upgrading
    }

    /// Sockets of this address whose upgrade request is being read.
    pub(crate) fn upgrading_from(&self, address: IpAddr) -> usize {
        self.upgrading_from.get(&address).copied().unwrap_or(0)
    }

    /// All sockets whose upgrade is not answered yet.
    pub(crate) fn all_upgrading(&self) -> Vec<SocketId> {
        let upgrading = |entry: &Option<(SocketId, SocketState)>| match entry {
            Some((id, state)) if state.is_upgrading() => Some(*id),
            _ => None,
        };
        self.entries.iter().filter_map(upgrading).collect()
    }
}

/// What the shard calls a socket.
pub(crate) fn token_of(id: SocketId) -> SocketToken {
    SocketToken(id.as_u64())
}

/// Deadlines that (nearly) all lie the same time ahead, so that the next one goes to the end; the earliest is in front.
#[derive(Debug, Default)]
pub(crate) struct Deadlines(VecDeque<(u64, SocketId)>);

impl Deadlines {
    /// A socket that was accepted elsewhere comes a moment late, and goes in before those that came meanwhile.
    pub(crate) fn push(&mut self, at_ms: u64, id: SocketId) {
        if self.0.back().is_none_or(|(last, _)| *last <= at_ms) {
            self.0.push_back((at_ms, id));
        } else {
            let place = self.0.partition_point(|(at, _)| *at <= at_ms);
            self.0.insert(place, (at_ms, id));
        }
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
