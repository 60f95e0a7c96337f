//! The seam between a shard's loop and its sockets.
//!
//! Shaped for completions: the driver owns the receive buffers and lends one per
//! [`Completion::Received`]; the loop gives it back with [`Driver::recycle`]. Sending is a direct
//! system call, so nothing that is sent has to outlive the call.
//!
//! A readiness driver ([`Epoll`](super::Epoll)) fits behind the same trait: it reads into a buffer of
//! its own pool when a socket is readable, and answers [`Driver::stop_receiving`] at the next
//! [`Driver::wait`]. For that reason nothing here names a ring.

use std::fmt;
use std::io::{self, IoSlice};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::time::Duration;

use super::bell::Bell;
use super::error::RuntimeError;

/// Names one adopted socket of one driver: a place, and which life of that place.
///
/// A stale id (its socket was closed or released) never reaches the socket that has the place now:
/// calls with it are ignored.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SocketId(u64);

impl SocketId {
    pub(super) fn new(index: u32, generation: u32) -> Self {
        Self(u64::from(generation) << 32 | u64::from(index))
    }

    /// The place among the sockets of its driver: small and dense, fit to index a table of the
    /// caller.
    pub fn index(self) -> usize {
        (self.0 & 0xFFFF_FFFF) as usize
    }

    /// The whole name as one number, for tables that do not know this type.
    pub fn as_u64(self) -> u64 {
        self.0
    }

    /// What [`as_u64`](Self::as_u64) gave.
    pub(super) fn from_u64(name: u64) -> Self {
        Self(name)
    }

    pub(super) fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

impl fmt::Debug for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "socket {}.{}", self.index(), self.generation())
    }
}

/// Names one lent receive buffer of one driver: its pool, and which one of that.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BufferId {
    pub(super) pool: u16,
    pub(super) buffer: u16,
}

/// What happened since the last [`Driver::wait`].
#[derive(Debug)]
pub enum Completion {
    /// The listener took a connection. Close-on-exec; `TCP_NODELAY` is inherited from a listener of
    /// [`listen_group`](super::listener::listen_group).
    Accepted(OwnedFd),
    /// The listener cannot take connections (descriptors or memory ran out). Nothing is accepted
    /// until [`Driver::resume_accepting`]; the loop decides how long to back off.
    AcceptFailed(io::Error),
    /// `len` bytes (at least 1) lie in `buffer`, which is lent until [`Driver::recycle`].
    Received {
        /// Where they came from.
        socket: SocketId,
        /// Where they are: see [`Driver::buffer`].
        buffer: BufferId,
        /// How many.
        len: usize,
    },
    /// End of the stream (`error` is `None`) or its failure. Nothing more will be received;
    /// receiving is over for good.
    Ended {
        /// The socket that ended. It still has to be closed (or released) by the caller.
        socket: SocketId,
        /// `None`: the peer finished in order.
        error: Option<io::Error>,
    },
    /// The answer of [`Driver::stop_receiving`]: every byte taken from the kernel was delivered
    /// before as `Received`; every later byte is still in the socket.
    Stopped {
        /// The socket that may now be released, or started again.
        socket: SocketId,
    },
    /// The one answer of [`Driver::notify_writable`]. May be early: be ready for `WouldBlock`.
    Writable {
        /// The socket to try.
        socket: SocketId,
    },
    /// Somebody rang a [`Bell`] of this driver, once or many times.
    Bell,
}

/// Most slots of one table of direct descriptors. More would save a ring here and there, and make
/// the kernel look for larger pieces of memory in a row.
pub(super) const MAX_TABLE_SIZE: u32 = 65_536;

