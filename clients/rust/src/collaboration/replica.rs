//! One copy of a document.

use std::collections::VecDeque;

use shardwire_protocol::text::{
    Content, MAX_COMPONENTS, Operation, Side, TextError, transform_position,
};

/// Bytes of text one edit sends at most, so that it fits a message of 64 KiB even if each has to be escaped.
const SENT_TEXT_BYTES: usize = 8 << 10;

/// What to say when joining.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Joining {
    /// Epoch and version of what the replica has.
    pub has: Option<(u64, u64)>,
    /// The number of its last acknowledged edit.
    pub acknowledged: u64,
}

/// An edit to send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outgoing {
    /// The version it was made on.
    pub version: u64,
    /// Its number among the replica's edits, from 1.
    pub number: u64,
    /// What it does.
    pub operation: Operation,
}

/// An edit that was committed while the replica was away.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MissedEdit {
    /// The version it made.
    pub version: u64,
    /// Its number, if the replica itself had sent it.
    pub own: Option<u64>,
    /// What it does.
    pub operation: Operation,
}

/// The replica has joined, and has what it missed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CaughtUp {
    /// What the editor shall do to the text it shows.
    pub change: Operation,
    /// An edit had been sent, and the server does not remember whether it took it. It is not sent again, since it might stand
    /// there twice; if it did not arrive, its effect is undone by `change`.
    pub in_doubt: Option<Operation>,
}

/// What came does not follow what was there: a message was lost, or the server is another. Nothing of the user's is lost:
/// join again with [`Replica::joining`], and the whole document comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("what came does not follow what was there")]
pub struct OutOfStep;

impl From<TextError> for OutOfStep {
    fn from(_: TextError) -> Self {
        OutOfStep
    }
}

/// One copy of a document in one program, over all its connections: a machine without time and wires.
///
/// ```
/// use shardwire_client::collaboration::Replica;
/// use shardwire_client::text::{Content, Operation};
///
/// let mut replica = Replica::new();
/// replica.joining(); // sent; the server answers with the document:
/// replica.state(7, 41, Content::from("hello"), None).unwrap();
/// replica.edit(&Operation::replacement(5, 0, "!").unwrap()).unwrap();
/// let sent = replica.poll_send().unwrap();
/// assert_eq!((sent.version, sent.number), (41, 1));
/// // Somebody was faster. The editor is told what that is to the text it shows:
/// let theirs = Operation::replacement(0, 1, "J").unwrap();
/// assert_eq!(replica.remote(42, &theirs).unwrap(), Some(theirs));
/// replica.acknowledged(1, 43).unwrap();
/// assert_eq!(replica.content().to_string(), "Jello!");
/// assert!(replica.is_settled());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Replica {
    /// Which life of the document, once it has been seen.
    epoch: Option<u64>,
    version: u64,
    confirmed: Content,
    shown: Content,
    under_way: Option<Operation>,
    waiting: VecDeque<Operation>,
    acknowledged: u64,
    joined: bool,
    /// What it has cannot be built on.
    out_of_step: bool,
}

impl Replica {
    /// A copy of a document it has not seen yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The text as the user sees it.
    #[must_use]
    pub fn content(&self) -> &Content {
        &self.shown
    }

