//! Connections by what they are and how much waits for them.

use std::net::IpAddr;

use super::{LagInfo, Search};
use crate::bounds::SEARCH_SLICE;
use crate::channels::is_valid_channel_name;
use crate::connections::{Connection, Flags, State};
use crate::shard::Shard;
use crate::timers::TICK_MS;
use crate::vocabulary::{ChannelName, ConnectionId, Mode, Now, UserId};

/// Which connections are asked for; what is none asks for any.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ConnectionFilter {
    /// Of this user.
    pub user: Option<UserId>,
    /// From this address.
    pub address: Option<IpAddr>,
    /// Subscribed to this channel.
    pub channel: Option<ChannelName>,
    /// For which at least so many bytes wait.
    pub min_pending: usize,
    /// Behind the other subscribers of a channel.
    pub lagging: bool,
}

/// Which of them come first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ConnectionOrder {
    /// By id.
    #[default]
    Id,
    /// Those for which most bytes wait.
    Pending,
    /// Those that have been silent longest.
    Silent,
    /// Those that are most messages behind in one channel.
    Behind,
}

/// Where a connection is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConnectionStage {
    /// Waiting to be counted in.
    Opening,
    /// Must say who it is before anything else.
    Authenticating,
    /// Alive.
    Open,
    /// A close frame was sent or received, or its socket has ended.
    Closing,
}

/// One connection, as an operator sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConnectionInfo {
    /// Its id.
    pub id: ConnectionId,
    /// Its user, if it has one.
    pub user: Option<UserId>,
    /// The peer's address.
    pub address: IpAddr,
    /// What it speaks.
    pub mode: Mode,
    /// Where it is in its life.
    pub stage: ConnectionStage,
    /// Bytes that wait for its socket.
    pub pending_bytes: usize,
    /// Whether its socket took less than was offered and has not drained since.
    pub blocked: bool,
    /// Channels it is subscribed to.
    pub channels: usize,
    /// Channels in which it is behind the other subscribers.
    pub lagging: usize,
    /// Some of them, at most [`LAGS_TOLD_MAX`](crate::bounds::LAGS_TOLD_MAX): those in which it is most behind, the worst first.
    pub lags: Vec<LagInfo>,
    /// Milliseconds since anything came from it, to a fiftieth of a second.
    pub silent_ms: u64,
}

/// The first `limit` connections of one shard that a filter lets through.
#[derive(Debug)]
pub struct ConnectionSearch {
    filter: ConnectionFilter,
    order: ConnectionOrder,
    limit: usize,
    next: usize,
    found: Vec<ConnectionInfo>,
}

impl ConnectionSearch {
    /// Asks for at most `limit` connections.
    #[must_use]
    pub fn new(filter: ConnectionFilter, order: ConnectionOrder, limit: usize) -> Self {
        Self {
            filter,
            order,
            limit,
            next: 0,
            found: Vec::new(),
        }
    }

    /// Puts connections (of several shards) into order and keeps the first `limit`.
    pub fn arrange(order: ConnectionOrder, limit: usize, found: &mut Vec<ConnectionInfo>) {
        match order {
            ConnectionOrder::Id => found.sort_by_key(|info| info.id),
            ConnectionOrder::Pending => {
                found.sort_by_key(|info| (std::cmp::Reverse(info.pending_bytes), info.id));
            }
            ConnectionOrder::Silent => {
                found.sort_by_key(|info| (std::cmp::Reverse(info.silent_ms), info.id));
            }
            ConnectionOrder::Behind => found.sort_by_key(|info| {
                let worst = info.lags.first().map_or(0, |lag| lag.behind);
                (
                    std::cmp::Reverse((info.lagging > 0, worst)),
                    std::cmp::Reverse(info.pending_bytes),
                    info.id,
                )
            }),
        }
        found.truncate(limit);
    }

    fn wants(&self, shard: &Shard, connection: &Connection) -> bool {
        let filter = &self.filter;
        filter
            .user
            .as_ref()
            .is_none_or(|user| connection.user.as_ref() == Some(user))
            && filter
                .address
                .is_none_or(|address| connection.address == address)
            && connection.outbox.len() >= filter.min_pending
            && (!filter.lagging || connection.flags.has(Flags::LAGGING))
            && filter.channel.as_ref().is_none_or(|channel| {
                is_valid_channel_name(channel) && shard.is_subscribed(connection, channel)
            })
    }
}

impl Search for ConnectionSearch {
    type Found = Vec<ConnectionInfo>;

    fn step(&mut self, now: Now, shard: &Shard) -> bool {
        let Some(slice) = shard.registry.slice(self.next, SEARCH_SLICE) else {
            Self::arrange(self.order, self.limit, &mut self.found);
            return false;
        };
        self.next += SEARCH_SLICE;
        for (id, connection) in slice {
            if self.wants(shard, connection) {
                let info = info(now, shard, id, connection);
                if !self.filter.lagging || info.lagging > 0 {
                    self.found.push(info);
                }
            }
        }
        if self.found.len() > 2 * self.limit {
            Self::arrange(self.order, self.limit, &mut self.found);
        }
        true
    }

    fn found(self) -> Vec<ConnectionInfo> {
        self.found
    }
}

fn info(now: Now, shard: &Shard, id: ConnectionId, connection: &Connection) -> ConnectionInfo {
    let (lagging, lags) = match connection.flags.has(Flags::LAGGING) {
        true => shard.lags_of(connection),
        false => (0, Vec::new()),
    };
    ConnectionInfo {
        id,
        user: connection.user.clone(),
        address: connection.address,
        mode: connection.mode,
        stage: match connection.state {
            _ if connection.flags.has(Flags::ENDED) => ConnectionStage::Closing,
            State::Admitting(_) => ConnectionStage::Opening,
            State::Authenticating(_) => ConnectionStage::Authenticating,
            State::Open | State::Calling(_) => ConnectionStage::Open,
            State::Closing { .. } => ConnectionStage::Closing,
        },
        pending_bytes: connection.outbox.len(),
        blocked: connection.flags.has(Flags::BLOCKED),
        channels: connection.memberships.len(),
        lagging,
        lags,
        silent_ms: now.ms.saturating_sub(u64::from(connection.heard) * TICK_MS),
    }
}

impl Shard {
    fn is_subscribed(&self, connection: &Connection, channel: &str) -> bool {
        self.channels.audiences.find(channel).is_some_and(|key| {
            connection
                .memberships
                .iter()
                .any(|membership| membership.audience == key)
        })
    }
}
