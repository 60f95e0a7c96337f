//! How much memory the codecs of permessage-deflate hold: nothing while nobody uses them, a known amount for each context,
//! and no more with every message.
//!
//! The counter is per thread, so that tests and harness do not count each other.
#![allow(clippy::unwrap_used)]
// SAFETY (of the whole file): an allocator can only be written with `unsafe impl GlobalAlloc`. This one passes every call
// with its arguments unchanged to the system's allocator, so it keeps the contract because that one does; besides, it only
// adds to constant-initialised thread-locals without a destructor, which neither allocates nor panics.
#![allow(unsafe_code)]

use shardwire_protocol::websocket::{
    Decoder, Event, Lent, Role, Rules,
    deflate::{DeflateContext, Deflater, InflateContext, Inflater},
    frame::{self, Kind},
};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    hint::black_box,
};

struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

fn count(change: isize) {
    HELD.set(HELD.get() + change);
    if change > 0 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
    }
}

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// What `make` makes, and how many bytes of heap it holds.
fn held<T>(make: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get();
    let made = make();
    (made, (HELD.get() - before).max(0) as usize)
}

fn text(len: usize) -> String {
    (0..len / 10)
        .map(|index| format!("line {index:04}\n"))
        .collect()
}

#[test]
fn the_counter_counts() {
    assert_eq!(held(|| Box::new([0_u8; 100])).1, 100);
}

#[test]
fn unused_codecs_hold_nothing() {
    assert_eq!(held(|| Deflater::new(6)).1, 0);
    assert_eq!(held(Inflater::default).1, 0);
}

/// What the caps on contexts are reckoned with; a newer zlib-rs that differs must change the figures.
#[test]
fn contexts_hold_what_they_say() {
    let near = |held: usize, said: usize| held <= said && said - held < 1024;
    let deflater = Deflater::new(6);
    for window_bits in 9..=15 {
        let (_context, held) = held(|| deflater.new_context(window_bits));
        let said = DeflateContext::heap_bytes(window_bits);
        assert!(near(held, said), "window {window_bits}: {held}, not {said}");
    }
    let (_context, held) = held(InflateContext::default);
    let said = InflateContext::HEAP_BYTES;
    assert!(near(held, said), "{held}, not {said}");
}

#[test]
fn a_message_through_warm_codecs_allocates_nothing() {
    let rules = Rules {
        role: Role::Server,
        max_message_size: 64 << 10,
    };
    let mut deflater = Deflater::new(6);
    let mut inflater = Inflater::default();
    let mut decoder = Decoder::default();
    let message = text(10_000);
    let mut wire = Vec::with_capacity(64 << 10);
    let mut round_trip = || {
        wire.clear();
        let compressed = deflater.deflate(message.as_bytes(), 15).unwrap();
        frame::write_client_deflated(&mut wire, Kind::Text, compressed, [1, 2, 3, 4]);
        let lent = Lent {
            inflater: &mut inflater,
            context: None,
        };
        let decoded = decoder.decode_with(&rules, Some(lent), &mut wire).unwrap();
        assert_eq!(decoded.event, Some(Event::Text(&message)));
    };
    round_trip();
    let before = (ALLOCATIONS.get(), HELD.get());
    for _ in 0..100 {
        round_trip();
    }
    assert_eq!((ALLOCATIONS.get(), HELD.get()), before);
}

#[test]
fn a_large_message_is_let_go_of() {
    let large = text(2 << 20);
    let mut deflater = Deflater::new(1);
    let mut inflater = Inflater::default();
    let mut use_both = |message: &str| {
        let compressed = deflater.deflate(message.as_bytes(), 15).unwrap();
        let mut wire = Vec::new();
        frame::write_server_deflated(&mut wire, Kind::Text, compressed);
        let rules = Rules {
            role: Role::Client,
            max_message_size: 4 << 20,
        };
        let mut decoder = Decoder::default();
        let lent = Lent {
            inflater: &mut inflater,
            context: None,
        };
        let decoded = decoder.decode_with(&rules, Some(lent), &mut wire).unwrap();
        assert!(black_box(decoded.event).is_some());
        deflater.release();
        inflater.release();
    };
    use_both(&text(1000));
    let ((), held) = held(|| use_both(&large));
    assert!(held < 16 << 10, "{held} bytes more than before");
}

/// 64 MiB of zeros against a limit of 64 KiB: what is held while it is inflated never exceeds the limit by much.
#[test]
fn attack_deflate_bomb_memory() {
    let mut deflater = Deflater::new(1);
    let zeros = vec![0; 1 << 20];
    let part = deflater.deflate(&zeros, 15).unwrap();
    let bomb = [part, &[0, 0, 0xff, 0xff]].concat().repeat(64);
    let limit = 64 << 10;
    let rules = Rules {
        role: Role::Client,
        max_message_size: limit,
    };
    let mut wire = Vec::new();
    // As many bytes of it as a message of that limit may have on the wire.
    frame::write_server_deflated(&mut wire, Kind::Binary, &bomb[..bomb.len().min(limit)]);
    let ((_inflater, error), held) = held(|| {
        let mut inflater = Inflater::default();
        let lent = Lent {
            inflater: &mut inflater,
            context: None,
        };
        let error = Decoder::default()
            .decode_with(&rules, Some(lent), &mut wire)
            .unwrap_err();
        (inflater, error)
    });
    assert_eq!(error.close_code(), 1009);
    assert_eq!(
        error.to_string(),
        "message larger than the limit of 65536 bytes"
    );
    assert!(held <= limit + 1 + InflateContext::HEAP_BYTES, "{held}");
}
