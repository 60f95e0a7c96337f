//! What one seed is about: how many shards, which limits, which clients, how rough the world is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use shardwire_shards::bounds::FLUSH_SLICE;
use shardwire_shards::collaboration::{CollaborationSettings, DocumentSettings};
use shardwire_shards::history::{ChannelRule, ChannelSettings, HistoryRule, SlowPolicy};
use shardwire_shards::mesh::LaneBounds;
use shardwire_shards::notifications::NotificationSettings;
use shardwire_shards::placement::{Placement, Rule};
use shardwire_shards::presence::PresenceSettings;
use shardwire_shards::{ApplicationRoutes, ChatSettings, ShardSettings};

use crate::Random;

/// The type of message the application handles.
pub const WORK: &str = "work";

/// Everything that is drawn before the first step. Seeds differ much more than steps do: one has tiny lanes and no
/// limits, the next slow readers and tight limits.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Where names live.
    pub placement: Placement,
    /// What the shards are told.
    pub settings: ShardSettings,
    /// How small the lanes are.
    pub lanes: LaneBounds,
    /// Channels clients use: some without history, one or none in which it is told who is in the first of them, `logs` with history, and
    /// last `$shards`.
    pub channels: Vec<String>,
    /// Which of them tells who is in the first one.
    pub told_in: Option<usize>,
    /// How many channels have history.
    pub logs: usize,
    /// Documents clients edit; none in most runs.
    pub documents: Vec<String>,
    /// Histories and inboxes are kept on disk, and outlive the node.
    pub durable: bool,
    /// Chat rooms there are.
    pub rooms: usize,
    /// Users clients may be.
    pub users: Vec<String>,
    /// Where clients come from.
    pub addresses: Vec<IpAddr>,
    /// Connections the storm keeps up.
    pub crowd: usize,
    /// Most inputs in one turn.
    pub turn_inputs: usize,
    /// Most bytes the network moves at once.
    pub chunk: usize,
    /// Bytes a socket takes that its client has not read.
    pub socket_room: usize,
    /// Longest step of the clock in a storm, in milliseconds.
    pub clock_step: u64,
    /// Longest filler in a publication, in bytes.
    pub filler: usize,
    /// How often things happen, against each other; see [`Weights`].
    pub weights: Weights,
    /// Bytes a client lets wait for the network before it says more.
    pub ahead: usize,
    /// How often clients subscribe, unsubscribe and publish, against each other.
    pub habits: [u32; 3],
    /// Of a thousand things clients do: those that end their connection, in one way or another.
    pub churn: u64,
    /// Of a hundred new clients: those that read hardly anything.
    pub slow_readers: u64,
    /// Of a hundred new clients: those that answer no ping.
    pub mutes: u64,
    /// Of a hundred new clients: those on the echo path.
    pub echoes: u64,
}

/// How often each kind of step is taken in a storm.
#[derive(Clone, Copy, Debug)]
pub struct Weights {
    /// A shard takes a turn.
    pub turn: u32,
    /// The network brings bytes to a shard.
    pub arrive: u32,
    /// A client reads.
    pub read: u32,
    /// A client does something.
    pub act: u32,
    /// The clock moves.
    pub clock: u32,
    /// Somebody outside commands.
    pub command: u32,
    /// A shard stalls or wakes up again, a clock or the disk misbehaves, the node is killed.
    pub trouble: u32,
    /// The disk does some of its work.
    pub disk: u32,
    /// Somebody outside notifies a user.
    pub notify: u32,
}

