//! One backend inside the pool: its connections, and whether it may be used.

use super::breaker::{Breaker, BreakerState};
use crate::{
    connection::Connection,
    pool::options::{Backend, PoolOptions},
    reconnect::{Backoff, ReconnectOptions},
    target::Target,
};
use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{task::AbortHandle, time::Instant};

/// Which life of a backend: an id that is removed and added again gets a new one.
pub(in crate::pool) type Key = u64;

/// A full weight of 1, so that a slow start can give less.
const WHOLE: i64 = 1000;

pub(in crate::pool) struct Idle {
    pub(in crate::pool) id: u64,
    pub(in crate::pool) connection: Connection,
    pub(in crate::pool) since: Instant,
}

pub(in crate::pool) struct Member {
    pub(in crate::pool) key: Key,
    pub(in crate::pool) id: Arc<str>,
    pub(in crate::pool) target: Arc<Target>,
    pub(in crate::pool) weight: u32,
    /// Gets nothing new; forgotten when its last connection is gone.
    pub(in crate::pool) removed: bool,
    pub(in crate::pool) healthy: bool,
    /// Checks in a row that contradict `healthy`.
    pub(in crate::pool) contrary: u32,
    pub(in crate::pool) latency: Duration,
    pub(in crate::pool) last_check: Option<SystemTime>,
    pub(in crate::pool) last_error: Option<String>,
    pub(in crate::pool) breaker: Breaker,
    pub(in crate::pool) backoff: Backoff,
    /// Before this no connection is opened.
    pub(in crate::pool) retry_at: Option<Instant>,
    /// When it came back, for the slow start.
    pub(in crate::pool) returned_at: Option<Instant>,
    /// The most recently used one at the back: it is used next, so that those not needed grow old and are swept.
    pub(in crate::pool) idle: VecDeque<Idle>,
    pub(in crate::pool) active: usize,
    pub(in crate::pool) opening: usize,
    pub(in crate::pool) closing: HashSet<u64>,
    /// Smooth weighted round robin: one credit for acquires, one for opening ahead.
    pub(in crate::pool) credit: [i64; 2],
    /// Number of the last pick: ties go to the one picked longest ago.
    pub(in crate::pool) picked: u64,
    /// Whether the pick under way may choose it.
    pub(in crate::pool) eligible: bool,
    pub(in crate::pool) health_task: Option<AbortHandle>,
}

impl Member {
    pub(in crate::pool) fn new(
        key: Key,
        backend: &Backend,
        target: Target,
        options: &PoolOptions,
    ) -> Member {
        Member {
            key,
            id: backend.id.as_str().into(),
            target: Arc::new(target),
            weight: backend.weight,
            removed: false,
            healthy: true,
            contrary: 0,
            latency: Duration::ZERO,
            last_check: None,
            last_error: None,
            breaker: Breaker::new(&options.circuit_breaker),
            backoff: Backoff::new(ReconnectOptions {
                first_delay: Duration::from_millis(100),
                ceiling: Duration::from_secs(5),
                late_delay: Duration::from_secs(1),
                seed: options.seed.map(|seed| seed ^ key),
                ..ReconnectOptions::default()
            }),
            retry_at: None,
            returned_at: None,
            idle: VecDeque::new(),
            active: 0,
            opening: 0,
            closing: HashSet::new(),
            credit: [0; 2],
            picked: 0,
            eligible: false,
            health_task: None,
        }
    }

    /// Its connections without those on their way out.
    pub(in crate::pool) fn held(&self) -> usize {
        self.active + self.idle.len() + self.opening
    }

    /// Whether its connections may be handed out.
    pub(in crate::pool) fn is_usable(&self) -> bool {
        !self.removed && self.healthy && self.breaker.is_closed()
    }

    /// Whether it is worth waiting for.
    pub(in crate::pool) fn is_hopeful(&self) -> bool {
        !self.removed && self.healthy && self.breaker.state() != BreakerState::Open
    }

    /// Whether the last failure is long enough ago.
    pub(in crate::pool) fn may_retry(&self, now: Instant) -> bool {
        self.retry_at.is_none_or(|at| now >= at)
    }

    /// Whether a connection may be opened for a waiter.
    pub(in crate::pool) fn is_available(&self, now: Instant) -> bool {
        self.is_usable() && self.may_retry(now)
    }

    /// Its weight at this moment, in thousandths: less while it starts slowly. `even`: all weigh the same.
    pub(in crate::pool) fn effective_weight(
        &self,
        even: bool,
        slow_start: Duration,
        now: Instant,
    ) -> i64 {
        let whole = match even {
            true => WHOLE,
            false => WHOLE * i64::from(self.weight),
        };
        let Some(returned_at) = self.returned_at else {
            return whole;
        };
        let back = now.duration_since(returned_at);
        if back >= slow_start {
            return whole;
        }
        let share = back.as_secs_f64() / slow_start.as_secs_f64();
        ((whole as f64 * share.max(0.1)) as i64).max(1)
    }
}
