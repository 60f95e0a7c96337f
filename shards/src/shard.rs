//! One shard: holds the rooms by value and forwards inputs to them.

use std::collections::VecDeque;
use std::sync::Arc;

use ahash::AHashMap;
use bytes::BytesMut;
use shardwire_protocol::websocket::{Role, Rules};

use crate::bounds::{LOOKED_AFTER_PER_TURN, OVERFLOW_RETRY_MS};
use crate::channels::{Body, Channels};
use crate::chat::Chat;
use crate::collaboration::{Documents, Joined};
use crate::connections::{
    Codec, Drain, FlushRow, Frames, NodeCount, Pool, Registry, Tags, Waiting,
};
use crate::history::{History, Origin};
use crate::mesh::MailboxEnds;
use crate::metrics::{CountRound, Counters, EndCounts};
use crate::notifications::Notifications;
use crate::placement::Placement;
use crate::presence::Presences;
use crate::rate_limits::SharedBuckets;
use crate::routing::kept_reply;
use crate::settings::ShardSettings;
use crate::storing::Storing;
use crate::timers::{TICK_MS, Tick, Wheel, tick_of};
use crate::users::Directory;
use crate::vocabulary::{ConnectionId, Effect, Input, Now, ShardId, ShardMessage};

/// One core's owner of state. No socket, no clock, no thread: what happens comes in by [`handle`](Self::handle), what
/// is to be done goes out by [`poll_effect`](Self::poll_effect).
///
/// A turn is any number of `handle` calls, then `poll_effect` until it is empty; a connection touched many times in
/// between is flushed once.
///
/// - `handle`, `admit`, `sent`: the world tells.
/// - `poll_effect`, `pending`, `next_deadline`, `has_mail`: the world asks.
/// - `fall_asleep`, `wake_up`: around blocking.
#[derive(Debug)]
pub struct Shard {
    pub(crate) id: ShardId,
    pub(crate) settings: Arc<ShardSettings>,
    pub(crate) placement: Placement,
    pub(crate) rules: Rules,
    pub(crate) registry: Registry,
    pub(crate) tags: Tags,
    pub(crate) frames: Frames,
    pub(crate) pool: Pool,
    pub(crate) codec: Codec,
    pub(crate) waiting: Waiting,
    /// Estimated nanoseconds of work so far, compressing apart; see `connections/share.rs`.
    pub(crate) work: u64,
    /// Counts turns, around and around.
    pub(crate) turn: u32,
    /// As of the last input, for what happens without time of its own.
    pub(crate) now: Now,
    pub(crate) node_count: NodeCount,
    pub(crate) channels: Channels,
    pub(crate) history: History,
    pub(crate) storing: Storing,
    pub(crate) documents: Documents,
    pub(crate) joined: Joined,
    pub(crate) chat: Chat,
    pub(crate) notifications: Notifications,
    pub(crate) directory: Directory,
    pub(crate) presences: Presences,
    pub(crate) shared_buckets: SharedBuckets,
    pub(crate) ends: MailboxEnds,
    pub(crate) wheel: Wheel<ConnectionId>,
    /// Apart from the other wheel, whose entries each arm exactly one more.
    pub(crate) session_wheel: Wheel<ConnectionId>,
    pub(crate) count_round: CountRound,
    pub(crate) counters: Counters,
    pub(crate) end_counts: EndCounts,
    pub(crate) effects: VecDeque<Effect>,
    /// Flushes of huge audiences, which are asked for in slices.
    pub(crate) row: FlushRow,
    /// While the shard is being emptied.
    pub(crate) drain: Option<Drain>,
    /// In which words peers closed that are not gone yet; at most 123 bytes each, of those with any.
    pub(crate) last_words: AHashMap<ConnectionId, Box<str>>,
    /// Connections that got something while their socket takes nothing; judged before the next message is looked at.
    pub(crate) stuck: Vec<ConnectionId>,
    /// Where envelopes are written before they become shared frames.
    pub(crate) scratch: Vec<u8>,
    /// Storage that small shared frames are cut from, so that a broadcast allocates nothing of its own.
    pub(crate) chunk: BytesMut,
    #[cfg(feature = "planted-faults")]
    pub(crate) planted: crate::planted::Planted,
    mail: Vec<ShardMessage>,
    /// Connections whose timer fired, in that order.
    due: VecDeque<ConnectionId>,
    /// Empty between turns; its memory is used again.
    sessions_due: Vec<ConnectionId>,
    /// Until when the shard last stood still.
    pub(crate) stalled_until: Tick,
    /// When full lanes are tried again; none while nothing is held back.
    retry: Option<u64>,
}

