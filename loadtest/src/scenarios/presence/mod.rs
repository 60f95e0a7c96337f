//! Presence: members come into a channel and leave it; whoever is told must know in the end exactly who is there, and is never told more
//! bytes in a second than the server's budget allows.
//!
//! *Lives here*: joining and leaving by plan ([`plan`]), comparing what each subscriber knows ([`watcher`]) with the truth, which is what the
//! members did. *Does not live here*: anything about deliveries of messages (`fanout`).
//!
//! A subscriber that does not know the truth in the end counts as lost, one that a version was kept from as out of order.

mod plan;
mod watcher;

pub use plan::PresencePlan;

use anyhow::{Result, bail};

use super::echo::prepare_connections;
use super::outcome::{Outcome, PresenceFigures};
use super::pace::Schedule;
use super::tally::Tally;
use super::{Identity, Prepared, Scenario};
use crate::client::{Client, ConnectionId, End, Handler, Message, Outgoing, Ramp};
use crate::measure::clock::{MILLISECOND, SECOND};
use plan::{Deed, SETTLE_SECONDS};
use watcher::{Told, Watcher, set};

/// Most steps between two looks at what came.
const BURST: u64 = 1_024;

/// The scenario. The first tags are the subscribers, the others the members.
pub struct Presence {
    plan: PresencePlan,
    identity: Identity,
    tally: Tally,
    ramp: Ramp,
    watchers: Vec<(Watcher, bool)>,
    members: Vec<Member>,
    join: Vec<u8>,
    leave: Vec<u8>,
    watch: Vec<u8>,
    schedule: Option<Schedule>,
    issued: u64,
    last_opened: u64,
    patient: bool,
    over: bool,
    /// From when until when members only go and come again; and how often a subscriber was told something then.
    flapping: (u64, u64),
    told_while_flapping: u64,
    /// Who is there in the end, a bit each, and how many.
    truth: Option<(Vec<u64>, u64)>,
}

#[derive(Debug, Default)]
struct Member {
    connection: Option<ConnectionId>,
    inside: bool,
    /// When it should have come last.
    since: u64,
}

