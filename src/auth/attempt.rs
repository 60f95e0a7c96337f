//! What a verifier is shown.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use shardwire_protocol::handshake::server::Request;
use shardwire_shards::vocabulary::{Token, UserId};

/// Where a token was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Source {
    /// In the header `Authorization: Bearer …`, or in the header of API keys.
    Header,
    /// In a subprotocol `bearer.…` (contract D18), which is never echoed.
    Subprotocol,
    /// In the cookie of the configured name.
    Cookie,
    /// In the query, under the configured name.
    Query,
    /// In the first message, `auth`.
    FirstFrame,
    /// In a `refresh` message of a connection that is open already.
    Refresh,
}

/// Somebody wants to be let in (or to stay): what is known of them. Its `Debug` shows nothing that must not be shown.
#[derive(Clone)]
pub struct Attempt {
    pub(super) token: Option<(Token, Source)>,
    pub(super) request: Option<Arc<RequestHead>>,
    pub(super) address: IpAddr,
    pub(super) user: Option<UserId>,
}

impl Attempt {
    /// The token, if there is one in a place that is looked at. A verifier of one's own may also look into the request.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        self.token.as_ref().map(|(token, _)| token.expose())
    }

    /// Where the token was found.
    #[must_use]
    pub fn source(&self) -> Option<Source> {
        self.token.as_ref().map(|(_, source)| *source)
    }

    /// The path of the upgrade request. None for a `refresh`, whose request is long gone.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        self.request.as_deref().map(|request| &*request.path)
    }

    /// The query of the upgrade request, as it was sent.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.request.as_deref()?.query.as_deref()
    }

    /// The first header of this name, in any case, of the upgrade request.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// All headers of the upgrade request, in their order.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        let headers = self.request.iter().flat_map(|request| &request.headers);
        headers.map(|(name, value)| (&**name, &**value))
    }

    /// The client's address.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Who the connection is already, for a `refresh`. Another user than that is refused.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt")
            .field("source", &self.source())
            .field("path", &self.path())
            .field("address", &self.address)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// An upgrade request that outlives the buffer it came in.
pub(super) struct RequestHead {
    path: Box<str>,
    query: Option<Box<str>>,
    headers: Vec<(Box<str>, Box<str>)>,
}

impl RequestHead {
    pub(super) fn of(request: &Request<'_>) -> Self {
        Self {
            path: request.path().into(),
            query: request.query().map(Into::into),
            headers: request
                .fields()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        }
    }
}
