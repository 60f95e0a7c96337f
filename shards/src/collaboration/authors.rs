//! Who has edited, and how far.

use std::hash::Hash;
use std::sync::Arc;

use ahash::AHashMap;

use crate::vocabulary::UserId;

/// One copy of a document in one program of a user, over all its connections.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Author {
    /// The user, so that nobody can speak under another user's replica.
    pub user: UserId,
    /// What the client calls its copy, a new name for each: 1 to
    /// [`REPLICA_NAME_BYTES_MAX`](crate::bounds::REPLICA_NAME_BYTES_MAX) bytes.
    pub replica: Arc<str>,
}

/// What is remembered of an author.
#[derive(Debug)]
pub(super) struct Progress<M> {
    /// Number of its last edit.
    pub(super) number: u64,
    /// The version that made; 0: not known.
    pub(super) version: u64,
    /// As which member it is here.
    pub(super) member: Option<M>,
}

/// The authors that are members or have edited lately: no more than there are members, and edits between two sweeps and before.
#[derive(Debug)]
pub(super) struct Authors<M> {
    known: AHashMap<Author, Progress<M>>,
    /// Every author of an edit of this version or a later one is known.
    complete_from: u64,
}

impl<M: Copy + Eq + Hash> Authors<M> {
    pub(super) fn new(complete_from: u64) -> Self {
        Self {
            known: AHashMap::new(),
            complete_from,
        }
    }

    /// The first version from which on every edit's author is known.
    pub(super) fn complete_from(&self) -> u64 {
        self.complete_from
    }

    pub(super) fn get(&self, author: &Author) -> Option<&Progress<M>> {
        self.known.get(author)
    }

    pub(super) fn get_mut(&mut self, author: &Author) -> Option<&mut Progress<M>> {
        self.known.get_mut(author)
    }

    pub(super) fn insert(&mut self, author: Author, progress: Progress<M>) {
        self.known.insert(author, progress);
    }

    /// Forgets an author that is gone, if it has edited nothing that is remembered.
    pub(super) fn forget_idle(&mut self, author: &Author) {
        if (self.known.get(author)).is_some_and(|progress| progress.version == 0) {
            self.known.remove(author);
        }
    }

    /// Forgets the authors that are not here and have edited nothing since the edit of `version`.
    pub(super) fn sweep(&mut self, version: u64) {
        let complete_from = &mut self.complete_from;
        self.known.retain(|_, progress| {
            let keep = progress.member.is_some() || progress.version >= version;
            if !keep {
                *complete_from = (*complete_from).max(progress.version + 1);
            }
            keep
        });
    }

    /// Author, number and version of each.
    pub(super) fn list(&self) -> Vec<(Author, u64, u64)> {
        let row = |(author, progress): (&Author, &Progress<M>)| {
            (author.clone(), progress.number, progress.version)
        };
        self.known.iter().map(row).collect()
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.known.len()
    }
}
