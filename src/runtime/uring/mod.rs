//! The production driver: one raw io_uring per shard.
//!
//! Per wait there is one system call, whatever the number of sockets: multishot accept, multishot
//! receive with provided buffers, one multishot poll for the bell. Sends are direct system calls,
//! measured as cheap as send requests and much simpler: no buffer has to outlive the call.
//!
//! Invariants:
//! - A place of the socket table is used again only after the last completion of its previous
//!   socket; a descriptor that a request in the kernel names stays open until then. So no
//!   completion ever meets a stranger.
//! - A receive buffer is either in the kernel's ring or lent, never both.
//! - Every completion of a dead socket ends here, and its buffer goes back.
//!
//! `close` ends a receive in the kernel by shutdown(2), not by a cancel request: closing alone
//! would leave the connection open for as long as the kernel's request holds it, the FIN leaves at
//! once instead of at the next wait, unread bytes are drained instead of turning the close into a
//! reset (which could destroy a close frame on its way), and the poll for room ends by the same
//! call.

mod acceptor;
mod buffers;
mod completions;
mod receive;
mod ring;
mod tag;

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use self::acceptor::Acceptor;
use self::buffers::BufferPool;
use self::receive::{Receive, Requests};
use self::ring::Ring;
pub(super) use self::ring::TaskWork;
use self::tag::Tag;
use super::bell::Bell;
use super::driver::{BufferId, Completion, Driver, DriverOptions, SocketId};
use super::error::RuntimeError;
use super::sockets::{Sockets, State};

/// How long a dropped driver waits for its requests to end, so that all descriptors are closed when
/// `drop` returns. Needs far less unless there are hundreds of thousands of sockets; what is left
/// then is closed by the kernel a little later.
const DROP_PATIENCE: Duration = Duration::from_secs(2);

/// The io_uring driver. Made on, and bound to, the thread that uses it.
pub struct Uring {
    ring: Ring,
    buffers: BufferPool,
    sockets: Sockets<Requests>,
    acceptor: Acceptor,
    bell: Bell,
    /// Sockets that ran out of buffers, in that order. May hold stale ids.
    starved: VecDeque<SocketId>,
    /// Sockets whose `Stopped` needs nothing from the kernel. May hold stale ids.
    stops_due: Vec<SocketId>,
}

impl Uring {
    /// Builds ring, buffers and bell, and touches all their memory.
    ///
    /// # Errors
    /// [`RuntimeError::Option`], or [`RuntimeError::Driver`] with the step that the kernel refused.
    pub fn new(options: &DriverOptions) -> Result<Self, RuntimeError> {
        Self::with_first_of(&TaskWork::BEST_FIRST, options)
    }

    /// The same with the first of `kinds` that the kernel grants, so that tests can try what older
    /// kernels get.
    pub(super) fn with_first_of(
        kinds: &[TaskWork],
        options: &DriverOptions,
    ) -> Result<Self, RuntimeError> {
        options.check()?;
        let failed = |step| move |source| RuntimeError::Driver { step, source };
        let mut ring = Ring::new(
            kinds,
            options.submission_entries,
            options.completion_entries,
        )
        .map_err(failed("create an io_uring"))?;
        let bell = Bell::new().map_err(failed("create an eventfd for the bell"))?;
        let buffers = BufferPool::new(&ring, options.buffer_size, options.buffer_count)
            .map_err(failed("provide receive buffers to the io_uring"))?;
        ring.poll_each(bell.descriptor(), libc::POLLIN, Tag::Bell);
        Ok(Self {
            ring,
            buffers,
            sockets: Sockets::default(),
            acceptor: Acceptor::default(),
            bell,
            starved: VecDeque::new(),
            stops_due: Vec::new(),
        })
    }
}

impl Driver for Uring {
    fn listen(&mut self, listener: TcpListener) -> io::Result<()> {
        self.acceptor.listen(listener, &mut self.ring)
    }

    fn stop_accepting(&mut self) {
        self.acceptor.stop(&mut self.ring);
    }

    fn resume_accepting(&mut self) {
        self.acceptor.resume(&mut self.ring);
    }

    fn adopt(&mut self, socket: OwnedFd) -> io::Result<SocketId> {
        self.sockets.insert(socket)
    }

