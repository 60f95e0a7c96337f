//! Receiving, and the way to the end.

use super::{State, WebSocket};
use crate::{
    error::Error,
    message::{CloseFrame, Message},
};
use bytes::Bytes;
use shardwire_protocol::websocket::{Event, frame::Kind};
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

impl WebSocket {
    /// The next message, or the end.
    pub(crate) fn poll_message(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Message, Error>>> {
        loop {
            match self.state {
                State::Open | State::CloseSent => {}
                State::Finishing { .. } => return self.poll_finish(cx),
                State::Ended => return Poll::Ready(None),
            }
            // Also while the peer floods us.
            if self.deadline_passed(cx) {
                return self.end_with(Error::CloseTimedOut(self.close_timeout));
            }
            // Pongs and a close frame leave as soon as they can, also when nobody sends. What the peer sent before it
            // stopped to take anything is still given, its close frame above all.
            let written = self.poll_written(cx);
            if let Some(result) = self.decode() {
                if matches!(result, Ok(Message::Close(_))) || self.is_finishing() {
                    // If the caller drops us now, our close frame should be on its way.
                    let _ = self.write.poll_drain(&mut *self.io, cx);
                }
                match result {
                    Ok(message) => return Poll::Ready(Some(Ok(message))),
                    // Given when our close frame is written, at the latest at the deadline.
                    Err(error) => self.state = State::Finishing { error: Some(error) },
                }
                continue;
            }
            match self.read.poll_fill(&mut *self.io, cx) {
                Poll::Ready(Ok(0)) => return self.end_with(Error::eof()),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return self.end_with(Error::cut(error)),
                Poll::Pending => match written {
                    Poll::Ready(Err(error)) => return self.end_with(error),
                    _ => return Poll::Pending,
                },
            }
        }
    }

    fn is_finishing(&self) -> bool {
        matches!(self.state, State::Finishing { .. })
    }

    fn end_with(&mut self, error: Error) -> Poll<Option<Result<Message, Error>>> {
        self.state = State::Ended;
        Poll::Ready(Some(Err(error)))
    }

    /// The next message in what was read.
    fn decode(&mut self) -> Option<Result<Message, Error>> {
        loop {
            let decoded = match &mut self.compressed {
                None => self
                    .decoder
                    .decode(&self.rules, self.read.rest())
                    .map(|decoded| (decoded.consumed, decoded.event.map(owned))),
                Some(compressed) => {
                    compressed.decode(&mut self.decoder, &self.rules, self.read.rest())
                }
            };
            let (consumed, message) = match decoded {
                Ok(decoded) => decoded,
                Err(error) => {
                    self.read.clear();
                    if self.is_open() {
                        self.begin_close(error.close_code(), &error.to_string());
                    }
                    return Some(Err(Error::Protocol(error)));
                }
            };
            self.read.consume(consumed);
            match message {
                Some(Message::Close(frame)) => {
                    self.answer_close(frame.as_ref());
                    return Some(Ok(Message::Close(frame)));
                }
                Some(Message::Ping(payload)) => {
                    self.answer_ping(&payload);
                    return Some(Ok(Message::Ping(payload)));
                }
                Some(message) => return Some(Ok(message)),
                None if self.read.is_empty() => return None,
                None => {}
            }
        }
    }

    fn answer_ping(&mut self, payload: &Bytes) {
        if !self.is_open() {
            return;
        }
        if self.write.has_room() {
            self.write.frame(Kind::Pong, payload);
        } else {
            self.pong = Some(payload.clone());
        }
    }

    /// The peer's close frame came: ours goes back with the same code, unless it was sent before.
    fn answer_close(&mut self, frame: Option<&CloseFrame>) {
        if self.is_open() {
            match frame {
                Some(frame) => self.begin_close(frame.code, ""),
                None => self.begin_close(shardwire_protocol::codes::close::NO_STATUS, ""),
            }
        }
        self.read.clear();
        self.state = State::Finishing { error: None };
    }

    /// Writes what is left, ends our half, and waits for the peer to end its own, as RFC 6455 section 7.1.1 asks of clients.
    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Message, Error>>> {
        let done = self.poll_shut_down(cx).is_ready() || self.deadline_passed(cx);
        if !done {
            return Poll::Pending;
        }
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Finishing { error: Some(error) } => Poll::Ready(Some(Err(error))),
            _ => Poll::Ready(None),
        }
    }

    /// Ready when nothing more can be done for the peer; its faults do not matter any more.
    fn poll_shut_down(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if ready!(self.write.poll_drain(&mut *self.io, cx)).is_err()
            || ready!(Pin::new(&mut *self.io).poll_shutdown(cx)).is_err()
        {
            return Poll::Ready(());
        }
        loop {
            self.read.clear();
            match ready!(self.read.poll_fill(&mut *self.io, cx)) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(_) => {}
            }
        }
    }

    fn deadline_passed(&mut self, cx: &mut Context<'_>) -> bool {
        self.deadline
            .as_mut()
            .is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready())
    }
}

pub(super) fn owned(event: Event<'_>) -> Message {
    match event {
        Event::Text(text) => Message::Text(text.to_owned()),
        Event::Binary(bytes) => Message::Binary(Bytes::copy_from_slice(bytes)),
        Event::Ping(bytes) => Message::Ping(Bytes::copy_from_slice(bytes)),
        Event::Pong(bytes) => Message::Pong(Bytes::copy_from_slice(bytes)),
        Event::Close(frame) => Message::Close(frame.map(|frame| CloseFrame {
            code: frame.code,
            reason: frame.reason.to_owned(),
        })),
    }
}
