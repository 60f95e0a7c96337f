//! Every range a key allows, each with its reason, in the one place that both the check and the reference page read.
//!
//! The `Display` of a range is the text an operator sees as "what is allowed".

use std::fmt;
use std::ops::RangeInclusive;

use super::text::{ByteSize, TextDuration};

/// A closed range of values; `what` names their kind in messages.
#[derive(Debug)]
pub(super) struct Range<T> {
    what: &'static str,
    pub(super) least: T,
    pub(super) most: T,
}

impl<T: PartialOrd> Range<T> {
    pub(super) fn allows(&self, value: &T) -> bool {
        *value >= self.least && *value <= self.most
    }
}

impl<T: fmt::Display> fmt::Display for Range<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} from {} to {}",
            self.what, self.least, self.most
        )
    }
}

const fn whole(range: RangeInclusive<usize>) -> Range<usize> {
    Range {
        what: "a whole number",
        least: *range.start(),
        most: *range.end(),
    }
}

const fn duration(least: TextDuration, most: TextDuration) -> Range<TextDuration> {
    Range {
        what: "a duration",
        least,
        most,
    }
}

const fn size(least: ByteSize, most: ByteSize) -> Range<ByteSize> {
    Range {
        what: "a size",
        least,
        most,
    }
}

const fn ms(milliseconds: u64) -> TextDuration {
    TextDuration::from_millis(milliseconds)
}

const fn minutes(minutes: u64) -> TextDuration {
    TextDuration::from_secs(60 * minutes)
}

/// `listen(2)` takes more, but the kernel cuts at `net.core.somaxconn`, whose largest useful value is this.
pub(super) const BACKLOG: Range<usize> = whole(1..=65_535);

/// Each shard keeps two mailbox lanes to every other: 256 shards are 130,560 lanes, and more cores than one machine has today.
pub(super) const SHARD_COUNT: Range<usize> = whole(1..=256);

/// 2^24: what the id of a connection can tell apart on one shard, and all connections may meet on one; sixteen times what `fs.nr_open`
/// lets one process open unless an administrator raised it.
pub(super) const CONNECTIONS: Range<usize> = whole(1..=16_777_216);

/// Under 100 ms a handshake over a long line has no chance; over ten minutes a silent peer holds a descriptor for nothing.
pub(super) const CONNECTION_TIMEOUT: Range<TextDuration> = duration(ms(100), minutes(10));

/// Under 100 ms pings are the load; over an hour no middlebox keeps the connection in its table anyway.
pub(super) const HEARTBEAT: Range<TextDuration> = duration(ms(100), minutes(60));

/// The least holds one control frame's payload (RFC 6455 section 5.5); the most bounds what one peer may make a shard hold.
pub(super) const MESSAGE_SIZE: Range<ByteSize> = size(ByteSize::bytes(125), ByteSize::mib(64));

/// Zlib's levels but for 0, which compresses nothing.
pub(super) const COMPRESSION_LEVEL: Range<usize> = whole(1..=9);

/// Zero compresses whatever becomes shorter; the most is the largest message there can be.
pub(super) const COMPRESSION_THRESHOLD: Range<ByteSize> =
    size(ByteSize::bytes(0), ByteSize::mib(64));

/// The least is two connections; the most is memory enough for any shard.
pub(super) const CONTEXT_MEMORY: Range<ByteSize> = size(ByteSize::mib(1), ByteSize::mib(65_536));

/// One connection's share of a shard's channel tables; beyond this a client wants one channel, not many.
pub(super) const CHANNELS: Range<usize> = whole(1..=65_536);

/// The other side needs a round trip to answer a close; nobody needs a minute.
pub(super) const CLOSE_TIMEOUT: Range<TextDuration> = duration(ms(100), minutes(1));

/// The least lets a few small messages wait; the most is what one slow consumer may cost before it is closed.
pub(super) const OUTBOX: Range<ByteSize> = size(ByteSize::kib(1), ByteSize::mib(1_024));

