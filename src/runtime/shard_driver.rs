//! Which driver a shard has.

use std::io::{self, IoSlice};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::time::Duration;

use super::bell::Bell;
use super::driver::{BufferId, Completion, Driver, DriverOptions, Outgoing, SocketId};
use super::epoll::Epoll;
use super::error::RuntimeError;
use super::uring::Uring;

/// The kinds of drivers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DriverKind {
    /// [`Uring`], on a glommio executor.
    Uring,
    /// [`Epoll`], on a plain thread: glommio itself needs io_uring.
    Epoll,
}

/// One driver of either kind. Chosen by a branch per call instead of a second copy of the whole
/// shard loop: beside a system call it does not show.
#[allow(
    clippy::large_enum_variant,
    reason = "one per shard, and a box would cost every call a pointer"
)]
pub enum ShardDriver {
    /// io_uring.
    Uring(Uring),
    /// epoll.
    Epoll(Epoll),
}

impl ShardDriver {
    /// A driver of this kind.
    ///
    /// # Errors
    /// See [`Uring::new`] and [`Epoll::new`].
    pub fn new(kind: DriverKind, options: &DriverOptions) -> Result<Self, RuntimeError> {
        Ok(match kind {
            DriverKind::Uring => Self::Uring(Uring::new(options)?),
            DriverKind::Epoll => Self::Epoll(Epoll::new(options)?),
        })
    }
}

/// Passes one call on.
macro_rules! to_either {
    ($driver:expr, $each:ident => $call:expr) => {
        match $driver {
            ShardDriver::Uring($each) => $call,
            ShardDriver::Epoll($each) => $call,
        }
    };
}

impl Driver for ShardDriver {
    fn listen(&mut self, listener: TcpListener) -> io::Result<()> {
        to_either!(self, driver => driver.listen(listener))
    }

    fn stop_accepting(&mut self) {
        to_either!(self, driver => driver.stop_accepting());
    }

    fn resume_accepting(&mut self) {
        to_either!(self, driver => driver.resume_accepting());
    }

    fn adopt(&mut self, socket: OwnedFd) -> io::Result<SocketId> {
        to_either!(self, driver => driver.adopt(socket))
    }

    fn start_receiving(&mut self, socket: SocketId) {
        to_either!(self, driver => driver.start_receiving(socket));
    }

    fn stop_receiving(&mut self, socket: SocketId) {
        to_either!(self, driver => driver.stop_receiving(socket));
    }

    fn buffer(&mut self, buffer: BufferId, len: usize) -> &mut [u8] {
        to_either!(self, driver => driver.buffer(buffer, len))
    }

    fn recycle(&mut self, buffer: BufferId) {
        to_either!(self, driver => driver.recycle(buffer));
    }

    fn send(&mut self, socket: SocketId, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        to_either!(self, driver => driver.send(socket, slices))
    }

    fn send_each(&mut self, sends: &[Outgoing<'_>], outcomes: &mut Vec<io::Result<usize>>) {
        to_either!(self, driver => driver.send_each(sends, outcomes));
    }

    fn notify_writable(&mut self, socket: SocketId) {
        to_either!(self, driver => driver.notify_writable(socket));
    }

    fn peer_address(&mut self, socket: SocketId) -> io::Result<SocketAddr> {
        to_either!(self, driver => driver.peer_address(socket))
    }

    fn shutdown_write(&mut self, socket: SocketId) {
        to_either!(self, driver => driver.shutdown_write(socket));
    }

    fn release(&mut self, socket: SocketId) -> Option<OwnedFd> {
        to_either!(self, driver => driver.release(socket))
    }

    fn close(&mut self, socket: SocketId) {
        to_either!(self, driver => driver.close(socket));
    }

    fn bell(&self) -> Bell {
        to_either!(self, driver => driver.bell())
    }

    fn wait(
        &mut self,
        timeout: Option<Duration>,
        completions: &mut Vec<Completion>,
    ) -> io::Result<()> {
        to_either!(self, driver => driver.wait(timeout, completions))
    }
}
