//! The sockets of one driver: a dense table of small slots, reused with a new generation.

use std::io;
use std::os::fd::OwnedFd;

use super::tag::MAX_SOCKETS;
use crate::runtime::driver::SocketId;

/// Where a socket's receiving stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Receive {
    /// Not asked for; nothing in the kernel.
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
pub(super) struct Slot {
    pub(super) socket: Option<OwnedFd>,
    generation: u32,
    life: Life,
    pub(super) receive: Receive,
    /// The caller wants to receive again after the `Stopped` it waits for.
    pub(super) again: bool,
    /// A poll for room to write is in the kernel.
    pub(super) polling: bool,
}

const _: () = assert!(
    size_of::<Slot>() <= 16,
    "with spare room of the table and the free list: at most 24 bytes per socket"
);

impl Slot {
    /// The caller still knows this socket.
    pub(super) fn is_open(&self) -> bool {
        self.life == Life::Open
    }

    /// A request that names this socket can still produce a completion.
    pub(super) fn in_kernel(&self) -> bool {
        self.polling || matches!(self.receive, Receive::Armed | Receive::Stopping)
    }
}

/// The table.
#[derive(Default)]
pub(super) struct Sockets {
    slots: Vec<Slot>,
    /// Places to use again, last freed first, so that the table stays warm.
    free: Vec<u32>,
}

impl Sockets {
    pub(super) fn insert(&mut self, socket: OwnedFd) -> io::Result<SocketId> {
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                if self.slots.len() >= MAX_SOCKETS {
                    return Err(io::Error::other(
                        "the driver has no place for another socket",
                    ));
                }
                self.grow();
                self.slots.push(Slot {
                    socket: None,
                    generation: 0,
                    life: Life::Free,
                    receive: Receive::Idle,
                    again: false,
                    polling: false,
                });
                self.slots.len() as u32 - 1
            }
        };
        let slot = &mut self.slots[index as usize];
        slot.socket = Some(socket);
        slot.life = Life::Open;
        slot.receive = Receive::Idle;
        slot.again = false;
        slot.polling = false;
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
    pub(super) fn open(&self, id: SocketId) -> Option<&Slot> {
        self.slots
            .get(id.index())
            .filter(|slot| slot.generation == id.generation() && slot.is_open())
    }

    pub(super) fn open_mut(&mut self, id: SocketId) -> Option<&mut Slot> {
        self.known_mut(id).filter(|slot| slot.is_open())
    }

    /// The socket with this id, open or leaving: for completions.
    pub(super) fn known_mut(&mut self, id: SocketId) -> Option<&mut Slot> {
        self.slots
            .get_mut(id.index())
            .filter(|slot| slot.generation == id.generation() && slot.life != Life::Free)
    }

    /// The caller forgets the socket. Its place is free at once, or when its last completion has
    /// come.
    pub(super) fn leave(&mut self, id: SocketId) {
        if let Some(slot) = self.open_mut(id) {
            slot.life = Life::Leaving;
            self.free_if_done(id);
        }
    }

    /// Frees the place of a leaving socket once nothing of it is in the kernel, and closes its
    /// descriptor if it still has one.
    pub(super) fn free_if_done(&mut self, id: SocketId) {
        let Some(slot) = self.known_mut(id) else {
            return;
        };
        if slot.life != Life::Leaving || slot.in_kernel() {
            return;
        }
        slot.socket = None;
        slot.receive = Receive::Idle;
        slot.life = Life::Free;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(id.index() as u32);
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

    fn descriptor() -> OwnedFd {
        File::open("/dev/null").unwrap().into()
    }

    #[test]
    fn a_place_with_something_in_the_kernel_is_not_reused() {
        let mut sockets = Sockets::default();
        let first = sockets.insert(descriptor()).unwrap();
        sockets.open_mut(first).unwrap().receive = Receive::Armed;
        sockets.leave(first);
        assert!(sockets.open(first).is_none());
        let second = sockets.insert(descriptor()).unwrap();
        assert_ne!(second.index(), first.index());

        sockets.known_mut(first).unwrap().receive = Receive::Idle;
        sockets.free_if_done(first);
        let third = sockets.insert(descriptor()).unwrap();
        assert_eq!(third.index(), first.index());
        assert_ne!(third, first);
        assert!(sockets.known_mut(first).is_none(), "the old id is stale");
        assert_eq!(sockets.occupied(), 2);
    }
}
