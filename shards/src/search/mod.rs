//! What an operator asks about one shard: which connections, channels, users, documents are there?
//!
//! **Lives here:** searches that look at a slice of the shard per turn, so that the largest shard answers without making its
//! clients wait, and keep only as much as was asked for. **Does not:** changing anything; questions with one place to look
//! ([`Command::ConnectionsOfUser`](crate::vocabulary::Command::ConnectionsOfUser)); adding shards up (the asker does).
//! **Invariants:** a search ends after as many steps as there are slices; what came or went while it ran may or may not be in
//! it; of names the first in order are found, so that the answers of several shards can be merged.
//! **Called by:** the world, between turns. **Calls:** `connections/`, `channels/`, `collaboration/` (reading).
//! **Tests:** `tests/search.rs`.

mod channels;
mod connections;
mod documents;
mod lags;
mod users;

pub use channels::{ChannelInfo, ChannelSearch};
pub use connections::{
    ConnectionFilter, ConnectionInfo, ConnectionOrder, ConnectionSearch, ConnectionStage,
};
pub use documents::{DocumentInfo, DocumentSearch};
pub use lags::LagInfo;
pub use users::{UserInfo, UserSearch};

use crate::shard::Shard;
use crate::vocabulary::Now;

/// A question that is answered slice by slice.
pub trait Search: Send + 'static {
    /// What it finds.
    type Found: Send + 'static;

    /// Looks at the next slice. False: there was none left, the search is over.
    fn step(&mut self, now: Now, shard: &Shard) -> bool;

    /// What was found.
    fn found(self) -> Self::Found;
}

/// Which names are asked for, and how many.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NameFilter {
    /// What they begin with; empty: anything.
    pub prefix: String,
    /// Only names behind this one in order: the last of the answer before, to go on from there.
    pub after: Option<String>,
    /// At most so many.
    pub limit: usize,
}

impl NameFilter {
    pub(crate) fn wants(&self, name: &str) -> bool {
        name.starts_with(&self.prefix) && self.after.as_deref().is_none_or(|after| name > after)
    }
}
