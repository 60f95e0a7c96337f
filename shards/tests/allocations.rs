//! A warm shard allocates nothing for an echo and next to nothing for a broadcast, and an idle connection holds no buffer:
//! counted, not believed.
//!
//! The counters are per thread, so that tests and harness do not count each other.

#![allow(clippy::unwrap_used)]
// SAFETY (of the whole file): an allocator can only be written with `unsafe impl GlobalAlloc`. This one passes every call
// with its arguments unchanged to the system's allocator, so it keeps the contract because that one does; besides, it only
// adds to constant-initialised thread-locals without destructors, which neither allocates nor panics.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use shardwire_protocol::websocket::frame::{self, Kind};
use shardwire_shards::mesh::MailboxEnds;
use shardwire_shards::placement::{Placement, Rule};
use shardwire_shards::vocabulary::{ConnectionId, Effect, Input, Mode, Now, Opening, SocketToken};
use shardwire_shards::{NodeCount, Shard, ShardSettings};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    static LIVE_BYTES: Cell<isize> = const { Cell::new(0) };
}

fn count(calls: usize, bytes: isize) {
    ALLOCATIONS.set(ALLOCATIONS.get() + calls);
    LIVE_BYTES.set(LIVE_BYTES.get() + bytes);
}

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, -(layout.size() as isize));
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(1, size as isize - layout.size() as isize);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Shards whose sockets take everything and keep nothing.
struct Bench {
    shards: Vec<Shard>,
    ms: u64,
    opened: Vec<ConnectionId>,
    sent: usize,
}

impl Bench {
    fn new(shards: u16) -> Self {
        let settings = Arc::new(ShardSettings {
            max_connections_per_user: None,
            max_connections_per_ip: None,
            max_connections: 100_000,
            ..ShardSettings::default()
        });
        let placement = Placement::new(Rule::Accept, shards);
        let node_count = NodeCount::default();
        let shards = MailboxEnds::connect(shards)
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
        Self {
            shards,
            ms: 0,
            opened: Vec::new(),
            sent: 0,
        }
    }

    fn hand_in(&mut self, shard: usize, input: Input<'_>) {
        let now = Now {
            ms: self.ms,
            unix_ms: self.ms,
        };
        let shard = &mut self.shards[shard];
        shard.handle(now, input);
        while let Some(effect) = shard.poll_effect() {
            match effect {
                Effect::Opened { connection, .. } => self.opened.push(connection),
                Effect::Flush { connection, .. } => {
                    let len = shard.pending(connection).map(<[u8]>::len).sum();
                    self.sent += len;
                    shard.sent(now, connection, len, false);
                }
                _ => {}
            }
        }
    }

    fn connect(&mut self, shard: usize, mode: Mode) -> ConnectionId {
        assert!(self.shards[shard].admit());
        let socket = SocketToken(self.opened.len() as u64);
        let opening = Opening::new(socket, mode, IpAddr::V4(Ipv4Addr::LOCALHOST));
        self.hand_in(shard, Input::Opened(opening));
        *self.opened.last().unwrap()
    }

    /// Hands the frame in anew; `buffer` stands for the driver's.
    fn bytes(&mut self, connection: ConnectionId, frame: &[u8], buffer: &mut Vec<u8>) {
        buffer.clear();
        buffer.extend_from_slice(frame);
        let bytes = &mut buffer[..];
        self.hand_in(
            connection.shard().index(),
            Input::Bytes { connection, bytes },
        );
    }

    fn settle(&mut self) {
        while let Some(shard) = self.shards.iter().position(Shard::has_mail) {
            self.hand_in(shard, Input::Mail);
        }
    }
}

fn masked(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::write_client(&mut out, kind, payload, [1, 2, 3, 4]);
    out
}

const ROUNDS: usize = 4_000;
const WARM_UP: usize = 1_000;

/// Allocations per thousand rounds, after a round that warms up.
fn per_thousand(mut round: impl FnMut()) -> usize {
    for _ in 0..WARM_UP {
        round();
    }
    let before = ALLOCATIONS.get();
    for _ in 0..ROUNDS {
        round();
    }
    (ALLOCATIONS.get() - before) * 1000 / ROUNDS
}

