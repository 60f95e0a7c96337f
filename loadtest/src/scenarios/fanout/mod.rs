//! Fan-out: publishers send into channels; every subscriber of a channel must receive everything, once, in one order.
//!
//! *Lives here*: subscribing, publishing at a rate or in flight, telling deliveries from other messages. The bookkeeping of
//! deliveries is in [`audience`]. A publish is in flight until every subscriber *of this process* has the message.

mod audience;
mod plan;

pub use plan::FanoutPlan;

use anyhow::{Result, bail};
use memchr::memmem;

use super::echo::prepare_connections;
use super::outcome::Outcome;
use super::pace::{Load, Schedule};
use super::tally::Tally;
use super::template::{StampedMessage, channel_name, with_channel};
use super::{Identity, Prepared, Scenario};
use crate::client::{Client, ConnectionId, End, Handler, Message, Outgoing, Ramp};
use crate::correctness::stamp::{Reader, Stamp};
use crate::correctness::streams::Arrival;
use crate::measure::clock::{MILLISECOND, SECOND};
use crate::measure::histogram::Recorder;
use audience::Audience;

/// Most messages published between two looks at what came back.
const BURST: u64 = 1_024;
/// How long to wait after subscribing when the server confirms nothing.
const SETTLE: u64 = 500 * MILLISECOND;
/// In flight without any delivery for so long: the messages are not waited for any longer.
const STALL: u64 = SECOND;

/// The scenario.
pub struct Fanout {
    plan: FanoutPlan,
    identity: Identity,
    tally: Tally,
    ramp: Ramp,
    audience: Audience,
    reader: Reader,
    /// Per channel.
    messages: Vec<StampedMessage>,
    subscribe_texts: Vec<String>,
    /// Publishers of this process: number in the run, and connection.
    publishers: Vec<(u32, Option<ConnectionId>)>,
    /// Places in `publishers` that are open.
    alive: Vec<usize>,
    /// Subscribers that were asked for and neither confirmed nor gone.
    unconfirmed: Vec<bool>,
    waiting: u64,
    /// Subscribers that read nothing any more.
    stopped: u64,
    last_opened: u64,
    /// Next number, per publisher of the run and channel.
    sent: Vec<u32>,
    /// What all processes sent, once they are through; and how much of it can still arrive.
    total: Option<Vec<u32>>,
    outstanding: u64,
    schedule: Option<Schedule>,
    sending: bool,
    issued: u64,
    written_off: u64,
    last_progress: u64,
    to_all: Recorder,
}

impl Fanout {
    /// # Errors
    /// What [`FanoutPlan::check`] finds.
    pub fn new(plan: FanoutPlan, identity: Identity, ramp: Ramp) -> Result<Self> {
        plan.check(identity)?;
        let numbers =
            (0..plan.publishers).filter(|number| number % identity.processes == identity.index);
        let publishers: Vec<(u32, Option<ConnectionId>)> =
            numbers.map(|number| (number, None)).collect();
        let own = (0..plan.publishers)
            .map(|number| number % identity.processes == identity.index)
            .collect();
        let channel_of = (0..plan.subscribers)
            .map(|place| (place + identity.index) % plan.channels)
            .collect();
        let names: Vec<String> = (0..plan.channels)
            .map(|number| channel_name(&plan.channel_name, number))
            .collect();
        let wanted = u64::from(plan.subscribers) + publishers.len() as u64;
        Ok(Self {
            tally: Tally::new(wanted, plan.count),
            ramp,
            audience: Audience::new(channel_of, own, plan.channels),
            reader: Reader::new(plan.size),
            messages: names
                .iter()
                .map(|name| StampedMessage::from_template(&plan.publish_template, name, plan.size))
                .collect(),
            subscribe_texts: names
                .iter()
                .map(|name| with_channel(&plan.subscribe_template, name))
                .collect(),
            alive: Vec::new(),
            unconfirmed: vec![false; plan.subscribers as usize],
            waiting: 0,
            stopped: 0,
            last_opened: 0,
            sent: vec![0; plan.publishers as usize * plan.channels as usize],
            total: None,
            outstanding: 0,
            schedule: None,
            sending: false,
            issued: 0,
            written_off: 0,
            last_progress: 0,
            to_all: Recorder::new(),
            publishers,
            plan,
            identity,
        })
    }

    fn in_flight(&self) -> u64 {
        self.issued
            .saturating_sub(self.audience.finished() + self.written_off)
    }

