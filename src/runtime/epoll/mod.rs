//! The driver for machines that deny io_uring: readiness by one epoll instance per shard.
//!
//! Every socket is registered once, edge-triggered, for both directions, and never changed: an edge
//! is remembered in the socket's `Readiness`, and what the loop asks for is compared with it.
//! Starting and stopping a receive therefore needs no system call. A readable socket is read into
//! one buffer of the pool per round; whoever fills it waits for the next round behind the others.
//!
//! Invariants:
//! - A socket is in the queue of readable ones at most once, whatever happens to it meanwhile.
//! - A buffer is in the pool or lent, never both.
//! - Nothing of a socket stays behind in the kernel when it leaves: a stale id can meet no event,
//!   since its generation is part of every registration.
//!
//! `close` reads what has already arrived, without looking at it: closing with unread bytes would
//! turn the end into a reset, which could destroy a close frame on its way.

mod acceptor;
mod buffers;

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::RecvFlags;
use rustix::time::Timespec;

use self::acceptor::Acceptor;
use self::buffers::BufferPool;
use super::bell::Bell;
use super::driver::{BufferId, Completion, Driver, DriverOptions, Outgoing, SocketId};
use super::error::RuntimeError;
use super::sockets::{Sockets, State};

/// Names of what is no socket; a socket's place needs 24 of the lower 32 bits.
const LISTENER: u64 = u64::MAX;
const BELL: u64 = u64::MAX - 1;

/// Events taken per wait; what is more comes with the next one.
const EVENTS: usize = 1024;

/// How often `close` reads on, one buffer each, before it lets a reset happen: a peer that sends
/// faster than this is not waiting for our last words.
const LAST_READS: usize = 16;

/// Where a socket's receiving stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Receive {
    /// Not asked for.
    #[default]
    Idle,
    /// Bytes are reported as they come.
    On,
    /// `Stopped` is due at the next wait.
    StopDue,
    /// End or failure was reported, for good.
    Ended,
}

/// What is known of one socket.
#[derive(Default)]
struct Readiness {
    receive: Receive,
    /// The caller wants to receive again after the `Stopped` it waits for.
    again: bool,
    /// There may be bytes, an end or an error to read.
    readable: bool,
    /// The peer has ended its direction: a short read is not the last one.
    hung_up: bool,
    /// In the queue of readable sockets.
    queued: bool,
    /// An edge for room came after the last send that found none.
    room: bool,
    /// The caller waits for room.
    wants_room: bool,
}

impl State for Readiness {
    /// Edges carry the socket's whole id: one that comes late names nobody.
    fn in_kernel(&self) -> bool {
        false
    }
}

/// The epoll driver.
pub struct Epoll {
    epoll: OwnedFd,
    events: Vec<Event>,
    buffers: BufferPool,
    sockets: Sockets<Readiness>,
    acceptor: Acceptor,
    bell: Bell,
    /// Sockets to read from, in turn. May hold stale ids.
    readable: VecDeque<SocketId>,
    /// Sockets whose `Stopped` is due. May hold stale ids.
    stops_due: Vec<SocketId>,
    /// Sockets whose `Writable` is due already. May hold stale ids.
    room_due: Vec<SocketId>,
}

impl Epoll {
    /// Builds the epoll instance, buffers and bell, and touches all their memory.
    ///
    /// # Errors
    /// [`RuntimeError::Option`], or [`RuntimeError::Driver`] with the step that the kernel refused.
    pub fn new(options: &DriverOptions) -> Result<Self, RuntimeError> {
        options.check()?;
        let failed = |step| move |source: io::Error| RuntimeError::Driver { step, source };
        let epoll = epoll::create(CreateFlags::CLOEXEC)
            .map_err(|error| failed("create an epoll instance")(error.into()))?;
        let bell = Bell::new().map_err(failed("create an eventfd for the bell"))?;
        // Edge-triggered: the bell's counter is never read, and each ring is an edge.
        epoll::add(
            &epoll,
            bell.descriptor(),
            EventData::new_u64(BELL),
            EventFlags::IN | EventFlags::ET,
        )
        .map_err(|error| failed("watch the bell")(error.into()))?;
        Ok(Self {
            epoll,
            events: Vec::with_capacity(EVENTS),
            buffers: BufferPool::new(options.buffer_size, options.buffer_count),
            sockets: Sockets::default(),
            acceptor: Acceptor::default(),
            bell,
            readable: VecDeque::new(),
            stops_due: Vec::new(),
            room_due: Vec::new(),
        })
    }

