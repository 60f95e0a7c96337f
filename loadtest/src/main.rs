//! `loadtest`: puts load on any WebSocket server, measures it, and counts exactly what comes back.
//!
//! ```text
//! args       what the user wants          processes  one or several of them, conducted
//! scenarios  echo, fanout, idle, churn, …  client     very many connections on one thread
//! measure    clock, histograms, /proc     correctness lost, duplicated, out of order
//! report     progress, text, JSON, verdict
//! ```
//!
//! It knows only the wire (`shardwire-protocol`), never the engine.

mod args;
mod client;
mod correctness;
mod measure;
mod processes;
mod report;
mod scenarios;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use clap::Parser;
use signal_hook::consts::SIGINT;

use args::{Arguments, ScenarioArguments};
use processes::conductor::Conductor;
use processes::launch::{run_as_worker, run_here, run_processes};
use processes::server::Watch;
use processes::worker::{check, load};
use report::progress::ProgressLine;
use report::{Report, Setting};
use scenarios::pace::Load;

fn main() -> ExitCode {
    let arguments = Arguments::parse().scenario;
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("loadtest: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all went well.
fn run(arguments: &ScenarioArguments) -> Result<bool> {
    let interrupted = catch_interrupt()?;
    let common = arguments.common();
    if let Some(index) = common.worker {
        run_as_worker(arguments, index, &interrupted)?;
        return Ok(true);
    }
    check(arguments)?;
    let line = if common.quiet {
        ProgressLine::silent()
    } else {
        ProgressLine::new()
    };
    let conductor = Conductor::new(
        common.processes as usize,
        Watch::new(common.pid.clone()),
        line,
    );
    let conductor = if common.processes == 1 {
        run_here(arguments, conductor, &interrupted)?
    } else {
        run_processes(common.processes, conductor)?
    };
    let (outcome, cost) = conductor.finish();
    let setting = Setting {
        interrupted: interrupted.load(Ordering::Relaxed),
        ..setting(arguments)
    };
    let report = Report::new(setting, outcome, cost);
    if common.json {
        println!("{}", report.json());
    } else {
        print!("{}", report.text());
    }
    Ok(report.passed)
}

/// The first Ctrl-C ends the run with a report, the second ends the program.
fn catch_interrupt() -> Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    // In this order: the first signal finds the flag down, and only then raises it.
    signal_hook::flag::register_conditional_shutdown(SIGINT, 1, Arc::clone(&interrupted))
        .and_then(|_| signal_hook::flag::register(SIGINT, Arc::clone(&interrupted)))
        .context("cannot catch signals")?;
    Ok(interrupted)
}

fn setting(arguments: &ScenarioArguments) -> Setting {
    let common = arguments.common();
    let (rate, in_flight) = match load(arguments) {
        Some(Load::Rate(rate)) => (Some(rate), None),
        Some(Load::InFlight(count)) => (None, Some(count)),
        None => (None, None),
    };
    let setting = Setting {
        url: common.url.clone(),
        processes: common.processes,
        rate,
        in_flight,
        warmup_seconds: arguments.warmup().as_secs_f64(),
        awaits_messages: true,
        ..Setting::default()
    };
    match arguments {
        ScenarioArguments::Echo(echo) => Setting {
            scenario: "echo",
            unit: "echoes",
            connections: echo.connections,
            payload_bytes: Some(echo.size),
            ..setting
        },
        ScenarioArguments::Fanout(fanout) => Setting {
            scenario: "fanout",
            unit: "deliveries",
            connections: fanout.subscribers + fanout.publishers,
            publishers: Some(fanout.publishers),
            subscribers: Some(fanout.subscribers),
            channels: Some(fanout.channels),
            payload_bytes: Some(fanout.size),
            ..setting
        },
        ScenarioArguments::Idle(idle) => Setting {
            scenario: "idle",
            unit: "pongs",
            connections: idle.connections,
            awaits_messages: idle.probe_rate.is_some(),
            ..setting
        },
        ScenarioArguments::Churn(churn) => Setting {
            scenario: "churn",
            unit: "cycles",
            connections: in_flight.unwrap_or(churn.connections),
            payload_bytes: Some(churn.size),
            ..setting
        },
        ScenarioArguments::Recover(recover) => Setting {
            scenario: "recover",
            unit: "deliveries",
            connections: recover.subscribers + recover.publishers,
            publishers: Some(recover.publishers),
            subscribers: Some(recover.subscribers),
            channels: Some(recover.channels),
            payload_bytes: Some(recover.size),
            ..setting
        },
    }
}