impl Shard {
    /// A shard with nothing in it. `ends` names which one it is; `node_count` is the one all shards share; from `seed` the epochs of
    /// logs are drawn, so it must be another one, by chance, for every shard and every start.
    #[must_use]
    pub fn new(
        settings: Arc<ShardSettings>,
        placement: Placement,
        ends: MailboxEnds,
        node_count: NodeCount,
        seed: u64,
    ) -> Self {
        let id = ends.shard();
        Self {
            id,
            rules: Rules {
                role: Role::Server,
                max_message_size: settings.max_message_size,
            },
            codec: Codec::new(settings.compression),
            row: FlushRow::new(settings.flush_slice),
            waiting: Waiting::default(),
            work: 0,
            turn: 0,
            now: Now::default(),
            settings,
            placement,
            registry: Registry::new(id),
            tags: Tags::default(),
            frames: Frames::default(),
            pool: Pool::default(),
            node_count,
            channels: Channels::new(placement.shards()),
            history: History::new(seed),
            storing: Storing::default(),
            documents: Documents::default(),
            joined: Joined::default(),
            chat: Chat::new(seed),
            notifications: Notifications::default(),
            directory: Directory::default(),
            presences: Presences::default(),
            shared_buckets: SharedBuckets::default(),
            ends,
            wheel: Wheel::default(),
            session_wheel: Wheel::default(),
            count_round: CountRound::default(),
            counters: Counters::default(),
            end_counts: EndCounts::default(),
            effects: VecDeque::new(),
            drain: None,
            last_words: AHashMap::new(),
            stuck: Vec::new(),
            scratch: Vec::new(),
            chunk: BytesMut::new(),
            #[cfg(feature = "planted-faults")]
            planted: Default::default(),
            mail: Vec::new(),
            due: VecDeque::new(),
            sessions_due: Vec::new(),
            stalled_until: 0,
            retry: None,
        }
    }

    /// Which shard this is.
    #[must_use]
    pub fn id(&self) -> ShardId {
        self.id
    }

    /// Takes in one thing that happened.
    pub fn handle(&mut self, now: Now, input: Input<'_>) {
        self.now = now;
        match input {
            Input::Opened(opening) => self.opened(now, opening),
            Input::Bytes { connection, bytes } => self.received(now, connection, bytes),
            Input::Closed { connection } => self.socket_ended(now, connection),
            Input::Verdict {
                connection,
                verdict,
            } => self.verified(now, connection, verdict),
            Input::Returned {
                connection,
                outcome,
            } => self.returned(now, connection, outcome),
            Input::Stored { ticket, outcome } => self.stored(now, ticket, outcome),
            Input::Loaded { ticket, outcome } => self.document_loaded(now, ticket, outcome),
            Input::Command(command) => self.command(now, command),
            Input::Mail => self.take_mail(now),
            Input::Deadline => self.deadlines(now),
        }
        self.judge_stuck(now);
        self.report_spending();
        if self.ends.held() > 0 || self.history.is_behind() || self.channels.has_parked() {
            self.retry.get_or_insert(now.ms + OVERFLOW_RETRY_MS);
        }
    }

