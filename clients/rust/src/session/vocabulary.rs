//! What is said of a session: options, states, events, outcomes.

use crate::{
    message::Ending,
    options::ConnectOptions,
    reconnect::{GaveUp, ReconnectOptions},
};
use serde::de::DeserializeOwned;
use std::time::Duration;

/// Options of a [`Session`](super::Session).
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// How each connection is opened.
    pub connect: ConnectOptions,
    /// When to come back.
    pub reconnect: ReconnectOptions,
    /// How long an answer may take, reconnections included. Default: 10 s.
    pub request_timeout: Duration,
    /// How long [`Session::close`](super::Session::close) may take to bring to the server what it has not confirmed. Default: 5 s.
    pub flush_timeout: Duration,
    /// Messages that may wait to be sent, offline or because the server does not read. Default: 256.
    pub offline_queue: usize,
    /// The same bound in bytes. Default: 1 MiB.
    pub offline_queue_bytes: usize,
    /// Messages each subscription may have waiting; more are dropped, and said so by a gap. Default: 256.
    pub subscription_queue: usize,
    /// Whether to say `ping` when nothing else was said for as long as the server's `hello` asks (`heartbeat.presence`), so that the user is
    /// not taken for offline while the session is there. Default: true.
    pub presence_heartbeat: bool,
    /// Whether [`Session::set_presence`](super::Session::set_presence) is said again on every new connection. Default: true.
    pub presence_again: bool,
}

impl Default for SessionOptions {
    fn default() -> SessionOptions {
        SessionOptions {
            connect: ConnectOptions::default(),
            reconnect: ReconnectOptions::default(),
            request_timeout: Duration::from_secs(10),
            flush_timeout: Duration::from_secs(5),
            offline_queue: 256,
            offline_queue_bytes: 1 << 20,
            subscription_queue: 256,
            presence_heartbeat: true,
            presence_again: true,
        }
    }
}

/// Where a session is; see the diagram of the module's page.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionState {
    /// Opening a connection, or waiting to.
    Connecting,
    /// A connection is open.
    Connected,
    /// For good.
    Ended(SessionEnd),
}

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionEnd {
    /// By [`Session::close`](super::Session::close) or [`Session::close_now`](super::Session::close_now), or because nobody held it any more.
    Closed,
    /// There will be no further attempt; the text is the last error or close.
    GaveUp(GaveUp, String),
}

/// What happens to a session.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum SessionEvent {
    /// A connection is open. `again`: it is not the first.
    Connected {
        /// Whether there was one before.
        again: bool,
    },
    /// The server has said who this connection is.
    Hello(Hello),
    /// The connection was lost; the next attempt comes after `retry_in`.
    Disconnected {
        /// How it ended.
        ending: Ending,
        /// When it will be tried again, from now.
        retry_in: Duration,
    },
    /// The server refused a message that nobody waited for, such as a publish.
    Refused {
        /// What [`Session::publish`](super::Session::publish) gave, if the server told.
        id: Option<u64>,
        /// Why.
        refusal: Refusal,
    },
    /// The session has ended.
    Ended(SessionEnd),
}

/// What the server said about a connection when it opened; see `docs/reference/protocol.md`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Hello {
    /// Its id, as the server's logs write it.
    pub connection: String,
    /// Who it is; `None` if nobody has verified that.
    pub user: Option<String>,
    /// The user's name, where the credentials have one.
    pub name: Option<String>,
    /// Longest message the server takes, in bytes.
    pub max_message_size: usize,
    /// Most channels it may be in at once.
    pub max_channels: usize,
    /// Most messages in a second, where that is limited.
    pub messages_per_second: Option<f64>,
    /// Silence after which the server pings.
    pub heartbeat_interval: Duration,
    /// How long the server then waits before it gives the connection up.
    pub heartbeat_timeout: Duration,
    /// Silence after which the session says something, lest its user be taken for offline; `None`: the server does not ask.
    pub heartbeat_presence: Option<Duration>,
    /// The server's clock when it said this, in Unix milliseconds.
    pub server_time: u64,
    /// When the credentials expire, in Unix milliseconds; `None`: they do not.
    pub expires: Option<u64>,
}

/// The server's `error` message; see `docs/reference/codes.md`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{error} ({code})")]
pub struct Refusal {
    /// Its number.
    pub code: u16,
    /// Its words.
    pub error: String,
    /// Whether the same may succeed later.
    pub temporary: bool,
}

/// What was asked of a session did not happen, or nobody knows.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The server refused. If it is temporary, later it may not.
    #[error("the server refuses: {0}")]
    Refused(Refusal),
    /// The connection was cut before the answer came: it may have been carried out or not.
    #[error("the connection was lost before the answer came")]
    Lost,
    /// No answer in time: it may have been carried out or not.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// As many messages wait already as may. Nothing was sent.
    #[error("too many messages wait to be sent")]
    QueueFull,
    /// The session has this document open already: [`Session::document`](super::Session::document).
    #[error("the session has this document open already")]
    AlreadyOpen,
    /// In `$presence:` channels the server tells who is in another one, and no messages that a subscription could give. Nothing was sent.
    #[error("who is in {0:?} is watched by Session::watch_presence, not subscribed to")]
    WatchPresence(String),
    /// The value has no JSON form, or the answer has another shape.
    #[error("not the JSON that was expected: {0}")]
    Json(#[from] serde_json::Error),
    /// The session has ended. A request or publish that ends so was not sent.
    #[error("the session has ended")]
    Ended,
}

/// How to publish.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PublishOptions {
    /// Not to this connection, should it be subscribed.
    pub exclude_self: bool,
    /// Now or never: dropped unless it can be sent at once.
    pub volatile: bool,
}

/// What became of a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Published {
    /// It is on its way, or waits until the session is connected; the number is in [`SessionEvent::Refused`] should the
    /// server refuse it.
    Queued(u64),
    /// It was volatile and could not be sent at once.
    Dropped,
}

/// Where an acknowledged publication is in the history of its channel.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
pub struct Acknowledged {
    /// Its offset.
    pub offset: u64,
    /// In which life of the history.
    pub epoch: String,
}

/// An answer of the server.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its `type`.
    pub kind: String,
    /// The whole message.
    pub text: String,
}

impl Answer {
    /// The message as a type of one's own.
    ///
    /// # Errors
    ///
    /// It has another shape.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.text)
    }
}
