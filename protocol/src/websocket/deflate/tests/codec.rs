//! Compressing and inflating, without frames.

use super::distances::furthest;
use crate::websocket::{
    DecodeError,
    deflate::{Deflater, InflateContext, Inflater},
};
use proptest::{collection::vec, prelude::*};

const LIMIT: usize = 1 << 20;

fn inflate(message: &[u8], limit: usize) -> Result<Vec<u8>, DecodeError> {
    let mut inflater = Inflater::default();
    inflater
        .inflate(None, [message, &[]], limit)
        .map(<[u8]>::to_vec)
}

/// Like JSON: compressible, and different in every line.
pub(super) fn prose(len: usize) -> Vec<u8> {
    let mut text = Vec::new();
    let mut index = 0_usize;
    while text.len() < len {
        index += 1;
        let line = format!(
            "{{\"user\":{index},\"text\":\"message {}\"}},",
            index * index
        );
        text.extend_from_slice(line.as_bytes());
    }
    text.truncate(len);
    text
}

/// Bytes no compressor shortens.
pub(super) fn noise(len: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(|_| next()).collect()
}

#[test]
fn the_examples_of_the_rfc() {
    // Section 7.2.3.1 to 7.2.3.6.
    let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    assert_eq!(inflate(&hello, LIMIT).unwrap(), b"Hello");
    let stored = [
        0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00,
    ];
    assert_eq!(inflate(&stored, LIMIT).unwrap(), b"Hello");
    let ended = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
    assert_eq!(inflate(&ended, LIMIT).unwrap(), b"Hello");
    let two_blocks = [
        0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00,
    ];
    assert_eq!(inflate(&two_blocks, LIMIT).unwrap(), b"Hello");
    assert_eq!(inflate(&[0x00], LIMIT).unwrap(), b"");

    let mut inflater = Inflater::default();
    let mut context = InflateContext::default();
    let mut inflated = |message: &[u8]| {
        let inflated = inflater.inflate(Some(&mut context), [message, &[]], LIMIT);
        inflated.map(<[u8]>::to_vec)
    };
    assert_eq!(inflated(&hello).unwrap(), b"Hello");
    // The second one refers to the first.
    let again = [0xf2, 0x00, 0x11, 0x00, 0x00];
    assert_eq!(inflated(&again).unwrap(), b"Hello");
    // An ended stream does not end what may be referred to.
    assert_eq!(inflated(&ended).unwrap(), b"Hello");
    assert_eq!(inflated(&again).unwrap(), b"Hello");
    // By itself it refers to nothing.
    assert_eq!(inflate(&again, LIMIT), Err(DecodeError::Inflate));
}

#[test]
fn a_sender_that_ends_its_stream_is_understood() {
    let ended = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    // Without the empty block behind it, which the RFC wants.
    assert_eq!(inflate(&ended, LIMIT).unwrap(), b"Hello");
    // Twice in one message, with and without.
    assert_eq!(inflate(&ended.repeat(2), LIMIT).unwrap(), b"HelloHello");
    let with = [&ended[..], &ended, &[0]].concat();
    assert_eq!(inflate(&with, LIMIT).unwrap(), b"HelloHello");
    // Not for ever: each end costs us more than it costs the peer.
    assert_eq!(
        inflate(&ended.repeat(10_000), LIMIT),
        Err(DecodeError::Inflate)
    );
    assert_eq!(
        inflate(&[3, 0].repeat(10_000), LIMIT),
        Err(DecodeError::Inflate)
    );
}

#[test]
fn what_is_cut_off_or_broken_is_refused() {
    let message = prose(3000);
    let mut deflater = Deflater::new(6);
    let whole = deflater.deflate(&message, 15).unwrap().to_vec();
    assert_eq!(inflate(&whole, LIMIT).unwrap(), message);
    for len in 0..whole.len() {
        assert_eq!(
            inflate(&whole[..len], LIMIT),
            Err(DecodeError::Inflate),
            "cut at {len}"
        );
    }
    for broken in [&[0xff; 8][..], &[0x06, 0], &[0, 0, 0xff, 0xff, 9, 9]] {
        assert_eq!(inflate(broken, LIMIT), Err(DecodeError::Inflate));
    }
    assert_eq!(DecodeError::Inflate.close_code(), 1007);
}

