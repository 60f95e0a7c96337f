//! Every maximum of this room, and its reason.

use shardwire_shards::bounds::{
    UNSTORED_BYTES_MAX, UNSTORED_DOCUMENT_BYTES_MAX, UNSTORED_INBOX_BYTES_MAX,
};

/// Requests taken into one commit. A sync takes about as long for 4,096 small records as for one; more would only make the first of
/// them wait for the encoding of the last.
pub(super) const COMMIT_OPERATIONS_MAX: usize = 4096;

/// Bytes taken into one commit, unless a single record is larger: what a disk of 100 MB/s writes in 40 ms, so that a commit of large
/// records does not delay the small ones behind it by more.
pub(super) const COMMIT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes of records one shard may have waiting. Beyond it, appends are refused as if the disk were full, until the disk has caught up:
/// what waits is memory. More than what a shard lets wait of all kinds of logs together, by what
/// surrounds the records, so that a flood into one kind is refused there and takes no room here from the others.
pub(super) const QUEUE_BYTES_MAX: usize = 56 * 1024 * 1024;

/// Requests one shard may have waiting before trims are left out (a later trim of the same log covers them). Appends are bounded by the
/// shard (it refuses publishers beyond so many without an answer), what begins and ends logs by the number of logs.
pub(super) const QUEUE_TRIMS_MAX: usize = 65_536;

/// Ends of logs remembered while the disk is full. Beyond it, a log that has ended comes back at the next start, and ends again there.
pub(super) const FORGOTTEN_WHILE_FULL_MAX: usize = 65_536;

/// Removed records per commit: enough to keep up with appends (which are fewer per commit), few enough not to delay them.
pub(super) const REMOVALS_PER_COMMIT: usize = 8192;

/// Milliseconds between two attempts while the disk is full: the service is back within seconds of space being there.
pub(super) const RETRY_FULL_MS: u64 = 500;

/// Bytes of records kept in memory before they are written into a table of their own. Two to four of these exist at a time.
pub(super) const TABLE_BUFFER_BYTES: u64 = 16 * 1024 * 1024;

/// Cache of the tables. They are read at the start, and afterwards by compaction, past the cache, and for documents that somebody wants
/// again: each once, and then held by its shard.
pub(super) const CACHE_BYTES: u64 = 8 * 1024 * 1024;

/// Tables that wait to be written before appends wait for them. The library's own threshold is one above, and it would wait for ever
/// if its background threads had ended.
pub(super) const WAITING_TABLES_MAX: usize = 3;

/// Unmerged tables before appends wait for the merging; the library's own threshold, with the same trouble, is 30.
pub(super) const UNMERGED_TABLES_MAX: usize = 24;

/// Milliseconds that appends wait for the two above before the store is given up: writing 16 MiB takes a fraction of a second, also
/// beside others.
pub(super) const BACKGROUND_WAIT_MS: u64 = 30_000;

const _: () = assert!(COMMIT_BYTES_MAX <= QUEUE_BYTES_MAX);
const _: () = assert!(
    UNSTORED_BYTES_MAX + UNSTORED_INBOX_BYTES_MAX + UNSTORED_DOCUMENT_BYTES_MAX < QUEUE_BYTES_MAX
);
