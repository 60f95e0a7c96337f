//! How much freed memory the process keeps for itself.

#![allow(unsafe_code)]

/// Freed memory at the end of a heap that is not given back, in bytes; each shard's thread has a heap of its own. More than what a
/// shard gathers, opens and seals at once, and little beside what a loaded shard holds anyway.
pub const KEPT_BYTES: i32 = 8 << 20;

/// Keeps up to [`KEPT_BYTES`] of freed memory per heap instead of the C library's 128 KiB.
///
/// A message of some kilobytes that comes in pieces takes and frees buffers of its size. With 128 KiB the end of the heap goes back
/// to the kernel and comes again, page by page and zeroed, for every few of them: a quarter of the server's time for
/// messages of 16 KiB over TLS. It is the process's setting, so the program makes it and the library does not. False: not with this
/// C library, or refused; nothing depends on it.
#[cfg(target_env = "gnu")]
pub fn keep_freed_memory() -> bool {
    // SAFETY: takes two numbers and changes a setting of the allocator, under the allocator's own lock.
    unsafe { libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT_BYTES) == 1 }
}

/// As above.
#[cfg(not(target_env = "gnu"))]
pub fn keep_freed_memory() -> bool {
    false
}

#[cfg(all(test, target_env = "gnu"))]
mod tests {
    #[test]
    fn the_allocator_takes_the_setting() {
        assert!(super::keep_freed_memory());
    }
}