/// Much from little: stopped at the limit, with no more than the limit held.
#[test]
fn attack_deflate_bomb() {
    // 64 MiB of zeros, one MiB at a time: sixty-four flushed streams behind each other are one.
    let mut deflater = Deflater::new(6);
    let zeros = deflater.deflate(&[0; 1 << 20], 15).unwrap();
    let bomb = [zeros, &[0, 0, 0xff, 0xff]].concat().repeat(64);
    assert!(bomb.len() < 70_000, "{}", bomb.len());
    let mut inflater = Inflater::default();
    for limit in [0, 1, 65_536, 1 << 20] {
        let error = inflater.inflate(None, [&bomb, &[]], limit).unwrap_err();
        assert_eq!(error, DecodeError::TooLarge { limit });
        assert_eq!(error.close_code(), 1009);
        assert!(error.to_string().contains(&limit.to_string()));
    }
    // It is of use to others afterwards.
    assert_eq!(
        inflater.inflate(None, [&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], &[]], 5),
        Ok(&b"Hello"[..])
    );
}

#[test]
fn the_limit_itself_is_allowed() {
    for len in [1, 100, 4096, 8192, 65_536, 100_000] {
        for message in [vec![b'x'; len], prose(len), noise(len)] {
            let mut deflater = Deflater::new(6);
            let compressed = match deflater.deflate(&message, 15) {
                Some(compressed) => compressed.to_vec(),
                // Stored by hand (RFC 1951 section 3.2.4).
                None => stored(&message),
            };
            assert_eq!(inflate(&compressed, len).unwrap(), message);
            assert_eq!(
                inflate(&compressed, len - 1),
                Err(DecodeError::TooLarge { limit: len - 1 })
            );
        }
    }
}

/// A message in stored blocks.
pub(super) fn stored(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for block in message.chunks(65_535) {
        let len = block.len() as u16;
        out.push(0);
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&(!len).to_le_bytes());
        out.extend_from_slice(block);
    }
    out.push(0);
    out
}

#[test]
fn what_does_not_shrink_is_not_compressed() {
    let mut deflater = Deflater::new(6);
    for len in [0, 1, 2, 10, 1000, 70_000] {
        assert_eq!(deflater.deflate(&noise(len), 15), None, "{len} bytes");
    }
    assert!(deflater.deflate(&prose(1000), 15).is_some());
    // With a context neither; the next one begins anew, so that the receiver, who has not seen it, can follow.
    let mut context = deflater.new_context(15).unwrap();
    let mut inflater = Inflater::default();
    let mut theirs = InflateContext::default();
    let noise = noise(5000);
    for message in [&prose(2000), &noise, &noise, &prose(2000), &prose(2000)] {
        let Some(compressed) = deflater.deflate_with(&mut context, message) else {
            assert_eq!(message, &noise);
            continue;
        };
        let inflated = inflater.inflate(Some(&mut theirs), [compressed, &[]], LIMIT);
        assert_eq!(inflated.unwrap(), message);
    }
}

