//! What users do: ask, wait no longer, give back. Each is one change under the lock, and ends by pumping.

use super::{Actions, Answer, Core, End, Lease, Served, Waiter, member::Key};
use crate::pool::acquire::AcquireError;
use tokio::{sync::oneshot, time::Instant};

/// What a request comes to.
pub(in crate::pool) enum Requested {
    Ready(Lease),
    Wait(oneshot::Receiver<Answer>),
    Failed(AcquireError),
}

/// Why a connection comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pool) enum Return {
    /// To be used again.
    Keep,
    /// Its user does not want it to be used again.
    Discard,
    /// It did not answer: that counts against its backend.
    Dead,
}

impl Core {
    /// An acquire asks, or asks again with the ticket it has; its first one is written there.
    pub(in crate::pool) fn request(
        &mut self,
        ticket: &mut Option<u64>,
        key: Option<u64>,
        now: Instant,
        actions: &mut Actions,
    ) -> Requested {
        let ticket = match *ticket {
            Some(ticket) => ticket,
            None => *ticket.insert(self.number()),
        };
        if self.closed {
            return Requested::Failed(AcquireError::Closed);
        }
        if let Some(error) = self.unavailable() {
            return Requested::Failed(error);
        }
        // Nobody overtakes one who came before and for whom nothing is on its way.
        let mut before = self.waiters.range(..ticket);
        let served = match before.any(|(_, waiter)| waiter.assigned.is_none()) {
            true => Served::Later,
            false => self.serve(key, now, actions),
        };
        let (assigned, wanted) = match served {
            Served::Idle(lease) => return Requested::Ready(lease),
            Served::Opening(member) => (Some(member), None),
            Served::MakingRoom(member) => (None, Some(member)),
            Served::Later => (None, None),
        };
        let (answer, answered) = oneshot::channel();
        self.waiters.insert(
            ticket,
            Waiter {
                key,
                assigned,
                wanted,
                answer,
            },
        );
        Requested::Wait(answered)
    }

    /// An acquire waits no longer.
    pub(in crate::pool) fn cancel(&mut self, ticket: u64, now: Instant, actions: &mut Actions) {
        if let Some(waiter) = self.waiters.remove(&ticket) {
            if let Some(member) = waiter.assigned {
                self.assign(member, now);
            }
            self.pump(now, actions);
        }
    }

    /// A connection comes back from its user.
    pub(in crate::pool) fn release(
        &mut self,
        lease: Lease,
        why: Return,
        now: Instant,
        actions: &mut Actions,
    ) {
        let Some(index) = self
            .members
            .iter()
            .position(|member| member.key == lease.member)
        else {
            debug_assert!(false, "a backend outlives its connections");
            return;
        };
        self.members[index].active -= 1;
        if why == Return::Dead {
            self.failed(index, false, "no answer to a ping".into(), now, actions);
        }
        let keep = why == Return::Keep
            && !self.closed
            && lease.connection.is_open()
            && self.members[index].is_usable()
            && !self.gives_way(index, now);
        if keep {
            self.give(index, lease.id, lease.connection, false, now, actions);
        } else {
            let end = match why {
                Return::Dead => End::Cut,
                Return::Keep | Return::Discard => End::Close,
            };
            self.end(index, lease.id, lease.connection, end, actions);
        }
        self.pump(now, actions);
    }

    /// A connection has answered its ping: failures are no longer in a row.
    pub(in crate::pool) fn validated(&mut self, key: Key) {
        if let Some(member) = self.member(key) {
            // Only a probe closes an open breaker.
            member.breaker.succeeded(false);
        }
    }
}
