//! A small world by hand: real shards, peers that speak frames, one clock. Nothing happens by itself.
//!
//! What a test says with [`World::say`] is handed in at once and its shard's effects are carried out; mail between shards
//! moves with [`World::settle`] (or shard by shard with [`World::turn`]), time with [`World::pass`].

#![allow(dead_code, clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use shardwire_protocol::websocket::deflate::{
    DeflateContext, Deflater, InflateContext, Inflater, Negotiated,
};
use shardwire_protocol::websocket::frame::{self, Kind};
use shardwire_protocol::websocket::{Decoder, Event as Decoded, Lent, Role, Rules};
use shardwire_shards::mesh::{LaneBounds, MailboxEnds};
use shardwire_shards::placement::{Placement, Rule};
use shardwire_shards::vocabulary::{
    Answer, CallTarget, Command, ConnectionId, Effect, Event, Identity, Input, Mode, Now, Opening,
    Returned, SocketToken, Standing, StoreRequest, Verdict,
};
use shardwire_shards::{NodeCount, Residue, Shard, ShardSettings};

/// What clocks on the wall show at 0 ms.
pub const UNIX_MS: u64 = 1_700_000_000_000;

/// A peer, by number.
pub type PeerId = usize;

/// A frame as a peer received it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(u16, String),
}

/// The other end of a socket.
#[derive(Debug)]
pub struct Peer {
    pub shard: usize,
    pub connection: Option<ConnectionId>,
    /// The shard wants to read.
    pub receiving: bool,
    /// The shard closed the socket.
    pub closed: bool,
    /// Bytes the socket still takes; none: any number.
    pub room: Option<usize>,
    /// Slices one write gathers; none: all of them.
    pub slices: Option<usize>,
    /// The last write took less than was offered.
    pub blocked: bool,
    pub heard: Vec<Frame>,
    /// First byte of every frame it got, so that a test sees which were compressed.
    pub first_bytes: Vec<u8>,
    raw: Vec<u8>,
    decoder: Decoder,
    inflater: Inflater,
    /// Its side of a negotiated compression.
    compression: Option<Negotiated>,
    context: InflateContext,
    sent: Option<DeflateContext>,
}

/// How to connect.
#[derive(Clone, Debug)]
pub struct Who {
    pub mode: Mode,
    pub address: IpAddr,
    pub standing: Standing,
    pub hello: bool,
    /// What it offers as `Sec-WebSocket-Extensions`; none: no compression.
    pub offer: Option<&'static str>,
    /// Through which shard's door it comes; none: that of its home.
    pub door: Option<usize>,
    pub early: Vec<u8>,
}

impl Default for Who {
    fn default() -> Self {
        Self {
            mode: Mode::Json,
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            standing: Standing::Unverified(None),
            hello: false,
            offer: None,
            door: None,
            early: Vec::new(),
        }
    }
}

/// Somebody with this name.
pub fn user(user: &'static str) -> Who {
    Who {
        standing: Standing::Unverified(Some(user.into())),
        ..Who::default()
    }
}

/// Somebody who must say in the first frame who it is.
pub fn stranger() -> Who {
    Who {
        standing: Standing::Awaited,
        hello: true,
        ..Who::default()
    }
}

/// Somebody a verifier knows.
pub fn verified(identity: Identity) -> Who {
    Who {
        standing: Standing::Verified(identity),
        ..Who::default()
    }
}

/// Somebody from 127.0.0.`last`.
pub fn from(last: u8) -> Who {
    Who {
        address: IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)),
        ..Who::default()
    }
}

/// Somebody who takes compressed messages.
pub fn compressing() -> Who {
    Who {
        offer: Some("permessage-deflate; client_max_window_bits"),
        ..Who::default()
    }
}

/// Somebody on the echo path.
pub fn echo() -> Who {
    Who {
        mode: Mode::Echo,
        ..Who::default()
    }
}

