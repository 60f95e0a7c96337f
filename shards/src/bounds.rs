//! Every maximum that is not the operator's to choose, each with its reason, and what must hold between them.
//! (What the operator may choose is in [`ShardSettings`](crate::ShardSettings).)

/// Longest channel name in bytes. Names are keys in every shard's maps; 255 is room for any scheme with ids in it.
pub const CHANNEL_NAME_BYTES_MAX: usize = 255;

/// Longest name of a user in bytes: it is a key in the user directory.
pub const USER_BYTES_MAX: usize = 128;

/// Longest tag in bytes: room for a word and an id.
pub const TAG_BYTES_MAX: usize = 128;

/// Tags of one connection. A broadcast by tag compares with each of them.
pub const TAGS_MAX: usize = 32;

/// Longest token in bytes. Tokens with a few dozen claims stay below; a server that took any would read and hash for strangers.
pub const TOKEN_BYTES_MAX: usize = 8 << 10;

/// Messages one lane holds before its sender keeps the rest itself. A lane is drained every turn; 1,024 is many turns' worth.
pub const LANE_MESSAGES_MAX: usize = 1024;

/// Messages a sender keeps for one full lane before it refuses the source.
pub const OVERFLOW_MESSAGES_MAX: usize = 8192;

/// Payload bytes a sender keeps for one full lane before it refuses the source, so that large messages to a stalled shard
/// cannot take the machine's memory.
pub const OVERFLOW_BYTES_MAX: usize = 32 << 20;

/// Milliseconds after which a sender tries a full lane again when nothing else wakes it.
pub const OVERFLOW_RETRY_MS: u64 = 1;

/// Messages taken from one lane of one sender per round: neither lane, and no sender, starves the others.
pub const MAIL_BATCH: usize = 64;

/// Slices of gathered output per write: enough to merge a burst of small frames, far below the kernel's 1,024.
pub const WRITE_SLICES_MAX: usize = 64;

/// Frames and answers up to this many bytes are copied behind each other instead of being referred to one by one.
pub const COPIED_FRAME_MAX: usize = 256;

/// Publications of one turn that are given to an audience as one frame hold at most so many bytes: what waits for slow readers is judged
/// no later than after so much, and a frame is copied into the kernel while it is in the cache.
pub const GATHERED_BYTES_MAX: usize = 16 << 10;

/// Members from which on an audience is given what is published in one turn as one frame.
pub const GATHERED_MEMBERS_MIN: usize = 8;

/// Unanswered `subscribe` requests per member of an audience whose home has not answered yet: a client that repeats itself
/// meanwhile cannot make the list of the waiting grow for ever.
pub const WAITING_PER_MEMBER_MAX: usize = 4;

/// Work one connection may cause in a turn, in estimated nanoseconds, before the rest of its bytes wait for the next turn. A
/// millisecond is what others may have to wait for it; a peer that sends ordinary messages as fast as it can has 128 buffers
/// of them handled in less.
pub const TURN_WORK_MAX: u64 = 1_000_000;

/// Work done in a turn for all of those whose bytes had to wait.
pub const POSTPONED_WORK_MAX: u64 = 4 * TURN_WORK_MAX;

/// Milliseconds from the end of a connection's socket until what it said before that must be handled: as long as one handler may take
/// unless the operator says otherwise. Nobody waits for it any more, and it counts for no limit but the number of connections in all.
pub const LAST_WORDS_MS: u64 = 30_000;

/// Connections whose timer fired that are looked after per turn, and perhaps pinged: of a million, hundreds are due in one tick, and
/// there a ping costs up to 40 microseconds, most of them in the kernel. Messages go between.
pub const LOOKED_AFTER_PER_TURN: usize = 8;

/// Emptied outbox storage kept for reuse, so that a burst's buffers do not stay for ever.
pub const OUTBOX_POOL_MAX: usize = 1024;

/// Largest capacity of an outbox buffer that goes back to the pool; larger ones are freed. A message of 16 KiB fits with its header.
pub const OUTBOX_POOLED_BYTES_MAX: usize = 20 << 10;

/// Milliseconds by which a timer may be late before the shard counts as having stood still. Turns take a few; a scheduler that
/// withholds the core, or a suspended machine, takes this and more.
pub const STALL_MS: u64 = 200;

/// Milliseconds between two counts of `$shards` while somebody listens.
pub const SHARD_COUNT_INTERVAL_MS: u64 = 1000;

