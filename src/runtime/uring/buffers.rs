//! The receive buffers of one shard, as a provided-buffer ring: the kernel takes one from its head
//! for each receive, we put it back at the tail.
#![allow(unsafe_code)]

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

use super::ring::Ring;
use crate::runtime::driver::BufferId;

/// One cache line: buffers start this far out of step with the page size. Without it all of them
/// would start in the same few cache sets, and a load of small messages over many buffers would
/// keep evicting its own first lines.
const STAGGER: usize = 64;

/// The pool. Outlives the ring's use of it: see [`BufferPool::detach`].
pub(super) struct BufferPool {
    /// Which pool of the driver.
    number: u16,
    entries: Mapping,
    memory: Mapping,
    size: usize,
    count: u16,
    /// Where the next recycled buffer goes; the kernel sees it only after `publish`.
    tail: u16,
    published: u16,
    lent: Vec<bool>,
    lent_count: u16,
}

impl BufferPool {
    /// Maps and touches `count` (a power of two) buffers of `size` bytes and offers all of them to
    /// `ring`.
    pub(super) fn new(ring: &Ring, number: u16, size: u32, count: u16) -> io::Result<Self> {
        let size = size as usize;
        let mut pool = Self {
            number,
            entries: Mapping::new(usize::from(count) * size_of::<BufRingEntry>())?,
            memory: Mapping::new(usize::from(count) * stride(size))?,
            size,
            count,
            tail: 0,
            published: 0,
            lent: vec![false; usize::from(count)],
            lent_count: 0,
        };
        // SAFETY: the mapping is page aligned, zeroed, as long as `count` entries, and stays mapped
        // until `detach` has told the kernel to forget it (or for ever, if that fails).
        unsafe { ring.register_buffers(pool.entries.start.as_ptr() as u64, count)? };
        for buffer in 0..count {
            pool.offer(buffer);
        }
        pool.publish();
        Ok(pool)
    }

    /// Takes note that the kernel filled `buffer`.
    pub(super) fn lend(&mut self, buffer: u16) -> BufferId {
        let lent = &mut self.lent[usize::from(buffer)];
        assert!(
            !*lent,
            "the kernel filled buffer {buffer}, which it did not have"
        );
        *lent = true;
        self.lent_count += 1;
        BufferId {
            pool: self.number,
            buffer,
        }
    }

    /// The first `len` bytes of a lent buffer.
    pub(super) fn bytes(&mut self, buffer: BufferId, len: usize) -> &mut [u8] {
        let index = usize::from(buffer.buffer);
        assert!(self.lent[index], "{buffer:?} is not lent");
        let start = index * stride(self.size);
        // SAFETY: a lent buffer is not in the kernel's ring, so nobody else writes to it; it lies
        // inside the mapping, whose pages are initialised (zeroed by the system); `&mut self` makes
        // this the only slice of the pool.
        unsafe {
            std::slice::from_raw_parts_mut(
                self.memory.start.as_ptr().add(start),
                len.min(self.size),
            )
        }
    }

    /// Takes a lent buffer back; the kernel gets it at the next `publish`.
    pub(super) fn recycle(&mut self, buffer: BufferId) {
        let lent = &mut self.lent[usize::from(buffer.buffer)];
        assert!(*lent, "{buffer:?} is not lent");
        *lent = false;
        self.lent_count -= 1;
        self.offer(buffer.buffer);
    }

    /// Shows the kernel everything recycled since the last call. Once per wait: the kernel only
    /// takes buffers while we are inside a wait, and one store serves the whole turn.
    pub(super) fn publish(&mut self) {
        if self.published == self.tail {
            return;
        }
        // SAFETY: the mapping holds `count` initialised entries; the kernel defines the tail to lie
        // in the first one, 2-byte aligned, and only reads it.
        let tail =
            unsafe { &*BufRingEntry::tail(self.entries.start.as_ptr().cast()).cast::<AtomicU16>() };
        tail.store(self.tail, Ordering::Release);
        self.published = self.tail;
    }

    /// Buffers not lent to the caller.
    pub(super) fn available(&self) -> usize {
        usize::from(self.count - self.lent_count)
    }

    /// Tells the kernel to forget the pool, so that its memory can go. Must be called before the
    /// pool is dropped.
    pub(super) fn detach(&mut self, ring: &Ring) {
        if let Err(error) = ring.unregister_buffers() {
            // A receive might still write to this memory: keep it mapped for ever rather than let
            // something else live there.
            tracing::warn!(%error, "the kernel keeps the receive buffers of a stopped shard");
            self.entries.keep = true;
            self.memory.keep = true;
        }
    }

    fn offer(&mut self, buffer: u16) {
        let place = usize::from(self.tail & (self.count - 1));
        // SAFETY: `place` is below `count`, the number of entries of the mapping. The kernel does
        // not read this entry before `publish`: there are never more buffers offered than entries.
        // The three setters leave the tail alone, which shares the first entry.
        unsafe {
            let entry = &mut *self
                .entries
                .start
                .as_ptr()
                .cast::<BufRingEntry>()
                .add(place);
            entry.set_addr(
                self.memory
                    .start
                    .as_ptr()
                    .add(usize::from(buffer) * stride(self.size)) as u64,
            );
            entry.set_len(self.size as u32);
            entry.set_bid(buffer);
        }
        self.tail = self.tail.wrapping_add(1);
    }
}

fn stride(size: usize) -> usize {
    size.next_multiple_of(STAGGER) + STAGGER
}

/// Private, zeroed, touched, page-aligned memory.
struct Mapping {
    start: NonNull<u8>,
    len: usize,
    keep: bool,
}

impl Mapping {
    fn new(len: usize) -> io::Result<Self> {
        // SAFETY: a new anonymous mapping at an address of the system's choice touches nothing that
        // exists.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast())
            .expect("mmap never answers address 0 without being asked to");
        Ok(Self {
            start,
            len,
            keep: false,
        })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if !self.keep {
            // SAFETY: exactly the mapping made in `new`; the pool that owned it is gone, and so are
            // all slices of it.
            unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
        }
    }
}
