//! The way of a publication into its channel's log, and what its publisher is told.

use serde_json::value::RawValue;

use shardwire_protocol::codes::ErrorCode;
use shardwire_protocol::envelope::outbound;

use super::log::Record;
use super::unstored::{Asker, Unstored};
use crate::bounds::UNSTORED_ASKERS_MAX;
use crate::channels::{Body, place_on_the_wire};
use crate::mesh::Lane;
use crate::routing::kept_reply;
use crate::shard::Shard;
use crate::vocabulary::{
    Answer, AnswerId, ChannelName, ConnectionId, Effect, LogKind, LogName, Now, Position,
    PublishOptions, PublishOutcome, ShardMessage, SharedFrame, StoreOutcome, StoredRecord,
};

/// Whose publication it is, and how it is to be treated.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Origin<'a> {
    pub(crate) publisher: Option<ConnectionId>,
    /// The `id` of its message, as JSON.
    pub(crate) reply: Option<&'a str>,
    /// Who asks from outside.
    pub(crate) answer: Option<AnswerId>,
    pub(crate) options: Option<&'a PublishOptions>,
    /// It must not be refused, because something else would stay wrong for ever. There are as many of these as something else was
    /// admitted before.
    pub(crate) must: bool,
}

impl Origin<'_> {
    /// Nobody's, and not to be refused.
    pub(crate) const MUST: Self = Self {
        publisher: None,
        reply: None,
        answer: None,
        options: None,
        must: true,
    };

    fn asker(&self) -> Option<Asker> {
        match (self.publisher, self.answer) {
            (Some(connection), _) => Some(Asker::Client {
                connection,
                reply: self.reply.map(Into::into),
            }),
            (None, Some(answer)) => Some(Asker::Outside(answer)),
            (None, None) => None,
        }
    }
}

impl Shard {
    /// At home, for a channel that has a log: the publication is appended and delivered, or on its way into the store, or refused.
    pub(crate) fn publish_into_log(
        &mut self,
        now: Now,
        channel: &ChannelName,
        body: Body<'_>,
        exclude: &[ConnectionId],
        origin: Origin<'_>,
    ) {
        let options = origin.options;
        if options.is_some_and(|options| options.volatile) {
            self.deliver_volatile(now, channel, body, exclude);
            return self.settle(channel, origin, Ok(None));
        }
        let key = options.and_then(|options| options.key.as_deref());
        if let Some(key) = key
            && self.is_repeated(now, channel, key, origin)
        {
            return;
        }
        let Some(log) = self.channels.homes.log_mut(channel) else {
            return;
        };
        let durable = log.rule.durable;
        let full = durable && !self.storing.has_room(LogKind::Channel);
        if full || !self.make_room() {
            if origin.must {
                return self.deliver_volatile(now, channel, body, exclude);
            }
            self.counters.publications_refused += 1;
            return self.settle(channel, origin, Err(ErrorCode::Overloaded));
        }
        let Some(log) = self.channels.homes.log_mut(channel) else {
            return;
        };
        let lifetime_ms = options.and_then(|options| options.lifetime_ms);
        let (offset, epoch) = (log.give_offset(), log.position().epoch);
        let expires = log.expiry(now.ms, lifetime_ms);
        let place = Position { epoch, offset };
        let deflates = self.channels.homes.deflates(channel);
        let frame = self.encode_shared(now, channel, body, Some(place), deflates);
        let record = Record {
            offset,
            frame,
            exclude: exclude.into(),
            expires,
        };
        let key: Option<Box<str>> = key.map(Into::into);
        if !durable {
            self.commit(now, channel, record, key);
            return self.settle(channel, origin, Ok(Some(place)));
        }
        let kept = StoredRecord {
            offset,
            unix_ms: now.unix_ms,
            lifetime_ms,
            key: key.clone(),
            body: record.frame.plain.clone(),
        };
        let unstored = Unstored {
            record,
            key,
            askers: origin.asker().into_iter().collect(),
        };
        if let Some(log) = self.channels.homes.log_mut(channel) {
            log.unstored.push_back(unstored);
        }
        self.store(LogName::channel(channel.clone()), epoch, kept);
    }

