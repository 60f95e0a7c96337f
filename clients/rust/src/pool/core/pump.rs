//! Starting whatever can be started: probes, openings for those who wait, openings ahead.

use super::{Actions, Core, End, Served, balance::Purpose, member::Member};
use tokio::time::Instant;

impl Core {
    /// Starts whatever can be started now. Called after every change.
    pub(in crate::pool) fn pump(&mut self, now: Instant, actions: &mut Actions) {
        if self.closed {
            actions.emptied = self.total() == 0;
            return;
        }
        self.start_probes(now, actions);
        if !self.waiters.is_empty() {
            self.serve_waiters(now, actions);
        }
        self.open_ahead(now, actions);
        self.members
            .retain(|member| !member.removed || member.held() > 0 || !member.closing.is_empty());
    }

    fn start_probes(&mut self, now: Instant, actions: &mut Actions) {
        for index in 0..self.members.len() {
            let member = &self.members[index];
            if member.removed
                || !member.healthy
                || !member.breaker.wants_probe()
                || !member.may_retry(now)
            {
                continue;
            }
            if !self.is_full() {
                self.open(index, true, actions);
            } else if self.closing() == 0 {
                let oldest = |member: &Member| member.idle.front().map(|idle| idle.since);
                let others = self.members.iter().enumerate();
                let victim = others
                    .filter(|(_, member)| !member.idle.is_empty())
                    .min_by_key(|(_, member)| oldest(member))
                    .map(|(other, _)| other);
                if let Some(other) = victim
                    && let Some(idle) = self.members[other].idle.pop_front()
                {
                    self.end(other, idle.id, idle.connection, End::Close, actions);
                }
            }
        }
    }

    fn serve_waiters(&mut self, now: Instant, actions: &mut Actions) {
        if let Some(error) = self.unavailable() {
            for (_, waiter) in std::mem::take(&mut self.waiters) {
                actions.deliveries.push((waiter.answer, Err(error.clone())));
            }
            return;
        }
        loop {
            let mut unserved = self
                .waiters
                .iter()
                .filter(|(_, waiter)| waiter.assigned.is_none());
            let Some((&ticket, waiter)) = unserved.next() else {
                return;
            };
            // In order: while the first cannot be served, nobody behind it takes what it waits for.
            let (key, wanted) = (waiter.key, waiter.wanted);
            let served = wanted.and_then(|wanted| self.serve_wanted(wanted, now, actions));
            let served = match served {
                Some(served) => served,
                None => self.serve(key, now, actions),
            };
            match served {
                Served::Later => return,
                Served::MakingRoom(member) => {
                    if let Some(waiter) = self.waiters.get_mut(&ticket) {
                        waiter.wanted = Some(member);
                    }
                    return;
                }
                Served::Opening(member) => {
                    if let Some(waiter) = self.waiters.get_mut(&ticket) {
                        waiter.assigned = Some(member);
                        waiter.wanted = None;
                    }
                }
                Served::Idle(lease) => {
                    if let Some(waiter) = self.waiters.remove(&ticket) {
                        actions.deliveries.push((waiter.answer, Ok(lease)));
                    }
                }
            }
        }
    }

    /// Keeps `min_connections`.
    fn open_ahead(&mut self, now: Instant, actions: &mut Actions) {
        loop {
            let live: usize = self.members.iter().map(Member::held).sum();
            if live >= self.options.min_connections || self.is_full() {
                return;
            }
            for index in 0..self.members.len() {
                let member = &self.members[index];
                let below = member.held() < self.share(index, now).1;
                self.members[index].eligible = self.members[index].is_available(now) && below;
            }
            match self.balancer.pick(&mut self.members, Purpose::Warm, now) {
                Some(index) => self.open(index, false, actions),
                None => return,
            }
        }
    }
}
