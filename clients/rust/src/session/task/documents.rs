//! What the session's documents say and hear.

use super::{Asking, TRY_AGAIN, Task, outbox::What};
use crate::session::SessionDocument;
use rand::RngExt;
use shardwire_protocol::envelope::client as wire;
use tokio::time::Instant;

/// Types of messages that are about documents, where no request waits for them.
const TOLD: [&str; 8] = [
    "document-state",
    "document-edits",
    "document-left",
    "edit",
    "edit-ack",
    "cursor-update",
    "user-joined",
    "user-left",
];

impl Task {
    pub(super) fn open_document(&mut self, id: &str, answer: Asking<SessionDocument>) {
        // It may be one that was dropped a moment ago.
        self.leave_documents();
        // Whoever asks no longer drops it, and that rings the bell.
        let _ = answer.send(self.documents.open(id, self.connected));
        self.say_documents();
    }

    fn leave_documents(&mut self) {
        for id in self.documents.take_left() {
            let Ok(id) = serde_json::value::to_raw_value(&*id) else {
                continue;
            };
            if self.connected {
                let fields = [("documentId", &*id)];
                let text = super::text(|out| wire::message(out, "leave-document", fields, None));
                self.outbox.push(text, What::Connection);
            }
        }
    }

    /// Sends what the documents have to say now.
    pub(super) fn say_documents(&mut self) {
        self.leave_documents();
        for text in self.documents.messages() {
            self.outbox.push(text, What::Connection);
        }
        if self.documents_again.is_none() && self.documents.is_postponed() {
            let delay = TRY_AGAIN.mul_f64(1.0 + rand::rng().random::<f64>());
            self.documents_again = Some(Instant::now() + delay);
        }
    }

    /// The server could not do something for a document a while ago.
    pub(super) fn try_documents_again(&mut self) {
        self.documents_again = None;
        self.documents.try_again();
        self.say_documents();
    }

    /// A connection is open, or is lost.
    pub(super) fn carry_documents(&mut self, connected: bool) {
        self.documents_again = None;
        self.documents.set_connected(connected);
        self.say_documents();
    }

    /// A message that answers no request of this session: whether it is about one of its documents.
    pub(super) fn is_about_document(&mut self, kind: &str, message: &str) -> bool {
        let ours = (kind == "error" || TOLD.contains(&kind)) && self.documents.receive(message);
        if ours {
            self.say_documents();
        }
        ours
    }
}
