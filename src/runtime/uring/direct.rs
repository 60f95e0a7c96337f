//! Direct descriptors of one ring: a table of sockets that are no files of the process, and what
//! can be done with them.
//!
//! A request is the only way to a socket without a descriptor, so what is a system call for others
//! is a request here that is answered before [`Ring::call`] returns. What io_uring has no request
//! for borrows a descriptor for the moment ([`Ring::install`]).
#![allow(unsafe_code)]

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use io_uring::opcode;
use io_uring::squeue::{Entry, Flags};
use io_uring::types::Fixed;

use super::ring::Ring;
use super::tag::Tag;
use crate::runtime::sockets::{MAX_SLICES, send_flags};

/// What empties a slot.
const NO_DESCRIPTOR: RawFd = -1;

/// How often a call that finds no answer waits a millisecond for it. The kernel answers at once;
/// it can only be short of the memory for the request itself.
pub(super) const CALL_ROUNDS: u32 = 10_000;

pub(super) const ROUND: Duration = Duration::from_millis(1);

impl Ring {
    /// Gives the ring an empty table of `slots`.
    ///
    /// # Errors
    /// What the kernel says; a table larger than the soft open-file limit is `EMFILE`.
    pub(super) fn register_table(&self, slots: u32) -> io::Result<()> {
        self.ring.submitter().register_files_sparse(slots)
    }

    /// Counts completions on `event` while [`Ring::tell_by_event`] says so, also those whose last
    /// step waits for our next call.
    pub(super) fn register_event(&self, event: BorrowedFd<'_>) -> io::Result<()> {
        self.ring.submitter().register_eventfd(event.as_raw_fd())
    }

    /// Whether completions are counted on the registered event.
    pub(super) fn tell_by_event(&mut self, tell: bool) {
        let completions = self.ring.completion();
        if tell {
            completions.enable_eventfd();
        } else {
            completions.disable_eventfd();
        }
    }

    /// Puts a socket into an empty slot; its descriptor can be closed then.
    ///
    /// # Errors
    /// What the kernel says; the slot is still empty.
    pub(super) fn fill_slot(&self, slot: u32, socket: BorrowedFd<'_>) -> io::Result<()> {
        self.update_slot(slot, socket.as_raw_fd())
    }

    /// Closes what is in a slot. Requests that name it still hold the socket.
    pub(super) fn empty_slot(&self, slot: u32) {
        if let Err(error) = self.update_slot(slot, NO_DESCRIPTOR) {
            tracing::error!(%error, slot, "a direct descriptor cannot be closed");
        }
    }

    fn update_slot(&self, slot: u32, descriptor: RawFd) -> io::Result<()> {
        let submitter = self.ring.submitter();
        match submitter.register_files_update(slot, &[descriptor])? {
            1 => Ok(()),
            _ => Err(io::Error::other("the kernel left the slot as it was")),
        }
    }

    /// See [`Driver::send`](crate::runtime::Driver::send) and [`Outgoing::last`](crate::runtime::Outgoing::last).
    pub(super) fn send(
        &mut self,
        slot: u32,
        slices: &[IoSlice<'_>],
        last: bool,
    ) -> io::Result<usize> {
        let flags = send_flags(last);
        let sent = match slices {
            [] => return Ok(0),
            [slice] => {
                let len = u32::try_from(slice.len()).unwrap_or(u32::MAX);
                let send = opcode::Send::new(Fixed(slot), slice.as_ptr(), len);
                // SAFETY: with MSG_DONTWAIT the kernel sends what it can while it takes the
                // request, and answers; the slice is borrowed for longer than this call.
                unsafe { self.call(send.flags(flags).build()) }?
            }
            slices => {
                // SAFETY: all zeroes are a message header without anything in it.
                let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
                // `IoSlice` is promised to have the layout of iovec. Only read from.
                header.msg_iov = slices.as_ptr().cast_mut().cast();
                header.msg_iovlen = slices.len().min(MAX_SLICES);
                let send = opcode::SendMsg::new(Fixed(slot), &raw const header);
                // SAFETY: as above; header and slices live longer than this call.
                unsafe { self.call(send.flags(flags as u32).build()) }?
            }
        };
        Ok(sent as usize)
    }

    /// A descriptor of the process for the socket in a slot, which stays where it is.
    ///
    /// # Errors
    /// The open-file limit is reached; the slot is empty.
    pub(super) fn install(&mut self, slot: u32) -> io::Result<OwnedFd> {
        let install = opcode::FixedFdInstall::new(Fixed(slot), 0).build();
        // SAFETY: points at no memory; the kernel answers while it takes the request.
        let descriptor = unsafe { self.call(install) }?;
        // SAFETY: a successful install hands over a fresh descriptor (close-on-exec unless told
        // otherwise), and its answer is taken once.
        Ok(unsafe { OwnedFd::from_raw_fd(descriptor as RawFd) })
    }

    /// Ends one or both directions; by a worker of the kernel, a moment later, where no descriptor
    /// can be borrowed.
    pub(super) fn shutdown(&mut self, slot: u32, how: Shutdown) {
        if let Ok(socket) = self.install(slot) {
            // Fails only if the connection is gone already, which the receive reports.
            let _ = socket2::SockRef::from(&socket).shutdown(how);
            return;
        }
        let how = match how {
            Shutdown::Read => libc::SHUT_RD,
            Shutdown::Write => libc::SHUT_WR,
            Shutdown::Both => libc::SHUT_RDWR,
        };
        let shutdown = opcode::Shutdown::new(Fixed(slot), how).build();
        self.push(shutdown.flags(Flags::SKIP_SUCCESS), Tag::Cancel);
    }

    /// Hands over everything queued and `entry` behind it, and returns the result of `entry`. What
    /// else is answered meanwhile is set aside for [`Ring::take`].
    ///
    /// # Safety
    /// The kernel must answer `entry` while it takes it, and what `entry` points to must stay valid
    /// until this returns.
    ///
    /// # Errors
    /// The request's own. A ring that does not answer within ten seconds ends the process: the
    /// kernel might still read memory that the caller is about to give away.
    unsafe fn call(&mut self, entry: Entry) -> io::Result<u32> {
        self.push(entry, Tag::Call);
        // Whatever keeps this from working, the rounds below meet again.
        let _ = self.ring.submit();
        for _ in 0..CALL_ROUNDS {
            while let Some(answer) = self.take_posted() {
                if answer.tag == Some(Tag::Call) {
                    return u32::try_from(answer.result)
                        .map_err(|_| io::Error::from_raw_os_error(-answer.result));
                }
                self.set_aside.push_back(answer);
            }
            // The queue of completions was full, or the kernel short of memory.
            let _ = self.submit_and_wait(ROUND);
        }
        tracing::error!("io_uring does not answer; the process ends");
        std::process::abort();
    }
}
