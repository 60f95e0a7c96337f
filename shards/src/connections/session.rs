//! What a verified connection has beyond others.

use crate::vocabulary::Identity;

/// Who a connection is, for as long as its credentials hold. Connections that nobody verified have none.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) identity: Identity,
}
