//! Any bytes as a compressed message, and any message compressed.

use arbitrary::Unstructured;
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};
use shardwire_protocol::websocket::deflate::{Deflater, WINDOW_BITS_MAX, WINDOW_BITS_MIN};
use shardwire_protocol::websocket::frame::{self, Kind};
use shardwire_protocol::websocket::{DecodeError, Role, Rules};

use crate::reading::{End, Extension, Heard, read};

/// What may be inflated to, in bytes; the first byte of an input chooses. A bomb of [`INPUT_BYTES_MAX`](crate::INPUT_BYTES_MAX)
/// bytes inflates to a thousand times of that.
const LIMITS: [usize; 4] = [0, 300, 5_000, 70_000];

/// What a message ends with that goes on the wire without it, and a final block with nothing in it (RFC 7692 section 7.2.1).
const TAIL_AND_END: [u8; 9] = [0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff];

/// Ends of a stream inside one message that are taken.
const ENDS_MAX: usize = 16;

/// Bytes of a stored block in front of what is inflated a second time.
const FRONT_BYTES: usize = 8_600;

/// Bytes of one message that is compressed.
const MESSAGE_BYTES_MAX: usize = 20_000;

/// The bytes as one compressed message: inflated as miniz_oxide inflates them, and never beyond the limit.
pub fn inflate(data: &[u8]) {
    let Some((&choice, payload)) = data.split_first() else {
        return;
    };
    let limit = LIMITS[usize::from(choice & 3)];
    inflate_one(choice, limit, payload);
    if limit > 2 * FRONT_BYTES {
        inflate_one(choice, limit, &behind_a_block(payload));
    }
}

/// So long that it is gathered beyond the bytes at which a message is counted for the first time, an eighth of the limit.
fn behind_a_block(payload: &[u8]) -> Vec<u8> {
    let len = FRONT_BYTES as u16;
    let mut message = vec![0];
    message.extend_from_slice(&len.to_le_bytes());
    message.extend_from_slice(&(!len).to_le_bytes());
    message.resize(message.len() + FRONT_BYTES, 0);
    message.extend_from_slice(payload);
    message
}

fn inflate_one(choice: u8, limit: usize, payload: &[u8]) {
    let mut stream = Vec::new();
    frame::write_client_deflated(&mut stream, Kind::Binary, payload, [choice; 4]);
    let rules = Rules {
        role: Role::Server,
        max_message_size: limit,
    };
    let piece = usize::from(choice) * 8 + 1;
    for takeover in [false, true] {
        let extension = Extension::Deflate { takeover };
        let ours = read(&rules, extension, &stream, usize::MAX);
        assert_eq!(read(&rules, extension, &stream, piece), ours);
        for heard in &ours.0 {
            match heard {
                Heard::Binary(message) => assert!(message.len() <= limit, "beyond the limit"),
                other => panic!("{other:?}"),
            }
        }
        if !takeover && ours.1 != End::Failed(DecodeError::TooLarge { limit }) {
            let expected = reference(payload, limit);
            let inflated = ours.0.first().map(|heard| match heard {
                Heard::Binary(message) => message.as_slice(),
                other => panic!("{other:?}"),
            });
            assert_eq!(inflated, expected.as_deref(), "{:?}", ours.1);
        }
    }
}

/// The message by miniz_oxide; none if it is cut off, broken or longer than the limit.
fn reference(message: &[u8], limit: usize) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = message;
    for _ in 0..ENDS_MAX {
        let input = [rest, &TAIL_AND_END].concat();
        let mut stream = vec![0; limit + 1 - out.len()];
        let (status, read, written) = decompress(
            &mut DecompressorOxide::new(),
            &input,
            &mut stream,
            0,
            TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF,
        );
        out.extend_from_slice(&stream[..written]);
        if status != TINFLStatus::Done || out.len() > limit {
            return None;
        }
        if read == input.len() || read == rest.len() {
            return Some(out);
        }
        // Behind the message, but not behind the block that ends it: the message was cut off.
        rest = rest.get(read..)?;
    }
    None
}

/// Messages made of the bytes, compressed at some level for some window: what is sent is shorter, other programs can read it, and
/// the receiver hears what was said.
pub fn deflate(data: &[u8]) {
    // Without data there are no choices left to make: not a fault.
    let _ = round_trip(&mut Unstructured::new(data));
}

fn round_trip(u: &mut Unstructured<'_>) -> arbitrary::Result<()> {
    let mut deflater = Deflater::new(u.int_in_range(0..=10)?);
    let window_bits = u.int_in_range(WINDOW_BITS_MIN..=WINDOW_BITS_MAX)?;
    let mut context = match u.arbitrary()? {
        true => deflater.new_context(window_bits),
        false => None,
    };
    let takeover = context.is_some();
    let to_client = u.arbitrary()?;
    let piece = u.int_in_range(1..=3000)?;
    let mut stream = Vec::new();
    let mut said = Vec::new();
    while !u.is_empty() {
        let message = message(u)?;
        let compressed = match &mut context {
            Some(context) => deflater.deflate_with(context, &message),
            None => deflater.deflate(&message, window_bits),
        };
        match (compressed, to_client) {
            (Some(compressed), to_client) => {
                assert!(
                    compressed.len() < message.len(),
                    "compressed and not shorter"
                );
                if !takeover {
                    let inflated = reference(compressed, message.len());
                    assert_eq!(inflated.as_ref(), Some(&message));
                }
                if to_client {
                    frame::write_server_deflated(&mut stream, Kind::Binary, compressed);
                } else {
                    frame::write_client_deflated(&mut stream, Kind::Binary, compressed, [7; 4]);
                }
            }
            (None, true) => frame::write_server(&mut stream, Kind::Binary, &message),
            (None, false) => frame::write_client(&mut stream, Kind::Binary, &message, [7; 4]),
        }
        said.push(Heard::Binary(message));
        deflater.release();
    }
    let rules = Rules {
        role: if to_client {
            Role::Client
        } else {
            Role::Server
        },
        max_message_size: MESSAGE_BYTES_MAX,
    };
    let heard = read(&rules, Extension::Deflate { takeover }, &stream, piece);
    assert_eq!(heard, (said, End::Open));
    Ok(())
}

/// Some bytes, so many times.
fn message(u: &mut Unstructured<'_>) -> arbitrary::Result<Vec<u8>> {
    let times: usize = u.int_in_range(1..=200)?;
    let len = u.int_in_range(0..=255)?.min(u.len());
    let part = u.bytes(len)?;
    let times = times.min(MESSAGE_BYTES_MAX / len.max(1));
    Ok(part.repeat(times))
}
