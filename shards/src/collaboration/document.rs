//! One document: its text, and what an edit and a cursor do.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::hash::Hash;
use std::sync::Arc;

use ahash::AHashMap;
use shardwire_protocol::text::{Content, Operation, transform_position};

use super::authors::{Author, Authors, Progress};
use super::log::{Behind, Log};
use super::outputs::{Ask, Entry, News, Output, Record, Reply, Snapshot};
use super::{Joining, Refused};
use crate::bounds::{
    DOCUMENT_HELD_MAX, DOCUMENT_LOG_EDITS_MAX, SNAPSHOT_BYTES, SNAPSHOT_EDITS, UNSTORED_EDITS_MAX,
};
use crate::vocabulary::UserId;

/// What the operator chooses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DocumentSettings {
    /// Bytes of text a document may have.
    pub max_bytes: usize,
    /// Members it may have.
    pub max_members: usize,
    /// Whether it is stored: then nothing is told before [`Document::stored`] says so.
    pub stored: bool,
}

impl Default for DocumentSettings {
    /// 1 MiB, 1,000 members, in memory only.
    fn default() -> Self {
        Self {
            max_bytes: 1 << 20,
            max_members: 1000,
            stored: false,
        }
    }
}

/// What a member may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// See everything and show its cursor.
    Read,
    /// Edit, too.
    Write,
}

/// An edit, as a member sends it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Edit {
    /// The version it was made on.
    pub version: u64,
    /// Its number among its author's edits, from 1. None: the author does not number them; it is the next, and sent once.
    pub number: Option<u64>,
    /// What it does.
    pub operation: Operation,
    /// Comes back with the answer.
    pub ask: Ask,
}

impl Edit {
    /// The edit of this number, made on `version`.
    #[must_use]
    pub fn numbered(version: u64, number: u64, operation: Operation) -> Self {
        Self {
            version,
            number: Some(number),
            operation,
            ask: Ask::default(),
        }
    }
}

/// What became of an edit that was not refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Edited {
    /// It has its place; the acknowledgement follows when it is stored.
    Accepted,
    /// It was there already; the acknowledgement is repeated.
    Repeated,
    /// It was made on a version too far back to bring it behind all that came since. It is not carried out; the whole document
    /// is on its way, behind which the replica brings it itself, to send it as a new edit of the same number.
    Resent,
}

pub(super) struct Member {
    pub(super) author: Author,
    pub(super) access: Access,
}

/// Where a user's cursor is.
pub(super) struct Cursor<M> {
    /// In the present version.
    pub(super) position: u32,
    /// The connection that put it there: with it, it goes.
    member: M,
    /// Whether the others have yet to be told.
    moved: bool,
}

/// One document, as a machine without time and wires: calls go in, [`Document::poll_output`] says what to do about it.
///
/// `M` names a member's connection, as the caller does.
pub struct Document<M> {
    pub(super) settings: DocumentSettings,
    pub(super) epoch: u64,
    pub(super) content: Content,
    pub(super) version: u64,
    /// Everything up to this version is stored, and may be told.
    pub(super) stored: u64,
    /// The edits beyond that, where there is a store, and the text without them.
    pub(super) unstored: VecDeque<Arc<Entry>>,
    pub(super) stored_content: Content,
    /// The store has refused an edit, and not yet taken what stands since.
    pub(super) refused: bool,
    pub(super) log: Log,
    pub(super) authors: Authors<M>,
    pub(super) members: AHashMap<M, Member>,
    /// In the order of names, in which the others are told of them: the same in every run.
    pub(super) cursors: BTreeMap<UserId, Cursor<M>>,
    edits_since_snapshot: usize,
    bytes_since_snapshot: usize,
    pub(super) records: VecDeque<Record>,
    /// What is to be told, each with the version that must be stored before.
    pub(super) held: VecDeque<(u64, Output<M>)>,
}

impl<M: Copy + Eq + Hash> Document<M> {
    /// An empty document. `epoch` names this life of it: a replica of another one starts anew. The caller draws it at random.
    #[must_use]
    pub fn new(settings: DocumentSettings, epoch: u64) -> Self {
        Self::load(
            settings,
            Snapshot {
                epoch,
                version: 0,
                content: Content::default(),
                authors: Vec::new(),
                authors_complete_from: 0,
            },
        )
    }

