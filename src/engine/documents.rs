//! Documents that several people edit, as the embedding service reads and edits them (contract L1 to L8).

use shardwire_protocol::text::Operation;
use shardwire_shards::document_channel;
use shardwire_shards::vocabulary::{Command, DocumentCommand, DocumentQuestion};

use super::error::DocumentError;
use super::handle::EngineHandle;
use super::inbox::Waiting;
use super::pending::{Pending, PendingDocument, PendingEdit};

impl EngineHandle {
    /// A document's text, with edits that are being stored. One that nobody has written into is empty, at version 0; one that was let go of
    /// is read from the disk first.
    ///
    /// # Errors
    /// [`DocumentError::Name`], [`DocumentError::Overloaded`].
    pub fn document(&self, id: &str) -> Result<PendingDocument, DocumentError> {
        let (waiting, text) = oneshot::channel();
        self.ask_document(id, DocumentCommand::Read, Waiting::Document(waiting))?;
        Ok(PendingDocument(text))
    }

    /// Edits a document as the server: members see an edit of the user `$server`. `version` is the one that `operation` was made on; `None`:
    /// the text as it is.
    ///
    /// ```no_run
    /// # use shardwire::{DocumentError, EngineHandle};
    /// # use shardwire::text::Operation;
    /// # async fn sign(engine: EngineHandle) -> Result<(), Box<dyn std::error::Error>> {
    /// let plan = engine.document("plan")?.await?;
    /// let end = plan.content.chars().count().try_into()?;
    /// let signature = Operation::replacement(end, 0, "\n-- seen")?;
    /// engine.edit_document("plan", Some(plan.version), signature)?.await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// See [`DocumentError`].
    pub fn edit_document(
        &self,
        id: &str,
        version: Option<u64>,
        operation: Operation,
    ) -> Result<PendingEdit, DocumentError> {
        let (waiting, edited) = oneshot::channel();
        let command = DocumentCommand::Edit { version, operation };
        self.ask_document(id, command, Waiting::Edited(waiting))?;
        Ok(PendingEdit(edited))
    }

    /// Ends a document: its members are told `document-left` with the reason `forgotten`, and nothing of it stays, on disk neither. The
    /// answer is 1, or 0 if there was none.
    ///
    /// # Errors
    /// [`DocumentError::Name`], [`DocumentError::Overloaded`].
    pub fn forget_document(&self, id: &str) -> Result<Pending<usize>, DocumentError> {
        let (waiting, forgotten) = oneshot::channel();
        self.ask_document(id, DocumentCommand::Forget, Waiting::Count(waiting))?;
        Ok(Pending(forgotten))
    }

    fn ask_document(
        &self,
        id: &str,
        command: DocumentCommand,
        waiting: Waiting,
    ) -> Result<(), DocumentError> {
        let channel = document_channel(id).ok_or_else(|| DocumentError::Name(id.to_owned()))?;
        let home = self.home_of_channel(&channel);
        let question = |answer| {
            Command::Document(Box::new(DocumentQuestion {
                document: channel.into(),
                command,
                answer: Some(answer),
            }))
        };
        self.inner
            .inboxes
            .ask(home, waiting, question)
            .map_err(|_| DocumentError::Overloaded)
    }
}
