//! Documents that outlive the process: what is stored of them, what the store's answers mean, and how they come back.
//!
//! Of a document its edits are stored, and now and then the whole of it; a document is what its records make one after the other: a whole one
//! takes the place of all before it, an edit that is not of the next version is one that was refused and stays out.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use shardwire_protocol::codes::ErrorCode;
use shardwire_protocol::text::{Content, Kind, Operation};

use super::outputs::{Entry, Record, Snapshot};
use super::rollback::leading_to;
use super::{Author, CollaborationSettings, Document};
use crate::bounds::{DOCUMENT_STORE_RETRY_MS, DOCUMENT_WHOLES_KEPT};
use crate::shard::Shard;
use crate::vocabulary::{
    ChannelName, ConnectionId, Effect, Epoch, LogName, Now, Position, RestoredLog, StoreOutcome,
    StoreRequest, StoredRecord,
};

/// A record that the store has not confirmed yet.
#[derive(Clone, Copy, Debug)]
enum Written {
    /// The edit that made this version.
    Edit(u64),
    /// The whole document, at this offset.
    Whole(u64),
    /// The same, after a refusal: what stands.
    Standing(u64),
}

/// A document's side of its store.
#[derive(Debug, Default)]
pub(super) struct Disk {
    /// The store knows of it.
    begun: bool,
    /// The last offset given to a record.
    offset: u64,
    unconfirmed: VecDeque<Written>,
    /// Offsets of whole documents in the store, the latest last.
    wholes: VecDeque<u64>,
    /// Why the store refused, until it has taken what stands.
    refused: Option<ErrorCode>,
}

impl Disk {
    /// Whether the store knows of the document.
    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Whether the store has everything, so that the document can be let go of.
    pub(super) fn is_level(&self) -> bool {
        self.unconfirmed.is_empty() && self.refused.is_none()
    }

    /// Records whose answers are to come.
    pub(super) fn unconfirmed(&self) -> usize {
        self.unconfirmed.len()
    }

    /// What those are told whose edits were refused.
    pub(super) fn refusal(&self) -> ErrorCode {
        self.refused.unwrap_or(ErrorCode::Overloaded)
    }
}

/// An edit as it is stored.
#[derive(Serialize, Deserialize)]
struct StoredEdit {
    version: u64,
    user: String,
    replica: String,
    number: u64,
    operation: Operation,
}

/// A whole document as it is stored.
#[derive(Serialize, Deserialize)]
struct StoredWhole {
    version: u64,
    content: String,
    authors: Vec<(String, String, u64, u64)>,
    authors_complete_from: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Stored {
    Edit(StoredEdit),
    Whole(StoredWhole),
}

fn encode(record: Record) -> Bytes {
    let stored = match record {
        Record::Edit(entry) => Stored::Edit(StoredEdit {
            version: entry.version,
            user: entry.author.user.to_string(),
            replica: entry.author.replica.to_string(),
            number: entry.number,
            operation: entry.operation.clone(),
        }),
        Record::Snapshot(snapshot) => Stored::Whole(StoredWhole {
            version: snapshot.version,
            content: snapshot.content.to_string(),
            authors: snapshot
                .authors
                .into_iter()
                .map(|(Author { user, replica }, number, version)| {
                    (user.to_string(), replica.to_string(), number, version)
                })
                .collect(),
            authors_complete_from: snapshot.authors_complete_from,
        }),
    };
    Bytes::from(serde_json::to_vec(&stored).expect("texts and numbers always have a JSON form"))
}

/// None: it is no record of ours.
fn decode(epoch: Epoch, body: &[u8]) -> Option<Record> {
    Some(match serde_json::from_slice(body).ok()? {
        Stored::Edit(edit) => Record::Edit(Arc::new(Entry {
            version: edit.version,
            author: Author {
                user: edit.user.into(),
                replica: edit.replica.into(),
            },
            number: edit.number,
            operation: edit.operation,
        })),
        Stored::Whole(whole) => Record::Snapshot(Snapshot {
            epoch: epoch.0,
            version: whole.version,
            content: Content::from(whole.content.as_str()),
            authors: whole
                .authors
                .into_iter()
                .map(|(user, replica, number, version)| {
                    let (user, replica) = (user.into(), replica.into());
                    (Author { user, replica }, number, version)
                })
                .collect(),
            authors_complete_from: whole.authors_complete_from,
        }),
    })
}

/// Version, characters inserted and deleted, and characters gone over.
fn about(entry: &Arc<Entry>) -> (u64, u32, u32, u32) {
    let count = |kind| {
        let components = entry.operation.components();
        components
            .filter(|it| it.kind == kind)
            .map(|it| it.length)
            .sum()
    };
    let needed = entry.operation.base_length();
    (
        entry.version,
        count(Kind::Insert),
        count(Kind::Delete),
        needed,
    )
}

/// What the records of a document, in the order of their offsets, make: the last whole one, the edits behind it, and those before it.
fn replay(
    epoch: Epoch,
    records: &[StoredRecord],
) -> (Snapshot, Vec<Arc<Entry>>, VecDeque<Arc<Entry>>) {
    let mut whole = Snapshot {
        epoch: epoch.0,
        version: 0,
        content: Content::default(),
        authors: Vec::new(),
        authors_complete_from: 0,
    };
    let (mut behind, mut before) = (Vec::new(), VecDeque::new());
    let mut version = 0;
    for record in records {
        match decode(epoch, &record.body) {
            Some(Record::Snapshot(snapshot)) => {
                before.extend(behind.drain(..));
                version = snapshot.version;
                whole = snapshot;
            }
            Some(Record::Edit(entry)) if entry.version == version + 1 => {
                version += 1;
                behind.push(entry);
            }
            // Of a version that was refused, or before the first whole one that is still there: it can be of use to who comes back.
            Some(Record::Edit(entry)) => before.push_back(entry),
            None => {}
        }
    }
    (whole, behind, before)
}

/// A document as its log has it, and its side of the store. None: what was stored is not one document.
pub(super) fn read_back(
    settings: &CollaborationSettings,
    log: &RestoredLog,
) -> Option<(Document<ConnectionId>, Disk)> {
    let RestoredLog { head, records, .. } = log;
    let (whole, behind, before) = replay(head.epoch, records);
    let edits = behind.iter().map(|entry| Entry::clone(entry));
    let (version, length) = (whole.version, whole.content.length());
    let mut document = Document::restore(settings.document, whole, edits).ok()?;
    for (entry, length) in leading_to(version, length, before, about) {
        if !document.remember(entry, length) {
            break;
        }
    }
    let wholes = (records.iter())
        .filter(|record| matches!(decode(head.epoch, &record.body), Some(Record::Snapshot(_))))
        .map(|record| record.offset);
    let disk = Disk {
        begun: true,
        offset: head.offset,
        wholes: wholes.collect(),
        ..Disk::default()
    };
    Some((document, disk))
}

impl Shard {
    /// Asks the store to keep what a document says.
    pub(super) fn store_document(&mut self, now: Now, name: &ChannelName, record: Record) {
        let Some((document, disk)) = self.documents.disk_of(name) else {
            return;
        };
        let epoch = Epoch(document.epoch());
        let log = LogName::document(name.clone());
        if !disk.begun {
            disk.begun = true;
            let position = Position {
                epoch,
                offset: disk.offset,
            };
            let begin = StoreRequest::Begin {
                log: log.clone(),
                position,
            };
            self.effects.push_back(Effect::Store(Box::new(begin)));
        }
        disk.offset += 1;
        disk.unconfirmed.push_back(match &record {
            Record::Edit(entry) => Written::Edit(entry.version),
            Record::Snapshot(_) if disk.refused.is_some() => Written::Standing(disk.offset),
            Record::Snapshot(_) => Written::Whole(disk.offset),
        });
        let record = StoredRecord {
            offset: disk.offset,
            unix_ms: now.unix_ms,
            lifetime_ms: None,
            key: None,
            body: encode(record),
        };
        self.store(log, epoch, record);
    }

