//! Named audiences: subscribe, publish, order, interest, fan-out.
//!
//! **Lives here:** which local connections listen to a channel (`audience.rs`), which shards do (`home.rs`, on the
//! channel's home), and the way of a publication between them. **Does not:** history, presence, permissions; writing
//! to sockets (an outbox is only filled).
//! **Invariants:** a channel's home orders all its publications, so every subscriber sees the same order and a
//! publisher's own order is kept; a client told `subscribed` gets everything its channel's home accepts from then on;
//! a publication reaches every interested shard or, refused to its publisher, none; one encoding per publication.
//! **Called by:** `routing/`, mail from other shards, `connections/` (leaving). **Calls:** `permissions/`, `mesh/`, `connections/` outboxes.
//! **Tests:** `tests/channels.rs`; the simulator checks order, loss, duplicates and strays.

mod audience;
mod fan_out;
mod home;
mod names;
mod publish;
mod subscribe;

pub(crate) use audience::{Audiences, Membership};
pub(crate) use home::{Homes, Interested};
pub use names::is_valid_channel_name;
pub(crate) use names::{SHARD_COUNTS, is_reserved};

/// The channels a shard knows: those with a local audience, and those it is home of.
#[derive(Debug, Default)]
pub(crate) struct Channels {
    pub(crate) audiences: Audiences,
    pub(crate) homes: Homes,
    /// Members of all local audiences together.
    pub(crate) memberships: usize,
}
