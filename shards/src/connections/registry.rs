//! Slots with generations.

use super::Connection;
use crate::vocabulary::{ConnectionId, ShardId};

#[derive(Debug)]
struct Slot {
    generation: u32,
    connection: Option<Connection>,
}

/// All connections of one shard.
#[derive(Debug)]
pub(crate) struct Registry {
    shard: ShardId,
    slots: Vec<Slot>,
    free: Vec<u32>,
}

impl Registry {
    pub(crate) fn new(shard: ShardId) -> Self {
        Self {
            shard,
            slots: Vec::new(),
            free: Vec::new(),
        }
    }

    /// None when every slot an id can name is taken.
    pub(crate) fn insert(&mut self, connection: Connection) -> Option<ConnectionId> {
        if let Some(slot) = self.free.pop() {
            let entry = &mut self.slots[slot as usize];
            entry.connection = Some(connection);
            return Some(ConnectionId::new(self.shard, slot, entry.generation));
        }
        if self.slots.len() == ConnectionId::SLOTS_MAX {
            return None;
        }
        let slot = self.slots.len() as u32;
        self.slots.push(Slot {
            generation: 0,
            connection: Some(connection),
        });
        Some(ConnectionId::new(self.shard, slot, 0))
    }

    pub(crate) fn get(&self, id: ConnectionId) -> Option<&Connection> {
        let slot = self.slots.get(id.slot() as usize)?;
        if slot.generation != id.generation() || id.shard() != self.shard {
            return None;
        }
        slot.connection.as_ref()
    }

    pub(crate) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        let slot = self.slots.get_mut(id.slot() as usize)?;
        if slot.generation != id.generation() || id.shard() != self.shard {
            return None;
        }
        slot.connection.as_mut()
    }

    pub(crate) fn remove(&mut self, id: ConnectionId) -> Option<Connection> {
        self.get(id)?;
        let slot = &mut self.slots[id.slot() as usize];
        slot.generation = ConnectionId::next_generation(slot.generation);
        self.free.push(id.slot());
        slot.connection.take()
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// The connections in at most `count` slots from `from` on; none when there are no more slots.
    pub(crate) fn slice(
        &self,
        from: usize,
        count: usize,
    ) -> Option<impl Iterator<Item = (ConnectionId, &Connection)>> {
        let slots = self.slots.get(from..).filter(|rest| !rest.is_empty())?;
        let used = slots.iter().take(count).enumerate();
        Some(used.filter_map(move |(at, slot)| {
            let id = ConnectionId::new(self.shard, (from + at) as u32, slot.generation);
            Some((id, slot.connection.as_ref()?))
        }))
    }

    /// Every id in use, in slot order.
    pub(crate) fn ids(&self) -> impl Iterator<Item = ConnectionId> + '_ {
        self.slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| slot.connection.is_some())
            .map(|(index, slot)| ConnectionId::new(self.shard, index as u32, slot.generation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_takes_few_hundred_bytes() {
        assert!(
            size_of::<Slot>() <= 176,
            "a slot is {} bytes",
            size_of::<Slot>()
        );
    }
}
