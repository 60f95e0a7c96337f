//! The state of a pool and every decision about it. Behind one lock; nothing here waits, time is an argument.
//!
//! **What lives here.** [`Core`], the state. By occasion: `requests` (what users do), `openings` (what becomes of connections),
//! `backends` (what becomes of backends). By question: `serve` (which connection serves an acquire), `give` (who gets one that is
//! free), `pump` (what can be started now), `balance` (which backend is next). One backend: `member`, and its `breaker`. `sound`:
//! what must always hold.
//!
//! **What does not.** Waiting, opening, closing: decisions come out as [`Actions`], which `shared` carries out after the lock is
//! released.
//!
//! **Invariants.** Neither clock nor `async` nor task here (held to by `tests/tidy.rs` of the repository); those of `sound` after
//! every change, checked in debug builds.
//!
//! **Who calls in.** The rest of `pool`. **Tests**: beside the code; `tests/pool.rs`, `tests/pool_seeded.rs`.

mod backends;
mod balance;
mod breaker;
mod give;
mod member;
mod openings;
mod pump;
mod requests;
mod serve;
#[cfg(debug_assertions)]
mod sound;

pub(super) use balance::hash_of;
pub use breaker::BreakerState;
pub(super) use member::{Key, Member};
pub(super) use requests::{Requested, Return};

use super::{
    acquire::AcquireError, events::PoolEvent, guard::PooledConnection, options::PoolOptions,
};
use crate::{announce::Announcer, connection::Connection, target::Target};
use balance::Balancer;
use std::{collections::BTreeMap, sync::Arc};
use tokio::sync::oneshot;

/// A connection that is handed out.
pub(in crate::pool) struct Lease {
    pub(in crate::pool) id: u64,
    pub(in crate::pool) member: Key,
    pub(in crate::pool) backend: Arc<str>,
    pub(in crate::pool) connection: Connection,
    /// It was used before, so it may have died meanwhile.
    pub(in crate::pool) reused: bool,
}

pub(in crate::pool) type Answer = Result<PooledConnection, AcquireError>;

/// Somebody who waits, in the order of tickets.
pub(in crate::pool) struct Waiter {
    /// Binds it to one backend.
    pub(in crate::pool) key: Option<u64>,
    /// For whom a connection is being opened, and at which backend. It may get another one before.
    pub(in crate::pool) assigned: Option<Key>,
    /// The backend it was picked for, while another connection makes room for one to there.
    pub(in crate::pool) wanted: Option<Key>,
    pub(in crate::pool) answer: oneshot::Sender<Answer>,
}

/// A connection to be opened.
pub(in crate::pool) struct Opening {
    pub(in crate::pool) member: Key,
    pub(in crate::pool) target: Arc<Target>,
    pub(in crate::pool) probe: bool,
}

/// How a connection leaves the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pool) enum End {
    /// With a close handshake.
    Close,
    /// Cut: it does not answer.
    Cut,
}

/// What is to be done when the lock is released.
#[derive(Default)]
pub(in crate::pool) struct Actions {
    pub(in crate::pool) openings: Vec<Opening>,
    pub(in crate::pool) endings: Vec<(Connection, End)>,
    pub(in crate::pool) deliveries: Vec<(oneshot::Sender<Answer>, Result<Lease, AcquireError>)>,
    /// The keeper's next deadline may have changed.
    pub(in crate::pool) wake_keeper: bool,
    /// Nothing is left of a closed pool.
    pub(in crate::pool) emptied: bool,
}

/// Where an acquire can be served.
pub(in crate::pool) enum Served {
    Idle(Lease),
    Opening(Key),
    /// When another connection is closed, one to this backend can be opened.
    MakingRoom(Key),
    /// Not now.
    Later,
}

pub(in crate::pool) struct Core {
    pub(in crate::pool) options: Arc<PoolOptions>,
    pub(in crate::pool) members: Vec<Member>,
    pub(in crate::pool) waiters: BTreeMap<u64, Waiter>,
    pub(in crate::pool) balancer: Balancer,
    pub(in crate::pool) announcer: Announcer<PoolEvent>,
    pub(in crate::pool) closed: bool,
    numbers: u64,
}

impl Core {
    pub(in crate::pool) fn new(options: Arc<PoolOptions>) -> Core {
        Core {
            balancer: Balancer::new(options.load_balancing, options.slow_start),
            options,
            members: Vec::new(),
            waiters: BTreeMap::new(),
            announcer: Announcer::default(),
            closed: false,
            numbers: 0,
        }
    }

    /// A number never used before in this pool: tickets, connections, backends.
    pub(in crate::pool) fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    pub(in crate::pool) fn member(&mut self, key: Key) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.key == key)
    }

    /// All connections, those on their way in and out included.
    pub(in crate::pool) fn total(&self) -> usize {
        let of = |member: &Member| member.held() + member.closing.len();
        self.members.iter().map(of).sum()
    }

    fn closing(&self) -> usize {
        self.members.iter().map(|member| member.closing.len()).sum()
    }

    pub(in crate::pool) fn is_full(&self) -> bool {
        self.total() >= self.options.max_connections
    }

    pub(in crate::pool) fn open(&mut self, index: usize, probe: bool, actions: &mut Actions) {
        let member = &mut self.members[index];
        member.opening += 1;
        if probe {
            member.breaker.probe_started();
        }
        actions.openings.push(Opening {
            member: member.key,
            target: member.target.clone(),
            probe,
        });
    }

    /// Sends a connection out of the pool. It counts until its socket is gone.
    pub(in crate::pool) fn end(
        &mut self,
        index: usize,
        id: u64,
        connection: Connection,
        end: End,
        actions: &mut Actions,
    ) {
        if !connection.is_gone() {
            self.members[index].closing.insert(id);
        }
        actions.endings.push((connection, end));
    }
}
