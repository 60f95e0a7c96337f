//! The phases of a run in one process: prepare, warm up, measure, drain, close.
//!
//! Between the phases it speaks with the conductor, which may be in this process or another (`processes/`): all processes begin
//! together, and none stops counting before the last has stopped sending.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail};

use super::tally::Tally;
use super::{Prepared, Scenario};
use crate::client::Client;
use crate::measure::clock::{self, MILLISECOND, SECOND};
use crate::measure::process::{Meter, Subject};
use crate::processes::link::Link;
use crate::processes::messages::{FromWorker, Phase, Progress, ToWorker};

/// How long closing all connections may take.
const CLOSE_TIME: u64 = 3 * SECOND;
/// How often the conductor and the drained state are asked for, at least.
const LOOK: u64 = 10 * MILLISECOND;
/// How much later than this process another one may be at a meeting point.
const PATIENCE: u64 = 30 * SECOND;

/// Durations of a run, in nanoseconds.
#[derive(Debug, Clone, Copy)]
pub struct Phases {
    /// For opening connections and subscribing.
    pub prepare: u64,
    pub warmup: u64,
    pub duration: u64,
    /// For the last answers.
    pub grace: u64,
}

/// One process' part of a run.
pub struct Run<'a, S, L> {
    pub scenario: S,
    pub client: Client,
    pub link: L,
    pub phases: Phases,
    /// Set by Ctrl-C: stop sending, and report.
    pub interrupted: &'a AtomicBool,
    next_report: u64,
    /// What this process uses, since the measurement began.
    meter: Option<Meter>,
}

impl<'a, S: Scenario, L: Link> Run<'a, S, L> {
    /// A run that has not begun.
    pub fn new(
        scenario: S,
        client: Client,
        link: L,
        phases: Phases,
        interrupted: &'a AtomicBool,
    ) -> Self {
        Self {
            scenario,
            client,
            link,
            phases,
            interrupted,
            next_report: 0,
            meter: None,
        }
    }

    /// Runs all phases. The result goes over the link.
    ///
    /// # Errors
    /// Nothing could be connected; the conductor is gone; epoll failed.
    pub fn run(mut self) -> Result<L> {
        self.prepare()?;
        let start = self.wait_for_go()?;
        let sent = self.offer_load(start)?;
        self.drain(&sent)?;
        self.close()?;
        let outcome = self.scenario.finish();
        self.link.tell(FromWorker::Done(Box::new(outcome)))?;
        Ok(self.link)
    }

    fn prepare(&mut self) -> Result<()> {
        let deadline = clock::now() + self.phases.prepare;
        let mut late = false;
        loop {
            let now = clock::now();
            let next = match self.scenario.prepare(now, &mut self.client)? {
                Prepared::Ready => break,
                Prepared::Later(next) => next,
            };
            if self.is_interrupted() {
                bail!("interrupted while connections were opened");
            }
            if now >= deadline && !std::mem::replace(&mut late, true) {
                self.scenario.stop_preparing();
            }
            self.turn_of_client(now, next, Phase::Opening)?;
        }
        let tally = self.scenario.tally();
        if tally.wanted > 0 && tally.opened == 0 {
            bail!(
                "no connection could be opened: {}",
                tally.commonest_error().unwrap_or("unknown error")
            );
        }
        self.link.tell(FromWorker::Opened {
            opened: tally.opened,
        })
    }

    fn wait_for_go(&mut self) -> Result<u64> {
        let deadline = clock::now() + self.phases.prepare + PATIENCE;
        loop {
            let now = clock::now();
            match self.link.hear()? {
                Some(ToWorker::Go { start }) => return Ok(start),
                Some(other) => bail!("the conductor said {other:?} before it said go"),
                None if now > deadline => bail!("the other processes did not get ready in time"),
                None => self.turn_of_client(now, now + LOOK, Phase::Opening)?,
            }
        }
    }

