//! Recovery: subscribers that are cut off again and again, publishers that send again what was not acknowledged, a server that is
//! killed in the middle. In the end every subscriber must have all that was acknowledged, once, in the order of its offsets.
//!
//! *Lives here*: cutting, coming back with the place of the last message, the time that takes; starting and killing the server.
//! Publications until they are acknowledged are in [`publishers`], what was acknowledged and the exact comparison in
//! [`ledger`], the messages in [`wire`]. *Invariant*: what is not acknowledged within the run is a fault, and so is everything a
//! subscriber was told that it does not get.

mod ledger;
mod outage;
mod plan;
mod publishers;
mod wire;

pub use plan::RecoverPlan;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use anyhow::{Result, bail};
use rand::RngExt;

use super::echo::prepare_connections;
use super::outcome::Outcome;
use super::pace::Schedule;
use super::tally::Tally;
use super::template::channel_name;
use super::{Identity, Prepared, Scenario};
use crate::client::{Client, ConnectionId, End, Handler, Message, Outgoing, Ramp};
use crate::correctness::stamp::{Found, Reader};
use crate::measure::clock::MILLISECOND;
use crate::measure::histogram::Recorder;
use crate::processes::served::Served;
use ledger::{Acknowledged, Ledger, Received};
use outage::Outage;
use publishers::{MAX_PENDING, Pending, Publisher, Writer};
use wire::{Heard, Place, write_subscribe};

/// Most publications made between two looks at what came back.
const BURST: u64 = 1_024;
/// How long after its end a connection comes back, at most; and after a connection that was refused.
const COME_BACK: u64 = 100 * MILLISECOND;
/// How long after a refusal a publication is sent again.
const TRY_AGAIN: u64 = 50 * MILLISECOND;
/// How often subscriptions that are not confirmed are looked at.
const LOOK: u64 = 10 * MILLISECOND;
/// Most connections being opened at the same time.
const OPENING: usize = 256;

/// Why a connection ended, and when.
#[derive(Debug, Clone, Copy)]
struct Ended {
    at: u64,
    by_kill: bool,
}

/// A subscriber across all its connections.
#[derive(Debug, Default)]
struct Subscriber {
    /// Where it is: it has, or was told about, everything up to there.
    place: Option<Place>,
    received: Received,
    /// Since when it is not level, and the offset at which it is again, once it is subscribed.
    ended: Option<Ended>,
    level_at: Option<u64>,
}

/// One connection at a time, under one tag.
#[derive(Debug, Clone, Copy, Default)]
struct Line {
    connection: Option<ConnectionId>,
    began_at: u64,
}

/// Numbers of the report.
#[derive(Debug, Default)]
struct Events {
    cuts: u64,
    kills: u64,
    recovered: u64,
    not_recovered: u64,
    gaps: u64,
    resent: u64,
    refused: u64,
}

/// The scenario.
pub struct Recover {
    plan: RecoverPlan,
    identity: Identity,
    tally: Tally,
    ramp: Ramp,
    reader: Reader,
    writer: Writer,
    ledger: Ledger,
    /// By tag: subscribers, then publishers.
    lines: Vec<Line>,
    subscribers: Vec<Subscriber>,
    publishers: Vec<Publisher>,
    schedule: Option<Schedule>,
    is_prepared: bool,
    /// No more time to prepare.
    gave_up: bool,
    sending: bool,
    published: u64,
    /// When a connection is cut next, and whose.
    cuts: BinaryHeap<Reverse<(u64, u32)>>,
    /// When a connection comes back, and whose.
    back: BinaryHeap<Reverse<(u64, u32)>>,
    server: Option<Served>,
    kill_at: u64,
    outage: Outage,
    server_ended: Option<String>,
    events: Events,
    recovery: Recorder,
    recovery_of_kill: Recorder,
    outage_times: Recorder,
    text: Vec<u8>,
}

