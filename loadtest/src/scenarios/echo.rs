//! Echo: every message must come back, unchanged, on its own connection, in order.

use anyhow::{Result, bail};

use super::outcome::Outcome;
use super::pace::{Load, Schedule};
use super::tally::Tally;
use super::template::StampedMessage;
use super::{Identity, Prepared, Scenario};
use crate::client::{Client, ConnectionId, End, Handler, Message, Outgoing, Ramp};
use crate::correctness::stamp::{NAMES, Reader, Stamp};
use crate::correctness::streams::{Arrival, Streams};

/// Most messages sent between two looks at what came back.
const BURST: u64 = 4_096;
/// Attempts without a single success after which a run is given up.
const HOPELESS: u64 = 8;

/// What an echo run does.
#[derive(Debug, Clone)]
pub struct EchoPlan {
    /// Connections of this process.
    pub connections: u32,
    /// Length of the message body.
    pub size: usize,
    /// Text frames instead of binary ones.
    pub text: bool,
    /// The message around the body; `None`: the body alone, and nothing else may come back.
    pub template: Option<String>,
    /// Rate of this process, or in flight per connection.
    pub load: Load,
    /// Messages to send in this process.
    pub count: Option<u64>,
}

/// The scenario.
pub struct Echo {
    plan: EchoPlan,
    identity: Identity,
    tally: Tally,
    ramp: Ramp,
    connections: Vec<Option<ConnectionId>>,
    /// Tags of open connections, for sending in turn; may name dead ones until the next turn.
    alive: Vec<u32>,
    any_died: bool,
    message: StampedMessage,
    reader: Reader,
    /// Next number to send, per connection.
    sent: Vec<u32>,
    received: Streams,
    /// Messages that were under way on connections that ended: they cannot come any more.
    given_up: u64,
    schedule: Option<Schedule>,
    sending: bool,
}

impl Echo {
    /// # Errors
    /// More connections than stamps can number.
    pub fn new(plan: EchoPlan, identity: Identity, ramp: Ramp) -> Result<Self> {
        if plan.connections >= NAMES {
            bail!("at most {} connections per process", NAMES - 1);
        }
        let count = plan.connections as usize;
        let message = match &plan.template {
            None => StampedMessage::raw(plan.size),
            Some(template) => StampedMessage::from_template(template, "", plan.size),
        };
        Ok(Self {
            tally: Tally::new(u64::from(plan.connections), plan.count),
            ramp,
            connections: vec![None; count],
            alive: Vec::new(),
            any_died: false,
            message,
            reader: Reader::new(plan.size),
            sent: vec![0; count],
            received: Streams::new(count),
            given_up: 0,
            schedule: None,
            sending: false,
            plan,
            identity,
        })
    }

    /// Puts one message for connection `tag` out; `false` if none may be sent any more.
    fn put(&mut self, now: u64, intended: u64, tag: u32, out: &mut Outgoing<'_>) -> bool {
        if !self.sending || !self.tally.take_budget(now) {
            return false;
        }
        let sequence = &mut self.sent[tag as usize];
        let stamp = Stamp {
            run: self.identity.run,
            source: tag,
            channel: self.identity.index,
            sequence: *sequence,
            time: intended - self.identity.base,
        };
        *sequence += 1;
        let payload = self.message.stamped(&stamp);
        if self.plan.text {
            out.text(payload);
        } else {
            out.binary(payload);
        }
        self.tally.sent(now, intended);
        true
    }

    fn send_due(&mut self, now: u64, client: &mut Client) -> u64 {
        let Some(mut schedule) = self.schedule.take() else {
            return u64::MAX;
        };
        let due = schedule.take(now, BURST);
        let connections = self.alive.len() as u64;
        // In turn; what is due for one connection at once leaves in one write.
        for first in due.clone().take(self.alive.len()) {
            let tag = self.alive[(first % connections) as usize];
            let indices = (first..due.end).step_by(self.alive.len());
            let open = self.connections[tag as usize];
            let taken = open.is_some_and(|id| {
                client.send(id, |out| {
                    for index in indices.clone() {
                        self.put(now, schedule.intended(index), tag, out);
                    }
                })
            });
            if !taken {
                self.tally.withheld += indices.count() as u64;
            }
        }
        let next = schedule.next();
        self.schedule = Some(schedule);
        next
    }

