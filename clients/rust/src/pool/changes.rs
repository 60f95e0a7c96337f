//! What happens to a pool from outside: requests, returns, openings, checks, time. Each is one change under the lock, and
//! ends by pumping.

use super::{
    acquire::AcquireError,
    core::{Actions, Answer, Core, End, Lease, Served, Waiter},
    events::PoolEvent,
    member::Key,
};
use crate::{connection::Connection, error::ConnectError, reconnect::Hint};
use shardwire_protocol::codes::close::Advice;
use std::time::{Duration, SystemTime};
use tokio::{sync::oneshot, time::Instant};

/// What a request comes to.
pub(super) enum Requested {
    Ready(Lease),
    Wait(oneshot::Receiver<Answer>),
    Failed(AcquireError),
}

/// Why a connection comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Return {
    /// To be used again.
    Keep,
    /// Its user does not want it to be used again.
    Discard,
    /// It did not answer: that counts against its backend.
    Dead,
}

impl Core {
    /// An acquire asks, or asks again with the ticket it has.
    pub(super) fn request(
        &mut self,
        ticket: u64,
        key: Option<u64>,
        now: Instant,
        actions: &mut Actions,
    ) -> Requested {
        if self.closed {
            return Requested::Failed(AcquireError::Closed);
        }
        if let Some(error) = self.unavailable() {
            return Requested::Failed(error);
        }
        // Nobody overtakes one who came before and for whom nothing is on its way.
        let mut before = self.waiters.range(..ticket);
        let served = match before.any(|(_, waiter)| waiter.assigned.is_none()) {
            true => Served::Later,
            false => self.serve(key, now, actions),
        };
        let (assigned, wanted) = match served {
            Served::Idle(lease) => return Requested::Ready(*lease),
            Served::Opening(member) => (Some(member), None),
            Served::MakingRoom(member) => (None, Some(member)),
            Served::Later => (None, None),
        };
        let (answer, answered) = oneshot::channel();
        self.waiters.insert(
            ticket,
            Waiter {
                key,
                assigned,
                wanted,
                answer,
            },
        );
        Requested::Wait(answered)
    }

    /// An acquire waits no longer.
    pub(super) fn cancel(&mut self, ticket: u64, now: Instant, actions: &mut Actions) {
        if let Some(waiter) = self.waiters.remove(&ticket) {
            if let Some(member) = waiter.assigned {
                self.assign(member, now);
            }
            self.pump(now, actions);
        }
    }

    /// A connection comes back from its user.
    pub(super) fn release(
        &mut self,
        lease: Lease,
        why: Return,
        now: Instant,
        actions: &mut Actions,
    ) {
        let Some(index) = self
            .members
            .iter()
            .position(|member| member.key == lease.member)
        else {
            debug_assert!(false, "a backend outlives its connections");
            return;
        };
        self.members[index].active -= 1;
        if why == Return::Dead {
            self.failed(index, false, "no answer to a ping".into(), now, actions);
        }
        let keep = why == Return::Keep
            && !self.closed
            && lease.connection.is_open()
            && self.members[index].is_usable()
            && !self.gives_way(index, now);
        if keep {
            self.give(index, lease.id, lease.connection, false, now, actions);
        } else {
            let end = match why {
                Return::Dead => End::Cut,
                Return::Keep | Return::Discard => End::Close,
            };
            self.end(index, lease.id, lease.connection, end, actions);
        }
        self.pump(now, actions);
    }

    /// A connection has answered its ping: failures are no longer in a row.
    pub(super) fn validated(&mut self, key: Key) {
        if let Some(member) = self.member(key) {
            // Only a probe closes an open breaker.
            member.breaker.succeeded(false);
        }
    }

    /// An opening has ended.
    pub(super) fn opened(
        &mut self,
        key: Key,
        probe: bool,
        id: u64,
        result: Result<Connection, ConnectError>,
        now: Instant,
        actions: &mut Actions,
    ) {
        let Some(index) = self.members.iter().position(|member| member.key == key) else {
            debug_assert!(false, "a backend outlives its openings");
            return;
        };
        self.members[index].opening -= 1;
        match result {
            Ok(connection) => {
                let member = &mut self.members[index];
                member.backoff.stood(Duration::MAX);
                member.retry_at = None;
                if let Some(change) = member.breaker.succeeded(probe) {
                    member.returned_at = Some(now);
                    self.announce(index, change, "");
                }
                if self.closed || !self.members[index].is_usable() {
                    self.unassign(key);
                    self.end(index, id, connection, End::Close, actions);
                } else {
                    self.give(index, id, connection, true, now, actions);
                }
            }
            Err(error) => {
                if !probe {
                    self.unassign(key);
                }
                self.refused(index, probe, &error, now, actions);
            }
        }
        self.pump(now, actions);
    }

    /// An opening was given up by us: it says nothing about the backend.
    pub(super) fn opening_lost(
        &mut self,
        key: Key,
        probe: bool,
        now: Instant,
        actions: &mut Actions,
    ) {
        if let Some(member) = self.member(key) {
            member.opening -= 1;
            match probe {
                true => member.breaker.probe_abandoned(),
                false => self.unassign(key),
            }
        }
        self.pump(now, actions);
    }

    /// A connection could not be opened.
    fn refused(
        &mut self,
        index: usize,
        probe: bool,
        error: &ConnectError,
        now: Instant,
        actions: &mut Actions,
    ) {
        let member = &mut self.members[index];
        member.last_error = Some(error.to_string());
        let late = error.advice() == Advice::ComeBackLate;
        let hint = Hint {
            advice: match late {
                true => Advice::ComeBackLate,
                // A backend is asked again whatever it says: the breaker is what leaves it alone.
                false => Advice::ComeBack,
            },
            retry_after: error.retry_after(),
        };
        // Gives up only where it is told to; here it never is.
        let delay = member.backoff.failed(hint).unwrap_or_default();
        member.retry_at = Some(now + delay);
        actions.wake_keeper = true;
        match late {
            true => member.breaker.probe_abandoned(),
            false => self.failed(index, probe, error.to_string(), now, actions),
        }
    }

