//! Time as an argument: the shard has no clock of its own.

/// One reading of the world's two clocks, taken once per turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Now {
    /// Milliseconds since the engine started; never goes back. Everything that waits is measured with it.
    pub ms: u64,
    /// Milliseconds since 1970, as clients read it in `timestamp` fields. Nothing is timed with it.
    pub unix_ms: u64,
}
