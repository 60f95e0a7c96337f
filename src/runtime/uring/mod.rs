//! The production driver: one raw io_uring per shard.
//!
//! Per wait there is one system call, whatever the number of sockets: multishot accept, multishot
//! receive with provided buffers, one multishot poll for the bell. What a turn sends to many sockets
//! are requests that are handed over together and answered at once (`sends.rs`); a send alone is a
//! system call. Either way no buffer has to outlive the call.
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
//!
//! A socket that has hardly spoken yet, or was silent for [`quiet_after`](DriverOptions::quiet_after)
//! before its last bytes, is waited for by a poll instead of a receive, which holds 608 bytes less in
//! the kernel.
//!
//! With [`table_size`](DriverOptions::table_size) sockets become *direct descriptors*: each is
//! accepted (or handed over) with a descriptor of the process, and moves into a slot of a ring's
//! table when it is first received from; its descriptor is closed then. So the open-file limit bounds
//! what is on its way, not what is open. Receives and polls name the slot; a send is a request that
//! is answered at once (`direct.rs`); a hand-off, a shutdown and the peer's address borrow a
//! descriptor for the moment. A table has at most as many slots as the limit, and a ring one table:
//! the driver grows by one ring for every table (`branch.rs`).

mod acceptor;
mod branch;
mod buffers;
mod completions;
mod direct;
mod receive;
mod ring;
mod sends;
mod tag;

use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use self::acceptor::Acceptor;
use self::branch::Branches;
pub(super) use self::branch::MAX_BRANCHES;
use self::receive::{Receive, Requests, Silence};
use self::ring::Target;
pub(super) use self::ring::TaskWork;
use self::sends::Send;
use self::tag::Tag;
use super::bell::Bell;
use super::driver::{BufferId, Completion, Driver, DriverOptions, Outgoing, SocketId};
use super::error::RuntimeError;
use super::sockets::{self, Slot, Sockets, State};

/// How long a dropped driver waits for its requests to end, so that all descriptors are closed when
/// `drop` returns. Needs far less unless there are hundreds of thousands of sockets; what is left
/// then is closed by the kernel a little later.
const DROP_PATIENCE: Duration = Duration::from_secs(2);

/// Sends of one call that are put in order without taking memory for it.
const SENDS_AT_ONCE: usize = 64;

/// Where one of many sockets is that are sent to, and which of them it is.
struct Place {
    branch: usize,
    slot: u32,
    number: usize,
}

/// The io_uring driver. Made on, and bound to, the thread that uses it.
pub struct Uring {
    branches: Branches,
    sockets: Sockets<Requests>,
    acceptor: Acceptor,
    bell: Bell,
    /// Sockets whose `Stopped` needs nothing from the kernel. May hold stale ids.
    stops_due: Vec<SocketId>,
    silence: Silence,
    /// Receives of quiet sockets were queued, whose bytes are there.
    spoken: bool,
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
        let mut branches = Branches::new(kinds, options)?;
        let bell = Bell::new().map_err(failed("create an eventfd for the bell"))?;
        branches
            .first()
            .poll_each(bell.descriptor(), libc::POLLIN, Tag::Bell);
        Ok(Self {
            sockets: Sockets::at_most(branches.places()),
            acceptor: Acceptor::new(branches.are_direct()),
            branches,
            bell,
            stops_due: Vec::new(),
            silence: Silence::new(options.quiet_after),
            spoken: false,
        })
    }

    /// Makes a socket a direct descriptor, and closes its own; without a table, or while a request
    /// names its descriptor, it stays as it is.
    fn make_direct(&mut self, id: SocketId) {
        if !self.branches.are_direct() {
            return;
        }
        let Some(slot) = self.sockets.open_mut(id) else {
            return;
        };
        let Some(socket) = slot.socket.as_ref().filter(|_| !slot.state.in_kernel()) else {
            return;
        };
        let (branch, place) = self.branches.of(id);
        match branch.ring.fill_slot(place, socket.as_fd()) {
            Ok(()) => {
                slot.state.direct = true;
                slot.socket = None;
            }
            Err(error) => tracing::warn!(%error, "a socket keeps its descriptor"),
        }
    }

    fn send_to(
        &mut self,
        socket: SocketId,
        slices: &[IoSlice<'_>],
        last: bool,
    ) -> io::Result<usize> {
        let slot = self.sockets.connected(socket)?;
        if slot.state.direct {
            let (branch, place) = self.branches.of(socket);
            return branch.ring.send(place, slices, last);
        }
        slot.send(slices, last)
    }

    /// Ends one or both directions.
    fn shutdown(&mut self, id: SocketId, how: Shutdown) {
        match self.sockets.open(id) {
            Some(slot) if slot.state.direct => {
                let (branch, place) = self.branches.of(id);
                branch.ring.shutdown(place, how);
            }
            Some(slot) => slot.shutdown(how),
            None => {}
        }
    }

    /// The caller forgets the socket.
    fn leave(&mut self, id: SocketId) {
        let freed = self.sockets.leave(id);
        self.empty_slot_of(id, freed);
    }

    /// The last request of a socket that left may be over.
    fn free_if_done(&mut self, id: SocketId) {
        let freed = self.sockets.free_if_done(id);
        self.empty_slot_of(id, freed);
    }

    /// Empties the slot of a socket whose place was freed, before anybody else gets the place.
    fn empty_slot_of(&mut self, id: SocketId, freed: Option<Requests>) {
        if freed.is_some_and(|requests| requests.direct) {
            let (branch, place) = self.branches.of(id);
            branch.ring.empty_slot(place);
        }
    }
}

impl Driver for Uring {
    fn listen(&mut self, listener: TcpListener) -> io::Result<()> {
        self.acceptor.listen(listener, self.branches.first())
    }

