//! The end of a session: how long it is put off, and what is left.

use super::Task;
use crate::session::{SessionEnd, SessionError, SessionEvent, SessionState, Wish};
use std::time::Duration;
use tokio::time::Instant;

/// A `flush_timeout` beyond this is as good as this, and the clock can hold it.
const PATIENCE_MAX: Duration = Duration::from_secs(3600);

impl Task {
    /// The wish of the holders is another, or nobody is left to have one.
    pub(super) fn wished(&mut self, is_held: bool) {
        self.is_held = is_held;
        let patience = match *self.wishes.borrow_and_update() {
            Wish::CloseNow => Duration::ZERO,
            Wish::Stay | Wish::Close => self.options.flush_timeout.min(PATIENCE_MAX),
        };
        let latest = Instant::now() + patience;
        let sooner = self.closing.map_or(latest, |closing| closing.min(latest));
        self.closing = Some(sooner);
        // What was asked before is done yet; nothing that is asked from now on.
        self.inbox.close();
        while let Ok(command) = self.inbox.try_recv() {
            self.command(command);
        }
    }

    /// Whether the session is to close and nothing is to be waited for any more.
    pub(super) fn may_end(&self) -> bool {
        self.closing.is_some_and(|latest| {
            let confirmed = self.outbox.is_empty()
                && self.pending.values().all(|one| one.answer.is_closed())
                && self.documents.are_settled();
            confirmed || latest <= Instant::now()
        })
    }

    /// Publishes may have been on their way when a connection ended.
    pub(super) fn doubt_publishes(&mut self, is_clean: bool) {
        self.unconfirmed.send_modify(|unconfirmed| {
            unconfirmed.publishes_in_doubt |= self.has_published && !is_clean;
        });
    }

    /// The session is over: whoever waits is told, and what is left is said.
    pub(super) fn give_up(&mut self) {
        let mut requests = 0;
        for (_, pending) in self.pending.drain() {
            let error = match pending.is_sent {
                true => SessionError::Lost,
                false => SessionError::Ended,
            };
            requests += usize::from(pending.answer.send(Err(error)).is_ok());
        }
        self.unconfirmed.send_modify(|unconfirmed| {
            unconfirmed.documents = self.documents.unconfirmed();
            unconfirmed.publishes = self.outbox.publishes().collect();
            unconfirmed.requests = requests;
        });
    }

    pub(super) fn end(mut self, end: SessionEnd) {
        tracing::debug!(?end, "session ended");
        self.announcer.announce(&SessionEvent::Ended(end.clone()));
        self.state.send_replace(SessionState::Ended(end));
    }
}
