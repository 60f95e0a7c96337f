//! What can go wrong when a shard is started or joined.

use std::io;
use std::time::Duration;

/// Failures of starting and joining shards. None of them can be mended by the shard itself: the
/// engine reports and gives up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// A [`DriverOptions`](super::DriverOptions) field out of its range: mended in the
    /// configuration.
    #[error("driver option {option} is {value}, but must be {range}")]
    Option {
        /// Field name.
        option: &'static str,
        /// What it was.
        value: u64,
        /// What it may be, in words.
        range: &'static str,
    },
    /// The kernel refused a part of the driver. [`preflight`](super::preflight) explains the usual
    /// causes.
    #[error("cannot {step}: {source}")]
    Driver {
        /// What was tried, as a verb phrase.
        step: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The shard's thread could not be prepared: glommio could not build its executor (memlock
    /// limit), or the core is outside the process' set.
    #[error("cannot start the executor of shard {shard}: {reason}")]
    Executor {
        /// Which shard.
        shard: usize,
        /// glommio's or the system's words.
        reason: String,
    },
    /// The operating system gave no thread.
    #[error("cannot start the thread of shard {shard}: {source}")]
    Thread {
        /// Which shard.
        shard: usize,
        /// The system's answer.
        source: io::Error,
    },
    /// The shard's thread panicked; its state is lost, its sockets were closed. The node must not
    /// go on as if it were whole.
    #[error("shard {shard} panicked: {message}")]
    Panicked {
        /// Which shard.
        shard: usize,
        /// The panic's message.
        message: String,
    },
    /// The shard did not end in time; its thread was left behind and still runs.
    #[error("shard {shard} did not end within {waited:?}")]
    JoinTimeout {
        /// Which shard.
        shard: usize,
        /// How long it was waited for.
        waited: Duration,
    },
}
