//! What is done to the server: echo, fan-out, idle connections, churn, recovery.
//!
//! *Lives here*: the five scenarios, what they share (pace, templates, tallies), and the phases of a run in one process
//! ([`run`]). *Does not live here*: sockets (`client/`), the exact counting (`correctness/`), several processes (`processes/`),
//! presentation (`report/`).
//!
//! *Invariants*: latency counts from the intended time of a message. A run ends: every phase has its deadline. What is sent
//! during the warm-up counts for correctness, not for rates and latencies.
//!
//! *Called by* `processes/`. *Calls* `client/`, `correctness/`, `measure/`. *Tests*: beside the code for pace, templates, tallies;
//! whole runs against a real server, also one with planted faults, in `tests/`.

pub mod churn;
pub mod echo;
pub mod fanout;
pub mod idle;
pub mod outcome;
pub mod pace;
pub mod recover;
pub mod run;
pub mod tally;
pub mod template;

pub use outcome::Outcome;

use anyhow::Result;

use crate::client::{Client, Handler};
use tally::Tally;

/// What all processes of one run agree on.
#[derive(Debug, Clone, Copy)]
pub struct Identity {
    /// Number of the run, 24 bits: stamps of other runs are not ours.
    pub run: u32,
    /// Times in stamps count from here (nanoseconds of the clock).
    pub base: u64,
    /// Which of the processes this is, and how many there are.
    pub index: u32,
    pub processes: u32,
}

/// How far preparing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prepared {
    /// All that could be prepared is.
    Ready,
    /// Ask again after the next event, at this time at the latest.
    Later(u64),
}

/// One scenario in one process. [`run::Run`] calls `prepare` until ready, then `start` once, then `turn` until it is finished or the
/// time is over, then `stop`, then `expect`, and waits for `drained`; `finish` comes last.
pub trait Scenario: Handler {
    /// The counts that all scenarios have.
    fn tally(&mut self) -> &mut Tally;

    /// Opens connections and whatever must be ready before load is offered.
    fn prepare(&mut self, now: u64, client: &mut Client) -> Result<Prepared>;

    /// No more time for preparing: go on with what there is.
    fn stop_preparing(&mut self) {}

    /// Load is offered from now on.
    fn start(&mut self, now: u64, client: &mut Client);

    /// Does what is due; returns when something is due again.
    fn turn(&mut self, now: u64, client: &mut Client) -> u64;

    /// Whether going on makes sense.
    ///
    /// # Errors
    /// Nothing has worked so far; says why.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// Nothing more will be sent, whatever time is left.
    fn is_finished(&self) -> bool;

    /// Whether everything that this process sent has come back, as far as it can see.
    fn nothing_in_flight(&self) -> bool;

    /// No more load. Returns how many messages of each stream were sent, if other processes need to know.
    fn stop(&mut self) -> Vec<u32>;

    /// How many messages of each stream all processes together have sent.
    fn expect(&mut self, sent: &[u32]);

    /// Does what is due while the last answers are waited for; returns when something is due again.
    fn turn_of_draining(&mut self, _now: u64, _client: &mut Client) -> u64 {
        u64::MAX
    }

    /// Whether everything that can still arrive has arrived.
    fn is_drained(&mut self) -> bool;

    /// Counts what is missing and hands the result over.
    fn finish(&mut self) -> Outcome;
}