fn request(kind: &str, channel: &str) -> Vec<u8> {
    let channel = serde_json::Value::from(channel);
    format!(r#"{{"type":"{kind}","channel":{channel}}}"#).into_bytes()
}

impl Presence {
    /// # Errors
    /// What [`PresencePlan::check`] finds.
    pub fn new(plan: PresencePlan, identity: Identity, ramp: Ramp) -> Result<Self> {
        plan.check()?;
        let wanted = u64::from(plan.watchers) + u64::from(plan.own_members);
        Ok(Self {
            tally: Tally::new(wanted, None),
            ramp,
            watchers: (0..plan.watchers)
                .map(|_| (Watcher::default(), false))
                .collect(),
            members: (0..plan.own_members).map(|_| Member::default()).collect(),
            join: request("subscribe", &plan.channel),
            leave: request("unsubscribe", &plan.channel),
            watch: request("subscribe", &format!("$presence:{}", plan.channel)),
            schedule: None,
            issued: 0,
            last_opened: 0,
            patient: true,
            over: false,
            flapping: (u64::MAX, u64::MAX),
            told_while_flapping: 0,
            truth: None,
            plan,
            identity,
        })
    }

    /// The number in the run of a member of this process.
    fn number(&self, member: usize) -> u32 {
        member as u32 * self.identity.processes + self.identity.index
    }

    fn act(&mut self, now: u64, intended: u64, deed: Deed, client: &mut Client) {
        let (who, leaves, joins) = match deed {
            Deed::Join(who) => (who, false, true),
            Deed::Leave(who) => (who, true, false),
            Deed::Flap(who) => (who, true, true),
        };
        let member = &mut self.members[who as usize];
        let Some(id) = member.connection else { return };
        if joins && !member.inside {
            member.since = intended;
        }
        let leaves = leaves && member.inside;
        let joins = joins && (!member.inside || leaves);
        if !leaves && !joins {
            return;
        }
        let (join, leave) = (&self.join, &self.leave);
        let sent = client.send(id, |out| {
            if leaves {
                out.text(leave);
            }
            if joins {
                out.text(join);
            }
        });
        if sent {
            member.inside = joins;
            self.tally.sent(now, intended);
        } else {
            self.tally.withheld += 1;
        }
    }

    fn told(&mut self, at: u64, watcher: usize, text: &str) {
        match self.watchers[watcher].0.take(at, text, self.plan.members) {
            Told::Presence(come) => {
                self.tally.received += 1;
                self.told_while_flapping +=
                    u64::from(at >= self.flapping.0 && at < self.flapping.1);
                self.tally.measured_received +=
                    u64::from(at >= self.tally.from && at < self.tally.to);
                for number in come {
                    if number % self.identity.processes != self.identity.index {
                        continue;
                    }
                    let since = self.members[(number / self.identity.processes) as usize].since;
                    if since >= self.tally.from && since <= at {
                        self.tally.latency.record(at - since);
                    }
                }
            }
            Told::Gap => self.tally.counts.out_of_order += 1,
            Told::Nonsense => {
                self.tally.counts.corrupted += 1;
                self.tally.sample(text.as_bytes());
            }
            Told::Other => self.answered(text),
        }
    }

    fn answered(&mut self, text: &str) {
        if text.contains(r#""type":"error""#) {
            self.tally
                .error_kind("the server answered with an error".to_owned());
            self.tally.sample(text.as_bytes());
        }
    }

    fn open_watchers(&self) -> impl Iterator<Item = &Watcher> {
        let watchers = self.watchers.iter();
        watchers
            .filter(|(_, open)| *open)
            .map(|(watcher, _)| watcher)
    }

    fn is_exact(&self, watcher: &Watcher) -> bool {
        let truth = self.truth.as_ref();
        truth.is_some_and(|(list, count)| watcher.knows(list, *count))
    }
}

impl Handler for Presence {
    fn opened(&mut self, at: u64, id: ConnectionId, tag: u32, out: &mut Outgoing<'_>) {
        self.tally.connection_opened(at);
        self.last_opened = at;
        match self.watchers.get_mut(tag as usize) {
            Some((_, open)) => {
                *open = true;
                out.text(&self.watch);
            }
            None => {
                let member = tag as usize - self.watchers.len();
                self.members[member].connection = Some(id);
            }
        }
    }

    fn message(&mut self, at: u64, tag: u32, message: Message<'_>, _out: &mut Outgoing<'_>) {
        let Message::Text(text) = message else { return };
        if (tag as usize) < self.watchers.len() {
            self.told(at, tag as usize, text);
        } else {
            self.answered(text);
        }
    }

    fn closed(&mut self, _at: u64, tag: u32, end: End) {
        if !self.tally.connection_closed(&end) {
            return;
        }
        match self.watchers.get_mut(tag as usize) {
            // At the end of the run all are closed, and still count.
            Some((_, open)) if !self.tally.closing => *open = false,
            Some(_) => {}
            None => {
                let member = tag as usize - self.watchers.len();
                self.members[member].connection = None;
                if !self.tally.closing {
                    self.members[member].inside = false;
                }
            }
        }
    }
}

impl Scenario for Presence {
    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }

    fn prepare(&mut self, now: u64, client: &mut Client) -> Result<Prepared> {
        let prepared = prepare_connections(&mut self.ramp, &mut self.tally, now, client)?;
        if prepared != Prepared::Ready || self.open_watchers().all(Watcher::has_state) {
            return Ok(prepared);
        }
        if now > self.last_opened + self.plan.subscribe_timeout || !self.patient {
            bail!(
                "some subscribers were not told who is in {:?}: is it one of presence.channels?",
                self.plan.channel
            );
        }
        Ok(Prepared::Later(now + 10 * MILLISECOND))
    }

    fn stop_preparing(&mut self) {
        self.ramp.stop();
        self.patient = false;
    }

    fn start(&mut self, now: u64, _client: &mut Client) {
        let offset = f64::from(self.identity.index) / f64::from(self.identity.processes);
        let schedule = Schedule::new(now, self.plan.rate, offset);
        self.flapping.0 = schedule.intended(self.plan.coming()) + SETTLE_SECONDS * SECOND;
        self.schedule = Some(schedule);
    }

    fn turn(&mut self, now: u64, client: &mut Client) -> u64 {
        let Some(mut schedule) = self.schedule.take() else {
            return u64::MAX;
        };
        for step in schedule.take(now, BURST) {
            if step >= self.plan.steps {
                break;
            }
            if step == self.plan.last_part() {
                self.flapping.1 = now;
                // Who stays must be there, whatever it did last.
                for member in 0..u64::from(self.plan.own_stay) {
                    self.act(now, now, Deed::Join(member), client);
                }
            }
            let intended = schedule.intended(step);
            self.act(now, intended, self.plan.deed(step), client);
            self.issued = step + 1;
        }
        let next = schedule.next();
        self.schedule = Some(schedule);
        next
    }

    fn is_finished(&self) -> bool {
        self.issued >= self.plan.steps || self.tally.open == 0
    }

    fn nothing_in_flight(&self) -> bool {
        true
    }

    fn stop(&mut self) -> Vec<u32> {
        self.schedule = None;
        self.over = true;
        let mut there = vec![0; self.plan.members as usize];
        for (member, state) in self.members.iter().enumerate() {
            there[self.number(member) as usize] = u32::from(state.inside);
        }
        there
    }

    fn expect(&mut self, sent: &[u32]) {
        let mut list = vec![0; sent.len().div_ceil(64)];
        let mut count = 0;
        for (number, _) in sent.iter().enumerate().filter(|(_, there)| **there > 0) {
            set(&mut list, number as u32, true);
            count += 1;
        }
        self.truth = Some((list, count));
    }

    fn is_drained(&mut self) -> bool {
        self.open_watchers().all(|watcher| self.is_exact(watcher))
    }

    fn finish(&mut self) -> Outcome {
        let opened = self.watchers.len() as u64;
        let exact = self.open_watchers().filter(|it| self.is_exact(it)).count() as u64;
        let named = self.open_watchers().filter(|it| it.has_names()).count() as u64;
        self.tally.counts.expected = opened;
        self.tally.counts.lost = opened - exact;
        let mut figures = PresenceFigures {
            subscribers: opened,
            exact,
            exact_by_name: named,
            there: self.truth.as_ref().map_or(0, |(_, count)| *count),
            flapping_seconds: match self.flapping {
                (_, u64::MAX) => 0.0,
                (from, to) => to.saturating_sub(from) as f64 / SECOND as f64,
            },
            told_while_flapping: self.told_while_flapping,
            ..PresenceFigures::default()
        };
        for (watcher, _) in &self.watchers {
            let (most, bytes, messages) = watcher.bytes();
            figures.most_bytes_in_a_second = figures.most_bytes_in_a_second.max(most);
            figures.bytes += bytes;
            figures.messages += messages;
            if self.plan.budget.is_some_and(|budget| most > budget) {
                figures.over_budget += 1;
            }
        }
        for _ in 0..figures.over_budget {
            self.tally
                .error_kind("more bytes in a second than --budget".to_owned());
        }
        if self.plan.silent_flaps {
            for _ in 0..figures.told_while_flapping {
                self.tally
                    .error_kind("told of members that were away for a moment only".to_owned());
            }
        }
        Outcome {
            presence: Some(figures),
            ..Outcome::of(&mut self.tally)
        }
    }
}
