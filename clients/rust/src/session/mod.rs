//! A session of our JSON protocol: it outlives its connections.
//!
//! **What lives here.** [`Session`], the handle; `task`, which connects, reads and answers; `subscriptions`, who listens to
//! which channel. Messages as `docs/reference/protocol.md` has them.
//!
//! **What does not.** When to come back ([`crate::Reconnector`]). What the server does not offer yet: authentication, history
//! and resume, acknowledged publishes, presence.
//!
//! ```text
//!              start                     opened                       close, or the server wants us no more
//!   (begin) ──────────► Connecting ─────────────────► Connected ──────────────────────────────► Ended
//!                           ▲      subscribes again       │                                       ▲
//!                           └─────── lost: backoff ───────┘            gave up, or closed ────────┘
//! ```
//!
//! **Invariants.**
//! * A subscription either gives every message of its channel, in order, or says [`Gap`](SubscriptionEvent::Gap) where some
//!   may be missing: after each reconnection, and when its own queue overflowed.
//! * Every request ends: with its answer, [`SessionError::Lost`], or [`SessionError::TimedOut`].
//! * Nothing is sent twice. A publish that was under way when the connection was cut may or may not have arrived.
//! * All queues are bounded. A subscription that is not read holds up neither others nor the connection.
//!
//! **Who calls in.** Users. **Tests**: `tests/session.rs`; against the real server `tests/servers.rs`.

mod subscriptions;
mod task;

pub use subscriptions::{GapReason, Publication, Subscription, SubscriptionEvent};

use crate::{
    announce::Events,
    error::ConnectError,
    message::Ending,
    options::ConnectOptions,
    reconnect::{GaveUp, ReconnectOptions, Reconnector},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use std::{fmt, time::Duration};
use task::{Command, Task};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{self, Instant},
};

/// Options of a [`Session`].
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// How each connection is opened.
    pub connect: ConnectOptions,
    /// When to come back.
    pub reconnect: ReconnectOptions,
    /// How long an answer may take, reconnections included. Default: 10 s.
    pub request_timeout: Duration,
    /// Messages that may wait to be sent, offline or because the server does not read. Default: 256.
    pub offline_queue: usize,
    /// The same bound in bytes. Default: 1 MiB.
    pub offline_queue_bytes: usize,
    /// Messages each subscription may have waiting; more are dropped, and said so by a gap. Default: 256.
    pub subscription_queue: usize,
}

impl Default for SessionOptions {
    fn default() -> SessionOptions {
        SessionOptions {
            connect: ConnectOptions::default(),
            reconnect: ReconnectOptions::default(),
            request_timeout: Duration::from_secs(10),
            offline_queue: 256,
            offline_queue_bytes: 1 << 20,
            subscription_queue: 256,
        }
    }
}

/// A session; a cheap handle, to be cloned. When the last one is dropped, the session closes; its subscriptions end.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use shardwire_client::{Session, SessionOptions, SubscriptionEvent};
///
/// let session = Session::start("ws://127.0.0.1:8080/ws?user=ann", SessionOptions::default())?;
/// let mut lobby = session.subscribe("lobby").await?;
/// session.publish("lobby", "hello").await?;
/// while let Some(event) = lobby.next().await {
///     match event {
///         SubscriptionEvent::Message(publication) => println!("{}", publication.message.get()),
///         SubscriptionEvent::Gap(reason) => println!("messages may be missing: {reason:?}"),
///         _ => {}
///     }
/// }
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Session {
    commands: mpsc::Sender<Command>,
    state: watch::Receiver<SessionState>,
    request_timeout: Duration,
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
    /// By [`Session::close`], or because nobody held it any more.
    Closed,
    /// There will be no further attempt; the text is the last error or close.
    GaveUp(GaveUp, String),
}