    /// Publishes the messages `due`, those of one publisher in one write. Returns how many were taken.
    fn publish(
        &mut self,
        now: u64,
        due: std::ops::Range<u64>,
        times: Option<&Schedule>,
        client: &mut Client,
    ) -> u64 {
        let publishers = self.alive.len() as u64;
        let mut taken = 0;
        for first in due.clone().take(self.alive.len()) {
            let place = self.alive[(first % publishers) as usize];
            let (number, connection) = self.publishers[place];
            let indices = (first..due.end).step_by(self.alive.len());
            let Some(id) = connection else { continue };
            let mut put = 0;
            client.send(id, |out| {
                for index in indices {
                    if !self.tally.take_budget(now) {
                        break;
                    }
                    let channel = (index / publishers) % u64::from(self.plan.channels);
                    let intended = times.map_or(now, |schedule| schedule.intended(index));
                    self.put(now, intended, number, channel as u32, out);
                    put += 1;
                }
            });
            taken += put;
        }
        self.issued += taken;
        taken
    }

    fn put(
        &mut self,
        now: u64,
        intended: u64,
        publisher: u32,
        channel: u32,
        out: &mut Outgoing<'_>,
    ) {
        let stream = publisher as usize * self.plan.channels as usize + channel as usize;
        let stamp = Stamp {
            run: self.identity.run,
            source: publisher,
            channel,
            sequence: self.sent[stream],
            time: intended - self.identity.base,
        };
        self.sent[stream] += 1;
        out.text(self.messages[channel as usize].stamped(&stamp));
        self.tally.sent(now, intended);
    }

    /// A stamp of this run arrived at a subscriber.
    fn delivered(&mut self, at: u64, subscriber: usize, stamp: &Stamp, intact: bool) {
        let stream = stamp.source as usize * self.plan.channels as usize + stamp.channel as usize;
        let known = stamp.source < self.plan.publishers
            && stamp.channel == self.audience.channel_of(subscriber);
        let own = stamp.source % self.identity.processes == self.identity.index;
        if !known || !intact || (own && stamp.sequence >= self.sent[stream]) {
            self.tally.counts.corrupted += 1;
            return;
        }
        if !self.audience.is_listening(subscriber) {
            return;
        }
        let delivered = self
            .audience
            .arrived(subscriber, stamp.source, stamp.sequence);
        match delivered.arrival {
            Arrival::Duplicate => {
                self.tally.counts.duplicated += 1;
                return;
            }
            Arrival::Late => self.tally.counts.out_of_order += 1,
            Arrival::Next | Arrival::AfterGap(_) => {}
        }
        let intended = self.identity.base + stamp.time;
        self.tally.received(at, intended);
        self.last_progress = at;
        self.outstanding = self.outstanding.saturating_sub(1);
        if delivered.to_all && intended >= self.tally.from {
            self.to_all.record(at.saturating_sub(intended));
        }
    }

    /// A message without any stamp: a confirmation, an error, or something that does not concern us.
    fn other_message(&mut self, subscriber: Option<usize>, bytes: &[u8], out: &mut Outgoing<'_>) {
        let confirmed = &self.plan.subscribed_match;
        let asked = subscriber.filter(|subscriber| self.unconfirmed[*subscriber]);
        if let Some(subscriber) = asked
            && !confirmed.is_empty()
            && memmem::find(bytes, confirmed.as_bytes()).is_some()
        {
            self.unconfirmed[subscriber] = false;
            self.waiting -= 1;
            if subscriber < self.plan.stopped as usize {
                self.stopped += 1;
                out.stop_reading();
            } else {
                self.audience.listen(subscriber);
            }
            return;
        }
        let error = &self.plan.error_match;
        if !error.is_empty() && memmem::find(bytes, error.as_bytes()).is_some() {
            self.tally
                .error_kind("the server answered with an error".to_owned());
            self.tally.sample(bytes);
        } else if asked.is_some() {
            self.tally.sample(bytes);
        }
    }

    /// All connections are open: are the subscriptions confirmed?
    fn subscriptions(&mut self, now: u64) -> Result<Prepared> {
        let confirms = !self.plan.subscribed_match.is_empty();
        let until = self.last_opened
            + if confirms {
                self.plan.subscribe_timeout
            } else {
                SETTLE
            };
        let all = confirms && self.waiting == 0;
        if !all && now < until {
            return Ok(Prepared::Later(until));
        }
        if self.waiting > 0 {
            let kind = "subscription not confirmed in time";
            for _ in 0..std::mem::take(&mut self.waiting) {
                self.tally.error_kind(kind.to_owned());
            }
            self.unconfirmed.fill(false);
        }
        if self.audience.len() + self.stopped == 0 && self.plan.subscribers > 0 {
            let said = self
                .tally
                .samples
                .first()
                .map_or("nothing".to_owned(), |sample| format!("{sample:?}"));
            bail!(
                "no subscription was confirmed: no answer held {:?} (--subscribed-match); the server said {said}",
                self.plan.subscribed_match
            );
        }
        Ok(Prepared::Ready)
    }
}

