//! `shardwire-shards` DECIDES: one shard, and how shards talk.
//!
//! **Lives here:** who may, who gets, in what order, what is dropped; all state, each room in a folder of its own.
//! **Does not:** sockets, threads, clocks, `async`: time is an argument, everything else an [`Input`](vocabulary::Input)
//! or an [`Effect`](vocabulary::Effect).
//! **Invariants:** nothing is shared between shards but the mailboxes, the settings, encoded frames and one connection
//! count; every opened socket ends in exactly one `Disconnected`; subscribers of one channel see one order.
//! **Called by:** the engine (`src/engine`) and the simulator, which drive it alike. **Calls:** `protocol`.
//! **Tests:** beside the code, `tests/` for whole shards by hand, `simulator/` for whole shards by the thousand.
//!
//! One inbound message: [`Shard::handle`] → `connections/inbound` (frames) → `routing/` (meaning) → `channels/`
//! (publish, home, fan-out) → `connections/outbox`; the world flushes.

pub mod bounds;
mod calls;
mod channels;
mod chat;
pub mod collaboration;
mod connections;
pub mod history;
pub mod mesh;
pub mod metrics;
pub mod notifications;
pub mod permissions;
pub mod placement;
#[cfg(feature = "planted-faults")]
pub mod planted;
pub mod presence;
pub mod rate_limits;
mod routing;
pub mod search;
mod settings;
mod shard;
mod storing;
pub mod timers;
mod users;
pub mod vocabulary;

pub use channels::{document_channel, is_valid_channel_name};
pub use chat::ChatSettings;
pub use connections::{NodeCount, is_valid_tag};
pub use settings::{ApplicationRoutes, AuthenticationTimes, CompressionSettings, ShardSettings};
pub use shard::{Residue, Shard};
#[cfg(feature = "testing")]
pub use storing::StoreModel;
