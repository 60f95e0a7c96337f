//! The engine's part: settings, sockets, what the shards ask for carried out, and the end.

use std::collections::BTreeMap;
use std::sync::Arc;

use arbitrary::{Result, Unstructured};
use shardwire_shards::bounds::WRITE_SLICES_MAX;
use shardwire_shards::history::ChannelSettings;
use shardwire_shards::mesh::{LaneBounds, MailboxEnds};
use shardwire_shards::notifications::NotificationSettings;
use shardwire_shards::permissions::{Action, Grant, Permissions, Rule as Permission};
use shardwire_shards::placement::{Placement, Rule};
use shardwire_shards::presence::PresenceSettings;
use shardwire_shards::rate_limits::{Rate, Rates};
use shardwire_shards::vocabulary::{Command, ConnectionId, Effect, Event, Input, Now, Opening};
use shardwire_shards::{
    ApplicationRoutes, AuthenticationTimes, ChatSettings, CompressionSettings, NodeCount, Residue,
    Shard, ShardSettings,
};

use super::socket::{Socket, Stage};

/// What clocks on the wall show when a run begins.
const UNIX_MS: u64 = 1_700_000_000_000;

/// Turns until shards that are left alone must have come to rest.
const TURNS_MAX: usize = 20_000;

/// Longer than a shard waits until it tries a full lane again.
const RETRY_MS: u64 = 100;

/// What an answer may be longer than the message it carries.
const ENVELOPE_BYTES: usize = 400;

/// Longer than every time in the settings, buckets and tokens included.
const LONG_MS: u64 = 200_000;

#[derive(Debug)]
pub(super) struct World {
    pub(super) ms: u64,
    pub(super) shards: Vec<Shard>,
    pub(super) placement: Placement,
    pub(super) settings: Arc<ShardSettings>,
    pub(super) sockets: Vec<Socket>,
    /// Every id there ever was, and which socket it is or was.
    pub(super) ids: BTreeMap<ConnectionId, usize>,
    /// Given away, and not handed in yet.
    pub(super) moving: Vec<(usize, Opening)>,
    node_count: NodeCount,
}

impl World {
    pub(super) fn new(u: &mut Unstructured<'_>) -> Result<Self> {
        let rule = *u.choose(&[Rule::Accept, Rule::IpHash, Rule::UserHash])?;
        let placement = Placement::new(rule, u.int_in_range(1..=3)?);
        let settings = Arc::new(settings(u)?);
        let lanes = match u.arbitrary()? {
            true => LaneBounds::default(),
            false => LaneBounds {
                lane_messages: 2,
                overflow_messages: 4,
                overflow_bytes: 2000,
            },
        };
        let node_count = NodeCount::default();
        let shards = MailboxEnds::connect_bounded(placement.shards(), lanes)
            .into_iter()
            .map(|ends| {
                Shard::new(
                    Arc::clone(&settings),
                    placement,
                    ends,
                    node_count.clone(),
                    1,
                )
            })
            .collect();
        Ok(Self {
            ms: 0,
            shards,
            placement,
            settings,
            sockets: Vec::new(),
            ids: BTreeMap::new(),
            moving: Vec::new(),
            node_count,
        })
    }

    pub(super) fn now(&self) -> Now {
        Now {
            ms: self.ms,
            unix_ms: UNIX_MS + self.ms,
        }
    }

    /// Hands one input in and carries out what the shard asks for.
    pub(super) fn hand_in(&mut self, at: usize, input: Input<'_>) {
        let now = self.now();
        self.shards[at].handle(now, input);
        while let Some(effect) = self.shards[at].poll_effect() {
            self.carry_out(at, effect);
        }
        self.watch_backlogs(at);
        assert!(self.node_count.get() <= self.settings.max_connections);
    }