impl Scenario {
    /// Draws one. `shards`: instead of a drawn number.
    #[must_use]
    pub fn draw(random: &mut Random, shards: Option<u16>) -> Self {
        // From a stream of its own, so that seeds that were written down stay what they were; likewise about rooms and slices.
        let mut about_documents = Random::new(random.clone().bits());
        let mut about_rooms = Random::new(!random.clone().bits());
        let mut about_slices = Random::new(random.clone().bits().rotate_left(32));
        let mut about_inboxes = Random::new(random.clone().bits().rotate_left(17));
        let drawn = random.pick(&[1_u16, 2, 2, 3, 4, 4, 5, 7, 8, 16]);
        let shards = shards.unwrap_or(drawn).max(1);
        let rule = random.pick(&[Rule::Accept, Rule::IpHash, Rule::UserHash]);
        let durable = random.chance(40);
        let max_message_size = random.pick(&[512, 4 << 10, 64 << 10]);
        let soft = random.pick(&[2 << 10, 8 << 10, 256 << 10]);
        let chat_rooms = about_rooms.pick(&[0, 0, 1, 2, 3]);
        let settings = ShardSettings {
            max_connections: random.pick(&[12, 60, 1000]),
            max_connections_per_user: random.pick(&[None, Some(1), Some(2), Some(5)]),
            max_connections_per_ip: random.pick(&[None, Some(2), Some(10)]),
            max_message_size,
            max_channels: random.pick(&[2, 4, 128]),
            heartbeat_interval_ms: random.pick(&[500, 5_000, 30_000]),
            heartbeat_timeout_ms: random.pick(&[300, 2_000, 10_000]),
            close_timeout_ms: random.pick(&[200, 5_000]),
            outbox_soft_limit: soft,
            outbox_hard_limit: soft * random.pick(&[2, 4]),
            // Here nobody has an audience that is huge otherwise.
            flush_slice: about_slices.pick(&[1, 2, 4, FLUSH_SLICE]),
            routes: routes(random),
            publish_shard_counts: random.chance(80),
            channels: history(random, durable),
            chat: (chat_rooms > 0).then(|| ChatSettings {
                max_members: about_rooms.pick(&[1, 3, 1000]),
                typing_ms: 1_000,
                // Of a record that a room has made, the checks know nothing.
                presence: false,
                ..ChatSettings::default()
            }),
            presence: presence(random),
            notifications: inboxes(&mut about_inboxes, durable),
            ..ShardSettings::default()
        };
        let documents = documents(&mut about_documents, &settings);
        let settings = ShardSettings {
            collaboration: (!documents.is_empty()).then(|| collaboration(&mut about_documents)),
            ..settings
        };
        let notify = settings.notifications.is_some();
        let lanes = if random.chance(40) {
            LaneBounds {
                lane_messages: random.size(1..=6),
                overflow_messages: random.pick(&[1, 2, 3, 6, 12]),
                overflow_bytes: random.pick(&[1 << 10, 1 << 20]),
            }
        } else {
            LaneBounds::default()
        };
        let rooms = random.size(1..=4);
        let logs = random.pick(&[0, 1, 1, 2, 3]);
        let told_in = (!settings.presence.channels.is_empty()).then_some(rooms);
        let channels = (0..rooms)
            .map(|n| format!("room:{n}"))
            .chain(told_in.map(|_| "$presence:room:0".to_owned()))
            .chain((0..logs).map(|n| format!("log:{n}")))
            .chain(["$shards".to_owned()])
            .collect();
        Self {
            placement: Placement::new(rule, shards),
            settings,
            lanes,
            channels,
            told_in,
            logs,
            documents,
            durable,
            rooms: chat_rooms,
            users: (0..random.size(1..=8))
                .map(|n| format!("user-{n}"))
                .collect(),
            addresses: (0..random.size(1..=8)).map(address).collect(),
            crowd: random.pick(&[4, 10, 30]),
            turn_inputs: random.pick(&[1, 3, 12]),
            chunk: random.pick(&[3, 64, 1 << 10, 1 << 20]),
            socket_room: random.pick(&[64, 1 << 10, 64 << 10]),
            clock_step: random.pick(&[2, 40, 400, 4_000]),
            filler: random.pick(&[8, 300, 5_000]).min(max_message_size - 100),
            weights: Weights {
                notify: u32::from(notify) * about_inboxes.pick(&[1, 4]),
                turn: random.pick(&[20, 40]),
                arrive: random.pick(&[10, 25]),
                read: random.pick(&[6, 25]),
                act: random.pick(&[10, 30]),
                clock: random.pick(&[1, 3]),
                command: random.pick(&[0, 1]),
                trouble: random.pick(&[0, 1, 3]),
                disk: u32::from(durable) * random.pick(&[2, 10]),
            },
            ahead: random.pick(&[0, 0, 500, 1 << 30]),
            habits: random.pick(&[[18, 8, 60], [18, 8, 60], [30, 30, 30]]),
            churn: random.pick(&[0, 10, 10, 100]),
            slow_readers: random.pick(&[0, 0, 20]),
            mutes: random.pick(&[0, 0, 15]),
            echoes: random.pick(&[0, 10]),
        }
    }

    /// Whether a channel has history.
    #[must_use]
    pub fn has_history(&self, channel: usize) -> bool {
        channel < self.shard_counts() && channel >= self.shard_counts() - self.logs
    }

