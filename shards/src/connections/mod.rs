//! The connections of one shard: registry, admission, heartbeat, close, outboxes, compression, and the
//! policy for peers that read too slowly or send too much.
//!
//! **Lives here:** everything that is per connection. **Does not:** whom a channel reaches (`channels/`), how many connections
//! a user or an address may have (`users/` counts, this room asks).
//! **Invariants:** every socket handed in by `Opened` ends in exactly one `Disconnected`, unless it is handed off to another shard,
//! where it is opened anew; from the moment a connection begins to
//! close it is in no registry but its slot; an idle connection holds no buffer; at most one flush per connection is
//! under way; a connection's outbox is bounded while its peer does not read; no peer keeps a shard busy for longer than
//! its share of a turn, one message apart.
//! **Called by:** the shard. **Calls:** `timers/`, `users/`, `rate_limits/`, `permissions/`, `channels/` (to leave them).
//! **Tests:** beside each file; the simulator checks the invariants on whole shards.

mod admission;
mod authentication;
mod close;
mod codec;
mod connection;
mod drain;
mod flush;
mod frames;
mod heartbeat;
mod inbound;
mod last_words;
mod node_count;
mod outbox;
mod reach;
mod registry;
mod row;
mod session;
mod share;
mod tags;

pub(crate) use codec::{Codec, Extension};
pub(crate) use connection::{Connection, Flags, SpokeAt, State};
pub(crate) use drain::Drain;
pub(crate) use frames::{Forms, FrameKey, Frames};
pub use node_count::NodeCount;
pub(crate) use outbox::{Outbox, Pool};
pub(crate) use registry::Registry;
pub(crate) use row::FlushRow;
pub(crate) use session::Session;
pub(crate) use share::{Share, Waiting, cost};
pub(crate) use tags::Tags;
pub use tags::is_valid_tag;
