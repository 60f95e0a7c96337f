//! How long to wait.

use crate::{error::ConnectError, message::Ending};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use shardwire_protocol::codes::close::Advice;
use std::time::Duration;

/// When to come back after a connection was lost or could not be opened.
#[derive(Clone, Debug, PartialEq)]
pub struct ReconnectOptions {
    /// Window of the first delay. Default: 1 s.
    pub first_delay: Duration,
    /// By how much the window grows with each failure; at least 1. Default: 2.
    pub factor: f64,
    /// The largest window. Default: 30 s.
    pub ceiling: Duration,
    /// Failures in a row after which to give up; `None`: never. Default: never.
    pub attempts: Option<u32>,
    /// How long a connection must stand before the failures before it are forgotten. Default: 10 s.
    pub stable_after: Duration,
    /// Least delay when the server says to come back late and names no time. Default: 10 s.
    pub late_delay: Duration,
    /// Seed of the jitter, for tests; `None`: from the system. Default: `None`.
    pub seed: Option<u64>,
}

impl Default for ReconnectOptions {
    fn default() -> ReconnectOptions {
        ReconnectOptions {
            first_delay: Duration::from_secs(1),
            factor: 2.0,
            ceiling: Duration::from_secs(30),
            attempts: None,
            stable_after: Duration::from_secs(10),
            late_delay: Duration::from_secs(10),
            seed: None,
        }
    }
}

/// What is known about coming back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hint {
    /// What the server advises.
    pub advice: Advice,
    /// Before this time it does not want us.
    pub retry_after: Option<Duration>,
}

impl From<&Ending> for Hint {
    fn from(ending: &Ending) -> Hint {
        Hint {
            advice: ending.advice(),
            retry_after: None,
        }
    }
}

impl From<&ConnectError> for Hint {
    fn from(error: &ConnectError) -> Hint {
        Hint {
            advice: error.advice(),
            retry_after: error.retry_after(),
        }
    }
}

/// There will be no further attempt. What to do then is the caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GaveUp {
    /// The server does not want this client back (close codes 1000, 1002, 1008, 4500 and others; most HTTP statuses).
    #[error("the server does not want this client back")]
    Refused,
    /// The server wants new credentials (close code 4001, HTTP status 401): begin anew with them. With
    /// [`ConnectOptions::token`](crate::ConnectOptions::token), it has refused two in a row, or there is none any more.
    #[error("the server wants new credentials")]
    NewToken,
    /// [`ReconnectOptions::attempts`] have failed.
    #[error("{0} attempts have failed")]
    Attempts(u32),
}

/// Delays one after the other. Knows no clock: the caller waits.
#[derive(Debug)]
pub struct Backoff {
    options: ReconnectOptions,
    failures: u32,
    random: StdRng,
}

impl Backoff {
    /// Begins with no failure.
    pub fn new(options: ReconnectOptions) -> Backoff {
        let random = match options.seed {
            Some(seed) => StdRng::seed_from_u64(seed),
            None => StdRng::seed_from_u64(rand::random()),
        };
        Backoff {
            options,
            failures: 0,
            random,
        }
    }

    /// Failures since the last connection that proved good.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// A connection has stood this long: the failures before it are forgotten if that was long enough.
    pub fn stood(&mut self, lived: Duration) {
        if lived >= self.options.stable_after {
            self.failures = 0;
        }
    }

    /// Opening failed, or a connection was lost: how long to wait before the next attempt.
    ///
    /// # Errors
    ///
    /// [`GaveUp`].
    pub fn failed(&mut self, hint: Hint) -> Result<Duration, GaveUp> {
        match hint.advice {
            Advice::DoNotComeBack => return Err(GaveUp::Refused),
            Advice::NewTokenFirst => return Err(GaveUp::NewToken),
            Advice::ComeBack | Advice::ComeBackLate | Advice::ComeBackAtOnce => {}
        }
        let failures = self.failures;
        if self.options.attempts.is_some_and(|most| failures >= most) {
            return Err(GaveUp::Attempts(failures));
        }
        self.failures += 1;
        let floor = match (hint.retry_after, hint.advice) {
            (Some(asked), _) => asked,
            (None, Advice::ComeBackLate) => self.options.late_delay,
            // The server spreads its clients itself; but only the first time is it believed.
            (None, Advice::ComeBackAtOnce) if failures == 0 => return Ok(Duration::ZERO),
            _ => Duration::ZERO,
        };
        Ok(floor.saturating_add(self.jitter(failures)))
    }