    /// The name of the channel that members of a document listen to.
    #[must_use]
    pub fn document_channel(&self, document: usize) -> String {
        let id = &self.documents[document];
        shardwire_shards::document_channel(id).expect("documents have good names")
    }

    /// The index of `$shards` among the channels.
    #[must_use]
    pub fn shard_counts(&self) -> usize {
        self.channels.len() - 1
    }
}

/// In a third of the runs there are some. (Not where a connection may be in few channels: documents count among those, and the checks would have
/// to know who is in which.)
fn documents(random: &mut Random, settings: &ShardSettings) -> Vec<String> {
    let some = random.chance(33) && settings.max_channels >= 128;
    let count = if some { random.size(1..=3) } else { 0 };
    (0..count).map(|n| format!("plan {n}")).collect()
}

/// Documents that are full soon, and such that go soon.
fn collaboration(random: &mut Random) -> CollaborationSettings {
    CollaborationSettings {
        document: DocumentSettings {
            max_bytes: random.pick(&[20, 300]),
            max_members: random.pick(&[2, 1_000]),
            stored: false,
        },
        unload_after_ms: random.pick(&[100, 5_000]),
        ..CollaborationSettings::default()
    }
}

/// What a chat room is called.
pub(crate) fn room_name(room: usize) -> String {
    format!("chat{room}")
}

/// Histories that hold everything and such that hold hardly anything, for long and for a moment, forgotten soon or later.
fn history(random: &mut Random, durable: bool) -> ChannelSettings {
    let history = HistoryRule {
        max_messages: random.pick(&[3, 40, 100_000]),
        max_age_ms: random.pick(&[300, 5_000, 60_000]),
        max_bytes: random.pick(&[2 << 10, 64 << 20]),
        durable,
    };
    let slow = random.pick(&[
        SlowPolicy::CatchUp,
        SlowPolicy::CatchUp,
        SlowPolicy::Disconnect,
        SlowPolicy::DropOldest,
        SlowPolicy::KeepLatest,
    ]);
    ChannelSettings {
        rules: Box::new([ChannelRule {
            channels: "log:*".parse().expect("a good pattern"),
            history: Some(history),
            slow,
        }]),
        history_memory: random.pick(&[8 << 10, 64 << 20, 64 << 20]),
        slow_memory: random.pick(&[4 << 10, 64 << 20]),
        forget_after_ms: random.pick(&[50, 2_000]),
        idempotency_window_ms: 1_000,
    }
}

/// In half of the runs it is known who is in the rooms, for a while after they have gone or not at all, told by name or soon as a number.
fn presence(random: &mut Random) -> PresenceSettings {
    let pattern = "room:*".parse().expect("a good pattern");
    let known = random.chance(50);
    PresenceSettings {
        channels: known.then_some(pattern).into_iter().collect(),
        grace_ms: random.pick(&[0, 50, 400]),
        heartbeat_timeout_ms: random.pick(&[300, 5_000]),
        status_expiration_ms: random.pick(&[50, 2_000]),
        batch_interval_ms: random.pick(&[20, 200]),
        budget_bytes: random.pick(&[400, 800, 1_200, 32 << 10]),
        ..PresenceSettings::default()
    }
}

/// In half of the runs users have inboxes: such that are full soon, and such that let go soon.
fn inboxes(random: &mut Random, durable: bool) -> Option<NotificationSettings> {
    random.chance(50).then(|| NotificationSettings {
        max_per_user: random.pick(&[2, 5, 100]),
        ttl_ms: random.pick(&[300, 5_000, 60_000]),
        durable,
        ..NotificationSettings::default()
    })
}

/// Often there is no application; else it handles one type of message, or sees all of them, or new connections first.
fn routes(random: &mut Random) -> ApplicationRoutes {
    let [types, every_message, on_connect] = random.pick(&[
        [false, false, false],
        [false, false, false],
        [true, false, false],
        [true, false, true],
        [true, true, false],
    ]);
    ApplicationRoutes {
        types: types.then(|| WORK.to_owned()).into_iter().collect(),
        every_message,
        on_connect,
        authorize: None,
    }
}

/// IPv4 addresses and IPv6 addresses, two of which share a /64.
fn address(n: usize) -> IpAddr {
    if n % 3 == 2 {
        let line = (n / 6) as u16;
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, line, 0, 0, 0, n as u16))
    } else {
        IpAddr::V4(Ipv4Addr::new(127, 0, 1, n as u8))
    }
}
