//! The task of one connection.

use super::{
    keepalive::{Due, Keepalive},
    mailbox::{Mailbox, Room},
};
use crate::{
    error::Error,
    message::{Ending, Message},
    options::ConnectOptions,
    websocket::WebSocket,
};
use bytes::Bytes;
use shardwire_protocol::codes::close;
use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

/// Most messages handled before other tasks get their turn.
const TURN_MAX: usize = 128;

/// Most pings whose pongs are awaited; the oldest is given up for a newer one.
const PINGS_MAX: usize = 64;

/// What the handle asks of the task.
#[derive(Debug)]
pub(super) enum Order {
    Send(Message),
    Flush(oneshot::Sender<()>),
    Ping(oneshot::Sender<Duration>),
    Close(u16, String),
}

impl Order {
    pub(super) fn message(message: Message) -> Result<Order, Error> {
        match message {
            Message::Ping(bytes) | Message::Pong(bytes) if bytes.len() > 125 => {
                Err(Error::ControlTooLong(bytes.len()))
            }
            Message::Close(Some(frame)) => Ok(Order::Close(frame.code, frame.reason)),
            Message::Close(None) => Ok(Order::Close(close::NO_STATUS, String::new())),
            message => Ok(Order::Send(message)),
        }
    }
}

struct Asked {
    payload: Bytes,
    at: Instant,
    answer: oneshot::Sender<Duration>,
}

pub(super) struct Driver {
    socket: WebSocket,
    orders: mpsc::Receiver<Order>,
    mailbox: Arc<Mailbox>,
    keepalive: Keepalive,
    flushes: Vec<oneshot::Sender<()>>,
    pings: VecDeque<Asked>,
    pings_sent: u64,
    /// The handle is gone: close when all orders are carried out.
    abandoned: bool,
}

impl Driver {
    pub(super) fn new(
        socket: WebSocket,
        orders: mpsc::Receiver<Order>,
        mailbox: Arc<Mailbox>,
        options: &ConnectOptions,
    ) -> Driver {
        crate::telemetry::opened();
        Driver {
            socket,
            orders,
            mailbox,
            keepalive: Keepalive::new(options.ping_interval, options.ping_timeout),
            flushes: Vec::new(),
            pings: VecDeque::new(),
            pings_sent: 0,
            abandoned: false,
        }
    }

    /// Receives while there is something and room for it. Ready: the socket is done with. Else whether it was read to its
    /// present end, so that its silence means something.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        for _ in 0..TURN_MAX {
            match self.mailbox.poll_room(cx) {
                Room::Free => {}
                Room::Full if self.socket.is_open() => return Poll::Ready(false),
                // In the close handshake nothing holds reading up.
                Room::Full => {}
                Room::Leaving { abandoned } => {
                    self.abandoned = abandoned;
                    self.socket.arm_deadline();
                }
            }
            match self.socket.poll_message(cx) {
                Poll::Pending => return Poll::Ready(true),
                Poll::Ready(Some(Ok(message))) => self.received(message),
                Poll::Ready(Some(Err(error))) => {
                    self.mailbox.set_ending(error.ending());
                    return Poll::Pending;
                }
                Poll::Ready(None) => return Poll::Pending,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Ready(true)
    }

    fn received(&mut self, message: Message) {
        match message {
            Message::Ping(_) => {}
            Message::Pong(payload) => self.pong(&payload),
            Message::Close(frame) => self.mailbox.set_ending(Ending::by_frame(frame)),
            data if self.socket.is_open() => self.mailbox.offer(data),
            // Our close frame is out: the user has said that nothing is wanted any more.
            _ => {}
        }
    }

    /// A pong answers its ping and all before it (RFC 6455 section 5.5.3).
    fn pong(&mut self, payload: &[u8]) {
        if let Some(index) = self.pings.iter().position(|asked| asked.payload == payload) {
            for asked in self.pings.drain(..=index) {
                let _ = asked.answer.send(asked.at.elapsed());
            }
        }
    }

    fn next_payload(&mut self) -> Bytes {
        self.pings_sent += 1;
        Bytes::copy_from_slice(&self.pings_sent.to_be_bytes())
    }

    /// Takes orders while the socket has room.
    fn take_orders(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        for _ in 0..TURN_MAX {
            match self.socket.poll_room(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Err(Error::Ended(_))) => {
                    self.orders.close();
                    return Ok(());
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Ready(Ok(())) => {}
            }
            let Poll::Ready(Some(order)) = self.orders.poll_recv(cx) else {
                // All senders gone is no reason to end: the mailbox knows when the handle is. What was queued before goes
                // out before the close.
                if self.abandoned {
                    self.socket.begin_close(close::NORMAL, "");
                }
                return Ok(());
            };
            match order {
                Order::Send(message) => self.socket.queue(message)?,
                Order::Flush(done) => self.flushes.push(done),
                Order::Close(code, reason) => self.socket.begin_close(code, &reason),
                Order::Ping(answer) => {
                    let payload = self.next_payload();
                    self.socket.queue(Message::Ping(payload.clone()))?;
                    if self.pings.len() == PINGS_MAX {
                        self.pings.pop_front();
                    }
                    let at = Instant::now();
                    self.pings.push_back(Asked {
                        payload,
                        at,
                        answer,
                    });
                }
            }
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let Poll::Ready(reading) = self.poll_receive(cx) else {
            return Poll::Ready(Ok(()));
        };
        self.take_orders(cx)?;
        if let Poll::Ready(written) = self.socket.poll_written(cx) {
            // A failed write is the reader's to tell: there may be a close frame to read.
            if written.is_ok() {
                for flushed in self.flushes.drain(..) {
                    let _ = flushed.send(());
                }
            } else if !reading {
                return Poll::Ready(written);
            }
        }
        if self.socket.is_open() {
            let received = self.socket.bytes_received();
            match self.keepalive.poll(cx, received, reading) {
                None => {}
                Some(Due::Ping) => {
                    let payload = self.next_payload();
                    self.socket.queue(Message::Ping(payload))?;
                    let _ = self.socket.poll_written(cx);
                }
                Some(Due::GiveUp) => {
                    return Poll::Ready(Err(Error::PongTimedOut(self.keepalive.timeout())));
                }
            }
        }
        Poll::Pending
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        match this.poll_turn(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(result) => {
                if let Err(error) = result {
                    this.mailbox.set_ending(error.ending());
                }
                Poll::Ready(())
            }
        }
    }
}

impl Drop for Driver {
    // However the task ends, aborts and a runtime that shuts down included.
    fn drop(&mut self) {
        let ending = self.mailbox.ending();
        crate::telemetry::ended(ending.as_ref());
        self.orders.close();
        self.mailbox.set_gone();
    }
}