    /// Puts a socket that may have something to read in the queue, if its bytes are wanted.
    fn queue(&mut self, id: SocketId) {
        if let Some(slot) = self.sockets.open_mut(id)
            && slot.state.receive == Receive::On
            && slot.state.readable
            && !slot.state.queued
        {
            slot.state.queued = true;
            self.readable.push_back(id);
        }
    }

    fn report_due(&mut self, completions: &mut Vec<Completion>) {
        let mut due = std::mem::take(&mut self.stops_due);
        for socket in due.drain(..) {
            let Some(slot) = self.sockets.open_mut(socket) else {
                continue;
            };
            if slot.state.receive != Receive::StopDue {
                continue;
            }
            slot.state.receive = Receive::Idle;
            completions.push(Completion::Stopped { socket });
            if std::mem::take(&mut slot.state.again) {
                slot.state.receive = Receive::On;
                self.queue(socket);
            }
        }
        self.stops_due = due;
        let mut due = std::mem::take(&mut self.room_due);
        for socket in due.drain(..) {
            self.report_room(socket, completions);
        }
        self.room_due = due;
    }

    fn report_room(&mut self, socket: SocketId, completions: &mut Vec<Completion>) {
        if let Some(slot) = self.sockets.open_mut(socket)
            && std::mem::take(&mut slot.state.wants_room)
        {
            completions.push(Completion::Writable { socket });
        }
    }

    fn take_events(&mut self, completions: &mut Vec<Completion>) {
        let mut rung = false;
        let mut events = std::mem::take(&mut self.events);
        for event in events.drain(..) {
            match event.data.u64() {
                LISTENER => self.acceptor.accept(&self.epoll, completions),
                BELL => rung = true,
                name => self.take_edge(SocketId::from_u64(name), event.flags, completions),
            }
        }
        self.events = events;
        if rung {
            completions.push(Completion::Bell);
        }
    }

    fn take_edge(&mut self, id: SocketId, edge: EventFlags, completions: &mut Vec<Completion>) {
        let Some(slot) = self.sockets.open_mut(id) else {
            return;
        };
        let over = edge.intersects(EventFlags::HUP | EventFlags::ERR);
        if over || edge.intersects(EventFlags::IN | EventFlags::RDHUP) {
            slot.state.readable = true;
            slot.state.hung_up |= over || edge.contains(EventFlags::RDHUP);
        }
        if over || edge.contains(EventFlags::OUT) {
            slot.state.room = true;
            self.report_room(id, completions);
        }
        self.queue(id);
    }

    /// One buffer for each socket in the queue, as far as the buffers reach.
    fn read_round(&mut self, completions: &mut Vec<Completion>) {
        for _ in 0..self.readable.len() {
            if self.buffers.available() == 0 {
                break;
            }
            let Some(id) = self.readable.pop_front() else {
                break;
            };
            let Some(slot) = self.sockets.open_mut(id) else {
                continue;
            };
            slot.state.queued = false;
            if slot.state.receive != Receive::On {
                continue;
            }
            self.read(id, completions);
            self.queue(id);
        }
    }

    fn read(&mut self, socket: SocketId, completions: &mut Vec<Completion>) {
        let Some(slot) = self.sockets.open_mut(socket) else {
            return;
        };
        let (Some(descriptor), Some((buffer, bytes))) = (&slot.socket, self.buffers.lend()) else {
            return;
        };
        let room = bytes.len();
        let result = rustix::net::recv(descriptor, bytes, RecvFlags::DONTWAIT);
        if let Ok((len @ 1.., _)) = result {
            // A short read has emptied the socket, unless an end is behind it.
            slot.state.readable = len == room || slot.state.hung_up;
            completions.push(Completion::Received {
                socket,
                buffer,
                len,
            });
            return;
        }
        self.buffers.recycle(buffer);
        let error = match result {
            Ok(_) => None,
            Err(Errno::INTR) => return,
            Err(Errno::AGAIN) => {
                slot.state.readable = false;
                return;
            }
            Err(error) => Some(error.into()),
        };
        slot.state.receive = Receive::Ended;
        slot.state.readable = false;
        completions.push(Completion::Ended { socket, error });
    }