    /// A failure that the breaker counts.
    fn failed(
        &mut self,
        index: usize,
        probe: bool,
        error: String,
        now: Instant,
        actions: &mut Actions,
    ) {
        let member = &mut self.members[index];
        if let Some(change) = member.breaker.failed(probe, now) {
            self.announce(index, change, &error);
            self.retire_idle(index, actions);
            actions.wake_keeper = true;
        }
        self.members[index].last_error = Some(error);
    }

    /// A connection's socket is gone, for whatever reason.
    pub(super) fn gone(&mut self, key: Key, id: u64, now: Instant, actions: &mut Actions) {
        if let Some(member) = self.member(key)
            && !member.closing.remove(&id)
            && let Some(at) = member.idle.iter().position(|idle| idle.id == id)
        {
            member.idle.remove(at);
        }
        self.pump(now, actions);
    }

    /// A health check has ended, after `latency`.
    pub(super) fn checked(
        &mut self,
        key: Key,
        result: Result<Duration, String>,
        now: Instant,
        actions: &mut Actions,
    ) {
        let check = self.options.health_check.clone();
        let Some(index) = self.members.iter().position(|member| member.key == key) else {
            return;
        };
        let member = &mut self.members[index];
        member.last_check = Some(SystemTime::now());
        if result.is_ok() == member.healthy {
            member.contrary = 0;
        } else {
            member.contrary += 1;
        }
        let backend = member.id.clone();
        let turns = member.contrary
            >= match member.healthy {
                true => check.unhealthy_threshold,
                false => check.healthy_threshold,
            };
        if turns {
            member.contrary = 0;
            member.healthy = !member.healthy;
        }
        member.latency = match (&result, member.healthy) {
            (Ok(latency), true) => *latency,
            (Err(_), true) => member.latency,
            // An unhealthy backend has none (P22), also while its first good checks come.
            (_, false) => Duration::ZERO,
        };
        match result {
            Ok(_) if turns => {
                member.returned_at = Some(now);
                member.last_error = None;
                self.tell(&PoolEvent::BackendHealthy { backend });
            }
            Ok(_) => {}
            Err(error) => {
                member.last_error = Some(error.clone());
                if turns {
                    self.tell(&PoolEvent::BackendUnhealthy { backend, error });
                    self.retire_idle(index, actions);
                }
            }
        }
        self.pump(now, actions);
    }

    /// Time has passed.
    pub(super) fn tick(&mut self, now: Instant, actions: &mut Actions) {
        for index in 0..self.members.len() {
            if let Some(change) = self.members[index].breaker.tick(now) {
                self.announce(index, change, "");
            }
        }
        self.pump(now, actions);
    }

    /// When [`Core::tick`] has something to do, as far as is known now.
    pub(super) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let breakers = self
            .members
            .iter()
            .filter_map(|member| member.breaker.deadline());
        let retries = self.members.iter().filter_map(|member| member.retry_at);
        breakers.chain(retries.filter(|at| *at > now)).min()
    }

    /// Closes what has been idle for too long, the longest first, down to the minimum (D12).
    pub(super) fn sweep(&mut self, now: Instant, actions: &mut Actions) {
        let longest = self.options.longest_idle();
        loop {
            let live: usize = self.members.iter().map(|member| member.held()).sum();
            let oldest = self
                .members
                .iter()
                .enumerate()
                .filter_map(|(index, member)| Some((member.idle.front()?.since, index)))
                .min();
            match oldest {
                Some((since, index))
                    if live > self.options.min_connections && now - since >= longest =>
                {
                    if let Some(idle) = self.members[index].idle.pop_front() {
                        self.end(index, idle.id, idle.connection, End::Close, actions);
                    }
                }
                _ => break,
            }
        }
        self.gauge();
        self.pump(now, actions);
    }

    fn gauge(&self) {
        metrics::gauge!("shardwire_client_pool_waiting").set(self.waiters.len() as f64);
        for member in &self.members {
            let backend = member.id.to_string();
            metrics::gauge!("shardwire_client_pool_connections", "backend" => backend.clone(), "state" => "active")
                .set(member.active as f64);
            metrics::gauge!("shardwire_client_pool_connections", "backend" => backend.clone(), "state" => "idle")
                .set(member.idle.len() as f64);
            metrics::gauge!("shardwire_client_pool_healthy", "backend" => backend)
                .set(if member.healthy { 1.0 } else { 0.0 });
        }
    }

    /// A backend gets nothing new; its idle connections are closed, those in use when they come back.
    pub(super) fn remove(&mut self, index: usize, now: Instant, actions: &mut Actions) {
        let member = &mut self.members[index];
        member.removed = true;
        if let Some(task) = member.health_task.take() {
            task.abort();
        }
        self.retire_idle(index, actions);
        self.pump(now, actions);
    }

    /// No more.
    pub(super) fn close(&mut self, now: Instant, actions: &mut Actions) {
        self.closed = true;
        for (_, waiter) in std::mem::take(&mut self.waiters) {
            actions
                .deliveries
                .push((waiter.answer, Err(AcquireError::Closed)));
        }
        for index in 0..self.members.len() {
            if let Some(task) = self.members[index].health_task.take() {
                task.abort();
            }
            self.retire_idle(index, actions);
        }
        self.announcer.end();
        self.pump(now, actions);
    }
}