/// Sizes of a driver. All of it is allocated and touched at start, so that a shard's base memory is
/// a fixed figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DriverOptions {
    /// Bytes of one receive buffer: 64 to 1 MiB. A frame that fits in one buffer is decoded without
    /// a copy.
    pub buffer_size: u32,
    /// How many receive buffers the shard has: a power of two, 1 to 32,768. They are lent only
    /// during a turn, so this bounds what one turn takes in, not how many sockets can be open.
    pub buffer_count: u16,
    /// Requests that can be queued between two waits before an extra system call is needed: 1 to
    /// 32,768.
    pub submission_entries: u32,
    /// Completions the kernel can post before it has to keep them aside: 2 to 65,536, above
    /// `submission_entries`.
    pub completion_entries: u32,
    /// Slots of one table of direct descriptors: 1 to 65,536, at most the soft open-file limit.
    /// `None`: sockets keep descriptors of their own. Only for io_uring; see
    /// [`uring`](super::uring).
    pub table_size: Option<u32>,
    /// Silence after which a socket is waited for in the way that takes least memory of the kernel,
    /// and a little more time when it speaks again; give or take half of it. So is one that has
    /// hardly spoken yet. `None`: none ever is. Only for io_uring.
    pub quiet_after: Option<Duration>,
}

impl Default for DriverOptions {
    /// 128 buffers of 20 KiB (2.5 MiB), 512 requests (32 KiB), 8,192 completions (128 KiB), no direct
    /// descriptors, quiet after ten seconds. A message of 16 KiB lies in one buffer with its header, and so does a whole TLS
    /// record: neither has to be put together from two receives.
    fn default() -> Self {
        Self {
            buffer_size: 20 * 1024,
            buffer_count: 128,
            submission_entries: 512,
            completion_entries: 8192,
            table_size: None,
            quiet_after: Some(Duration::from_secs(10)),
        }
    }
}

impl DriverOptions {
    /// Whether every size is in its range.
    ///
    /// # Errors
    /// [`RuntimeError::Option`] with the first that is not.
    pub(super) fn check(&self) -> Result<(), RuntimeError> {
        let within = |option, value: u64, good, range| {
            if good {
                return Ok(());
            }
            Err(RuntimeError::Option {
                option,
                value,
                range,
            })
        };
        within(
            "buffer_size",
            self.buffer_size.into(),
            (64..=1024 * 1024).contains(&self.buffer_size),
            "64 to 1048576 bytes",
        )?;
        within(
            "buffer_count",
            self.buffer_count.into(),
            self.buffer_count.is_power_of_two() && self.buffer_count <= 32_768,
            "a power of two from 1 to 32768",
        )?;
        within(
            "submission_entries",
            self.submission_entries.into(),
            (1..=32_768).contains(&self.submission_entries),
            "1 to 32768",
        )?;
        within(
            "completion_entries",
            self.completion_entries.into(),
            (2..=65_536).contains(&self.completion_entries)
                && self.completion_entries >= self.submission_entries,
            "2 to 65536, and at least submission_entries",
        )?;
        let table_size = self.table_size.unwrap_or(MAX_TABLE_SIZE);
        within(
            "table_size",
            table_size.into(),
            (1..=MAX_TABLE_SIZE).contains(&table_size),
            "1 to 65536",
        )
    }
}

/// What one of many sockets is to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// To whom.
    pub socket: SocketId,
    /// In one slice.
    pub bytes: &'a [u8],
    /// Nothing follows: if the socket takes it all, the caller calls [`Driver::shutdown_write`] next, and the end of the stream
    /// leaves in the packet of these bytes instead of in one of its own.
    pub last: bool,
}

/// How a shard meets its sockets. One driver per shard, used by one thread.
///
/// Calls queue work; [`wait`](Driver::wait) submits it and reports what happened. Only `wait`
/// blocks.
pub trait Driver {
    /// Starts to accept from `listener`, in blocking mode, already listening.
    ///
    /// # Errors
    /// `AlreadyExists`: one listener per driver; the previous one must be gone (a `wait` after
    /// [`Driver::stop_accepting`]).
    fn listen(&mut self, listener: TcpListener) -> io::Result<()>;

    /// Ends accepting for good and frees the port: the listener stops at once and is closed by the
    /// next [`Driver::wait`].
    ///
    /// Connections the kernel handed over before that are still reported as `Accepted`; those still
    /// in the kernel's queue are reset.
    fn stop_accepting(&mut self);

    /// Accepts again after [`Completion::AcceptFailed`]; otherwise does nothing.
    fn resume_accepting(&mut self);

