//! A WebSocket with a task of its own: it answers pings and notices the end also while nobody looks.
//!
//! **What lives here.** [`Connection`], the handle; `driver`, the task; `mailbox`, what was received and not taken yet;
//! `keepalive`, pings when the peer is silent.
//!
//! **What does not.** Frames and the close handshake ([`crate::WebSocket`]), reconnecting (`session`), sharing (`pool`).
//!
//! **Invariants.**
//! * Each connection ends exactly once, with one [`Ending`], whatever happens; its task ends within `close_timeout` of that.
//! * Queues are bounded in both directions: `send_queue` messages to send; `receive_queue` messages or
//!   `receive_queue_bytes` bytes received. When the latter is full the socket is not read, so the peer has to wait.
//! * Every future here is cancel-safe: a message is queued or not, received or still there.
//!
//! **Who calls in.** Users, `pool`, `session`. **Tests**: `tests/connection.rs`.

mod driver;
mod keepalive;
mod mailbox;

use crate::{
    error::{ConnectError, Error},
    handshake,
    message::{Ending, Message},
    options::ConnectOptions,
    target::Target,
    websocket::WebSocket,
};
use driver::{Driver, Order};
use futures_core::Stream;
use mailbox::Mailbox;
use shardwire_protocol::codes::close;
use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::AbortHandle,
    time,
};
use tracing::Instrument;

/// What is called once, when a connection's socket is gone.
pub(crate) type OnEnd = Box<dyn FnOnce() + Send>;

/// An open connection; see the module's page. Dropping it ends it with 1000 in the background.
pub struct Connection {
    sender: ConnectionSender,
    task: AbortHandle,
    protocol: Option<Arc<str>>,
}

/// The sending half, for other tasks. The connection ends when its [`Connection`] is dropped, not with this.
#[derive(Clone)]
pub struct ConnectionSender {
    orders: mpsc::Sender<Order>,
    mailbox: Arc<Mailbox>,
}

/// Room for one message in the queue of messages to send.
pub(crate) struct Room<'s>(mpsc::Permit<'s, Order>);

impl Room<'_> {
    pub(crate) fn send(self, text: String) {
        self.0.send(Order::Send(Message::Text(text)));
    }
}

impl Connection {
    /// Opens a connection and starts its task on the current tokio runtime. Cancel-safe.
    ///
    /// # Errors
    ///
    /// See [`ConnectError`].
    pub async fn open(url: &str, options: &ConnectOptions) -> Result<Connection, ConnectError> {
        let target = Target::parse(url)?;
        Connection::open_to(&target, options).await
    }

    pub(crate) async fn open_to(
        target: &Target,
        options: &ConnectOptions,
    ) -> Result<Connection, ConnectError> {
        let socket = handshake::connect_to(target, options).await?;
        Ok(Connection::over(socket, options))
    }

    /// Gives an open WebSocket a task of its own. Must be called within a tokio runtime.
    pub fn over(socket: WebSocket, options: &ConnectOptions) -> Connection {
        let (orders, inbox) = mpsc::channel(options.send_queue.max(1));
        let mailbox = Arc::new(Mailbox::new(
            options.receive_queue,
            options.receive_queue_bytes,
        ));
        let protocol = socket.protocol().map(Arc::from);
        let driver = Driver::new(socket, inbox, mailbox.clone(), options);
        // Inside of whatever span opens it: a pool's, a session's.
        let span = tracing::debug_span!("connection");
        Connection {
            task: tokio::spawn(driver.instrument(span)).abort_handle(),
            sender: ConnectionSender { orders, mailbox },
            protocol,
        }
    }