/// The furthest any message refers back, by inflating with no more history than that.
#[test]
fn a_smaller_window_is_kept_to() {
    for window_bits in 8..=15u8 {
        for len in [200, 256, 257, 512, 4000, 70_000] {
            let message = prose(len);
            let mut deflater = Deflater::new(9);
            let Some(compressed) = deflater.deflate(&message, window_bits) else {
                assert!(window_bits == 8 && len > 256, "window {window_bits}, {len}");
                continue;
            };
            let mut inflated = vec![0; len];
            let mut theirs = zlib_rs::Inflate::new(false, window_bits.max(9));
            let status =
                theirs.decompress(compressed, &mut inflated, zlib_rs::InflateFlush::SyncFlush);
            assert!(status.is_ok(), "window {window_bits}, {len} bytes");
            assert_eq!(inflated, message);
            // zlib checks distances against what it has written in all, not against the window it was given.
            assert!(furthest(compressed) <= 1 << window_bits, "{window_bits}");
        }
    }
    let deflater = Deflater::new(6);
    for window_bits in [0, 7, 8, 16, 255] {
        assert!(deflater.new_context(window_bits).is_none());
    }
    let mut deflater = Deflater::new(6);
    assert_eq!(deflater.deflate(&prose(5000), 0), None);
    assert!(deflater.deflate(&prose(5000), 255).is_some());
}

#[derive(Clone, Debug)]
enum Sample {
    Prose(usize),
    Noise(usize),
    Bytes(Vec<u8>),
    Same(u8, usize),
}

impl Sample {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Sample::Prose(len) => prose(*len),
            Sample::Noise(len) => noise(*len),
            Sample::Bytes(bytes) => bytes.clone(),
            Sample::Same(byte, len) => vec![*byte; *len],
        }
    }
}

fn sample() -> impl Strategy<Value = Sample> {
    prop_oneof![
        (0usize..20_000).prop_map(Sample::Prose),
        (0usize..20_000).prop_map(Sample::Noise),
        vec(any::<u8>(), 0..300).prop_map(Sample::Bytes),
        (any::<u8>(), 0usize..200_000).prop_map(|(byte, len)| Sample::Same(byte, len)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Many messages through one deflater and one inflater, each by itself or with contexts, with any level and window.
    #[test]
    fn what_is_compressed_is_inflated(
        messages in vec((sample(), any::<bool>()), 1..8),
        level in 0u8..11,
        window_bits in 8u8..16,
    ) {
        let mut deflater = Deflater::new(level);
        let mut inflater = Inflater::default();
        let mut ours = deflater.new_context(window_bits);
        let mut theirs = InflateContext::default();
        for (message, alone) in messages {
            let message = message.bytes();
            match (&mut ours, alone) {
                (Some(ours), false) => {
                    if let Some(compressed) = deflater.deflate_with(ours, &message) {
                        prop_assert!(compressed.len() < message.len());
                        let inflated = inflater.inflate(Some(&mut theirs), [compressed, &[]], message.len());
                        prop_assert_eq!(inflated, Ok(&message[..]));
                    }
                }
                _ => {
                    if let Some(compressed) = deflater.deflate(&message, window_bits) {
                        prop_assert!(compressed.len() < message.len());
                        let inflated = inflater.inflate(None, [compressed, &[]], message.len());
                        prop_assert_eq!(inflated, Ok(&message[..]));
                    }
                }
            }
            deflater.release();
            inflater.release();
        }
    }

    /// Whatever is inflated: an error or at most the limit, and the inflater is as good as new afterwards.
    #[test]
    fn attack_out_of_bounds_in_inflate_glue(
        bytes in vec(any::<u8>(), 0..400),
        change in (any::<prop::sample::Index>(), any::<u8>()),
        limit in 0usize..5000,
    ) {
        let mut inflater = Inflater::default();
        let mut context = InflateContext::default();
        let mut deflater = Deflater::new(6);
        let mut changed = deflater.deflate(&prose(3000), 15).map(<[u8]>::to_vec).unwrap();
        let at = change.0.index(changed.len());
        changed[at] ^= change.1;
        for message in [&bytes, &changed] {
            for context in [None, Some(&mut context)] {
                if let Ok(inflated) = inflater.inflate(context, [message, &[]], limit) {
                    prop_assert!(inflated.len() <= limit);
                }
            }
        }
        let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
        prop_assert_eq!(inflater.inflate(None, [&hello, &[]], LIMIT), Ok(&b"Hello"[..]));
    }
}
