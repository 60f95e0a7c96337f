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
    static MOST_HELD: Cell<isize> = const { Cell::new(0) };
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

fn count(change: isize) {
    HELD.set(HELD.get() + change);
    MOST_HELD.set(MOST_HELD.get().max(HELD.get()));
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

/// What `run` gives, and how many bytes of heap more than before are held at any moment of it.
fn most_held<T>(run: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get();
    MOST_HELD.set(before);
    let outcome = run();
    (outcome, (MOST_HELD.get() - before) as usize)
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

/// 64 MiB of zeros. In one piece they are counted where they are, and nothing is held for them; in many, what came of them until they
/// are counted for the first time, and never twice of that again.
#[test]
fn attack_deflate_bomb_memory() {
    let mut deflater = Deflater::new(9);
    let part = deflater.deflate(&vec![0; 1 << 20], 15).unwrap();
    let bomb = [part, &[0, 0, 0xff, 0xff]].concat().repeat(64);
    let mut wire = Vec::new();
    frame::write_server_deflated(&mut wire, Kind::Binary, &bomb);
    for limit in [64 << 10, 1 << 20, 8 << 20] {
        let rules = Rules {
            role: Role::Client,
            max_message_size: limit,
        };
        for piece in [wire.len(), 16 << 10, 1448, 100] {
            let mut wire = wire.clone();
            let (mut inflater, mut decoder) = (Inflater::default(), Decoder::default());
            let (error, held) = most_held(|| {
                wire.chunks_mut(piece).find_map(|piece| {
                    let lent = Lent {
                        inflater: &mut inflater,
                        context: None,
                    };
                    decoder.decode_with(&rules, Some(lent), piece).err()
                })
            });
            let error = error.unwrap();
            assert_eq!(error.close_code(), 1009);
            let words = format!("message larger than the limit of {limit} bytes");
            assert_eq!(error.to_string(), words);
            // The shared stream, and its buffer as it is for the first message of all.
            let shared = InflateContext::HEAP_BYTES + (4 << 10);
            let gathered = match piece {
                piece if piece == wire.len() => 0,
                // A buffer that grows by doubling, and the one before it.
                _ => 3 * (limit / 8).min(wire.len()) + 512,
            };
            assert!(held <= shared + gathered, "{limit}, {piece}: {held}");
        }
    }
}

/// A message that is within the limit takes its own size, at once, and the size of what came.
#[test]
fn a_message_of_the_limit_takes_the_limit() {
    for limit in [64_000, 1 << 20] {
        let message = text(limit + 10);
        let mut deflater = Deflater::new(6);
        let compressed = deflater.deflate(&message.as_bytes()[..limit], 15).unwrap();
        let rules = Rules {
            role: Role::Client,
            max_message_size: limit,
        };
        let mut wire = Vec::new();
        frame::write_server_deflated(&mut wire, Kind::Text, compressed);
        let (mut inflater, mut decoder) = (Inflater::default(), Decoder::default());
        let (_, held) = most_held(|| {
            let lent = Lent {
                inflater: &mut inflater,
                context: None,
            };
            let decoded = decoder.decode_with(&rules, Some(lent), &mut wire).unwrap();
            assert_eq!(decoded.event, Some(Event::Text(&message[..limit])));
        });
        assert!(
            held <= limit + InflateContext::HEAP_BYTES,
            "{limit}: {held}"
        );
    }
}
