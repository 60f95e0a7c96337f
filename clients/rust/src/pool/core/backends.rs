//! What becomes of backends: checked, half-opened, removed; sweeps, and the end of the pool. Each is one change under the lock,
//! and ends by pumping.

use super::{Actions, Core, End, breaker::Change, member::Key};
use crate::pool::{acquire::AcquireError, events::PoolEvent};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

impl Core {
    /// A health check has ended, after `latency`.
    pub(in crate::pool) fn checked(
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
    pub(in crate::pool) fn tick(&mut self, now: Instant, actions: &mut Actions) {
        for index in 0..self.members.len() {
            if let Some(change) = self.members[index].breaker.tick(now) {
                self.announce(index, change, "");
            }
        }
        self.pump(now, actions);
    }

    /// When [`Core::tick`] has something to do, as far as is known now.
    pub(in crate::pool) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let breakers = self
            .members
            .iter()
            .filter_map(|member| member.breaker.deadline());
        let retries = self.members.iter().filter_map(|member| member.retry_at);
        breakers.chain(retries.filter(|at| *at > now)).min()
    }

    /// Closes what has been idle for too long, the longest first, down to the minimum (D12).
    pub(in crate::pool) fn sweep(&mut self, now: Instant, actions: &mut Actions) {
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
    pub(in crate::pool) fn remove(&mut self, index: usize, now: Instant, actions: &mut Actions) {
        let member = &mut self.members[index];
        member.removed = true;
        if let Some(task) = member.health_task.take() {
            task.abort();
        }
        self.retire_idle(index, actions);
        self.pump(now, actions);
    }

    /// No more.
    pub(in crate::pool) fn close(&mut self, now: Instant, actions: &mut Actions) {
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

    pub(in crate::pool) fn announce(&mut self, index: usize, change: Change, error: &str) {
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

    pub(in crate::pool) fn tell(&mut self, event: &PoolEvent) {
        tracing::info!(backend = event.backend(), ?event, "a backend changed");
        self.announcer.announce(event);
    }

    /// Closes the idle connections of a backend that may not be used.
    pub(in crate::pool) fn retire_idle(&mut self, index: usize, actions: &mut Actions) {
        while let Some(idle) = self.members[index].idle.pop_front() {
            self.end(index, idle.id, idle.connection, End::Close, actions);
        }
    }
}
