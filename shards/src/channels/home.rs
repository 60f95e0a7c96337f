//! At home: which shards have an audience, and the one order of a channel.

use ahash::AHashMap;
use smallvec::SmallVec;

use crate::vocabulary::{ChannelName, ShardId};

/// The channels homed on this shard that anybody listens to.
#[derive(Debug, Default)]
pub(crate) struct Homes {
    interested: AHashMap<ChannelName, SmallVec<[ShardId; 8]>>,
}

impl Homes {
    /// Notes that a shard has (or has no longer) an audience.
    pub(crate) fn note(&mut self, channel: ChannelName, shard: ShardId, on: bool) {
        if on {
            let shards = self.interested.entry(channel).or_default();
            if !shards.contains(&shard) {
                shards.push(shard);
            }
        } else if let Some(shards) = self.interested.get_mut(&channel) {
            shards.retain(|interested| *interested != shard);
            if shards.is_empty() {
                self.interested.remove(&channel);
            }
        }
    }

    /// Shards with an audience.
    pub(crate) fn interested(&self, channel: &str) -> &[ShardId] {
        self.interested.get(channel).map_or(&[], SmallVec::as_slice)
    }

    pub(crate) fn len(&self) -> usize {
        self.interested.len()
    }
}
