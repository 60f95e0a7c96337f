//! Churn: connect, upgrade, echo one message, close with a handshake, again and again.
//!
//! A *slot* is one cycle under way; its number is the connection's tag. Latency is that of the whole cycle, from the time it was
//! meant to begin to the server's close frame; connecting with upgrade is also measured by itself.

use std::collections::VecDeque;

use anyhow::{Result, bail};

use super::outcome::Outcome;
use super::pace::{Load, Schedule};
use super::tally::Tally;
use super::template::StampedMessage;
use super::{Identity, Prepared, Scenario};
use crate::client::{Client, ConnectionId, End, Handler, Message, Outgoing};
use crate::correctness::stamp::{Reader, Stamp};
use crate::measure::histogram::Recorder;

/// Most cycles that may be overdue; beyond it they are withheld.
const MAX_OVERDUE: usize = 1 << 20;
/// Failed cycles in a row, without a single success before, after which a run is given up.
const HOPELESS: u64 = 8;

/// What a churn run does.
#[derive(Debug, Clone)]
pub struct ChurnPlan {
    /// Most cycles under way at once in this process.
    pub slots: u32,
    /// Length of the one message.
    pub size: usize,
    pub text: bool,
    /// Cycles per second of this process, or as many in flight as there are slots.
    pub load: Load,
    /// Cycles of this process.
    pub count: Option<u64>,
}

/// One cycle under way.
#[derive(Debug, Clone, Copy)]
struct Cycle {
    number: u32,
    intended: u64,
    begun: u64,
    echoed: bool,
}

/// The scenario.
pub struct Churn {
    plan: ChurnPlan,
    identity: Identity,
    tally: Tally,
    slots: Vec<Option<Cycle>>,
    free: Vec<u32>,
    /// Intended times of cycles that wait for a slot.
    overdue: VecDeque<u64>,
    begun: u32,
    succeeded: u64,
    message: StampedMessage,
    reader: Reader,
    schedule: Option<Schedule>,
    sending: bool,
    upgrades: Recorder,
}

impl Churn {
    /// Nothing is begun yet.
    pub fn new(plan: ChurnPlan, identity: Identity) -> Self {
        Self {
            tally: Tally::new(0, plan.count),
            slots: vec![None; plan.slots as usize],
            free: (0..plan.slots).rev().collect(),
            overdue: VecDeque::new(),
            begun: 0,
            succeeded: 0,
            message: StampedMessage::raw(plan.size),
            reader: Reader::new(plan.size),
            schedule: None,
            sending: false,
            upgrades: Recorder::new(),
            plan,
            identity,
        }
    }

    fn begin(&mut self, now: u64, intended: u64, client: &mut Client) -> bool {
        let Some(slot) = self.free.pop() else {
            return false;
        };
        if !self.tally.take_budget(now) {
            self.free.push(slot);
            return false;
        }
        self.slots[slot as usize] = Some(Cycle {
            number: self.begun,
            intended,
            begun: now,
            echoed: false,
        });
        self.begun = self.begun.wrapping_add(1);
        self.tally.wanted += 1;
        self.tally.opening_began(now);
        client.connect(slot);
        self.tally.sent(now, intended);
        true
    }

    fn stamp(&self, cycle: &Cycle, slot: u32) -> Stamp {
        Stamp {
            run: self.identity.run,
            source: slot,
            channel: self.identity.index,
            sequence: cycle.number,
            time: cycle.intended - self.identity.base,
        }
    }
}

impl Handler for Churn {
    fn opened(&mut self, at: u64, _id: ConnectionId, tag: u32, out: &mut Outgoing<'_>) {
        self.tally.connection_opened(at);
        let Some(cycle) = self.slots[tag as usize] else {
            return;
        };
        if cycle.intended >= self.tally.from {
            self.upgrades.record(at.saturating_sub(cycle.begun));
        }
        let stamp = self.stamp(&cycle, tag);
        let payload = self.message.stamped(&stamp);
        if self.plan.text {
            out.text(payload);
        } else {
            out.binary(payload);
        }
    }

