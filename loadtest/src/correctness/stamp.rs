//! The stamp inside every message: who sent it, which one it is, and when it should have left.
//!
//! Text of 30 characters that no server changes when it parses and prints JSON again: the mark `lt.:`, then five numbers in the
//! 64 digits of base64url, highest digit first: run (4 digits), source (4), channel (4), sequence (6), time (8). What follows up to
//! the wanted message size is filler, also checked.

use memchr::memmem::Finder;

/// Characters of a stamp; no message can be shorter.
pub const STAMP_LEN: usize = 30;

/// Largest source or channel number a stamp can carry, plus one.
pub const NAMES: u32 = 1 << 24;

const MARK: &[u8; 4] = b"lt.:";
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// Filler for any message: a prefix of this repeated pattern. Its length has no common factor with powers of two, so a shifted copy
/// does not look right.
const FILLER: &[u8; 61] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXY";

const VALUES: [u8; 256] = {
    let mut values = [u8::MAX; 256];
    let mut digit = 0;
    while digit < 64 {
        values[DIGITS[digit] as usize] = digit as u8;
        digit += 1;
    }
    values
};

/// What a message says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Lowest 24 bits of the run's random number: messages of other runs are not ours.
    pub run: u32,
    /// Number of the publisher (fan-out) or connection (echo); below [`NAMES`].
    pub source: u32,
    /// Number of the channel; below [`NAMES`].
    pub channel: u32,
    /// Number of the message in its stream, from 0.
    pub sequence: u32,
    /// When it was meant to be sent: nanoseconds since the run's base time; 48 bits.
    pub time: u64,
}

impl Stamp {
    /// Writes the stamp over the first [`STAMP_LEN`] bytes of `place`.
    pub fn write(&self, place: &mut [u8]) {
        place[..4].copy_from_slice(MARK);
        put(&mut place[4..8], u64::from(self.run));
        put(&mut place[8..12], u64::from(self.source));
        put(&mut place[12..16], u64::from(self.channel));
        put(&mut place[16..22], u64::from(self.sequence));
        put(&mut place[22..30], self.time);
    }

    /// Reads a stamp at the front of `bytes`; `None` if there is none.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..STAMP_LEN)?;
        if &bytes[..4] != MARK {
            return None;
        }
        Some(Self {
            run: get(&bytes[4..8])? as u32,
            source: get(&bytes[8..12])? as u32,
            channel: get(&bytes[12..16])? as u32,
            sequence: u32::try_from(get(&bytes[16..22])?).ok()?,
            time: get(&bytes[22..30])?,
        })
    }
}

fn put(place: &mut [u8], mut value: u64) {
    for byte in place.iter_mut().rev() {
        *byte = DIGITS[(value & 63) as usize];
        value >>= 6;
    }
}

fn get(bytes: &[u8]) -> Option<u64> {
    let mut value = 0u64;
    let mut seen = 0u8;
    for &byte in bytes {
        let digit = VALUES[usize::from(byte)];
        seen |= digit;
        value = value << 6 | u64::from(digit & 63);
    }
    (seen < 64).then_some(value)
}

/// Appends a message body of `size` characters with room for a stamp at its front and filler behind.
pub fn append_body(out: &mut Vec<u8>, size: usize) {
    out.resize(out.len() + STAMP_LEN, b'A');
    out.extend(FILLER.iter().cycle().take(size.saturating_sub(STAMP_LEN)));
}

/// Finds stamps in what servers send back, and checks the filler behind them.
pub struct Reader {
    finder: Finder<'static>,
    /// Where the last message had its stamp: the next one very probably has it there too.
    usual_place: usize,
    /// Filler as it must follow a stamp.
    filler: Vec<u8>,
}

/// A stamp that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    pub stamp: Stamp,
    /// The filler is as sent.
    pub intact: bool,
    /// Where the message body ends; another stamp may follow.
    pub end: usize,
}