impl Recover {
    /// # Errors
    /// What [`RecoverPlan::check`] finds.
    pub fn new(
        plan: RecoverPlan,
        identity: Identity,
        ramp: Ramp,
        server: Option<Served>,
    ) -> Result<Self> {
        plan.check()?;
        let names = (0..plan.channels)
            .map(|number| channel_name(&plan.channel_name, number))
            .collect();
        let lines = plan.subscribers + plan.publishers;
        Ok(Self {
            tally: Tally::new(u64::from(lines), None),
            ramp,
            reader: Reader::new(plan.size),
            writer: Writer::new(identity.run, identity.base, names, plan.size),
            ledger: Ledger::new(plan.channels),
            lines: vec![Line::default(); lines as usize],
            subscribers: (0..plan.subscribers)
                .map(|_| Subscriber::default())
                .collect(),
            publishers: (0..plan.publishers).map(|_| Publisher::default()).collect(),
            schedule: None,
            is_prepared: false,
            gave_up: false,
            sending: false,
            published: 0,
            cuts: BinaryHeap::new(),
            back: BinaryHeap::new(),
            server,
            kill_at: u64::MAX,
            outage: Outage::default(),
            server_ended: None,
            events: Events::default(),
            recovery: Recorder::new(),
            recovery_of_kill: Recorder::new(),
            outage_times: Recorder::new(),
            text: Vec::new(),
            plan,
            identity,
        })
    }

    fn channel_of(&self, subscriber: usize) -> u32 {
        subscriber as u32 % self.plan.channels
    }

    /// Makes the publications that are due; one publisher makes all of a channel, so that their order is known.
    fn publish_due(&mut self, now: u64, client: &mut Client) -> u64 {
        let Some(mut schedule) = self.schedule.take() else {
            return u64::MAX;
        };
        for index in schedule.take(now, BURST) {
            let channel = (index % u64::from(self.plan.channels)) as u32;
            let source = channel % self.plan.publishers;
            let publisher = &mut self.publishers[source as usize];
            if publisher.pending.len() >= MAX_PENDING {
                self.tally.withheld += 1;
                continue;
            }
            let intended = schedule.intended(index);
            let pending = Pending {
                channel,
                number: self.ledger.issue(channel),
                intended,
                sent: false,
            };
            let number = self.published;
            self.published += 1;
            publisher.pending.insert(number, pending);
            if publisher.connection.is_some()
                && !publisher.send(source, number, &mut self.writer, client)
            {
                // The connection takes no more: as if the server had.
                publisher.refused(number, now + TRY_AGAIN);
                self.ledger.refuse(channel, pending.number);
            }
            self.tally.sent(now, intended);
        }
        let next = schedule.next();
        self.schedule = Some(schedule);
        next
    }

    /// Cuts connections whose time has come.
    fn cut_due(&mut self, now: u64, client: &mut Client) -> u64 {
        let Some(every) = self.plan.cut_every else {
            return u64::MAX;
        };
        while let Some(&Reverse((at, tag))) = self.cuts.peek() {
            if at > now {
                return at;
            }
            self.cuts.pop();
            let next = now + rand::rng().random_range(0..=2 * every);
            self.cuts.push(Reverse((next, tag)));
            let line = self.lines[tag as usize];
            if let Some(id) = line.connection
                && client.cut(id)
            {
                self.events.cuts += 1;
            }
        }
        u64::MAX
    }

    /// Opens connections of those that come back.
    fn come_back(&mut self, now: u64, client: &mut Client) -> u64 {
        while let Some(&Reverse((at, tag))) = self.back.peek() {
            if at > now {
                return at;
            }
            if client.opening() >= OPENING {
                // One of those ends, and the poll with it.
                return u64::MAX;
            }
            self.back.pop();
            self.lines[tag as usize].began_at = now;
            client.connect(tag);
        }
        u64::MAX
    }

    fn mind_server(&mut self, now: u64) {
        let Some(server) = &mut self.server else {
            return;
        };
        if now >= self.kill_at {
            self.kill_at = u64::MAX;
            self.outage.killed(now);
            self.events.kills += 1;
            if let Err(error) = server.kill_and_start() {
                self.server_ended = Some(format!("{error:#}"));
            }
        }
        if let Some(ended) = server.ended() {
            self.server_ended = Some(ended);
        }
    }