    fn message(&mut self, _at: u64, tag: u32, message: Message<'_>, out: &mut Outgoing<'_>) {
        let Some(cycle) = self.slots[tag as usize] else {
            return;
        };
        if let Message::Pong(_) = message {
            return;
        }
        let bytes = message.bytes();
        let Some(found) = self.reader.find(bytes) else {
            return;
        };
        let exact = bytes.len() == self.plan.size && found.intact;
        if found.stamp != self.stamp(&cycle, tag) || !exact {
            self.tally.counts.corrupted += 1;
        } else if cycle.echoed {
            self.tally.counts.duplicated += 1;
        }
        self.slots[tag as usize] = Some(Cycle {
            echoed: true,
            ..cycle
        });
        out.finish();
    }

    fn closed(&mut self, at: u64, tag: u32, end: End) {
        self.tally.connection_closed(&end);
        if self.tally.closing {
            // Not finished in time: the slot stays taken, and is counted at the end.
            return;
        }
        let Some(cycle) = self.slots[tag as usize].take() else {
            return;
        };
        self.free.push(tag);
        if end == End::Clean && cycle.echoed {
            self.succeeded += 1;
            self.tally.received(at, cycle.intended);
        } else if !matches!(end, End::NotOpened(_)) && !cycle.echoed {
            self.tally.counts.lost += 1;
        }
    }
}

impl Scenario for Churn {
    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }

    fn prepare(&mut self, _now: u64, _client: &mut Client) -> Result<Prepared> {
        Ok(Prepared::Ready)
    }

    fn start(&mut self, now: u64, _client: &mut Client) {
        self.sending = true;
        if let Load::Rate(rate) = self.plan.load {
            let offset = f64::from(self.identity.index) / f64::from(self.identity.processes);
            self.schedule = Some(Schedule::new(now, rate, offset));
        }
    }

    fn turn(&mut self, now: u64, client: &mut Client) -> u64 {
        if !self.sending {
            return u64::MAX;
        }
        let Some(schedule) = &mut self.schedule else {
            while self.begin(now, now, client) {}
            return u64::MAX;
        };
        for index in schedule.take(now, u64::from(u32::MAX)) {
            if self.overdue.len() < MAX_OVERDUE {
                self.overdue.push_back(schedule.intended(index));
            } else {
                self.tally.withheld += 1;
            }
        }
        let next = schedule.next();
        while let Some(&intended) = self.overdue.front() {
            if !self.begin(now, intended, client) {
                break;
            }
            self.overdue.pop_front();
        }
        next
    }

    fn check(&self) -> Result<()> {
        if self.succeeded == 0 && self.tally.failed + self.tally.dropped >= HOPELESS {
            bail!(
                "no cycle succeeded: {}",
                self.tally.commonest_error().unwrap_or("unknown error")
            );
        }
        Ok(())
    }

    fn is_finished(&self) -> bool {
        self.tally.is_spent()
    }

    fn nothing_in_flight(&self) -> bool {
        self.free.len() == self.slots.len()
    }

    fn stop(&mut self) -> Vec<u32> {
        self.sending = false;
        self.tally.withheld += self.overdue.len() as u64;
        self.overdue.clear();
        Vec::new()
    }

    fn expect(&mut self, _sent: &[u32]) {}

    fn is_drained(&mut self) -> bool {
        self.nothing_in_flight()
    }

    fn finish(&mut self) -> Outcome {
        // Cycles that are still under way have not ended in time.
        let unfinished = (self.slots.len() - self.free.len()) as u64;
        for _ in 0..unfinished {
            self.tally
                .error_kind("cycle not finished in time".to_owned());
        }
        self.tally.counts.lost += unfinished;
        self.tally.counts.expected = self.tally.sent;
        let mut outcome = Outcome::of(&mut self.tally);
        outcome.further.insert(
            "connect_and_upgrade".to_owned(),
            self.upgrades.distribution(),
        );
        outcome
    }
}
