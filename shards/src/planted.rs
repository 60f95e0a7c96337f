//! Faults put in on purpose, so that the simulator can show that it would find such a fault of ours.
//!
//! Only with the feature `planted-faults`, and then only in a shard that was told [`Shard::plant`]; nothing but the simulator
//! does either.

use crate::shard::Shard;

/// One fault, as a slip of the engine's own code would make it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Fan-out passes one member over.
    SkipDelivery,
    /// Fan-out puts a frame into one member's outbox twice.
    DoubleDelivery,
    /// A connection goes, and its user or address stays counted.
    ForgetDeregistration,
}

/// What a shard is about to do wrong.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Planted(Option<Fault>);

impl Planted {
    /// True once, if it is this fault that was planted.
    pub(crate) fn strikes(&mut self, fault: Fault) -> bool {
        let strikes = self.0 == Some(fault);
        if strikes {
            self.0 = None;
        }
        strikes
    }
}

impl Shard {
    /// At the next opportunity this shard makes this fault, once.
    pub fn plant(&mut self, fault: Fault) {
        self.planted = Planted(Some(fault));
    }
}
