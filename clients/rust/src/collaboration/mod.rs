//! A client's copy of a document that several people edit.
//!
//! **What lives here.** [`Replica`]: the text as its user sees it, what of it the server has confirmed, and the user's edits between the two:
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
//! **Who calls in.** Programs; as yet no message of the wire leads here, and [`Session`](crate::Session) does not use it. **Tests**: below,
//! and `shards/tests/convergence.rs` with the server's documents over links that delay and cut.

mod replica;
#[cfg(test)]
mod tests;

pub use replica::{CaughtUp, Joining, MissedEdit, OutOfStep, Outgoing, Replica};