    /// The store has answered: the oldest record of this document that waits is kept, or is not.
    pub(crate) fn document_stored(&mut self, now: Now, name: &ChannelName, outcome: StoreOutcome) {
        if self.documents.is_orphan(name) {
            return;
        }
        let Some((document, disk)) = self.documents.disk_of(name) else {
            return;
        };
        let Some(written) = disk.unconfirmed.pop_front() else {
            return;
        };
        let epoch = Epoch(document.epoch());
        let mut trim = None;
        match (outcome, written) {
            (StoreOutcome::Stored, Written::Edit(version)) => {
                if disk.refused.is_none() {
                    document.stored(version);
                }
            }
            (StoreOutcome::Stored, Written::Whole(offset) | Written::Standing(offset)) => {
                if matches!(written, Written::Standing(_)) {
                    // It is behind all that was refused.
                    disk.refused = None;
                    document.recovered();
                }
                disk.wholes.push_back(offset);
                if disk.wholes.len() > DOCUMENT_WHOLES_KEPT {
                    trim = disk.wholes.pop_front();
                }
            }
            (failed, _) => {
                let code = match failed {
                    StoreOutcome::Full => ErrorCode::StorageFull,
                    _ => ErrorCode::StorageFailed,
                };
                self.counters.documents_unstored += 1;
                disk.refused = Some(code);
                document.roll_back();
            }
        }
        if disk.refused.is_some() && disk.unconfirmed.is_empty() {
            self.documents
                .retry_store(name, now.ms + DOCUMENT_STORE_RETRY_MS);
        }
        if let Some(offset) = trim {
            let trim = StoreRequest::Trim {
                log: LogName::document(name.clone()),
                through: Position { epoch, offset },
            };
            self.effects.push_back(Effect::Store(Box::new(trim)));
        }
        self.carry_out(now, name);
    }

    /// After a refusal, once nothing is under way: what stands is stored as a whole, before anything else.
    pub(super) fn store_what_stands(&mut self, now: Now, name: &ChannelName) {
        let Some((document, disk)) = self.documents.disk_of(name) else {
            return;
        };
        if disk.refused.is_some() && disk.unconfirmed.is_empty() {
            let whole = Record::Snapshot(document.snapshot());
            self.store_document(now, name, whole);
        }
    }

    /// Takes note of a document that a store has kept: it is read when somebody wants it.
    pub(crate) fn restore_document(&mut self, name: ChannelName, head: Position) {
        if self.settings.collaboration.is_some() {
            self.documents.unloaded.insert(name, head.epoch);
        }
    }

    /// The document is not wanted any more: nothing of it stays in the store.
    pub(super) fn forget_stored(&mut self, name: &ChannelName) {
        if let Some((document, disk)) = self.documents.disk_of(name)
            && disk.begun
        {
            let epoch = Epoch(document.epoch());
            self.forget_document_log(name, epoch);
        }
    }
}
