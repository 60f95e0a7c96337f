//! One open WebSocket without a task of its own: a `Stream` and a `Sink` of [`Message`]s.
//!
//! **What lives here.** [`WebSocket`]: reading, sending with a bounded write buffer, pongs, the close handshake with its
//! deadline. It works while it is polled; [`Connection`](crate::Connection) is the same with a task that always polls.
//!
//! **What does not.** Frames (`shardwire-protocol`), opening (`handshake`).
//!
//! **Invariants.**
//! * After the first `Close` or error the stream ends; nothing is sent after a close frame.
//! * The write buffer holds at most `write_buffer` bytes more than one message. Pongs for a peer that pings without reading
//!   are merged into one (RFC 6455 section 5.5.3 allows that), so it cannot make the buffer grow.
//! * Every end is reached within `close_timeout` of its begin.
//!
//! **Who calls in.** Users, and `connection`. **Tests**: `tests/websocket.rs`, and Autobahn's cases, for which
//! `examples/conformance.rs` is the echo client.

mod buffers;
mod compression;
mod reading;
mod writing;

use crate::{
    error::Error,
    message::{CloseFrame, Message},
    net::ByteStream,
    options::ConnectOptions,
};
use buffers::{ReadBuffer, WriteBuffer};
use bytes::Bytes;
use compression::Compressed;
use futures_core::Stream;
use futures_sink::Sink;
use shardwire_protocol::websocket::{Decoder, Role, Rules, deflate::Negotiated};
use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{self, Instant, Sleep};

/// Where a connection is between open and ended.
#[derive(Debug)]
enum State {
    Open,
    /// We sent a close frame; the peer's is awaited.
    CloseSent,
    /// Both are done with it, or the peer broke the protocol: what is buffered is written, then TCP ends.
    Finishing {
        /// What the stream gives at its end instead of `None`, once.
        error: Option<Error>,
    },
    Ended,
}

/// An open WebSocket; see the module's page. Dropping it cuts the connection: use [`WebSocket::close`] to end it well.
pub struct WebSocket {
    io: Box<dyn ByteStream>,
    decoder: Decoder,
    rules: Rules,
    compressed: Option<Box<Compressed>>,
    read: ReadBuffer,
    write: WriteBuffer,
    state: State,
    /// Armed when the close handshake begins.
    deadline: Option<Pin<Box<Sleep>>>,
    close_timeout: Duration,
    /// A pong that waits until the write buffer has room; only the latest ping needs an answer.
    pong: Option<Bytes>,
    protocol: Option<String>,
}

impl WebSocket {
    pub(crate) fn new(
        io: Box<dyn ByteStream>,
        early: &[u8],
        protocol: Option<String>,
        deflate: Option<Negotiated>,
        options: &ConnectOptions,
    ) -> WebSocket {
        let compressed = options.compression.zip(deflate);
        WebSocket {
            io,
            decoder: Decoder::default(),
            rules: Rules {
                role: Role::Client,
                max_message_size: options.max_message_size,
            },
            compressed: compressed
                .map(|(wished, agreed)| Box::new(Compressed::new(wished, agreed))),
            read: ReadBuffer::with(early),
            write: WriteBuffer::new(options.write_buffer),
            state: State::Open,
            deadline: None,
            close_timeout: options.close_timeout,
            pong: None,
            protocol,
        }
    }

    /// The subprotocol the server chose, if any.
    pub fn protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }

    /// Whether permessage-deflate was agreed on.
    pub fn is_compressed(&self) -> bool {
        self.compressed.is_some()
    }

    /// Whether messages can be sent: no close frame has been sent or received.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open)
    }

    /// Sends a message and waits until the socket has taken it.
    ///
    /// Cancelled while it waits for room, nothing is sent; cancelled later, the message is sent with the next one, or by the
    /// next receive.
    ///
    /// # Errors
    ///
    /// [`Error::Ended`] after a close, [`Error::Cut`] when the socket fails, [`Error::ControlTooLong`].
    pub async fn send(&mut self, message: Message) -> Result<(), Error> {
        poll_fn(|cx| self.poll_room(cx)).await?;
        self.queue(message)?;
        poll_fn(|cx| self.poll_written(cx)).await
    }

    /// The next message. A ping has been answered when it is given. After [`Message::Close`] comes nothing more.
    /// Cancel-safe.
    ///
    /// # Errors
    ///
    /// [`Error::Cut`], [`Error::Protocol`], [`Error::CloseTimedOut`]; then and after the end [`Error::Ended`].
    pub async fn receive(&mut self) -> Result<Message, Error> {
        poll_fn(|cx| self.poll_message(cx))
            .await
            .unwrap_or_else(|| Err(self.ended()))
    }

    /// Ends the connection: sends a close frame, reads until the peer's (what it still sends is dropped) and until TCP
    /// ends. Takes at most [`ConnectOptions::close_timeout`]. A code that may not travel is sent as none.
    ///
    /// # Errors
    ///
    /// [`Error::CloseTimedOut`]; [`Error::Cut`] when the peer ended without its close frame. The socket is closed all the
    /// same.
    pub async fn close(&mut self, code: u16, reason: &str) -> Result<Option<CloseFrame>, Error> {
        self.begin_close(code, reason);
        let mut frame = None;
        loop {
            match poll_fn(|cx| self.poll_message(cx)).await {
                None => return Ok(frame),
                Some(Ok(Message::Close(theirs))) => frame = theirs,
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error),
            }
        }
    }

    /// Bytes received since the upgrade: a sign of life.
    pub(crate) fn bytes_received(&self) -> u64 {
        self.read.total()
    }

    /// Queues the close frame, unless one was sent or received before.
    pub(crate) fn begin_close(&mut self, code: u16, reason: &str) {
        if self.is_open() {
            self.flush_pong();
            self.write.close(code, reason);
            self.state = State::CloseSent;
            self.arm_deadline();
        }
    }

    /// From now on the end must be reached within `close_timeout`.
    pub(crate) fn arm_deadline(&mut self) {
        // A timeout beyond what the clock can hold is none.
        if let Some(at) = Instant::now().checked_add(self.close_timeout) {
            self.deadline
                .get_or_insert_with(|| Box::pin(time::sleep_until(at)));
        }
    }

    fn ended(&self) -> Error {
        Error::Ended(crate::message::Ending::cut("the connection has ended"))
    }
}

impl Stream for WebSocket {
    type Item = Result<Message, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_message(cx)
    }
}

impl Sink<Message> for WebSocket {
    type Error = Error;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.get_mut().poll_room(cx)
    }

    fn start_send(self: Pin<&mut Self>, message: Message) -> Result<(), Error> {
        self.get_mut().queue(message)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.get_mut().poll_written(cx)
    }

    /// Sends a close frame with 1000 and ends the connection; what the peer still sends is dropped.
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let this = self.get_mut();
        this.begin_close(shardwire_protocol::codes::close::NORMAL, "");
        loop {
            match std::task::ready!(this.poll_message(cx)) {
                None => return Poll::Ready(Ok(())),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl fmt::Debug for WebSocket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("WebSocket")
            .field("state", &self.state)
            .field("protocol", &self.protocol)
            .finish_non_exhaustive()
    }
}
