//! One shard's numbers, as it tells them when it is asked.

use shardwire_shards::metrics::{Counters, EndCounts, Gauges, Number};

use super::TurnTimes;

/// What one shard tells about itself: all its numbers at one moment between two turns.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ShardReport {
    /// What it has counted since it started.
    pub counters: Counters,
    /// What it holds.
    pub gauges: Gauges,
    /// How its connections ended.
    pub ends: EndCounts,
    /// What its loop counted and holds.
    pub work: Work,
    /// How long its turns took.
    pub turns: TurnTimes,
}

/// The numbers of a shard's loop, the part of a shard that waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Work {
    /// Sockets of any kind.
    pub sockets: u64,
    /// Sockets whose upgrade request is being read.
    pub upgrading: u64,
    /// Commands and handed-off sockets that wait in the inbox.
    pub inbox: u64,
    /// Times that accepting failed because descriptors ran out.
    pub accept_failures: u64,
}

impl Work {
    /// Those that only grow.
    pub const COUNTERS: &[Number<Self>] = &[Number {
        name: "listen_accept_failures_total",
        help: "Times that accepting failed because descriptors ran out.",
        value: |work| work.accept_failures,
    }];

    /// Those that come and go.
    pub const GAUGES: &[Number<Self>] = &[
        Number {
            name: "transport_sockets",
            help: "Sockets of any kind: connections, upgrades under way, plain answers, sockets about to close.",
            value: |work| work.sockets,
        },
        Number {
            name: "listen_upgrading",
            help: "Sockets whose upgrade request is being read.",
            value: |work| work.upgrading,
        },
        Number {
            name: "engine_inbox_items",
            help: "Commands from outside and handed-off sockets that wait for the shard.",
            value: |work| work.inbox,
        },
    ];
}
