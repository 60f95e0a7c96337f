//! A client's copy of a document that several people edit.
//!
//! **What lives here.** [`SharedDocument`], a replica with the messages it says and hears over a connection. [`Replica`] alone: the text as its user sees it, what of it the server has confirmed, and the user's edits between the two:
//! one under way, and behind it those that wait for its acknowledgement, composed.
//!
//! **What does not.** What an operation means ([`shardwire_protocol::text`]), connections, the editor on the screen: calls say
//! what came from each, and answer what goes to the other.
//!
//! **Invariants.**
//! * The text shown is the confirmed one, then the edit under way, then those that wait.
//! * At most one edit is under way, and its number is one more than the last acknowledged. After a cut it is sent again with the same
//!   number unless what was missed shows that it had arrived.
//! * No edit of the user is lost silently: [`CaughtUp::in_doubt`] says when it cannot be known whether the server took one.
//!
//! **Who calls in.** [`Session::document`](crate::Session::document), and programs with connections of their own. **Tests**: below, against the
//! server in the root crate's `tests/documents.rs`, and `shards/tests/convergence.rs` with the server's documents over links that delay and cut.

mod replica;
mod shared;
#[cfg(test)]
mod tests;

pub use replica::{CaughtUp, Joining, MissedEdit, OutOfStep, Outgoing, Replica};
pub use shared::{DocumentEvent, SharedDocument};
