//! The documents whose home this shard is.

use std::collections::BTreeSet;

use ahash::AHashMap;

use super::storing::Disk;
use super::unloaded::Unloaded;
use super::{Document, DocumentSettings};
use crate::bounds::{
    CURSOR_INTERVAL_MS, DOCUMENT_STORE_RETRY_MS, DOCUMENTS_MAX, DOCUMENTS_STORED_MAX,
};
use crate::channels::DOCUMENT_PREFIX;
use crate::vocabulary::{ChannelName, ConnectionId, Epoch};

/// What the operator chose about documents.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CollaborationSettings {
    /// About each.
    pub document: DocumentSettings,
    /// Bytes of memory that all documents of one shard may take.
    pub memory: usize,
    /// How long a document stays when its last member has left, in milliseconds.
    pub unload_after_ms: u64,
}

impl Default for CollaborationSettings {
    fn default() -> Self {
        Self {
            document: DocumentSettings::default(),
            memory: 256 << 20,
            unload_after_ms: 60_000,
        }
    }
}

/// A document at its home.
pub(super) struct Homed {
    document: Document<ConnectionId>,
    disk: Disk,
    /// When the store is asked again that has refused it.
    store_at: Option<u64>,
    /// What it was counted with.
    bytes: usize,
    members: usize,
    /// When cursors were told last.
    cursors_told: Option<u64>,
    /// When they are told again; none: none has moved.
    cursors_due: Option<u64>,
    /// When it goes, unless somebody joins.
    unload_at: Option<u64>,
}

/// All of them.
#[derive(Default)]
pub(crate) struct Documents {
    by_name: AHashMap<ChannelName, Homed>,
    /// Those that are in the store only.
    pub(super) unloaded: Unloaded,
    /// Memory of those by name.
    bytes: usize,
    members: usize,
    /// Answers of the store to come about documents that have been forgotten.
    orphans: AHashMap<ChannelName, usize>,
    /// Which to look after, and when. One that has nothing to be done by then is passed over.
    due: BTreeSet<(u64, ChannelName)>,
}

