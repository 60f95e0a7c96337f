//! What the driver makes of each completion: the life of a socket's receive, and of its place.
//!
//! ```text
//!            start              stop                 last completion
//!   Idle ───────────► Armed ───────────► Stopping ───────────────────► Idle, Stopped
//!                     │   ▲
//!         out of      ▼   │ buffers are back          end or error
//!         buffers    Starved                 Armed, Stopping ────────► Ended
//!
//!   Idle, Starved ── stop ──► StopDue ── next wait ──► Idle, Stopped
//!
//!   Stopping, StopDue: a start is remembered, and follows the Stopped.
//! ```

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;

use super::Uring;
use super::receive::Receive;
use super::ring::Answer;
use super::tag::Tag;
use crate::runtime::driver::{Completion, SocketId};

impl Uring {
    pub(super) fn arm_receive(&mut self, id: SocketId) {
        let Some(slot) = self.sockets.open_mut(id) else {
            return;
        };
        if let Some(socket) = &slot.socket {
            self.ring.receive(socket.as_fd(), Tag::Receive(id));
            slot.state.receive = Receive::Armed;
        }
    }

    /// Arms starved sockets, at most one per available buffer: arming more would only make the rest
    /// fail again, over and over. True if some are left over although buffers were there.
    pub(super) fn feed_the_starved(&mut self) -> bool {
        let mut meals = self.buffers.available();
        while meals > 0 {
            let Some(id) = self.starved.pop_front() else {
                break;
            };
            if self
                .sockets
                .open(id)
                .is_some_and(|slot| slot.state.receive == Receive::Starved)
            {
                self.arm_receive(id);
                meals -= 1;
            }
        }
        if self.starved.is_empty() && self.starved.capacity() > 1024 {
            self.starved = VecDeque::new();
        }
        !self.starved.is_empty() && self.buffers.available() > 0
    }

    pub(super) fn report_due_stops(&mut self, completions: &mut Vec<Completion>) -> bool {
        let mut reported = false;
        let mut due = std::mem::take(&mut self.stops_due);
        for id in due.drain(..) {
            if self
                .sockets
                .open(id)
                .is_some_and(|slot| slot.state.receive == Receive::StopDue)
            {
                self.stopped(id, completions);
                reported = true;
            }
        }
        // Its memory is used again.
        self.stops_due = due;
        reported
    }

    /// Gives the answer to a stop, and starts again if the caller has changed its mind meanwhile.
    fn stopped(&mut self, id: SocketId, completions: &mut Vec<Completion>) {
        let Some(slot) = self.sockets.open_mut(id) else {
            return;
        };
        slot.state.receive = Receive::Idle;
        completions.push(Completion::Stopped { socket: id });
        if std::mem::take(&mut slot.state.again) {
            self.arm_receive(id);
        }
    }

    fn received(&mut self, id: SocketId, answer: Answer, completions: &mut Vec<Completion>) {
        let lent = answer.buffer.map(|buffer| self.buffers.lend(buffer));
        let open = self.sockets.open(id).is_some();
        match lent {
            Some(buffer) if open && answer.result > 0 => {
                completions.push(Completion::Received {
                    socket: id,
                    buffer,
                    len: answer.result as usize,
                });
            }
            Some(buffer) => self.buffers.recycle(buffer),
            None => {}
        }
        if answer.more {
            return;
        }
        let Some(slot) = self.sockets.known_mut(id) else {
            return;
        };
        let stopping = slot.state.receive == Receive::Stopping;
        slot.state.receive = Receive::Idle;
        if !open {
            self.sockets.free_if_done(id);
            return;
        }
        let ended = match answer.result {
            0 => Some(None),
            // Out of buffers; cancelled; ended for reasons of the kernel's own (completions set
            // aside): the stream itself is well.
            result if result > 0 || is_about_the_request(-result) => None,
            result => Some(Some(io::Error::from_raw_os_error(-result))),
        };
        if let Some(error) = ended {
            slot.state.receive = Receive::Ended;
            completions.push(Completion::Ended { socket: id, error });
        } else if stopping {
            self.stopped(id, completions);
        } else if answer.result == -libc::ENOBUFS {
            slot.state.receive = Receive::Starved;
            self.starved.push_back(id);
        } else {
            self.arm_receive(id);
        }
    }

    fn polled(&mut self, id: SocketId, completions: &mut Vec<Completion>) {
        let Some(slot) = self.sockets.known_mut(id) else {
            return;
        };
        slot.state.polling = false;
        if slot.is_open() {
            // Also when the poll failed: the next send tells the caller what is wrong.
            completions.push(Completion::Writable { socket: id });
        } else {
            self.sockets.free_if_done(id);
        }
    }

    /// The cancel of a receive failed. Usually the receive has just ended by itself, and its last
    /// completion is here or next. But a request that the kernel is about to run again cannot be
    /// found for a moment; without another try its `Stopped` would never come.
    fn cancel_failed(&mut self, id: SocketId) {
        if self
            .sockets
            .open(id)
            .is_some_and(|slot| slot.state.receive == Receive::Stopping)
        {
            self.ring.cancel(Tag::Receive(id), Tag::CancelReceive(id));
        }
    }

    pub(super) fn reap(&mut self, completions: &mut Vec<Completion>) {
        let mut rung = false;
        // Bounded, so that a turn stays one even if completions come faster than they are taken.
        for _ in 0..self.ring.completion_entries() {
            let Some(answer) = self.ring.take() else {
                break;
            };
            match answer.tag {
                Some(Tag::Receive(id)) => self.received(id, answer, completions),
                Some(Tag::Poll(id)) => self.polled(id, completions),
                Some(Tag::Accept) => self.acceptor.answered(answer, &mut self.ring, completions),
                Some(Tag::Bell) => {
                    rung = true;
                    if !answer.more {
                        self.ring
                            .poll_each(self.bell.descriptor(), libc::POLLIN, Tag::Bell);
                    }
                }
                Some(Tag::CancelReceive(id)) => self.cancel_failed(id),
                Some(Tag::Cancel) => {}
                None => tracing::error!(
                    ?answer,
                    "a completion that answers no request of this driver"
                ),
            }
        }
        if rung {
            completions.push(Completion::Bell);
        }
    }
}

/// Errors that say nothing about the stream, only about the request.
fn is_about_the_request(error: i32) -> bool {
    matches!(
        error,
        libc::ENOBUFS | libc::ECANCELED | libc::EINTR | libc::EAGAIN
    )
}