    fn turn_of_connections(&mut self, now: u64, client: &mut Client) -> u64 {
        let mut next = self.come_back(now, client);
        for (source, publisher) in self.publishers.iter_mut().enumerate() {
            self.events.resent +=
                publisher.send_refused(now, source as u32, &mut self.writer, client);
            next = next.min(publisher.next());
        }
        next
    }

    fn heard_by_subscriber(&mut self, at: u64, subscriber: usize, text: &str) {
        let Some(heard) = Heard::read(text) else {
            return self.unexpected(text);
        };
        match &*heard.kind {
            "broadcast" => match (heard.place(), self.reader.find(text.as_bytes())) {
                (Some(place), Some(found)) if found.stamp.run == self.identity.run => {
                    self.delivered(at, subscriber, place, &found);
                }
                _ => self.unexpected(text),
            },
            "subscribed" => self.subscribed(subscriber, &heard, text),
            "gap" => self.gap(subscriber, &heard, text),
            "hello" => {}
            _ => self.unexpected(text),
        }
        self.look_whether_level(at, subscriber);
    }

    fn subscribed(&mut self, subscriber: usize, heard: &Heard<'_>, text: &str) {
        let Some(place) = heard.place() else {
            // A channel without history.
            return self.unexpected(text);
        };
        let channel = self.channel_of(subscriber);
        let state = &mut self.subscribers[subscriber];
        match (state.place, heard.recovered) {
            (None, None) => {
                state.received.from = Some(place.offset);
                state.place = Some(place);
            }
            (Some(since), Some(true)) if since == place => self.events.recovered += 1,
            (Some(since), _) => {
                // It goes on where the server says, if there is a way on.
                self.events.not_recovered += 1;
                if since.epoch != place.epoch {
                    state.place = Some(place);
                }
                self.tally
                    .error_kind("subscribed, but not recovered".to_owned());
                self.tally.sample(text.as_bytes());
            }
            (None, Some(_)) => self.unexpected(text),
        }
        let head = self.ledger.head(channel);
        let state = &mut self.subscribers[subscriber];
        state.level_at = state.ended.map(|_| head);
    }

    fn gap(&mut self, subscriber: usize, heard: &Heard<'_>, text: &str) {
        self.events.gaps += 1;
        let reason = heard.reason.as_deref().unwrap_or("no reason");
        self.tally
            .error_kind(format!("a gap was announced ({reason})"));
        self.tally.sample(text.as_bytes());
        let (Some(from), Some(to), Some(epoch)) = (heard.from, heard.to, heard.epoch()) else {
            return;
        };
        let state = &mut self.subscribers[subscriber];
        state.received.announced.push((from, to));
        state.place = Some(Place { epoch, offset: to });
    }

    fn delivered(&mut self, at: u64, subscriber: usize, place: Place, found: &Found) {
        let stamp = found.stamp;
        let belongs = stamp.channel == self.channel_of(subscriber)
            && self.ledger.was_issued(stamp.channel, stamp.sequence);
        if !belongs || !found.intact {
            self.tally.counts.corrupted += 1;
            return;
        }
        let state = &mut self.subscribers[subscriber];
        state
            .received
            .arrived
            .push((stamp.sequence, place.offset as u32));
        if state.place.is_some_and(|was| was.epoch != place.epoch) {
            self.tally
                .error_kind("a message of another epoch came".to_owned());
        }
        // What comes again or too late must not move it back.
        if state
            .place
            .is_none_or(|was| was.epoch != place.epoch || was.offset < place.offset)
        {
            state.place = Some(place);
        }
        self.tally.received(at, self.identity.base + stamp.time);
    }

    /// Has who was cut off everything again that was acknowledged when it came back?
    fn look_whether_level(&mut self, at: u64, subscriber: usize) {
        let state = &mut self.subscribers[subscriber];
        let (Some(level_at), Some(place), Some(ended)) = (state.level_at, state.place, state.ended)
        else {
            return;
        };
        if place.offset < level_at {
            return;
        }
        (state.level_at, state.ended) = (None, None);
        let took = at.saturating_sub(ended.at);
        match ended.by_kill {
            true => self.recovery_of_kill.record(took),
            false => self.recovery.record(took),
        }
    }

