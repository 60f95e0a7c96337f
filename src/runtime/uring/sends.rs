//! Writing to many sockets by one system call.
//!
//! A request per socket, all handed over together and all answered before [`Ring::send_each`] returns, so that what they send is only
//! borrowed. On the way through the kernel a send costs the same either way; what is saved is entering it for each.
#![allow(unsafe_code)]

use std::io;

use io_uring::opcode;
use io_uring::types::{Fd, Fixed};
use std::os::fd::AsRawFd;

use super::direct::{CALL_ROUNDS, ROUND};
use super::ring::{Ring, Target};
use super::tag::Tag;
use crate::runtime::sockets::send_flags;

/// One of them.
pub(super) struct Send<'a> {
    /// Its place among the outcomes.
    pub(super) number: usize,
    pub(super) target: Target<'a>,
    pub(super) bytes: &'a [u8],
    /// Nothing follows.
    pub(super) last: bool,
}

impl Ring {
    /// Writes to each of these sockets what it takes now, like [`Driver::send`](crate::runtime::Driver::send), and puts how that went
    /// into the outcome of its number. What else is answered meanwhile is set aside for [`Ring::take`].
    ///
    /// A ring that does not answer within ten seconds ends the process: the kernel might still read memory that the caller is about to
    /// give away.
    pub(super) fn send_each<'a>(
        &mut self,
        sends: impl Iterator<Item = Send<'a>>,
        outcomes: &mut [io::Result<usize>],
    ) {
        let mut missing = 0;
        for send in sends {
            missing += 1;
            let (bytes, flags) = (send.bytes.as_ptr(), send_flags(send.last));
            let len = u32::try_from(send.bytes.len()).unwrap_or(u32::MAX);
            // With MSG_DONTWAIT the kernel sends what it can while it takes the request, and answers. The bytes are borrowed for longer
            // than this call, which does not return before every request is answered.
            let request = match send.target {
                Target::Descriptor(socket) => opcode::Send::new(Fd(socket.as_raw_fd()), bytes, len),
                Target::Slot(slot) => opcode::Send::new(Fixed(slot), bytes, len),
            };
            self.push(request.flags(flags).build(), Tag::Sent(send.number as u32));
        }
        // Whatever keeps this from working, the rounds below meet again.
        let _ = self.ring.submit();
        for _ in 0..CALL_ROUNDS {
            while missing > 0
                && let Some(answer) = self.take_posted()
            {
                let Some(Tag::Sent(number)) = answer.tag else {
                    self.set_aside.push_back(answer);
                    continue;
                };
                if let Some(outcome) = outcomes.get_mut(number as usize) {
                    *outcome = match answer.result {
                        sent if sent >= 0 => Ok(sent as usize),
                        error => Err(io::Error::from_raw_os_error(-error)),
                    };
                }
                missing -= 1;
            }
            if missing == 0 {
                return;
            }
            // The queue of completions was full, or the kernel short of memory.
            let _ = self.submit_and_wait(ROUND);
        }
        tracing::error!("io_uring does not answer; the process ends");
        std::process::abort();
    }
}