    /// The next thing to do; none when the turn is over.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        if self.channels.has_gathered() {
            self.scatter();
        }
        if self.channels.holds() && !self.row.is_due() {
            self.scatter_held();
        }
        self.judge_stuck(self.now);
        if let Some(effect) = self.effects.pop_front() {
            return Some(effect);
        }
        if let Some(shard) = self.ends.poll_ring() {
            return Some(Effect::Ring(shard));
        }
        if self.row.is_due()
            && let Some(effect) = self.row.next(&mut self.registry)
        {
            return Some(effect);
        }
        self.turn = self.turn.wrapping_add(1);
        None
    }

    /// When [`Input::Deadline`] is due, in milliseconds since start (`now` if that has passed); none when nothing waits for
    /// time. Asking changes nothing: until `Deadline` is handed in, it stays due.
    #[must_use]
    pub fn next_deadline(&self, now: Now) -> Option<u64> {
        let [wheel, session, refill, typing, presence] = [
            self.wheel.next_tick(),
            self.session_wheel.next_tick(),
            self.shared_buckets.next_tick(),
            self.chat.next_tick(),
            self.presences.next_tick(),
        ]
        .map(|tick| tick.map(|tick| u64::from(tick) * TICK_MS));
        let postponed = self.waiting.is_due()
            || self.has_catching_up()
            || self.row.is_due()
            || !self.due.is_empty();
        [
            wheel,
            session,
            refill,
            typing,
            presence,
            self.retry,
            self.count_round.deadline(),
            self.drain.as_ref().and_then(Drain::deadline),
            self.next_log_deadline(),
            self.documents.next_deadline(),
            self.next_inbox_deadline(),
            postponed.then_some(now.ms),
        ]
        .into_iter()
        .flatten()
        .min()
        .map(|deadline| deadline.max(now.ms))
    }

    /// Whether [`Input::Mail`] is due.
    #[must_use]
    pub fn has_mail(&self) -> bool {
        self.ends.has_mail()
    }

    /// Announces that the caller is about to block. False: do not, there is mail.
    #[must_use]
    pub fn fall_asleep(&self) -> bool {
        self.ends.fall_asleep()
    }

    /// To be called after blocking.
    pub fn wake_up(&self) {
        self.ends.wake_up();
    }

    /// Connections in the registry, those being closed included.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.registry.len()
    }

    /// What is still held on behalf of anybody; all zero when everyone is gone everywhere.
    #[must_use]
    pub fn residue(&self) -> Residue {
        Residue {
            connections: self.registry.len(),
            tagged: self.tags.len(),
            local_channels: self.channels.audiences.len(),
            homed_channels: self.channels.homes.listened(),
            logs: self.history.logs(),
            log_bytes: self.history.bytes(),
            inboxes: self.notifications.inboxes(),
            inbox_bytes: self.notifications.bytes(),
            watched_devices: self.notifications.watched(),
            laggards: self.channels.audiences.laggards(),
            queued_bytes: self.channels.queued_bytes(),
            document_members: self.documents.members() + self.joined.len(),
            counted_users: self.directory.users(),
            counted_addresses: self.directory.addresses(),
            presence_records: self.presences.records(),
            presence_members: self.presences.members(),
            presence_channels: self.presences.channels(),
            buckets: self.shared_buckets.held(),
            frames: self.frames.held(),
            promised_bytes: self.codec.promised(),
            rooms: self.chat.rooms(),
            seats: self.chat.seats(),
            postponed: self.waiting.len(),
            held_mail: self.ends.held(),
        }
    }

    fn take_mail(&mut self, now: Now) {
        let mut mail = std::mem::take(&mut self.mail);
        self.ends.take_batch(&mut mail);
        for message in mail.drain(..) {
            self.message(now, message);
            self.judge_stuck(now);
        }
        self.mail = mail;
        self.retry_full_lanes(now);
    }

    fn retry_full_lanes(&mut self, now: Now) {
        self.ends.retry();
        self.stream_on(now);
        self.go_on_asking();
        self.retry = None;
        self.catch_up_devices();
    }

    /// Something could not be passed on because a lane is full: it is tried again.
    pub(crate) fn try_again_soon(&mut self) {
        self.retry.get_or_insert(self.now.ms + OVERFLOW_RETRY_MS);
    }

    fn message(&mut self, now: Now, message: ShardMessage) {
        match message {
            ShardMessage::Admit { connection, key } => self.decide_admission(connection, key),
            ShardMessage::Verdict {
                connection,
                key,
                granted,
            } => self.verdict(now, connection, key, granted),
            ShardMessage::Release { connection, key } => self.release_here(now, connection, &key),
            ShardMessage::Interest {
                channel,
                shard,
                ask,
                on,
            } => self.note_interest(now, channel, shard, ask, on),
            ShardMessage::Deflates { channel, shard, on } => {
                self.channels.homes.note_deflates(&channel, shard, on);
            }
            ShardMessage::ContextsEnded { bytes } => self.contexts_ended(bytes),
            ShardMessage::Interested {
                channel,
                ask,
                place,
            } => self.interest_noted(&channel, ask, place),
            ShardMessage::Publish {
                channel,
                message,
                exclude,
                publisher,
                reply,
                options,
            } => {
                let origin = Origin {
                    publisher,
                    reply: reply.as_deref(),
                    options: options.as_deref(),
                    ..Origin::default()
                };
                self.publish_at_home(now, &channel, Body::Message(&message), &exclude, origin);
            }
            ShardMessage::Deliver {
                channel,
                frame,
                exclude,
                place,
            } => self.fan_out(&channel, frame, &exclude, place),
            ShardMessage::Skipped { channel, from, to } => self.skip(&channel, from, to),
            ShardMessage::Fetch {
                channel,
                shard,
                reader,
                ask,
                since,
                bytes,
            } => self.answer_fetch(now, channel, shard, reader, ask, since, bytes),
            ShardMessage::Fetched {
                channel,
                reader,
                ask,
                whole,
                items,
                next,
            } => self.fetched(&channel, reader, ask, whole, items, next),
            ShardMessage::Published {
                connection,
                channel,
                place,
                reply,
            } => self.tell_published(connection, &channel, place, reply),
            ShardMessage::ReadHistory {
                connection,
                channel,
                query,
                reply,
            } => self.answer_history(now, connection, &channel, query, reply),
            ShardMessage::Document(message) => self.document_message(now, *message),
            ShardMessage::Answered { connection, text } => {
                self.answer(connection, |out| out.extend_from_slice(&text));
            }
            ShardMessage::Chat(message) => self.chat_message(now, *message),
            ShardMessage::Refused {
                connection,
                code,
                reply,
            } => self.answer_error(connection, code, kept_reply(reply).as_deref()),
            ShardMessage::Notification(mail) => self.notification_mail(now, *mail),
            ShardMessage::Presence(message) => self.presence_message(now, message),
            ShardMessage::Send { connections, frame } => {
                self.send_to(&connections, frame);
            }
            ShardMessage::Close {
                connections,
                code,
                reason,
            } => {
                self.close_these(now, &connections, code, &reason);
            }
            ShardMessage::Spent {
                key,
                shard,
                tokens,
                full_at_ns,
            } => self.charge_spending(now, key, shard, tokens, full_at_ns),
            ShardMessage::Owed { key, full_at_ns } => self.note_owed(now, &key, full_at_ns),
            ShardMessage::CountQuery { shard, round } => self.answer_count(shard, round),
            ShardMessage::Count {
                shard,
                round,
                connections,
            } => self.note_count(now, shard, round, connections),
        }
    }

    fn deadlines(&mut self, now: Now) {
        self.row.begin_slice();
        self.retry_full_lanes(now);
        self.notice_a_stall(self.tick(now));
        self.wheel
            .advance(self.tick(now), |connection| self.due.push_back(connection));
        for _ in 0..LOOKED_AFTER_PER_TURN {
            let Some(connection) = self.due.pop_front() else {
                break;
            };
            self.look_after(now, connection);
        }
        let mut due = std::mem::take(&mut self.sessions_due);
        self.session_wheel
            .advance(self.tick(now), |connection| due.push(connection));
        for connection in due.drain(..) {
            self.look_at_session(now, connection);
        }
        self.sessions_due = due;
        self.end_typing(now);
        self.shared_buckets.sweep(now, self.tick(now));
        self.sweep_logs(now);
        self.look_after_documents(now);
        self.sweep_inboxes(now);
        self.sweep_presence(now);
        self.read_postponed(now);
        self.catch_up(now);
        self.count_shards(now);
        self.go_on_draining(now);
    }

    /// What the operator chose anew. Connections live on; what is decided from now on is decided by this.
    pub(crate) fn change_settings(&mut self, settings: Arc<ShardSettings>) {
        self.rules.max_message_size = settings.max_message_size;
        if settings.rates != self.settings.rates {
            self.fill_all_buckets();
        }
        self.settings = settings;
    }

    pub(crate) fn tick(&self, now: Now) -> Tick {
        tick_of(now.ms)
    }
}

