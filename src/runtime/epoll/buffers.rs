//! The receive buffers of one shard, and which of them are lent.

use std::os::fd::BorrowedFd;

use rustix::net::RecvFlags;

use crate::runtime::driver::BufferId;

/// One cache line: buffers start this far out of step with the page size, or all of them would
/// start in the same few cache sets.
const STAGGER: usize = 64;

/// The pool. The last one recycled is the first one lent, while it is still in the cache.
pub(super) struct BufferPool {
    memory: Vec<u8>,
    size: usize,
    free: Vec<u16>,
    lent: Vec<bool>,
}

impl BufferPool {
    /// `count` buffers of `size` bytes, all of them touched.
    pub(super) fn new(size: u32, count: u16) -> Self {
        let size = size as usize;
        let mut memory = vec![0; usize::from(count) * (size + STAGGER)];
        // Zeroed memory is mapped only when it is written to: now, not when the first load comes.
        memory.fill(1);
        Self {
            memory,
            size,
            free: (0..count).rev().collect(),
            lent: vec![false; usize::from(count)],
        }
    }

    /// How many can be lent.
    pub(super) fn available(&self) -> usize {
        self.free.len()
    }

    /// A buffer to read into; none when all are lent.
    pub(super) fn lend(&mut self) -> Option<(BufferId, &mut [u8])> {
        let buffer = self.free.pop()?;
        self.lent[usize::from(buffer)] = true;
        let start = self.start(buffer);
        Some((
            BufferId { pool: 0, buffer },
            &mut self.memory[start..start + self.size],
        ))
    }

    /// The first `len` bytes of a lent buffer.
    pub(super) fn bytes(&mut self, buffer: BufferId, len: usize) -> &mut [u8] {
        assert!(
            self.lent[usize::from(buffer.buffer)],
            "{buffer:?} is not lent"
        );
        let start = self.start(buffer.buffer);
        &mut self.memory[start..start + len.min(self.size)]
    }

    /// Takes a buffer back.
    pub(super) fn recycle(&mut self, buffer: BufferId) {
        let lent = &mut self.lent[usize::from(buffer.buffer)];
        assert!(std::mem::take(lent), "{buffer:?} is not lent");
        self.free.push(buffer.buffer);
    }

    /// Reads what the socket holds, at most `rounds` buffers of it, and throws it away. Without a
    /// free buffer it reads nothing.
    pub(super) fn discard(&mut self, socket: BorrowedFd<'_>, rounds: usize) {
        let Some((buffer, bytes)) = self.lend() else {
            return;
        };
        for _ in 0..rounds {
            match rustix::net::recv(socket, &mut *bytes, RecvFlags::DONTWAIT) {
                Ok((len, _)) if len == bytes.len() => {}
                _ => break,
            }
        }
        self.recycle(buffer);
    }

    fn start(&self, buffer: u16) -> usize {
        usize::from(buffer) * (self.size + STAGGER)
    }
}
