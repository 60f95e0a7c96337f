//! Telling several listeners about changes, each exactly once and in order.

use futures_core::Stream;
use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};
use tokio::sync::mpsc;

/// Events one listener may have waiting. Further ones are counted by [`Events::missed`].
const WAITING_MAX: usize = 1024;

/// The events from the moment it was asked for on. A `Stream`; ends with what it is about.
pub struct Events<E> {
    events: mpsc::Receiver<E>,
    missed: Arc<AtomicU64>,
}

impl<E> Events<E> {
    /// The next event; `None` at the end. Cancel-safe.
    pub async fn next(&mut self) -> Option<E> {
        self.events.recv().await
    }

    /// How many events were lost because nobody took them from here: 1,024 wait at most.
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }
}

impl<E> Stream for Events<E> {
    type Item = E;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<E>> {
        self.events.poll_recv(cx)
    }
}

impl<E> fmt::Debug for Events<E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Events")
            .field("waiting", &self.events.len())
            .field("missed", &self.missed())
            .finish()
    }
}

/// The listeners.
#[derive(Debug)]
pub(crate) struct Announcer<E> {
    listeners: Vec<(mpsc::Sender<E>, Arc<AtomicU64>)>,
}

impl<E> Default for Announcer<E> {
    fn default() -> Announcer<E> {
        Announcer {
            listeners: Vec::new(),
        }
    }
}

impl<E: Clone> Announcer<E> {
    pub(crate) fn listen(&mut self) -> Events<E> {
        let (sender, events) = mpsc::channel(WAITING_MAX);
        let missed = Arc::new(AtomicU64::new(0));
        self.listeners.push((sender, missed.clone()));
        Events { events, missed }
    }

    pub(crate) fn announce(&mut self, event: &E) {
        self.listeners
            .retain(|(sender, missed)| match sender.try_send(event.clone()) {
                Ok(()) => true,
                Err(mpsc::error::TrySendError::Full(_)) => {
                    missed.fetch_add(1, Ordering::Relaxed);
                    true
                }
                Err(mpsc::error::TrySendError::Closed(_)) => false,
            });
    }

    pub(crate) fn end(&mut self) {
        self.listeners.clear();
    }
}
