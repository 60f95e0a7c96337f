//! Sending.

use super::WebSocket;
use crate::{
    error::Error,
    message::{CloseFrame, Message},
};
use shardwire_protocol::{codes::close, websocket::frame::Kind};
use std::task::{Context, Poll, ready};

/// Most bytes in a control frame (RFC 6455 section 5.5).
const CONTROL_MAX: usize = 125;

impl WebSocket {
    /// Waits until one more message may be queued.
    pub(crate) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if !self.is_open() {
            return Poll::Ready(Err(self.ended()));
        }
        while !self.write.has_room() {
            ready!(self.poll_written(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Queues a message; the caller has waited for room.
    pub(crate) fn queue(&mut self, message: Message) -> Result<(), Error> {
        if !self.is_open() {
            return Err(self.ended());
        }
        match &message {
            Message::Ping(bytes) | Message::Pong(bytes) if bytes.len() > CONTROL_MAX => {
                return Err(Error::ControlTooLong(bytes.len()));
            }
            Message::Close(frame) => {
                let (code, reason) = match frame {
                    Some(CloseFrame { code, reason }) => (*code, reason.as_str()),
                    None => (close::NO_STATUS, ""),
                };
                self.begin_close(code, reason);
                return Ok(());
            }
            _ => {}
        }
        self.write.message(&message, self.compressed.as_deref_mut());
        Ok(())
    }

    /// Writes all that is queued.
    pub(crate) fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        loop {
            ready!(self.write.poll_drain(&mut *self.io, cx)).map_err(Error::cut)?;
            if self.pong.is_none() {
                return Poll::Ready(Ok(()));
            }
            self.flush_pong();
        }
    }

    /// Queues the pong that waits for room, if one does.
    pub(super) fn flush_pong(&mut self) {
        if let Some(payload) = self.pong.take() {
            self.write.frame(Kind::Pong, &payload);
        }
    }
}
