//! What arrived, against what was sent: lost, duplicated, out of order, changed, and one order for all.
//!
//! *Lives here*: the stamp that every message carries, and exact counting per stream. *Does not live here*: sockets, time,
//! templates.
//!
//! *Invariants*: a *stream* is all messages of one source into one channel, numbered 0, 1, 2, … without a gap by its sender.
//! Every number is counted exactly once as arrived or lost; a second arrival is a duplicate; an arrival after a higher number
//! of its stream is out of order. In an undisturbed stream a receiver costs four bytes.
//!
//! *Called by* `scenarios/`. *Calls* nobody. *Tests*: beside the code, and with planted faults in `tests/correctness.rs`.

pub mod order;
pub mod stamp;
pub mod streams;

use serde::{Deserialize, Serialize};

/// The counts of one process; they add up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Deliveries that had to happen.
    pub expected: u64,
    /// Deliveries that never happened, including those to connections that broke.
    pub lost: u64,
    /// Deliveries after the first of the same message to the same receiver.
    pub duplicated: u64,
    /// Deliveries that came after a later message of the same source in the same channel.
    pub out_of_order: u64,
    /// Messages that carry our stamp but not the rest of what was sent, or arrived where they do not belong.
    pub corrupted: u64,
}

impl Counts {
    /// Adds the counts of another process.
    pub fn merge(&mut self, other: &Counts) {
        self.expected += other.expected;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.out_of_order += other.out_of_order;
        self.corrupted += other.corrupted;
    }
}