pub struct World {
    pub ms: u64,
    pub shards: Vec<Shard>,
    pub peers: Vec<Peer>,
    pub events: Vec<Event>,
    pub answers: Vec<Answer>,
    /// Handlers that run: for whom, which, and the message.
    pub calls: Vec<(PeerId, CallTarget, String)>,
    /// Tokens that wait for a verdict: whose, the token, and who it is already.
    pub verifications: Vec<(PeerId, String, Option<String>)>,
    /// What shards asked of their store, which answers when a test says so.
    pub store: Vec<(usize, StoreRequest)>,
    /// Writes to sockets so far.
    pub writes: usize,
    pub node_count: NodeCount,
    pub placement: Placement,
}

/// Settings without limits that get in a test's way.
pub fn open_settings() -> ShardSettings {
    ShardSettings {
        max_connections_per_user: None,
        max_connections_per_ip: None,
        ..ShardSettings::default()
    }
}

impl World {
    pub fn new(shards: u16) -> Self {
        Self::with(shards, open_settings())
    }

    pub fn with(shards: u16, settings: ShardSettings) -> Self {
        Self::bounded(shards, settings, LaneBounds::default())
    }

    pub fn bounded(shards: u16, settings: ShardSettings, lanes: LaneBounds) -> Self {
        Self::placed(Placement::new(Rule::Accept, shards), settings, lanes)
    }

    pub fn placed(placement: Placement, settings: ShardSettings, lanes: LaneBounds) -> Self {
        let settings = Arc::new(settings);
        let shards = placement.shards();
        let node_count = NodeCount::default();
        let shards = MailboxEnds::connect_bounded(shards, lanes)
            .into_iter()
            .map(|ends| {
                let seed = u64::from(ends.shard().0) + 1;
                Shard::new(
                    Arc::clone(&settings),
                    placement,
                    ends,
                    node_count.clone(),
                    seed,
                )
            })
            .collect();
        Self {
            ms: 0,
            shards,
            peers: Vec::new(),
            events: Vec::new(),
            answers: Vec::new(),
            calls: Vec::new(),
            verifications: Vec::new(),
            store: Vec::new(),
            writes: 0,
            node_count,
            placement,
        }
    }

    pub fn now(&self) -> Now {
        Now {
            ms: self.ms,
            unix_ms: UNIX_MS + self.ms,
        }
    }

    /// Opens a connection on this shard, without letting mail move.
    pub fn open(&mut self, shard: usize, who: Who) -> PeerId {
        assert!(self.shards[shard].admit(), "room on the node");
        let door = &mut self.shards[who.door.unwrap_or(shard)];
        let negotiated = who
            .offer
            .and_then(|offer| door.negotiate([offer], who.standing == Standing::Awaited));
        let compression = negotiated.map(|(_, compression)| compression);
        let peer = self.peers.len();
        self.peers.push(Peer {
            shard,
            connection: None,
            receiving: false,
            closed: false,
            room: None,
            slices: None,
            blocked: false,
            heard: Vec::new(),
            first_bytes: Vec::new(),
            raw: Vec::new(),
            decoder: Decoder::default(),
            inflater: Inflater::default(),
            compression: compression.map(|compression| compression.negotiated),
            context: InflateContext::default(),
            sent: None,
        });
        let opening = Opening {
            standing: who.standing,
            hello: who.hello,
            compression,
            early: who.early,
            ..Opening::new(SocketToken(peer as u64), who.mode, who.address)
        };
        self.hand_in(shard, Input::Opened(opening));
        peer
    }

    /// Opens a connection on this shard and lets everything come to rest.
    pub fn connect(&mut self, shard: usize) -> PeerId {
        self.connect_as(shard, Who::default())
    }

    pub fn connect_as(&mut self, shard: usize, who: Who) -> PeerId {
        let peer = self.open(shard, who);
        self.settle();
        peer
    }

    pub fn id(&self, peer: PeerId) -> ConnectionId {
        self.peers[peer].connection.expect("the peer was opened")
    }

    /// Hands one input in and carries out what the shard asks for.
    pub fn hand_in(&mut self, shard: usize, input: Input<'_>) {
        let now = self.now();
        self.shards[shard].handle(now, input);
        self.carry_out(shard);
    }

