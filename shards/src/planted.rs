//! Faults put in on purpose, so that the simulator can show that it would find such a fault of ours.
//!
//! Only with the feature `planted-faults`, and then only in a shard that was told [`Shard::plant`]; nothing but the simulator
//! does either.

use crate::shard::Shard;
use crate::vocabulary::{ChannelName, Epoch};

/// One fault, as a slip of the engine's own code would make it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Fan-out passes one member over.
    SkipDelivery,
    /// Fan-out puts a frame into one member's outbox twice.
    DoubleDelivery,
    /// A connection goes, and its user or address stays counted.
    ForgetDeregistration,
    /// A subscriber that catches up is taken for level with the others one record too early.
    EarlySeam,
    /// A shard whose lane was full is not thought of when there is room again.
    ForgetOverflow,
    /// Somebody leaves a channel, and whoever keeps who is in it is not told.
    ForgetLeave,
    /// A log is forgotten, and the next one of its channel goes by the same epoch.
    KeepEpoch,
    /// Notifications are marked as read, and the devices are not told how many are unread now.
    ForgetCount,
    /// A connection leaves a chat room, and the room's home keeps it.
    KeepSeat,
}

/// What a shard is about to do wrong.
#[derive(Clone, Debug, Default)]
pub(crate) struct Planted(Option<Fault>, Option<(ChannelName, Epoch)>);

impl Planted {
    /// True once, if it is this fault that was planted.
    pub(crate) fn strikes(&mut self, fault: Fault) -> bool {
        let strikes = self.0 == Some(fault);
        if strikes {
            self.0 = None;
        }
        strikes
    }

    pub(crate) fn keep_epoch(&mut self, channel: &ChannelName, epoch: Epoch) {
        self.1 = Some((channel.clone(), epoch));
    }

    /// The epoch that was kept for this channel, if one was.
    pub(crate) fn kept_epoch(&self, channel: &ChannelName) -> Option<Epoch> {
        let (kept, epoch) = self.1.as_ref()?;
        (kept == channel).then_some(*epoch)
    }
}

impl Shard {
    /// At the next opportunity this shard makes this fault, once.
    pub fn plant(&mut self, fault: Fault) {
        self.planted = Planted(Some(fault), None);
    }
}
