//! The circuit breaker of one backend. Decides; time is an argument.
//!
//! ```text
//!            failure_threshold failures in a row
//!   Closed ────────────────────────────────────────► Open
//!     ▲                                               │ recovery_timeout
//!     │ the probe opened          the probe failed    ▼
//!     └──────────────────── HalfOpen ◄──────────── HalfOpen: one probe
//!                               └── back to Open
//! ```

use crate::pool::options::CircuitBreaker;
use std::time::Duration;
use tokio::time::Instant;

/// What a breaker lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BreakerState {
    /// Everything.
    Closed,
    /// Nothing, until the recovery time has passed.
    Open,
    /// One connection, the probe: it decides.
    HalfOpen,
}

/// A change of state that must be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pool) enum Change {
    Opened,
    HalfOpened,
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant },
    HalfOpen { probing: bool },
}

#[derive(Debug)]
pub(in crate::pool) struct Breaker {
    enabled: bool,
    threshold: u32,
    recovery: Duration,
    state: State,
}

impl Breaker {
    pub(in crate::pool) fn new(options: &CircuitBreaker) -> Breaker {
        Breaker {
            enabled: options.enabled,
            threshold: options.failure_threshold,
            recovery: options.recovery_timeout,
            state: State::Closed { failures: 0 },
        }
    }

    pub(in crate::pool) fn state(&self) -> BreakerState {
        match self.state {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    pub(in crate::pool) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    /// When [`Breaker::tick`] has something to do.
    pub(in crate::pool) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Open { until } => Some(until),
            _ => None,
        }
    }

    /// Half-opens when it is time.
    pub(in crate::pool) fn tick(&mut self, now: Instant) -> Option<Change> {
        match self.state {
            State::Open { until } if now >= until => {
                self.state = State::HalfOpen { probing: false };
                Some(Change::HalfOpened)
            }
            _ => None,
        }
    }

    /// Whether the one probe is still to be started.
    pub(in crate::pool) fn wants_probe(&self) -> bool {
        self.state == State::HalfOpen { probing: false }
    }

    pub(in crate::pool) fn probe_started(&mut self) {
        debug_assert!(self.wants_probe(), "one probe at a time");
        self.state = State::HalfOpen { probing: true };
    }

    /// The probe came to nothing that says anything about the backend.
    pub(in crate::pool) fn probe_abandoned(&mut self) {
        if self.state == (State::HalfOpen { probing: true }) {
            self.state = State::HalfOpen { probing: false };
        }
    }

    pub(in crate::pool) fn succeeded(&mut self, probe: bool) -> Option<Change> {
        match &mut self.state {
            State::Closed { failures } => *failures = 0,
            State::HalfOpen { .. } if probe => {
                self.state = State::Closed { failures: 0 };
                return Some(Change::Closed);
            }
            // What began before it opened proves nothing.
            State::HalfOpen { .. } | State::Open { .. } => {}
        }
        None
    }

    pub(in crate::pool) fn failed(&mut self, probe: bool, now: Instant) -> Option<Change> {
        let opens = match &mut self.state {
            State::Closed { failures } => {
                *failures += 1;
                self.enabled && *failures >= self.threshold
            }
            State::HalfOpen { .. } => probe,
            State::Open { .. } => false,
        };
        if !opens {
            return None;
        }
        // Longer than the clock can hold is for ever, and a year is as good.
        let recovery = self.recovery.min(Duration::from_secs(365 * 24 * 3600));
        self.state = State::Open {
            until: now + recovery,
        };
        Some(Change::Opened)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker() -> (Breaker, Instant) {
        (Breaker::new(&CircuitBreaker::default()), Instant::now())
    }

    #[test]
    fn five_failures_in_a_row_open_it_for_a_minute() {
        let (mut breaker, now) = breaker();
        for _ in 0..4 {
            assert_eq!(breaker.failed(false, now), None);
        }
        breaker.succeeded(false);
        for _ in 0..4 {
            assert_eq!(breaker.failed(false, now), None);
        }
        assert_eq!(breaker.failed(false, now), Some(Change::Opened));
        assert_eq!(breaker.tick(now + Duration::from_secs(59)), None);
        assert_eq!(
            breaker.tick(now + Duration::from_secs(60)),
            Some(Change::HalfOpened)
        );
        assert_eq!(breaker.tick(now + Duration::from_secs(61)), None);
    }

    #[test]
    fn the_probe_alone_decides() {
        let (mut breaker, now) = breaker();
        let later = now + Duration::from_secs(60);
        for _ in 0..5 {
            breaker.failed(false, now);
        }
        breaker.tick(later);
        assert!(breaker.wants_probe());
        breaker.probe_started();
        assert!(!breaker.wants_probe());
        // Stragglers from before.
        assert_eq!(breaker.succeeded(false), None);
        assert_eq!(breaker.failed(false, later), None);
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        assert_eq!(breaker.failed(true, later), Some(Change::Opened));
        breaker.tick(later + Duration::from_secs(60));
        breaker.probe_started();
        breaker.probe_abandoned();
        assert!(breaker.wants_probe());
        breaker.probe_started();
        assert_eq!(breaker.succeeded(true), Some(Change::Closed));
        assert!(breaker.is_closed());
    }

    #[test]
    fn a_disabled_one_stays_closed() {
        let mut breaker = Breaker::new(&CircuitBreaker {
            enabled: false,
            ..CircuitBreaker::default()
        });
        for _ in 0..100 {
            assert_eq!(breaker.failed(false, Instant::now()), None);
        }
        assert!(breaker.is_closed());
    }
}