    fn heard_by_publisher(&mut self, at: u64, source: u32, text: &str) {
        let Some(heard) = Heard::read(text) else {
            return self.unexpected(text);
        };
        let publisher = &mut self.publishers[source as usize];
        let about = heard
            .id
            .and_then(|id| Some((id, *publisher.pending.get(&id)?)));
        match (&*heard.kind, about) {
            ("published", Some((id, pending))) => {
                let Some(place) = heard.place() else {
                    return self.unexpected(text);
                };
                publisher.pending.remove(&id);
                let (channel, number) = (pending.channel, pending.number);
                match self.ledger.acknowledge(channel, number, place) {
                    Acknowledged::Fine => {}
                    Acknowledged::Twice => self.tally.counts.duplicated += 1,
                    Acknowledged::OtherEpoch => self
                        .tally
                        .error_kind("acknowledged in another epoch".to_owned()),
                }
            }
            // A second answer to what was sent twice.
            ("published", None) => {}
            ("error", Some((id, pending))) => {
                self.events.refused += 1;
                self.tally.sample(text.as_bytes());
                publisher.refused(id, at + TRY_AGAIN);
                self.ledger.refuse(pending.channel, pending.number);
            }
            ("hello", _) => {}
            _ => self.unexpected(text),
        }
    }

    fn unexpected(&mut self, text: &str) {
        self.tally
            .error_kind("the server said something unexpected".to_owned());
        self.tally.sample(text.as_bytes());
    }

    fn is_everybody_level(&self) -> bool {
        let level = |(at, subscriber): (usize, &Subscriber)| {
            let place = subscriber.place.map_or(0, |place| place.offset);
            subscriber.received.from.is_none() || place >= self.ledger.head(self.channel_of(at))
        };
        self.publishers
            .iter()
            .all(|publisher| publisher.pending.is_empty())
            && self.subscribers.iter().enumerate().all(level)
    }
}

impl Handler for Recover {
    fn opened(&mut self, at: u64, id: ConnectionId, tag: u32, out: &mut Outgoing<'_>) {
        self.tally.connection_opened(at);
        let line = &mut self.lines[tag as usize];
        line.connection = Some(id);
        if let Some(took) = self.outage.opened(line.began_at, at) {
            self.outage_times.record(took);
        }
        if tag < self.plan.subscribers {
            let subscriber = tag as usize;
            let since = self.subscribers[subscriber].place;
            let channel = self.writer.channel(self.channel_of(subscriber));
            write_subscribe(&mut self.text, channel, since);
            out.text(&self.text);
        } else {
            let source = tag - self.plan.subscribers;
            let publisher = &mut self.publishers[source as usize];
            self.events.resent += publisher.opened(source, id, &mut self.writer, out);
        }
    }

    fn message(&mut self, at: u64, tag: u32, message: Message<'_>, _out: &mut Outgoing<'_>) {
        match message {
            Message::Pong(_) => {}
            Message::Binary(bytes) => self.unexpected(&String::from_utf8_lossy(bytes)),
            Message::Text(text) if tag < self.plan.subscribers => {
                self.heard_by_subscriber(at, tag as usize, text);
            }
            Message::Text(text) => self.heard_by_publisher(at, tag - self.plan.subscribers, text),
        }
    }

    fn closed(&mut self, at: u64, tag: u32, end: End) {
        let line = std::mem::take(&mut self.lines[tag as usize]);
        let not_opened = matches!(end, End::NotOpened(_));
        let by_kill = self.outage.explains(line.began_at, not_opened);
        if by_kill && !not_opened {
            // It ended as it was meant to.
            self.tally.connection_closed(&End::Cut);
        } else if !by_kill {
            self.tally.connection_closed(&end);
        }
        if self.tally.closing {
            return;
        }
        if let Some(subscriber) = self.subscribers.get_mut(tag as usize) {
            // Cut off again before it was level: it counts from the first time.
            let ended = subscriber.ended.get_or_insert(Ended { at, by_kill });
            ended.by_kill |= by_kill;
            subscriber.level_at = None;
        } else {
            self.publishers[(tag - self.plan.subscribers) as usize].connection = None;
        }
        if !self.is_prepared {
            return;
        }
        let wait = rand::rng().random_range(0..=COME_BACK);
        self.back.push(Reverse((at + wait, tag)));
    }
}

