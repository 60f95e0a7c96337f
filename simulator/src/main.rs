//! Runs seeds and says what they found.

use std::ops::Range;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use simulator::{Failure, Fault, Options, Outcome, run};

/// Whole shards in a faked world: seeded scheduling, virtual time, sockets that split, delay, block and break.
///
/// Exits with 1 if a check found something wrong (with a planted fault: if none did).
#[derive(Parser, Debug)]
#[command(name = "simulator")]
struct Arguments {
    /// The seed to run.
    #[arg(long, default_value_t = 1, conflicts_with = "seeds")]
    seed: u64,
    /// Several seeds: from the first to before the second, as in 0..1000.
    #[arg(long, value_parser = range)]
    seeds: Option<Range<u64>>,
    /// Steps of storm in each run.
    #[arg(long, default_value_t = 3_000)]
    steps: u32,
    /// How many shards; drawn from the seed when not given.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=64))]
    shards: Option<u16>,
    /// Let one shard make this fault once, to see that it is found.
    #[arg(long)]
    plant: Option<Plant>,
    /// Lines of the trace to show: the last ones before a failure, or of a single run.
    #[arg(long)]
    lines: Option<usize>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Plant {
    /// Fan-out passes one member over.
    SkipDelivery,
    /// Fan-out puts a frame into one member's outbox twice.
    DoubleDelivery,
    /// A connection goes, and its user or address stays counted.
    ForgetDeregistration,
    /// A subscriber that catches up is taken for level one record too early.
    EarlySeam,
    /// A shard whose lane was full is not thought of when there is room again.
    ForgetOverflow,
    /// Somebody leaves a channel, and whoever keeps who is in it is not told.
    ForgetLeave,
    /// A log is forgotten, and the next one goes by the same epoch.
    KeepEpoch,
    /// Notifications are marked as read, and the devices are not told how many are unread now.
    ForgetCount,
    /// A connection leaves a chat room, and the room's home keeps it.
    KeepSeat,
}

impl From<Plant> for Fault {
    fn from(plant: Plant) -> Self {
        match plant {
            Plant::SkipDelivery => Self::SkipDelivery,
            Plant::DoubleDelivery => Self::DoubleDelivery,
            Plant::ForgetDeregistration => Self::ForgetDeregistration,
            Plant::EarlySeam => Self::EarlySeam,
            Plant::ForgetOverflow => Self::ForgetOverflow,
            Plant::ForgetLeave => Self::ForgetLeave,
            Plant::KeepEpoch => Self::KeepEpoch,
            Plant::ForgetCount => Self::ForgetCount,
            Plant::KeepSeat => Self::KeepSeat,
        }
    }
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let (from, to) = text
        .split_once("..")
        .ok_or("two numbers with .. between them")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| error.to_string());
    let range = number(from)?..number(to)?;
    match range.is_empty() {
        true => Err("the second must be larger than the first".to_owned()),
        false => Ok(range),
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // A panic of a shard is a finding like any other; it is told with its seed, not by the hook.
    std::panic::set_hook(Box::new(|_| {}));
    let fine = match arguments.seeds.clone() {
        None => one(&arguments),
        Some(seeds) => many(&arguments, seeds),
    };
    if fine {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn options(arguments: &Arguments, seed: u64) -> Options {
    Options {
        seed,
        steps: arguments.steps,
        shards: arguments.shards,
        plant: arguments.plant.map(Fault::from),
    }
}

fn one(arguments: &Arguments) -> bool {
    let options = options(arguments, arguments.seed);
    let outcome = run(&options, arguments.lines.unwrap_or(0));
    match &outcome.failure {
        Some(failure) => tell(arguments, &options, failure),
        None => {
            outcome.last.iter().for_each(|line| println!("{line}"));
            praise(options.seed, &outcome);
        }
    }
    outcome.failure.is_some() == options.plant.is_some()
}

fn many(arguments: &Arguments, seeds: Range<u64>) -> bool {
    let start = Instant::now();
    let count = seeds.end - seeds.start;
    let (mut found, mut deliveries, mut virtual_ms) = (Vec::new(), 0, 0);
    for seed in seeds {
        let options = options(arguments, seed);
        let outcome = run(&options, 0);
        deliveries += outcome.deliveries;
        virtual_ms += outcome.ms;
        if let Some(failure) = outcome.failure {
            if found.is_empty() {
                tell(arguments, &options, &failure);
            }
            found.push((seed, failure));
        }
    }
    for (seed, failure) in found.iter().skip(1) {
        println!("seed {seed}: {failure}");
    }
    println!(
        "{count} seeds, {} found something wrong; {deliveries} deliveries in {} s of virtual time; {:.1} s",
        found.len(),
        virtual_ms / 1000,
        start.elapsed().as_secs_f64()
    );
    found.is_empty() != arguments.plant.is_some()
}

fn praise(seed: u64, outcome: &Outcome) {
    println!(
        "seed {seed}: nothing wrong; {} shards, {} clients, {} publications, {} deliveries, {} ms; trace {:016x}",
        outcome.shards,
        outcome.clients,
        outcome.publications,
        outcome.deliveries,
        outcome.ms,
        outcome.hash
    );
}

/// Lines of the trace shown before a failure.
const LAST_LINES: usize = 60;

/// Runs a failing seed again, this time with its trace.
fn tell(arguments: &Arguments, options: &Options, failure: &Failure) {
    let outcome = run(options, arguments.lines.unwrap_or(LAST_LINES));
    for line in &outcome.last {
        println!("{line}");
    }
    println!("\nseed {}: {failure}", options.seed);
    println!("trace {:016x}", outcome.hash);
    let shards = options
        .shards
        .map_or(String::new(), |shards| format!(" --shards {shards}"));
    let plant = arguments
        .plant
        .and_then(|plant| plant.to_possible_value())
        .map_or(String::new(), |plant| {
            format!(" --plant {}", plant.get_name())
        });
    println!(
        "again: cargo run -p simulator -- --seed {} --steps {}{shards}{plant}",
        options.seed, options.steps
    );
}
