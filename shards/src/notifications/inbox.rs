//! One user's inbox. Plain data: who is told of what it says is decided elsewhere.

use std::collections::VecDeque;
use std::mem::size_of;

use smallvec::SmallVec;

use shardwire_protocol::envelope::notifications::Marks;

use crate::bounds::INBOX_BYTES_MAX;
use crate::timers::Tick;
use crate::vocabulary::{
    AnswerId, Epoch, Mark, Notice, NotificationId, NotificationQuery, Position,
};

/// Memory of an inbox besides its notifications: itself, its place in the table, the name.
const INBOX_BYTES: usize = size_of::<Inbox>() + 96;

/// Memory of a notification besides what it says.
const ENTRY_BYTES: usize = size_of::<Entry>() + 16;

/// A few numbers of notifications.
pub(super) type Numbers = SmallVec<[u64; 4]>;

/// What became of a notification, in one byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct State(u8);

impl State {
    pub(super) const DELIVERED: Self = Self(1);
    pub(super) const ACKNOWLEDGED: Self = Self(1 << 1);
    pub(super) const READ: Self = Self(1 << 2);
    /// The service was told that it reached nobody.
    pub(super) const TOLD: Self = Self(1 << 3);
    /// The store does not know all of the above.
    pub(super) const UNSAVED: Self = Self(1 << 4);

    /// What is kept on disk.
    pub(super) fn saved(self) -> u8 {
        self.0 & (Self::DELIVERED.0 | Self::ACKNOWLEDGED.0 | Self::READ.0)
    }

    /// What was kept on disk.
    pub(super) fn restored(byte: u8) -> Self {
        Self(Self(byte).saved())
    }

    pub(super) fn has(self, flag: Self) -> bool {
        self.0 & flag.0 == flag.0
    }

    /// Whether this changed anything.
    pub(super) fn add(&mut self, flags: Self) -> bool {
        let before = self.0;
        self.0 |= flags.0;
        self.0 != before
    }

    pub(super) fn remove(&mut self, flag: Self) {
        self.0 &= !flag.0;
    }

    pub(super) fn marks(self) -> Marks {
        Marks {
            delivered: self.has(Self::DELIVERED),
            acknowledged: self.has(Self::ACKNOWLEDGED),
            read: self.has(Self::READ),
        }
    }
}

impl From<Mark> for State {
    fn from(mark: Mark) -> Self {
        match mark {
            Mark::Delivered => Self::DELIVERED,
            Mark::Acknowledged => Self(Self::DELIVERED.0 | Self::ACKNOWLEDGED.0),
            Mark::Read => Self::READ,
        }
    }
}

/// One notification.
#[derive(Debug)]
pub(super) struct Entry {
    /// The first offset it had in the log; part of its id.
    pub(super) number: u64,
    /// Where in the log it is now.
    pub(super) offset: u64,
    pub(super) unix_ms: u64,
    pub(super) expires_unix_ms: u64,
    pub(super) members: Box<[u8]>,
    /// Devices it is on its way to.
    pub(super) in_flight: u16,
    pub(super) state: State,
}

impl Entry {
    /// Neither delivered nor read.
    pub(super) fn is_pending(&self) -> bool {
        !self.state.has(State::DELIVERED) && !self.state.has(State::READ)
    }

    fn bytes(&self) -> usize {
        ENTRY_BYTES + self.members.len()
    }

    pub(super) fn notice(&self, epoch: Epoch) -> Notice {
        Notice {
            id: NotificationId {
                epoch,
                number: self.number,
            },
            members: self.members.clone(),
            unix_ms: self.unix_ms,
            marks: self.state.marks(),
        }
    }
}

/// What the store has not answered yet, in order.
#[derive(Debug)]
pub(super) enum Unstored {
    /// A notification that nobody gets before it is stored.
    Put {
        entry: Entry,
        deliver: bool,
        answer: Option<AnswerId>,
    },
    /// What became of these.
    Marks(Numbers),
    /// This one was written once more, there, so that the front of the log can go.
    Moved { number: u64, offset: u64 },
}

/// A user's notifications, by number.
#[derive(Debug)]
pub(crate) struct Inbox {
    epoch: Epoch,
    /// The last offset given away.
    head: u64,
    entries: VecDeque<Entry>,
    unread: usize,
    bytes: usize,
    pub(super) durable: bool,
    /// What waits for the store.
    pub(super) unstored: VecDeque<Unstored>,
    /// What the store was last asked to let go of.
    pub(super) trimmed: u64,
    /// When it is looked at.
    pub(super) armed: Option<Tick>,
}

impl Inbox {
    pub(super) fn new(position: Position, durable: bool, user: &str) -> Self {
        Self {
            epoch: position.epoch,
            head: position.offset,
            entries: VecDeque::new(),
            unread: 0,
            bytes: INBOX_BYTES + user.len(),
            durable,
            unstored: VecDeque::new(),
            trimmed: 0,
            armed: None,
        }
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The last offset given away.
    pub(super) fn head(&self) -> u64 {
        self.head
    }

    pub(super) fn give_offset(&mut self) -> u64 {
        self.head += 1;
        self.head
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes and notifications.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.bytes, self.entries.len())
    }

    pub(super) fn unread(&self) -> usize {
        self.unread
    }

