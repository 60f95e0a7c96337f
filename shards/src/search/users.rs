//! Users by name, with the connections each has on the shard.

use std::collections::BTreeMap;

use super::{NameFilter, Search};
use crate::bounds::SEARCH_SLICE;
use crate::shard::Shard;
use crate::vocabulary::{Now, UserId};

/// One user's connections on one shard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UserInfo {
    /// Its name.
    pub name: UserId,
    /// Connections on the shard.
    pub connections: usize,
}

/// The first users with connections on one shard, in order of their names.
#[derive(Debug)]
pub struct UserSearch {
    filter: NameFilter,
    next: usize,
    found: BTreeMap<UserId, usize>,
}

impl UserSearch {
    /// Asks for users by name.
    #[must_use]
    pub fn new(filter: NameFilter) -> Self {
        Self {
            filter,
            next: 0,
            found: BTreeMap::new(),
        }
    }
}

impl Search for UserSearch {
    type Found = Vec<UserInfo>;

    fn step(&mut self, _now: Now, shard: &Shard) -> bool {
        let Some(slice) = shard.registry.slice(self.next, SEARCH_SLICE) else {
            return false;
        };
        self.next += SEARCH_SLICE;
        for (_, connection) in slice {
            let Some(user) = &connection.user else {
                continue;
            };
            if self.filter.wants(user) {
                *self.found.entry(user.clone()).or_default() += 1;
                // Once a name has fallen out, there are enough before it, and it never comes in again.
                if self.found.len() > self.filter.limit {
                    self.found.pop_last();
                }
            }
        }
        true
    }

    fn found(self) -> Vec<UserInfo> {
        let info = |(name, connections)| UserInfo { name, connections };
        self.found.into_iter().map(info).collect()
    }
}