#[test]
fn answering_a_client_allocates_nothing() {
    let mut bench = Bench::new(1);
    let (json, echo) = (bench.connect(0, Mode::Json), bench.connect(0, Mode::Echo));
    let mut buffer = Vec::with_capacity(64 << 10);
    for (peer, frame) in [
        (echo, masked(Kind::Text, b"a short message")),
        (echo, masked(Kind::Binary, &[7; 4_000])),
        (echo, masked(Kind::Binary, &[7; 16 << 10])),
        (json, masked(Kind::Text, br#"{"type":"ping","id":"x"}"#)),
        (
            json,
            masked(Kind::Text, br#"{"type":"echo","data":{"some":"data"}}"#),
        ),
        (json, masked(Kind::Text, br#"{"type":"dance","id":1}"#)),
        (json, masked(Kind::Ping, b"are you there")),
    ] {
        assert_eq!(
            per_thousand(|| bench.bytes(peer, &frame, &mut buffer)),
            0,
            "{frame:?}"
        );
    }
    assert!(bench.sent > 6 * ROUNDS * 15);
    // To skip a value in a value, serde_json notes the brackets in storage of its own.
    let nested = masked(
        Kind::Text,
        br#"{"type":"echo","data":{"some":["data",[1]]}}"#,
    );
    let per_thousand = per_thousand(|| bench.bytes(json, &nested, &mut buffer));
    assert!(per_thousand <= 1_000, "{per_thousand}");
}

/// Its frames are cut from chunks: two allocations each (the chunk, and the count of who uses it) for some 500 broadcasts.
#[test]
fn a_broadcast_on_its_home_shard_allocates_next_to_nothing() {
    let mut bench = Bench::new(1);
    let mut buffer = Vec::with_capacity(64 << 10);
    let subscribe = masked(Kind::Text, br#"{"type":"subscribe","channel":"c"}"#);
    for _ in 0..100 {
        let peer = bench.connect(0, Mode::Json);
        bench.bytes(peer, &subscribe, &mut buffer);
    }
    let publisher = bench.connect(0, Mode::Json);
    let publish = masked(
        Kind::Text,
        br#"{"type":"publish","channel":"c","message":{"text":"hello, everybody"}}"#,
    );
    let per_thousand = per_thousand(|| bench.bytes(publisher, &publish, &mut buffer));
    assert!(
        per_thousand <= 5,
        "{per_thousand} allocations per 1000 broadcasts"
    );
    assert_eq!(
        bench.shards[0].counters().deliveries,
        100 * ((ROUNDS + WARM_UP) as u64)
    );
}

/// What is published in one turn goes to everybody as one frame: one flush each, of the very same bytes, whoever gets them. So many are
/// written to over several turns.
#[test]
fn broadcasts_of_one_turn_leave_in_one_write_and_are_copied_for_nobody() {
    const MEMBERS: usize = 2_000;
    const TURN: usize = 16;
    let mut bench = Bench::new(1);
    let mut buffer = Vec::with_capacity(64 << 10);
    let subscribe = masked(Kind::Text, br#"{"type":"subscribe","channel":"c"}"#);
    for _ in 0..MEMBERS {
        let peer = bench.connect(0, Mode::Json);
        bench.bytes(peer, &subscribe, &mut buffer);
    }
    let publisher = bench.connect(0, Mode::Json);
    let publish = masked(
        Kind::Text,
        br#"{"type":"publish","channel":"c","message":{"text":"hello, everybody"}}"#,
    );
    let turn = publish.repeat(TURN);
    let mut written = 0;
    let mut round = || {
        let now = Now::default();
        buffer.clear();
        buffer.extend_from_slice(&turn);
        let input = Input::Bytes {
            connection: publisher,
            bytes: &mut buffer,
        };
        let shard = &mut bench.shards[0];
        shard.handle(now, input);
        let (mut flushes, mut shared) = (0, None);
        loop {
            while let Some(effect) = shard.poll_effect() {
                let Effect::Flush { connection, .. } = effect else {
                    continue;
                };
                flushes += 1;
                let mut slices = shard.pending(connection);
                let (slice, further) = (slices.next().unwrap(), slices.next());
                let (at, len) = *shared.get_or_insert((slice.as_ptr(), slice.len()));
                assert!(slice.as_ptr() == at && slice.len() == len && further.is_none());
                written += len;
                drop(slices);
                shard.sent(now, connection, len, false);
            }
            if shard.next_deadline(now) != Some(now.ms) {
                break;
            }
            shard.handle(now, Input::Deadline);
        }
        assert_eq!(flushes, MEMBERS, "one write per socket");
    };
    for _ in 0..10 {
        round();
    }
    let before = ALLOCATIONS.get();
    for _ in 0..50 {
        round();
    }
    // Per turn two for the shared bytes and the count of who uses them, and a chunk now and then.
    let allocated = ALLOCATIONS.get() - before;
    assert!(allocated <= 50 * 3, "{allocated} allocations in 50 turns");
    let deliveries = (MEMBERS * TURN * 60) as u64;
    assert_eq!(bench.shards[0].counters().deliveries, deliveries);
    assert!(written > MEMBERS * TURN * 60 * 60);
}

/// On its way to another shard a publication takes storage of its own, and the mailbox a block now and then; delivering it to
/// a hundred subscribers there and a hundred here takes nothing more.
#[test]
fn a_broadcast_over_two_shards_allocates_for_the_way_and_not_for_the_subscribers() {
    let mut bench = Bench::new(2);
    let mut buffer = Vec::with_capacity(64 << 10);
    let placement = Placement::new(Rule::Accept, 2);
    let away = 1 - placement.home_of_channel("c").index();
    let subscribe = masked(Kind::Text, br#"{"type":"subscribe","channel":"c"}"#);
    for n in 0..200 {
        let peer = bench.connect(n % 2, Mode::Json);
        bench.bytes(peer, &subscribe, &mut buffer);
        bench.settle();
    }
    let publisher = bench.connect(away, Mode::Json);
    let publish = masked(
        Kind::Text,
        br#"{"type":"publish","channel":"c","message":{"text":"hello, everybody"}}"#,
    );
    let per_thousand = per_thousand(|| {
        bench.bytes(publisher, &publish, &mut buffer);
        bench.settle();
    });
    assert!(
        per_thousand <= 2_500,
        "{per_thousand} allocations per 1000 broadcasts"
    );
    let deliveries: u64 = bench.shards.iter().map(|it| it.counters().deliveries).sum();
    assert_eq!(deliveries, 200 * ((ROUNDS + WARM_UP) as u64));
}

/// Whatever a connection was sent and has answered, idle it holds what it held when it was new.
#[test]
fn an_idle_connection_holds_no_buffer() {
    let mut bench = Bench::new(1);
    let mut buffer = Vec::with_capacity(256 << 10);
    let peers: Vec<_> = (0..200).map(|_| bench.connect(0, Mode::Echo)).collect();
    let large = vec![b'x'; 60_000];
    let mut fragments = masked(Kind::Text, &large[..30_000]);
    fragments[0] = 0x01;
    let second = fragments.len();
    fragments.extend(masked(Kind::Text, &large[30_000..]));
    fragments[second] = 0x80;
    let whole = masked(Kind::Text, &large);
    // Storage that the shard shares among its connections is there after the first few.
    for &peer in &peers[..50] {
        bench.bytes(peer, &fragments, &mut buffer);
        bench.bytes(peer, &whole[..1_000], &mut buffer);
        bench.bytes(peer, &whole[1_000..], &mut buffer);
    }
    let before = LIVE_BYTES.get();
    for &peer in &peers[50..] {
        bench.bytes(peer, &whole, &mut buffer);
        bench.bytes(peer, &fragments, &mut buffer);
        bench.bytes(peer, &whole[..10], &mut buffer);
        bench.bytes(peer, &whole[10..], &mut buffer);
    }
    let grown = LIVE_BYTES.get() - before;
    assert!(grown <= 64 << 10, "150 connections hold {grown} bytes more");
    // The size of a connection itself, without its timer.
    let before = LIVE_BYTES.get();
    for _ in 0..10_000 {
        bench.connect(0, Mode::Json);
    }
    let each = (LIVE_BYTES.get() - before) / 10_000;
    assert!(each <= 600, "{each} bytes for an idle connection");
}
