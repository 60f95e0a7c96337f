//! The sockets of one driver: a dense table of small slots, reused with a new generation.

use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::OwnedFd;

use socket2::SockRef;

use super::driver::SocketId;

/// Places a driver can have: 24 bits, which leaves the rings 8 for the kind of request.
pub(super) const MAX_SOCKETS: usize = 1 << 24;

/// Slices one sendmsg(2) takes (`UIO_MAXIOV`).
pub(super) const MAX_SLICES: usize = 1024;

/// What one kind of driver knows of each of its sockets.
pub(super) trait State: Default {
    /// A request that names the socket can still produce a completion.
    fn in_kernel(&self) -> bool;
}

/// Whether the caller still knows the socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Life {
    Free,
    Open,
    /// Closed or released, but a request of it is still in the kernel: the place must not be used
    /// again yet.
    Leaving,
}

/// One place. Kept small: it is paid for every idle connection.
pub(super) struct Slot<S> {
    pub(super) socket: Option<OwnedFd>,
    generation: u32,
    life: Life,
    pub(super) state: S,
}

impl<S: State> Slot<S> {
    /// With spare room of the table and the free list: at most 24 bytes per socket.
    const SMALL: () = assert!(size_of::<Self>() <= 16);

    /// The caller still knows this socket.
    pub(super) fn is_open(&self) -> bool {
        self.life == Life::Open
    }

    /// See [`Driver::send`](super::Driver::send) and [`Outgoing::last`](super::Outgoing::last).
    pub(super) fn send(&self, slices: &[IoSlice<'_>], last: bool) -> io::Result<usize> {
        let socket = SockRef::from(self.descriptor()?);
        let flags = send_flags(last);
        match slices {
            [] => Ok(0),
            // send(2) spares the kernel the copy of a message header.
            [slice] => socket.send_with_flags(slice, flags),
            slices => {
                socket.send_vectored_with_flags(&slices[..slices.len().min(MAX_SLICES)], flags)
            }
        }
    }

    /// See [`Driver::peer_address`](super::Driver::peer_address).
    pub(super) fn peer_address(&self) -> io::Result<SocketAddr> {
        peer_address(self.descriptor()?)
    }

    /// Ends one or both directions.
    pub(super) fn shutdown(&self, how: Shutdown) {
        if let Ok(descriptor) = self.descriptor() {
            // Fails only if the connection is gone already, which the receive reports.
            let _ = SockRef::from(descriptor).shutdown(how);
        }
    }

    fn descriptor(&self) -> io::Result<&OwnedFd> {
        self.socket
            .as_ref()
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

/// How a send is asked for. The kernel keeps the last bytes back for the end of the stream that follows them at once.
pub(super) fn send_flags(last: bool) -> libc::c_int {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    if last { flags | libc::MSG_MORE } else { flags }
}

/// See [`Driver::peer_address`](super::Driver::peer_address).
pub(super) fn peer_address(socket: &OwnedFd) -> io::Result<SocketAddr> {
    SockRef::from(socket)
        .peer_addr()?
        .as_socket()
        .ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))
}

/// The table.
pub(super) struct Sockets<S> {
    slots: Vec<Slot<S>>,
    /// Places to use again, last freed first, so that the table stays warm.
    free: Vec<u32>,
    most: usize,
}

impl<S> Default for Sockets<S> {
    fn default() -> Self {
        Self::at_most(MAX_SOCKETS)
    }
}

impl<S> Sockets<S> {
    /// An empty table that never has more than `most` places, itself at most [`MAX_SOCKETS`].
    pub(super) fn at_most(most: usize) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            most,
        }
    }
}