/// What happens to a session.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionEvent {
    /// A connection is open. `again`: it is not the first.
    Connected {
        /// Whether there was one before.
        again: bool,
    },
    /// The connection was lost; the next attempt comes after `retry_in`.
    Disconnected {
        /// How it ended.
        ending: Ending,
        /// When it will be tried again, from now.
        retry_in: Duration,
    },
    /// The server refused a message that nobody waited for, such as a publish.
    Refused {
        /// What [`Session::publish`] gave, if the server told.
        id: Option<u64>,
        /// Why.
        refusal: Refusal,
    },
    /// The session has ended.
    Ended(SessionEnd),
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
    /// The value has no JSON form, or the answer has another shape.
    #[error("not the JSON that was expected: {0}")]
    Json(#[from] serde_json::Error),
    /// The session has ended.
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

impl Session {
    /// Starts a session on the current tokio runtime; it connects in the background.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Url`]. Everything else is tried again, or ends the session.
    pub fn start(url: &str, options: SessionOptions) -> Result<Session, ConnectError> {
        let reconnector =
            Reconnector::new(url, options.connect.clone(), options.reconnect.clone())?;
        let (commands, inbox) = mpsc::channel(64);
        let (sender, state) = watch::channel(SessionState::Connecting);
        let request_timeout = options.request_timeout;
        tokio::spawn(Task::new(options, inbox, sender).run(reconnector));
        Ok(Session {
            commands,
            state,
            request_timeout,
        })
    }

    /// Subscribes to a channel, and waits until the server says so. Several subscriptions to one channel are one for the
    /// server. It is made anew on every new connection, until it is dropped.
    ///
    /// # Errors
    ///
    /// [`SessionError::Refused`], [`SessionError::TimedOut`], [`SessionError::Ended`].
    pub async fn subscribe(&self, channel: &str) -> Result<Subscription, SessionError> {
        let (answer, answered) = oneshot::channel();
        let command = Command::Subscribe {
            channel: channel.into(),
            answer,
        };
        self.ask(command, answered).await
    }

    /// Publishes to a channel. Returns when the message is queued: the server acknowledges no publish yet, and refusals
    /// come as [`SessionEvent::Refused`].
    ///
    /// # Errors
    ///
    /// [`SessionError::QueueFull`] offline, [`SessionError::Json`], [`SessionError::Ended`].
    pub async fn publish(
        &self,
        channel: &str,
        message: &(impl Serialize + ?Sized),
    ) -> Result<Published, SessionError> {
        self.publish_with(channel, message, PublishOptions::default())
            .await
    }

    /// As [`Session::publish`], with options.
    ///
    /// # Errors
    ///
    /// As [`Session::publish`].
    pub async fn publish_with(
        &self,
        channel: &str,
        message: &(impl Serialize + ?Sized),
        options: PublishOptions,
    ) -> Result<Published, SessionError> {
        let (answer, answered) = oneshot::channel();
        let command = Command::Publish {
            channel: channel.into(),
            message: serde_json::value::to_raw_value(message)?,
            options,
            answer,
        };
        self.ask(command, answered).await
    }

    /// Sends a message of any type with an `id`, and waits for the answer that carries it. `fields` must be a JSON object;
    /// its `type` and `id` are ours.
    ///
    /// # Errors
    ///
    /// Any [`SessionError`].
    pub async fn request(
        &self,
        kind: &str,
        fields: &impl Serialize,
    ) -> Result<Answer, SessionError> {
        let fields = serde_json::value::to_raw_value(fields)?;
        // Read back as an object: what is none fails here, not at the server.
        let fields: std::collections::BTreeMap<String, Box<RawValue>> =
            serde_json::from_str(fields.get())?;
        let (answer, answered) = oneshot::channel();
        let command = Command::Request {
            kind: kind.to_owned(),
            fields: fields
                .into_iter()
                .filter(|(name, _)| name != "type" && name != "id")
                .collect(),
            answer,
        };
        self.ask(command, answered).await
    }

    /// The application's `ping`: the time of the round trip through the server's message handling.
    ///
    /// # Errors
    ///
    /// As [`Session::request`].
    pub async fn ping(&self) -> Result<Duration, SessionError> {
        let begin = Instant::now();
        let nothing = std::collections::BTreeMap::<String, ()>::new();
        self.request("ping", &nothing).await?;
        Ok(begin.elapsed())
    }

    async fn ask<T>(
        &self,
        command: Command,
        answered: oneshot::Receiver<Result<T, SessionError>>,
    ) -> Result<T, SessionError> {
        let asking = async {
            let sent = self.commands.send(command).await;
            sent.map_err(|_| SessionError::Ended)?;
            answered.await.unwrap_or(Err(SessionError::Ended))
        };
        time::timeout(self.request_timeout, asking)
            .await
            .unwrap_or(Err(SessionError::TimedOut(self.request_timeout)))
    }

    /// Where the session is.
    pub fn state(&self) -> SessionState {
        self.state.borrow().clone()
    }

    /// Waits until a connection is open.
    ///
    /// # Errors
    ///
    /// [`SessionError::Ended`].
    pub async fn connected(&self) -> Result<(), SessionError> {
        let mut state = self.state.clone();
        let reached = state.wait_for(|state| *state != SessionState::Connecting);
        match reached.await.as_deref() {
            Ok(SessionState::Connected) => Ok(()),
            _ => Err(SessionError::Ended),
        }
    }

    /// Waits for the end of the session.
    pub async fn ended(&self) -> SessionEnd {
        let mut state = self.state.clone();
        let reached = state.wait_for(|state| matches!(state, SessionState::Ended(_)));
        match reached.await.as_deref() {
            Ok(SessionState::Ended(end)) => end.clone(),
            _ => SessionEnd::Closed,
        }
    }

    /// What happens from now on, as a stream.
    pub async fn events(&self) -> Events<SessionEvent> {
        let (answer, answered) = oneshot::channel();
        let _ = self.commands.send(Command::Events { answer }).await;
        // A session that has ended tells nothing any more.
        let nothing = || crate::announce::Announcer::default().listen();
        answered.await.unwrap_or_else(|_| nothing())
    }

    /// Closes the session: sends what waits if it is connected, ends the connection with 1000, and ends every subscription.
    pub async fn close(&self) {
        let _ = self.commands.send(Command::Close).await;
        self.ended().await;
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Session")
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}