    fn start_receiving(&mut self, socket: SocketId) {
        let Some(slot) = self.sockets.open_mut(socket) else {
            return;
        };
        match slot.state.receive {
            Receive::Idle => self.arm_receive(socket),
            Receive::Stopping | Receive::StopDue => slot.state.again = true,
            Receive::Armed | Receive::Starved | Receive::Ended => {}
        }
    }

    fn stop_receiving(&mut self, socket: SocketId) {
        let Some(slot) = self.sockets.open_mut(socket) else {
            return;
        };
        match slot.state.receive {
            Receive::Armed => {
                slot.state.receive = Receive::Stopping;
                self.ring
                    .cancel(Tag::Receive(socket), Tag::CancelReceive(socket));
            }
            Receive::Idle | Receive::Starved => {
                slot.state.receive = Receive::StopDue;
                self.stops_due.push(socket);
            }
            Receive::Stopping | Receive::StopDue => slot.state.again = false,
            Receive::Ended => {}
        }
    }

    fn buffer(&mut self, buffer: BufferId, len: usize) -> &mut [u8] {
        self.buffers.bytes(buffer, len)
    }

    fn recycle(&mut self, buffer: BufferId) {
        self.buffers.recycle(buffer);
    }

    fn send(&mut self, socket: SocketId, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.sockets.connected(socket)?.send(slices)
    }

    fn notify_writable(&mut self, socket: SocketId) {
        let Some(slot) = self.sockets.open_mut(socket) else {
            return;
        };
        if slot.state.polling {
            return;
        }
        if let Some(descriptor) = &slot.socket {
            self.ring
                .poll(descriptor.as_fd(), libc::POLLOUT, Tag::Poll(socket));
            slot.state.polling = true;
        }
    }

    fn peer_address(&self, socket: SocketId) -> io::Result<SocketAddr> {
        self.sockets.connected(socket)?.peer_address()
    }

    fn shutdown_write(&mut self, socket: SocketId) {
        if let Some(slot) = self.sockets.open(socket) {
            slot.shutdown(Shutdown::Write);
        }
    }

    fn release(&mut self, socket: SocketId) -> Option<OwnedFd> {
        let slot = self.sockets.open_mut(socket)?;
        if !matches!(slot.state.receive, Receive::Idle | Receive::Ended) {
            return None;
        }
        let descriptor = slot.socket.take();
        if slot.state.polling {
            self.ring.cancel(Tag::Poll(socket), Tag::Cancel);
        }
        self.sockets.leave(socket);
        descriptor
    }

    fn close(&mut self, socket: SocketId) {
        let Some(slot) = self.sockets.open(socket) else {
            return;
        };
        if slot.state.in_kernel() {
            // See the module's page. A failure means that the connection is gone, which ends the
            // requests as well.
            slot.shutdown(Shutdown::Both);
        }
        self.sockets.leave(socket);
    }

    fn bell(&self) -> Bell {
        self.bell.clone()
    }

    fn wait(
        &mut self,
        timeout: Option<Duration>,
        completions: &mut Vec<Completion>,
    ) -> io::Result<()> {
        let hungry = self.feed_the_starved();
        let reported = self.report_due_stops(completions);
        self.buffers.publish();
        let timeout = if hungry || reported {
            Some(Duration::ZERO)
        } else {
            timeout
        };
        self.ring.enter(timeout)?;
        self.reap(completions);
        Ok(())
    }
}

impl Drop for Uring {
    /// Closes everything in order: the listener's port is free and every peer has its FIN when this
    /// returns.
    fn drop(&mut self) {
        self.stop_accepting();
        for id in self.sockets.open_ids().collect::<Vec<_>>() {
            self.close(id);
        }
        let deadline = Instant::now() + DROP_PATIENCE;
        let mut completions = Vec::new();
        while (self.acceptor.is_open() || self.sockets.occupied() > 0) && Instant::now() < deadline
        {
            if let Err(error) = self.wait(Some(Duration::from_millis(5)), &mut completions) {
                tracing::warn!(%error, "a stopped shard leaves its sockets to the kernel");
                break;
            }
            // Connections accepted meanwhile are closed by being dropped.
            for completion in completions.drain(..) {
                if let Completion::Received { buffer, .. } = completion {
                    self.recycle(buffer);
                }
            }
        }
        self.buffers.detach(&self.ring);
    }
}
