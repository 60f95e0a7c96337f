//! How much is told: so many bytes per second to each subscriber, whatever comes and goes.
//!
//! Of the budget of a second, half flows in steadily and a quarter may be saved up; the last quarter is what the list for a newcomer may
//! take. So in no second does anybody get more than the budget.

use super::PresenceSettings;

/// What may still be told of one channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Allowance {
    /// Thousandths of a byte.
    saved: u64,
    at_ms: u64,
}

impl PresenceSettings {
    /// Bytes that may be saved up.
    pub(super) fn depth(&self) -> usize {
        self.budget_bytes / 4
    }

    /// Longest list that is told.
    pub(super) fn list_bytes_max(&self) -> usize {
        self.budget_bytes / 4
    }

    /// Bytes that flow in between two moments at which gathered changes are told.
    pub(super) fn flow(&self) -> u64 {
        self.budget_bytes as u64 / 2 * self.batch_interval_ms / 1000
    }
}

impl Allowance {
    /// As much as can be saved up.
    pub(super) fn full(now_ms: u64, settings: &PresenceSettings) -> Self {
        Self {
            saved: settings.depth() as u64 * 1000,
            at_ms: now_ms,
        }
    }

    /// Bytes that may be told now.
    pub(super) fn available(&mut self, now_ms: u64, settings: &PresenceSettings) -> usize {
        let passed = now_ms.saturating_sub(self.at_ms);
        self.at_ms = self.at_ms.max(now_ms);
        let flowed = passed.saturating_mul(settings.budget_bytes as u64 / 2);
        let most = settings.depth() as u64 * 1000;
        self.saved = self.saved.saturating_add(flowed).min(most);
        usize::try_from(self.saved / 1000).unwrap_or(usize::MAX)
    }

    /// So much was told.
    pub(super) fn take(&mut self, bytes: usize) {
        self.saved = self.saved.saturating_sub(bytes as u64 * 1000);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever is told when: within any second, and with a list for a newcomer, it stays inside the budget.
        #[test]
        fn no_second_exceeds_the_budget(steps in prop::collection::vec((0_u64..400, 0_usize..9_000), 1..200)) {
            let settings = PresenceSettings { budget_bytes: 8_000, ..PresenceSettings::default() };
            let (mut allowance, mut now) = (Allowance::full(0, &settings), 0);
            let mut told: Vec<(u64, usize)> = Vec::new();
            for (pause, wanted) in steps {
                now += pause;
                let bytes = wanted.min(allowance.available(now, &settings));
                allowance.take(bytes);
                told.push((now, bytes));
                let second: usize = told.iter().filter(|(at, _)| at + 1000 > now).map(|(_, bytes)| bytes).sum();
                prop_assert!(second + settings.list_bytes_max() <= settings.budget_bytes, "{second} bytes");
            }
        }
    }
}
