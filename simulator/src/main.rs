//! Runs seeds and says what they found.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use simulator::{Options, Outcome, run};

/// Lines of the trace shown before a failure.
const LAST_LINES: usize = 60;

/// Whole shards in a faked world: seeded scheduling, virtual time, sockets that split, delay, block and break.
#[derive(Parser, Debug)]
#[command(name = "simulator")]
struct Arguments {
    /// The seed to run.
    #[arg(long, default_value_t = 1, conflicts_with = "seeds")]
    seed: u64,
    /// Several seeds: from the first to before the second, as in 0..1000.
    #[arg(long, value_parser = range)]
    seeds: Option<(u64, u64)>,
    /// Steps of storm in each run.
    #[arg(long, default_value_t = 3_000)]
    steps: u32,
    /// How many shards; drawn from the seed when not given.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=64))]
    shards: Option<u16>,
    /// Lines of the trace to show before a failure, or at the end of a single run.
    #[arg(long)]
    lines: Option<usize>,
}

fn range(text: &str) -> Result<(u64, u64), String> {
    let (from, to) = text
        .split_once("..")
        .ok_or("two numbers with .. between them")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| error.to_string());
    let (from, to) = (number(from)?, number(to)?);
    if from < to {
        Ok((from, to))
    } else {
        Err("the second must be larger than the first".to_owned())
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // A panic of a shard is a finding like any other; it is told with its seed, not by the hook.
    std::panic::set_hook(Box::new(|_| {}));
    let (from, to) = arguments
        .seeds
        .unwrap_or((arguments.seed, arguments.seed + 1));
    let start = Instant::now();
    let (mut failed, mut deliveries, mut virtual_ms) = (Vec::new(), 0, 0);
    for seed in from..to {
        let options = Options {
            seed,
            steps: arguments.steps,
            shards: arguments.shards,
        };
        let outcome = run(&options, 0);
        deliveries += outcome.deliveries;
        virtual_ms += outcome.ms;
        if let Some(failure) = outcome.failure {
            if failed.is_empty() {
                tell(&options, arguments.lines.unwrap_or(LAST_LINES));
            }
            failed.push((seed, failure));
        } else if to - from == 1 {
            praise(seed, &outcome);
            if let Some(lines) = arguments.lines {
                run(&options, lines)
                    .last
                    .iter()
                    .for_each(|line| println!("{line}"));
            }
        }
    }
    if to - from > 1 {
        println!(
            "{} seeds, {} failed; {deliveries} deliveries in {} s of virtual time; {:.1} s",
            to - from,
            failed.len(),
            virtual_ms / 1000,
            start.elapsed().as_secs_f64()
        );
        for (seed, failure) in &failed {
            println!("seed {seed}: {failure}");
        }
    }
    if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn praise(seed: u64, outcome: &Outcome) {
    println!(
        "seed {seed}: {} shards, {} clients, {} publications, {} deliveries, {} ms; trace {:016x}",
        outcome.shards,
        outcome.clients,
        outcome.publications,
        outcome.deliveries,
        outcome.ms,
        outcome.hash
    );
}

/// Runs a failing seed again, this time with its trace.
fn tell(options: &Options, lines: usize) {
    let outcome = run(options, lines);
    for line in &outcome.last {
        println!("{line}");
    }
    if let Some(failure) = &outcome.failure {
        println!("\nseed {} failed: {failure}", options.seed);
        println!("trace {:016x}", outcome.hash);
    }
    let shards = options
        .shards
        .map_or(String::new(), |shards| format!(" --shards {shards}"));
    println!(
        "again: cargo run -p simulator -- --seed {} --steps {}{shards}",
        options.seed, options.steps
    );
}
