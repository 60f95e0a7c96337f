//! One io_uring: set-up, typed requests, one system call per wait.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use io_uring::squeue::{Entry, Flags};
use io_uring::types::{CancelBuilder, Fd, Fixed, SubmitArgs, Timespec};
use io_uring::{Builder, EnterFlags, IoUring, cqueue, opcode, squeue};

use super::tag::Tag;

/// The one buffer group of a ring.
const BUFFER_GROUP: u16 = 0;

/// One completion, copied out of the ring.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    /// What it answers; `None` if it is none of ours.
    pub(super) tag: Option<Tag>,
    /// The request's result: a count or descriptor, or a negated error number.
    pub(super) result: i32,
    /// The request stays armed.
    pub(super) more: bool,
    /// The provided buffer that was filled.
    pub(super) buffer: Option<u16>,
}

/// How a request names its socket.
#[derive(Clone, Copy)]
pub(super) enum Target<'a> {
    /// By a descriptor of the process.
    Descriptor(BorrowedFd<'a>),
    /// By its slot in the ring's table: a direct descriptor.
    Slot(u32),
}

/// The ring. No request made here points at memory of this process, except through the registered
/// buffer group, and except for those that are answered before their call returns (`direct.rs`, `sends.rs`).
pub(super) struct Ring {
    pub(super) ring: IoUring,
    /// Requests that found the submission queue full even after a submit (the kernel was short of
    /// memory). In order.
    backlog: VecDeque<Entry>,
    /// Completions that were posted before the one a call waited for. In order, and all of them
    /// older than what is still in the ring.
    pub(super) set_aside: VecDeque<Answer>,
    /// The kernel tells by a flag that work waits to be run inside our next call, so that looking
    /// costs no system call.
    tells_pending_work: bool,
    no_iowait: EnterFlags,
}

/// When the kernel runs the part of a completion that needs our thread. Decides how often it
/// interrupts the shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::runtime) enum TaskWork {
    /// Only inside our own wait (Linux 6.1). Nothing interrupts a turn, and buffers are filled at
    /// known times. Goes with a single issuer, which also lets the kernel skip locks.
    Deferred,
    /// At our next system call, whichever it is (5.19; the single issuer 6.0).
    Cooperative,
    /// At once, by an interruption.
    Immediate,
}

impl TaskWork {
    pub(in crate::runtime) const BEST_FIRST: [Self; 3] =
        [Self::Deferred, Self::Cooperative, Self::Immediate];

    fn set_up(self, builder: &mut Builder) {
        match self {
            Self::Deferred => {
                builder.setup_single_issuer().setup_defer_taskrun();
                builder.setup_taskrun_flag().setup_submit_all();
            }
            Self::Cooperative => {
                builder.setup_single_issuer().setup_coop_taskrun();
                builder.setup_taskrun_flag().setup_submit_all();
            }
            Self::Immediate => {}
        }
    }
}

