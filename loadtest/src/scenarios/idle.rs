//! Idle: very many connections are opened and held; what do they cost, and do they stay?
//!
//! Pings of the server are answered like everywhere. With a probe rate, pings of our own go to the connections in turn, and
//! their pongs give the latency of a connection that had nothing to do.

use anyhow::Result;

use super::echo::prepare_connections;
use super::outcome::Outcome;
use super::pace::Schedule;
use super::tally::Tally;
use super::{Identity, Prepared, Scenario};
use crate::client::{Client, ConnectionId, End, Handler, Message, Outgoing, Ramp};
use crate::correctness::stamp::{STAMP_LEN, Stamp};

/// Most probes sent between two looks at what came back.
const BURST: u64 = 1_024;

/// What an idle run does.
#[derive(Debug, Clone)]
pub struct IdlePlan {
    /// Connections of this process.
    pub connections: u32,
    /// Pings per second of this process.
    pub probe_rate: Option<f64>,
}

/// The scenario.
pub struct Idle {
    plan: IdlePlan,
    identity: Identity,
    tally: Tally,
    ramp: Ramp,
    connections: Vec<Option<ConnectionId>>,
    schedule: Option<Schedule>,
}

impl Idle {
    /// Nothing is opened yet.
    pub fn new(plan: IdlePlan, identity: Identity, ramp: Ramp) -> Self {
        Self {
            tally: Tally::new(u64::from(plan.connections), None),
            ramp,
            connections: vec![None; plan.connections as usize],
            schedule: None,
            plan,
            identity,
        }
    }
}

impl Handler for Idle {
    fn opened(&mut self, at: u64, id: ConnectionId, tag: u32, _out: &mut Outgoing<'_>) {
        self.connections[tag as usize] = Some(id);
        self.tally.connection_opened(at);
    }

    fn message(&mut self, at: u64, _tag: u32, message: Message<'_>, _out: &mut Outgoing<'_>) {
        // Text and binary messages are the server's business: a greeting, an announcement.
        if let Message::Pong(bytes) = message
            && let Some(stamp) = Stamp::read(bytes).filter(|stamp| stamp.run == self.identity.run)
        {
            self.tally.received(at, self.identity.base + stamp.time);
        }
    }

    fn closed(&mut self, _at: u64, tag: u32, end: End) {
        if self.tally.connection_closed(&end) {
            self.connections[tag as usize] = None;
        }
    }
}

impl Scenario for Idle {
    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }

    fn prepare(&mut self, now: u64, client: &mut Client) -> Result<Prepared> {
        prepare_connections(&mut self.ramp, &mut self.tally, now, client)
    }

    fn stop_preparing(&mut self) {
        self.ramp.stop();
    }

    fn start(&mut self, now: u64, _client: &mut Client) {
        let offset = f64::from(self.identity.index) / f64::from(self.identity.processes);
        self.schedule = self
            .plan
            .probe_rate
            .map(|rate| Schedule::new(now, rate, offset));
    }

    fn turn(&mut self, now: u64, client: &mut Client) -> u64 {
        let Some(schedule) = &mut self.schedule else {
            return u64::MAX;
        };
        for index in schedule.take(now, BURST) {
            let Some(id) = self.connections[(index % self.connections.len() as u64) as usize]
            else {
                continue;
            };
            let intended = schedule.intended(index);
            let stamp = Stamp {
                run: self.identity.run,
                source: self.identity.index,
                channel: 0,
                sequence: index as u32,
                time: intended - self.identity.base,
            };
            let mut payload = [0; STAMP_LEN];
            stamp.write(&mut payload);
            if client.send(id, |out| out.ping(&payload)) {
                self.tally.sent(now, intended);
            }
        }
        schedule.next()
    }

    fn is_finished(&self) -> bool {
        self.tally.open == 0
    }

    fn nothing_in_flight(&self) -> bool {
        self.tally.received >= self.tally.sent || self.tally.open == 0
    }

    fn stop(&mut self) -> Vec<u32> {
        self.schedule = None;
        Vec::new()
    }

    fn expect(&mut self, _sent: &[u32]) {}

    fn is_drained(&mut self) -> bool {
        self.nothing_in_flight()
    }

    fn finish(&mut self) -> Outcome {
        if self.plan.probe_rate.is_some() {
            self.tally.counts.expected = self.tally.sent;
            self.tally.counts.lost = self.tally.sent.saturating_sub(self.tally.received);
        }
        Outcome::of(&mut self.tally)
    }
}
