//! A connection on loan.

use super::{
    core::{Key, Lease, Return},
    shared::Shared,
};
use crate::connection::Connection;
use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::Arc,
};

/// A connection of the pool, until it is dropped or released: then it goes back (P20).
///
/// It is a [`Connection`] by `Deref`. What was received and not taken is dropped when it goes back, and what comes while it is
/// idle, too; with [`validate_on_checkout`](super::PoolOptions::validate_on_checkout) everything that the server sent before it
/// answered the ping of the checkout. A connection with something left on it that the next user should not meet (a
/// subscription, a login, an answer that is still to come) is to be [`discard`](PooledConnection::discard)ed.
pub struct PooledConnection {
    lease: Option<Lease>,
    shared: Arc<Shared>,
}

impl PooledConnection {
    pub(super) fn new(lease: Lease, shared: Arc<Shared>) -> PooledConnection {
        PooledConnection {
            lease: Some(lease),
            shared,
        }
    }

    fn lease(&self) -> &Lease {
        self.lease
            .as_ref()
            .expect("taken only when it is given back")
    }

    /// Id of the backend it goes to.
    pub fn backend(&self) -> &str {
        &self.lease().backend
    }

    pub(super) fn member(&self) -> Key {
        self.lease().member
    }

    /// Whether it served somebody before.
    pub fn is_reused(&self) -> bool {
        self.lease().reused
    }

    /// Gives it back; the same as dropping it.
    pub fn release(self) {}

    /// Closes it instead of giving it back.
    pub fn discard(mut self) {
        self.give_back(Return::Discard);
    }

    /// Gives it back as one that does not answer.
    pub(super) fn dead(mut self) {
        self.give_back(Return::Dead);
    }

    fn give_back(&mut self, why: Return) {
        if let Some(lease) = self.lease.take() {
            self.shared.release(lease, why);
        }
    }
}

impl Deref for PooledConnection {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.lease().connection
    }
}

impl DerefMut for PooledConnection {
    fn deref_mut(&mut self) -> &mut Connection {
        let lease = self.lease.as_mut();
        &mut lease.expect("taken only when it is given back").connection
    }
}

impl Drop for PooledConnection {
    fn drop(&mut self) {
        self.give_back(Return::Keep);
    }
}

impl fmt::Debug for PooledConnection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = formatter.debug_struct("PooledConnection");
        if let Some(lease) = &self.lease {
            debug
                .field("id", &lease.id)
                .field("backend", &lease.backend)
                .field("connection", &lease.connection);
        }
        debug.finish_non_exhaustive()
    }
}