/// Every network is compared at every connect, and at every hop of a header.
pub(super) const TRUSTED_NETWORKS: usize = 256;

/// Looking is two `stat` calls, but a certificate that is half written more often than whole should not be tried all the time; beyond
/// a day nobody remembers why nothing happens.
pub(super) const RELOAD_INTERVAL: Range<TextDuration> = duration(ms(100), minutes(24 * 60));

/// The least lets a verifier ask a database nearby; the most is what a person bears to wait.
pub(super) const AUTHENTICATION_TIMEOUT: Range<TextDuration> = duration(ms(100), minutes(1));

/// Zero: no warning, or no grace. A day is longer than tokens of live connections should hold.
pub(super) const EXPIRY: Range<TextDuration> = duration(ms(0), minutes(24 * 60));

/// Clocks that differ by more than five seconds are broken, and a longer leeway is a longer life for stolen tokens.
pub(super) const LEEWAY: Range<TextDuration> = duration(ms(0), TextDuration::from_secs(5));

/// More threads than cores make nothing faster.
pub(super) const VERIFIER_THREADS: Range<usize> = whole(1..=64);

/// Every key is compared at every connect, so that the time tells nothing.
pub(super) const API_KEYS: usize = 1_024;

/// Rules are asked one after the other at every subscribe and publish.
pub(super) const PERMISSION_RULES: usize = 256;

/// Rules are asked one after the other when a channel gets its first subscriber or publication.
pub(super) const CHANNEL_RULES: usize = 256;

/// The most is what one client could be made to take in after a while away.
pub(super) const HISTORY_MESSAGES: Range<usize> = whole(1..=1_000_000);

/// A message that is kept for less than a second cannot be recovered by anybody; what is to be kept for longer than a month wants a
/// database.
pub(super) const HISTORY_AGE: Range<TextDuration> = duration(ms(1_000), minutes(31 * 24 * 60));

/// Bytes of one channel's history.
pub(super) const HISTORY_BYTES: Range<ByteSize> = size(ByteSize::kib(1), ByteSize::mib(4_096));

/// The least holds a few channels; the most is memory enough for any shard.
pub(super) const HISTORY_MEMORY: Range<ByteSize> = size(ByteSize::mib(1), ByteSize::mib(65_536));

/// One is an inbox that knows the latest; more than a thousand nobody reads, and each is looked at when a device connects.
pub(super) const NOTIFICATIONS_PER_USER: Range<usize> = whole(1..=1_000);

/// A title has some bytes; what is larger than this belongs behind a link.
pub(super) const NOTIFICATION_SIZE: Range<ByteSize> = size(ByteSize::bytes(64), ByteSize::kib(64));

/// The least holds some hundred inboxes; the most is memory enough for any shard.
pub(super) const NOTIFICATION_MEMORY: Range<ByteSize> =
    size(ByteSize::mib(1), ByteSize::mib(65_536));

/// What goes within a second nobody gets; what is to be kept for longer than a quarter wants a database.
pub(super) const NOTIFICATION_AGE: Range<TextDuration> = duration(ms(1_000), minutes(92 * 24 * 60));

/// The least lets a few messages wait; the most is memory enough for any shard.
pub(super) const SLOW_MEMORY: Range<ByteSize> = size(ByteSize::mib(1), ByteSize::mib(65_536));

/// The least is a line; more than the most wants another program than one that sends a document as a whole.
pub(super) const DOCUMENT_BYTES: Range<ByteSize> = size(ByteSize::kib(1), ByteSize::mib(16));

/// Every coming and going is told to all.
pub(super) const DOCUMENT_MEMBERS: Range<usize> = whole(1..=10_000);

/// The least holds a few documents; the most is memory enough for any shard.
pub(super) const DOCUMENT_MEMORY: Range<ByteSize> = size(ByteSize::mib(1), ByteSize::mib(65_536));

