//! A session of our JSON protocol: it outlives its connections.
//!
//! **What lives here.** [`Session`], the handle; `vocabulary`, what is said of it; `closing`, its end; `task`, which connects, reads and answers;
//! `subscriptions`, who listens to which channel; `presence`, who is there; `documents`, those it holds open. Messages as `docs/reference/protocol.md` has them.
//!
//! **What does not.** When to come back ([`crate::Reconnector`]), where tokens come from ([`crate::TokenSource`]).
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
//!   may be missing: after a reconnection that could not be resumed, where the server left some out, and when its own queue
//!   overflowed.
//! * Every request ends: with its answer, [`SessionError::Lost`], or [`SessionError::TimedOut`].
//! * A close brings to the server what it has not confirmed, for a bounded time, and says what is left.
//! * Nothing is sent twice, except what has a key by which the server knows it again. A publish without one that was under way
//!   when the connection was cut may or may not have arrived.
//! * All queues are bounded. A subscription that is not read holds up neither others nor the connection.
//!
//! **Who calls in.** Users. **Tests**: `tests/session.rs`, `tests/close.rs`, `tests/presence.rs`; against the real server the root crate's
//! `tests/client_session.rs`, `tests/client_presence.rs` and `tests/client_documents.rs`.

mod closing;
mod documents;
mod presence;
mod subscriptions;
mod task;
mod vocabulary;

pub use closing::{Unconfirmed, UnconfirmedDocument};
pub use documents::{DocumentUpdate, SessionDocument};
pub use presence::{Members, PresenceChange, PresenceEvent, PresenceWatch, UserPresence};
pub use subscriptions::{GapReason, Publication, Subscription, SubscriptionEvent};
pub use vocabulary::{
    Acknowledged, Answer, Hello, PublishOptions, Published, Refusal, SessionEnd, SessionError,
    SessionEvent, SessionOptions, SessionState,
};

use crate::{announce::Events, error::ConnectError, reconnect::Reconnector, target::Target};
use closing::Wish;
use serde::Serialize;
use serde_json::value::RawValue;
use shardwire_protocol::envelope::PRESENCE_PREFIX;
use std::{fmt, time::Duration};
use task::{Command, Ends, Task};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{self, Instant},
};
use tracing::Instrument;

/// A session; a cheap handle, to be cloned. When the last one is dropped, the session closes as by [`Session::close`]; its subscriptions end.
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
    wishes: watch::Sender<Wish>,
    state: watch::Receiver<SessionState>,
    hello: watch::Receiver<Option<Hello>>,
    unconfirmed: watch::Receiver<Unconfirmed>,
    request_timeout: Duration,
}

impl Session {
    /// Starts a session on the current tokio runtime; it connects in the background. The server is asked for its `hello` by
    /// `hello=1` in the query.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Url`]. Everything else is tried again, or ends the session.
    pub fn start(url: &str, options: SessionOptions) -> Result<Session, ConnectError> {
        let target = Target::parse(url)?.with_query("hello", "1");
        let reconnector =
            Reconnector::to(target, options.connect.clone(), options.reconnect.clone());
        let (commands, inbox) = mpsc::channel(64);
        let (wishes, wished) = watch::channel(Wish::default());
        let (states, state) = watch::channel(SessionState::Connecting);
        let (hellos, hello) = watch::channel(None);
        let (left, unconfirmed) = watch::channel(Unconfirmed::default());
        let request_timeout = options.request_timeout;
        let span = tracing::info_span!("session", host = %reconnector.target().authority);
        let ends = Ends {
            inbox,
            wishes: wished,
            state: states,
            hello: hellos,
            unconfirmed: left,
        };
        let task = Task::new(options, ends);
        tokio::spawn(task.run(reconnector).instrument(span));
        Ok(Session {
            commands,
            wishes,
            state,
            hello,
            unconfirmed,
            request_timeout,
        })
    }

    /// Subscribes to a channel, and waits until the server says so. Several subscriptions to one channel are one for the
    /// server. It is made anew on every new connection, until it is dropped.
    ///
    /// # Errors
    ///
    /// [`SessionError::Refused`], with code 111 for a channel of the server's (`$…`) that it does not have; [`SessionError::WatchPresence`],
    /// [`SessionError::TimedOut`], [`SessionError::Ended`].
    pub async fn subscribe(&self, channel: &str) -> Result<Subscription, SessionError> {
        match channel.strip_prefix(PRESENCE_PREFIX) {
            Some(channel) => Err(SessionError::WatchPresence(channel.into())),
            None => self.subscribe_to_any(channel).await,
        }
    }

    async fn subscribe_to_any(&self, channel: &str) -> Result<Subscription, SessionError> {
        let (answer, answered) = oneshot::channel();
        let command = Command::Subscribe {
            channel: channel.into(),
            answer,
        };
        self.ask(command, answered).await
    }

    /// Publishes to a channel. Returns when the message is queued; refusals come as [`SessionEvent::Refused`]. What is under way
    /// when the connection is cut may or may not arrive: [`Session::publish_acknowledged`] knows.
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

    /// Publishes to a channel with history, and waits until the server has it as safe as the channel's rule asks. `key` (1 to 64
    /// bytes) says which publication it is: with the same one it counts once, however often it is sent, as long as the server
    /// remembers it (`docs/reference/config.md`). Therefore, when the connection is cut before the answer came, it is sent again on
    /// the next one. `None`: a random key.
    ///
    /// # Errors
    ///
    /// [`SessionError::Refused`], with code 117 where the channel has no history; [`SessionError::TimedOut`]: it may have been
    /// published or not, and the same key may be tried again. Else as [`Session::request`].
    pub async fn publish_acknowledged(
        &self,
        channel: &str,
        message: &(impl Serialize + ?Sized),
        key: Option<&str>,
        options: PublishOptions,
    ) -> Result<Acknowledged, SessionError> {
        let key = match key {
            Some(key) => key.into(),
            None => format!("{:032x}", rand::random::<u128>()).into(),
        };
        let (answer, answered) = oneshot::channel();
        let command = Command::PublishAcknowledged {
            channel: channel.into(),
            message: serde_json::value::to_raw_value(message)?,
            exclude_self: options.exclude_self,
            key,
            answer,
        };
        Ok(self.ask(command, answered).await?.decode()?)
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
        self.ask_with(kind, fields, false, None).await
    }

    /// As [`Session::request`]. `again`: it may be sent twice, and is if the connection is cut before the answer came. `change`: what it changes of
    /// the session's own presence, should it be granted.
    async fn ask_with(
        &self,
        kind: &str,
        fields: &impl Serialize,
        again: bool,
        change: Option<PresenceChange>,
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
            again,
            change,
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

    /// What the server said about the present connection, or about the last one; `None` before it has.
    pub fn hello(&self) -> Option<Hello> {
        self.hello.borrow().clone()
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
}

impl fmt::Debug for Session {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Session")
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}
