//! The common path of a message allocates nothing: counted, not believed.
//!
//! The counter is per thread, so that tests and harness do not count each other.
#![allow(clippy::unwrap_used)]
// SAFETY (of the whole file): an allocator can only be written with `unsafe impl GlobalAlloc`. This one passes every call
// with its arguments unchanged to the system's allocator, so it keeps the contract because that one does; besides, it only
// adds to a constant-initialised thread-local without a destructor, which neither allocates nor panics.
#![allow(unsafe_code)]

use shardwire_protocol::{
    codes::ErrorCode,
    envelope::{self, outbound},
    websocket::{
        Decoder, Event, Role, Rules,
        frame::{self, Kind},
    },
};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    hint::black_box,
};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

fn count() {
    ALLOCATIONS.set(ALLOCATIONS.get() + 1);
}

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// How many times `work` asked for memory.
fn allocations(work: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

const RULES: Rules = Rules {
    role: Role::Server,
    max_message_size: 1 << 20,
};
const KEY: [u8; 4] = [1, 2, 3, 4];
const PUBLISH: &str =
    r#"{"type":"publish","channel":"news","message":{"text":"hello, world","n":17},"id":5}"#;

/// Reads all of `input`, which arrives in pieces that end at `ends`; gives the number of events.
fn read(decoder: &mut Decoder, input: &mut [u8], ends: &[usize]) -> usize {
    let (mut start, mut events) = (0, 0);
    for &end in ends {
        while start < end {
            let decoded = decoder.decode(&RULES, &mut input[start..end]).unwrap();
            assert!(decoded.consumed > 0, "else this loop would not end");
            start += decoded.consumed;
            events += usize::from(black_box(decoded.event).is_some());
        }
    }
    events
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(black_box(Box::new(5)))), 1);
}

#[test]
fn whole_frames_allocate_nothing() {
    let mut input = Vec::new();
    for index in 0..100 {
        frame::write_client(&mut input, Kind::Text, PUBLISH.as_bytes(), KEY);
        frame::write_client(&mut input, Kind::Binary, &vec![index; 70_000], KEY);
        frame::write_client(&mut input, Kind::Ping, b"?", KEY);
    }
    let end = input.len();
    let mut decoder = Decoder::default();
    let counted = allocations(|| assert_eq!(read(&mut decoder, &mut input, &[end]), 300));
    assert_eq!(counted, 0);
}

#[test]
fn headers_in_pieces_allocate_nothing() {
    let mut input = Vec::new();
    frame::write_client(&mut input, Kind::Binary, &[0; 70_000], KEY);
    let end = input.len();
    let mut decoder = Decoder::default();
    let ends = [1, 2, 5, 9, 13, 14, end];
    let counted = allocations(|| assert_eq!(read(&mut decoder, &mut input, &ends), 1));
    assert_eq!(counted, 0);
}

#[test]
fn a_message_in_two_pieces_takes_state_and_buffer_once() {
    let mut input = Vec::new();
    frame::write_client(&mut input, Kind::Text, &[b'x'; 4096], KEY);
    let end = input.len();
    let mut decoder = Decoder::default();
    let counted = allocations(|| assert_eq!(read(&mut decoder, &mut input, &[3000, end]), 1));
    // The boxed state, the buffer, and the buffer grown to its final size.
    assert_eq!(counted, 3);
}

#[test]
fn parsing_and_answering_allocate_nothing() {
    let mut out = Vec::with_capacity(4096);
    let counted = allocations(|| {
        let inbound = envelope::parse(PUBLISH).unwrap();
        let channel = inbound.channel.unwrap();
        let message = inbound.message.unwrap().get();
        frame::write_text_with(&mut out, |out| {
            outbound::broadcast(out, &channel, message, 17, None)
        });
        frame::write_text_with(&mut out, |out| {
            outbound::subscribed(out, &channel, None, None, inbound.id)
        });
        frame::write_text_with(&mut out, |out| outbound::pong(out, 17, inbound.id));
        frame::write_text_with(&mut out, |out| {
            outbound::error(out, ErrorCode::UnknownType, inbound.id);
        });
        frame::write_close(&mut out, 1000, "bye");
    });
    assert_eq!(counted, 0);
    assert!(matches!(
        envelope::parse("["),
        Err(ErrorCode::InvalidFormat)
    ));
}

#[test]
fn a_message_goes_from_bytes_to_fields_without_a_copy() {
    let mut input = Vec::new();
    frame::write_client(&mut input, Kind::Text, PUBLISH.as_bytes(), KEY);
    let lent = input.as_ptr_range();
    let mut decoder = Decoder::default();
    let Some(Event::Text(text)) = decoder.decode(&RULES, &mut input).unwrap().event else {
        panic!("the frame is whole")
    };
    let inbound = envelope::parse(text).unwrap();
    assert!(lent.contains(&inbound.channel.unwrap().as_ptr()));
    assert!(lent.contains(&inbound.message.unwrap().get().as_ptr()));
}
