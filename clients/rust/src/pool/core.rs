//! The state of a pool and every decision about it. Behind one lock; nothing here waits, time is an argument.
//!
//! Decisions come out as [`Actions`], which are carried out after the lock is released.

use super::{
    balance::{Balancer, Purpose},
    breaker::Change,
    events::PoolEvent,
    member::{Idle, Key, Member},
    options::PoolOptions,
};
use crate::{announce::Announcer, connection::Connection, target::Target};
use std::{collections::BTreeMap, sync::Arc};
use tokio::{sync::oneshot, time::Instant};

use super::{acquire::AcquireError, guard::PooledConnection};

/// A connection that is handed out.
pub(super) struct Lease {
    pub(super) id: u64,
    pub(super) member: Key,
    pub(super) backend: Arc<str>,
    pub(super) connection: Connection,
    /// It was used before, so it may have died meanwhile.
    pub(super) reused: bool,
}

pub(super) type Answer = Result<PooledConnection, AcquireError>;

/// Somebody who waits, in the order of tickets.
pub(super) struct Waiter {
    /// Binds it to one backend.
    pub(super) key: Option<u64>,
    /// For whom a connection is being opened, and at which backend. It may get another one before.
    pub(super) assigned: Option<Key>,
    /// The backend it was picked for, while another connection makes room for one to there.
    pub(super) wanted: Option<Key>,
    pub(super) answer: oneshot::Sender<Answer>,
}

/// A connection to be opened.
pub(super) struct Opening {
    pub(super) member: Key,
    pub(super) target: Arc<Target>,
    pub(super) probe: bool,
}

/// How a connection leaves the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With a close handshake.
    Close,
    /// Cut: it does not answer.
    Cut,
}

/// What is to be done when the lock is released.
#[derive(Default)]
pub(super) struct Actions {
    pub(super) openings: Vec<Opening>,
    pub(super) endings: Vec<(Connection, End)>,
    pub(super) deliveries: Vec<(oneshot::Sender<Answer>, Result<Lease, AcquireError>)>,
    /// The keeper's next deadline may have changed.
    pub(super) wake_keeper: bool,
    /// Nothing is left of a closed pool.
    pub(super) emptied: bool,
}

/// Where an acquire can be served.
pub(super) enum Served {
    Idle(Box<Lease>),
    Opening(Key),
    /// When another connection is closed, one to this backend can be opened.
    MakingRoom(Key),
    /// Not now.
    Later,
}

pub(super) struct Core {
    pub(super) options: Arc<PoolOptions>,
    pub(super) members: Vec<Member>,
    pub(super) waiters: BTreeMap<u64, Waiter>,
    pub(super) balancer: Balancer,
    pub(super) announcer: Announcer<PoolEvent>,
    pub(super) closed: bool,
    numbers: u64,
}

