//! The world faked: seed, virtual clock, fake sockets, real shards, checks.
//!
//! **Lives here:** one run of one seed ([`run()`]): a scenario is drawn (`scenario.rs`), a `world/` of real shards and
//! fake everything else goes through storms and rests, its `clients/` speak the wire, and `checks/` say what is wrong. **Does not:** anything of the
//! engine (`src/`): drivers, threads and clocks are what is faked.
//! **Invariants:** equal seed, steps and shards give an equal run, in every process, on every machine.
//! **Called by:** `main.rs`, tests. **Calls:** `shardwire_shards`, `shardwire_protocol`.
//! **Tests:** `tests/`: replay, planted faults, the first seeds.

mod checks;
mod clients;
mod random;
mod run;
mod scenario;
mod trace;
mod world;

use random::Random;
use scenario::Scenario;
use trace::Trace;
use world::World;

pub use run::{Failure, Options, Outcome, run};
pub use shardwire_shards::planted::Fault;
