//! The listener of one driver and the state of its multishot accept.
#![allow(unsafe_code)]

use std::io;
use std::net::{Shutdown, TcpListener};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};

use super::ring::{Answer, Ring};
use super::tag::Tag;
use crate::runtime::driver::Completion;
use crate::runtime::listener::is_about_one_connection;

/// At most one listener; its descriptor stays open until the accept's last completion has come.
pub(super) struct Acceptor {
    listener: Option<TcpListener>,
    armed: bool,
    stopping: bool,
    /// Whoever is accepted soon gives its descriptor back.
    passes_on: bool,
    /// Connections were taken since descriptors last ran out.
    taken: bool,
    /// To be armed at the next wait.
    due: bool,
}

impl Acceptor {
    /// With `passes_on`, descriptors that run out in the middle of many connections are no failure:
    /// those already taken give theirs back before the next wait.
    pub(super) fn new(passes_on: bool) -> Self {
        Self {
            listener: None,
            armed: false,
            stopping: false,
            passes_on,
            taken: false,
            due: false,
        }
    }

    pub(super) fn listen(&mut self, listener: TcpListener, ring: &mut Ring) -> io::Result<()> {
        if self.listener.is_some() {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "the driver has a listener already",
            ));
        }
        self.listener = Some(listener);
        self.stopping = false;
        self.arm(ring);
        Ok(())
    }

    pub(super) fn resume(&mut self, ring: &mut Ring) {
        if !self.armed && !self.stopping {
            self.arm(ring);
        }
    }

    /// Goes on where it ran out of descriptors that are back now.
    pub(super) fn resume_if_due(&mut self, ring: &mut Ring) {
        if std::mem::take(&mut self.due) {
            self.resume(ring);
        }
    }

    pub(super) fn stop(&mut self, ring: &mut Ring) {
        let Some(listener) = &self.listener else {
            return;
        };
        if self.stopping {
            return;
        }
        self.stopping = true;
        // The order matters: a listener that is only closed stays bound for as long as the kernel's
        // accept request holds it.
        if self.armed {
            ring.cancel(Tag::Accept, Tag::Cancel);
        }
        // Takes the port out of service at once, also for the other members of its reuse-port
        // group. Can only fail if it is so already.
        let _ = socket2::SockRef::from(listener).shutdown(Shutdown::Both);
        self.close_if_done();
    }

    /// A listener is still open (perhaps only until its last completion).
    pub(super) fn is_open(&self) -> bool {
        self.listener.is_some()
    }

    pub(super) fn answered(
        &mut self,
        answer: Answer,
        ring: &mut Ring,
        completions: &mut Vec<Completion>,
    ) {
        if !answer.more {
            self.armed = false;
        }
        if answer.result >= 0 {
            self.taken = true;
            // SAFETY: a successful accept hands over a fresh descriptor, and each completion is
            // taken once.
            completions.push(Completion::Accepted(unsafe {
                OwnedFd::from_raw_fd(answer.result)
            }));
        } else if self.passes_on && answer.result == -libc::EMFILE && self.taken {
            self.taken = false;
            self.due = true;
            self.close_if_done();
            return;
        } else if !self.stopping && !is_about_one_connection(-answer.result) {
            completions.push(Completion::AcceptFailed(io::Error::from_raw_os_error(
                -answer.result,
            )));
            self.close_if_done();
            return;
        }
        // A multishot accept may end for reasons of the kernel's own (completions set aside, say):
        // go on.
        self.resume(ring);
        self.close_if_done();
    }

    fn arm(&mut self, ring: &mut Ring) {
        if let Some(listener) = &self.listener {
            ring.accept(listener.as_fd());
            self.armed = true;
        }
    }

    fn close_if_done(&mut self) {
        if self.stopping && !self.armed {
            self.listener = None;
        }
    }
}