impl Core {
    pub(super) fn new(options: Arc<PoolOptions>) -> Core {
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
    pub(super) fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    pub(super) fn member(&mut self, key: Key) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.key == key)
    }

    /// All connections, those on their way in and out included.
    pub(super) fn total(&self) -> usize {
        let of = |member: &Member| member.held() + member.closing.len();
        self.members.iter().map(of).sum()
    }

    fn closing(&self) -> usize {
        self.members.iter().map(|member| member.closing.len()).sum()
    }

    pub(super) fn is_full(&self) -> bool {
        self.total() >= self.options.max_connections
    }

    /// The connections a backend should have when all are needed: its share of the maximum by weight, rounded down (but
    /// none goes without, if there is one for each) and up.
    fn share(&self, index: usize, now: Instant) -> (usize, usize) {
        let (mut sum, mut count) = (0u128, 0);
        for member in self
            .members
            .iter()
            .filter(|member| member.is_available(now))
        {
            sum += self.balancer.weight(member, now) as u128;
            count += 1;
        }
        if sum == 0 {
            return (0, 0);
        }
        let max = self.options.max_connections;
        let product = max as u128 * self.balancer.weight(&self.members[index], now) as u128;
        let least = usize::from(max >= count);
        let (down, up) = (product / sum, product.div_ceil(sum));
        ((down as usize).max(least), up as usize)
    }

    // ---- serving ----

    /// Serves one acquire as far as it can be now.
    pub(super) fn serve(
        &mut self,
        key: Option<u64>,
        now: Instant,
        actions: &mut Actions,
    ) -> Served {
        self.bury_the_dead();
        let full = self.is_full();
        let picked = match self.balancer.binds(key) {
            Some(key) => self.bound_to(key, now),
            None => {
                self.mark_serviceable(full, now);
                self.balancer.pick(&mut self.members, Purpose::Acquire, now)
            }
        };
        let Some(index) = picked else {
            return Served::Later;
        };
        if let Some(lease) = self.take_idle(index) {
            return Served::Idle(Box::new(lease));
        }
        if !self.members[index].may_retry(now) {
            return Served::Later;
        }
        if full {
            return match self.make_room_for(index, now, actions) {
                true => Served::MakingRoom(self.members[index].key),
                false => Served::Later,
            };
        }
        self.open(index, false, actions);
        Served::Opening(self.members[index].key)
    }

    /// Where a bound acquire goes: capacity does not matter, only whether the backend is there.
    fn bound_to(&self, key: u64, now: Instant) -> Option<usize> {
        let there = |member: &Member| {
            member.is_usable() && (!member.idle.is_empty() || member.may_retry(now))
        };
        let members = self.members.iter().enumerate();
        Balancer::rendezvous(members.filter(|(_, member)| there(member)), key)
    }

    /// Whether a connection of this backend is right for an acquire with this key.
    pub(super) fn accepts(&self, key: Option<u64>, index: usize, now: Instant) -> bool {
        match self.balancer.binds(key) {
            None => true,
            Some(key) => {
                let there = |member: &Member| {
                    member.is_usable()
                        && (member.key == self.members[index].key
                            || !member.idle.is_empty()
                            || member.may_retry(now))
                };
                let members = self.members.iter().enumerate();
                Balancer::rendezvous(members.filter(|(_, member)| there(member)), key)
                    == Some(index)
            }
        }
    }

    fn mark_serviceable(&mut self, full: bool, now: Instant) {
        for index in 0..self.members.len() {
            let member = &self.members[index];
            let serviceable = member.is_usable()
                && (!member.idle.is_empty()
                    || member.may_retry(now) && {
                        let (least, most) = self.share(index, now);
                        match full {
                            // Nobody takes more than its share, or one slow backend would collect them all.
                            false => member.held() < most,
                            true => member.held() < least && self.victim(index, now).is_some(),
                        }
                    });
            self.members[index].eligible = serviceable;
        }
    }

    /// The idle connection that gives way for one to `index`: the one idle for longest, of a backend that has its share or
    /// may not be used.
    fn victim(&self, index: usize, now: Instant) -> Option<usize> {
        let bound = self.balancer.binds(Some(0)).is_some();
        let candidates = self.members.iter().enumerate().filter(|(other, member)| {
            let spare = || {
                bound
                    || !member.is_usable()
                    || member.held() > self.share(*other, now).0
                    || self.members[index].held() == 0 && member.held() > 1
            };
            *other != index && !member.idle.is_empty() && spare()
        });
        candidates
            .min_by_key(|(_, member)| member.idle.front().map(|idle| idle.since))
            .map(|(other, _)| other)
    }

    /// Closes an idle connection elsewhere, unless enough are closing for those who wait. Whether it did.
    fn make_room_for(&mut self, index: usize, now: Instant, actions: &mut Actions) -> bool {
        let unserved = self
            .waiters
            .values()
            .filter(|waiter| waiter.assigned.is_none());
        if self.closing() > unserved.count() {
            return false;
        }
        if let Some(other) = self.victim(index, now)
            && let Some(idle) = self.members[other].idle.pop_front()
        {
            self.end(other, idle.id, idle.connection, End::Close, actions);
            return true;
        }
        false
    }

    /// Serves one for whom room is being made: at the backend it was picked for, and nowhere else, or that one would never
    /// have its turn. `None`: that has come to nothing, and it is served like anybody.
    fn serve_wanted(&mut self, wanted: Key, now: Instant, actions: &mut Actions) -> Option<Served> {
        let index = self
            .members
            .iter()
            .position(|member| member.key == wanted)?;
        if !self.members[index].is_available(now) {
            return None;
        }
        if let Some(lease) = self.take_idle(index) {
            return Some(Served::Idle(Box::new(lease)));
        }
        if !self.is_full() {
            self.open(index, false, actions);
            return Some(Served::Opening(wanted));
        }
        (self.closing() > 0).then_some(Served::Later)
    }

    /// Connections that ended while they were idle are no longer there to be taken.
    fn bury_the_dead(&mut self) {
        for member in &mut self.members {
            while let Some(idle) = member.idle.back()
                && !idle.connection.is_open()
            {
                // Its socket may still be in the close handshake: `gone` will take it from there.
                if !idle.connection.is_gone() {
                    member.closing.insert(idle.id);
                }
                member.idle.pop_back();
            }
        }
    }

    fn take_idle(&mut self, index: usize) -> Option<Lease> {
        let member = &mut self.members[index];
        let idle = member.idle.pop_back()?;
        member.active += 1;
        Some(Lease {
            id: idle.id,
            member: member.key,
            backend: member.id.clone(),
            connection: idle.connection,
            reused: true,
        })
    }

    pub(super) fn open(&mut self, index: usize, probe: bool, actions: &mut Actions) {
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
    pub(super) fn end(
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

    // ---- giving ----

    /// A connection of `index` is free: to the first who waits and takes it, else idle. `opened`: it is new, and may have been
    /// opened for somebody.
    pub(super) fn give(
        &mut self,
        index: usize,
        id: u64,
        connection: Connection,
        opened: bool,
        now: Instant,
        actions: &mut Actions,
    ) {
        let member = self.members[index].key;
        if !opened {
            // What still comes was meant for its last user. Off again when it is checked out.
            connection.set_discarding(true);
        }
        let takes = |(_, waiter): &(&u64, &Waiter)| {
            // Whom it was opened for takes it, wherever its key would go by now.
            opened && waiter.assigned == Some(member) || self.accepts(waiter.key, index, now)
        };
        let first = self.waiters.iter().find(takes).map(|(ticket, _)| *ticket);
        let Some(waiter) = first.and_then(|ticket| self.waiters.remove(&ticket)) else {
            // Nobody reads it: what comes must not stop the socket from being read, and pings from being answered.
            connection.set_discarding(true);
            let since = now;
            self.members[index].idle.push_back(Idle {
                id,
                connection,
                since,
            });
            return;
        };
        let mut orphan = waiter.assigned;
        if opened && orphan == Some(member) {
            orphan = None;
        } else if opened {
            // It was opened for somebody else: that one inherits what was being opened for this one.
            self.unassign(member);
        }
        if let Some(orphan) = orphan {
            self.assign(orphan, now);
        }
        self.members[index].active += 1;
        let lease = Lease {
            id,
            member,
            backend: self.members[index].id.clone(),
            connection,
            reused: !opened,
        };
        actions.deliveries.push((waiter.answer, Ok(lease)));
    }

    /// The first for whom a connection was being opened at `member` has to look elsewhere.
    pub(super) fn unassign(&mut self, member: Key) {
        let mut waiters = self.waiters.values_mut();
        if let Some(waiter) = waiters.find(|waiter| waiter.assigned == Some(member)) {
            waiter.assigned = None;
        }
    }

    /// What is being opened at `member` is for the first who waits for nothing yet and takes it.
    pub(super) fn assign(&mut self, member: Key, now: Instant) {
        let Some(index) = self.members.iter().position(|known| known.key == member) else {
            return;
        };
        let takes = |(_, waiter): &(&u64, &Waiter)| {
            waiter.assigned.is_none() && self.accepts(waiter.key, index, now)
        };
        let first = self.waiters.iter().find(takes).map(|(ticket, _)| *ticket);
        if let Some(waiter) = first.and_then(|ticket| self.waiters.get_mut(&ticket)) {
            waiter.assigned = Some(member);
        }
    }

    /// Whether a connection that comes back should make room for another backend: for a probe, or for one that has less than
    /// its share while this one has more.
    pub(super) fn gives_way(&self, index: usize, now: Instant) -> bool {
        // The connection in question is neither active nor idle at this moment.
        if self.total() + 1 < self.options.max_connections {
            return false;
        }
        let probe = |member: &Member| {
            !member.removed
                && member.healthy
                && member.breaker.wants_probe()
                && member.may_retry(now)
        };
        if self.members.iter().any(probe) {
            return true;
        }
        if self.waiters.is_empty() {
            return false;
        }
        self.members[index].held() + 1 > self.share(index, now).1
            && self.members.iter().enumerate().any(|(other, member)| {
                member.is_available(now) && member.held() < self.share(other, now).0
            })
    }

    // ---- pumping ----

    /// Starts whatever can be started now. Called after every change.
    pub(super) fn pump(&mut self, now: Instant, actions: &mut Actions) {
        if self.closed {
            actions.emptied = self.total() == 0;
            return;
        }
        self.start_probes(now, actions);
        if !self.waiters.is_empty() {
            self.serve_waiters(now, actions);
        }
        self.open_ahead(now, actions);
        self.members
            .retain(|member| !member.removed || member.held() > 0 || !member.closing.is_empty());
    }

    fn start_probes(&mut self, now: Instant, actions: &mut Actions) {
        for index in 0..self.members.len() {
            let member = &self.members[index];
            if member.removed
                || !member.healthy
                || !member.breaker.wants_probe()
                || !member.may_retry(now)
            {
                continue;
            }
            if !self.is_full() {
                self.open(index, true, actions);
            } else if self.closing() == 0 {
                let oldest = |member: &Member| member.idle.front().map(|idle| idle.since);
                let others = self.members.iter().enumerate();
                let victim = others
                    .filter(|(_, member)| !member.idle.is_empty())
                    .min_by_key(|(_, member)| oldest(member))
                    .map(|(other, _)| other);
                if let Some(other) = victim
                    && let Some(idle) = self.members[other].idle.pop_front()
                {
                    self.end(other, idle.id, idle.connection, End::Close, actions);
                }
            }
        }
    }

    fn serve_waiters(&mut self, now: Instant, actions: &mut Actions) {
        if let Some(error) = self.unavailable() {
            for (_, waiter) in std::mem::take(&mut self.waiters) {
                actions.deliveries.push((waiter.answer, Err(error.clone())));
            }
            return;
        }
        loop {
            let mut unserved = self
                .waiters
                .iter()
                .filter(|(_, waiter)| waiter.assigned.is_none());
            let Some((&ticket, waiter)) = unserved.next() else {
                return;
            };
            // In order: while the first cannot be served, nobody behind it takes what it waits for.
            let (key, wanted) = (waiter.key, waiter.wanted);
            let served = wanted.and_then(|wanted| self.serve_wanted(wanted, now, actions));
            let served = match served {
                Some(served) => served,
                None => self.serve(key, now, actions),
            };
            match served {
                Served::Later => return,
                Served::MakingRoom(member) => {
                    if let Some(waiter) = self.waiters.get_mut(&ticket) {
                        waiter.wanted = Some(member);
                    }
                    return;
                }
                Served::Opening(member) => {
                    if let Some(waiter) = self.waiters.get_mut(&ticket) {
                        waiter.assigned = Some(member);
                        waiter.wanted = None;
                    }
                }
                Served::Idle(lease) => {
                    if let Some(waiter) = self.waiters.remove(&ticket) {
                        actions.deliveries.push((waiter.answer, Ok(*lease)));
                    }
                }
            }
        }
    }

    /// Keeps `min_connections`.
    fn open_ahead(&mut self, now: Instant, actions: &mut Actions) {
        loop {
            let live: usize = self.members.iter().map(Member::held).sum();
            if live >= self.options.min_connections || self.is_full() {
                return;
            }
            for index in 0..self.members.len() {
                let member = &self.members[index];
                let below = member.held() < self.share(index, now).1;
                self.members[index].eligible = self.members[index].is_available(now) && below;
            }
            match self.balancer.pick(&mut self.members, Purpose::Warm, now) {
                Some(index) => self.open(index, false, actions),
                None => return,
            }
        }
    }

    /// Why nobody can be served, if no backend is worth waiting for.
    pub(super) fn unavailable(&self) -> Option<AcquireError> {
        if self.members.iter().any(Member::is_hopeful) {
            return None;
        }
        let reason = |member: &Member| {
            let what = match member.healthy {
                true => "circuit breaker open",
                false => "unhealthy",
            };
            let error = member.last_error.as_deref().unwrap_or("no reason known");
            format!("{}: {what}: {error}", member.id)
        };
        let reasons = self
            .members
            .iter()
            .filter(|member| !member.removed)
            .map(reason);
        Some(AcquireError::Unavailable {
            reasons: reasons.collect(),
        })
    }

    // ---- backends ----

    pub(super) fn announce(&mut self, index: usize, change: Change, error: &str) {
        let backend = self.members[index].id.clone();
        let event = match change {
            Change::Opened => {
                metrics::counter!("shardwire_client_pool_breaker_opened_total", "backend" => backend.to_string())
                    .increment(1);
                PoolEvent::BreakerOpened {
                    backend,
                    error: error.to_owned(),
                }
            }
            Change::HalfOpened => PoolEvent::BreakerHalfOpened { backend },
            Change::Closed => PoolEvent::BreakerClosed { backend },
        };
        self.tell(&event);
    }

    pub(super) fn tell(&mut self, event: &PoolEvent) {
        tracing::info!(backend = event.backend(), ?event, "a backend changed");
        self.announcer.announce(event);
    }

    /// Closes the idle connections of a backend that may not be used.
    pub(super) fn retire_idle(&mut self, index: usize, actions: &mut Actions) {
        while let Some(idle) = self.members[index].idle.pop_front() {
            self.end(index, idle.id, idle.connection, End::Close, actions);
        }
    }
}