    /// The subprotocol the server chose, if any.
    pub fn protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }

    /// Queues a message; waits while [`ConnectOptions::send_queue`] messages are queued. Cancel-safe.
    ///
    /// # Errors
    ///
    /// [`Error::Ended`]; [`Error::ControlTooLong`]. That a message was queued does not say that it arrived.
    pub async fn send(&self, message: impl Into<Message>) -> Result<(), Error> {
        self.sender.send(message).await
    }

    /// Queues a message if there is room now.
    ///
    /// # Errors
    ///
    /// [`Error::QueueFull`]; [`Error::Ended`]; [`Error::ControlTooLong`].
    pub fn try_send(&self, message: impl Into<Message>) -> Result<(), Error> {
        self.sender.try_send(message)
    }

    /// Waits until the socket has taken everything that was queued before. Cancel-safe.
    ///
    /// # Errors
    ///
    /// [`Error::Ended`]: the connection ended first.
    pub async fn flush(&self) -> Result<(), Error> {
        self.sender.flush().await
    }

    /// Pings, and waits for the pong: the time of the round trip. Cancel-safe.
    ///
    /// # Errors
    ///
    /// [`Error::PongTimedOut`] after `timeout`; [`Error::Ended`].
    pub async fn ping(&self, timeout: Duration) -> Result<Duration, Error> {
        self.sender.ping(timeout).await
    }

    /// The next text or binary message. Cancel-safe.
    ///
    /// # Errors
    ///
    /// [`Error::Ended`], after all messages that came before the end.
    pub async fn receive(&mut self) -> Result<Message, Error> {
        poll_fn(|cx| self.sender.mailbox.poll_take(cx))
            .await
            .map_err(Error::Ended)
    }

    /// Whether no end is known of.
    pub fn is_open(&self) -> bool {
        self.sender.mailbox.ending().is_none()
    }

    /// How the connection ended, once it has.
    pub fn ending(&self) -> Option<Ending> {
        self.sender.mailbox.ending()
    }

    /// A sender for another task.
    pub fn sender(&self) -> ConnectionSender {
        self.sender.clone()
    }

    /// Sends what is queued and a close frame, and waits for the peer's: how the connection ended. Messages not taken yet
    /// are dropped. Takes at most [`ConnectOptions::close_timeout`]. Cancelled, the close goes on in the background.
    pub async fn close(self, code: u16, reason: &str) -> Ending {
        self.sender.mailbox.set_closing();
        let order = Order::Close(code, reason.to_owned());
        let _ = self.sender.orders.send(order).await;
        self.sender.mailbox.gone().await
    }

    /// Cuts the connection without a close frame: for a peer that does not answer.
    pub fn abort(self) {
        self.task.abort();
    }

    /// Begins the close without waiting for anything.
    pub(crate) fn close_in_background(self, code: u16, reason: &'static str) {
        // A full queue means that the peer does not read: it gets the plain close of a dropped handle.
        let _ = self
            .sender
            .orders
            .try_send(Order::Close(code, reason.to_owned()));
    }

    /// While idle in a pool: what comes is dropped, so that the socket is read and pings are answered.
    pub(crate) fn set_discarding(&self, discarding: bool) {
        self.sender.mailbox.set_discarding(discarding);
    }

    /// Whether the socket is closed.
    pub(crate) fn is_gone(&self) -> bool {
        self.sender.mailbox.is_gone()
    }
}

impl ConnectionSender {
    /// As [`Connection::send`].
    ///
    /// # Errors
    ///
    /// As [`Connection::send`].
    pub async fn send(&self, message: impl Into<Message>) -> Result<(), Error> {
        let order = Order::message(message.into())?;
        self.orders.send(order).await.map_err(|_| self.ended())
    }

    /// As [`Connection::try_send`].
    ///
    /// # Errors
    ///
    /// As [`Connection::try_send`].
    pub fn try_send(&self, message: impl Into<Message>) -> Result<(), Error> {
        let order = Order::message(message.into())?;
        self.orders.try_send(order).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Error::QueueFull,
            mpsc::error::TrySendError::Closed(_) => self.ended(),
        })
    }

    /// Waits for room in the queue, and holds it.
    pub(crate) async fn reserve(&self) -> Result<Room<'_>, Error> {
        self.orders
            .reserve()
            .await
            .map(Room)
            .map_err(|_| self.ended())
    }

    /// As [`Connection::flush`].
    ///
    /// # Errors
    ///
    /// As [`Connection::flush`].
    pub async fn flush(&self) -> Result<(), Error> {
        let (done, flushed) = oneshot::channel();
        let _ = self.orders.send(Order::Flush(done)).await;
        flushed.await.map_err(|_| self.ended())
    }

    /// As [`Connection::ping`].
    ///
    /// # Errors
    ///
    /// As [`Connection::ping`].
    pub async fn ping(&self, timeout: Duration) -> Result<Duration, Error> {
        let (pong, answered) = oneshot::channel();
        let answer = async {
            let _ = self.orders.send(Order::Ping(pong)).await;
            answered.await.map_err(|_| self.ended())
        };
        time::timeout(timeout, answer)
            .await
            .unwrap_or(Err(Error::PongTimedOut(timeout)))
    }

    /// Calls `on_end` when the socket is gone: at once if it is already.
    pub(crate) fn on_end(&self, on_end: OnEnd) {
        self.mailbox.on_end(on_end);
    }

    fn ended(&self) -> Error {
        let ending = self.mailbox.ending();
        Error::Ended(ending.unwrap_or_else(|| Ending::new(close::ABNORMAL, "it is closing")))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.sender.mailbox.abandon();
    }
}

impl Stream for Connection {
    type Item = Message;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        self.sender.mailbox.poll_take(cx).map(Result::ok)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Connection")
            .field("protocol", &self.protocol)
            .field("ending", &self.ending())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ConnectionSender {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ConnectionSender")
    }
}
