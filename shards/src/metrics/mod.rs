//! Plain counters of one shard, their sum, and the count of connections per shard that `$shards` tells.
//!
//! **Lives here:** numbers, owned by one shard, folded by `+`. **Does not:** text formats, clocks, atomics.
//! **Invariants:** counters only grow; nobody counts shards while nobody listens.
//! **Called by:** every room (counting), the world (reading). **Calls:** `channels/` (publishing the counts).
//! **Tests:** below and `tests/channels.rs`.

mod shard_counts;

pub(crate) use shard_counts::CountRound;

use std::ops::AddAssign;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// What one shard has counted since it started.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        pub struct Counters { $($(#[$doc])* pub $name: u64),* }

        impl AddAssign for Counters {
            fn add_assign(&mut self, other: Self) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

counters! {
    /// Sockets that became connections.
    connections_opened,
    /// Connections that are gone.
    connections_closed,
    /// Connections that went to another shard when their user was known; they were opened here and are opened there again.
    connections_handed_off,
    /// Sockets refused for a limit.
    connections_refused,
    /// Connections closed because the peer broke the protocol.
    connections_failed,
    /// Pings sent to silent peers.
    pings_sent,
    /// Connections closed because a pinged peer stayed silent.
    heartbeat_timeouts,
    /// Connections closed because the peer did not read.
    slow_consumers,
    /// Messages from clients.
    messages_received,
    /// Messages refused for their rate.
    messages_refused,
    /// Messages to clients.
    messages_sent,
    /// Bytes from sockets.
    bytes_received,
    /// Bytes taken by sockets.
    bytes_sent,
    /// Answers of type `error`.
    errors_answered,
    /// Application handlers called.
    calls,
    /// Application handlers that gave an error, panicked or took too long.
    calls_failed,
    /// Publications that entered here.
    publications,
    /// Publications refused because a way was full.
    publications_refused,
    /// Messages put into outboxes by fan-out.
    deliveries,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_is_the_sum_of_the_shards() {
        let mut sum = Counters {
            deliveries: 3,
            ..Counters::default()
        };
        sum += Counters {
            deliveries: 4,
            pings_sent: 1,
            ..Counters::default()
        };
        assert_eq!(
            sum,
            Counters {
                deliveries: 7,
                pings_sent: 1,
                ..Counters::default()
            }
        );
    }
}
