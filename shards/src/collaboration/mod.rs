//! Documents that several people edit at once.
//!
//! **Lives here:** [`Document`]: one text, who is in it, the edits it was made of, and the order of those: a machine that says what is
//! to be told ([`Output`]). Around it: the documents whose home a shard is (`homes.rs`, `at_home.rs`), and which of a shard's
//! connections are in which documents (`joined.rs`, `requests.rs`); what is stored of documents (`storing.rs`), and those that are in the
//! store only (`unloaded.rs`, `loading.rs`). **Does not:** what an operation means to another
//! (`shardwire_protocol::text`), who may join and edit (`permissions/`), delivery: members of a document listen to a channel of the
//! server's own (`$document:…`), and what all are told goes there.
//!
//! **Invariants:**
//! * One order: every edit has one version, and all members are told all edits in that order, none twice.
//! * Nobody is told of an edit, its author included, before the store has it (where there is one).
//! * An edit sent twice is carried out once: an author's edits are numbered, and the last number is remembered while the author
//!   is a member, and for at least as many edits as the log holds.
//! * The log, the members, the text and what waits for the store are bounded; so is the work of one edit, and what all documents of a
//!   shard take.
//! * A stored document without members is let go of, all but its name. Whoever wants it waits until the store has answered: what was
//!   asked is then done in its order, or refused with the reason.
//! * A member is in its channel's audience from the answer to its joining on, and not before: what it is told and what all are told
//!   comes in one order, since all of it takes the lane of deliveries.
//!
//! **Called by:** `routing/` (messages), mail from other shards, `connections/` (ends, new permissions), the shard's deadlines.
//! **Calls:** `permissions/`, `channels/`, `mesh/`, the text type. **Tests:** below and in `log.rs`; `tests/documents.rs` on whole shards;
//! `tests/convergence.rs` with the replicas of the Rust client over links that delay and cut; the simulator.
//!
//! # How it converges
//!
//! An author has one edit under way at a time and says on which version it was made. The document brings it behind everything
//! since then (`transform`, the log's edits left, the newcomer right), applies it, and gives it the next version. The author has
//! meanwhile brought the same edits behind its own with sides exchanged, so by TP1 both have the same text when the
//! acknowledgement arrives.

mod at_home;
mod authors;
mod document;
mod homes;
mod join;
mod joined;
mod loading;
mod log;
mod outputs;
mod requests;
mod rollback;
mod storing;
#[cfg(test)]
mod tests;
mod unloaded;

pub use authors::Author;
pub use document::{Access, Document, DocumentSettings, Edit, Edited};
pub use homes::CollaborationSettings;
pub(crate) use homes::Documents;
pub use join::Joining;
pub(crate) use joined::Joined;
pub use outputs::{Ask, Catchup, Entry, News, Output, Record, Reply, Snapshot, State};
pub(crate) use requests::{DocumentRequest, document_id};

/// Why a document does not do what a member asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// Whoever asked is no member: it joins first.
    #[error("not joined")]
    NotJoined,
    /// The member may only read.
    #[error("read only")]
    ReadOnly,
    /// There are as many members as there may be.
    #[error("too many members")]
    Full,
    /// The store is behind. Temporary: the same edit may be sent again.
    #[error("overloaded")]
    Overloaded,
    /// The store has refused what came before, and is not ready yet. Temporary: the same edit may be sent again.
    #[error("it cannot be stored")]
    Unstored,
    /// The edit claims a version there has not been, a number that is not the next, or does not fit the text of its version. The
    /// client is at fault or belongs to another life of the document: it joins again. Or its replica's name is none.
    #[error("it does not belong here")]
    Misplaced,
    /// The text would become longer than it may. The client takes the edit back and joins again.
    #[error("the document would be too large")]
    TooLarge,
}
