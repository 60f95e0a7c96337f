//! One connection after the other.

use super::{Backoff, GaveUp, Hint, ReconnectOptions};
use crate::{
    connection::Connection, error::ConnectError, message::Ending, options::ConnectOptions,
    target::Target,
};
use shardwire_protocol::codes::close::Advice;
use std::time::Duration;
use tokio::time::{self, Instant};

/// Tokens in a row that the server may refuse. The first may have expired; when the next is refused, too, another would be.
const TOKENS_REFUSED_MAX: u32 = 2;

/// Opens connections to one server, waiting between them as [`ReconnectOptions`] and the server say.
///
/// ```no_run
/// # use shardwire_client::{ConnectOptions, ReconnectOptions, Reconnector};
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let mut server = Reconnector::new("ws://127.0.0.1:8080/echo", ConnectOptions::default(), ReconnectOptions::default())?;
/// loop {
///     let mut connection = server.next().await?;
///     while let Ok(message) = connection.receive().await { /* … */ }
///     server.lost(&connection.ending().expect("receiving ends with an ending"))?;
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct Reconnector {
    target: Target,
    connect: ConnectOptions,
    backoff: Backoff,
    /// Before this nothing is tried.
    not_before: Option<Instant>,
    opened_at: Option<Instant>,
    last_error: Option<ConnectError>,
    tokens_refused: u32,
}

impl Reconnector {
    /// Checks the URL; opens nothing yet.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Url`].
    pub fn new(
        url: &str,
        connect: ConnectOptions,
        reconnect: ReconnectOptions,
    ) -> Result<Reconnector, ConnectError> {
        Ok(Reconnector::to(Target::parse(url)?, connect, reconnect))
    }

    pub(crate) fn to(
        target: Target,
        connect: ConnectOptions,
        reconnect: ReconnectOptions,
    ) -> Reconnector {
        Reconnector {
            target,
            connect,
            backoff: Backoff::new(reconnect),
            not_before: None,
            opened_at: None,
            last_error: None,
            tokens_refused: 0,
        }
    }

    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// The next connection: waits as long as it must and tries until one opens. Cancel-safe: what was still to be waited is
    /// waited by the next call.
    ///
    /// # Errors
    ///
    /// [`GaveUp`]; [`Reconnector::last_error`] tells why the last attempt failed.
    pub async fn next(&mut self) -> Result<Connection, GaveUp> {
        loop {
            if let Some(at) = self.not_before {
                time::sleep_until(at).await;
                self.not_before = None;
            }
            match Connection::open_to(&self.target, &self.connect).await {
                Ok(connection) => {
                    self.opened_at = Some(Instant::now());
                    self.last_error = None;
                    return Ok(connection);
                }
                Err(error) => {
                    let hint = match &error {
                        ConnectError::Token(_) => (&error).into(),
                        error => self.with_another_token(error.into()),
                    };
                    let delay = self.backoff.failed(hint);
                    tracing::debug!(%error, ?delay, "could not connect");
                    self.last_error = Some(error);
                    self.wait(delay?);
                }
            }
        }
    }

    /// The connection that [`Reconnector::next`] gave last has ended: how long the next call will wait.
    ///
    /// # Errors
    ///
    /// [`GaveUp`]: the server does not want this client back. Calling [`Reconnector::next`] all the same tries at once.
    pub fn lost(&mut self, ending: &Ending) -> Result<Duration, GaveUp> {
        if let Some(opened_at) = self.opened_at.take() {
            self.backoff.stood(opened_at.elapsed());
            if self.backoff.failures() == 0 {
                self.tokens_refused = 0;
            }
        }
        let hint = self.with_another_token(ending.into());
        let delay = self.backoff.failed(hint)?;
        tracing::debug!(%ending, ?delay, "connection lost");
        self.wait(delay);
        Ok(delay)
    }

    /// What is to be done when the server wants another token and there is somebody to ask for one.
    fn with_another_token(&mut self, mut hint: Hint) -> Hint {
        if hint.advice == Advice::NewTokenFirst
            && let Some(source) = &self.connect.token
        {
            self.tokens_refused += 1;
            source.set_refused(true);
            if self.tokens_refused < TOKENS_REFUSED_MAX {
                hint.advice = Advice::ComeBack;
            }
        }
        hint
    }

    /// Why the last attempt failed, if it did.
    pub fn last_error(&self) -> Option<&ConnectError> {
        self.last_error.as_ref()
    }

    /// Failures in a row so far.
    pub fn failures(&self) -> u32 {
        self.backoff.failures()
    }

    fn wait(&mut self, delay: Duration) {
        // A delay beyond what the clock can hold: a year is as good.
        let year = Duration::from_secs(365 * 24 * 3600);
        self.not_before = Some(Instant::now() + delay.min(year));
    }
}