    /// Whether this key was published with before; its publisher is told where that is.
    fn is_repeated(
        &mut self,
        now: Now,
        channel: &ChannelName,
        key: &str,
        origin: Origin<'_>,
    ) -> bool {
        let Some(log) = self.channels.homes.log_mut(channel) else {
            return false;
        };
        // Others may be on their way out, but not this one after its time.
        let before = (log.bytes(), log.len());
        log.keys.expire(now.ms);
        self.history.note_change(before, (log.bytes(), log.len()));
        let known = log.keys.find(key);
        let epoch = log.position().epoch;
        if let Some(offset) = known {
            self.counters.publications_repeated += 1;
            self.settle(channel, origin, Ok(Some(Position { epoch, offset })));
            return true;
        }
        let unstored = log.unstored.iter_mut();
        let Some(first) = unstored
            .into_iter()
            .find(|unstored| unstored.key.as_deref() == Some(key))
        else {
            return false;
        };
        self.counters.publications_repeated += 1;
        if first.askers.len() < UNSTORED_ASKERS_MAX {
            first.askers.extend(origin.asker());
        } else {
            self.settle(channel, origin, Err(ErrorCode::Overloaded));
        }
        true
    }

    /// The store has answered: the oldest publication that waits takes its place and its way, or its publisher is told why not.
    pub(crate) fn publication_stored(
        &mut self,
        now: Now,
        channel: &ChannelName,
        outcome: StoreOutcome,
    ) {
        let Some(log) = self.channels.homes.log_mut(channel) else {
            return;
        };
        let Some(unstored) = log.unstored.pop_front() else {
            return;
        };
        let place = Position {
            epoch: log.position().epoch,
            offset: unstored.record.offset,
        };
        let told = match outcome {
            StoreOutcome::Stored => {
                self.commit(now, channel, unstored.record, unstored.key);
                Ok(Some(place))
            }
            StoreOutcome::Full => Err(ErrorCode::StorageFull),
            StoreOutcome::Failed => Err(ErrorCode::StorageFailed),
        };
        if told.is_err() {
            self.counters.publications_unstored += 1;
            self.look_after_log(now, channel);
        }
        for asker in unstored.askers {
            match asker {
                Asker::Client { connection, reply } => {
                    let origin = Origin {
                        publisher: Some(connection),
                        reply: reply.as_deref(),
                        ..Origin::default()
                    };
                    self.settle(channel, origin, told);
                }
                Asker::Outside(answer) => {
                    let origin = Origin {
                        answer: Some(answer),
                        ..Origin::default()
                    };
                    self.settle(channel, origin, told);
                }
            }
        }
    }

    /// Into the log for good, and on its way to every interested shard.
    fn commit(&mut self, now: Now, channel: &ChannelName, record: Record, key: Option<Box<str>>) {
        let window = self.settings.channels.idempotency_window_ms;
        let Some(log) = self.channels.homes.log_mut(channel) else {
            return;
        };
        let before = (log.bytes(), log.len());
        let place = Position {
            epoch: log.position().epoch,
            offset: record.offset,
        };
        let (frame, exclude) = (record.frame.clone(), record.exclude.clone());
        log.append(now.ms, record);
        if let Some(key) = key {
            log.keys
                .note(key, place.offset, now.ms.saturating_add(window));
        }
        log.trim(now.ms);
        self.history.note_change(before, (log.bytes(), log.len()));
        self.history
            .order
            .push_back((channel.clone(), place.offset));
        self.history.forget_gone_places(&self.channels.homes);
        self.counters.history_records += 1;
        self.look_after_log(now, channel);
        self.deliver(channel, place, frame, &exclude);
    }