impl Scenario for Recover {
    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }

    fn prepare(&mut self, now: u64, client: &mut Client) -> Result<Prepared> {
        let prepared = prepare_connections(&mut self.ramp, &mut self.tally, now, client)?;
        let subscribed = |subscriber: &Subscriber| subscriber.received.from.is_some();
        match prepared {
            Prepared::Ready if self.gave_up || self.subscribers.iter().all(subscribed) => {
                self.is_prepared = true;
                Ok(Prepared::Ready)
            }
            Prepared::Ready => Ok(Prepared::Later(now + LOOK)),
            later => Ok(later),
        }
    }

    fn stop_preparing(&mut self) {
        self.ramp.stop();
        self.gave_up = true;
    }

    fn start(&mut self, now: u64, _client: &mut Client) {
        self.sending = true;
        self.schedule = Some(Schedule::new(now, self.plan.rate, 0.0));
        if let Some(every) = self.plan.cut_every {
            let mut random = rand::rng();
            self.cuts = (0..self.lines.len() as u32)
                .map(|tag| Reverse((now + random.random_range(0..=2 * every), tag)))
                .collect();
        }
        if self.server.is_some() {
            self.kill_at = now + self.plan.kill_after;
        }
    }

    fn turn(&mut self, now: u64, client: &mut Client) -> u64 {
        if !self.sending {
            return u64::MAX;
        }
        self.mind_server(now);
        let published = self.publish_due(now, client);
        let cut = self.cut_due(now, client);
        let back = self.turn_of_connections(now, client);
        published.min(cut).min(back).min(self.kill_at)
    }

    fn turn_of_draining(&mut self, now: u64, client: &mut Client) -> u64 {
        self.mind_server(now);
        self.turn_of_connections(now, client)
    }

    fn check(&self) -> Result<()> {
        match &self.server_ended {
            Some(ended) => bail!("{ended}"),
            None => Ok(()),
        }
    }

    fn is_finished(&self) -> bool {
        false
    }

    fn nothing_in_flight(&self) -> bool {
        self.is_everybody_level()
    }

    fn stop(&mut self) -> Vec<u32> {
        self.sending = false;
        self.kill_at = u64::MAX;
        Vec::new()
    }

    fn expect(&mut self, _sent: &[u32]) {}

    fn is_drained(&mut self) -> bool {
        self.is_everybody_level()
    }

    fn finish(&mut self) -> Outcome {
        let mut announced = 0;
        for (at, subscriber) in self.subscribers.iter().enumerate() {
            let channel = at as u32 % self.plan.channels;
            let counts = &mut self.tally.counts;
            announced += self.ledger.judge(channel, &subscriber.received, counts);
            if subscriber.received.from.is_none() {
                self.tally.error_kind("never subscribed".to_owned());
            }
        }
        self.tally.counts.out_of_order += self.ledger.out_of_order();
        for publisher in &self.publishers {
            for _ in &publisher.pending {
                self.tally.error_kind("never acknowledged".to_owned());
            }
        }
        let mut outcome = Outcome::of(&mut self.tally);
        outcome.further = BTreeMap::from([
            ("recovery".to_owned(), self.recovery.distribution()),
            (
                "after_kill".to_owned(),
                self.recovery_of_kill.distribution(),
            ),
            ("outage".to_owned(), self.outage_times.distribution()),
        ]);
        let events = &self.events;
        outcome.events = [
            ("cuts", events.cuts),
            ("kills", events.kills),
            ("recovered", events.recovered),
            ("not recovered", events.not_recovered),
            ("gaps", events.gaps),
            ("announced missing", announced),
            ("publications sent again", events.resent),
            ("publications refused", events.refused),
        ]
        .map(|(name, count)| (name.to_owned(), count))
        .into();
        outcome
    }
}
