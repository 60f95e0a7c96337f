//! How fast one may send: token buckets per connection, user and address (decision D22, contract W6), and how many connections
//! the node takes per second.
//!
//! **Lives here:** [`Rate`] and its bucket, what one message costs, the buckets of users and addresses, and what happens to a
//! client that goes on although it is refused. **Does not:** how many connections one may have (`users/` counts them).
//! **Invariants:** a refused message has no effect but its answer; a bucket that is full again is forgotten, so that the rooms
//! hold nothing for those who are gone; what was let through is always charged at the key's home.
//! **Called by:** `connections/inbound` (before anything is parsed), the shard (mail, deadlines, the end of an input).
//! **Calls:** `mesh/`, `connections/` (answers, closing). **Tests:** below and in `bucket.rs`; on whole shards in `tests/rates.rs`.
//!
//! A connection's bucket is its own. The bucket of a user or an address lives at the key's home; a shard that is not the
//! home keeps a copy, takes from that without asking, and reports after every input what it took; the home tells the other
//! copies whenever a quarter of the burst was taken, or the last token. So the limit is exact for all connections of a key that live on one shard.
//! Where they live on several, a copy may lag by that quarter, and one that is new begins full: together they may let
//! through more, at most one burst per further shard. The home charges that too, so that over any longer time the rate holds.

mod bucket;
mod message;
mod shared;

pub(crate) use bucket::Bucket;
pub use bucket::Rate;
pub(crate) use message::Buckets;
pub(crate) use shared::SharedBuckets;

/// All rates. None: not limited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rates {
    /// Messages of one connection.
    pub connection_messages: Option<Rate>,
    /// Payload bytes of one connection's messages. Its burst must hold the largest message.
    pub connection_bytes: Option<Rate>,
    /// Messages of all connections of one user.
    pub user_messages: Option<Rate>,
    /// Messages of all connections from one address, IPv6 by its /64.
    pub ip_messages: Option<Rate>,
    /// Connections that the node admits.
    pub new_connections: Option<Rate>,
    /// Refused messages of one connection before it is closed.
    pub refused: Rate,
}

impl Default for Rates {
    /// Nothing is limited.
    fn default() -> Self {
        Self {
            connection_messages: None,
            connection_bytes: None,
            user_messages: None,
            ip_messages: None,
            new_connections: None,
            refused: Rate::new(100, 10_000, 100),
        }
    }
}

impl Rates {
    /// Whether messages are limited at all.
    fn limit_messages(&self) -> bool {
        self.connection_messages.is_some()
            || self.connection_bytes.is_some()
            || self.user_messages.is_some()
            || self.ip_messages.is_some()
    }
}