    /// The window after so many failures.
    pub fn window(&self, failures: u32) -> Duration {
        let growth = self
            .options
            .factor
            .max(1.0)
            .powi(failures.min(1 << 20) as i32);
        let seconds = self.options.first_delay.as_secs_f64() * growth;
        // Also for what is no number any more: `min` takes the other one.
        Duration::from_secs_f64(seconds.min(self.options.ceiling.as_secs_f64()))
    }

    fn jitter(&mut self, failures: u32) -> Duration {
        let share: f64 = self.random.random();
        self.window(failures).mul_f64(share)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const COME_BACK: Hint = Hint {
        advice: Advice::ComeBack,
        retry_after: None,
    };

    fn backoff(seed: u64) -> Backoff {
        Backoff::new(ReconnectOptions {
            seed: Some(seed),
            ..ReconnectOptions::default()
        })
    }

    /// Kolmogorov and Smirnov's distance of `samples` from uniform in 0 to 1.
    fn distance_from_uniform(mut samples: Vec<f64>) -> f64 {
        samples.sort_by(f64::total_cmp);
        let count = samples.len() as f64;
        let distances = samples.iter().enumerate().map(|(rank, sample)| {
            let below = rank as f64 / count;
            let above = (rank + 1) as f64 / count;
            (sample - below).abs().max((above - sample).abs())
        });
        distances.fold(0.0, f64::max)
    }

    #[test]
    fn delays_are_full_jitter() {
        // For each of the first eight failures, 20,000 delays of as many clients.
        let mut clients: Vec<Backoff> = (0..20_000).map(backoff).collect();
        for failure in 0..8u32 {
            let window = f64::from(1 << failure).min(30.0);
            let shares: Vec<f64> = clients
                .iter_mut()
                .map(|client| client.failed(COME_BACK).unwrap().as_secs_f64() / window)
                .collect();
            assert!(shares.iter().all(|share| (0.0..=1.0).contains(share)));
            let distance = distance_from_uniform(shares);
            // 1.95 / sqrt(n): exceeded once in a thousand true uniforms; the seeds are fixed.
            assert!(distance < 1.95 / 20_000f64.sqrt(), "{failure}: {distance}");
        }
        // The check itself: equal jitter (half the window fixed) is far from it.
        let equal = (0..20_000).map(|n| 0.5 + f64::from(n) / 40_000.0).collect();
        assert!(distance_from_uniform(equal) > 0.4);
    }

    #[test]
    fn hints_are_a_floor_below_the_jitter() {
        for (advice, retry_after, floor) in [
            (Advice::ComeBackLate, None, 10.0),
            (Advice::ComeBackLate, Some(Duration::from_secs(3)), 3.0),
            (Advice::ComeBack, Some(Duration::from_secs(60)), 60.0),
        ] {
            let hint = Hint {
                advice,
                retry_after,
            };
            let delays: Vec<f64> = (0..1000)
                .map(|seed| backoff(seed).failed(hint).unwrap().as_secs_f64() - floor)
                .collect();
            assert!(delays.iter().all(|delay| (0.0..=1.0).contains(delay)));
            assert!(distance_from_uniform(delays) < 0.06);
        }
    }

    #[test]
    fn at_once_is_believed_once() {
        let hint = Hint {
            advice: Advice::ComeBackAtOnce,
            retry_after: None,
        };
        let mut backoff = backoff(1);
        assert_eq!(backoff.failed(hint), Ok(Duration::ZERO));
        assert_ne!(backoff.failed(hint), Ok(Duration::ZERO));
        backoff.stood(Duration::from_secs(9));
        assert_eq!(backoff.failures(), 2);
        backoff.stood(Duration::from_secs(10));
        assert_eq!(backoff.failed(hint), Ok(Duration::ZERO));
    }

    #[test]
    fn it_gives_up_when_told_so_or_after_the_attempts() {
        let mut options = ReconnectOptions {
            attempts: Some(3),
            ..ReconnectOptions::default()
        };
        let mut backoff = Backoff::new(options.clone());
        for _ in 0..3 {
            backoff.failed(COME_BACK).unwrap();
        }
        assert_eq!(backoff.failed(COME_BACK), Err(GaveUp::Attempts(3)));
        for (advice, gave_up) in [
            (Advice::DoNotComeBack, GaveUp::Refused),
            (Advice::NewTokenFirst, GaveUp::NewToken),
        ] {
            let hint = Hint {
                advice,
                retry_after: None,
            };
            assert_eq!(Backoff::new(options.clone()).failed(hint), Err(gave_up));
        }
        options.factor = f64::NAN;
        options.first_delay = Duration::MAX;
        assert!(Backoff::new(options).window(u32::MAX) <= Duration::from_secs(30));
    }
}
