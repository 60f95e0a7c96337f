//! Messages are counted before they are kept: the count is what comes out, at any size of the buffer, in any two parts.

use super::codec::{noise, prose, stored};
use crate::websocket::{
    DecodeError,
    deflate::{Deflater, InflateContext, Inflater},
};
use proptest::{collection::vec, prelude::*, sample::Index};
use zlib_rs::{Inflate, InflateFlush};

/// Sizes of the buffer, and what is kept of it.
const EDGES: [usize; 5] = [4 << 10, 8 << 10, 64 << 10, 128 << 10, 256 << 10];

/// Lengths about the sizes the buffer may have, and any others.
fn length() -> impl Strategy<Value = usize> {
    prop_oneof![
        (prop::sample::select(&EDGES), 0usize..5).prop_map(|(edge, more)| edge + more - 2),
        0usize..1000,
        0usize..300_000,
    ]
}

/// A message, and itself compressed.
fn message() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    (length(), 0..4, 1u8..10).prop_map(|(len, kind, level)| {
        let message = match kind {
            0 => vec![0; len],
            1 => prose(len),
            2 => noise(len),
            // What is little at first and much later.
            _ => [noise(len / 8), vec![0; len - len / 8]].concat(),
        };
        let compressed = Deflater::new(level)
            .deflate(&message, 15)
            .map_or_else(|| stored(&message), <[u8]>::to_vec);
        (message, compressed)
    })
}

fn in_parts<'b>(bytes: &'b [u8], at: &Index) -> [&'b [u8]; 2] {
    let (front, back) = bytes.split_at(at.index(bytes.len() + 1));
    [front, back]
}

/// How much comes of the beginning of one stream, with room for all of it.
fn what_comes_of(prefix: &[u8], most: usize) -> usize {
    let mut out = vec![0; most + 1];
    let mut stream = Inflate::new(false, 15);
    stream
        .decompress(prefix, &mut out, InflateFlush::SyncFlush)
        .unwrap();
    stream.total_out() as usize
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whatever the buffer has been used for before: a message is what it was if it is within the limit, and too large by one byte.
    #[test]
    fn counted_and_inflated_is_what_it_was(
        (message, compressed) in message(),
        before in length(),
        cut in any::<Index>(),
        released in any::<bool>(),
    ) {
        let mut inflater = Inflater::default();
        let earlier = stored(&noise(before));
        prop_assert_eq!(inflater.inflate(None, [&earlier, &[]], before).map(<[u8]>::len), Ok(before));
        if released {
            inflater.release();
        }
        let len = message.len();
        let parts = in_parts(&compressed, &cut);
        if let Some(limit) = len.checked_sub(1) {
            prop_assert_eq!(inflater.inflate(None, parts, limit), Err(DecodeError::TooLarge { limit }));
        }
        for limit in [len, len + 1, 2 * len, usize::MAX] {
            prop_assert_eq!(inflater.inflate(None, parts, limit), Ok(&message[..]));
        }
    }

    /// The beginning of a message exceeds the limit exactly if more than the limit comes of it; counting changes nothing.
    #[test]
    fn a_beginning_is_counted_as_it_is(
        (message, compressed) in message(),
        end in any::<Index>(),
        cut in any::<Index>(),
        limit in any::<Index>(),
    ) {
        let mut inflater = Inflater::default();
        let prefix = &compressed[..end.index(compressed.len() + 1)];
        let comes = what_comes_of(prefix, message.len());
        let mut limits = vec![0, limit.index(message.len() + 1), comes, comes + 1, usize::MAX];
        limits.extend(comes.checked_sub(1));
        for limit in limits {
            prop_assert_eq!(inflater.exceeds(in_parts(prefix, &cut), limit), comes > limit);
        }
        let inflated = inflater.inflate(None, [&compressed, &[]], message.len());
        prop_assert_eq!(inflated, Ok(&message[..]));
    }

    /// Whatever bytes: if their beginning exceeds the limit, the whole is refused for the same reason.
    #[test]
    fn what_exceeds_is_too_large(
        streams in vec((message(), any::<bool>()), 1..3),
        change in prop::option::of((any::<Index>(), any::<u8>())),
        end in any::<Index>(),
        cut in any::<Index>(),
        limit in length(),
    ) {
        let mut bytes = Vec::new();
        for ((_, compressed), ends) in streams {
            bytes.extend(compressed);
            if ends {
                // An empty block that is the last one: the stream ends.
                bytes.extend([0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff]);
            } else {
                bytes.extend([0, 0, 0xff, 0xff]);
            }
        }
        if let Some((at, byte)) = change {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let mut inflater = Inflater::default();
        let prefix = &bytes[..end.index(bytes.len() + 1)];
        let exceeds = inflater.exceeds(in_parts(prefix, &cut), limit);
        let whole = inflater.inflate(None, in_parts(&bytes, &cut), limit).map(<[u8]>::len);
        let other = Inflater::default().inflate(None, [&bytes, &[]], limit).map(<[u8]>::len);
        prop_assert_eq!(&whole, &other);
        if exceeds {
            prop_assert_eq!(whole, Err(DecodeError::TooLarge { limit }));
        }
    }
}

/// What fits the buffer goes through once, what does not twice, and the next one of that size once again.
#[test]
fn only_what_is_longer_than_the_buffer_is_inflated_twice() {
    let message = prose(50_000);
    let mut deflater = Deflater::new(6);
    let compressed = deflater.deflate(&message, 15).unwrap();
    let once = (compressed.len() + message.len()) as u64;
    let mut inflater = Inflater::default();
    let mut handled = |times: u64| {
        let before = inflater.handled_bytes();
        let parts = [compressed, &[]];
        assert_eq!(inflater.inflate(None, parts, 64 << 10), Ok(&message[..]));
        let more = inflater.handled_bytes() - before;
        // The tail goes in as well.
        let expected = once * times..once * times + 10 * times;
        assert!(expected.contains(&more), "{more}, not {expected:?}");
    };
    handled(2);
    for _ in 0..3 {
        handled(1);
    }
}

/// A fault behind the byte that is too much does not count any more, whether or not that byte and the fault come together.
#[test]
fn what_is_too_large_is_so_before_it_is_broken() {
    // Three bytes in a stored block, and a block of a kind that there is not.
    let message = [0, 3, 0, 0xfc, 0xff, b'a', b'b', b'c', 6, 0];
    let mut inflater = Inflater::default();
    for (limit, error) in [
        (0, DecodeError::TooLarge { limit: 0 }),
        (2, DecodeError::TooLarge { limit: 2 }),
        (3, DecodeError::Inflate),
    ] {
        for cut in 0..=message.len() {
            let (front, back) = message.split_at(cut);
            for mut context in [None, Some(InflateContext::default())] {
                let inflated = inflater.inflate(context.as_mut(), [front, back], limit);
                assert_eq!(inflated, Err(error), "limit {limit}, cut at {cut}");
            }
        }
    }
}