impl Handler for Fanout {
    fn opened(&mut self, at: u64, id: ConnectionId, tag: u32, out: &mut Outgoing<'_>) {
        self.tally.connection_opened(at);
        self.last_opened = at;
        if tag < self.plan.subscribers {
            let subscriber = tag as usize;
            out.text(
                self.subscribe_texts[self.audience.channel_of(subscriber) as usize].as_bytes(),
            );
            if self.plan.subscribed_match.is_empty() {
                self.audience.listen(subscriber);
            } else {
                self.unconfirmed[subscriber] = true;
                self.waiting += 1;
            }
        } else {
            let place = (tag - self.plan.subscribers) as usize;
            self.publishers[place].1 = Some(id);
            self.alive.push(place);
        }
    }

    fn message(&mut self, at: u64, tag: u32, message: Message<'_>, out: &mut Outgoing<'_>) {
        if let Message::Pong(_) = message {
            return;
        }
        let subscriber = (tag < self.plan.subscribers).then_some(tag as usize);
        let mut rest = message.bytes();
        let mut found_any = false;
        // A server may put several messages into one.
        while let Some(found) = self.reader.find(rest) {
            found_any = true;
            if let Some(subscriber) = subscriber
                && found.stamp.run == self.identity.run
            {
                self.delivered(at, subscriber, &found.stamp, found.intact);
            }
            rest = &rest[found.end..];
        }
        if !found_any {
            self.other_message(subscriber, message.bytes(), out);
        }
    }

    fn closed(&mut self, _at: u64, tag: u32, end: End) {
        let was_open = self.tally.connection_closed(&end);
        if !was_open || self.tally.closing {
            return;
        }
        if tag < self.plan.subscribers {
            let subscriber = tag as usize;
            self.waiting -= u64::from(std::mem::take(&mut self.unconfirmed[subscriber]));
            self.audience.left(subscriber);
            if let Some(total) = &self.total {
                self.outstanding = self.audience.outstanding(total);
            }
        } else {
            let place = (tag - self.plan.subscribers) as usize;
            self.publishers[place].1 = None;
            self.alive.retain(|alive| *alive != place);
        }
    }
}

impl Scenario for Fanout {
    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }

    fn prepare(&mut self, now: u64, client: &mut Client) -> Result<Prepared> {
        match prepare_connections(&mut self.ramp, &mut self.tally, now, client)? {
            Prepared::Ready => self.subscriptions(now),
            later => Ok(later),
        }
    }

    fn stop_preparing(&mut self) {
        self.ramp.stop();
    }

    fn start(&mut self, now: u64, _client: &mut Client) {
        self.sending = true;
        self.last_progress = now;
        if let Load::Rate(rate) = self.plan.load {
            let offset = f64::from(self.identity.index) / f64::from(self.identity.processes);
            self.schedule = Some(Schedule::new(now, rate, offset));
        }
    }

    fn turn(&mut self, now: u64, client: &mut Client) -> u64 {
        if self.alive.is_empty() || !self.sending {
            return u64::MAX;
        }
        match self.plan.load {
            Load::Rate(_) => {
                let Some(mut schedule) = self.schedule.take() else {
                    return u64::MAX;
                };
                let due = schedule.take(now, BURST);
                let wanted = due.end - due.start;
                let taken = self.publish(now, due, Some(&schedule), client);
                if !self.tally.is_spent() {
                    self.tally.withheld += wanted - taken;
                }
                let next = schedule.next();
                self.schedule = Some(schedule);
                next
            }
            Load::InFlight(most) => {
                if self.in_flight() > 0 && now > self.last_progress + STALL {
                    self.written_off += self.in_flight();
                    self.last_progress = now;
                    self.tally.error_kind(
                        "nothing came back for a second; not waited for any longer".to_owned(),
                    );
                }
                let free = u64::from(most).saturating_sub(self.in_flight()).min(BURST);
                self.publish(now, self.issued..self.issued + free, None, client);
                self.last_progress + STALL + 1
            }
        }
    }

    fn is_finished(&self) -> bool {
        self.tally.is_spent() || self.alive.is_empty()
    }

    fn nothing_in_flight(&self) -> bool {
        self.in_flight() == 0
    }

    fn stop(&mut self) -> Vec<u32> {
        self.sending = false;
        self.sent.clone()
    }

    fn expect(&mut self, sent: &[u32]) {
        self.outstanding = self.audience.outstanding(sent);
        self.total = Some(sent.to_vec());
    }

    fn is_drained(&mut self) -> bool {
        self.total.is_some() && self.outstanding == 0
    }

    fn finish(&mut self) -> Outcome {
        let sent = self.total.as_ref().unwrap_or(&self.sent);
        let orders = self.audience.settle(sent, &mut self.tally.counts);
        let mut outcome = Outcome::of(&mut self.tally);
        outcome.orders = Some(orders);
        if self.stopped > 0 {
            let stopped = ("stopped reading".to_owned(), self.stopped);
            outcome.events = [stopped].into();
        }
        outcome
            .further
            .insert("to_last_subscriber".to_owned(), self.to_all.distribution());
        outcome
    }
}