/// Connections told, and connections closed, per turn while a shard is emptied: the others' messages go between.
pub const DRAIN_BATCH: usize = 256;

/// Flushes of a huge audience per turn: writing to so many sockets takes one to two milliseconds, and the others' messages go between. An
/// audience of more than twice as many is a huge one.
pub const FLUSH_SLICE: usize = 512;
/// Broadcasts to huge audiences that may find earlier ones not written yet, before all is written in one turn: what waits in outboxes
/// stays a few messages more than without slices.
pub const ROW_WAVES_MAX: usize = 4;

/// Slots a search looks at per turn: a few hundred microseconds.
pub const SEARCH_SLICE: usize = 4096;
/// Channels in which a connection is behind that an operator is told of, the worst first: the answer of a search is bounded by its limit
/// times this.
pub const LAGS_TOLD_MAX: usize = 8;
/// Idempotency keys a log remembers: a publisher that repeats itself does so within seconds, and a key takes as much as a
/// small message.
pub const IDEMPOTENCY_KEYS_MAX: usize = 1000;

/// Logs on one shard. Each takes half a KiB even when it is empty, and whoever may publish to any name may make one.
pub const LOGS_MAX: usize = 65_536;

/// Records of one kind of log (channels, inboxes, documents) that wait to be stored on one shard before more are refused: many
/// group commits' worth. Each kind has its own, so that a flood into one refuses nobody else.
pub const UNSTORED_RECORDS_MAX: usize = 4096;

/// Bytes of those, of channels.
pub const UNSTORED_BYTES_MAX: usize = 32 << 20;

/// Bytes of those, of inboxes: what one sync of a slow disk leaves behind, and not more memory for what is written by few.
pub const UNSTORED_INBOX_BYTES_MAX: usize = 8 << 20;

/// Bytes of those, of documents: edits are typed by hand.
pub const UNSTORED_DOCUMENT_BYTES_MAX: usize = 8 << 20;

/// Publishers of one record that wait until it is stored: the first, and those that have sent it again.
pub const UNSTORED_ASKERS_MAX: usize = 4;

/// Records evicted before a store is told that it may let go of them, so that it is not told of each.
pub const STORE_TRIM_RECORDS: u64 = 64;

/// Records given to one subscriber that catches up before it is the turn of the next, and to one shard whose lane was full.
pub const CATCH_UP_RECORDS: usize = 64;

/// Bytes of those, one record apart.
pub const CATCH_UP_BYTES: usize = 64 << 10;

/// Questions about logs under way from one shard to one home: what they are answered with waits in lanes that live
/// publications need, too. 16 answers are at most a MiB and a message.
pub const FETCHES_MAX: u32 = 16;

/// Messages in one answer to `history`.
pub const HISTORY_MESSAGES_MAX: usize = 100;

/// Messages in one answer to a `history` that asks for no number.
pub const HISTORY_MESSAGES: usize = 50;

/// Bytes of the messages in one answer to `history`, one message apart.
pub const HISTORY_BYTES_MAX: usize = 256 << 10;

/// Bytes of one user's inbox, oldest first out: half of what waits for a device before it is closed, so that one can be welcomed with all of it.
pub const INBOX_BYTES_MAX: usize = 512 << 10;

/// Notifications in one answer to `get-notifications`.
pub const NOTIFICATIONS_LISTED_MAX: usize = 100;

/// Notifications in one answer that asks for no number (contract N7).
pub const NOTIFICATIONS_LISTED: usize = 50;

/// Bytes of what the notifications in one answer say, one of them apart.
pub const NOTIFICATIONS_LISTED_BYTES_MAX: usize = 256 << 10;

/// Records an inbox's log may have besides four for each notification in it (put, delivered, acknowledged, read), before those at its front
/// are written anew behind the others.
pub const INBOX_LOG_RECORDS: u64 = 256;

/// Notifications written anew at once: each lets go of at least as many records.
pub const INBOX_MOVED_AT_ONCE: usize = 16;

/// Milliseconds until an inbox asks its store again to keep what it would not.
pub const INBOX_RETRY_MS: u64 = 1000;

/// Users of a chat room that somebody who joins is told one by one; of a fuller room only their number.
pub const ROOM_LISTED_MAX: usize = 250;

/// Users one shard keeps a presence of. Each takes a few hundred bytes, and stays for a while after its user has gone.
pub const PRESENCE_RECORDS_MAX: usize = 65_536;

/// Longest status and name of a presence in bytes: a few words.
pub const PRESENCE_TEXT_BYTES_MAX: usize = 64;

