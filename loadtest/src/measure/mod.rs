//! What can be measured: time, latency distributions, processor time and memory of processes.
//!
//! *Lives here*: the clock that all processes of a run share, histograms, and readers of `/proc`. *Does not live here*: what
//! the numbers mean for a scenario (`scenarios/`) and how they are shown (`report/`).
//!
//! *Invariants*: all times are nanoseconds of `CLOCK_MONOTONIC`, so a time taken in one process may be compared with a time
//! taken in another on the same machine. A reader of `/proc` never fails the run: a process that is gone reads as `None`.
//!
//! *Called by* `scenarios/` (recording), `processes/` (the server's and the client's own cost), `report/` (quantiles). *Calls*
//! nobody. *Tests*: beside the code.

pub mod clock;
pub mod histogram;
pub mod process;
