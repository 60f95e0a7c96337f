//! What a pool tells: changes of its backends.

use crate::announce::Events;
use std::sync::Arc;

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

/// Changes of a pool's backends, from the moment of [`events`](super::WebSocketPool::events) on.
pub type PoolEvents = Events<PoolEvent>;
