//! At home: which shards have an audience, and of what kind.

use ahash::AHashMap;
use smallvec::SmallVec;

use crate::vocabulary::{ChannelName, ShardId};

/// A shard with an audience.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Interested {
    pub(crate) shard: ShardId,
    /// Whether some of that audience take compressed broadcasts. A moment old: who has just come gets the plain form until
    /// the home has heard of it.
    pub(crate) deflates: bool,
}

/// The channels homed on this shard that anybody listens to.
#[derive(Debug, Default)]
pub(crate) struct Homes {
    interested: AHashMap<ChannelName, SmallVec<[Interested; 8]>>,
}

impl Homes {
    /// Notes that a shard has (or has no longer) an audience.
    pub(crate) fn note(&mut self, channel: ChannelName, shard: ShardId, on: bool) {
        if on {
            let shards = self.interested.entry(channel).or_default();
            if !shards.iter().any(|interested| interested.shard == shard) {
                shards.push(Interested {
                    shard,
                    deflates: false,
                });
            }
        } else if let Some(shards) = self.interested.get_mut(&channel) {
            shards.retain(|interested| interested.shard != shard);
            if shards.is_empty() {
                self.interested.remove(&channel);
            }
        }
    }

    /// Notes whether some of a shard's audience take compressed broadcasts.
    pub(crate) fn note_deflates(&mut self, channel: &str, shard: ShardId, on: bool) {
        let shards = self.interested.get_mut(channel);
        if let Some(interested) = shards.and_then(|shards| {
            shards
                .iter_mut()
                .find(|interested| interested.shard == shard)
        }) {
            interested.deflates = on;
        }
    }

    /// Shards with an audience.
    pub(crate) fn interested(&self, channel: &str) -> &[Interested] {
        self.interested.get(channel).map_or(&[], SmallVec::as_slice)
    }

    pub(crate) fn len(&self) -> usize {
        self.interested.len()
    }
}