    pub fn command(&mut self, shard: usize, command: Command) {
        self.hand_in(shard, Input::Command(command));
    }

    /// The peer's bytes arrive.
    pub fn bytes(&mut self, peer: PeerId, bytes: &[u8]) {
        let (shard, connection) = (self.peers[peer].shard, self.id(peer));
        let mut bytes = bytes.to_vec();
        self.hand_in(
            shard,
            Input::Bytes {
                connection,
                bytes: &mut bytes,
            },
        );
    }

    /// The peer says this text, in one frame.
    pub fn say(&mut self, peer: PeerId, text: &str) {
        self.bytes(peer, &masked(Kind::Text, text.as_bytes()));
    }

    /// The peer says this text compressed, as it has negotiated.
    pub fn say_compressed(&mut self, peer: PeerId, text: &str) {
        let this = &mut self.peers[peer];
        // The shard's view: what it receives, the peer sends.
        let send = this.compression.unwrap().receive;
        let mut deflater = Deflater::new(6);
        let deflated = if send.takeover {
            let context = match &mut this.sent {
                Some(context) => context,
                None => this
                    .sent
                    .insert(deflater.new_context(send.window_bits).unwrap()),
            };
            deflater.deflate_with(context, text.as_bytes())
        } else {
            deflater.deflate(text.as_bytes(), send.window_bits)
        };
        let mut out = Vec::new();
        frame::write_client_deflated(&mut out, Kind::Text, deflated.unwrap(), [1, 2, 3, 4]);
        self.bytes(peer, &out);
    }

    /// The peer says this and everything comes to rest; what it heard until then.
    pub fn ask(&mut self, peer: PeerId, text: &str) -> Vec<String> {
        self.say(peer, text);
        self.settle();
        self.texts(peer)
    }

    /// The peer's socket ends.
    pub fn lose(&mut self, peer: PeerId) {
        let (shard, connection) = (self.peers[peer].shard, self.id(peer));
        self.hand_in(shard, Input::Closed { connection });
    }

    /// The peer's socket takes so many more bytes and, if it was full, says so.
    pub fn make_room(&mut self, peer: PeerId, room: Option<usize>) {
        self.peers[peer].room = room;
        if std::mem::take(&mut self.peers[peer].blocked) {
            self.flush(peer);
            self.carry_out(self.peers[peer].shard);
        }
    }

    /// One shard looks into its mailbox.
    pub fn turn(&mut self, shard: usize) {
        self.hand_in(shard, Input::Mail);
    }

    /// Mail moves until there is none.
    pub fn settle(&mut self) {
        for _ in 0..100_000 {
            let Some(shard) = self.shards.iter().position(Shard::has_mail) else {
                return;
            };
            self.turn(shard);
        }
        panic!("the shards never stop writing to each other");
    }

    /// Time passes; every deadline on the way is met, and mail moves.
    pub fn pass(&mut self, ms: u64) {
        let until = self.ms + ms;
        for _ in 0..1_000_000 {
            self.settle();
            let now = self.now();
            let next = self
                .shards
                .iter()
                .enumerate()
                .filter_map(|(shard, it)| Some((it.next_deadline(now)?, shard)))
                .min();
            match next {
                Some((at, shard)) if at <= until => {
                    self.ms = self.ms.max(at);
                    self.hand_in(shard, Input::Deadline);
                }
                _ => {
                    self.ms = until;
                    return;
                }
            }
        }
        panic!("deadlines without end");
    }