    /// Warm-up and measurement, until all processes are through with sending. Returns what all sent.
    fn offer_load(&mut self, start: u64) -> Result<Vec<u32>> {
        let from = start + self.phases.warmup;
        let end = from + self.phases.duration;
        self.scenario.tally().from = from;
        while clock::now() < start {
            self.turn_of_client(clock::now(), start, Phase::WarmUp)?;
        }
        self.scenario.start(start, &mut self.client);
        let mut finished = None;
        loop {
            let now = clock::now();
            let phase = self.measure_from(now, from)?;
            // Whatever was due before the end is still sent.
            let mut next = self.scenario.turn(now.min(end - 1), &mut self.client);
            self.scenario.check()?;
            if self.is_over(now, end, &mut finished) {
                return self.stop(from, end);
            }
            next = next.min(end);
            if phase == Phase::WarmUp {
                next = next.min(from);
            }
            if finished.is_some() {
                next = next.min(now + LOOK);
            }
            self.turn_of_client(now, next, phase)?;
        }
    }

    /// Begins the measurement when its time has come; says which phase it is.
    fn measure_from(&mut self, now: u64, from: u64) -> Result<Phase> {
        if now < from {
            return Ok(Phase::WarmUp);
        }
        if self.meter.is_none() {
            self.meter = Some(Meter::start(Subject::Own));
            self.link.tell(FromWorker::Measuring)?;
        }
        Ok(Phase::Measuring)
    }

    /// Whether no more load is to be offered. A scenario that has sent all it should gets time for the answers, so that
    /// they are part of the measurement.
    fn is_over(&mut self, now: u64, end: u64, finished: &mut Option<u64>) -> bool {
        if now >= end || self.is_interrupted() {
            return true;
        }
        if !self.scenario.is_finished() {
            return false;
        }
        let since = *finished.get_or_insert(now);
        self.scenario.nothing_in_flight() || now >= since + self.phases.grace
    }

    /// Stops sending, and counts on until all processes have stopped.
    fn stop(&mut self, from: u64, end: u64) -> Result<Vec<u32>> {
        let sent = self.scenario.stop();
        self.link.tell(FromWorker::Sent(sent))?;
        loop {
            let now = clock::now();
            let phase = self.measure_from(now, from)?;
            match self.link.hear()? {
                Some(ToWorker::Expect(sent)) => {
                    let tally = self.scenario.tally();
                    tally.to = now;
                    tally.usage = self.meter.and_then(|meter| meter.stop());
                    return Ok(sent);
                }
                Some(other) => bail!("the conductor said {other:?} instead of what to expect"),
                None if now > end + PATIENCE => {
                    bail!("the other processes did not finish in time")
                }
                None => self.turn_of_client(now, now + LOOK, phase)?,
            }
        }
    }

    fn drain(&mut self, sent: &[u32]) -> Result<()> {
        self.scenario.expect(sent);
        let deadline = clock::now() + self.phases.grace;
        loop {
            let now = clock::now();
            let next = self.scenario.turn_of_draining(now, &mut self.client);
            if self.scenario.is_drained() || now >= deadline {
                return Ok(());
            }
            let next = next.min(deadline).min(now + LOOK);
            self.turn_of_client(now, next, Phase::Draining)?;
        }
    }

    fn close(&mut self) -> Result<()> {
        self.scenario.tally().closing = true;
        self.client.close_all();
        let deadline = clock::now() + CLOSE_TIME;
        while self.client.len() > 0 && clock::now() < deadline {
            self.client.poll(deadline, &mut self.scenario)?;
        }
        Ok(())
    }

    /// One wait of the client, at most until `until`, with the line of progress if it is time.
    fn turn_of_client(&mut self, now: u64, until: u64, phase: Phase) -> Result<()> {
        if now >= self.next_report {
            if self.next_report > 0 {
                let progress = progress(self.scenario.tally(), phase);
                self.link.tell(FromWorker::Progress(progress))?;
            }
            // A late report is not made up for.
            self.next_report = now + SECOND;
        }
        self.client
            .poll(until.min(self.next_report), &mut self.scenario)?;
        Ok(())
    }

    fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }
}

fn progress(tally: &mut Tally, phase: Phase) -> Progress {
    Progress {
        phase,
        wanted: tally.wanted,
        open: tally.open,
        sent: tally.sent,
        received: tally.received,
        p99: tally.latency.end_interval(),
        errors: tally.errors.values().sum(),
    }
}
