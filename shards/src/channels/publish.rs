//! The way of a publication: to its home, there into the channel's order, from there to every interested shard
//! (contract B4, B7).

use bytes::Bytes;
use serde_json::value::RawValue;
use smallvec::SmallVec;

use shardwire_protocol::codes::ErrorCode;
use shardwire_protocol::envelope::outbound;
use shardwire_protocol::websocket::frame;

use super::Interested;
use crate::mesh::Lane;
use crate::permissions::Action;
use crate::shard::Shard;
use crate::vocabulary::{ChannelName, ConnectionId, Now, ShardId, ShardMessage, SharedFrame};

/// Frames up to this size are cut from a chunk shared with others; larger ones get storage of their own, so that a large
/// frame is not copied once more and a slow reader of one does not keep a chunk alive.
const CHUNKED_FRAME_MAX: usize = 4 << 10;
const CHUNK_BYTES: usize = 64 << 10;

impl Shard {
    /// A client publishes `message`, one valid JSON value.
    pub(crate) fn publish(
        &mut self,
        now: Now,
        publisher: ConnectionId,
        channel: &str,
        message: &str,
        exclude: SmallVec<[ConnectionId; 1]>,
        reply: Option<&RawValue>,
    ) {
        if let Err(code) = self.authorize(publisher, Action::Publish, channel) {
            return self.answer_error(publisher, code, reply);
        }
        self.counters.publications += 1;
        let home = self.placement.home_of_channel(channel);
        let taken = if home == self.id {
            self.publish_at_home(now, channel, message.as_bytes(), &exclude)
        } else {
            let message = ShardMessage::Publish {
                channel: self.channel_name(channel),
                message: Bytes::copy_from_slice(message.as_bytes()),
                exclude,
                publisher: Some(publisher),
                reply: reply.map(|raw| raw.get().into()),
            };
            self.send_home(home, message)
        };
        if !taken {
            self.answer_error(publisher, ErrorCode::Overloaded, reply);
        }
    }

    /// Somebody outside publishes; names were checked at that door. False: it was refused, nobody gets it.
    pub(crate) fn publish_command(
        &mut self,
        now: Now,
        channel: &ChannelName,
        message: Bytes,
        exclude: SmallVec<[ConnectionId; 1]>,
    ) -> bool {
        self.counters.publications += 1;
        let home = self.placement.home_of_channel(channel);
        if home == self.id {
            return self.publish_at_home(now, channel, &message, &exclude);
        }
        let message = ShardMessage::Publish {
            channel: channel.clone(),
            message,
            exclude,
            publisher: None,
            reply: None,
        };
        self.send_home(home, message)
    }

    /// False: the way is full, the publication is refused.
    fn send_home(&mut self, home: ShardId, message: ShardMessage) -> bool {
        let sent = self.ends.send(home, Lane::Delivery, message).is_ok();
        self.counters.publications_refused += u64::from(!sent);
        sent
    }

    /// The shared name if this shard already holds one, so that a busy publisher allocates none.
    fn channel_name(&self, channel: &str) -> ChannelName {
        let audiences = &self.channels.audiences;
        match audiences.find(channel).and_then(|key| audiences.get(key)) {
            Some(audience) => audience.name.clone(),
            None => channel.into(),
        }
    }

    /// At home: the publication takes its place in the channel's order, or (false) is refused as a whole.
    pub(crate) fn publish_at_home(
        &mut self,
        now: Now,
        channel: &str,
        message: &[u8],
        exclude: &[ConnectionId],
    ) -> bool {
        let interested: SmallVec<[Interested; 8]> =
            SmallVec::from_slice(self.channels.homes.interested(channel));
        if interested.is_empty() {
            return true;
        }
        if interested
            .iter()
            .any(|at| at.shard != self.id && self.ends.is_full(at.shard, Lane::Delivery))
        {
            self.counters.publications_refused += 1;
            return false;
        }
        let plain = self.encode_broadcast(now, channel, message);
        // Once for everybody on the node.
        let deflated = if interested.iter().any(|at| at.deflates) {
            self.codec.compress_shared(&plain)
        } else {
            None
        };
        let mut here = None;
        for at in &interested {
            let frame = SharedFrame {
                plain: plain.clone(),
                deflated: deflated.clone().filter(|_| at.deflates),
            };
            if at.shard == self.id {
                here = Some(frame);
                continue;
            }
            let deliver = ShardMessage::Deliver {
                channel: self.channel_name(channel),
                frame,
                exclude: exclude.into(),
            };
            self.ends.post(at.shard, Lane::Delivery, deliver);
        }
        if let Some(frame) = here {
            self.fan_out(channel, frame, exclude);
        }
        true
    }

    /// Tells a publisher on another shard that its publication was not taken.
    pub(crate) fn refuse(&mut self, publisher: ConnectionId, reply: Option<Box<str>>) {
        let refused = ShardMessage::Refused {
            connection: publisher,
            code: ErrorCode::Overloaded,
            reply,
        };
        self.ends.post(publisher.shard(), Lane::Control, refused);
    }

    /// Encodes once what every subscriber on every shard gets.
    fn encode_broadcast(&mut self, now: Now, channel: &str, message: &[u8]) -> Bytes {
        // Valid by construction: the parser or the embedding door checked it; a broken one becomes `null`, not a broken envelope.
        let message = std::str::from_utf8(message).unwrap_or("null");
        self.scratch.clear();
        frame::write_text_with(&mut self.scratch, |out| {
            outbound::broadcast(out, channel, message, now.unix_ms)
        });
        if self.scratch.len() > CHUNKED_FRAME_MAX {
            return Bytes::from(std::mem::take(&mut self.scratch));
        }
        if self.chunk.capacity() < self.scratch.len() {
            self.chunk.reserve(CHUNK_BYTES);
        }
        self.chunk.extend_from_slice(&self.scratch);
        self.chunk.split().freeze()
    }
}
