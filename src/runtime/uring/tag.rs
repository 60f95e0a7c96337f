//! What a request carries in its `user_data`, so that its completions find their way back.

use crate::runtime::driver::SocketId;
use crate::runtime::sockets::MAX_SOCKETS;

/// Which request a completion answers. For a socket's requests it carries place and generation, so
/// that a completion of an earlier life of the place can never be taken for one of the present
/// life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tag {
    /// The multishot accept.
    Accept,
    /// The multishot poll of the bell.
    Bell,
    /// The poll for what the other rings of this driver complete.
    Alarm,
    /// A request that is waited for as it is made.
    Call,
    /// One of several sends that are waited for together: which.
    Sent(u32),
    /// A socket's multishot receive.
    Receive(SocketId),
    /// A quiet socket's one-shot poll for something to receive.
    Await(SocketId),
    /// A socket's one-shot poll for room to write.
    Poll(SocketId),
    /// The cancel of a socket's receive.
    CancelReceive(SocketId),
    /// A cancel whose outcome nobody asks for.
    Cancel,
}

impl Tag {
    /// kind (8 bits), place (24), generation (32).
    pub(super) fn encode(self) -> u64 {
        let (kind, socket) = match self {
            Self::Sent(number) => return 9 << 56 | u64::from(number),
            Self::Accept => (1, None),
            Self::Bell => (2, None),
            Self::Receive(socket) => (3, Some(socket)),
            Self::Poll(socket) => (4, Some(socket)),
            Self::CancelReceive(socket) => (5, Some(socket)),
            Self::Cancel => (6, None),
            Self::Alarm => (7, None),
            Self::Call => (8, None),
            Self::Await(socket) => (10, Some(socket)),
        };
        let socket = socket.map_or(0, |socket| {
            (socket.index() as u64) << 32 | u64::from(socket.generation())
        });
        kind << 56 | socket
    }

    /// The inverse; `None` for a number that `encode` never made.
    pub(super) fn decode(user_data: u64) -> Option<Self> {
        let index = (user_data >> 32) as u32 & (MAX_SOCKETS as u32 - 1);
        let socket = SocketId::new(index, user_data as u32);
        Some(match user_data >> 56 {
            1 => Self::Accept,
            2 => Self::Bell,
            3 => Self::Receive(socket),
            4 => Self::Poll(socket),
            5 => Self::CancelReceive(socket),
            6 => Self::Cancel,
            7 => Self::Alarm,
            8 => Self::Call,
            9 => Self::Sent(user_data as u32),
            10 => Self::Await(socket),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tag_survives_the_round_trip() {
        for socket in [
            SocketId::new(0, 0),
            SocketId::new(MAX_SOCKETS as u32 - 1, u32::MAX),
            SocketId::new(7, 9),
        ] {
            for tag in [
                Tag::Accept,
                Tag::Bell,
                Tag::Receive(socket),
                Tag::Await(socket),
                Tag::Poll(socket),
                Tag::CancelReceive(socket),
                Tag::Cancel,
                Tag::Alarm,
                Tag::Call,
                Tag::Sent(64),
            ] {
                assert_eq!(Tag::decode(tag.encode()), Some(tag));
            }
        }
        assert_eq!(Tag::decode(0), None);
    }
}
