//! The other end of a socket: what it is told must be frames.

use shardwire_protocol::envelope::client::Reply;
use shardwire_protocol::websocket::deflate::{InflateContext, Inflater};
use shardwire_protocol::websocket::{Decoder, Event, Lent, Role, Rules};
use shardwire_shards::vocabulary::{Compression, ConnectionId, Mode};

/// Nothing a server here sends is longer.
const RULES: Rules = Rules {
    role: Role::Client,
    max_message_size: 64 << 10,
};

/// How far a socket is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// `Input::Opened` has been handed in, and nothing came of it yet.
    Handed,
    /// A connection.
    Open,
    /// Given away, and not yet handed in at its new home.
    Moving,
    /// The shard closed it, or it ended by itself.
    Gone,
}

/// One socket, from its upgrade on.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) shard: usize,
    pub(super) mode: Mode,
    pub(super) stage: Stage,
    pub(super) connection: Option<ConnectionId>,
    pub(super) receiving: bool,
    /// Bytes may still arrive after reading was stopped: one buffer.
    pub(super) on_its_way: bool,
    pub(super) blocked: bool,
    pub(super) calling: bool,
    pub(super) verifying: bool,
    pub(super) compresses: bool,
    decoder: Decoder,
    inflater: Inflater,
    context: Option<InflateContext>,
    /// The close frame has come: nothing may follow.
    closed: bool,
}

impl Socket {
    pub(super) fn new(shard: usize, mode: Mode, compression: Option<Compression>) -> Self {
        Self {
            shard,
            mode,
            stage: Stage::Handed,
            connection: None,
            receiving: false,
            on_its_way: true,
            blocked: false,
            calling: false,
            verifying: false,
            compresses: compression.is_some(),
            decoder: Decoder::default(),
            inflater: Inflater::default(),
            context: compression
                .filter(|compression| compression.negotiated.send.takeover)
                .map(|_| InflateContext::default()),
            closed: false,
        }
    }

    /// Bytes written to it.
    pub(super) fn hear(&mut self, bytes: &mut [u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            assert!(!self.closed, "bytes behind a close frame");
            let lent = self.compresses.then_some(Lent {
                inflater: &mut self.inflater,
                context: self.context.as_mut(),
            });
            let decoded = self
                .decoder
                .decode_with(&RULES, lent, rest)
                .unwrap_or_else(|error| panic!("a client cannot read what is written: {error}"));
            match decoded.event {
                Some(Event::Text(text)) if self.mode == Mode::Json => {
                    Reply::read(text).unwrap_or_else(|error| panic!("{error}: {text}"));
                }
                Some(Event::Close(_)) => self.closed = true,
                _ => {}
            }
            let consumed = decoded.consumed;
            rest = &mut rest[consumed..];
        }
    }
}
