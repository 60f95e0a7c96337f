//! Reading in a log: for subscribers that catch up, and for `history`.

use bytes::Bytes;
use serde_json::value::RawValue;

use shardwire_protocol::codes::ErrorCode;
use shardwire_protocol::envelope::outbound;
use shardwire_protocol::websocket::frame;

use super::log::{Part, ReadLimit};
use crate::bounds::{CATCH_UP_BYTES, CATCH_UP_RECORDS, HISTORY_BYTES_MAX, HISTORY_MESSAGES_MAX};
use crate::channels::place_on_the_wire;
use crate::mesh::Lane;
use crate::permissions::Action;
use crate::routing::kept_reply;
use crate::shard::Shard;
use crate::vocabulary::{
    ChannelName, ConnectionId, HistoryQuery, Now, Position, ShardId, ShardMessage,
};

impl Shard {
    /// At home: what follows `since` in the log, as far as `shard` was sent it, and whether that is all there was.
    pub(crate) fn read_since(
        &self,
        now: Now,
        channel: &str,
        shard: ShardId,
        since: Position,
        bytes: usize,
    ) -> (bool, Part) {
        let from = since.offset.saturating_add(1);
        let nothing = |next| {
            let items = Vec::new();
            (false, Part { items, next })
        };
        let Some(log) = self.channels.homes.log(channel) else {
            return nothing(from);
        };
        let through = log.sent_to(shard);
        if log.position().epoch != since.epoch {
            return nothing(through.saturating_add(1));
        }
        let limit = ReadLimit {
            records: CATCH_UP_RECORDS,
            bytes: bytes.min(CATCH_UP_BYTES),
        };
        (
            log.is_whole(now.ms, from, through),
            log.read(now.ms, from, through, limit),
        )
    }

    /// As a home: another shard asks for one of its subscribers.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn answer_fetch(
        &mut self,
        now: Now,
        channel: ChannelName,
        shard: ShardId,
        reader: ConnectionId,
        ask: u32,
        since: Position,
        bytes: usize,
    ) {
        let (whole, part) = self.read_since(now, &channel, shard, since, bytes);
        let fetched = ShardMessage::Fetched {
            channel,
            reader,
            ask,
            whole,
            items: part.items,
            next: part.next,
        };
        self.ends.post(shard, Lane::Delivery, fetched);
    }

    /// A client asks for a channel's history. Who may subscribe may read.
    pub(crate) fn ask_history(
        &mut self,
        now: Now,
        id: ConnectionId,
        channel: &str,
        query: HistoryQuery,
        reply: Option<&RawValue>,
    ) {
        if let Err(code) = self.authorize(id, Action::Subscribe, channel) {
            return self.answer_error(id, code, reply);
        }
        let home = self.placement.home_of_channel(channel);
        if home == self.id {
            return match self.read_history(now, channel, query, reply) {
                Ok(text) => self.answer(id, |out| out.extend_from_slice(&text)),
                Err(code) => self.answer_error(id, code, reply),
            };
        }
        let message = ShardMessage::ReadHistory {
            connection: id,
            channel: self.channel_name(channel),
            query,
            reply: reply.map(|raw| raw.get().into()),
        };
        if self.ends.send(home, Lane::Control, message).is_err() {
            self.answer_error(id, ErrorCode::Overloaded, reply);
        }
    }

    /// As a home: a client of another shard asks for a channel's history.
    pub(crate) fn answer_history(
        &mut self,
        now: Now,
        connection: ConnectionId,
        channel: &str,
        query: HistoryQuery,
        reply: Option<Box<str>>,
    ) {
        let raw = kept_reply(reply.clone());
        let message = match self.read_history(now, channel, query, raw.as_deref()) {
            Ok(text) => ShardMessage::Answered {
                connection,
                text: Bytes::from(text),
            },
            Err(code) => ShardMessage::Refused {
                connection,
                code,
                reply,
            },
        };
        self.ends.post(connection.shard(), Lane::Delivery, message);
    }

    /// At home: what a log has, as the answer to `history`.
    pub(crate) fn read_history(
        &mut self,
        now: Now,
        channel: &str,
        query: HistoryQuery,
        reply: Option<&RawValue>,
    ) -> Result<Vec<u8>, ErrorCode> {
        let log = match self.channels.homes.log(channel) {
            Some(log) => log,
            None if self.settings.channels.history_of(channel).is_none() => {
                return Err(ErrorCode::NoHistory);
            }
            // Nobody has published there, and nobody listens: it begins now, so that the client is told its epoch.
            None => {
                let name: ChannelName = channel.into();
                if !self.begin_log(now, &name) {
                    return Err(ErrorCode::Overloaded);
                }
                self.look_after_log(now, &name);
                self.channels
                    .homes
                    .log(channel)
                    .ok_or(ErrorCode::Overloaded)?
            }
        };
        let limit = query.limit.min(HISTORY_MESSAGES_MAX);
        // No more than may wait for who asks, one message apart.
        let most = HISTORY_BYTES_MAX.min(self.settings.outbox_soft_limit);
        let (mut messages, mut bytes, mut more) = (Vec::new(), 0, false);
        for record in log.walk(now.ms, query.from, query.backward) {
            let Some((_, payload)) = frame::read_server(&record.frame.plain) else {
                continue;
            };
            if messages.len() == limit || (bytes > 0 && bytes + payload.len() > most) {
                more = true;
                break;
            }
            bytes += payload.len();
            messages.push(payload);
        }
        let mut text = Vec::with_capacity(bytes + messages.len() + 160);
        let place = place_on_the_wire(log.position());
        outbound::history(&mut text, channel, place, messages, more, reply);
        self.work += text.len() as u64 / crate::connections::cost::BYTES_PER_NANOSECOND;
        Ok(text)
    }
}
