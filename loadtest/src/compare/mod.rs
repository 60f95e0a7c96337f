//! `loadtest compare`: this server and its peers in turn, A B A B, each run with a fresh server; then tables and plots.
//!
//! *Lives here*: who is compared ([`peers`]), in what ([`cases`]), a run ([`run`]), what its numbers are ([`results`]), and how they are
//! shown ([`tables`], [`plots`]). *Does not live here*: load; a run is this program, started again, with `--json`.
//!
//! *Invariants*: server and client have a core each; every run has a fresh server; a run in which the client was the limit, or that had
//! faults, is never ranked; a run that failed is repeated once, and then missing and said to be; the machine is named.
//! *Called by* `main.rs`. *Calls* this program and the peers, as processes. *Tests*: beside the code, `tests/compare.rs`.

mod cases;
mod certificate;
mod machine;
mod peers;
mod plots;
mod results;
mod run;
mod tables;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};

use crate::args::CompareArguments;
use cases::{CASES, Case};
use certificate::Certificate;
use peers::{PEERS, Peer};
use results::{Found, Results, Turn};
use serde_json::Value;

/// Runs everything that is asked for. What is found is written after every case, so that an interruption leaves what there was.
///
/// # Errors
/// Something unknown is asked for, a peer is not installed, or the output cannot be written.
pub fn compare(arguments: &CompareArguments, interrupted: &AtomicBool) -> Result<()> {
    if arguments.list {
        list();
        return Ok(());
    }
    let always = peers::named(&arguments.peers)?;
    let also = peers::named(&arguments.also)?;
    let cases = cases::named(&arguments.cases)?;
    let root = arguments
        .root
        .canonicalize()
        .with_context(|| format!("no such directory: {}", arguments.root.display()))?;
    for peer in always.iter().chain(&also) {
        peer.check(&root)?;
    }
    fs::create_dir_all(&arguments.output)
        .with_context(|| format!("cannot make {}", arguments.output.display()))?;
    run::raise_open_file_limit();
    let certificate = cases
        .iter()
        .any(|case| case.secure)
        .then(Certificate::make)
        .transpose()?;
    let versions: BTreeMap<&str, String> = always
        .iter()
        .chain(&also)
        .map(|peer| (peer.name, peer.version(&root)))
        .collect();
    let mut results = Results::new(arguments, versions);
    for case in cases {
        let mut found = Found::new(case);
        'rounds: for round in 0..arguments.rounds {
            let further = if round < arguments.also_rounds {
                also.as_slice()
            } else {
                &[]
            };
            for peer in always.iter().chain(further).filter(|peer| peer.takes(case)) {
                if interrupted.load(Ordering::Relaxed) {
                    break 'rounds;
                }
                eprintln!(
                    "{}: round {} of {}, {}",
                    case.name,
                    round + 1,
                    arguments.rounds,
                    peer.name
                );
                found.add(
                    peer,
                    twice(|| run::run(peer, case, certificate.as_ref(), &root, arguments)),
                );
            }
        }
        results.cases.push(found);
        write(&results, &arguments.output)?;
        if interrupted.load(Ordering::Relaxed) {
            bail!("interrupted; what was measured until then is in the output");
        }
    }
    println!("{}", tables::summary(&results));
    println!(
        "Everything is in {}.",
        arguments.output.join("results.md").display()
    );
    Ok(())
}

/// A run that fails is repeated once: hours of measuring must not be lost for one that had bad luck. One that fails again is missing
/// from its case, which says so.
fn twice(mut run: impl FnMut() -> Result<Value>) -> Turn {
    let first = match run() {
        Ok(report) => return Turn::Done(report),
        Err(error) => error,
    };
    eprintln!("the run failed and is repeated: {first:#}");
    match run() {
        Ok(report) => Turn::Repeated(report),
        Err(error) => {
            eprintln!("it failed again, and is missing: {error:#}");
            Turn::Missing(format!("{error:#}"))
        }
    }
}

fn list() {
    println!("peers:");
    for Peer { name, title, .. } in PEERS {
        println!("  {name:18} {title}");
    }
    println!("cases:");
    for Case { name, title, .. } in CASES {
        println!("  {name:18} {title}");
    }
}

fn write(results: &Results, output: &Path) -> Result<()> {
    let mut files = vec![
        ("results.md".to_owned(), tables::all(results)),
        ("results.json".to_owned(), results.json()),
    ];
    files.extend(plots::all(results));
    for (name, text) in files {
        let path = output.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_failed_run_is_repeated_once_and_then_missing() {
        let outcome = |failures: usize| {
            let mut runs = 0;
            let turn = twice(|| {
                runs += 1;
                if runs <= failures {
                    bail!("no luck {runs}");
                }
                Ok(Value::from(runs))
            });
            (turn, runs)
        };
        assert_eq!(outcome(0), (Turn::Done(1.into()), 1));
        assert_eq!(outcome(1), (Turn::Repeated(2.into()), 2));
        assert_eq!(outcome(2), (Turn::Missing("no luck 2".into()), 2));
    }
}
