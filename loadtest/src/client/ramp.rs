//! Opening many connections without drowning the server's accept queue.

use super::Client;
use crate::measure::clock::SECOND;

/// Opens connections tagged 0, 1, 2, …, at most so many at once and so many per second.
pub struct Ramp {
    wanted: u32,
    begun: u32,
    at_once: usize,
    per_second: Option<f64>,
    since: Option<u64>,
}

impl Ramp {
    /// `at_once`: most connections that are connecting or upgrading at the same time.
    pub fn new(wanted: u32, at_once: usize, per_second: Option<f64>) -> Self {
        Self {
            wanted,
            begun: 0,
            at_once: at_once.max(1),
            per_second,
            since: None,
        }
    }

    /// Begins what may be begun at `now`; returns when there may be more to begin (also after any poll).
    pub fn step(&mut self, now: u64, client: &mut Client) -> u64 {
        let since = *self.since.get_or_insert(now);
        let allowed = match self.per_second {
            None => self.wanted,
            Some(rate) => {
                let due = (now - since) as f64 / SECOND as f64 * rate;
                (due as u32).saturating_add(1).min(self.wanted)
            }
        };
        while self.begun < allowed && client.opening() < self.at_once {
            client.connect(self.begun);
            self.begun += 1;
        }
        match self.per_second {
            Some(rate) if self.begun < self.wanted => {
                since + (f64::from(self.begun) / rate * SECOND as f64) as u64 + 1
            }
            _ => u64::MAX,
        }
    }

    /// Stops beginning further connections.
    pub fn stop(&mut self) {
        self.wanted = self.begun;
    }

    /// Whether every connection was begun.
    pub fn all_begun(&self) -> bool {
        self.begun == self.wanted
    }

    /// Connections begun so far.
    pub fn begun(&self) -> u64 {
        u64::from(self.begun)
    }
}
