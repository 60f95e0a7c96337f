//! What the conductor and the workers tell each other; one JSON text per line between processes.

use serde::{Deserialize, Serialize};

use crate::scenarios::Outcome;

/// From a worker. A worker sends `Opened`, `Measuring`, `Sent` and `Done` once each, in this order, and progress in between;
/// `Measuring` may be missing if the run ends during the warm-up.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum FromWorker {
    /// All connections are open (or have failed).
    Opened { opened: u64 },
    /// The warm-up is over.
    Measuring,
    /// Once per second.
    Progress(Progress),
    /// Sending is over; how many messages of each stream were sent.
    Sent(Vec<u32>),
    /// The result.
    Done(Box<Outcome>),
    /// The worker gives up.
    Failed(String),
}

/// To all workers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToWorker {
    /// Begin at this time (nanoseconds of the clock, which all processes share).
    Go { start: u64 },
    /// All are through with sending; together they sent so many messages of each stream.
    Expect(Vec<u32>),
}

/// Where a worker is in its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Phase {
    Opening,
    WarmUp,
    Measuring,
    Draining,
}

/// The state of a worker, for the line of progress.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Progress {
    pub phase: Phase,
    /// Connections wanted, and open now.
    pub wanted: u64,
    pub open: u64,
    /// Messages since the beginning.
    pub sent: u64,
    pub received: u64,
    /// 99th percentile of the last second's latencies in nanoseconds.
    pub p99: Option<u64>,
    pub errors: u64,
}