    fn carry_out(&mut self, at: usize, effect: Effect) {
        match effect {
            Effect::Opened { connection, socket } => {
                let number = socket.0 as usize;
                assert!(self.ids.insert(connection, number).is_none(), "an id twice");
                let socket = &mut self.sockets[number];
                assert_eq!((socket.stage, socket.shard), (Stage::Handed, at));
                socket.stage = Stage::Open;
                socket.connection = Some(connection);
            }
            Effect::Receive { socket, on } => {
                let socket = &mut self.sockets[socket.0 as usize];
                socket.on_its_way |= socket.receiving && !on;
                socket.receiving = on;
            }
            Effect::Flush { connection, socket } => {
                let number = socket.0 as usize;
                if self.sockets[number].connection == Some(connection) {
                    // How much a socket takes must not depend on what is left of the input: that is used up at the end.
                    let room = if self.sockets[number].blocked {
                        0
                    } else {
                        usize::MAX
                    };
                    self.flush(number, room);
                }
            }
            Effect::Close { socket } => {
                let number = socket.0 as usize;
                let socket = &mut self.sockets[number];
                assert_ne!(socket.stage, Stage::Gone, "a socket is closed once");
                socket.stage = Stage::Gone;
            }
            Effect::Verify { connection, .. } => {
                let socket = self.living(connection);
                assert!(!socket.verifying, "one verification at a time");
                socket.verifying = true;
            }
            Effect::Call { connection, .. } => {
                let socket = self.living(connection);
                assert!(!socket.calling, "one call at a time");
                socket.calling = true;
            }
            Effect::HandOff { home, opening } => {
                let number = opening.socket.0 as usize;
                let socket = &mut self.sockets[number];
                assert_eq!((socket.stage, socket.shard), (Stage::Open, at));
                assert_ne!(home.index(), at, "handed off to where it is");
                socket.stage = Stage::Moving;
                socket.connection = None;
                socket.shard = home.index();
                socket.receiving = false;
                socket.on_its_way = true;
                socket.verifying = false;
                self.moving.push((number, *opening));
            }
            Effect::Ring(shard) => assert_ne!(shard.index(), at, "it rings itself"),
            Effect::Answer { .. } => {}
            Effect::Store(_) => unreachable!("no channel is kept across restarts"),
            Effect::Event(Event::Connected { connection }) => {
                self.living(connection);
            }
            Effect::Event(Event::Unreached { .. }) => {}
            Effect::Event(Event::Disconnected { connection, .. }) => {
                let socket = self.living(connection);
                socket.connection = None;
                socket.calling = false;
                socket.verifying = false;
            }
        }
    }

    /// The socket that is this connection: it was opened, and has not ended.
    fn living(&mut self, connection: ConnectionId) -> &mut Socket {
        let number = self.ids.get(&connection).expect("an id that was opened");
        let socket = &mut self.sockets[*number];
        assert_eq!(socket.connection, Some(connection), "it has ended already");
        socket
    }

    /// One write of at most `room` bytes.
    pub(super) fn flush(&mut self, number: usize, room: usize) {
        let now = self.now();
        let socket = &mut self.sockets[number];
        let Some(connection) = socket.connection else {
            return;
        };
        let shard = &mut self.shards[socket.shard];
        let pending = || shard.pending(connection).take(WRITE_SLICES_MAX);
        let offered: usize = pending().map(<[u8]>::len).sum();
        let taken = offered.min(room);
        let mut bytes: Vec<u8> = pending().flatten().copied().take(taken).collect();
        socket.blocked = taken < offered;
        socket.hear(&mut bytes);
        shard.sent(now, connection, taken, taken < offered);
    }

    /// What waits for those that take nothing is bounded.
    fn watch_backlogs(&self, at: usize) {
        for socket in &self.sockets {
            if let Some(connection) = socket.connection
                && socket.blocked
                && socket.shard == at
            {
                let pending = self.shards[at].pending(connection);
                let waiting: usize = pending.map(<[u8]>::len).sum();
                let most = self.settings.outbox_hard_limit
                    + self.settings.max_message_size
                    + ENVELOPE_BYTES;
                assert!(waiting <= most, "{waiting} bytes wait, {most} are allowed");
            }
        }
    }

    /// Time passes, and whoever waited for it is told.
    pub(super) fn pass(&mut self, ms: u64) {
        self.ms += ms;
        for at in 0..self.shards.len() {
            let mut times = 0;
            while self.shards[at]
                .next_deadline(self.now())
                .is_some_and(|due| due <= self.ms)
            {
                self.hand_in(at, Input::Deadline);
                times += 1;
                assert!(times < TURNS_MAX, "a deadline that never passes");
            }
        }
    }

    fn settle(&mut self) {
        for _ in 0..TURNS_MAX {
            for (number, opening) in std::mem::take(&mut self.moving) {
                self.arrive(number, opening);
            }
            let Some(at) = self.shards.iter().position(Shard::has_mail) else {
                return;
            };
            self.hand_in(at, Input::Mail);
        }
        panic!("the shards never come to rest");
    }

    /// The same, until no full lane has anything left to take: it takes a few messages at a time, and what those bring about counts
    /// from then.
    fn come_to_rest(&mut self) {
        for _ in 0..TURNS_MAX {
            self.settle();
            if self
                .shards
                .iter()
                .all(|shard| shard.residue().held_mail == 0)
            {
                return;
            }
            self.pass(RETRY_MS);
        }
        panic!("a full lane is never emptied");
    }

    pub(super) fn arrive(&mut self, number: usize, opening: Opening) {
        let socket = &mut self.sockets[number];
        socket.stage = Stage::Handed;
        let at = socket.shard;
        self.hand_in(at, Input::Opened(opening));
    }

