//! The listener of one driver.

use std::io;
use std::net::{Shutdown, TcpListener};
use std::os::fd::OwnedFd;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};

use super::LISTENER;
use crate::runtime::driver::Completion;
use crate::runtime::listener::is_about_one_connection;

/// Connections taken per wait: those behind them come with the next one, and what a shard already
/// has goes between.
const ACCEPTS: usize = 64;

/// At most one listener.
#[derive(Default)]
pub(super) struct Acceptor {
    listener: Option<TcpListener>,
    /// It is registered.
    armed: bool,
    stopping: bool,
}

impl Acceptor {
    pub(super) fn listen(&mut self, listener: TcpListener, epoll: &OwnedFd) -> io::Result<()> {
        if self.listener.is_some() {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "the driver has a listener already",
            ));
        }
        listener.set_nonblocking(true)?;
        self.stopping = false;
        register(epoll, &listener)?;
        self.armed = true;
        self.listener = Some(listener);
        Ok(())
    }

    pub(super) fn resume(&mut self, epoll: &OwnedFd) {
        if self.armed || self.stopping {
            return;
        }
        if let Some(listener) = &self.listener {
            match register(epoll, listener) {
                Ok(()) => self.armed = true,
                Err(error) => tracing::error!(%error, "a shard cannot accept connections any more"),
            }
        }
    }

    pub(super) fn stop(&mut self, epoll: &OwnedFd) {
        if self.stopping {
            return;
        }
        self.stopping = true;
        self.disarm(epoll);
        if let Some(listener) = &self.listener {
            // Takes the port out of service at once. Can only fail if it is so already.
            let _ = socket2::SockRef::from(listener).shutdown(Shutdown::Both);
        }
    }

    pub(super) fn close_if_stopped(&mut self) {
        if self.stopping {
            self.listener = None;
        }
    }

    /// Takes connections: some are waiting.
    pub(super) fn accept(&mut self, epoll: &OwnedFd, completions: &mut Vec<Completion>) {
        for _ in 0..ACCEPTS {
            let Some(listener) = self.listener.as_ref().filter(|_| !self.stopping) else {
                return;
            };
            match accept_with(listener, SocketFlags::CLOEXEC) {
                Ok(socket) => completions.push(Completion::Accepted(socket)),
                Err(Errno::AGAIN) => return,
                Err(error) if is_about_one_connection(error.raw_os_error()) => {}
                Err(error) => {
                    self.disarm(epoll);
                    completions.push(Completion::AcceptFailed(error.into()));
                    return;
                }
            }
        }
    }

    fn disarm(&mut self, epoll: &OwnedFd) {
        if let Some(listener) = &self.listener
            && std::mem::take(&mut self.armed)
        {
            // Can only fail if it was not registered.
            let _ = epoll::delete(epoll, listener);
        }
    }
}

/// Level-triggered: what one wait leaves in the kernel's queue is reported again by the next.
fn register(epoll: &OwnedFd, listener: &TcpListener) -> io::Result<()> {
    epoll::add(
        epoll,
        listener,
        EventData::new_u64(LISTENER),
        EventFlags::IN,
    )?;
    Ok(())
}
