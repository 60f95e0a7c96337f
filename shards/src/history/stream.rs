//! Shards whose lane was full: they get from the log what they could not be given at once.
//!
//! The home keeps, with the log, the offset each of them gets next. It gives them no live publication meanwhile, so what they get
//! stays in order; when the lane has room it goes on from there, and a shard that has all is given live publications again.

use super::log::ReadLimit;
use crate::bounds::{CATCH_UP_BYTES, CATCH_UP_RECORDS};
use crate::mesh::Lane;
use crate::shard::Shard;
use crate::vocabulary::{ChannelName, Kept, Now, Position, ShardId, ShardMessage};

const SLICE: ReadLimit = ReadLimit {
    records: CATCH_UP_RECORDS,
    bytes: CATCH_UP_BYTES,
};

impl Shard {
    /// Goes on with every shard that is behind, as far as there is room in its lane.
    pub(crate) fn stream_on(&mut self, now: Now) {
        for _ in 0..self.history.behind.len() {
            let Some((channel, shard)) = self.history.behind.pop_front() else {
                return;
            };
            if self.stream_to(now, &channel, shard) {
                self.history.behind.push_back((channel, shard));
            }
        }
    }

    /// Gives one shard what it lacks. True: there is more, and no room.
    fn stream_to(&mut self, now: Now, channel: &ChannelName, shard: ShardId) -> bool {
        while self.ends.has_room(shard, Lane::Delivery) {
            let Some(log) = self.channels.homes.log_mut(channel) else {
                return false;
            };
            // It may have lost its audience meanwhile.
            let Some(next) = log.next_for(shard) else {
                return false;
            };
            let head = log.position();
            if next > head.offset {
                log.set_next_for(shard, None);
                return false;
            }
            let part = log.read(now.ms, next, head.offset, SLICE);
            log.set_next_for(shard, Some(part.next));
            for item in part.items {
                let message = match item {
                    Kept::Record {
                        offset,
                        frame,
                        exclude,
                    } => ShardMessage::Deliver {
                        channel: channel.clone(),
                        frame,
                        exclude,
                        place: Some(Position {
                            epoch: head.epoch,
                            offset,
                        }),
                    },
                    Kept::Gone { from, to } => ShardMessage::Skipped {
                        channel: channel.clone(),
                        from,
                        to: Position {
                            epoch: head.epoch,
                            offset: to,
                        },
                    },
                };
                self.ends.post(shard, Lane::Delivery, message);
            }
        }
        true
    }
}