    fn load(settings: DocumentSettings, snapshot: Snapshot) -> Self {
        let mut authors = Authors::new(snapshot.authors_complete_from);
        for (author, number, version) in snapshot.authors {
            let member = None;
            authors.insert(
                author,
                Progress {
                    number,
                    version,
                    member,
                },
            );
        }
        Self {
            settings,
            epoch: snapshot.epoch,
            content: snapshot.content,
            version: snapshot.version,
            stored: snapshot.version,
            unstored: VecDeque::new(),
            stored_content: Content::default(),
            refused: false,
            log: Log::new(snapshot.version),
            authors,
            members: AHashMap::new(),
            cursors: BTreeMap::new(),
            edits_since_snapshot: 0,
            bytes_since_snapshot: 0,
            records: VecDeque::new(),
            held: VecDeque::new(),
        }
    }

    /// A stored document: its last snapshot, and the edits stored behind it.
    ///
    /// # Errors
    ///
    /// [`Refused::Misplaced`] if an edit does not follow the one before: what was stored is not one document.
    pub fn restore(
        settings: DocumentSettings,
        snapshot: Snapshot,
        edits: impl IntoIterator<Item = Entry>,
    ) -> Result<Self, Refused> {
        let mut document = Self::load(settings, snapshot);
        for entry in edits {
            let length = document.content.length();
            if entry.version != document.version + 1
                || document.content.apply(&entry.operation).is_err()
            {
                return Err(Refused::Misplaced);
            }
            document.append(Arc::new(entry), length);
        }
        document.stored = document.version;
        if settings.stored {
            document.stored_content = document.content.clone();
        }
        Ok(document)
    }

    /// An edit before those it remembers, made on a text of `length` characters: who comes back can be told of it. False: it is not the
    /// one before them, or enough are remembered.
    pub fn remember(&mut self, entry: Arc<Entry>, length: u32) -> bool {
        self.log.push_front(entry, length)
    }

    /// The text, edits included that are not stored yet.
    #[must_use]
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// How many edits made it.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Which life of the document this is.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Memory it takes, about.
    #[must_use]
    pub fn memory(&self) -> usize {
        size_of::<Self>() + self.content.bytes() + self.log.bytes()
    }

    /// The work of bringing edits behind others since this was last asked, in components gone over, some 10 ns each.
    pub fn take_work(&mut self) -> usize {
        self.log.take_work()
    }

    /// Its members.
    pub fn members(&self) -> impl Iterator<Item = M> {
        self.members.keys().copied()
    }

    /// How many members there are. With none, and nothing to be stored any more, the document may be forgotten.
    #[must_use]
    pub fn member_count(&self) -> usize {
        self.members.len()
    }

    /// A member's edit.
    ///
    /// # Errors
    ///
    /// Any [`Refused`] but `Full`; the document is as before.
    pub fn edit(&mut self, member: M, edit: Edit) -> Result<Edited, Refused> {
        let Edit {
            version,
            number,
            operation,
            ask,
        } = edit;
        let Member { author, access } = self.members.get(&member).ok_or(Refused::NotJoined)?;
        let access = *access;
        if access == Access::Read {
            return Err(Refused::ReadOnly);
        }
        let author = author.clone();
        let done = self.authors.get(&author).expect("members are remembered");
        let last = Some(done.number);
        // A number says that the edit before it was acknowledged. Who does not number says so by the version: one that has not heard
        // of its own last edit did not build on it as the others do, and its text would not be ours any more.
        if number.is_none() && version < done.version {
            return Err(Refused::Misplaced);
        }
        let number = number.unwrap_or(done.number + 1);
        if number <= done.number {
            let repeated = Reply::Acknowledged {
                number: done.number,
                version: done.version,
            };
            self.reply(member, repeated, ask);
            return Ok(Edited::Repeated);
        }
        // Nobody has been told of a version that is not stored.
        if number != done.number + 1 || version > self.stored {
            return Err(Refused::Misplaced);
        }
        let Some(entry) = self.commit(author.clone(), number, version, operation)? else {
            self.tell_state(member, &author, access, last, ask);
            return Ok(Edited::Resent);
        };
        let version = entry.version;
        self.reply(member, Reply::Acknowledged { number, version }, ask);
        self.publish(Some(member), News::Edit(entry));
        Ok(Edited::Accepted)
    }