impl Ring {
    /// Builds the first of `kinds` that this kernel grants. Must be used on the calling thread
    /// only.
    pub(super) fn new(
        kinds: &[TaskWork],
        submission_entries: u32,
        completion_entries: u32,
    ) -> io::Result<Self> {
        let mut refusal = None;
        for kind in kinds {
            let mut builder = IoUring::builder();
            kind.set_up(&mut builder);
            builder
                .dontfork()
                .setup_clamp()
                .setup_cqsize(completion_entries);
            match builder.build(submission_entries) {
                Ok(ring) => return Ok(Self::from_ring(ring, *kind)),
                // Only EINVAL means "I do not know such a flag"; fewer flags cannot mend anything
                // else.
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                    tracing::debug!(%error, ?kind, "the kernel refuses this kind of ring, trying the next");
                    refusal = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(refusal.unwrap_or_else(|| io::Error::from_raw_os_error(libc::EINVAL)))
    }

    fn from_ring(ring: IoUring, kind: TaskWork) -> Self {
        // Without it a shard that merely sleeps would be shown as waiting for a disk.
        let no_iowait = if ring.params().is_feature_no_iowait() {
            EnterFlags::NO_IOWAIT
        } else {
            EnterFlags::empty()
        };
        Self {
            ring,
            backlog: VecDeque::new(),
            set_aside: VecDeque::new(),
            tells_pending_work: kind != TaskWork::Immediate,
            no_iowait,
        }
    }

    /// Offers a ring of `entries` provided buffers at `address`.
    ///
    /// # Safety
    /// The memory must be laid out as the kernel's `io_uring_buf_ring` and stay valid until
    /// `unregister_buffers` succeeded.
    pub(super) unsafe fn register_buffers(&self, address: u64, entries: u16) -> io::Result<()> {
        // SAFETY: passed on to the caller.
        unsafe {
            self.ring
                .submitter()
                .register_buf_ring_with_flags(address, entries, BUFFER_GROUP, 0)
        }
    }

    /// Makes the kernel forget the buffer group; afterwards it writes to none of its buffers.
    pub(super) fn unregister_buffers(&self) -> io::Result<()> {
        self.ring.submitter().unregister_buf_ring(BUFFER_GROUP)
    }

    /// Accepts connections until cancelled.
    pub(super) fn accept(&mut self, listener: BorrowedFd<'_>) {
        self.push(
            opcode::AcceptMulti::new(fd(listener))
                .flags(libc::SOCK_CLOEXEC)
                .build(),
            Tag::Accept,
        );
    }

    /// Receives into provided buffers until cancelled, ended, or out of buffers.
    pub(super) fn receive(&mut self, socket: Target<'_>, tag: Tag) {
        let entry = match socket {
            Target::Descriptor(socket) => opcode::RecvMulti::new(fd(socket), BUFFER_GROUP).build(),
            Target::Slot(slot) => opcode::RecvMulti::new(Fixed(slot), BUFFER_GROUP).build(),
        };
        self.push(entry, tag);
    }

    /// Receives once, into one provided buffer.
    pub(super) fn receive_once(&mut self, socket: Target<'_>, tag: Tag) {
        let (none, of_the_buffer) = (std::ptr::null_mut(), 0);
        let entry = match socket {
            Target::Descriptor(socket) => opcode::Recv::new(fd(socket), none, of_the_buffer)
                .buf_group(BUFFER_GROUP)
                .build(),
            Target::Slot(slot) => opcode::Recv::new(Fixed(slot), none, of_the_buffer)
                .buf_group(BUFFER_GROUP)
                .build(),
        };
        self.push(entry.flags(Flags::BUFFER_SELECT), tag);
    }

    /// Waits once for `events` (a poll mask).
    pub(super) fn poll(&mut self, socket: Target<'_>, events: i16, tag: Tag) {
        let events = events as u32;
        let entry = match socket {
            Target::Descriptor(socket) => opcode::PollAdd::new(fd(socket), events).build(),
            Target::Slot(slot) => opcode::PollAdd::new(Fixed(slot), events).build(),
        };
        self.push(entry, tag);
    }

    /// Reports every wake-up for `events` until cancelled.
    pub(super) fn poll_each(&mut self, descriptor: BorrowedFd<'_>, events: i16, tag: Tag) {
        self.push(
            opcode::PollAdd::new(fd(descriptor), events as u32)
                .multi(true)
                .build(),
            tag,
        );
    }

    /// Cancels the request tagged `target`. Only a failure is answered.
    pub(super) fn cancel(&mut self, target: Tag, tag: Tag) {
        let cancel = opcode::AsyncCancel2::new(CancelBuilder::user_data(target.encode())).build();
        self.push(cancel.flags(Flags::SKIP_SUCCESS), tag);
    }

    /// Submits everything queued, then waits for the first completion, at most `timeout` (`None`:
    /// no limit; zero: does not wait).
    pub(super) fn enter(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.flush_backlog();
        let submission = self.ring.submission();
        let queued = submission.len();
        let idle = queued == 0
            && self.tells_pending_work
            && !submission.taskrun()
            && !submission.cq_overflow();
        drop(submission);

        let look_only = timeout == Some(Duration::ZERO) || !self.set_aside.is_empty();
        if look_only && idle {
            return Ok(());
        }
        self.enter_kernel(queued, u32::from(!look_only), timeout)
    }

    /// Submits everything queued, and waits for one completion more, at most `timeout`.
    pub(super) fn submit_and_wait(&mut self, timeout: Duration) -> io::Result<()> {
        self.flush_backlog();
        let queued = self.ring.submission().len();
        self.enter_kernel(queued, 1, Some(timeout))
    }

    fn enter_kernel(
        &self,
        queued: usize,
        wanted: u32,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        let limit = timeout.map(Timespec::from);
        let mut arguments = SubmitArgs::new();
        if let Some(limit) = &limit {
            arguments = arguments.timespec(limit);
        }
        // GETEVENTS also when only looking: deferred task work is run by nothing else.
        let flags = EnterFlags::EXT_ARG | EnterFlags::GETEVENTS | self.no_iowait;
        // SAFETY: `queued` entries are in the queue; with EXT_ARG the kernel expects exactly
        // `SubmitArgs`, which, like the time it points to, lives until the call returns.
        let entered = unsafe {
            self.ring
                .submitter()
                .enter(queued as u32, wanted, flags.bits(), Some(&arguments))
        };
        match entered {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                // The time is up; a signal came; the kernel first wants completions taken out or is
                // short of memory: what was not submitted stays queued.
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => Err(error),
            },
        }
    }

    /// The oldest completion not yet taken.
    pub(super) fn take(&mut self) -> Option<Answer> {
        self.set_aside.pop_front().or_else(|| self.take_posted())
    }

    /// The oldest completion in the ring itself.
    pub(super) fn take_posted(&mut self) -> Option<Answer> {
        let entry = self.ring.completion().next()?;
        Some(Answer {
            tag: Tag::decode(entry.user_data()),
            result: entry.result(),
            more: cqueue::more(entry.flags()),
            buffer: cqueue::buffer_select(entry.flags()),
        })
    }

    /// Completions the kernel can post before it keeps them aside.
    pub(super) fn completion_entries(&self) -> u32 {
        self.ring.params().cq_entries()
    }

    /// Completions are there, or come by themselves with the next `enter`.
    pub(super) fn has_answers(&mut self) -> bool {
        if !self.set_aside.is_empty() || !self.ring.completion().is_empty() {
            return true;
        }
        let submission = self.ring.submission();
        submission.taskrun() || submission.cq_overflow()
    }

    pub(super) fn push(&mut self, entry: Entry, tag: Tag) {
        let entry = entry.user_data(tag.encode());
        if self.backlog.is_empty() && push_to(&mut self.ring.submission(), &entry) {
            return;
        }
        self.backlog.push_back(entry);
        // Full: hand over what is there. Errors are left to the next `enter`, which meets them
        // again and reports them.
        if self.ring.submit().is_ok() {
            self.flush_backlog();
        }
    }

    fn flush_backlog(&mut self) {
        if self.backlog.is_empty() {
            return;
        }
        let mut submission = self.ring.submission();
        while let Some(entry) = self.backlog.front() {
            if !push_to(&mut submission, entry) {
                break;
            }
            self.backlog.pop_front();
        }
    }
}

/// False if the queue is full.
fn push_to(submission: &mut squeue::SubmissionQueue<'_>, entry: &Entry) -> bool {
    // SAFETY: entries are made only in this file, in `direct.rs` and in `sends.rs`. Those of this
    // file point at no memory of ours, and for those of the others `Ring::call` and
    // `Ring::send_each` hold that memory until they are answered. The descriptors they name stay open until the request's last completion (the driver
    // keeps the place until then); a wrong one would be an I/O error, not a memory error. Memory is
    // written only through the buffer group, see `register_buffers`.
    unsafe { submission.push(entry).is_ok() }
}

fn fd(descriptor: BorrowedFd<'_>) -> Fd {
    Fd(descriptor.as_fd().as_raw_fd())
}