    /// Everybody goes, and nothing is left. `asked`: the node is drained, and nobody answers; else all sockets end.
    pub(super) fn end(mut self, asked: bool) {
        self.settle();
        if asked {
            let reason = String::from("the end");
            for at in 0..self.shards.len() {
                self.hand_in(
                    at,
                    Input::Command(Command::CloseAll {
                        code: 1001,
                        reason: reason.clone(),
                    }),
                );
            }
        } else {
            for number in 0..self.sockets.len() {
                self.lose(number);
            }
        }
        for _ in 0..6 {
            self.come_to_rest();
            self.pass(LONG_MS / 4);
        }
        self.settle();
        for (number, socket) in self.sockets.iter().enumerate() {
            assert_eq!(
                socket.connection, None,
                "socket {number} never ended: {socket:?}"
            );
            assert_eq!(
                socket.stage,
                Stage::Gone,
                "socket {number} was never closed"
            );
        }
        for (at, shard) in self.shards.iter().enumerate() {
            assert_eq!(shard.residue(), Residue::default(), "left on shard {at}");
        }
        assert_eq!(self.node_count.get(), 0, "connections still counted");
    }

    /// The socket ends by itself.
    pub(super) fn lose(&mut self, number: usize) {
        let socket = &mut self.sockets[number];
        if let Some(connection) = socket.connection {
            socket.stage = Stage::Gone;
            let at = socket.shard;
            self.hand_in(at, Input::Closed { connection });
        }
    }
}

fn settings(u: &mut Unstructured<'_>) -> Result<ShardSettings> {
    let rate = |u: &mut Unstructured<'_>| -> Result<Option<Rate>> {
        Ok(u.arbitrary::<bool>()?.then(|| Rate::new(5, 1000, 3)))
    };
    let closed = Permission::about("closed".parse().expect("a pattern"))
        .allow(Action::Subscribe, [Grant::from_text("role")]);
    let own = Permission::about("room.{user}".parse().expect("a pattern"))
        .allow(Action::Subscribe, [Grant::from_text("authenticated")])
        .allow(Action::Publish, [Grant::from_text("authenticated")]);
    Ok(ShardSettings {
        max_connections: 6,
        max_connections_per_user: u.arbitrary::<bool>()?.then_some(2),
        max_connections_per_ip: u.arbitrary::<bool>()?.then_some(3),
        max_message_size: 1000,
        max_channels: 3,
        heartbeat_interval_ms: 30_000,
        heartbeat_timeout_ms: 10_000,
        close_timeout_ms: 5_000,
        outbox_soft_limit: 300,
        outbox_hard_limit: 1_000,
        flush_slice: 2,
        routes: match u.int_in_range(0..=3)? {
            0 => ApplicationRoutes {
                types: vec!["work".to_owned(), "echo".to_owned()],
                on_connect: u.arbitrary()?,
                every_message: u.arbitrary()?,
                authorize: None,
            },
            _ => ApplicationRoutes::default(),
        },
        compression: CompressionSettings {
            enabled: true,
            threshold: 64,
            level: 1,
            context_takeover: u.arbitrary()?,
            context_memory: 700_000,
        },
        publish_shard_counts: u.arbitrary()?,
        channels: ChannelSettings::default(),
        chat: u.arbitrary::<bool>()?.then_some(ChatSettings {
            max_members: 2,
            max_content: 8,
            typing_ms: 1_000,
            history: 1,
            presence: true,
        }),
        collaboration: None,
        notifications: Some(NotificationSettings {
            max_per_user: 3,
            ttl_ms: 20_000,
            max_size: 100,
            memory: 2_000,
            durable: false,
        }),
        permissions: match u.arbitrary()? {
            true => Permissions::new([closed, own], true),
            false => Permissions::default(),
        },
        rates: match u.int_in_range(0..=2)? {
            0 => Rates {
                connection_messages: rate(u)?,
                user_messages: rate(u)?,
                ip_messages: rate(u)?,
                new_connections: rate(u)?,
                refused: Rate::new(2, 1000, 4),
                ..Rates::default()
            },
            _ => Rates::default(),
        },
        authentication: u.arbitrary::<bool>()?.then_some(AuthenticationTimes {
            timeout_ms: 5_000,
            warning_ms: 60_000,
            grace_ms: 10_000,
        }),
        presence: PresenceSettings {
            channels: match u.arbitrary()? {
                true => Box::new(["a".parse().expect("a pattern")]),
                false => Box::default(),
            },
            grace_ms: *u.choose(&[0, 10_000])?,
            heartbeat_timeout_ms: 30_000,
            status_expiration_ms: 60_000,
            budget_bytes: *u.choose(&[400, 32 << 10])?,
            ..PresenceSettings::default()
        },
    })
}