impl Reader {
    /// A reader for message bodies of `size` characters.
    pub fn new(size: usize) -> Self {
        let mut body = Vec::new();
        append_body(&mut body, size);
        Self {
            finder: Finder::new(MARK),
            usual_place: 0,
            filler: body.split_off(STAMP_LEN),
        }
    }

    /// The first stamp in `bytes`, if any.
    pub fn find(&mut self, bytes: &[u8]) -> Option<Found> {
        let usual = bytes.get(self.usual_place..).and_then(Stamp::read);
        let (start, stamp) = match usual {
            // Only if nothing precedes: several messages in one are read in order.
            Some(stamp) if self.finder.find(&bytes[..self.usual_place]).is_none() => {
                (self.usual_place, stamp)
            }
            _ => self.search(bytes)?,
        };
        self.usual_place = start;
        let body = start + STAMP_LEN;
        let rest = &bytes[body..];
        Some(Found {
            stamp,
            intact: rest.starts_with(&self.filler),
            end: (body + self.filler.len()).min(bytes.len()),
        })
    }

    fn search(&self, bytes: &[u8]) -> Option<(usize, Stamp)> {
        self.finder
            .find_iter(bytes)
            .find_map(|start| Some((start, Stamp::read(&bytes[start..])?)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const STAMP: Stamp = Stamp {
        run: 0x00ab_cdef,
        source: NAMES - 1,
        channel: 77,
        sequence: u32::MAX,
        time: (1 << 48) - 1,
    };

    fn body(size: usize) -> Vec<u8> {
        let mut body = Vec::new();
        append_body(&mut body, size);
        STAMP.write(&mut body);
        body
    }

    #[test]
    fn what_is_written_is_read() {
        let body = body(64);
        assert_eq!(body.len(), 64);
        assert_eq!(Stamp::read(&body), Some(STAMP));
        let zero = Stamp {
            run: 0,
            source: 0,
            channel: 0,
            sequence: 0,
            time: 0,
        };
        let mut place = [0; STAMP_LEN];
        zero.write(&mut place);
        assert_eq!(Stamp::read(&place), Some(zero));
    }

    #[test]
    fn the_body_is_plain_text_that_json_does_not_escape() {
        let text = String::from_utf8(body(500)).unwrap();
        assert_eq!(serde_json::to_string(&text).unwrap(), format!("\"{text}\""));
    }

    #[test]
    fn a_stamp_is_found_wherever_the_server_puts_it() {
        let mut reader = Reader::new(64);
        let text = String::from_utf8(body(64)).unwrap();
        for prefix in ["", "{\"message\":\"", "lt.: lt.:no {\"x\":\"", ""] {
            let message = format!("{prefix}{text}\"}}");
            let found = reader.find(message.as_bytes()).unwrap();
            assert_eq!(found.stamp, STAMP);
            assert!(found.intact);
            assert_eq!(found.end, prefix.len() + 64);
        }
        assert_eq!(reader.find(b"{\"type\":\"subscribed\"}"), None);
        assert_eq!(reader.find(b""), None);
    }

    #[test]
    fn several_messages_in_one_are_found_in_order() {
        let mut reader = Reader::new(40);
        let mut message = b"{\"m\":\"".to_vec();
        let mut one = body(40);
        for sequence in 0..3 {
            Stamp { sequence, ..STAMP }.write(&mut one);
            message.extend(&one);
            message.extend(b"\"}\n{\"mmmmmm\":\"");
        }
        for _ in 0..2 {
            let mut rest = message.as_slice();
            for sequence in 0..3 {
                let found = reader.find(rest).unwrap();
                assert_eq!(found.stamp.sequence, sequence);
                rest = &rest[found.end..];
            }
            assert_eq!(reader.find(rest), None);
        }
    }

    #[test]
    fn changed_or_cut_filler_is_not_intact() {
        let mut reader = Reader::new(64);
        let mut changed = body(64);
        changed[63] ^= 1;
        assert!(!reader.find(&changed).unwrap().intact);
        let found = reader.find(&body(64)[..50]).unwrap();
        assert!(!found.intact);
        assert_eq!(found.end, 50);
    }
}
