//! Lock-free mailboxes between shards.
//!
//! **Lives here:** for every ordered pair of shards two lanes (control, delivery), the sender's bounded overflow behind each,
//! and the sleep flags that say whom to ring. **Does not:** what a message means; waking a thread (the world does, told by
//! [`Effect::Ring`](crate::vocabulary::Effect::Ring)).
//! **Invariants:** messages of one lane arrive in the order they were sent, overflow included, exactly once; no send blocks;
//! a shard that went to sleep with mail waiting has been rung (`slumber.rs` argues why).
//! **Called by:** the shard, which owns its [`MailboxEnds`]. Calls nobody.
//! **Tests:** below; `tests/slumber_loom.rs` explores the sleep flag's interleavings; the simulator runs the whole.

mod ends;
mod slumber;

pub use ends::{Lane, LaneBounds, MailboxEnds, Refused, Sleepers};
pub use slumber::Slumber;
