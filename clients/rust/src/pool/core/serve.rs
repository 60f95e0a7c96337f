//! Which connection serves an acquire, and which one makes room for it.

use super::{
    Actions, Core, End, Lease, Served,
    balance::{Balancer, Purpose},
    member::{Key, Member},
};
use crate::pool::acquire::AcquireError;
use tokio::time::Instant;

impl Core {
    /// The connections a backend should have when all are needed: its share of the maximum by weight, rounded down (but
    /// none goes without, if there is one for each) and up.
    pub(super) fn share(&self, index: usize, now: Instant) -> (usize, usize) {
        let (mut sum, mut count) = (0u128, 0);
        for member in self
            .members
            .iter()
            .filter(|member| member.is_available(now))
        {
            sum += self.balancer.weight(member, now) as u128;
            count += 1;
        }
        if sum == 0 {
            return (0, 0);
        }
        let max = self.options.max_connections;
        let product = max as u128 * self.balancer.weight(&self.members[index], now) as u128;
        let least = usize::from(max >= count);
        let (down, up) = (product / sum, product.div_ceil(sum));
        ((down as usize).max(least), up as usize)
    }

    /// Serves one acquire as far as it can be now.
    pub(in crate::pool) fn serve(
        &mut self,
        key: Option<u64>,
        now: Instant,
        actions: &mut Actions,
    ) -> Served {
        self.bury_the_dead();
        let full = self.is_full();
        let picked = match self.balancer.binds(key) {
            Some(key) => self.bound_to(key, now),
            None => {
                self.mark_serviceable(full, now);
                self.balancer.pick(&mut self.members, Purpose::Acquire, now)
            }
        };
        let Some(index) = picked else {
            return Served::Later;
        };
        if let Some(lease) = self.take_idle(index) {
            return Served::Idle(lease);
        }
        if !self.members[index].may_retry(now) {
            return Served::Later;
        }
        if full {
            return match self.make_room_for(index, now, actions) {
                true => Served::MakingRoom(self.members[index].key),
                false => Served::Later,
            };
        }
        self.open(index, false, actions);
        Served::Opening(self.members[index].key)
    }

    /// Where a bound acquire goes: capacity does not matter, only whether the backend is there.
    fn bound_to(&self, key: u64, now: Instant) -> Option<usize> {
        let there = |member: &Member| {
            member.is_usable() && (!member.idle.is_empty() || member.may_retry(now))
        };
        let members = self.members.iter().enumerate();
        Balancer::rendezvous(members.filter(|(_, member)| there(member)), key)
    }

    /// Whether a connection of this backend is right for an acquire with this key.
    pub(in crate::pool) fn accepts(&self, key: Option<u64>, index: usize, now: Instant) -> bool {
        match self.balancer.binds(key) {
            None => true,
            Some(key) => {
                let there = |member: &Member| {
                    member.is_usable()
                        && (member.key == self.members[index].key
                            || !member.idle.is_empty()
                            || member.may_retry(now))
                };
                let members = self.members.iter().enumerate();
                Balancer::rendezvous(members.filter(|(_, member)| there(member)), key)
                    == Some(index)
            }
        }
    }

    fn mark_serviceable(&mut self, full: bool, now: Instant) {
        for index in 0..self.members.len() {
            let member = &self.members[index];
            let serviceable = member.is_usable()
                && (!member.idle.is_empty()
                    || member.may_retry(now) && {
                        let (least, most) = self.share(index, now);
                        match full {
                            // Nobody takes more than its share, or one slow backend would collect them all.
                            false => member.held() < most,
                            true => member.held() < least && self.victim(index, now).is_some(),
                        }
                    });
            self.members[index].eligible = serviceable;
        }
    }

    /// The idle connection that gives way for one to `index`: the one idle for longest, of a backend that has its share or
    /// may not be used.
    fn victim(&self, index: usize, now: Instant) -> Option<usize> {
        let bound = self.balancer.binds(Some(0)).is_some();
        let candidates = self.members.iter().enumerate().filter(|(other, member)| {
            let spare = || {
                bound
                    || !member.is_usable()
                    || member.held() > self.share(*other, now).0
                    || self.members[index].held() == 0 && member.held() > 1
            };
            *other != index && !member.idle.is_empty() && spare()
        });
        candidates
            .min_by_key(|(_, member)| member.idle.front().map(|idle| idle.since))
            .map(|(other, _)| other)
    }

    /// Closes an idle connection elsewhere, unless enough are closing for those who wait. Whether it did.
    fn make_room_for(&mut self, index: usize, now: Instant, actions: &mut Actions) -> bool {
        let unserved = self
            .waiters
            .values()
            .filter(|waiter| waiter.assigned.is_none());
        if self.closing() > unserved.count() {
            return false;
        }
        if let Some(other) = self.victim(index, now)
            && let Some(idle) = self.members[other].idle.pop_front()
        {
            self.end(other, idle.id, idle.connection, End::Close, actions);
            return true;
        }
        false
    }

    /// Serves one for whom room is being made: at the backend it was picked for, and nowhere else, or that one would never
    /// have its turn. `None`: that has come to nothing, and it is served like anybody.
    pub(super) fn serve_wanted(
        &mut self,
        wanted: Key,
        now: Instant,
        actions: &mut Actions,
    ) -> Option<Served> {
        let index = self
            .members
            .iter()
            .position(|member| member.key == wanted)?;
        if !self.members[index].is_available(now) {
            return None;
        }
        if let Some(lease) = self.take_idle(index) {
            return Some(Served::Idle(lease));
        }
        if !self.is_full() {
            self.open(index, false, actions);
            return Some(Served::Opening(wanted));
        }
        (self.closing() > 0).then_some(Served::Later)
    }

    /// Connections that ended while they were idle are no longer there to be taken.
    fn bury_the_dead(&mut self) {
        for member in &mut self.members {
            while let Some(idle) = member.idle.back()
                && !idle.connection.is_open()
            {
                // Its socket may still be in the close handshake: `gone` will take it from there.
                if !idle.connection.is_gone() {
                    member.closing.insert(idle.id);
                }
                member.idle.pop_back();
            }
        }
    }

    fn take_idle(&mut self, index: usize) -> Option<Lease> {
        let member = &mut self.members[index];
        let idle = member.idle.pop_back()?;
        member.active += 1;
        Some(Lease {
            id: idle.id,
            member: member.key,
            backend: member.id.clone(),
            connection: idle.connection,
            reused: true,
        })
    }

    /// Why nobody can be served, if no backend is worth waiting for.
    pub(in crate::pool) fn unavailable(&self) -> Option<AcquireError> {
        if self.members.iter().any(Member::is_hopeful) {
            return None;
        }
        let reason = |member: &Member| {
            let what = match member.healthy {
                true => "circuit breaker open",
                false => "unhealthy",
            };
            let error = member.last_error.as_deref().unwrap_or("no reason known");
            format!("{}: {what}: {error}", member.id)
        };
        let reasons = self
            .members
            .iter()
            .filter(|member| !member.removed)
            .map(reason);
        Some(AcquireError::Unavailable {
            reasons: reasons.collect(),
        })
    }
}