    /// Nothing is in it, or on its way into it.
    pub(super) fn is_over(&self) -> bool {
        self.entries.is_empty() && self.unstored.is_empty()
    }

    pub(super) fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.iter()
    }

    pub(super) fn entries_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.entries.iter_mut()
    }

    /// The number of the oldest, be it on its way into the store yet.
    pub(super) fn first_to_keep(&self) -> Option<u64> {
        let waiting = || self.first_waiting().map(|entry| entry.number);
        self.first_number().or_else(waiting)
    }

    /// The oldest that is on its way into the store.
    fn first_waiting(&self) -> Option<&Entry> {
        self.unstored.iter().find_map(|unstored| match unstored {
            Unstored::Put { entry, .. } => Some(entry),
            Unstored::Marks(_) | Unstored::Moved { .. } => None,
        })
    }

    /// The number of the oldest that is in it.
    pub(super) fn first_number(&self) -> Option<u64> {
        self.entries.front().map(|entry| entry.number)
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut Entry> {
        let at = self.find(number).ok()?;
        self.entries.get_mut(at)
    }

    fn find(&self, number: u64) -> Result<usize, usize> {
        self.entries
            .binary_search_by_key(&number, |entry| entry.number)
    }

    /// Takes a notification in. How many of the oldest had to go for it.
    pub(super) fn put(&mut self, entry: Entry, max: usize) -> usize {
        self.bytes += entry.bytes();
        self.unread += usize::from(!entry.state.has(State::READ));
        match self.find(entry.number) {
            // Only a log that is read back has one twice: this is what became of it later.
            Ok(at) => {
                let before = std::mem::replace(&mut self.entries[at], entry);
                self.forget(&before);
            }
            Err(at) => self.entries.insert(at, entry),
        }
        let mut dropped = 0;
        while self.entries.len() > max || self.bytes > INBOX_BYTES_MAX && self.entries.len() > 1 {
            self.drop_first();
            dropped += 1;
        }
        dropped
    }

    fn drop_first(&mut self) {
        if let Some(gone) = self.entries.pop_front() {
            self.forget(&gone);
        }
    }

    /// Lets go of what is older than this number.
    pub(super) fn drop_before(&mut self, number: u64) {
        while self.first_number().is_some_and(|first| first < number) {
            self.drop_first();
        }
    }

    fn forget(&mut self, gone: &Entry) {
        self.bytes -= gone.bytes();
        self.unread -= usize::from(!gone.state.has(State::READ));
    }

    /// Notes what became of some; which of them this changed.
    pub(super) fn mark(&mut self, numbers: impl IntoIterator<Item = u64>, flags: State) -> Numbers {
        let mut changed = Numbers::new();
        for number in numbers {
            let Ok(at) = self.find(number) else { continue };
            let state = &mut self.entries[at].state;
            let was_read = state.has(State::READ);
            if state.add(flags) {
                self.unread -= usize::from(!was_read && state.has(State::READ));
                changed.push(number);
            }
        }
        changed
    }

    /// Lets go of those whose time has passed; how many.
    pub(super) fn expire(&mut self, unix_ms: u64) -> usize {
        let before = self.entries.len();
        let (mut bytes, mut unread) = (0, 0);
        self.entries.retain(|entry| {
            let over = entry.expires_unix_ms <= unix_ms;
            if over {
                bytes += entry.bytes();
                unread += usize::from(!entry.state.has(State::READ));
            }
            !over
        });
        self.bytes -= bytes;
        self.unread -= unread;
        before - self.entries.len()
    }

    /// When the next one's time has passed.
    pub(super) fn next_expiry(&self) -> Option<u64> {
        self.entries.iter().map(|entry| entry.expires_unix_ms).min()
    }

    /// A part of it, and the number to go on behind.
    pub(super) fn page(&self, query: NotificationQuery) -> (Vec<&Entry>, Option<u64>) {
        let behind = query.cursor.map(|id| match id.epoch == self.epoch {
            true => Ok(id.number),
            // A cursor of another life of the inbox: all that it knew is gone.
            false => Err(()),
        });
        let is_behind = |entry: &&Entry| match behind {
            None => true,
            Some(Ok(number)) if query.pending => entry.number > number,
            Some(Ok(number)) => entry.number < number,
            Some(Err(())) => query.pending,
        };
        let mut page: Vec<&Entry> = Vec::new();
        let wanted = query.limit.saturating_add(1).min(self.entries.len());
        if query.pending {
            let pending = self.entries.iter().filter(|entry| entry.is_pending());
            page.extend(pending.filter(is_behind).skip(query.offset).take(wanted));
        } else {
            let all = self.entries.iter().rev();
            page.extend(all.filter(is_behind).skip(query.offset).take(wanted));
        }
        let more = page.len() > query.limit;
        page.truncate(query.limit);
        let next = page.last().filter(|_| more).map(|entry| entry.number);
        (page, next)
    }

    /// The first offset of the log that is of any use.
    pub(super) fn first_offset(&self) -> u64 {
        let kept = self.entries.iter().map(|entry| entry.offset).min();
        let waiting = self.first_waiting().map(|entry| entry.offset);
        kept.into_iter()
            .chain(waiting)
            .min()
            .unwrap_or(self.head + 1)
    }
}
