//! One document, as its user holds it.

use super::open::{Shared, look};
use crate::{
    collaboration::{DocumentEvent, SharedDocument},
    session::{Refusal, SessionError},
};
use shardwire_protocol::text::{Content, Operation, Side, TextError};
use std::{collections::VecDeque, fmt, sync::Arc};
use tokio::sync::{Notify, watch};

/// What happens to a [`SessionDocument`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DocumentUpdate {
    /// Others have done this to the text, which has it now.
    Text(Operation),
    /// Anything else.
    Event(DocumentEvent),
}

/// What the handle and the session's task share.
pub(super) struct Inside {
    pub(super) document: SharedDocument,
    /// What others have done that the handle has not shown yet.
    pub(super) pending: Operation,
    pub(super) events: VecDeque<DocumentEvent>,
    /// Where the user's cursor has gone since the task looked.
    pub(super) cursor: Option<u32>,
    /// The server has let it in on this connection.
    pub(super) joined: bool,
    /// Why the server does not let it in.
    pub(super) refusal: Option<Refusal>,
    /// The server has not let it in on this connection, and it does not try again by itself.
    pub(super) shut_out: bool,
    /// The handle is gone.
    pub(super) left: bool,
}

/// A document that several people edit, held open by a session over all its connections, until it is dropped. Offline, the user goes on editing;
/// what the server has not confirmed is sent again on the next connection, and counts once. Dropped, it is left when the server has all edits.
///
/// ```no_run
/// # async fn example(session: shardwire_client::Session) -> Result<(), Box<dyn std::error::Error>> {
/// use shardwire_client::{DocumentUpdate, text::Operation};
///
/// let mut plan = session.document("plan").await?;
/// plan.edit(&Operation::replacement(0, 0, "hello")?)?;
/// while let Some(update) = plan.next().await {
///     match update {
///         DocumentUpdate::Text(_) => println!("{}", plan.text()),
///         DocumentUpdate::Event(event) => println!("{event:?}"),
///         _ => {}
///     }
/// }
/// # Ok(()) }
/// ```
pub struct SessionDocument {
    id: Arc<str>,
    /// The text as its user has seen it.
    seen: Content,
    inside: Shared,
    news: watch::Receiver<()>,
    bell: Arc<Notify>,
}

impl SessionDocument {
    pub(super) fn new(
        id: Arc<str>,
        inside: Shared,
        news: watch::Receiver<()>,
        bell: Arc<Notify>,
    ) -> SessionDocument {
        SessionDocument {
            id,
            seen: Content::default(),
            inside,
            news,
            bell,
        }
    }

    /// Waits until the server lets it in, and shows its text.
    pub(super) async fn joined(&mut self) -> Result<(), SessionError> {
        loop {
            {
                let mut inside = look(&self.inside);
                if let Some(refusal) = inside.refusal.take() {
                    return Err(SessionError::Refused(refusal));
                }
                if inside.joined {
                    inside.pending = Operation::new();
                    inside.events.clear();
                    self.seen = inside.document.replica().content().clone();
                    return Ok(());
                }
            }
            let changed = self.news.changed().await;
            changed.map_err(|_| SessionError::Ended)?;
        }
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The text as of the last update, with the user's own edits.
    pub fn text(&self) -> &Content {
        &self.seen
    }

    /// The user edits that text.
    ///
    /// # Errors
    ///
    /// [`TextError::DoesNotFit`], [`TextError::TooLong`]; nothing has changed.
    pub fn edit(&mut self, operation: &Operation) -> Result<(), TextError> {
        let mut inside = look(&self.inside);
        self.seen.check(operation)?;
        // Behind what others have done that the user has not seen yet; that goes behind this.
        let own = operation.transform(&inside.pending, Side::Right)?;
        let pending = inside.pending.transform(operation, Side::Left)?;
        inside.document.edit(&own)?;
        inside.pending = pending;
        drop(inside);
        self.bell.notify_one();
        self.seen.apply(operation)
    }

    /// The user's cursor is at this character of the text. Others are told once the server has the user's edits before it.
    pub fn move_cursor(&mut self, position: u32) {
        let mut inside = look(&self.inside);
        let position = shardwire_protocol::text::transform_position(position, &inside.pending);
        inside.cursor = Some(position);
        drop(inside);
        self.bell.notify_one();
    }

    /// Who is there now.
    pub fn users(&self) -> Vec<String> {
        let inside = look(&self.inside);
        inside.document.users().map(str::to_owned).collect()
    }

    /// Where others' cursors are now, in characters. Behind updates that were not read yet, they may be off by those.
    pub fn cursors(&self) -> Vec<(String, u32)> {
        let inside = look(&self.inside);
        let cursors = inside.document.cursors();
        cursors.map(|(user, at)| (user.to_owned(), at)).collect()
    }

    /// Whether the server lets the user see only: edits would be refused and taken back.
    pub fn is_read_only(&self) -> bool {
        look(&self.inside).document.is_read_only()
    }

    /// Whether the server has all of the user's edits.
    pub fn is_settled(&self) -> bool {
        look(&self.inside).document.replica().is_settled()
    }

    /// The version of the server's text, the user's own edits aside that are not acknowledged.
    pub fn version(&self) -> u64 {
        look(&self.inside).document.replica().version()
    }

    /// Waits until the server has all of the user's edits. Cancel-safe.
    ///
    /// # Errors
    ///
    /// [`SessionError::Ended`].
    pub async fn settled(&self) -> Result<(), SessionError> {
        let mut news = self.news.clone();
        while !self.is_settled() {
            let changed = news.changed().await;
            changed.map_err(|_| SessionError::Ended)?;
        }
        Ok(())
    }

    /// The next update; `None` when the session has ended. Cancel-safe.
    pub async fn next(&mut self) -> Option<DocumentUpdate> {
        loop {
            if let Some(update) = self.update() {
                return Some(update);
            }
            self.news.changed().await.ok()?;
        }
    }

    fn update(&mut self) -> Option<DocumentUpdate> {
        let mut inside = look(&self.inside);
        if !inside.pending.is_empty() {
            let change = std::mem::take(&mut inside.pending);
            self.seen.apply(&change).ok()?;
            return Some(DocumentUpdate::Text(change));
        }
        inside.events.pop_front().map(DocumentUpdate::Event)
    }
}

impl Drop for SessionDocument {
    fn drop(&mut self) {
        look(&self.inside).left = true;
        self.bell.notify_one();
    }
}

impl fmt::Debug for SessionDocument {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SessionDocument")
            .field("id", &self.id)
            .field("version", &self.version())
            .finish_non_exhaustive()
    }
}
