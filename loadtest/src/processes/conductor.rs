//! The conductor: meeting points of all workers, the watch on the server, progress, and the sum of the results.

use anyhow::{Result, bail};

use super::messages::{FromWorker, Phase, Progress, ToWorker};
use super::server::Watch;
use crate::measure::clock::{self, MILLISECOND};
use crate::report::ServerCost;
use crate::report::progress::ProgressLine;
use crate::scenarios::Outcome;

/// How far ahead the common start of several processes lies, so that the word reaches all of them before.
const HEAD_START: u64 = 50 * MILLISECOND;

/// Hears all workers of a run.
pub struct Conductor {
    workers: usize,
    /// Workers that have opened their connections, and how many those are.
    opened: usize,
    connections: u64,
    measuring: bool,
    sent: Vec<Vec<u32>>,
    latest: Vec<Option<Progress>>,
    outcome: Outcome,
    done: usize,
    watch: Watch,
    line: ProgressLine,
}

impl Conductor {
    /// For so many workers.
    pub fn new(workers: usize, watch: Watch, line: ProgressLine) -> Self {
        Self {
            workers,
            opened: 0,
            connections: 0,
            measuring: false,
            sent: Vec::new(),
            latest: vec![None; workers],
            outcome: Outcome::default(),
            done: 0,
            watch,
            line,
        }
    }

    /// Hears one message; what it returns goes to all workers.
    ///
    /// # Errors
    /// The worker gave up.
    pub fn hear(&mut self, worker: usize, message: FromWorker) -> Result<Option<ToWorker>> {
        match message {
            FromWorker::Opened { opened } => {
                self.opened += 1;
                self.connections += opened;
                if self.opened == self.workers {
                    self.watch.opened(self.connections);
                    let head_start = if self.workers > 1 { HEAD_START } else { 0 };
                    return Ok(Some(ToWorker::Go {
                        start: clock::now() + head_start,
                    }));
                }
            }
            FromWorker::Measuring => {
                if !std::mem::replace(&mut self.measuring, true) {
                    self.watch.measuring();
                }
            }
            FromWorker::Progress(progress) => {
                self.latest[worker] = Some(progress);
                // One line per second: when the first worker reports.
                if worker == 0 {
                    self.line.show(&sum(&self.latest));
                }
            }
            FromWorker::Sent(sent) => {
                self.sent.push(sent);
                if self.sent.len() == self.workers {
                    self.watch.measured();
                    return Ok(Some(ToWorker::Expect(add_up(&self.sent))));
                }
            }
            FromWorker::Done(outcome) => {
                self.outcome.merge(*outcome);
                self.done += 1;
            }
            FromWorker::Failed(reason) => {
                self.line.end();
                bail!(reason);
            }
        }
        Ok(None)
    }

    /// Whether every worker has handed its result over.
    pub fn is_done(&self) -> bool {
        self.done == self.workers
    }

    /// The result of all workers, and the cost of the server if it was watched.
    pub fn finish(mut self) -> (Outcome, Option<ServerCost>) {
        self.line.end();
        (self.outcome, self.watch.into_cost())
    }
}

fn add_up(sent: &[Vec<u32>]) -> Vec<u32> {
    let mut total = sent.first().cloned().unwrap_or_default();
    for worker in sent.iter().skip(1) {
        for (sum, count) in total.iter_mut().zip(worker) {
            *sum += count;
        }
    }
    total
}

fn sum(latest: &[Option<Progress>]) -> Progress {
    let none = Progress {
        phase: Phase::Draining,
        wanted: 0,
        open: 0,
        sent: 0,
        received: 0,
        p99: None,
        errors: 0,
    };
    latest.iter().flatten().fold(none, |sum, worker| Progress {
        phase: sum.phase.min(worker.phase),
        wanted: sum.wanted + worker.wanted,
        open: sum.open + worker.open,
        sent: sum.sent + worker.sent,
        received: sum.received + worker.received,
        p99: sum.p99.max(worker.p99),
        errors: sum.errors + worker.errors,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn conductor(workers: usize) -> Conductor {
        Conductor::new(workers, Watch::new(Vec::new()), ProgressLine::silent())
    }

    #[test]
    fn all_workers_begin_together_and_learn_what_all_sent() {
        let mut conductor = conductor(2);
        assert_eq!(
            conductor.hear(0, FromWorker::Opened { opened: 1 }).unwrap(),
            None
        );
        let go = conductor.hear(1, FromWorker::Opened { opened: 1 }).unwrap();
        assert!(
            matches!(go, Some(ToWorker::Go { start }) if start > clock::now()),
            "{go:?}"
        );
        assert_eq!(
            conductor.hear(1, FromWorker::Sent(vec![1, 0, 5])).unwrap(),
            None
        );
        let expect = conductor.hear(0, FromWorker::Sent(vec![0, 2, 5])).unwrap();
        assert_eq!(expect, Some(ToWorker::Expect(vec![1, 2, 10])));
        for worker in 0..2 {
            assert!(!conductor.is_done());
            let outcome = Outcome {
                received: 21,
                ..Outcome::default()
            };
            conductor
                .hear(worker, FromWorker::Done(Box::new(outcome)))
                .unwrap();
        }
        assert!(conductor.is_done());
        assert_eq!(conductor.finish().0.received, 42);
    }

    #[test]
    fn a_worker_that_gives_up_ends_the_run_with_its_reason() {
        let error = conductor(2)
            .hear(1, FromWorker::Failed("no way".to_owned()))
            .unwrap_err();
        assert_eq!(error.to_string(), "no way");
    }
}
