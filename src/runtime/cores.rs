//! Which cores this process may use.
#![allow(unsafe_code)]

use std::io;

/// Numbers of the cores in this process' affinity mask, ascending: what `taskset`, cpusets and
/// containers leave of the machine.
///
/// # Errors
/// Only if the system refuses to say (more than 1,024 cores).
pub fn allowed_cores() -> io::Result<Vec<usize>> {
    // SAFETY: an all-zero cpu_set_t is an empty set; the kernel writes at most the size it is told.
    let set = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) == -1 {
            return Err(io::Error::last_os_error());
        }
        set
    };
    // SAFETY: every number is below CPU_SETSIZE, the number of bits of the set.
    Ok((0..libc::CPU_SETSIZE as usize)
        .filter(|core| unsafe { libc::CPU_ISSET(*core, &set) })
        .collect())
}

/// How many shards run well here: the allowed cores, or fewer if a container's CPU quota grants
/// less.
pub fn default_shard_count() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The core of a pinned shard: one each, and round again when there are more shards than cores.
/// `None` without any core.
pub fn core_of(shard: usize, cores: &[usize]) -> Option<usize> {
    cores.get(shard.checked_rem(cores.len())?).copied()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn there_is_at_least_one_core_and_no_more_shards_than_cores() {
        let cores = allowed_cores().unwrap();
        assert!(!cores.is_empty());
        assert!((1..=cores.len()).contains(&default_shard_count()));
    }

    #[test]
    fn shards_go_round_the_cores() {
        let cores = [2, 5, 7];
        let placed: Vec<_> = (0..5)
            .map(|shard| core_of(shard, &cores).unwrap())
            .collect();
        assert_eq!(placed, [2, 5, 7, 2, 5]);
        assert_eq!(core_of(0, &[]), None);
    }
}