impl std::fmt::Debug for Documents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Documents")
            .field("documents", &self.len())
            .field("unloaded", &self.unloaded())
            .field("members", &self.members)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl Documents {
    pub(crate) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Documents that are in the store only.
    pub(crate) fn unloaded(&self) -> usize {
        self.unloaded.len()
    }

    /// Those in memory: name, version, members.
    pub(crate) fn open(&self) -> impl Iterator<Item = (&str, u64, usize)> {
        let documents = self.by_name.iter();
        documents.map(|(name, homed)| (&**name, homed.document.version(), homed.members))
    }

    /// The names of those in the store only, in order, from the document that clients call `first` on.
    pub(crate) fn unloaded_from<'a>(
        &'a self,
        first: &str,
    ) -> impl Iterator<Item = &'a ChannelName> + use<'a> {
        let first = format!("{DOCUMENT_PREFIX}{first}");
        self.unloaded.names_from(&first)
    }

    /// Members of all.
    pub(crate) fn members(&self) -> usize {
        self.members
    }

    /// Memory of all, about.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes + self.unloaded.bytes()
    }

    pub(crate) fn next_deadline(&self) -> Option<u64> {
        self.due.first().map(|(ms, _)| *ms)
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Document<ConnectionId>> {
        self.by_name.get_mut(name).map(|homed| &mut homed.document)
    }

    /// Whether one more may be held.
    pub(super) fn has_room(&self, settings: &CollaborationSettings) -> bool {
        self.len() < DOCUMENTS_MAX && self.bytes() < settings.memory
    }

    /// Whether one more may begin.
    pub(super) fn may_begin(&self, settings: &CollaborationSettings) -> bool {
        self.has_room(settings) && self.len() + self.unloaded() < DOCUMENTS_STORED_MAX
    }

    /// The document, and its side of the store.
    pub(super) fn disk_of(
        &mut self,
        name: &str,
    ) -> Option<(&mut Document<ConnectionId>, &mut Disk)> {
        let homed = self.by_name.get_mut(name)?;
        Some((&mut homed.document, &mut homed.disk))
    }

    pub(super) fn insert(
        &mut self,
        name: ChannelName,
        document: Document<ConnectionId>,
        disk: Disk,
    ) {
        let homed = Homed {
            document,
            disk,
            store_at: None,
            bytes: 0,
            members: 0,
            cursors_told: None,
            cursors_due: None,
            unload_at: None,
        };
        self.by_name.insert(name, homed);
    }

    /// Counts a document anew, after something was done with it, and notes when it goes if nobody is in it any more.
    pub(super) fn settle(&mut self, name: &ChannelName, now_ms: u64, unload_after_ms: u64) {
        let Some(homed) = self.by_name.get_mut(name) else {
            return;
        };
        let (bytes, members) = (homed.document.memory(), homed.document.member_count());
        self.bytes = self.bytes - homed.bytes + bytes;
        self.members = self.members - homed.members + members;
        (homed.bytes, homed.members) = (bytes, members);
        if members > 0 {
            homed.unload_at = None;
        } else if homed.unload_at.is_none() {
            // Nothing has been written into it: there is nothing to come back for.
            let patience = if homed.document.version() == 0 {
                0
            } else {
                unload_after_ms
            };
            let at = now_ms + patience;
            homed.unload_at = Some(at);
            self.due.insert((at, name.clone()));
        }
    }

    /// A cursor moved. True: time to tell; else it will be.
    pub(super) fn cursor_moved(&mut self, name: &ChannelName, now_ms: u64) -> bool {
        let Some(homed) = self.by_name.get_mut(name) else {
            return false;
        };
        if homed.cursors_due.is_some() {
            return false;
        }
        let next = homed
            .cursors_told
            .map_or(0, |told| told + CURSOR_INTERVAL_MS);
        if next <= now_ms {
            homed.cursors_told = Some(now_ms);
            return true;
        }
        homed.cursors_due = Some(next);
        self.due.insert((next, name.clone()));
        false
    }

    /// Tries to tell later what could not be told now.
    pub(super) fn postpone_cursors(&mut self, name: &ChannelName, now_ms: u64) {
        if let Some(homed) = self.by_name.get_mut(name) {
            let next = now_ms + CURSOR_INTERVAL_MS;
            homed.cursors_due = Some(next);
            self.due.insert((next, name.clone()));
        }
    }

    /// The next document to look after.
    pub(super) fn next_due(&mut self, now_ms: u64) -> Option<ChannelName> {
        let first = self.due.first()?;
        if first.0 > now_ms {
            return None;
        }
        self.due.pop_first().map(|(_, name)| name)
    }

    /// The store is to be asked again.
    pub(super) fn retry_store(&mut self, name: &ChannelName, at: u64) {
        if let Some(homed) = self.by_name.get_mut(name) {
            homed.store_at = Some(at);
            self.due.insert((at, name.clone()));
        }
    }

    /// Whether it is to be asked now.
    pub(super) fn is_store_due(&mut self, name: &str, now_ms: u64) -> bool {
        let homed = self.by_name.get_mut(name);
        homed.is_some_and(|homed| homed.store_at.take_if(|at| *at <= now_ms).is_some())
    }

    /// Whether cursors are to be told now.
    pub(super) fn are_cursors_due(&mut self, name: &str, now_ms: u64) -> bool {
        let Some(homed) = self.by_name.get_mut(name) else {
            return false;
        };
        let due = homed.cursors_due.is_some_and(|at| at <= now_ms);
        if due {
            (homed.cursors_due, homed.cursors_told) = (None, Some(now_ms));
        }
        due
    }

    /// Lets go of a document whose time has come; of one that is stored the name stays. The life of one that the store knows, and that nobody
    /// has written into: it is over.
    pub(super) fn unload_if_due(&mut self, name: &ChannelName, now_ms: u64) -> Option<Epoch> {
        let homed = self.by_name.get_mut(name)?;
        if homed.unload_at.is_none_or(|at| at > now_ms) {
            return None;
        }
        if !homed.disk.is_level() {
            let at = now_ms + DOCUMENT_STORE_RETRY_MS;
            homed.unload_at = Some(at);
            self.due.insert((at, name.clone()));
            return None;
        }
        let epoch = Epoch(homed.document.epoch());
        let (stored, written) = (homed.disk.has_begun(), homed.document.version() > 0);
        self.remove(name);
        if stored && written {
            self.unloaded.insert(name.clone(), epoch);
        }
        (stored && !written).then_some(epoch)
    }

    /// Whether the store's answer is about a document that has been forgotten since: the oldest answers are.
    pub(super) fn is_orphan(&mut self, name: &str) -> bool {
        let Some(left) = self.orphans.get_mut(name) else {
            return false;
        };
        *left -= 1;
        if *left == 0 {
            self.orphans.remove(name);
        }
        true
    }

    pub(super) fn remove(&mut self, name: &ChannelName) {
        if let Some(homed) = self.by_name.remove(name) {
            if homed.disk.unconfirmed() > 0 {
                *self.orphans.entry(name.clone()).or_default() += homed.disk.unconfirmed();
            }
            self.bytes -= homed.bytes;
            self.members -= homed.members;
        }
    }
}
