//! What the machine gives, as far as the defaults depend on it.

/// What the machine gives this process. Handed in by the caller, so that checking a configuration is a pure function: the same text and
/// the same `Environment` give the same settings or the same faults, in tests as on the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Environment {
    /// Cores this process may use; at least 1.
    pub cores: usize,
    /// Files this process may hold open at once (`RLIMIT_NOFILE`), after any raising the caller does; sockets are files.
    pub open_file_limit: u64,
}

impl Environment {
    /// The cores the standard library reports (affinity mask and CPU quota), and the open-file limit the caller knows.
    ///
    /// Where the number of cores cannot be learnt, one core is assumed: too few shards are slow, too many are slow and confusing.
    pub fn detect(open_file_limit: u64) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            cores,
            open_file_limit,
        }
    }
}
