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
//!
//! What is armed is a multishot receive, or a poll if the socket is quiet, behind which comes one
//! single receive; both are one `Armed` here.

use std::collections::VecDeque;
use std::io;

use super::receive::{Receive, Wait};
use super::ring::Answer;
use super::tag::Tag;
use super::{Uring, target};
use crate::runtime::driver::{Completion, SocketId};

impl Uring {
    pub(super) fn arm_receive(&mut self, id: SocketId) {
        self.make_direct(id);
        let Some(slot) = self.sockets.open_mut(id) else {
            return;
        };
        let (branch, place) = self.branches.of(id);
        let wait = slot.state.wait();
        if let Some(target) = target(slot, place) {
            match wait {
                Wait::Once => branch.ring.receive_once(target, Tag::Receive(id)),
                Wait::Poll => branch.ring.poll(target, SOMETHING, Tag::Await(id)),
                Wait::Stay => branch.ring.receive(target, Tag::Receive(id)),
            }
            slot.state.awaited = wait == Wait::Poll;
            slot.state.receive = Receive::Armed;
        }
    }

    /// Arms starved sockets, at most one per available buffer: arming more would only make the rest
    /// fail again, over and over. True if some are left over although buffers were there.
    pub(super) fn feed_the_starved(&mut self) -> bool {
        let mut hungry = false;
        let mut branches = 0;
        while let Some(branch) = self.branches.get_mut(branches) {
            if !branch.starved.is_empty() {
                hungry |= self.feed_the_starved_of(branches);
            }
            branches += 1;
        }
        hungry
    }

    fn feed_the_starved_of(&mut self, number: usize) -> bool {
        let Some(branch) = self.branches.get_mut(number) else {
            return false;
        };
        let mut starved = std::mem::take(&mut branch.starved);
        let available = branch.buffers.available();
        let mut meals = available;
        while meals > 0 {
            let Some(id) = starved.pop_front() else {
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
        if starved.is_empty() && starved.capacity() > 1024 {
            starved = VecDeque::new();
        }
        let left = !starved.is_empty();
        if let Some(branch) = self.branches.get_mut(number) {
            branch.starved = starved;
        }
        left && available > 0
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
        let (branch, _) = self.branches.of(id);
        let lent = answer.buffer.map(|buffer| branch.buffers.lend(buffer));
        let open = self.sockets.open(id).is_some();
        match lent {
            Some(buffer) if open && answer.result > 0 => {
                completions.push(Completion::Received {
                    socket: id,
                    buffer,
                    len: answer.result as usize,
                });
            }
            Some(buffer) => branch.buffers.recycle(buffer),
            None => {}
        }
        if answer.result > 0 {
            self.note_speech(id, answer.more);
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
            self.free_if_done(id);
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
            self.branches.of(id).0.starved.push_back(id);
        } else {
            self.arm_receive(id);
        }
    }

    /// A quiet socket has something to receive, or its poll is over for another reason.
    fn awaited(&mut self, id: SocketId, answer: Answer, completions: &mut Vec<Completion>) {
        let Some(slot) = self.sockets.known_mut(id) else {
            return;
        };
        slot.state.awaited = false;
        let stopping = slot.state.receive == Receive::Stopping;
        if !slot.is_open() || stopping {
            slot.state.receive = Receive::Idle;
            self.free_if_done(id);
            return self.stopped(id, completions);
        }
        if answer.result < 0 && is_about_the_request(-answer.result) {
            return self.arm_receive(id);
        }
        let (branch, place) = self.branches.of(id);
        if let Some(target) = target(slot, place) {
            branch.ring.receive_once(target, Tag::Receive(id));
            self.spoken = true;
        }
    }

    /// Bytes came from a socket whose receive is still `armed`, or is not. From one that was silent
    /// for long the next will be waited for in the cheap way, and from one that goes on talking in
    /// the quick one.
    fn note_speech(&mut self, id: SocketId, armed: bool) {
        let Some(slot) = self.sockets.open_mut(id) else {
            return;
        };
        let (talk, heard) = (slot.state.talk, slot.state.heard);
        slot.state.talk = self.silence.talk_after(talk, heard);
        slot.state.heard = self.silence.now();
        if slot.state.wait() == Wait::Poll && armed && slot.state.receive == Receive::Armed {
            let (branch, _) = self.branches.of(id);
            branch.ring.cancel(Tag::Receive(id), Tag::Cancel);
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
            self.free_if_done(id);
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
            let (branch, _) = self.branches.of(id);
            branch.ring.cancel(Tag::Receive(id), Tag::CancelReceive(id));
        }
    }

    /// Ends what a socket's receiving has in the kernel. Only a failure is answered.
    pub(super) fn cancel_receive(&mut self, id: SocketId) {
        let Some(slot) = self.sockets.open(id) else {
            return;
        };
        let target = if slot.state.awaited {
            Tag::Await(id)
        } else {
            Tag::Receive(id)
        };
        let (branch, _) = self.branches.of(id);
        branch.ring.cancel(target, Tag::CancelReceive(id));
    }

    pub(super) fn reap(&mut self, completions: &mut Vec<Completion>) {
        let mut rung = false;
        let mut branches = 0;
        while let Some(branch) = self.branches.get_mut(branches) {
            // Bounded, so that a turn stays one even if completions come faster than they are taken.
            for _ in 0..branch.ring.completion_entries() {
                let Some(answer) = self
                    .branches
                    .get_mut(branches)
                    .and_then(|branch| branch.ring.take())
                else {
                    break;
                };
                rung |= self.answered(answer, completions);
            }
            branches += 1;
        }
        if rung {
            completions.push(Completion::Bell);
        }
    }

    /// True if the bell was rung.
    fn answered(&mut self, answer: Answer, completions: &mut Vec<Completion>) -> bool {
        match answer.tag {
            Some(Tag::Receive(id)) => self.received(id, answer, completions),
            Some(Tag::Await(id)) => self.awaited(id, answer, completions),
            Some(Tag::Poll(id)) => self.polled(id, completions),
            Some(Tag::Accept) => {
                let ring = self.branches.first();
                self.acceptor.answered(answer, ring, completions);
            }
            Some(Tag::Bell) => {
                if !answer.more {
                    let bell = self.bell.descriptor();
                    self.branches
                        .first()
                        .poll_each(bell, libc::POLLIN, Tag::Bell);
                }
                return true;
            }
            Some(Tag::Alarm) => self.branches.watch_alarm(),
            Some(Tag::CancelReceive(id)) => self.cancel_failed(id),
            Some(Tag::Cancel) => {}
            Some(Tag::Call | Tag::Sent(_)) | None => tracing::error!(
                ?answer,
                "a completion that answers no request of this driver"
            ),
        }
        false
    }
}

/// What a quiet socket is polled for: bytes, or the end.
const SOMETHING: i16 = libc::POLLIN | libc::POLLRDHUP;

/// Errors that say nothing about the stream, only about the request.
fn is_about_the_request(error: i32) -> bool {
    matches!(
        error,
        libc::ENOBUFS | libc::ECANCELED | libc::EINTR | libc::EAGAIN
    )
}
