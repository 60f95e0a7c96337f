//! One connection's slot.

use std::net::IpAddr;

use shardwire_protocol::websocket::Decoder;

use super::{Codec, Extension, Forms, Frames, Outbox, Pool, Share};
use crate::channels::Membership;
use crate::timers::Tick;
use crate::vocabulary::{CloseCause, ConnectionId, Mode, SocketToken, UserId};

/// All a shard knows of one connection. Idle, it holds no buffer: what is half read is the decoder's, what is half
/// written the outbox's, and both let go of their storage when they are done.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) socket: SocketToken,
    pub(crate) decoder: Decoder,
    pub(crate) outbox: Outbox,
    pub(crate) user: Option<UserId>,
    pub(crate) memberships: Vec<Membership>,
    pub(crate) address: IpAddr,
    pub(crate) mode: Mode,
    pub(crate) extension: Extension,
    pub(crate) flags: Flags,
    pub(crate) state: State,
    pub(crate) share: Share,
    /// When bytes last came.
    pub(crate) heard: Tick,
    /// When the ping that waits for an answer was sent.
    pub(crate) pinged: Option<Tick>,
}

/// Where a connection is in its life.
#[derive(Debug)]
pub(crate) enum State {
    /// Waiting for the homes of its user and address to count it in; nothing is read yet.
    Admitting(Box<Admitting>),
    /// Alive.
    Open,
    /// A close frame is in the outbox or sent. In no registry any more.
    Closing {
        /// When patience ends.
        until: Tick,
        /// Whether the peer's close frame is still awaited.
        await_peer: bool,
        /// What to report.
        cause: CloseCause,
    },
}

#[derive(Debug, Default)]
pub(crate) struct Admitting {
    pub(crate) verdicts_missing: u8,
    pub(crate) early: Vec<u8>,
}

/// Booleans of a connection, in one byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Flags(u8);

impl Flags {
    /// A `Flush` effect is under way.
    pub(crate) const FLUSHING: Self = Self(1);
    /// The socket took less than was offered; the world waits for it to drain.
    pub(crate) const BLOCKED: Self = Self(1 << 1);
    /// Reading is stopped because the peer does not read, or has sent more than its share.
    pub(crate) const PAUSED: Self = Self(1 << 2);
    /// Counted in at its user's home.
    pub(crate) const USER_COUNTED: Self = Self(1 << 3);
    /// Counted in at its address's home.
    pub(crate) const ADDRESS_COUNTED: Self = Self(1 << 4);
    /// Bytes of it wait for a later turn.
    pub(crate) const POSTPONED: Self = Self(1 << 6);
    /// Nothing has been received since it opened.
    pub(crate) const FRESH: Self = Self(1 << 5);

    pub(crate) fn has(self, flag: Self) -> bool {
        self.0 & flag.0 != 0
    }

    pub(crate) fn set(&mut self, flag: Self, on: bool) {
        if on {
            self.0 |= flag.0;
        } else {
            self.0 &= !flag.0;
        }
    }
}

impl Connection {
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, State::Open)
    }

    /// Appends a frame that many get, in the form this one takes: compressed for all, plain, or compressed for it alone if it
    /// keeps a context.
    pub(crate) fn push_shared(
        &mut self,
        id: ConnectionId,
        forms: &Forms,
        frames: &mut Frames,
        pool: &mut Pool,
        codec: &mut Codec,
    ) {
        let plain = frames.get(forms.plain);
        if self.extension.keeps_sent() && codec.is_worth(plain.len()) {
            self.outbox.write(pool, |out| {
                let start = out.len();
                out.extend_from_slice(plain);
                codec.compress_last(id, self.extension, out, start);
            });
            return;
        }
        let key = match forms.deflated {
            Some(deflated) if self.extension.takes_shared_of(plain.len()) => deflated,
            _ => forms.plain,
        };
        self.outbox.push_frame(key, frames, pool);
    }
}