/// Bytes of all keys and values of a presence's metadata: room for what a device and a place are called, not for documents.
/// Whoever asks for the presence of [`PRESENCE_IDS_MAX`] users gets as much for each.
pub const PRESENCE_METADATA_BYTES_MAX: usize = 2 << 10;

/// Keys of a presence's metadata: each is compared with all when one is set.
pub const PRESENCE_METADATA_KEYS_MAX: usize = 32;

/// Rooms of one user that its presence remembers, for when it leaves the one it came into last: one for each of its devices. The oldest
/// goes when there are more.
pub const PRESENCE_ROOMS_MAX: usize = 8;

/// Users in one question for presence: a page of a list of friends.
pub const PRESENCE_IDS_MAX: usize = 100;

/// Names in one answer to whoever asks from outside who is in a channel.
pub const PRESENCE_MEMBERS_MAX: usize = 10_000;

/// Edits a document keeps to bring others behind them. Who was away for more gets the whole document.
pub const DOCUMENT_LOG_EDITS_MAX: usize = 1000;

/// Memory of the edits a document keeps, so that large ones cannot fill it a thousand times.
pub const DOCUMENT_LOG_BYTES_MAX: usize = 1 << 20;

/// Memory of the edits that somebody is told one by one who missed them; as JSON at most about twice as much. Who missed more gets
/// the whole document, which is no larger.
pub const DOCUMENT_MISSED_BYTES_MAX: usize = 256 << 10;

/// Longest name of a document in bytes: with what stands before it, it is a channel's.
pub const DOCUMENT_ID_BYTES_MAX: usize = 200;

/// Documents one shard holds in memory. Each takes a few hundred bytes even if nobody has written into it, and whoever may join any may
/// make one.
pub const DOCUMENTS_MAX: usize = 16_384;

/// Documents of one shard that are in memory or in the store: of the latter it knows the names, which take some 100 to 300 bytes each.
/// Beyond it no new ones begin.
pub const DOCUMENTS_STORED_MAX: usize = 262_144;

/// Documents one shard has its store read at a time; further ones stand in line. What they take is in memory before it is counted.
pub const DOCUMENT_LOADS_MAX: usize = 8;

/// Memory of what waits on one shard until documents are read: some 16,000 comings, as when all come back at once after a restart.
pub const DOCUMENT_WAITING_BYTES_MAX: usize = 8 << 20;

/// Milliseconds between two tellings of where a document's cursors are: what moves meanwhile is told once.
pub const CURSOR_INTERVAL_MS: u64 = 50;

/// Work of bringing one edit behind others, in components gone over and 64 bytes of text copied: some 10 ns each, so a
/// millisecond. Who would cost more gets the whole document, and sends its edit anew.
pub const TRANSFORM_WORK_MAX: usize = 100_000;

/// Edits of a document that its store has not confirmed, before further ones are refused.
pub const UNSTORED_EDITS_MAX: u64 = 256;

/// What a document has to say once its store has confirmed an edit, before newcomers are refused.
pub const DOCUMENT_HELD_MAX: usize = 4096;

/// Edits after which a document is stored as a whole, so that loading it need not repeat more.
pub const SNAPSHOT_EDITS: usize = 500;

/// Bytes of inserted text after which a document is stored as a whole.
pub const SNAPSHOT_BYTES: usize = 256 << 10;

/// Whole documents kept in the store of one, with the edits between them: enough that after a restart those can be brought up who have
/// been away for as many edits as the log holds.
pub const DOCUMENT_WHOLES_KEPT: usize = 2;

/// Milliseconds after which a store that has refused a document is asked again.
pub const DOCUMENT_STORE_RETRY_MS: u64 = 1_000;

/// Longest name of a replica in bytes; a UUID has 36.
pub const REPLICA_NAME_BYTES_MAX: usize = 64;

const _: () = assert!(SNAPSHOT_EDITS * DOCUMENT_WHOLES_KEPT >= DOCUMENT_LOG_EDITS_MAX);
const _: () = assert!(UNSTORED_EDITS_MAX < DOCUMENT_LOG_EDITS_MAX as u64);
const _: () = assert!(MAIL_BATCH <= LANE_MESSAGES_MAX);
const _: () = assert!(LANE_MESSAGES_MAX <= OVERFLOW_MESSAGES_MAX);
const _: () = assert!(COPIED_FRAME_MAX <= OUTBOX_POOLED_BYTES_MAX);
