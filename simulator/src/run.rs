//! One run of one seed.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use shardwire_shards::planted::Fault;

use crate::checks::Checks;
use crate::{Random, Scenario, Trace, World};

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Decides everything that is not said here.
    pub seed: u64,
    /// Steps of storm.
    pub steps: u32,
    /// How many shards; none: the seed says.
    pub shards: Option<u16>,
    /// A fault for one of them to make, once, at a moment the seed says.
    pub plant: Option<Fault>,
}

/// Something a check found wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// Which check.
    pub check: &'static str,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.check, self.what)
    }
}

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Of the trace: equal for equal runs.
    pub hash: u64,
    /// How many shards there were.
    pub shards: usize,
    /// Virtual time, in milliseconds.
    pub ms: u64,
    /// Clients that came.
    pub clients: usize,
    /// Publications made.
    pub publications: usize,
    /// Deliveries by shards into outboxes.
    pub deliveries: u64,
    /// What was found wrong.
    pub failure: Option<Failure>,
    /// The last lines of the trace, if they were kept.
    pub last: Vec<String>,
}

/// Steps between two rests.
const STORM_STEPS: u32 = 600;

/// Runs one seed; `keep` lines of the trace are kept.
#[must_use]
pub fn run(options: &Options, keep: usize) -> Outcome {
    let mut trace = Trace::new(keep);
    let ran = catch_unwind(AssertUnwindSafe(|| run_traced(options, &mut trace)));
    let mut outcome = ran.unwrap_or_else(|panic| Outcome {
        failure: Some(Failure {
            check: "nothing panics",
            what: words(&*panic),
        }),
        ..Outcome::default()
    });
    outcome.hash = trace.hash();
    outcome.last = trace.lines().map(str::to_owned).collect();
    outcome
}

fn run_traced(options: &Options, trace: &mut Trace) -> Outcome {
    let mut random = Random::new(options.seed);
    let scenario = Scenario::draw(&mut random, options.shards);
    trace.line(0, format_args!("{scenario:?}"));
    let mut world = World::new(scenario, random, trace, Checks::all());
    let planting = options.plant.map(|fault| {
        // Drawn apart, so that a run with a fault is the run without it up to that moment.
        let mut random = Random::new(!options.seed);
        (
            random.below(options.steps as usize * 3 / 4 + 1) as u32,
            random.below(world.hosts.len()),
            fault,
        )
    });
    let storms = options.steps.div_ceil(STORM_STEPS).max(1);
    for storm in 0..storms {
        world.storm_again();
        for step in 0..options.steps / storms {
            if let Some((when, shard, fault)) = planting
                && when == storm * (options.steps / storms) + step
            {
                // What only the home of a log that is in use can do wrong, or only who reads in one, whichever of them may do.
                let anywhere = matches!(
                    fault,
                    Fault::EarlySeam
                        | Fault::ForgetOverflow
                        | Fault::ForgetLeave
                        | Fault::KeepEpoch
                        | Fault::ForgetCount
                        | Fault::KeepSeat
                );
                for at in 0..world.hosts.len() {
                    if anywhere || at == shard {
                        world.plant(at, fault);
                    }
                }
            }
            world.step();
            if world.failure.is_some() {
                return outcome(world);
            }
        }
        world.rest();
        if storm + 1 < storms && world.failure.is_none() {
            world.probe();
        }
    }
    if world.failure.is_none() {
        world.farewell();
    }
    outcome(world)
}

fn outcome(world: World<'_>) -> Outcome {
    Outcome {
        hash: 0,
        shards: world.hosts.len(),
        ms: world.ms,
        clients: world.clients.len(),
        publications: world.publications.len(),
        deliveries: world
            .hosts
            .iter()
            .map(|host| host.shard.counters().deliveries)
            .sum(),
        failure: world.failure,
        last: Vec::new(),
    }
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no words")
        .to_owned()
}
