//! Answers that are on their way.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::{Duration, Instant};

use shardwire_shards::vocabulary::{
    DocumentOutcome, DocumentText, EditOutcome, Position, PublishOutcome,
};

use super::error::{DocumentError, PublishError};

/// An answer that is on its way: `.await` it from any async runtime, or [`wait`](Self::wait) for it.
#[derive(Debug)]
#[must_use = "the answer is lost unless somebody waits for it"]
pub struct Pending<T>(pub(super) oneshot::Receiver<T>);

impl<T: Default> Pending<T> {
    /// Blocks until the answer is there. Empty when the engine is overloaded or has stopped.
    #[must_use]
    pub fn wait(self) -> T {
        self.0.recv().unwrap_or_default()
    }
}

impl<T: Default + Send + 'static> IntoFuture for Pending<T> {
    type Output = T;
    type IntoFuture = Pin<Box<dyn Future<Output = T> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        let receiver = self.0.into_future();
        Box::pin(async move { receiver.await.unwrap_or_default() })
    }
}

/// What becomes of a publication: `.await` it from any async runtime, or [`wait`](Self::wait) for it.
#[derive(Debug)]
#[must_use = "the answer is lost unless somebody waits for it"]
pub struct PendingPublication(pub(super) oneshot::Receiver<PublishOutcome>);

impl PendingPublication {
    /// Blocks until it is known. In a channel without history a publication that was taken has no place.
    ///
    /// # Errors
    /// See [`PublishError`]; when it says so, nobody got anything. `Overloaded` can also mean that the engine stopped meanwhile.
    pub fn wait(self) -> Result<Option<Position>, PublishError> {
        published(self.0.recv())
    }
}

impl IntoFuture for PendingPublication {
    type Output = Result<Option<Position>, PublishError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        let receiver = self.0.into_future();
        Box::pin(async move { published(receiver.await) })
    }
}

fn published(
    told: Result<PublishOutcome, oneshot::RecvError>,
) -> Result<Option<Position>, PublishError> {
    told.map_err(|_| PublishError::Overloaded)?
        .map_err(PublishError::from_code)
}

/// A document's text, on its way: `.await` it from any async runtime, or [`wait`](Self::wait) for it.
#[derive(Debug)]
#[must_use = "the answer is lost unless somebody waits for it"]
pub struct PendingDocument(pub(super) oneshot::Receiver<DocumentOutcome>);

impl PendingDocument {
    /// Blocks until it is there.
    ///
    /// # Errors
    /// `Disabled`, `StorageFull`, `StorageFailed` and `Overloaded` of [`DocumentError`]; the last can also mean that the engine stopped
    /// meanwhile.
    pub fn wait(self) -> Result<DocumentText, DocumentError> {
        read(self.0.recv())
    }
}

impl IntoFuture for PendingDocument {
    type Output = Result<DocumentText, DocumentError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        let receiver = self.0.into_future();
        Box::pin(async move { read(receiver.await) })
    }
}

fn read(told: Result<DocumentOutcome, oneshot::RecvError>) -> Result<DocumentText, DocumentError> {
    told.map_err(|_| DocumentError::Overloaded)?
        .map_err(DocumentError::from_code)
}

/// What becomes of an edit of the server's own: `.await` it from any async runtime, or [`wait`](Self::wait) for it.
#[derive(Debug)]
#[must_use = "the answer is lost unless somebody waits for it"]
pub struct PendingEdit(pub(super) oneshot::Receiver<EditOutcome>);

impl PendingEdit {
    /// Blocks until it is known: the version the edit made, once it is as safe as documents are.
    ///
    /// # Errors
    /// See [`DocumentError`]; when it says so, the document is as before. `Overloaded` can also mean that the engine stopped meanwhile.
    pub fn wait(self) -> Result<u64, DocumentError> {
        edited(self.0.recv())
    }
}

impl IntoFuture for PendingEdit {
    type Output = Result<u64, DocumentError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        let receiver = self.0.into_future();
        Box::pin(async move { edited(receiver.await) })
    }
}

fn edited(told: Result<EditOutcome, oneshot::RecvError>) -> Result<u64, DocumentError> {
    told.map_err(|_| DocumentError::Overloaded)?
        .map_err(DocumentError::from_code)
}

/// One answer of every shard, in order, on their way. A shard that is overloaded or has ended gives none.
#[derive(Debug)]
#[must_use = "the answers are lost unless somebody waits for them"]
pub struct PerShard<T>(pub(super) Vec<Option<oneshot::Receiver<T>>>);

impl<T> PerShard<T> {
    /// Blocks until all answers are there, at most for `limit`: what has not come by then is none.
    #[must_use]
    pub fn wait(self, limit: Duration) -> Vec<Option<T>> {
        let until = Instant::now() + limit;
        self.0
            .into_iter()
            .map(|receiver| receiver?.recv_deadline(until).ok())
            .collect()
    }

    /// As `wait`, on a tokio runtime.
    pub(crate) async fn within(self, limit: Duration) -> Vec<Option<T>> {
        let until = tokio::time::Instant::now() + limit;
        let mut answers = Vec::with_capacity(self.0.len());
        for receiver in self.0 {
            let answer = match receiver {
                Some(receiver) => tokio::time::timeout_at(until, receiver.into_future())
                    .await
                    .ok()
                    .and_then(Result::ok),
                None => None,
            };
            answers.push(answer);
        }
        answers
    }
}

impl<T: Send + 'static> IntoFuture for PerShard<T> {
    type Output = Vec<Option<T>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Vec<Option<T>>> + Send>>;

    /// Waits for all shards that still answer, however long they take; put a time limit of your runtime around it.
    fn into_future(self) -> Self::IntoFuture {
        let receivers: Vec<_> = self
            .0
            .into_iter()
            .map(|receiver| receiver.map(IntoFuture::into_future))
            .collect();
        Box::pin(async move {
            let mut answers = Vec::with_capacity(receivers.len());
            for receiver in receivers {
                answers.push(match receiver {
                    Some(receiver) => receiver.await.ok(),
                    None => None,
                });
            }
            answers
        })
    }
}
