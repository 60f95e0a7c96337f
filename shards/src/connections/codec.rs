//! permessage-deflate on one shard: who compresses what, and whose context is kept where.

use ahash::AHashMap;
use bytes::Bytes;
use shardwire_protocol::websocket::deflate::{
    Agreement, DeflateContext, Deflater, Direction, InflateContext, Inflater, Negotiated,
    WINDOW_BITS_MAX, negotiate,
};
use shardwire_protocol::websocket::{Lent, frame};

use crate::mesh::Lane;
use crate::placement::Rule;
use crate::settings::CompressionSettings;
use crate::shard::Shard;
use crate::vocabulary::{Compression, ConnectionId, ShardMessage};

/// What a connection has negotiated, in one byte of its slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Extension(u8);

impl Extension {
    /// Largest window it may be sent, as a power of two: 8 to 15; 0: nothing was negotiated.
    const WINDOW_BITS: u8 = 0x0f;
    /// What it is sent may refer back to what it was sent before.
    const KEEPS_SENT: u8 = 1 << 4;
    /// What comes from it may refer back.
    const KEEPS_RECEIVED: u8 = 1 << 5;

    fn new(negotiated: Negotiated) -> Self {
        let mut bits = negotiated.send.window_bits & Self::WINDOW_BITS;
        if sent_context_bytes(negotiated.send) > 0 {
            bits |= Self::KEEPS_SENT;
        }
        if negotiated.receive.takeover {
            bits |= Self::KEEPS_RECEIVED;
        }
        Self(bits)
    }

    /// Whether messages may be compressed at all.
    pub(crate) fn is_on(self) -> bool {
        self.0 != 0
    }

    fn window_bits(self) -> u8 {
        self.0 & Self::WINDOW_BITS
    }

    fn keeps_any(self) -> bool {
        self.has(Self::KEEPS_SENT | Self::KEEPS_RECEIVED)
    }

    fn has(self, bit: u8) -> bool {
        self.0 & bit != 0
    }

    /// Whether it takes frames compressed for everybody. One with a context of its own does not: what it is sent past that
    /// context would be missing from it.
    pub(crate) fn takes_shared(self) -> bool {
        self.is_on() && !self.has(Self::KEEPS_SENT)
    }

    /// Whether it takes the one that stands for this plain frame, which is compressed with the largest window: in a short one
    /// nothing is further back than its beginning.
    pub(crate) fn takes_shared_of(self, plain_len: usize) -> bool {
        self.takes_shared()
            && (self.window_bits() == WINDOW_BITS_MAX || plain_len <= 1 << self.window_bits())
    }

    /// Whether it has a context of its own for what it is sent.
    pub(crate) fn keeps_sent(self) -> bool {
        self.has(Self::KEEPS_SENT)
    }
}

/// Contexts of one connection, made when they are first needed.
#[derive(Debug)]
struct Contexts {
    compression: Compression,
    sent: Option<DeflateContext>,
    received: Option<InflateContext>,
}

/// The codecs of one shard. Holds nothing while nothing is compressed.
#[derive(Debug)]
pub(crate) struct Codec {
    settings: CompressionSettings,
    deflater: Deflater,
    inflater: Option<Box<Inflater>>,
    contexts: AHashMap<ConnectionId, Contexts>,
    /// Bytes that were compressed, or tried to be.
    deflated_bytes: u64,
    /// Bytes promised to contexts of connections that came in through this shard's door.
    promised: usize,
}

/// What one connection is decoded with; see [`Codec::lend`].
#[derive(Debug)]
pub(crate) struct Lending {
    inflater: Box<Inflater>,
    context: Option<InflateContext>,
}

impl Lending {
    pub(crate) fn lent(&mut self) -> Lent<'_> {
        Lent {
            inflater: &mut self.inflater,
            context: self.context.as_mut(),
        }
    }

    /// Bytes its inflater has handled so far, for anybody.
    pub(crate) fn handled_bytes(&self) -> u64 {
        self.inflater.handled_bytes()
    }
}