    /// An edit of the server's own, of nobody who has joined; `token` comes back with [`Output::Settled`]. None as `version`: it was made on
    /// the text as it is.
    ///
    /// # Errors
    ///
    /// Any [`Refused`] but `NotJoined`, `ReadOnly` and `Full`; the document is as before.
    pub fn edit_from_outside(
        &mut self,
        user: &UserId,
        version: Option<u64>,
        operation: Operation,
        token: u64,
    ) -> Result<(), Refused> {
        let author = Author {
            user: user.clone(),
            replica: user.clone(),
        };
        let number = self.authors.get(&author).map_or(0, |done| done.number) + 1;
        let version = version.unwrap_or(self.version);
        let entry = self.commit(author, number, version, operation)?;
        let entry = entry.ok_or(Refused::Misplaced)?;
        let outcome = Ok(entry.version);
        self.held
            .push_back((self.version, Output::Settled { token, outcome }));
        self.publish(None, News::Edit(entry));
        Ok(())
    }

    /// Brings an edit behind everything since its version, and gives it the next one. None: that would cost too much.
    fn commit(
        &mut self,
        author: Author,
        number: u64,
        version: u64,
        operation: Operation,
    ) -> Result<Option<Arc<Entry>>, Refused> {
        if self.refused {
            return Err(Refused::Unstored);
        }
        if self.version - self.stored >= UNSTORED_EDITS_MAX || self.held.len() >= DOCUMENT_HELD_MAX
        {
            return Err(Refused::Overloaded);
        }
        if !self.log.reaches(version) {
            return match version > self.version {
                true => Err(Refused::Misplaced),
                false => Ok(None),
            };
        }
        let length = self.content.length();
        let operation = operation.strip_invertible();
        let operation = match self.log.bring_behind(operation, version, length) {
            Ok(operation) => operation,
            Err(Behind::DoesNotFit) => return Err(Refused::Misplaced),
            Err(Behind::TooFar) => return Ok(None),
        };
        self.apply(&operation)?;
        let entry = Arc::new(Entry {
            version: self.version + 1,
            author,
            number,
            operation,
        });
        self.append(entry.clone(), length);
        self.store(&entry);
        Ok(Some(entry))
    }

    fn apply(&mut self, operation: &Operation) -> Result<(), Refused> {
        if self.content.bytes() + operation.text_bytes() > self.settings.max_bytes {
            // It may delete as much. Copies cost something as soon as one of them changes, so only now.
            let mut changed = self.content.clone();
            changed.apply(operation).map_err(|_| Refused::Misplaced)?;
            if changed.bytes() > self.settings.max_bytes.max(self.content.bytes()) {
                return Err(Refused::TooLarge);
            }
            self.content = changed;
            return Ok(());
        }
        self.content
            .apply(operation)
            .map_err(|_| Refused::Misplaced)
    }

    /// An edit that was applied to a text of `length` characters takes its place in the order.
    fn append(&mut self, entry: Arc<Entry>, length: u32) {
        self.version = entry.version;
        for cursor in self.cursors.values_mut() {
            cursor.position = transform_position(cursor.position, &entry.operation);
        }
        let (number, version) = (entry.number, entry.version);
        match self.authors.get_mut(&entry.author) {
            Some(progress) => (progress.number, progress.version) = (number, version),
            None => {
                let member = None;
                let progress = Progress {
                    number,
                    version,
                    member,
                };
                self.authors.insert(entry.author.clone(), progress);
            }
        }
        self.edits_since_snapshot += 1;
        self.bytes_since_snapshot += entry.operation.text_bytes();
        self.log.push(entry, length);
        self.log.shed();
        // Authors are remembered for longer than their edits can be brought behind others, and by the log's bound: so rarely that
        // it costs an edit nothing.
        let kept = DOCUMENT_LOG_EDITS_MAX as u64;
        if self.version.is_multiple_of(kept) {
            self.authors.sweep(self.version - kept);
        }
    }

