//! Which of this shard's connections are in which documents.

use ahash::AHashMap;
use smallvec::SmallVec;

use crate::vocabulary::{ChannelName, ConnectionId};

/// A connection's side of a document.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) document: ChannelName,
    /// It has been told how things are, and hears what is told to all.
    pub(super) inside: bool,
    /// Joinings whose answers have not come.
    pub(super) pending: u32,
    /// Answers to joinings before this one are to a time before it left.
    pub(super) since: u32,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Joined {
    places: AHashMap<ConnectionId, SmallVec<[Place; 1]>>,
    tickets: u32,
}

impl Joined {
    /// Connections that are in documents, or on their way into some.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn of(&self, id: ConnectionId) -> &[Place] {
        self.places.get(&id).map_or(&[], |places| places.as_slice())
    }

    pub(super) fn get_mut(&mut self, id: ConnectionId, document: &str) -> Option<&mut Place> {
        let mut places = self.places.get_mut(&id)?.iter_mut();
        places.find(|place| &*place.document == document)
    }

    /// Notes a joining under way; its ticket. (Around and around: by the time one comes again, its answer has.)
    pub(super) fn begin(&mut self, id: ConnectionId, document: &ChannelName) -> u32 {
        self.tickets = self.tickets.wrapping_add(1);
        let ticket = self.tickets;
        match self.get_mut(id, document) {
            Some(place) => place.pending += 1,
            None => self.places.entry(id).or_default().push(Place {
                document: document.clone(),
                inside: false,
                pending: 1,
                since: ticket,
            }),
        }
        ticket
    }

    /// The joining of this ticket has been answered, if that still means something: the connection has not left since.
    pub(super) fn answered(
        &mut self,
        id: ConnectionId,
        document: &str,
        ticket: u32,
    ) -> Option<&mut Place> {
        let place = self.get_mut(id, document)?;
        let late = (ticket.wrapping_sub(place.since) as i32) < 0;
        if late {
            return None;
        }
        place.pending = place.pending.saturating_sub(1);
        Some(place)
    }

    /// It is in the document no more. False: it was not.
    pub(super) fn remove(&mut self, id: ConnectionId, document: &str) -> bool {
        let Some(places) = self.places.get_mut(&id) else {
            return false;
        };
        let before = places.len();
        places.retain(|place| &*place.document != document);
        let removed = places.len() < before;
        if places.is_empty() {
            self.places.remove(&id);
        }
        removed
    }

    /// It is in no document any more; those in which it was.
    pub(super) fn remove_all(&mut self, id: ConnectionId) -> SmallVec<[Place; 1]> {
        self.places.remove(&id).unwrap_or_default()
    }
}
