//! Documents that are in the store only: known by name, read when somebody wants them.
//!
//! What is asked of one meanwhile waits in its order, and is done when the store has answered; or refused, with the reason the store gave.
//! So many are read at a time, the others stand in line; what waits is bounded in bytes.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use ahash::AHashMap;

use crate::bounds::{DOCUMENT_LOADS_MAX, DOCUMENT_WAITING_BYTES_MAX};
use crate::vocabulary::{
    AnswerId, ChannelName, ConnectionId, DocumentAsk, DocumentCommand, Epoch, LoadTicket,
};

/// Something asked of a document.
#[derive(Debug)]
pub(super) enum Wish {
    /// By a connection.
    Ask(ConnectionId, DocumentAsk),
    /// From outside, and who wants to know.
    Command(DocumentCommand, Option<AnswerId>),
}

impl Wish {
    /// Whether the document is to be read for it. Nobody is a member of one that is not there, so that only comings, and the service's
    /// own business, are worth it; its end needs no reading.
    fn is_worth_reading(&self) -> bool {
        match self {
            Self::Ask(_, ask) => matches!(ask, DocumentAsk::Join(_)),
            Self::Command(command, _) => !matches!(command, DocumentCommand::Forget),
        }
    }

    /// Whether it must not be refused. There are no more of these than comings that wait, and edits between them.
    fn is_owed(&self) -> bool {
        matches!(
            self,
            Self::Ask(_, DocumentAsk::Leave | DocumentAsk::Writes(_))
        )
    }

    /// Memory it takes while it waits, about.
    fn bytes(&self) -> usize {
        let operation = match self {
            Self::Ask(_, DocumentAsk::Edit(edit)) => edit.operation.memory(),
            Self::Command(DocumentCommand::Edit { operation, .. }, _) => operation.memory(),
            _ => 0,
        };
        size_of::<Self>() + 256 + operation
    }
}

/// What becomes of a wish.
#[derive(Debug)]
pub(super) enum Wished {
    /// It waits until the store has answered.
    Waits,
    /// The document does not have to be read for it: it is done now.
    Now(Wish),
    /// There is no room for more that waits.
    Refused(Wish),
}

/// A document that is being read, or will be.
#[derive(Debug, Default)]
struct Reading {
    /// None: it stands in line.
    ticket: Option<LoadTicket>,
    wishes: Vec<Wish>,
}

#[derive(Debug)]
struct Known {
    epoch: Epoch,
    reading: Option<Box<Reading>>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Unloaded {
    /// In the order of their names, in which they are listed.
    by_name: BTreeMap<ChannelName, Known>,
    /// Memory of the names.
    bytes: usize,
    line: VecDeque<ChannelName>,
    under_way: AHashMap<LoadTicket, ChannelName>,
    tickets: LoadTicket,
    /// Memory of what waits.
    waiting: usize,
}

/// Memory of one that nobody asks for, about.
fn bytes_of(name: &str) -> usize {
    2 * size_of::<(ChannelName, Known)>() + 16 + name.len()
}

impl Unloaded {
    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes + self.waiting
    }

    /// The names from this one on, in their order.
    pub(super) fn names_from<'a>(
        &'a self,
        first: &str,
    ) -> impl Iterator<Item = &'a ChannelName> + use<'a> {
        let from = (Bound::Included(first), Bound::Unbounded);
        self.by_name.range::<str, _>(from).map(|(name, _)| name)
    }

    /// Notes that there is this document, and in which life.
    pub(super) fn insert(&mut self, name: ChannelName, epoch: Epoch) {
        let bytes = bytes_of(&name);
        let known = Known {
            epoch,
            reading: None,
        };
        if self.by_name.insert(name, known).is_none() {
            self.bytes += bytes;
        }
    }

    /// Takes in what is asked of a document, if it must wait.
    pub(super) fn wish(&mut self, name: &ChannelName, wish: Wish) -> Wished {
        let Some(known) = self.by_name.get_mut(name) else {
            return Wished::Now(wish);
        };
        let ends = matches!(wish, Wish::Command(DocumentCommand::Forget, _));
        if ends || (known.reading.is_none() && !wish.is_worth_reading()) {
            return Wished::Now(wish);
        }
        let bytes = wish.bytes();
        if self.waiting + bytes > DOCUMENT_WAITING_BYTES_MAX && !wish.is_owed() {
            return Wished::Refused(wish);
        }
        let reading = known.reading.get_or_insert_with(|| {
            self.line.push_back(name.clone());
            Box::default()
        });
        if let Wish::Ask(id, DocumentAsk::Writes(writes)) = &wish {
            // Of several in a row only the last counts.
            let mut own = reading.wishes.iter_mut().rev();
            let last = own.find(|it| matches!(it, Wish::Ask(other, _) if other == id));
            if let Some(Wish::Ask(_, DocumentAsk::Writes(known))) = last {
                *known = *writes;
                return Wished::Waits;
            }
        }
        self.waiting += bytes;
        reading.wishes.push(wish);
        Wished::Waits
    }

    /// The next document that the store is to be asked for.
    pub(super) fn next_load(&mut self) -> Option<(LoadTicket, ChannelName, Epoch)> {
        while self.under_way.len() < DOCUMENT_LOADS_MAX {
            let name = self.line.pop_front()?;
            let known = self.by_name.get_mut(&name);
            let Some(Known {
                epoch,
                reading: Some(reading),
            }) = known
            else {
                // It has been ended meanwhile.
                continue;
            };
            if reading.ticket.is_some() {
                continue;
            }
            self.tickets.0 += 1;
            reading.ticket = Some(self.tickets);
            self.under_way.insert(self.tickets, name.clone());
            return Some((self.tickets, name, *epoch));
        }
        None
    }

    /// The store has answered: which document it is about, and what waits for it. None: that has been ended meanwhile. It stays known
    /// until [`remove`](Self::remove) says otherwise.
    pub(super) fn answered(&mut self, ticket: LoadTicket) -> Option<(ChannelName, Vec<Wish>)> {
        let name = self.under_way.remove(&ticket)?;
        let known = self.by_name.get_mut(&name)?;
        let reading = known
            .reading
            .take_if(|reading| reading.ticket == Some(ticket))?;
        self.waiting -= reading.wishes.iter().map(Wish::bytes).sum::<usize>();
        Some((name, reading.wishes))
    }

    /// It is not in the store only any more, or not at all: its life, and what waits for it. None: it was not known.
    pub(super) fn remove(&mut self, name: &str) -> Option<(Epoch, Vec<Wish>)> {
        let Known { epoch, reading } = self.by_name.remove(name)?;
        self.bytes -= bytes_of(name);
        let wishes = reading.map_or(Vec::new(), |reading| reading.wishes);
        self.waiting -= wishes.iter().map(Wish::bytes).sum::<usize>();
        Some((epoch, wishes))
    }
}
