//! Where an engine is in its life.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// Where an engine is in its life. It only goes forward.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Phase {
    /// Shards are being started.
    Starting,
    /// Clients are served.
    Running,
    /// No new connections; clients are told to go.
    Draining,
    /// Every shard has ended.
    Stopped,
}

impl Phase {
    /// All of them, in order.
    pub const ALL: [Self; 4] = [Self::Starting, Self::Running, Self::Draining, Self::Stopped];

    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
        }
    }
}

/// The one flag that says it.
#[derive(Clone, Debug)]
pub(super) struct PhaseFlag(Arc<AtomicU8>);

impl Default for PhaseFlag {
    fn default() -> Self {
        Self(Arc::new(AtomicU8::new(Phase::Starting as u8)))
    }
}

impl PhaseFlag {
    pub(super) fn get(&self) -> Phase {
        Phase::ALL[usize::from(self.0.load(Ordering::Acquire))]
    }

    /// Goes on to `phase`. False: it was there already, or further.
    pub(super) fn advance(&self, phase: Phase) -> bool {
        self.0.fetch_max(phase as u8, Ordering::AcqRel) < phase as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_only_goes_forward() {
        let flag = PhaseFlag::default();
        assert_eq!(flag.get(), Phase::Starting);
        assert!(flag.advance(Phase::Draining));
        assert!(!flag.advance(Phase::Running));
        assert!(!flag.advance(Phase::Draining));
        assert_eq!(flag.get(), Phase::Draining);
        for (at, phase) in Phase::ALL.into_iter().enumerate() {
            assert_eq!(phase as usize, at);
        }
    }
}