impl<S: State> Sockets<S> {
    /// Gives the socket a place.
    pub(super) fn insert(&mut self, socket: OwnedFd) -> io::Result<SocketId> {
        let () = Slot::<S>::SMALL;
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                if self.slots.len() >= self.most {
                    return Err(io::Error::other(
                        "the driver has no place for another socket",
                    ));
                }
                self.grow();
                self.slots.push(Slot {
                    socket: None,
                    generation: 0,
                    life: Life::Free,
                    state: S::default(),
                });
                self.slots.len() as u32 - 1
            }
        };
        let slot = &mut self.slots[index as usize];
        slot.socket = Some(socket);
        slot.life = Life::Open;
        slot.state = S::default();
        Ok(SocketId::new(index, slot.generation))
    }

    /// Grows by a quarter instead of doubling: at a million sockets the difference is megabytes,
    /// and the copy is small.
    fn grow(&mut self) {
        if self.slots.len() == self.slots.capacity() {
            self.slots.reserve_exact((self.slots.len() / 4).max(256));
        }
    }

    /// The open socket with this id.
    pub(super) fn open(&self, id: SocketId) -> Option<&Slot<S>> {
        self.slots
            .get(id.index())
            .filter(|slot| slot.generation == id.generation() && slot.is_open())
    }

    /// The same, or what a call with a stale id is told.
    pub(super) fn connected(&self, id: SocketId) -> io::Result<&Slot<S>> {
        self.open(id)
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    pub(super) fn open_mut(&mut self, id: SocketId) -> Option<&mut Slot<S>> {
        self.known_mut(id).filter(|slot| slot.is_open())
    }

    /// The socket with this id, open or leaving: for completions.
    pub(super) fn known_mut(&mut self, id: SocketId) -> Option<&mut Slot<S>> {
        self.slots
            .get_mut(id.index())
            .filter(|slot| slot.generation == id.generation() && slot.life != Life::Free)
    }

    /// The caller forgets the socket. Its place is free at once, or when its last completion has
    /// come; like [`free_if_done`](Self::free_if_done), it gives back what was known then.
    pub(super) fn leave(&mut self, id: SocketId) -> Option<S> {
        self.open_mut(id)?.life = Life::Leaving;
        self.free_if_done(id)
    }

    /// Frees the place of a leaving socket once nothing of it is in the kernel, and closes its
    /// descriptor if it still has one. Gives back what was known of it if the place is free now.
    pub(super) fn free_if_done(&mut self, id: SocketId) -> Option<S> {
        let slot = self.known_mut(id)?;
        if slot.life != Life::Leaving || slot.state.in_kernel() {
            return None;
        }
        slot.socket = None;
        slot.life = Life::Free;
        slot.generation = slot.generation.wrapping_add(1);
        let state = std::mem::take(&mut slot.state);
        self.free.push(id.index() as u32);
        Some(state)
    }

    /// Places in use: open and leaving.
    pub(super) fn occupied(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Ids of the open sockets.
    pub(super) fn open_ids(&self) -> impl Iterator<Item = SocketId> + '_ {
        self.slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| slot.is_open())
            .map(|(index, slot)| SocketId::new(index as u32, slot.generation))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::fs::File;

    #[derive(Default)]
    struct Busy(bool);

    impl State for Busy {
        fn in_kernel(&self) -> bool {
            self.0
        }
    }

    fn descriptor() -> OwnedFd {
        File::open("/dev/null").unwrap().into()
    }

    #[test]
    fn a_place_with_something_in_the_kernel_is_not_reused() {
        let mut sockets = Sockets::<Busy>::default();
        let first = sockets.insert(descriptor()).unwrap();
        sockets.open_mut(first).unwrap().state.0 = true;
        sockets.leave(first);
        assert!(sockets.open(first).is_none());
        let second = sockets.insert(descriptor()).unwrap();
        assert_ne!(second.index(), first.index());

        sockets.known_mut(first).unwrap().state.0 = false;
        sockets.free_if_done(first);
        let third = sockets.insert(descriptor()).unwrap();
        assert_eq!(third.index(), first.index());
        assert_ne!(third, first);
        assert!(sockets.known_mut(first).is_none(), "the old id is stale");
        assert_eq!(sockets.occupied(), 2);
    }
}
