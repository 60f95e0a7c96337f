//! What the error hook is told.

use std::fmt;

use super::HandlerError;

/// A handler, a middleware or the connect hook that did not end in order (contract M29, K11).
#[derive(Debug)]
#[non_exhaustive]
pub struct Failure {
    /// The type its route was registered under; none: the message belonged to no route, or it was the connect hook.
    pub route: Option<String>,
    /// What happened.
    pub cause: FailureCause,
}

/// How a handler failed. What its client is told: `docs/guides/handlers.md`.
#[derive(Debug)]
#[non_exhaustive]
pub enum FailureCause {
    /// It gave this error.
    Error(HandlerError),
    /// It panicked, with this text. The connection is closed with 1011.
    Panicked(String),
    /// It took longer than `handlers.timeout` and was given up.
    TimedOut,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(route) = &self.route {
            write!(f, "{route:?}: ")?;
        }
        match &self.cause {
            FailureCause::Error(error) => write!(f, "a handler gave an error: {error}"),
            FailureCause::Panicked(text) => write!(f, "a handler panicked: {text}"),
            FailureCause::TimedOut => write!(f, "a handler took too long and was given up"),
        }
    }
}
