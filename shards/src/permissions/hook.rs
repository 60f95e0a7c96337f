//! The application's own word on who may do what: asked behind the rules, and able to refuse only.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::Action;
use crate::vocabulary::{ConnectionId, Identity};

/// What a client asks for, as the application sees it: who, what, where.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Access<'a> {
    /// What it asks to do.
    pub action: Action,
    /// In which channel.
    pub channel: &'a str,
    /// Which connection.
    pub connection: ConnectionId,
    /// Where its client is.
    pub address: IpAddr,
    /// Verified, or the name the client gave itself while nobody verifies.
    pub user: Option<&'a str>,
    /// Who was verified; none: nobody in particular.
    pub identity: Option<&'a Identity>,
    /// What the application has tagged the connection with.
    pub tags: &'a [Box<str>],
}

/// The application's check. Immutable and shared by all shards, as the settings are that it belongs to; a shard asks it in the
/// middle of a turn and waits for nothing else meanwhile, so it answers from memory, and does not panic.
#[derive(Clone)]
pub struct AuthorizeHook(Arc<dyn Fn(&Access<'_>) -> bool + Send + Sync>);

impl AuthorizeHook {
    /// A check that is asked for everything the rules allow, and says whether it may be.
    pub fn new(hook: impl Fn(&Access<'_>) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(hook))
    }

    pub(crate) fn allows(&self, access: &Access<'_>) -> bool {
        (self.0)(access)
    }
}

impl fmt::Debug for AuthorizeHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthorizeHook")
    }
}

impl PartialEq for AuthorizeHook {
    /// Whether they are the same check, not one that answers alike.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for AuthorizeHook {}
