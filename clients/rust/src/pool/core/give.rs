//! Who gets a connection that is free.

use super::{
    Actions, Core, Lease, Waiter,
    member::{Idle, Key, Member},
};
use crate::connection::Connection;
use tokio::time::Instant;

impl Core {
    /// A connection of `index` is free: to the first who waits and takes it, else idle. `opened`: it is new, and may have been
    /// opened for somebody.
    pub(in crate::pool) fn give(
        &mut self,
        index: usize,
        id: u64,
        connection: Connection,
        opened: bool,
        now: Instant,
        actions: &mut Actions,
    ) {
        let member = self.members[index].key;
        if !opened {
            // What still comes was meant for its last user. Off again when it is checked out.
            connection.set_discarding(true);
        }
        let takes = |(_, waiter): &(&u64, &Waiter)| {
            // Whom it was opened for takes it, wherever its key would go by now.
            opened && waiter.assigned == Some(member) || self.accepts(waiter.key, index, now)
        };
        let first = self.waiters.iter().find(takes).map(|(ticket, _)| *ticket);
        let Some(waiter) = first.and_then(|ticket| self.waiters.remove(&ticket)) else {
            // Nobody reads it: what comes must not stop the socket from being read, and pings from being answered.
            connection.set_discarding(true);
            let since = now;
            self.members[index].idle.push_back(Idle {
                id,
                connection,
                since,
            });
            return;
        };
        let mut orphan = waiter.assigned;
        if opened && orphan == Some(member) {
            orphan = None;
        } else if opened {
            // It was opened for somebody else: that one inherits what was being opened for this one.
            self.unassign(member);
        }
        if let Some(orphan) = orphan {
            self.assign(orphan, now);
        }
        self.members[index].active += 1;
        let lease = Lease {
            id,
            member,
            backend: self.members[index].id.clone(),
            connection,
            reused: !opened,
        };
        actions.deliveries.push((waiter.answer, Ok(lease)));
    }

    /// The first for whom a connection was being opened at `member` has to look elsewhere.
    pub(in crate::pool) fn unassign(&mut self, member: Key) {
        let mut waiters = self.waiters.values_mut();
        if let Some(waiter) = waiters.find(|waiter| waiter.assigned == Some(member)) {
            waiter.assigned = None;
        }
    }

    /// What is being opened at `member` is for the first who waits for nothing yet and takes it.
    pub(in crate::pool) fn assign(&mut self, member: Key, now: Instant) {
        let Some(index) = self.members.iter().position(|known| known.key == member) else {
            return;
        };
        let takes = |(_, waiter): &(&u64, &Waiter)| {
            waiter.assigned.is_none() && self.accepts(waiter.key, index, now)
        };
        let first = self.waiters.iter().find(takes).map(|(ticket, _)| *ticket);
        if let Some(waiter) = first.and_then(|ticket| self.waiters.get_mut(&ticket)) {
            waiter.assigned = Some(member);
        }
    }

    /// Whether a connection that comes back should make room for another backend: for a probe, or for one that has less than
    /// its share while this one has more.
    pub(in crate::pool) fn gives_way(&self, index: usize, now: Instant) -> bool {
        // The connection in question is neither active nor idle at this moment.
        if self.total() + 1 < self.options.max_connections {
            return false;
        }
        let probe = |member: &Member| {
            !member.removed
                && member.healthy
                && member.breaker.wants_probe()
                && member.may_retry(now)
        };
        if self.members.iter().any(probe) {
            return true;
        }
        if self.waiters.is_empty() {
            return false;
        }
        self.members[index].held() + 1 > self.share(index, now).1
            && self.members.iter().enumerate().any(|(other, member)| {
                member.is_available(now) && member.held() < self.share(other, now).0
            })
    }
}
