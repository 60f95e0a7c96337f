//! One connection's slot.

use std::net::IpAddr;
use std::num::NonZero;

use shardwire_protocol::websocket::Decoder;

use super::{Codec, Extension, Forms, Frames, Outbox, Pool, Session, Share};
use crate::channels::Membership;
use crate::rate_limits::Buckets;
use crate::timers::Tick;
use crate::vocabulary::{CloseCause, ConnectionId, Identity, Mode, Now, SocketToken, UserId};

/// All a shard knows of one connection. Idle, it holds no buffer: what is half read is the decoder's, what is half
/// written the outbox's, and both let go of their storage when they are done.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) socket: SocketToken,
    pub(crate) decoder: Decoder,
    pub(crate) outbox: Outbox,
    /// Verified, or the name the client gave itself while nobody verifies.
    pub(crate) user: Option<UserId>,
    /// Only of verified connections.
    pub(crate) session: Option<Box<Session>>,
    /// What is left of its rates; only while there are any.
    pub(crate) buckets: Option<Box<Buckets>>,
    pub(crate) memberships: Vec<Membership>,
    pub(crate) address: IpAddr,
    pub(crate) mode: Mode,
    pub(crate) extension: Extension,
    pub(crate) flags: Flags,
    /// When a message last came (contract R2).
    pub(crate) spoke: SpokeAt,
    pub(crate) state: State,
    pub(crate) share: Share,
    /// When bytes last came, or the end of the socket.
    pub(crate) heard: Tick,
    /// When the ping that waits for an answer was sent; nobody is pinged in the engine's first tick.
    pub(crate) pinged: Option<NonZero<Tick>>,
}

/// Where a connection is in its life.
#[derive(Debug)]
pub(crate) enum State {
    /// Waiting for the homes of its user and address to count it in; what comes is kept.
    Admitting(Box<Admitting>),
    /// Must say who it is before anything else.
    Authenticating(Box<Authenticating>),
    /// Alive.
    Open,
    /// Alive, and an application handler runs for it: what it sends meanwhile is kept, as it came. (Boxed, so that the slots
    /// of all others do not pay for it.)
    #[allow(clippy::box_collection)]
    Calling(Box<Vec<u8>>),
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
    /// The `id` of the `auth` message that `hello` answers.
    pub(crate) reply: Option<Box<str>>,
}

#[derive(Debug)]
pub(crate) struct Authenticating {
    /// When patience ends.
    pub(crate) until: Tick,
    /// The token was sent and is being verified.
    pub(crate) verifying: bool,
    pub(crate) reply: Option<Box<str>>,
    /// What came behind the token.
    pub(crate) early: Vec<u8>,
}

/// When a connection last said something, in two bytes: seconds, around and around every 18 hours.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct SpokeAt(u16);

impl SpokeAt {
    pub(crate) fn at(now: Now) -> Self {
        Self((now.ms / 1000) as u16)
    }

    /// The end of that second, in milliseconds since start, as far as it has passed. One that is longer ago than the clock goes around
    /// looks younger: whoever is found silent is marked long before that.
    pub(crate) fn ms(self, now: Now) -> u64 {
        let seconds = now.ms / 1000;
        let ago = u64::from((seconds as u16).wrapping_sub(self.0));
        ((seconds.saturating_sub(ago) + 1) * 1000).min(now.ms)
    }
}

/// Booleans of a connection, in two bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Flags(u16);

impl Flags {
    /// A `Flush` effect is under way. Never together with [`OWED`](Self::OWED).
    pub(crate) const FLUSHING: Self = Self(1);
    /// The socket took less than was offered; the world waits for it to drain.
    pub(crate) const BLOCKED: Self = Self(1 << 1);
    /// Reading is stopped because the peer does not read, or has sent more than its share.
    pub(crate) const PAUSED: Self = Self(1 << 2);
    /// Counted in at its user's home.
    pub(crate) const USER_COUNTED: Self = Self(1 << 3);
    /// Counted in at its address's home.
    pub(crate) const ADDRESS_COUNTED: Self = Self(1 << 4);
    /// Must say who it is when it has been counted in.
    pub(crate) const AWAITED: Self = Self(1 << 5);
    /// Is greeted with `hello`.
    pub(crate) const HELLO: Self = Self(1 << 6);
    /// A new token is being verified.
    pub(crate) const VERIFYING: Self = Self(1 << 7);
    /// Bytes of it wait for a later turn.
    pub(crate) const POSTPONED: Self = Self(1 << 8);
    /// Its socket is gone; what came before is still being handled, and nothing is written any more.
    pub(crate) const ENDED: Self = Self(1 << 9);
    /// It is not level with the others in some of its channels.
    pub(crate) const LAGGING: Self = Self(1 << 10);
    /// It is in the row of those that go on catching up.
    pub(crate) const CATCHING_UP: Self = Self(1 << 11);
    /// Notifications are on their way to its socket.
    pub(crate) const NOTIFIED: Self = Self(1 << 12);
    /// What its socket takes is of interest to somebody.
    pub(crate) const WATCHED: Self = Self(Self::LAGGING.0 | Self::NOTIFIED.0);
    /// Its user counts as offline until it says something.
    pub(crate) const SILENT: Self = Self(1 << 13);
    /// It gets its `Flush` effect when it is its turn in the row of huge audiences.
    pub(crate) const OWED: Self = Self(1 << 14);
    /// It is flushed, in either way.
    pub(crate) const FLUSH_DUE: Self = Self(Self::FLUSHING.0 | Self::OWED.0);
    /// It has a place in that row; without [`OWED`](Self::OWED) it is passed over there.
    pub(crate) const IN_ROW: Self = Self(1 << 15);

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
    /// Bytes that came and may not be handled yet.
    pub(crate) fn kept_len(&self) -> usize {
        match &self.state {
            State::Admitting(admitting) => admitting.early.len(),
            State::Authenticating(authenticating) => authenticating.early.len(),
            State::Calling(kept) => kept.len(),
            State::Open | State::Closing { .. } => 0,
        }
    }

    /// Who it is, if somebody verified it.
    pub(crate) fn identity(&self) -> Option<&Identity> {
        self.session.as_deref().map(|session| &session.identity)
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, State::Open | State::Calling(_))
    }

    /// Whether it takes messages: neither on its way in or out, nor on the echo path.
    pub(crate) fn speaks(&self) -> bool {
        self.is_reachable() && self.mode == Mode::Json
    }

    /// Whether there is anybody to write to.
    pub(crate) fn is_reachable(&self) -> bool {
        self.is_open() && !self.flags.has(Flags::ENDED)
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