impl Codec {
    pub(crate) fn new(settings: CompressionSettings) -> Self {
        Self {
            settings,
            deflater: Deflater::new(settings.level),
            inflater: None,
            contexts: AHashMap::default(),
            deflated_bytes: 0,
            promised: 0,
        }
    }

    pub(crate) fn deflated_bytes(&self) -> u64 {
        self.deflated_bytes
    }

    pub(crate) fn promised(&self) -> usize {
        self.promised
    }

    /// Takes out what a connection is decoded with; to be given back. None for one that negotiated nothing.
    pub(crate) fn lend(&mut self, id: ConnectionId, extension: Extension) -> Option<Lending> {
        if !extension.is_on() {
            return None;
        }
        let context = if extension.has(Extension::KEEPS_RECEIVED) {
            let contexts = self.contexts.get_mut(&id);
            contexts.and_then(|contexts| contexts.received.take())
        } else {
            None
        };
        Some(Lending {
            inflater: self.inflater.take().unwrap_or_default(),
            context,
        })
    }

    pub(crate) fn give_back(&mut self, id: ConnectionId, lending: Lending) {
        let Lending {
            mut inflater,
            context,
        } = lending;
        inflater.release();
        self.inflater = Some(inflater);
        if context.is_some()
            && let Some(contexts) = self.contexts.get_mut(&id)
        {
            contexts.received = context;
        }
    }

    /// Whether a plain frame of this length may be long enough to be compressed.
    pub(crate) fn is_worth(&self, plain_len: usize) -> bool {
        plain_len > self.settings.threshold
    }

    /// Compresses the plain data frame that `out` ends with from `start` on, for one connection, if that is worth it.
    pub(crate) fn compress_last(
        &mut self,
        id: ConnectionId,
        extension: Extension,
        out: &mut Vec<u8>,
        start: usize,
    ) {
        if !extension.is_on() || !self.is_worth(out.len() - start) {
            return;
        }
        let Some((kind, payload)) = frame::read_server(&out[start..]) else {
            return;
        };
        if let Some(deflated) = self.deflate(id, extension, payload) {
            out.truncate(start);
            frame::write_server_deflated(out, kind, deflated);
        }
        self.deflater.release();
    }

    /// A compressed payload, unless it is too short to be worth it or gets no shorter.
    fn deflate(&mut self, id: ConnectionId, extension: Extension, payload: &[u8]) -> Option<&[u8]> {
        if payload.len() <= self.settings.threshold {
            return None;
        }
        self.deflated_bytes += payload.len() as u64;
        if !extension.keeps_sent() {
            return self.deflater.deflate(payload, extension.window_bits());
        }
        let contexts = self.contexts.get_mut(&id)?;
        if contexts.sent.is_none() {
            contexts.sent = self.deflater.new_context(extension.window_bits());
        }
        self.deflater.deflate_with(contexts.sent.as_mut()?, payload)
    }

    /// The compressed form of a plain frame for many, if that is worth it.
    pub(crate) fn compress_shared(&mut self, plain: &[u8]) -> Option<Bytes> {
        let (kind, payload) = frame::read_server(plain)?;
        if payload.len() <= self.settings.threshold {
            return None;
        }
        self.deflated_bytes += payload.len() as u64;
        let deflated = self.deflater.deflate(payload, WINDOW_BITS_MAX)?;
        let mut out = Vec::with_capacity(frame::header_len(deflated.len()) + deflated.len());
        frame::write_server_deflated(&mut out, kind, deflated);
        self.deflater.release();
        Some(out.into())
    }
}

/// Bytes of heap that what we send may take to refer back to; 0 if it may not.
fn sent_context_bytes(send: Direction) -> usize {
    // zlib-rs has no window of 256 bytes: see `Deflater`.
    if send.takeover && send.window_bits > 8 {
        DeflateContext::heap_bytes(send.window_bits)
    } else {
        0
    }
}

/// Bytes of heap the contexts of such a connection may come to.
fn context_bytes(negotiated: Negotiated) -> usize {
    let received = if negotiated.receive.takeover {
        InflateContext::HEAP_BYTES
    } else {
        0
    };
    sent_context_bytes(negotiated.send) + received
}