    fn carry_out(&mut self, shard: usize) {
        while let Some(effect) = self.shards[shard].poll_effect() {
            match effect {
                Effect::Opened { connection, socket } => {
                    self.peers[socket.0 as usize].connection = Some(connection);
                }
                Effect::Receive { socket, on } => self.peers[socket.0 as usize].receiving = on,
                Effect::Flush { socket, .. } => self.flush(socket.0 as usize),
                Effect::Close { socket } => {
                    let peer = &mut self.peers[socket.0 as usize];
                    assert!(!peer.closed, "a socket is closed once");
                    peer.closed = true;
                }
                Effect::Verify {
                    connection,
                    token,
                    user,
                    ..
                } => {
                    let peer = self
                        .peers
                        .iter()
                        .position(|peer| peer.connection == Some(connection));
                    self.verifications.push((
                        peer.unwrap(),
                        token.expose().to_owned(),
                        user.map(|user| user.to_string()),
                    ));
                }
                Effect::HandOff { home, opening } => {
                    let peer = &mut self.peers[opening.socket.0 as usize];
                    peer.shard = home.index();
                    peer.receiving = false;
                    peer.connection = None;
                    self.hand_in(home.index(), Input::Opened(*opening));
                }
                Effect::Ring(_) => {}
                Effect::Store(request) => self.store.push((shard, *request)),
                Effect::Answer { answer, .. } => self.answers.push(answer),
                Effect::Call {
                    connection,
                    target,
                    message,
                    ..
                } => {
                    let peer = self
                        .peers
                        .iter()
                        .position(|peer| peer.connection == Some(connection));
                    self.calls.push((peer.unwrap(), target, message.into()));
                }
                Effect::Event(event) => self.events.push(event),
            }
        }
    }

    /// One write, as the documentation of `Flush` says.
    fn flush(&mut self, peer: PeerId) {
        let now = self.now();
        self.writes += 1;
        let (shard, connection) = (self.peers[peer].shard, self.id(peer));
        let shard = &mut self.shards[shard];
        let peer = &mut self.peers[peer];
        let slices = peer.slices.unwrap_or(usize::MAX);
        let pending = || shard.pending(connection).take(slices);
        let offered: usize = pending().map(<[u8]>::len).sum();
        let taken = offered.min(peer.room.unwrap_or(usize::MAX));
        let from = peer.raw.len();
        peer.raw.extend(pending().flatten().copied().take(taken));
        if let Some(room) = &mut peer.room {
            *room -= taken;
        }
        peer.blocked = taken < offered;
        let mut bytes = peer.raw.split_off(from);
        peer.listen(&mut bytes);
        shard.sent(now, connection, taken, taken < offered);
    }

    /// Bytes that wait for the peer.
    pub fn waiting(&self, peer: PeerId) -> usize {
        let shard = &self.shards[self.peers[peer].shard];
        shard.pending(self.id(peer)).map(<[u8]>::len).sum()
    }

    /// The handler that runs for this peer comes to its end.
    pub fn return_to(&mut self, peer: PeerId, outcome: Returned) {
        self.calls.retain(|(called, ..)| *called != peer);
        let (shard, connection) = (self.peers[peer].shard, self.id(peer));
        self.hand_in(
            shard,
            Input::Returned {
                connection,
                outcome,
            },
        );
    }

    /// Answers the one verification that waits, and everything comes to rest.
    pub fn verdict(&mut self, verdict: Verdict) {
        assert_eq!(self.verifications.len(), 1);
        let (peer, ..) = self.verifications.remove(0);
        let (shard, connection) = (self.peers[peer].shard, self.id(peer));
        self.hand_in(
            shard,
            Input::Verdict {
                connection,
                verdict,
            },
        );
        self.settle();
    }

    /// What the peer heard since it was last asked.
    pub fn heard(&mut self, peer: PeerId) -> Vec<Frame> {
        std::mem::take(&mut self.peers[peer].heard)
    }

