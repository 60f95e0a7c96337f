//! What a pool tells: changes of its backends, each exactly once and in order.

use futures_core::Stream;
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};
use tokio::sync::mpsc;

/// Events one subscriber may have waiting. Further ones are counted by [`PoolEvents::missed`].
const WAITING_MAX: usize = 1024;

/// A change of a backend. `backend` is its id.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PoolEvent {
    /// `backend-healthy` (P23): an unhealthy backend passed its checks again.
    BackendHealthy {
        /// Its id.
        backend: Arc<str>,
    },
    /// `backend-unhealthy` (P24): a backend failed its checks; its idle connections are closed.
    BackendUnhealthy {
        /// Its id.
        backend: Arc<str>,
        /// What the last check said.
        error: String,
    },
    /// The circuit breaker opened; the backend's idle connections are closed.
    BreakerOpened {
        /// Its id.
        backend: Arc<str>,
        /// The last failure.
        error: String,
    },
    /// The recovery time has passed: one connection is tried.
    BreakerHalfOpened {
        /// Its id.
        backend: Arc<str>,
    },
    /// The probe opened: the backend is used again.
    BreakerClosed {
        /// Its id.
        backend: Arc<str>,
    },
}

impl PoolEvent {
    /// The id of the backend that changed.
    pub fn backend(&self) -> &str {
        match self {
            PoolEvent::BackendHealthy { backend }
            | PoolEvent::BackendUnhealthy { backend, .. }
            | PoolEvent::BreakerOpened { backend, .. }
            | PoolEvent::BreakerHalfOpened { backend }
            | PoolEvent::BreakerClosed { backend } => backend,
        }
    }
}

/// The events from the moment of [`subscribe`](super::WebSocketPool::events) on. A `Stream`; ends with the pool.
#[derive(Debug)]
pub struct PoolEvents {
    events: mpsc::Receiver<PoolEvent>,
    missed: Arc<AtomicU64>,
}

impl PoolEvents {
    /// The next event; `None` when the pool is closed. Cancel-safe.
    pub async fn next(&mut self) -> Option<PoolEvent> {
        self.events.recv().await
    }

    /// How many events were lost because nobody took them from here: 1,024 wait at most.
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }
}

impl Stream for PoolEvents {
    type Item = PoolEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<PoolEvent>> {
        self.events.poll_recv(cx)
    }
}

/// The subscribers.
#[derive(Debug, Default)]
pub(super) struct Announcer {
    subscribers: Vec<(mpsc::Sender<PoolEvent>, Arc<AtomicU64>)>,
}

impl Announcer {
    pub(super) fn subscribe(&mut self) -> PoolEvents {
        let (sender, events) = mpsc::channel(WAITING_MAX);
        let missed = Arc::new(AtomicU64::new(0));
        self.subscribers.push((sender, missed.clone()));
        PoolEvents { events, missed }
    }

    pub(super) fn announce(&mut self, event: PoolEvent) {
        tracing::info!(backend = event.backend(), ?event, "pool");
        self.subscribers
            .retain(|(sender, missed)| match sender.try_send(event.clone()) {
                Ok(()) => true,
                Err(mpsc::error::TrySendError::Full(_)) => {
                    missed.fetch_add(1, Ordering::Relaxed);
                    true
                }
                Err(mpsc::error::TrySendError::Closed(_)) => false,
            });
    }

    pub(super) fn end(&mut self) {
        self.subscribers.clear();
    }
}
