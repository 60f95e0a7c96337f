//! Documents that a session holds open over all its connections.
//!
//! **What lives here.** [`SessionDocument`], the handle; `open`, all documents of a session, and which one a message is about.
//!
//! **What does not.** The copy of the text, what it says and hears, what is sent again after a cut
//! ([`SharedDocument`](crate::collaboration::SharedDocument)); when to say it (`task/documents.rs`).
//!
//! **Invariants.**
//! * The text of a handle is what its user has seen: what others do comes into it only by an event. The user's edits are of that text, whatever
//!   has come meanwhile.
//! * An edit is sent again after a cut until the server has it once, or is told as in doubt; also when the handle was dropped meanwhile.
//!
//! **Who calls in.** Users; `task`. **Tests**: against the real server, with cuts, the root crate's `tests/client_documents.rs`.

mod handle;
mod open;

pub use handle::{DocumentUpdate, SessionDocument};

pub(super) use open::OpenDocuments;

use super::{Session, SessionError, task::Command};
use tokio::{sync::oneshot, time};

impl Session {
    /// Joins a document that several people edit, and waits until the server lets it in. It is joined again on every new connection, until it is
    /// dropped; edits go on meanwhile. A session holds each document once.
    ///
    /// # Errors
    ///
    /// [`SessionError::Refused`]: with code 115 if it may not be joined, 103 where the server has no documents. [`SessionError::AlreadyOpen`],
    /// [`SessionError::TimedOut`], [`SessionError::Ended`].
    pub async fn document(&self, id: &str) -> Result<SessionDocument, SessionError> {
        let (answer, answered) = oneshot::channel();
        let command = Command::Document {
            id: id.into(),
            answer,
        };
        let opening = async {
            let mut document = self.ask(command, answered).await?;
            document.joined().await?;
            Ok(document)
        };
        time::timeout(self.request_timeout, opening)
            .await
            .unwrap_or(Err(SessionError::TimedOut(self.request_timeout)))
    }
}
