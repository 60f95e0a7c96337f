//! Documents by name: those in memory, and those that are in the store only.

use std::collections::BTreeMap;

use super::{NameFilter, Search};
use crate::collaboration::document_id;
use crate::shard::Shard;
use crate::vocabulary::Now;

/// One document, at its home.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DocumentInfo {
    /// What clients call it.
    pub name: String,
    /// Its version and how many connections are in it; none: nobody has it open, and it is in the store only.
    pub open: Option<(u64, usize)>,
}

/// The first documents homed on one shard, in order of their names.
#[derive(Debug)]
pub struct DocumentSearch {
    filter: NameFilter,
    steps: usize,
    found: BTreeMap<String, Option<(u64, usize)>>,
}

impl DocumentSearch {
    /// Asks for documents by name.
    #[must_use]
    pub fn new(filter: NameFilter) -> Self {
        Self {
            filter,
            steps: 0,
            found: BTreeMap::new(),
        }
    }

    fn add(&mut self, name: &str, open: Option<(u64, usize)>) {
        if self.filter.wants(name) {
            self.found.insert(name.to_owned(), open);
            if self.found.len() > self.filter.limit {
                self.found.pop_last();
            }
        }
    }
}

impl Search for DocumentSearch {
    type Found = Vec<DocumentInfo>;

    fn step(&mut self, _now: Now, shard: &Shard) -> bool {
        self.steps += 1;
        match self.steps {
            // As many as there may be are gone over in less than a millisecond.
            1 => {
                for (name, version, members) in shard.documents.open() {
                    self.add(document_id(name), Some((version, members)));
                }
            }
            // These are kept in order, so that no more are looked at than are wanted.
            2 => {
                let first = self.filter.after.clone().unwrap_or_default();
                let first = first.max(self.filter.prefix.clone());
                let prefix = self.filter.prefix.clone();
                let names = shard.documents.unloaded_from(&first);
                let names = names.map(|name| document_id(name));
                // One more, as the first may be the one after which the others are wanted.
                for name in names
                    .take_while(|name| name.starts_with(&*prefix))
                    .take(self.filter.limit + 1)
                {
                    self.add(name, None);
                }
            }
            _ => return false,
        }
        true
    }

    fn found(self) -> Vec<DocumentInfo> {
        let info = |(name, open)| DocumentInfo { name, open };
        self.found.into_iter().map(info).collect()
    }
}
