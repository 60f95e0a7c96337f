//! The way of a publication: to its home, there into the channel's order, from there to every interested shard
//! (contract B4, B7).

use bytes::{Bytes, BytesMut};
use serde_json::value::RawValue;
use smallvec::SmallVec;

use shardwire_protocol::codes::ErrorCode;
use shardwire_protocol::websocket::frame;

use super::{Body, Interested};
use crate::history::Origin;
use crate::mesh::Lane;
use crate::permissions::Action;
use crate::shard::Shard;
use crate::vocabulary::{
    AnswerId, ChannelName, ConnectionId, Now, Position, PublishOptions, ShardId, ShardMessage,
    SharedFrame,
};

/// Frames up to this size are cut from a chunk shared with others; larger ones get storage of their own, so that a large
/// frame is not copied once more and a slow reader of one does not keep a chunk alive.
const CHUNKED_FRAME_MAX: usize = 4 << 10;
const CHUNK_BYTES: usize = 64 << 10;

impl Shard {
    /// A client publishes `message`, one valid JSON value.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn publish(
        &mut self,
        now: Now,
        publisher: ConnectionId,
        channel: &str,
        message: &str,
        exclude: SmallVec<[ConnectionId; 1]>,
        options: Option<PublishOptions>,
        reply: Option<&RawValue>,
    ) {
        if let Err(code) = self.authorize(publisher, Action::Publish, channel) {
            return self.answer_error(publisher, code, reply);
        }
        self.counters.publications += 1;
        let home = self.placement.home_of_channel(channel);
        if home == self.id {
            let origin = Origin {
                publisher: Some(publisher),
                reply: reply.map(RawValue::get),
                options: options.as_ref(),
                ..Origin::default()
            };
            let body = Body::Message(message.as_bytes());
            return self.publish_at_home(now, channel, body, &exclude, origin);
        }
        let message = ShardMessage::Publish {
            channel: self.channel_name(channel),
            message: Bytes::copy_from_slice(message.as_bytes()),
            exclude,
            publisher: Some(publisher),
            reply: reply.map(|raw| raw.get().into()),
            options: options.map(Box::new),
        };
        if !self.send_home(home, message) {
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
        options: Option<Box<PublishOptions>>,
        answer: Option<AnswerId>,
    ) {
        self.counters.publications += 1;
        let home = self.placement.home_of_channel(channel);
        let origin = Origin {
            answer,
            options: options.as_deref(),
            ..Origin::default()
        };
        if home == self.id {
            let body = Body::Message(&message);
            return self.publish_at_home(now, channel, body, &exclude, origin);
        }
        let sent = self.send_home(
            home,
            ShardMessage::Publish {
                channel: channel.clone(),
                message,
                exclude,
                publisher: None,
                reply: None,
                options: options.clone(),
            },
        );
        // What becomes of it at home nobody tells us.
        let outcome = if sent {
            Ok(None)
        } else {
            Err(ErrorCode::Overloaded)
        };
        self.settle(channel, origin, outcome);
    }

    /// False: the way is full, the publication is refused.
    fn send_home(&mut self, home: ShardId, message: ShardMessage) -> bool {
        let sent = self.ends.send(home, Lane::Delivery, message).is_ok();
        self.counters.publications_refused += u64::from(!sent);
        sent
    }

    /// The shared name if this shard already holds one, so that a busy publisher allocates none.
    pub(crate) fn channel_name(&self, channel: &str) -> ChannelName {
        let audiences = &self.channels.audiences;
        match audiences.find(channel).and_then(|key| audiences.get(key)) {
            Some(audience) => audience.name.clone(),
            None => channel.into(),
        }
    }

    /// At home: the publication takes its place in the channel's order, or is refused as a whole. Its publisher is told.
    pub(crate) fn publish_at_home(
        &mut self,
        now: Now,
        channel: &str,
        body: Body<'_>,
        exclude: &[ConnectionId],
        origin: Origin<'_>,
    ) {
        let Some((name, home)) = self.channels.homes.get_named(channel) else {
            return self.publish_unheard(now, channel, body, exclude, origin);
        };
        let name = name.clone();
        if home.log.is_some() {
            return self.publish_into_log(now, &name, body, exclude, origin);
        }
        let interested: SmallVec<[Interested; 8]> = SmallVec::from_slice(&home.interested);
        if origin.options.is_some_and(|options| options.key.is_some()) {
            return self.settle(channel, origin, Err(ErrorCode::NoHistory));
        }
        if !origin.must
            && interested
                .iter()
                .any(|at| at.shard != self.id && self.ends.is_full(at.shard, Lane::Delivery))
        {
            self.counters.publications_refused += 1;
            return self.settle(channel, origin, Err(ErrorCode::Overloaded));
        }
        let deflates = interested.iter().any(|at| at.deflates);
        let frame = self.encode_shared(now, &name, body, None, deflates);
        self.deliver_live(&name, &interested, frame, exclude);
        self.settle(channel, origin, Ok(None));
    }

    /// One frame to every shard with an audience, once it is clear that there is room on the ways there.
    fn deliver_live(
        &mut self,
        name: &ChannelName,
        interested: &[Interested],
        frame: SharedFrame,
        exclude: &[ConnectionId],
    ) {
        let mut here = None;
        for at in interested {
            let frame = SharedFrame {
                plain: frame.plain.clone(),
                deflated: frame.deflated.clone().filter(|_| at.deflates),
            };
            if at.shard == self.id {
                here = Some(frame);
                continue;
            }
            let deliver = ShardMessage::Deliver {
                channel: name.clone(),
                frame,
                exclude: exclude.into(),
                place: None,
            };
            self.ends.post(at.shard, Lane::Delivery, deliver);
        }
        if let Some(frame) = here {
            self.fan_out(name, frame, exclude, None);
        }
    }

    /// At home of one of the server's own channels: one message, in its own words, to all that listen. Whether there is room on the
    /// ways there ([`ways_are_free`](Self::ways_are_free)) is asked before something happens that must be told.
    pub(crate) fn tell_audience(
        &mut self,
        channel: &str,
        exclude: &[ConnectionId],
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let Some((name, home)) = self.channels.homes.get_named(channel) else {
            return;
        };
        let name = name.clone();
        let interested: SmallVec<[Interested; 8]> = SmallVec::from_slice(&home.interested);
        let plain = self.encode_frame(false, write);
        let deflates = interested.iter().any(|at| at.deflates);
        let deflated = if deflates {
            self.codec.compress_shared(&plain)
        } else {
            None
        };
        self.deliver_live(&name, &interested, SharedFrame { plain, deflated }, exclude);
    }

    /// At home: whether one more message would reach every shard with an audience.
    pub(crate) fn ways_are_free(&self, channel: &str) -> bool {
        let interested = self.channels.homes.interested(channel).iter();
        let mut elsewhere = interested.filter(|at| at.shard != self.id);
        elsewhere.all(|at| !self.ends.is_full(at.shard, Lane::Delivery))
    }

    /// Nobody listens, and nothing is kept yet.
    fn publish_unheard(
        &mut self,
        now: Now,
        channel: &str,
        body: Body<'_>,
        exclude: &[ConnectionId],
        origin: Origin<'_>,
    ) {
        let options = origin.options;
        let outcome = if self.settings.channels.history_of(channel).is_none() {
            match options.is_some_and(|options| options.key.is_some()) {
                true => Err(ErrorCode::NoHistory),
                false => Ok(None),
            }
        } else if options.is_some_and(|options| options.volatile) {
            Ok(None)
        } else {
            let name = self.channel_name(channel);
            if self.begin_log(now, &name) {
                return self.publish_into_log(now, &name, body, exclude, origin);
            }
            self.counters.publications_refused += 1;
            Err(ErrorCode::Overloaded)
        };
        self.settle(channel, origin, outcome);
    }

    /// Encodes a publication once for everybody on the node, compressed too if somebody takes that.
    pub(crate) fn encode_shared(
        &mut self,
        now: Now,
        channel: &str,
        body: Body<'_>,
        place: Option<Position>,
        deflates: bool,
    ) -> SharedFrame {
        let plain = self.encode_body(now, channel, body, place);
        let deflated = if deflates {
            self.codec.compress_shared(&plain)
        } else {
            None
        };
        SharedFrame { plain, deflated }
    }

    /// Encodes once what every subscriber on every shard gets.
    fn encode_body(
        &mut self,
        now: Now,
        channel: &str,
        body: Body<'_>,
        place: Option<Position>,
    ) -> Bytes {
        self.encode_frame(place.is_some(), |out| body.write(out, now, channel, place))
    }

    /// One text frame that many get. `kept`: it will live for long, which a chunk that others are cut from must not.
    #[inline]
    fn encode_frame(&mut self, kept: bool, write: impl FnOnce(&mut Vec<u8>)) -> Bytes {
        self.scratch.clear();
        frame::write_text_with(&mut self.scratch, write);
        if self.scratch.len() > CHUNKED_FRAME_MAX {
            return Bytes::from(std::mem::take(&mut self.scratch));
        }
        if kept {
            return Bytes::copy_from_slice(&self.scratch);
        }
        shared_bytes(&mut self.chunk, &self.scratch)
    }
}

/// The bytes as a frame to share: small ones are cut from a chunk.
pub(super) fn shared_bytes(chunk: &mut BytesMut, bytes: &[u8]) -> Bytes {
    if bytes.len() > CHUNKED_FRAME_MAX {
        return Bytes::copy_from_slice(bytes);
    }
    if chunk.capacity() < bytes.len() {
        chunk.reserve(CHUNK_BYTES);
    }
    chunk.extend_from_slice(bytes);
    chunk.split().freeze()
}
