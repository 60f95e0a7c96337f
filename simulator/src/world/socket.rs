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
    /// Bytes the shard has ever written.
    pub written: u64,
    /// Bytes of these that the client has ever read.
    pub read: u64,
    /// Writes the client has not read to the end: how much was written with each, and when.
    pub writes: VecDeque<(u64, u64)>,
    /// Bytes the client has ever said.
    pub said: u64,
    /// Bytes of these that were ever handed in to the shard.
    pub handed_in: u64,
    /// Publications that are not handed in yet: how much will have been said when they are, and their numbers.
    pub publications: VecDeque<(u64, usize)>,
    /// How much `to_client` may hold.
    pub room: usize,
    /// The shard wants to read.
    pub receiving: bool,
    /// The last write took less than was offered; the shard waits to be told that there is room.
    pub wants_room: bool,
    /// The last write took less than was offered.
    pub blocked: bool,
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

    /// When the shard wrote the byte before this place in all it has written; places are asked for in order.
    pub fn written_at(&mut self, place: u64) -> u64 {
        while self.writes.len() > 1 && self.writes[0].0 < place {
            self.writes.pop_front();
        }
        self.writes.front().map_or(0, |&(_, moment)| moment)
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
