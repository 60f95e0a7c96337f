//! Who is behind the other subscribers of a channel, and how far.

use crate::bounds::LAGS_TOLD_MAX;
use crate::channels::{Lag, Membership};
use crate::connections::Connection;
use crate::history::SlowPolicy;
use crate::shard::Shard;
use crate::vocabulary::ChannelName;

/// One channel in which a connection is behind the other subscribers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LagInfo {
    /// Its name.
    pub channel: ChannelName,
    /// What the channel's rule says of slow subscribers.
    pub policy: SlowPolicy,
    /// It gets what it misses from the channel's history, because it reads slowly or has just come back; else from a queue of its own.
    pub from_history: bool,
    /// Messages that the others have and it has not: by offset where the channel has history (holes included), else those that wait for
    /// it or were dropped.
    pub behind: u64,
    /// Bytes that wait in its queue.
    pub queued_bytes: usize,
}

impl Shard {
    /// In which channels a connection is behind, those first in which it is most: how many, and the first few.
    pub(super) fn lags_of(&self, connection: &Connection) -> (usize, Vec<LagInfo>) {
        let lagging = connection.memberships.iter().filter(|it| it.lags);
        let mut lags: Vec<LagInfo> = lagging.filter_map(|it| self.lag_of(*it)).collect();
        let count = lags.len();
        lags.sort_by(|a, b| {
            b.behind
                .cmp(&a.behind)
                .then_with(|| a.channel.cmp(&b.channel))
        });
        lags.truncate(LAGS_TOLD_MAX);
        (count, lags)
    }

    fn lag_of(&self, membership: Membership) -> Option<LagInfo> {
        let audience = self.channels.audiences.get(membership.audience)?;
        let lag = &audience.laggards.get(membership.position as usize)?.lag;
        if let Lag::Door(_) = lag {
            // On its way in, and not slow.
            return None;
        }
        Some(LagInfo {
            channel: audience.name.clone(),
            policy: audience.slow,
            from_history: matches!(lag, Lag::Log(_)),
            behind: lag.behind(audience.place),
            queued_bytes: lag.bytes(),
        })
    }
}