    fn send_to(
        &mut self,
        socket: SocketId,
        slices: &[IoSlice<'_>],
        last: bool,
    ) -> io::Result<usize> {
        let slot = self.sockets.open_mut(socket);
        let slot = slot.ok_or(io::ErrorKind::NotConnected)?;
        let sent = slot.send(slices, last);
        if matches!(&sent, Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
            slot.state.room = false;
        }
        sent
    }

    /// How long the next look at the kernel may take.
    fn patience(&self, timeout: Option<Duration>, reported: bool) -> Option<Timespec> {
        let busy = reported || (!self.readable.is_empty() && self.buffers.available() > 0);
        let timeout = if busy { Some(Duration::ZERO) } else { timeout };
        timeout.map(|timeout| {
            Timespec::try_from(timeout).unwrap_or(Timespec {
                tv_sec: i64::from(i32::MAX / 1000),
                tv_nsec: 0,
            })
        })
    }
}

impl Driver for Epoll {
    fn listen(&mut self, listener: TcpListener) -> io::Result<()> {
        self.acceptor.listen(listener, &self.epoll)
    }

    fn stop_accepting(&mut self) {
        self.acceptor.stop(&self.epoll);
    }

    fn resume_accepting(&mut self) {
        self.acceptor.resume(&self.epoll);
    }

    fn adopt(&mut self, socket: OwnedFd) -> io::Result<SocketId> {
        let id = self.sockets.insert(socket)?;
        let registered = match self.sockets.open(id).and_then(|slot| slot.socket.as_ref()) {
            Some(socket) => epoll::add(
                &self.epoll,
                socket,
                EventData::new_u64(id.as_u64()),
                EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET,
            ),
            None => Err(Errno::NOTCONN),
        };
        if let Err(error) = registered {
            self.sockets.leave(id);
            return Err(error.into());
        }
        Ok(id)
    }

    fn start_receiving(&mut self, socket: SocketId) {
        let Some(slot) = self.sockets.open_mut(socket) else {
            return;
        };
        match slot.state.receive {
            Receive::Idle => {
                slot.state.receive = Receive::On;
                self.queue(socket);
            }
            Receive::StopDue => slot.state.again = true,
            Receive::On | Receive::Ended => {}
        }
    }

    fn stop_receiving(&mut self, socket: SocketId) {
        let Some(slot) = self.sockets.open_mut(socket) else {
            return;
        };
        match slot.state.receive {
            Receive::Idle | Receive::On => {
                slot.state.receive = Receive::StopDue;
                self.stops_due.push(socket);
            }
            Receive::StopDue => slot.state.again = false,
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
        self.send_to(socket, slices, false)
    }

    fn send_each(&mut self, sends: &[Outgoing<'_>], outcomes: &mut Vec<io::Result<usize>>) {
        outcomes.clear();
        for send in sends {
            outcomes.push(self.send_to(send.socket, &[IoSlice::new(send.bytes)], send.last));
        }
    }

    fn notify_writable(&mut self, socket: SocketId) {
        let Some(slot) = self.sockets.open_mut(socket) else {
            return;
        };
        if std::mem::replace(&mut slot.state.wants_room, true) {
            return;
        }
        // The edge may have come between the send that found no room and this.
        if slot.state.room {
            self.room_due.push(socket);
        }
    }

    fn peer_address(&mut self, socket: SocketId) -> io::Result<SocketAddr> {
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
        if let Some(descriptor) = &descriptor {
            // Can only fail if it was not registered.
            let _ = epoll::delete(&self.epoll, descriptor);
        }
        self.sockets.leave(socket);
        descriptor
    }

    fn close(&mut self, socket: SocketId) {
        let Some(slot) = self.sockets.open(socket) else {
            return;
        };
        if slot.state.receive != Receive::Ended {
            slot.shutdown(Shutdown::Write);
            if let Some(descriptor) = &slot.socket {
                self.buffers.discard(descriptor.as_fd(), LAST_READS);
            }
        }
        // Closing the last descriptor of a socket also ends its registration.
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
        self.acceptor.close_if_stopped();
        let before = completions.len();
        self.report_due(completions);
        let patience = self.patience(timeout, completions.len() > before);
        match epoll::wait(
            &self.epoll,
            spare_capacity(&mut self.events),
            patience.as_ref(),
        ) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        self.take_events(completions);
        self.read_round(completions);
        Ok(())
    }
}

impl Drop for Epoll {
    /// Ends every connection in order: each peer has its FIN when this returns.
    fn drop(&mut self) {
        self.stop_accepting();
        for id in self.sockets.open_ids().collect::<Vec<_>>() {
            self.close(id);
        }
    }
}