    /// The texts the peer heard since it was last asked; anything else among them is a fault.
    pub fn texts(&mut self, peer: PeerId) -> Vec<String> {
        self.heard(peer)
            .into_iter()
            .map(|frame| match frame {
                Frame::Text(text) => text,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    /// The same, read as JSON.
    pub fn messages(&mut self, peer: PeerId) -> Vec<serde_json::Value> {
        let texts = self.texts(peer);
        texts
            .iter()
            .map(|text| serde_json::from_str(text).unwrap())
            .collect()
    }

    pub fn subscribe(&mut self, peer: PeerId, channel: &str) {
        let heard = self.ask(
            peer,
            &format!(r#"{{"type":"subscribe","channel":"{channel}"}}"#),
        );
        let told = format!(r#"{{"type":"subscribed","channel":"{channel}"}}"#);
        assert!(heard.contains(&told), "{heard:?}");
    }

    pub fn publish(&mut self, peer: PeerId, channel: &str, message: &str) {
        self.say(
            peer,
            &format!(r#"{{"type":"publish","channel":"{channel}","message":{message}}}"#),
        );
    }

    /// What all shards hold, added up.
    pub fn residue(&self) -> Residue {
        let mut sum = Residue::default();
        for shard in &self.shards {
            let held = shard.residue();
            sum.connections += held.connections;
            sum.tagged += held.tagged;
            sum.local_channels += held.local_channels;
            sum.homed_channels += held.homed_channels;
            sum.logs += held.logs;
            sum.inboxes += held.inboxes;
            sum.inbox_bytes += held.inbox_bytes;
            sum.watched_devices += held.watched_devices;
            sum.log_bytes += held.log_bytes;
            sum.laggards += held.laggards;
            sum.queued_bytes += held.queued_bytes;
            sum.counted_users += held.counted_users;
            sum.counted_addresses += held.counted_addresses;
            sum.presence_records += held.presence_records;
            sum.presence_members += held.presence_members;
            sum.presence_channels += held.presence_channels;
            sum.buckets += held.buckets;
            sum.frames += held.frames;
            sum.promised_bytes += held.promised_bytes;
            sum.rooms += held.rooms;
            sum.seats += held.seats;
            sum.postponed += held.postponed;
            sum.held_mail += held.held_mail;
        }
        sum
    }

    /// A channel's name whose home is this shard.
    pub fn channel_at(&self, shard: usize) -> String {
        (0..)
            .map(|n| format!("room:{n}"))
            .find(|name| self.placement.home_of_channel(name).index() == shard)
            .unwrap()
    }

    /// How often each event came.
    pub fn disconnected(&self, peer: PeerId) -> Vec<shardwire_shards::vocabulary::CloseCause> {
        let id = self.id(peer);
        self.events
            .iter()
            .filter_map(|event| match event {
                Event::Disconnected {
                    connection, cause, ..
                } if *connection == id => Some(*cause),
                _ => None,
            })
            .collect()
    }
}

impl Peer {
    fn listen(&mut self, bytes: &mut [u8]) {
        const CLIENT: Rules = Rules {
            role: Role::Client,
            max_message_size: 64 << 20,
        };
        let mut at = 0;
        while at < bytes.len() {
            let takeover = self.compression.is_some_and(|both| both.send.takeover);
            let lent = self.compression.map(|_| Lent {
                inflater: &mut self.inflater,
                context: takeover.then_some(&mut self.context),
            });
            let first = bytes[at];
            let decoded = self
                .decoder
                .decode_with(&CLIENT, lent, &mut bytes[at..])
                .unwrap();
            at += decoded.consumed;
            if decoded.event.is_some() {
                self.first_bytes.push(first);
            }
            self.heard.extend(decoded.event.map(|event| match event {
                Decoded::Text(text) => Frame::Text(text.to_owned()),
                Decoded::Binary(bytes) => Frame::Binary(bytes.to_vec()),
                Decoded::Ping(payload) => Frame::Ping(payload.to_vec()),
                Decoded::Pong(payload) => Frame::Pong(payload.to_vec()),
                Decoded::Close(None) => Frame::Close(1005, String::new()),
                Decoded::Close(Some(close)) => Frame::Close(close.code, close.reason.to_owned()),
            }));
        }
    }
}

/// A client's frame.
pub fn masked(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::write_client(&mut out, kind, payload, [0x5a, 0x01, 0xc3, 0x7e]);
    out
}

/// A client's close frame.
pub fn close(code: u16, reason: &str) -> Vec<u8> {
    masked(Kind::Close, &frame::close_payload(code, reason))
}

/// The JSON of a broadcast as subscribers get it.
pub fn broadcast(channel: &str, message: &str, unix_ms: u64) -> String {
    format!(
        r#"{{"type":"broadcast","channel":"{channel}","message":{message},"timestamp":{unix_ms}}}"#
    )
}
