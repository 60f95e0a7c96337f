//! What becomes of connections: opened, refused, ended. Each is one change under the lock, and ends by pumping.

use super::{Actions, Core, End, member::Key};
use crate::{connection::Connection, error::ConnectError, reconnect::Hint};
use shardwire_protocol::codes::close::Advice;
use std::time::Duration;
use tokio::time::Instant;

impl Core {
    /// An opening has ended.
    pub(in crate::pool) fn opened(
        &mut self,
        key: Key,
        probe: bool,
        id: u64,
        result: Result<Connection, ConnectError>,
        now: Instant,
        actions: &mut Actions,
    ) {
        let Some(index) = self.members.iter().position(|member| member.key == key) else {
            debug_assert!(false, "a backend outlives its openings");
            return;
        };
        self.members[index].opening -= 1;
        match result {
            Ok(connection) => {
                let member = &mut self.members[index];
                member.backoff.stood(Duration::MAX);
                member.retry_at = None;
                if let Some(change) = member.breaker.succeeded(probe) {
                    member.returned_at = Some(now);
                    self.announce(index, change, "");
                }
                if self.closed || !self.members[index].is_usable() {
                    self.unassign(key);
                    self.end(index, id, connection, End::Close, actions);
                } else {
                    self.give(index, id, connection, true, now, actions);
                }
            }
            Err(error) => {
                if !probe {
                    self.unassign(key);
                }
                self.refused(index, probe, &error, now, actions);
            }
        }
        self.pump(now, actions);
    }

    /// An opening was given up by us: it says nothing about the backend.
    pub(in crate::pool) fn opening_lost(
        &mut self,
        key: Key,
        probe: bool,
        now: Instant,
        actions: &mut Actions,
    ) {
        if let Some(member) = self.member(key) {
            member.opening -= 1;
            match probe {
                true => member.breaker.probe_abandoned(),
                false => self.unassign(key),
            }
        }
        self.pump(now, actions);
    }

    /// A connection could not be opened.
    fn refused(
        &mut self,
        index: usize,
        probe: bool,
        error: &ConnectError,
        now: Instant,
        actions: &mut Actions,
    ) {
        let member = &mut self.members[index];
        member.last_error = Some(error.to_string());
        let late = error.advice() == Advice::ComeBackLate;
        let hint = Hint {
            advice: match late {
                true => Advice::ComeBackLate,
                // A backend is asked again whatever it says: the breaker is what leaves it alone.
                false => Advice::ComeBack,
            },
            retry_after: error.retry_after(),
        };
        // Gives up only where it is told to; here it never is.
        let delay = member.backoff.failed(hint).unwrap_or_default();
        member.retry_at = Some(now + delay);
        actions.wake_keeper = true;
        // Without a token nobody was asked.
        let innocent = late || matches!(error, ConnectError::Token(_));
        match innocent {
            true => member.breaker.probe_abandoned(),
            false => self.failed(index, probe, error.to_string(), now, actions),
        }
    }

    /// A failure that the breaker counts.
    pub(super) fn failed(
        &mut self,
        index: usize,
        probe: bool,
        error: String,
        now: Instant,
        actions: &mut Actions,
    ) {
        let member = &mut self.members[index];
        if let Some(change) = member.breaker.failed(probe, now) {
            self.announce(index, change, &error);
            self.retire_idle(index, actions);
            actions.wake_keeper = true;
        }
        self.members[index].last_error = Some(error);
    }

    /// A connection's socket is gone, for whatever reason.
    pub(in crate::pool) fn gone(&mut self, key: Key, id: u64, now: Instant, actions: &mut Actions) {
        if let Some(member) = self.member(key)
            && !member.closing.remove(&id)
            && let Some(at) = member.idle.iter().position(|idle| idle.id == id)
        {
            member.idle.remove(at);
        }
        self.pump(now, actions);
    }
}
