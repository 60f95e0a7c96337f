//! How a session closes, and what it then says of what the server has not confirmed.

use super::Session;
use shardwire_protocol::text::Operation;

/// What the holders of a session want of it. Only upwards; with the last handle, the session is to close.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wish {
    #[default]
    Stay,
    /// Bring to the server what it has not confirmed, then close.
    Close,
    CloseNow,
}

/// What the server had not confirmed when a session ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unconfirmed {
    /// Documents with edits of the user that the server has neither confirmed nor refused. [`SessionDocument::text`](super::SessionDocument::text) goes on showing
    /// them.
    pub documents: Vec<UnconfirmedDocument>,
    /// Requests and acknowledged publishes without an answer. Whoever waited for one has been told: [`SessionError::Lost`](super::SessionError::Lost) if
    /// it was sent, [`SessionError::Ended`](super::SessionError::Ended) if it was not.
    pub requests: usize,
    /// Publishes that were never sent, by what [`Session::publish`] gave.
    pub publishes: Vec<u64>,
    /// Publishes had been sent on a connection that did not end by a close handshake: the last of them may have arrived or not.
    pub publishes_in_doubt: bool,
}

impl Unconfirmed {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        *self == Unconfirmed::default()
    }
}

/// Edits of one document that the server has not confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnconfirmedDocument {
    /// Its id.
    pub id: String,
    /// The edits, each of the text behind the one before. The first may have arrived, and its confirmation not; the others have not been sent.
    pub edits: Vec<Operation>,
    /// Edits that were sent once, of which the server then could not say whether it took them: those of which
    /// [`DocumentEvent::InDoubt`](crate::collaboration::DocumentEvent::InDoubt) has not been read yet. The text does not show them unless it took them.
    pub in_doubt: Vec<Operation>,
}

impl Session {
    /// Closes the session in order. What was asked before is still brought to the server: messages that wait are sent, and answers, confirmations
    /// of edits, and if there is none, a connection, are waited for, for [`SessionOptions::flush_timeout`](super::SessionOptions::flush_timeout) at
    /// most. Then the connection ends with 1000 (which takes [`ConnectOptions::close_timeout`](crate::ConnectOptions::close_timeout) at most), and
    /// with it every subscription and document.
    ///
    /// Returns what the server has not confirmed; for a session that has ended before, what it had not confirmed then. Cancelled, the close goes on.
    pub async fn close(&self) -> Unconfirmed {
        self.wish(Wish::Close).await
    }

    /// As [`Session::close`], but waits for no answers, confirmations and connections. Messages that the connection has taken already are sent.
    pub async fn close_now(&self) -> Unconfirmed {
        self.wish(Wish::CloseNow).await
    }

    async fn wish(&self, wish: Wish) -> Unconfirmed {
        self.wishes.send_if_modified(|present| {
            let more = wish > *present;
            *present = wish.max(*present);
            more
        });
        self.ended().await;
        self.unconfirmed.borrow().clone()
    }
}