    fn stop_accepting(&mut self) {
        self.acceptor.stop(self.branches.first());
    }

    fn resume_accepting(&mut self) {
        self.acceptor.resume(self.branches.first());
    }

    fn adopt(&mut self, socket: OwnedFd) -> io::Result<SocketId> {
        let id = self.sockets.insert(socket)?;
        if let Err(error) = self.branches.grow_to(id) {
            self.leave(id);
            return Err(io::Error::other(error));
        }
        if let Some(slot) = self.sockets.open_mut(id) {
            slot.state.heard = self.silence.now();
            slot.state.talk = self.silence.first_talk();
        }
        Ok(id)
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
                self.cancel_receive(socket);
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
        self.branches.pool(buffer).bytes(buffer, len)
    }

    fn recycle(&mut self, buffer: BufferId) {
        self.branches.pool(buffer).recycle(buffer);
    }

    fn send(&mut self, socket: SocketId, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.send_to(socket, slices, false)
    }

    fn send_each(&mut self, sends: &[Outgoing<'_>], outcomes: &mut Vec<io::Result<usize>>) {
        outcomes.clear();
        // What stays with those who do not know yet that their socket is gone.
        outcomes.resize_with(sends.len(), || Err(io::ErrorKind::NotConnected.into()));
        let mut places: SmallVec<[Place; SENDS_AT_ONCE]> = SmallVec::new();
        for (number, send) in sends.iter().enumerate() {
            let (branch, slot) = self.branches.place(send.socket);
            places.push(Place {
                branch,
                slot,
                number,
            });
        }
        if !self.branches.are_one() {
            places.sort_unstable_by_key(|place| (place.branch, place.number));
        }
        for of_one_ring in places.chunk_by(|one, next| one.branch == next.branch) {
            // Alone, a call of its own is cheaper.
            if let [Place { number, .. }] = *of_one_ring {
                let send = &sends[number];
                let bytes = [IoSlice::new(send.bytes)];
                outcomes[number] = self.send_to(send.socket, &bytes, send.last);
                continue;
            }
            let wanted = of_one_ring.iter().filter_map(|place| {
                let send = &sends[place.number];
                let slot = self.sockets.open(send.socket)?;
                Some(Send {
                    number: place.number,
                    target: target(slot, place.slot)?,
                    bytes: send.bytes,
                    last: send.last,
                })
            });
            if let Some(branch) = self.branches.get_mut(of_one_ring[0].branch) {
                branch.ring.send_each(wanted, outcomes);
            }
        }
    }

    fn notify_writable(&mut self, socket: SocketId) {
        let Some(slot) = self.sockets.open_mut(socket) else {
            return;
        };
        if slot.state.polling {
            return;
        }
        let (branch, place) = self.branches.of(socket);
        if let Some(target) = target(slot, place) {
            branch.ring.poll(target, libc::POLLOUT, Tag::Poll(socket));
            slot.state.polling = true;
        }
    }

    fn peer_address(&mut self, socket: SocketId) -> io::Result<SocketAddr> {
        let slot = self.sockets.connected(socket)?;
        if slot.state.direct {
            let (branch, place) = self.branches.of(socket);
            return sockets::peer_address(&branch.ring.install(place)?);
        }
        slot.peer_address()
    }

    fn shutdown_write(&mut self, socket: SocketId) {
        self.shutdown(socket, Shutdown::Write);
    }

    fn release(&mut self, socket: SocketId) -> Option<OwnedFd> {
        let slot = self.sockets.open_mut(socket)?;
        if !matches!(slot.state.receive, Receive::Idle | Receive::Ended) {
            return None;
        }
        let (branch, place) = self.branches.of(socket);
        let descriptor = if slot.state.direct {
            let installed = branch.ring.install(place);
            let warn =
                |error: &_| tracing::warn!(%error, "a socket finds no descriptor to leave by");
            Some(installed.inspect_err(warn).ok()?)
        } else {
            slot.socket.take()
        };
        if slot.state.polling {
            branch.ring.cancel(Tag::Poll(socket), Tag::Cancel);
        }
        self.leave(socket);
        descriptor
    }

    fn close(&mut self, socket: SocketId) {
        let Some(slot) = self.sockets.open(socket) else {
            return;
        };
        if slot.state.in_kernel() {
            // See the module's page. A failure means that the connection is gone, which ends the
            // requests as well.
            self.shutdown(socket, Shutdown::Both);
        }
        self.leave(socket);
    }

    fn bell(&self) -> Bell {
        self.bell.clone()
    }

    fn wait(
        &mut self,
        timeout: Option<Duration>,
        completions: &mut Vec<Completion>,
    ) -> io::Result<()> {
        self.acceptor.resume_if_due(self.branches.first());
        let hungry = self.feed_the_starved();
        let reported = self.report_due_stops(completions);
        for branch in self.branches.iter_mut() {
            branch.buffers.publish();
        }
        let timeout = if hungry || reported {
            Some(Duration::ZERO)
        } else {
            timeout
        };
        self.branches.enter(timeout)?;
        self.silence.look();
        self.reap(completions);
        if std::mem::take(&mut self.spoken) {
            self.branches.enter(Some(Duration::ZERO))?;
            self.reap(completions);
        }
        Ok(())
    }
}

/// How requests name a socket; none that has left.
fn target(slot: &Slot<Requests>, place: u32) -> Option<Target<'_>> {
    if slot.state.direct {
        return Some(Target::Slot(place));
    }
    let socket = slot.socket.as_ref()?;
    Some(Target::Descriptor(socket.as_fd()))
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
        for branch in self.branches.iter_mut() {
            branch.buffers.detach(&branch.ring);
        }
    }
}
