//! A fake socket: two pipes of bytes, a kernel's buffer of limited room, and a cable that can be cut.

use std::collections::VecDeque;

use shardwire_shards::vocabulary::ConnectionId;

/// Between one client and its shard. The world moves bytes along it, as many and as late as chance wants.
#[derive(Debug, Default)]
pub struct Socket {
    /// The shard that has it, once one has.
    pub shard: Option<usize>,
    /// What that shard calls it, until it is told or tells that the socket ended.
    pub connection: Option<ConnectionId>,
    /// Said by the client, not yet with the shard.
    pub to_server: VecDeque<u8>,
    /// Written by the shard, not yet read by the client.
    pub to_client: VecDeque<u8>,
    /// How much `to_client` may hold.
    pub room: usize,
    /// The shard wants to read.
    pub receiving: bool,
    /// The last write took less than was offered; the shard waits to be told that there is room.
    pub wants_room: bool,
    /// Bytes were refused since the world last rested.
    pub was_blocked: bool,
    /// The shard closed it. What is on its way to the client still arrives.
    pub closed: bool,
    /// The client has gone after saying what it said: that still arrives, then the end does.
    pub finished: bool,
    /// Nothing moves any more, and both ends can notice.
    pub cut: bool,
    /// Nothing moves any more, and nobody notices.
    pub lost: bool,
    /// The end was put among the shard's completions.
    pub end_on_its_way: bool,
    /// No upgrade was answered: the server had no room.
    pub turned_away: bool,
}

impl Socket {
    /// Bytes the kernel would take now.
    pub fn space(&self) -> usize {
        if self.finished {
            return usize::MAX; // Nobody is there; the kernel takes it and throws it away.
        }
        self.room.saturating_sub(self.to_client.len())
    }

    /// Whether the network has something for the shard.
    pub fn can_arrive(&self) -> bool {
        if self.lost || self.closed || self.shard.is_none() {
            return false;
        }
        let bytes = self.receiving && !self.cut && !self.to_server.is_empty();
        // Without a receive under way nobody is told of an end.
        let over = self.cut || (self.finished && self.to_server.is_empty());
        let end = over && self.receiving && !self.end_on_its_way;
        let room = self.wants_room && (self.cut || self.space() > 0);
        bytes || end || room
    }

    /// Whether the network has something for the client.
    pub fn can_be_read(&self) -> bool {
        !self.lost && (!self.to_client.is_empty() || self.cut || self.closed || self.turned_away)
    }
}
