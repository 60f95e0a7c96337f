//! The rings of one driver: one, unless sockets are direct descriptors; then one more for every
//! table that is full.
//!
//! A process may have as many descriptors as its limit says, and a table as many slots; the number
//! of tables is not limited, but a ring has only one. So a socket's place says where it is: place
//! `p` is slot `p % table_size` of branch `p / table_size`.
//!
//! The driver blocks in the first ring. The others count what they complete on one eventfd, which
//! the first polls; they do so only while it blocks, and are looked at before and after. (A poll of
//! the rings themselves would need no eventfd, but now and then misses a completion.)

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use super::buffers::BufferPool;
use super::ring::{Ring, Target, TaskWork};
use super::tag::Tag;
use crate::runtime::bell::Bell;
use crate::runtime::driver::{BufferId, DriverOptions, SocketId};
use crate::runtime::error::RuntimeError;
use crate::runtime::sockets::MAX_SOCKETS;

/// Most rings of one driver: what is looked at in every wait.
pub(in crate::runtime) const MAX_BRANCHES: u32 = 256;

/// What a further branch has of the first one's buffers and submissions: a quarter. Its sockets are
/// many only because they are idle. As many completions: the kernel looks for requests to cancel in a
/// hash table whose size follows from theirs.
const SHARE: u32 = 4;

/// One ring, its buffers, and who waits for those.
pub(super) struct Branch {
    pub(super) ring: Ring,
    pub(super) buffers: BufferPool,
    /// Sockets that ran out of buffers, in that order. May hold stale ids.
    pub(super) starved: VecDeque<SocketId>,
}

impl Branch {
    fn new(kinds: &[TaskWork], number: u16, options: &DriverOptions) -> Result<Self, RuntimeError> {
        let failed = |step| move |source| RuntimeError::Driver { step, source };
        let (submissions, completions) = (options.submission_entries, options.completion_entries);
        let ring =
            Ring::new(kinds, submissions, completions).map_err(failed("create an io_uring"))?;
        if let Some(slots) = options.table_size {
            ring.register_table(slots)
                .map_err(failed("register a table of direct descriptors"))?;
        }
        let buffers = BufferPool::new(&ring, number, options.buffer_size, options.buffer_count)
            .map_err(failed("provide receive buffers to the io_uring"))?;
        Ok(Self {
            ring,
            buffers,
            starved: VecDeque::new(),
        })
    }
}

/// All of them; never empty.
pub(super) struct Branches {
    list: Vec<Branch>,
    options: DriverOptions,
    /// Where the branches behind the first count what they complete.
    alarm: Option<Bell>,
}

impl Branches {
    /// The first branch, on the first of `kinds` that the kernel grants.
    pub(super) fn new(kinds: &[TaskWork], options: &DriverOptions) -> Result<Self, RuntimeError> {
        // Direct descriptors need a kernel that knows the best kind, and nothing less is tried.
        let kinds = match options.table_size {
            Some(_) => &[TaskWork::Deferred],
            None => kinds,
        };
        Ok(Self {
            list: vec![Branch::new(kinds, 0, options)?],
            options: *options,
            alarm: None,
        })
    }

    /// Places that sockets can have.
    pub(super) fn places(&self) -> usize {
        let places = |slots| slots as usize * MAX_BRANCHES as usize;
        self.options
            .table_size
            .map_or(MAX_SOCKETS, places)
            .min(MAX_SOCKETS)
    }

    /// Sockets are direct descriptors.
    pub(super) fn are_direct(&self) -> bool {
        self.options.table_size.is_some()
    }

    /// The branch that looks after a socket, and the socket's slot there. The branch is there since
    /// the socket was adopted.
    pub(super) fn of(&mut self, socket: SocketId) -> (&mut Branch, u32) {
        let (branch, slot) = self.place(socket);
        (&mut self.list[branch], slot)
    }

    /// There is no branch but the first.
    pub(super) fn are_one(&self) -> bool {
        self.list.len() == 1
    }

    /// Which branch looks after a socket, and the socket's slot there.
    pub(super) fn place(&self, socket: SocketId) -> (usize, u32) {
        let place = socket.index() as u32;
        match self.options.table_size {
            Some(slots) => ((place / slots) as usize, place % slots),
            None => (0, place),
        }
    }

    /// Sees to it that the socket's branch is there.
    pub(super) fn grow_to(&mut self, socket: SocketId) -> Result<(), RuntimeError> {
        let (branch, _) = self.place(socket);
        while self.list.len() <= branch {
            let added = self.another()?;
            self.list.push(added);
        }
        Ok(())
    }

    fn another(&mut self) -> Result<Branch, RuntimeError> {
        let failed = |step| move |source| RuntimeError::Driver { step, source };
        let alarm = match &self.alarm {
            Some(alarm) => alarm.clone(),
            None => {
                let alarm = Bell::new().map_err(failed("create an eventfd for more rings"))?;
                self.alarm = Some(alarm.clone());
                self.watch_alarm();
                alarm
            }
        };
        let options = DriverOptions {
            buffer_count: (self.options.buffer_count / SHARE as u16).max(1),
            submission_entries: self.options.submission_entries.div_ceil(SHARE),
            ..self.options
        };
        let number = self.list.len() as u16;
        let mut branch = Branch::new(&[TaskWork::Deferred], number, &options)?;
        branch
            .ring
            .register_event(alarm.descriptor())
            .map_err(failed("register an eventfd with the io_uring"))?;
        branch.ring.tell_by_event(false);
        Ok(branch)
    }

    /// The ring that is blocked in.
    pub(super) fn first(&mut self) -> &mut Ring {
        &mut self.list[0].ring
    }

    /// (Re-)arms the poll for completions of the others. One at a time: the kernel ends every poll
    /// that another ring has woken, lest two rings wake each other for ever.
    pub(super) fn watch_alarm(&mut self) {
        if let Some(alarm) = &self.alarm {
            alarm.hush();
            let alarm = Target::Descriptor(alarm.descriptor());
            self.list[0].ring.poll(alarm, libc::POLLIN, Tag::Alarm);
        }
    }

    pub(super) fn iter_mut(&mut self) -> std::slice::IterMut<'_, Branch> {
        self.list.iter_mut()
    }

    pub(super) fn get_mut(&mut self, branch: usize) -> Option<&mut Branch> {
        self.list.get_mut(branch)
    }

    /// The pool of a lent buffer.
    pub(super) fn pool(&mut self, buffer: BufferId) -> &mut BufferPool {
        &mut self.list[usize::from(buffer.pool)].buffers
    }

    /// Submits what is queued in every ring and waits in the first one until any of them has
    /// completed something, at most `timeout`.
    pub(super) fn enter(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let Some((first, others)) = self.list.split_first_mut() else {
            return Ok(());
        };
        if others.is_empty() {
            return first.ring.enter(timeout);
        }
        let mut timeout = timeout;
        for other in others.iter_mut() {
            other.ring.enter(Some(Duration::ZERO))?;
        }
        let blocks = timeout != Some(Duration::ZERO);
        if blocks {
            for other in others.iter_mut() {
                other.ring.tell_by_event(true);
            }
            // What is completed from here on is counted; what was completed before is seen now.
            fence(Ordering::SeqCst);
        }
        if others.iter_mut().any(|other| other.ring.has_answers()) {
            timeout = Some(Duration::ZERO);
        }
        let entered = first.ring.enter(timeout);
        for other in others.iter_mut() {
            if blocks {
                other.ring.tell_by_event(false);
            }
            other.ring.enter(Some(Duration::ZERO))?;
        }
        entered
    }
}