    /// The version the server's text has here, the user's own edits aside that are not acknowledged.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Whether the server has all of the user's edits.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.under_way.is_none() && self.waiting.is_empty()
    }

    /// The user's edits that the server has not confirmed, each of the text behind the one before. The first may be under way.
    pub fn unconfirmed(&self) -> impl Iterator<Item = &Operation> {
        let own = self.under_way.iter().chain(&self.waiting);
        own.filter(|operation| !operation.is_empty())
    }

    /// Begins to join, on any connection, for the first time, after a cut, or when told that another connection has taken its place
    /// (which the join of a connection that was given up can do, when it arrives late): what to say. Until the answer comes ([`Replica::state`] or [`Replica::missed`]), the user may
    /// edit, nothing is sent, and edits of others are passed over.
    pub fn joining(&mut self) -> Joining {
        self.joined = false;
        Joining {
            has: self
                .epoch
                .filter(|_| !self.out_of_step)
                .map(|epoch| (epoch, self.version)),
            acknowledged: self.acknowledged,
        }
    }

    /// The user edits the text shown.
    ///
    /// # Errors
    ///
    /// [`TextError::DoesNotFit`], [`TextError::TooLong`]; nothing has changed.
    pub fn edit(&mut self, operation: &Operation) -> Result<(), TextError> {
        self.shown.apply(operation)?;
        let operation = operation.clone().strip_invertible();
        if let Some(last) = self.waiting.back_mut()
            && let Ok(both) = last.compose(&operation)
            && both.component_count() <= MAX_COMPONENTS / 2
            && both.text_bytes() <= SENT_TEXT_BYTES
        {
            *last = both;
        } else {
            self.waiting.push_back(operation);
        }
        Ok(())
    }

    /// What to send now, if anything. Call it after every other call.
    pub fn poll_send(&mut self) -> Option<Outgoing> {
        if !self.joined || self.under_way.is_some() {
            return None;
        }
        let next = loop {
            let next = self.waiting.pop_front()?;
            if !next.is_empty() {
                break next;
            }
        };
        let next = match next.split(MAX_COMPONENTS, SENT_TEXT_BYTES) {
            Some((head, tail)) => {
                self.waiting.push_front(tail);
                head
            }
            None => next,
        };
        self.under_way = Some(next);
        self.again()
    }

    /// The edit under way as it is to be sent again, when the server could not take it just now; none if there is none.
    #[must_use]
    pub fn again(&self) -> Option<Outgoing> {
        let operation = self.under_way.clone().filter(|_| self.joined)?;
        Some(Outgoing {
            version: self.version,
            number: self.acknowledged + 1,
            operation,
        })
    }

    /// The whole document has come: the answer to joining, or to an edit that was made too long ago. `last_number` is the
    /// number of the replica's last edit that is in it, as far as the server remembers.
    ///
    /// # Errors
    ///
    /// [`OutOfStep`], for texts that no operations can make.
    pub fn state(
        &mut self,
        epoch: u64,
        version: u64,
        content: Content,
        last_number: Option<u64>,
    ) -> Result<CaughtUp, OutOfStep> {
        let mut in_doubt = None;
        let mut base = self.confirmed.clone();
        let mut again = None;
        if let Some(own) = &self.under_way {
            let same_life = self.epoch == Some(epoch);
            match last_number.filter(|_| same_life) {
                Some(number) if number <= self.acknowledged => again = Some(own.clone()),
                known => {
                    base.apply(own)?;
                    if known.is_none() {
                        in_doubt = Some(own.clone());
                    }
                }
            }
        }
        // What others did since is not known one by one: as one edit that replaces what has changed.
        let theirs = base.difference(&content)?;
        let own = again.iter().chain(&self.waiting);
        let (change, own) = crossed(&theirs, own)?;
        self.shown.apply(&change)?;
        self.under_way = None;
        self.waiting = own;
        self.confirmed = content;
        self.acknowledged = last_number.unwrap_or(self.acknowledged);
        (self.epoch, self.version) = (Some(epoch), version);
        (self.joined, self.out_of_step) = (true, false);
        Ok(CaughtUp { change, in_doubt })
    }

    /// The answer to joining: what was committed since the version the replica has.
    ///
    /// # Errors
    ///
    /// [`OutOfStep`].
    pub fn missed(&mut self, edits: &[MissedEdit]) -> Result<CaughtUp, OutOfStep> {
        let mut change = Operation::new();
        for edit in edits {
            match edit.own {
                Some(number) => {
                    self.confirm(number, edit.version)?;
                }
                None => {
                    let one = self.follow(edit.version, &edit.operation)?;
                    change = change.compose(&one).map_err(|_| self.lose_step())?;
                }
            }
        }
        // It did not arrive: it is the first to be sent again, by the same number.
        self.not_taken();
        self.joined = true;
        Ok(CaughtUp {
            change,
            in_doubt: None,
        })
    }

    /// Somebody else's edit has made `version`: what the editor shall do to the text it shows. None if it is known here, or the
    /// replica has not joined.
    ///
    /// # Errors
    ///
    /// [`OutOfStep`].
    pub fn remote(
        &mut self,
        version: u64,
        operation: &Operation,
    ) -> Result<Option<Operation>, OutOfStep> {
        if !self.joined || version <= self.version {
            return Ok(None);
        }
        self.follow(version, operation).map(Some)
    }

    /// The edit of this number has made `version`. One that was acknowledged before: nothing happens.
    ///
    /// # Errors
    ///
    /// [`OutOfStep`].
    pub fn acknowledged(&mut self, number: u64, version: u64) -> Result<(), OutOfStep> {
        if !self.joined || number <= self.acknowledged {
            return Ok(());
        }
        self.confirm(number, version)
    }

    /// The server has refused the edit under way because the connection has not joined, or not any more. It has not taken it, whatever the document
    /// is that is joined next: there, it is the first to be sent.
    pub fn not_taken(&mut self) {
        if let Some(own) = self.under_way.take() {
            self.waiting.push_front(own);
        }
    }

    /// The server refuses the edit under way for good: it and those that wait are taken back. What the editor shall do.
    ///
    /// # Errors
    ///
    /// [`OutOfStep`], for texts that no operations can make.
    pub fn take_back(&mut self) -> Result<Operation, OutOfStep> {
        let change = self.shown.difference(&self.confirmed)?;
        self.shown = self.confirmed.clone();
        self.under_way = None;
        self.waiting.clear();
        Ok(change)
    }

    /// Where somebody else's cursor is in the text shown, which the server places at `position` of the present version.
    #[must_use]
    pub fn place(&self, position: u32) -> u32 {
        let own = self.under_way.iter().chain(&self.waiting);
        own.fold(position, transform_position)
    }

    /// Version and position to tell of the user's cursor at `position` of the text shown; none while the server does not have
    /// that text yet: then the cursor is told when it has.
    #[must_use]
    pub fn own_cursor(&self, position: u32) -> Option<(u64, u32)> {
        (self.joined && self.is_settled()).then_some((self.version, position))
    }

    /// Brings the next version's operation behind the user's own.
    fn follow(&mut self, version: u64, theirs: &Operation) -> Result<Operation, OutOfStep> {
        let own = self.under_way.iter().chain(&self.waiting);
        let next = version == self.version + 1 && self.confirmed.check(theirs).is_ok();
        let Some((change, mut own)) = next.then(|| crossed(theirs, own).ok()).flatten() else {
            return Err(self.lose_step());
        };
        self.shown.apply(&change).map_err(|_| self.lose_step())?;
        self.confirmed.apply(theirs)?;
        if self.under_way.is_some() {
            self.under_way = own.pop_front();
        }
        self.waiting = own;
        self.version = version;
        Ok(change)
    }

    /// The edit under way is in.
    fn confirm(&mut self, number: u64, version: u64) -> Result<(), OutOfStep> {
        let next = number == self.acknowledged + 1 && version == self.version + 1;
        let Some(own) = self.under_way.as_ref().filter(|_| next) else {
            return Err(self.lose_step());
        };
        self.confirmed.apply(own)?;
        self.under_way = None;
        (self.acknowledged, self.version) = (number, version);
        Ok(())
    }

    fn lose_step(&mut self) -> OutOfStep {
        self.out_of_step = true;
        self.joined = false;
        OutOfStep
    }
}

/// `theirs` behind all of `own`, and those behind it. Theirs is left: it is committed.
fn crossed<'o>(
    theirs: &Operation,
    own: impl Iterator<Item = &'o Operation>,
) -> Result<(Operation, VecDeque<Operation>), TextError> {
    let mut theirs = theirs.clone();
    let mut behind = VecDeque::new();
    for own in own {
        behind.push_back(own.transform(&theirs, Side::Right)?);
        theirs = theirs.transform(own, Side::Left)?;
    }
    Ok((theirs, behind))
}
