//! Channels by name, with the audience each has on the shard.

use std::collections::BTreeMap;

use super::{NameFilter, Search};
use crate::bounds::SEARCH_SLICE;
use crate::shard::Shard;
use crate::vocabulary::{ChannelName, Now};

/// One channel's audience on one shard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChannelInfo {
    /// Its name.
    pub name: ChannelName,
    /// Subscribers on the shard.
    pub subscribers: usize,
}

/// The first channels of one shard, in order of their names.
#[derive(Debug)]
pub struct ChannelSearch {
    filter: NameFilter,
    next: usize,
    found: BTreeMap<ChannelName, usize>,
}

impl ChannelSearch {
    /// Asks for channels by name.
    #[must_use]
    pub fn new(filter: NameFilter) -> Self {
        Self {
            filter,
            next: 0,
            found: BTreeMap::new(),
        }
    }
}

impl Search for ChannelSearch {
    type Found = Vec<ChannelInfo>;

    fn step(&mut self, _now: Now, shard: &Shard) -> bool {
        let Some(slice) = shard.channels.audiences.slice(self.next, SEARCH_SLICE) else {
            return false;
        };
        self.next += SEARCH_SLICE;
        for audience in slice {
            if self.filter.wants(&audience.name) {
                self.found.insert(audience.name.clone(), audience.len());
                if self.found.len() > self.filter.limit {
                    self.found.pop_last();
                }
            }
        }
        true
    }

    fn found(self) -> Vec<ChannelInfo> {
        let info = |(name, subscribers)| ChannelInfo { name, subscribers };
        self.found.into_iter().map(info).collect()
    }
}
