//! What the ring knows of each socket.

use crate::runtime::sockets::State;

/// Where a socket's receiving stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Receive {
    /// Not asked for; nothing in the kernel.
    #[default]
    Idle,
    /// A request is in the kernel (or queued for it).
    Armed,
    /// Asked for, but the buffers had run out: nothing in the kernel until some are back.
    Starved,
    /// A request is in the kernel, its cancel is on the way, and the caller waits for `Stopped`.
    Stopping,
    /// Nothing in the kernel; the caller's `Stopped` is due at the next wait.
    StopDue,
    /// End or failure was reported; nothing in the kernel, for good.
    Ended,
}

/// The requests of one socket.
#[derive(Default)]
pub(super) struct Requests {
    pub(super) receive: Receive,
    /// The caller wants to receive again after the `Stopped` it waits for.
    pub(super) again: bool,
    /// A poll for room to write is in the kernel.
    pub(super) polling: bool,
    /// It is in its slot of the table, and has no descriptor.
    pub(super) direct: bool,
}

impl State for Requests {
    fn in_kernel(&self) -> bool {
        self.polling || matches!(self.receive, Receive::Armed | Receive::Stopping)
    }
}