    /// A record to every shard with an audience: at once, or when there is room in its lane.
    fn deliver(
        &mut self,
        channel: &ChannelName,
        place: Position,
        frame: SharedFrame,
        exclude: &[ConnectionId],
    ) {
        let Some(home) = self.channels.homes.get_mut(channel) else {
            return;
        };
        let Some(log) = home.log.as_deref_mut() else {
            return;
        };
        let mut here = false;
        for at in &home.interested {
            if at.shard == self.id {
                here = true;
            } else if log.next_for(at.shard).is_some() {
                // It gets this one from the log, behind those it has still to get.
            } else if self.ends.is_full(at.shard, Lane::Delivery) {
                log.set_next_for(at.shard, Some(place.offset));
                self.counters.lanes_overflowed += 1;
                #[cfg(feature = "planted-faults")]
                if self.planted.strikes(crate::planted::Fault::ForgetOverflow) {
                    continue;
                }
                self.history.behind.push_back((channel.clone(), at.shard));
            } else {
                let deliver = ShardMessage::Deliver {
                    channel: channel.clone(),
                    frame: SharedFrame {
                        plain: frame.plain.clone(),
                        deflated: frame.deflated.clone().filter(|_| at.deflates),
                    },
                    exclude: exclude.into(),
                    place: Some(place),
                };
                self.ends.post(at.shard, Lane::Delivery, deliver);
            }
        }
        if here {
            self.fan_out(channel, frame, exclude, Some(place));
        }
    }

    /// To whoever listens and is up to date, and nowhere else.
    fn deliver_volatile(
        &mut self,
        now: Now,
        channel: &ChannelName,
        body: Body<'_>,
        exclude: &[ConnectionId],
    ) {
        let deflates = self.channels.homes.deflates(channel);
        let frame = self.encode_shared(now, channel, body, None, deflates);
        let Some(home) = self.channels.homes.get(channel) else {
            return;
        };
        let mut here = false;
        for at in &home.interested {
            let behind = home
                .log
                .as_deref()
                .is_some_and(|log| log.next_for(at.shard).is_some());
            if at.shard == self.id {
                here = true;
            } else if behind || self.ends.is_full(at.shard, Lane::Delivery) {
                self.counters.volatile_dropped += 1;
            } else {
                let deliver = ShardMessage::Deliver {
                    channel: channel.clone(),
                    frame: frame.clone(),
                    exclude: exclude.into(),
                    place: None,
                };
                self.ends.post(at.shard, Lane::Delivery, deliver);
            }
        }
        if here {
            self.fan_out(channel, frame, exclude, None);
        }
    }

    /// Tells whoever asked what became of a publication. A client is told of a good end only if it gave an `id`.
    pub(crate) fn settle(&mut self, channel: &str, origin: Origin<'_>, outcome: PublishOutcome) {
        let Some(publisher) = origin.publisher else {
            if let Some(id) = origin.answer {
                self.effects.push_back(Effect::Answer {
                    id,
                    answer: Answer::Published(outcome),
                });
            }
            return;
        };
        let here = publisher.shard() == self.id;
        let reply = origin.reply;
        match outcome {
            Ok(Some(place)) if reply.is_some() => {
                if here {
                    return self.tell_published(publisher, channel, place, reply.map(Into::into));
                }
                let published = ShardMessage::Published {
                    connection: publisher,
                    channel: self.channel_name(channel),
                    place,
                    reply: reply.map(Into::into),
                };
                self.ends.post(publisher.shard(), Lane::Control, published);
            }
            Ok(_) => {}
            Err(code) if here => {
                let reply = kept_reply(reply.map(Into::into));
                self.answer_error(publisher, code, reply.as_deref());
            }
            Err(code) => {
                let refused = ShardMessage::Refused {
                    connection: publisher,
                    code,
                    reply: reply.map(Into::into),
                };
                self.ends.post(publisher.shard(), Lane::Control, refused);
            }
        }
    }

    /// The publisher's shard tells it where its publication is kept.
    pub(crate) fn tell_published(
        &mut self,
        publisher: ConnectionId,
        channel: &str,
        place: Position,
        reply: Option<Box<str>>,
    ) {
        let reply: Option<Box<RawValue>> = kept_reply(reply);
        self.answer(publisher, |out| {
            outbound::published(out, channel, place_on_the_wire(place), reply.as_deref());
        });
    }
}