    fn store(&mut self, entry: &Arc<Entry>) {
        if !self.settings.stored {
            self.stored = self.version;
            return;
        }
        self.records.push_back(Record::Edit(entry.clone()));
        self.unstored.push_back(entry.clone());
        if self.edits_since_snapshot >= SNAPSHOT_EDITS
            || self.bytes_since_snapshot >= SNAPSHOT_BYTES
        {
            (self.edits_since_snapshot, self.bytes_since_snapshot) = (0, 0);
            self.records.push_back(Record::Snapshot(self.snapshot()));
        }
    }

    /// The whole document as it is.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            epoch: self.epoch,
            version: self.version,
            content: self.content.clone(),
            authors: self.authors.list(),
            authors_complete_from: self.authors.complete_from(),
        }
    }

    /// The store has everything up to the edit that made `version`.
    pub fn stored(&mut self, version: u64) {
        while let Some(entry) = self.unstored.pop_front_if(|entry| entry.version <= version) {
            self.stored = entry.version;
            let applied = self.stored_content.apply(&entry.operation);
            debug_assert!(applied.is_ok(), "it was applied to this text before");
        }
    }

    /// Everything up to this version is stored, and may have been told.
    #[must_use]
    pub fn told_version(&self) -> u64 {
        self.stored
    }

    /// A user's cursor is at `position` of `version`. The others hear of it with [`Document::flush_cursors`]. Of a version that is
    /// too far back or not there yet, nothing is kept: the next move will do.
    ///
    /// # Errors
    ///
    /// [`Refused::NotJoined`].
    pub fn move_cursor(&mut self, member: M, version: u64, position: u32) -> Result<(), Refused> {
        let Member { author, .. } = self.members.get(&member).ok_or(Refused::NotJoined)?;
        if version > self.stored || !self.log.reaches(version) {
            return Ok(());
        }
        let position = self.log.bring_position(position, version);
        let cursor = Cursor {
            position: position.min(self.content.length()),
            member,
            moved: true,
        };
        self.cursors.insert(author.user.clone(), cursor);
        Ok(())
    }

    /// Tells of the cursors that moved, of each user the last place only. Call it as often as cursors shall be seen to move.
    pub fn flush_cursors(&mut self) {
        if self.held.len() >= DOCUMENT_HELD_MAX {
            return;
        }
        let version = self.version;
        for (user, cursor) in &mut self.cursors {
            if std::mem::take(&mut cursor.moved) {
                let news = News::Cursor {
                    user: user.clone(),
                    position: cursor.position,
                    version,
                };
                let except = Some(cursor.member);
                let output = Output::Publish { except, news };
                self.held.push_back((version, output));
            }
        }
    }

    /// Where people's cursors are, but for `user`'s.
    pub(super) fn cursors_but(&self, user: &UserId) -> Vec<(UserId, u32)> {
        let others = self.cursors.iter().filter(|(name, _)| *name != user);
        others
            .map(|(name, cursor)| (name.clone(), cursor.position))
            .collect()
    }

    /// The cursor that `member` has put somewhere is gone.
    pub(super) fn forget_cursor(&mut self, user: &UserId, member: M) {
        if self
            .cursors
            .get(user)
            .is_some_and(|cursor| cursor.member == member)
        {
            self.cursors.remove(user);
        }
    }

    /// Joins; see [`Joining`].
    ///
    /// # Errors
    ///
    /// [`Refused::Full`], [`Refused::Overloaded`]; [`Refused::Misplaced`] for a replica's name no replica may have.
    pub fn join(&mut self, member: M, joining: Joining) -> Result<(), Refused> {
        self.let_in(member, joining)
    }

    /// What to do next. Call it after every other call until there is nothing.
    pub fn poll_output(&mut self) -> Option<Output<M>> {
        if let Some(record) = self.records.pop_front() {
            return Some(Output::Store(record));
        }
        let (version, _) = self.held.front()?;
        if *version > self.stored {
            return None;
        }
        self.held.pop_front().map(|(_, output)| output)
    }

    pub(super) fn reply(&mut self, to: M, reply: Reply, ask: Ask) {
        self.held
            .push_back((self.version, Output::Reply { to, reply, ask }));
    }

    pub(super) fn publish(&mut self, except: Option<M>, news: News) {
        self.held
            .push_back((self.version, Output::Publish { except, news }));
    }
}
