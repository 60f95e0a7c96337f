//! Names of things.

use std::fmt;
use std::sync::Arc;

/// A channel's name, shared by everything that refers to the channel.
pub type ChannelName = Arc<str>;

/// An authenticated identity (or, while authentication is off, the name a client gave itself).
pub type UserId = Arc<str>;

/// What the world calls a socket; handed in at `Opened` and given back with every effect. The shard never looks inside.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SocketToken(pub u64);

/// What an application handler is called for: one of the message types it registered, or a moment in a connection's life.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CallTarget {
    /// The connection was admitted; nothing it sends is looked at before the handler has returned.
    Connect,
    /// A message whose type the application registered, by its place in
    /// [`ApplicationRoutes::types`](crate::ApplicationRoutes).
    Route(u16),
    /// A message whose type the application did not register; called only while it has middleware, which sees all messages.
    Other,
}

/// Index of a shard on this node, from 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ShardId(pub u16);

impl ShardId {
    /// The shard as an index into per-shard tables.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

const SLOT_BITS: u32 = 24;
const GENERATION_BITS: u32 = 24;
const SLOT_MASK: u64 = (1 << SLOT_BITS) - 1;
const GENERATION_MASK: u64 = (1 << GENERATION_BITS) - 1;

/// One connection, for ever: 16 bits of shard, 24 of slot, 24 of generation.
///
/// Anybody can route to it without a table, and a stale id cannot hit the slot's next tenant (until one slot has been
/// used 16.7 million times, when its generation starts again).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(u64);

impl ConnectionId {
    /// Largest number of slots a shard can name.
    pub const SLOTS_MAX: usize = 1 << SLOT_BITS;

    pub(crate) fn new(shard: ShardId, slot: u32, generation: u32) -> Self {
        debug_assert!(u64::from(slot) <= SLOT_MASK);
        Self(
            (u64::from(shard.0) << (SLOT_BITS + GENERATION_BITS))
                | (u64::from(slot) << GENERATION_BITS)
                | (u64::from(generation) & GENERATION_MASK),
        )
    }

    /// The shard the connection lives on.
    #[must_use]
    pub fn shard(self) -> ShardId {
        ShardId((self.0 >> (SLOT_BITS + GENERATION_BITS)) as u16)
    }

    pub(crate) fn slot(self) -> u32 {
        ((self.0 >> GENERATION_BITS) & SLOT_MASK) as u32
    }

    pub(crate) fn generation(self) -> u32 {
        (self.0 & GENERATION_MASK) as u32
    }

    pub(crate) fn next_generation(generation: u32) -> u32 {
        (generation + 1) & GENERATION_MASK as u32
    }

    /// The id as one number, for logs and the HTTP surface.
    #[must_use]
    pub fn as_u64(self) -> u64 {
        self.0
    }
}

/// Not the text form of a connection's id, `SHARD:SLOT.GENERATION`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a connection's id is such as 3:7.9")]
pub struct NoConnectionId;

impl std::str::FromStr for ConnectionId {
    type Err = NoConnectionId;

    fn from_str(text: &str) -> Result<Self, NoConnectionId> {
        let parts = text.split_once(':').and_then(|(shard, rest)| {
            let (slot, generation) = rest.split_once('.')?;
            let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
            ([shard, slot, generation].into_iter().all(plain))
                .then_some(())
                .and_then(|()| {
                    Some((
                        shard.parse::<u16>().ok()?,
                        slot.parse::<u32>().ok()?,
                        generation.parse::<u32>().ok()?,
                    ))
                })
        });
        match parts {
            Some((shard, slot, generation))
                if u64::from(slot) <= SLOT_MASK && u64::from(generation) <= GENERATION_MASK =>
            {
                Ok(Self::new(ShardId(shard), slot, generation))
            }
            _ => Err(NoConnectionId),
        }
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}.{}", self.shard(), self.slot(), self.generation())
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_id_keeps_its_three_parts() {
        let id = ConnectionId::new(ShardId(65_535), (1 << 24) - 1, (1 << 24) - 1);
        assert_eq!(id.shard(), ShardId(65_535));
        assert_eq!(id.slot(), (1 << 24) - 1);
        assert_eq!(id.generation(), (1 << 24) - 1);
        assert_eq!(ConnectionId::next_generation(id.generation()), 0);
        assert_eq!(ConnectionId::new(ShardId(3), 7, 9).to_string(), "3:7.9");
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in [
            "",
            "3",
            "3:7",
            "3.7:9",
            "3:7.9.1",
            "-1:0.0",
            "+1:0.0",
            "3: 7.9",
            "65536:0.0",
            "0:16777216.0",
            "0:0.16777216",
            ":.",
        ] {
            assert!(text.parse::<ConnectionId>().is_err(), "{text:?}");
        }
    }
}