impl Codec {
    /// Whether some connection keeps a context, so that each of its messages has to be compressed for itself.
    pub(crate) fn keeps_contexts(&self) -> bool {
        !self.contexts.is_empty()
    }
}

impl Shard {
    /// Asked before an upgrade is answered: which of the client's offers is taken? `None`: no extension.
    ///
    /// Memory for contexts, where they are allowed, is promised at this door: it passes on with `Opened`, on whichever shard,
    /// or comes back by [`revoke_compression`](Self::revoke_compression). When this door has promised all it may, connections
    /// are agreed with that keep none. `awaited`: the client has still to say who it is, and may then move to its user's
    /// shard, where a context cannot follow.
    pub fn negotiate<'o>(
        &mut self,
        offers: impl IntoIterator<Item = &'o str> + Clone,
        awaited: bool,
    ) -> Option<(Agreement, Compression)> {
        let settings = self.codec.settings;
        if !settings.enabled {
            return None;
        }
        let moves = awaited && self.placement.rule() == Rule::UserHash;
        let keep = settings.context_takeover && !moves;
        let mut agreement = negotiate(offers.clone(), keep)?;
        let bytes = context_bytes(agreement.negotiated);
        if bytes > settings.context_memory.saturating_sub(self.codec.promised) {
            agreement = negotiate(offers, false)?;
        } else {
            self.codec.promised += bytes;
        }
        let compression = Compression {
            negotiated: agreement.negotiated,
            door: self.id,
        };
        Some((agreement, compression))
    }

    /// The socket ended between [`negotiate`](Self::negotiate) and `Opened`.
    pub fn revoke_compression(&mut self, compression: Compression) {
        let bytes = context_bytes(compression.negotiated);
        if bytes == 0 {
            return;
        }
        if compression.door == self.id {
            self.contexts_ended(bytes);
        } else {
            let message = ShardMessage::ContextsEnded { bytes };
            self.ends.post(compression.door, Lane::Control, message);
        }
    }

    /// As a door: memory that was promised is free again.
    pub(crate) fn contexts_ended(&mut self, bytes: usize) {
        debug_assert!(
            bytes <= self.codec.promised,
            "given back more than was promised"
        );
        self.codec.promised = self.codec.promised.saturating_sub(bytes);
    }

    /// A connection begins: notes what it may keep.
    pub(crate) fn begin_compression(&mut self, id: ConnectionId, compression: Option<Compression>) {
        let Some(compression) = compression else {
            return;
        };
        if context_bytes(compression.negotiated) > 0 {
            let received = compression
                .negotiated
                .receive
                .takeover
                .then(InflateContext::default);
            let contexts = Contexts {
                compression,
                sent: None,
                received,
            };
            self.codec.contexts.insert(id, contexts);
        }
    }

    /// A connection moves to another shard: what it has negotiated goes along.
    pub(crate) fn move_compression(
        &mut self,
        id: ConnectionId,
        extension: Extension,
    ) -> Option<Compression> {
        if let Some(contexts) = self.codec.contexts.remove(&id) {
            debug_assert!(false, "a context cannot follow; none was to be agreed on");
            return Some(contexts.compression);
        }
        extension.is_on().then(|| {
            let alone = |window_bits| Direction {
                window_bits,
                takeover: false,
            };
            Compression {
                negotiated: Negotiated {
                    send: alone(extension.window_bits()),
                    receive: alone(WINDOW_BITS_MAX),
                },
                door: self.id,
            }
        })
    }

    /// A connection is gone.
    pub(crate) fn end_compression(&mut self, id: ConnectionId, extension: Extension) {
        if extension.keeps_any()
            && let Some(contexts) = self.codec.contexts.remove(&id)
        {
            self.revoke_compression(contexts.compression);
        }
    }
}

impl From<Option<Compression>> for Extension {
    fn from(compression: Option<Compression>) -> Self {
        compression.map_or(Self(0), |compression| Self::new(compression.negotiated))
    }
}
