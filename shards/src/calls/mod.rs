//! Calls to application handlers: which messages are theirs, one at a time per connection, and what follows their end.
//!
//! **Lives here:** the state around a call. **Does not:** running a handler (the world does, told by
//! [`Effect::Call`]), what it asks for (commands, which enter by `routing/`).
//! **Invariants:** a connection has at most one call under way, so its messages are handled in the order it sent them, however
//! long a handler awaits; what it sends meanwhile is kept as it came, and beyond the soft limit of its outbox not read.
//! **Called by:** `routing/`, `connections/`, the shard. **Calls:** `connections/` (to go on, to close).
//! **Tests:** over real sockets in the root's `tests/handlers.rs`.

use shardwire_protocol::codes::{ErrorCode, close};
use shardwire_protocol::envelope::outbound;

use crate::connections::State;
use crate::shard::Shard;
use crate::vocabulary::{CallTarget, ConnectionId, Effect, Now, Returned};

impl Shard {
    /// Whether a message of this type is the application's, and whose.
    pub(crate) fn application_target(&self, kind: &str) -> Option<CallTarget> {
        let routes = &self.settings.routes;
        // A handful of names: comparing them is cheaper than hashing one.
        let route = routes.types.iter().position(|known| known == kind);
        match route {
            Some(index) => Some(CallTarget::Route(index as u16)),
            None if routes.every_message => Some(CallTarget::Other),
            None => None,
        }
    }

    /// Asks the world to run a handler; the connection waits for it.
    pub(crate) fn call(&mut self, id: ConnectionId, target: CallTarget, message: Box<str>) {
        let Some(connection) = self.registry.get_mut(id) else {
            return;
        };
        debug_assert!(
            matches!(connection.state, State::Open),
            "one call at a time"
        );
        connection.state = State::Calling(Box::default());
        self.counters.calls += 1;
        self.effects.push_back(Effect::Call {
            connection: id,
            target,
            user: connection.user.clone(),
            identity: connection.identity().cloned(),
            address: connection.address,
            message,
        });
    }

    /// A handler has ended: what was kept is handled now, until the next call.
    pub(crate) fn returned(&mut self, now: Now, id: ConnectionId, outcome: Returned) {
        let Some(connection) = self.registry.get_mut(id) else {
            return;
        };
        // It may have been closed meanwhile, by the handler itself for one.
        let State::Calling(kept) = &mut connection.state else {
            return;
        };
        let mut kept = std::mem::take(&mut **kept);
        connection.state = State::Open;
        match outcome {
            Returned::Done => {}
            Returned::Failed(code) => {
                self.counters.calls_failed += 1;
                self.answer_error(id, code, None);
            }
            Returned::Refused(text) => {
                self.counters.errors_answered += 1;
                self.answer(id, |out| outbound::refusal(out, &text));
            }
            Returned::Panicked => {
                self.counters.calls_failed += 1;
                self.answer_error(id, ErrorCode::InternalError, None);
                return self.close(now, id, close::INTERNAL_ERROR, "internal error");
            }
        }
        if !kept.is_empty() {
            self.take_in(now, id, &mut kept);
        }
        let goes_on = self
            .registry
            .get(id)
            .is_some_and(|connection| matches!(connection.state, State::Open));
        if goes_on && !self.is_behind(id) {
            self.read_on(id);
        }
        self.go_if_all_is_said(id);
    }
}
