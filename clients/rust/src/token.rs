//! Where tokens come from: the user's callback.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Why a token is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TokenUse {
    /// A connection is about to be opened. One that still holds for a while will do.
    Connect,
    /// The server has refused the token it was shown last, or ended a connection because it expired: another one is needed.
    Replace,
    /// A [`Session`](crate::Session)'s token is about to expire: a newer one of the same user is needed.
    Refresh,
}

/// There is no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not now: the issuer does not answer. It will be asked again.
    #[error("no token now: {0}")]
    Later(String),
    /// Never again: the user has logged out. Nothing more is tried.
    #[error("no token any more: {0}")]
    Never(String),
}

type Asking = Pin<Box<dyn Future<Output = Result<String, TokenError>> + Send>>;

/// Asked for a token before every connection, and by a [`Session`](crate::Session) also when the one it has is about to expire.
/// It is shown as `Authorization: Bearer …`.
///
/// ```
/// use shardwire_client::{ConnectOptions, TokenError, TokenSource, TokenUse};
///
/// # async fn ask_the_login_service(_: bool) -> Result<String, std::io::Error> { Ok("eyJ…".into()) }
/// let options = ConnectOptions {
///     token: Some(TokenSource::new(|why| async move {
///         // Whatever one has kept will do, except after it was refused.
///         let fresh = why != TokenUse::Connect;
///         let token = ask_the_login_service(fresh).await;
///         token.map_err(|error| TokenError::Later(error.to_string()))
///     })),
///     ..ConnectOptions::default()
/// };
/// ```
#[derive(Clone)]
pub struct TokenSource {
    ask: Arc<dyn Fn(TokenUse) -> Asking + Send + Sync>,
    refused: Arc<AtomicBool>,
}

impl TokenSource {
    /// Tokens by `ask`. Its future is dropped when it takes longer than
    /// [`connect_timeout`](crate::ConnectOptions::connect_timeout), and when the connection is not wanted any more.
    pub fn new<F>(ask: impl Fn(TokenUse) -> F + Send + Sync + 'static) -> TokenSource
    where
        F: Future<Output = Result<String, TokenError>> + Send + 'static,
    {
        TokenSource {
            ask: Arc::new(move |why| Box::pin(ask(why))),
            refused: Arc::default(),
        }
    }

    /// The token for a new connection.
    pub(crate) fn to_connect(&self) -> Asking {
        (self.ask)(match self.refused.load(Ordering::Relaxed) {
            true => TokenUse::Replace,
            false => TokenUse::Connect,
        })
    }

    /// A newer token for an open connection.
    pub(crate) fn to_refresh(&self) -> Asking {
        (self.ask)(TokenUse::Refresh)
    }

    /// Whether the token shown last was accepted, as far as is known.
    pub(crate) fn set_refused(&self, refused: bool) {
        self.refused.store(refused, Ordering::Relaxed);
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TokenSource")
    }
}