/// What a shard still holds; see [`Shard::residue`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Residue {
    /// Connections in the registry.
    pub connections: usize,
    /// Connections with tags.
    pub tagged: usize,
    /// Channels with a local audience.
    pub local_channels: usize,
    /// Channels homed here in which some shard is interested.
    pub homed_channels: usize,
    /// Logs of channels homed here; they go by themselves when nothing has happened in them for long enough.
    pub logs: usize,
    /// Bytes of those.
    pub log_bytes: usize,
    /// Inboxes of users homed here; they go by themselves when their notifications are too old.
    pub inboxes: usize,
    /// Bytes of those.
    pub inbox_bytes: usize,
    /// Connections to which notifications are on their way.
    pub watched_devices: usize,
    /// Subscribers that are not level with the others of their channel.
    pub laggards: usize,
    /// Bytes that wait for slow ones of those.
    pub queued_bytes: usize,
    /// Members of documents homed here, and connections of this shard that are in documents.
    pub document_members: usize,
    /// Users counted here.
    pub counted_users: usize,
    /// Addresses counted here.
    pub counted_addresses: usize,
    /// Users homed here of whom something is known; they go by themselves some time after they have gone.
    pub presence_records: usize,
    /// Members of the channels whose presence is told from here; they go by themselves a grace period after they have gone.
    pub presence_members: usize,
    /// Those channels.
    pub presence_channels: usize,
    /// Buckets of users and addresses that are not full yet; they go by themselves when they are.
    pub buckets: usize,
    /// Shared frames that wait in outboxes.
    pub frames: usize,
    /// Bytes promised to contexts of compressed connections.
    pub promised_bytes: usize,
    /// Chat rooms homed here with anybody in them.
    pub rooms: usize,
    /// Connections in chat rooms.
    pub seats: usize,
    /// Connections whose bytes wait for a later turn.
    pub postponed: usize,
    /// Messages in the overflow of full lanes.
    pub held_mail: usize,
}
