//! What clients say: requests as JSON, bytes as masked frames, whole or in fragments, and offences.

use shardwire_protocol::codes::{ErrorCode, close};
use shardwire_protocol::websocket::frame::{self, Kind};

use super::Place;
use crate::Random;

/// One message of a client, and what it may expect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    /// Join the audience of this channel.
    Subscribe(usize),
    /// Come back to this channel, having been at this place.
    Return(usize, Place),
    /// Read what this channel has kept.
    History(usize),
    /// Leave it.
    Unsubscribe(usize),
    /// Publish, as number so and so of the run; answered only if refused, or kept.
    Publish(usize),
    /// Go into this chat room.
    JoinRoom(usize),
    /// Leave the room.
    LeaveRoom,
    /// Say something in the room, as number so and so of the run; answered only if refused.
    Say(usize),
    /// Type in the room, or stop; answered only if refused.
    Type,
    /// Say something of oneself; refused to those who are nobody.
    SetPresence,
    /// What is known of so many users?
    GetPresence(usize),
    /// Who is in the first channel?
    Members,
    /// What is in one's inbox?
    Inbox,
    /// These notifications were read.
    MarkRead(Vec<usize>),
    /// These notifications have come.
    Acknowledge(Vec<usize>),
    /// The JSON ping.
    Ping,
    /// This JSON value is to come back.
    Echo(String),
    /// Something the application does.
    Work,
    /// Something that is answered by this error.
    Fault(ErrorCode),
}

/// Ways to break the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Offence {
    /// A frame without a mask.
    Unmasked,
    /// An opcode nobody has defined.
    ReservedOpcode,
    /// A bit of an extension nobody has negotiated.
    ReservedBit,
    /// Text that is not UTF-8.
    NotText,
    /// A message larger than the limit.
    TooLarge,
    /// A continuation of nothing.
    StrayContinuation,
    /// A close frame with half a code.
    HalfCode,
}

impl Offence {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Unmasked,
        Self::ReservedOpcode,
        Self::ReservedBit,
        Self::NotText,
        Self::TooLarge,
        Self::StrayContinuation,
        Self::HalfCode,
    ];

    /// What the server closes with.
    #[must_use]
    pub fn close_code(self) -> u16 {
        match self {
            Self::NotText => close::INVALID_PAYLOAD,
            Self::TooLarge => close::MESSAGE_TOO_LARGE,
            _ => close::PROTOCOL_ERROR,
        }
    }
}

/// Bytes of one client on their way into its socket.
#[derive(Debug)]
pub struct Speech<'a> {
    /// Where they go.
    pub out: &'a mut Vec<u8>,
    /// For masks and for where to cut.
    pub random: &'a mut Random,
}

impl Speech<'_> {
    fn mask(&mut self) -> [u8; 4] {
        (self.random.bits() as u32).to_be_bytes()
    }

    /// One frame.
    pub fn frame(&mut self, kind: Kind, payload: &[u8]) {
        let mask = self.mask();
        frame::write_client(self.out, kind, payload, mask);
    }

    /// A message, sometimes in fragments with a ping between them. Returns how many pings that were.
    pub fn message(&mut self, kind: Kind, payload: &[u8]) -> usize {
        if !self.random.chance(10) {
            self.frame(kind, payload);
            return 0;
        }
        let pieces = self.random.size(2..=4);
        let mut rest = payload;
        let mut pings = 0;
        for piece in 1..=pieces {
            let taken = if piece == pieces {
                rest.len()
            } else {
                self.random.below(rest.len() + 1)
            };
            let (now, later) = rest.split_at(taken);
            rest = later;
            let start = self.out.len();
            self.frame(kind, now);
            if piece > 1 {
                self.out[start] &= 0xf0; // a continuation
            }
            if piece < pieces {
                self.out[start] &= 0x7f; // not the last
                if self.random.chance(20) {
                    self.frame(Kind::Ping, b"between");
                    pings += 1;
                }
            }
        }
        pings
    }

    /// A close frame.
    pub fn close(&mut self, code: u16, reason: &str) {
        self.frame(Kind::Close, &frame::close_payload(code, reason));
    }

    /// Something forbidden.
    pub fn offend(&mut self, offence: Offence, max_message_size: usize) {
        let start = self.out.len();
        match offence {
            Offence::Unmasked => frame::write_server(self.out, Kind::Text, b"{\"type\":\"ping\"}"),
            Offence::ReservedOpcode => {
                self.frame(Kind::Text, b"x");
                self.out[start] = 0x83;
            }
            Offence::ReservedBit => {
                self.frame(Kind::Text, b"x");
                self.out[start] |= 0x40;
            }
            Offence::NotText => self.frame(Kind::Text, b"\xff\xfe"),
            Offence::TooLarge => {
                // The header alone is enough; whether the rest follows is another matter.
                let payload = vec![b'x'; max_message_size + 1];
                self.frame(Kind::Binary, &payload);
                let kept = self.random.size(14..=200);
                self.out.truncate(start + kept);
            }
            Offence::StrayContinuation => {
                self.frame(Kind::Text, b"x");
                self.out[start] = 0x80;
            }
            Offence::HalfCode => self.frame(Kind::Close, b"\x03"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use shardwire_protocol::websocket::{Decoder, Event, Role, Rules};

    const SERVER: Rules = Rules {
        role: Role::Server,
        max_message_size: 512,
    };

    #[test]
    fn fragments_come_together_again() {
        let mut random = Random::new(1);
        for n in 0..500 {
            let text = format!("message {n} with some length to cut");
            let mut out = Vec::new();
            let pings = Speech {
                out: &mut out,
                random: &mut random,
            }
            .message(Kind::Text, text.as_bytes());
            let (mut decoder, mut at, mut heard, mut pinged) = (Decoder::default(), 0, None, 0);
            while at < out.len() {
                let decoded = decoder.decode(&SERVER, &mut out[at..]).unwrap();
                at += decoded.consumed;
                match decoded.event {
                    Some(Event::Text(whole)) => heard = Some(whole.to_owned()),
                    Some(Event::Ping(_)) => pinged += 1,
                    Some(other) => panic!("{other:?}"),
                    None => {}
                }
            }
            assert_eq!((heard, pinged), (Some(text), pings));
        }
    }

    #[test]
    fn every_offence_is_one() {
        for offence in Offence::ALL {
            let (mut out, mut random) = (Vec::new(), Random::new(7));
            Speech {
                out: &mut out,
                random: &mut random,
            }
            .offend(offence, 512);
            let (mut decoder, mut at) = (Decoder::default(), 0);
            let error = loop {
                assert!(at < out.len(), "{offence:?} was taken");
                match decoder.decode(&SERVER, &mut out[at..]) {
                    Ok(decoded) => at += decoded.consumed,
                    Err(error) => break error,
                }
            };
            assert_eq!(error.close_code(), offence.close_code());
        }
    }
}