    /// One stamp that came back on connection `tag`.
    fn check(&mut self, at: u64, tag: u32, stamp: &Stamp, intact: bool) -> bool {
        let ours = stamp.source == tag && stamp.channel == self.identity.index;
        if !ours || !intact || stamp.sequence >= self.sent[tag as usize] {
            self.tally.counts.corrupted += 1;
            return false;
        }
        match self.received.arrived(tag as usize, stamp.sequence) {
            Arrival::Duplicate => {
                self.tally.counts.duplicated += 1;
                return false;
            }
            Arrival::Late => self.tally.counts.out_of_order += 1,
            Arrival::Next | Arrival::AfterGap(_) => {}
        }
        self.tally.received(at, self.identity.base + stamp.time);
        true
    }
}

impl Handler for Echo {
    fn opened(&mut self, at: u64, id: ConnectionId, tag: u32, _out: &mut Outgoing<'_>) {
        self.connections[tag as usize] = Some(id);
        self.alive.push(tag);
        self.tally.connection_opened(at);
    }

    fn message(&mut self, at: u64, tag: u32, message: Message<'_>, out: &mut Outgoing<'_>) {
        if let Message::Pong(_) = message {
            return;
        }
        let bytes = message.bytes();
        let found = self
            .reader
            .find(bytes)
            .filter(|found| found.stamp.run == self.identity.run);
        let Some(found) = found else {
            // A greeting before the first message is common and harmless.
            if self.sent[tag as usize] > 0 {
                self.tally.error_kind("unexpected message".to_owned());
                self.tally.sample(bytes);
            }
            return;
        };
        let exact = self.plan.template.is_some()
            || (bytes.len() == self.plan.size
                && matches!(message, Message::Text(_)) == self.plan.text);
        let arrived = self.check(at, tag, &found.stamp, found.intact && exact);
        if arrived && matches!(self.plan.load, Load::InFlight(_)) {
            self.put(at, at, tag, out);
        }
    }

    fn closed(&mut self, _at: u64, tag: u32, end: End) {
        if self.tally.connection_closed(&end) {
            self.connections[tag as usize] = None;
            self.any_died = true;
            self.given_up += self.received.lost(tag as usize, self.sent[tag as usize]);
        }
    }
}

impl Scenario for Echo {
    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }

    fn prepare(&mut self, now: u64, client: &mut Client) -> Result<Prepared> {
        prepare_connections(&mut self.ramp, &mut self.tally, now, client)
    }

    fn stop_preparing(&mut self) {
        self.ramp.stop();
    }

    fn start(&mut self, now: u64, client: &mut Client) {
        self.sending = true;
        match self.plan.load {
            Load::Rate(rate) => {
                let offset = f64::from(self.identity.index) / f64::from(self.identity.processes);
                self.schedule = Some(Schedule::new(now, rate, offset));
            }
            Load::InFlight(count) => {
                for tag in self.alive.clone() {
                    let Some(id) = self.connections[tag as usize] else {
                        continue;
                    };
                    client.send(id, |out| {
                        for _ in 0..count {
                            self.put(now, now, tag, out);
                        }
                    });
                }
            }
        }
    }

    fn turn(&mut self, now: u64, client: &mut Client) -> u64 {
        if std::mem::take(&mut self.any_died) {
            let connections = &self.connections;
            self.alive
                .retain(|tag| connections[*tag as usize].is_some());
        }
        if self.alive.is_empty() {
            u64::MAX
        } else {
            self.send_due(now, client)
        }
    }

    fn is_finished(&self) -> bool {
        self.tally.is_spent() || self.tally.open == 0
    }

    fn nothing_in_flight(&self) -> bool {
        self.tally.received + self.given_up >= self.tally.sent
    }

    fn stop(&mut self) -> Vec<u32> {
        self.sending = false;
        Vec::new()
    }

    fn expect(&mut self, _sent: &[u32]) {}

    fn is_drained(&mut self) -> bool {
        self.nothing_in_flight()
    }

    fn finish(&mut self) -> Outcome {
        self.tally.counts.expected = self.tally.sent;
        for (connection, &sent) in self.sent.iter().enumerate() {
            self.tally.counts.lost += self.received.lost(connection, sent);
        }
        Outcome::of(&mut self.tally)
    }
}

/// Opens the connections of a ramp; ready when all of them are open or have failed.
///
/// # Errors
/// None of the first connections could be opened: the run has no prospect.
pub(super) fn prepare_connections(
    ramp: &mut Ramp,
    tally: &mut Tally,
    now: u64,
    client: &mut Client,
) -> Result<Prepared> {
    tally.opening_began(now);
    if tally.opened == 0 && tally.failed >= tally.wanted.min(HOPELESS) {
        bail!(
            "no connection could be opened: {}",
            tally.commonest_error().unwrap_or("unknown error")
        );
    }
    let next = ramp.step(now, client);
    if ramp.all_begun() && tally.opened + tally.failed >= ramp.begun() {
        return Ok(Prepared::Ready);
    }
    Ok(Prepared::Later(next))
}