    /// Takes a connected socket in blocking mode. Nothing is armed yet.
    ///
    /// # Errors
    /// When the driver has no place left (16.7 million sockets; with direct descriptors as many as
    /// its tables have slots), or cannot make another table; the socket is closed then.
    fn adopt(&mut self, socket: OwnedFd) -> io::Result<SocketId>;

    /// Receives until [`Driver::stop_receiving`], the end of the stream, or close. Between
    /// `stop_receiving` and its answer it is remembered: the answer still comes, and receiving goes
    /// on after it. Does nothing if already receiving, and after [`Completion::Ended`].
    fn start_receiving(&mut self, socket: SocketId);

    /// Stops receiving. Exactly one [`Completion::Stopped`] follows (one for several calls before
    /// the answer), or [`Completion::Ended`] if the stream ended first; a socket whose `Ended` was
    /// already reported by `wait` gets no second answer. Until the answer, `Received` may still
    /// come.
    fn stop_receiving(&mut self, socket: SocketId);

    /// The bytes of a lent buffer, writable so that they can be unmasked in place.
    ///
    /// # Panics
    /// If `buffer` is not lent: the caller kept an id after recycling it.
    fn buffer(&mut self, buffer: BufferId, len: usize) -> &mut [u8];

    /// Gives a lent buffer back. Due exactly once for every [`Completion::Received`], also when its
    /// socket was closed meanwhile.
    ///
    /// # Panics
    /// If `buffer` is not lent.
    fn recycle(&mut self, buffer: BufferId);

    /// Writes what the socket takes now and returns how many bytes that was. Slices beyond the
    /// system's limit (1,024) are left for the next call, so a short count is no sign of a full
    /// socket: only `WouldBlock` is.
    ///
    /// # Errors
    /// `WouldBlock`: nothing was taken, see [`Driver::notify_writable`]. `NotConnected` also for a
    /// stale id. Everything else is final for the socket.
    fn send(&mut self, socket: SocketId, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    /// The same for many sockets, each once, with one slice each. `outcomes` becomes what `send` would have returned for each, in order.
    fn send_each(&mut self, sends: &[Outgoing<'_>], outcomes: &mut Vec<io::Result<usize>>);

    /// Reports [`Completion::Writable`] once, when the socket takes bytes again or has failed.
    fn notify_writable(&mut self, socket: SocketId);

    /// The peer's address as the socket knows it: an IPv4 peer of a dual-stack listener is
    /// `::ffff:a.b.c.d`.
    ///
    /// # Errors
    /// `NotConnected`: stale id, or the peer is gone already.
    fn peer_address(&mut self, socket: SocketId) -> io::Result<SocketAddr>;

    /// Sends the end of our direction (FIN) after what was already sent; receiving goes on.
    fn shutdown_write(&mut self, socket: SocketId);

    /// Gives the socket back for a hand-off and forgets it. `None`, and nothing changes, while it
    /// is receiving (stop first, await the answer), if the id is stale, or if a direct descriptor
    /// finds no descriptor to leave by (the open-file limit is reached). A pending
    /// [`Driver::notify_writable`] is dropped.
    ///
    /// Call it when handling `Stopped` or `Ended`: the driver knows what it has reported, not how
    /// far the caller has read in its list of completions, and a `Received` before the answer
    /// belongs to the connection that moves.
    fn release(&mut self, socket: SocketId) -> Option<OwnedFd>;

    /// Ends the connection in both directions and forgets it. The id is stale at once; no
    /// completion of it follows.
    fn close(&mut self, socket: SocketId);

    /// A bell that interrupts [`Driver::wait`], from any thread.
    fn bell(&self) -> Bell;

    /// Submits what is queued, blocks until something happened but at most `timeout` (`None`: no
    /// limit; zero: only look), and appends what happened to `completions`. May return without any.
    ///
    /// # Errors
    /// Only when the driver itself is broken; the shard cannot go on.
    fn wait(
        &mut self,
        timeout: Option<Duration>,
        completions: &mut Vec<Completion>,
    ) -> io::Result<()>;
}