/// Long enough for a page to be loaded anew; what is forgotten after a month is not missed.
pub(super) const UNLOAD_AFTER: Range<TextDuration> = duration(ms(1_000), minutes(31 * 24 * 60));
/// Each member's coming and going is told to all others: a room of more is a channel to subscribe to.
pub(super) const ROOM_MEMBERS: Range<usize> = whole(1..=65_536);

/// The least is one character; the most is the largest message there can be.
pub(super) const ROOM_CONTENT: Range<ByteSize> = size(ByteSize::bytes(4), ByteSize::mib(64));

/// What one answer to `history` holds.
pub(super) const ROOM_HISTORY: Range<usize> = whole(0..=100);

/// Under a second it flickers; who has typed nothing for a minute does not type.
pub(super) const TYPING_TIMEOUT: Range<TextDuration> = duration(ms(1_000), minutes(1));

/// Long enough for a client to come back; what is empty costs half a KiB.
pub(super) const FORGET_AFTER: Range<TextDuration> = duration(ms(1_000), minutes(31 * 24 * 60));

/// Patterns are tried one after the other when a channel gets its first subscriber.
pub(super) const PRESENCE_PATTERNS: usize = 256;

/// Zero tells every end at once; what is not back after an hour is gone.
pub(super) const PRESENCE_GRACE: Range<TextDuration> = duration(ms(0), minutes(60));

/// A client that says it is there more often than each second says nothing else; one that is silent for an hour is not there.
pub(super) const PRESENCE_HEARTBEAT: Range<TextDuration> = duration(ms(1_000), minutes(60));

/// Under a second nobody could read it; what is to be known for longer than a month wants a database.
pub(super) const STATUS_EXPIRATION: Range<TextDuration> =
    duration(ms(1_000), minutes(31 * 24 * 60));

/// Shorter gathers nothing; longer than a minute is no presence any more.
pub(super) const BATCH_INTERVAL: Range<TextDuration> = duration(ms(20), minutes(1));

/// The least holds a short list and a number a second; the most is more than a line of one subscriber carries.
pub(super) const PRESENCE_BUDGET: Range<ByteSize> = size(ByteSize::kib(2), ByteSize::mib(64));

/// Room on the disk that is left to others; none means until the last byte.
pub(super) const KEEP_FREE: Range<ByteSize> = size(ByteSize::bytes(0), ByteSize::mib(1_048_576));

/// Publishers repeat themselves within seconds or minutes.
pub(super) const IDEMPOTENCY_WINDOW: Range<TextDuration> = duration(ms(1_000), minutes(24 * 60));

/// Zero cuts the connections at once, for tests and for the impatient; an hour is a long goodbye.
pub(super) const DRAIN_TIMEOUT: Range<TextDuration> = duration(ms(0), minutes(60));

/// A handler that waits for another service needs seconds; one that needs an hour is a job and belongs elsewhere.
pub(super) const HANDLER_TIMEOUT: Range<TextDuration> = duration(ms(10), minutes(60));

/// A shard that is still alive ends a turn within milliseconds; one that needs ten minutes is stuck.
pub(super) const JOIN_TIMEOUT: Range<TextDuration> = duration(ms(100), minutes(10));

/// Bytes of the key to the admin port: the least is what nobody guesses if it is random, the most what fits in a line of a request.
pub(super) const ADMIN_KEY_BYTES: Range<usize> = Range {
    what: "a text of visible ASCII characters, of a length",
    least: 16,
    most: 256,
};

/// Longest name of a subprotocol, in bytes: every one is compared at every handshake.
pub(super) const PROTOCOL_NAME_BYTES: usize = 64;

/// Most subprotocols an allow-list may hold.
pub(super) const PROTOCOLS: usize = 64;

/// Files the engine itself holds open, which connections therefore cannot have: per shard a listener, a bell, the rings of its driver and
/// of its executor with their event descriptors (about ten, rounded up); and standard streams, pipes, signal sockets and what an
/// embedding program opens.
pub(super) const fn open_files_kept_back(shards: usize) -> usize {
    64 + 16 * shards
}
