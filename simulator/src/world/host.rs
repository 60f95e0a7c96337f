//! What an engine does around one shard: hand in what happened, carry out what is asked, sleep when there is nothing.

use std::collections::VecDeque;

use bytes::Bytes;
use shardwire_shards::Shard;
use shardwire_shards::bounds::STALL_MS;
use shardwire_shards::vocabulary::{Command, Input, Now, ShardId, StoreOutcome, StoreTicket};

use super::World;
use super::application::Call;

/// Something the fake driver has to report.
#[derive(Debug)]
pub enum Completion {
    /// A socket was accepted and has asked for an upgrade.
    Accepted(usize),
    /// Its bytes came.
    Received(usize, Vec<u8>),
    /// It ended.
    Ended(usize),
    /// It takes bytes again.
    Writable(usize),
    /// A handler has ended.
    Handled(Call),
    /// The disk has, or has not, stored what was asked.
    Stored(StoreTicket, StoreOutcome),
}

/// Work put into a shard's other queue, from other threads; the bell is rung for it if the shard sleeps.
#[derive(Debug)]
pub enum Outside {
    /// Somebody asks for something.
    Command(Command),
    /// Another shard hands an upgraded socket off.
    HandedOff(usize),
}

/// One shard with its driver, its other queue and its sleep.
#[derive(Debug)]
pub struct Host {
    /// The real one.
    pub shard: Shard,
    /// In the order they happened.
    pub completions: VecDeque<Completion>,
    /// In the order they were put in.
    pub outside: VecDeque<Outside>,
    /// Somebody rang.
    pub bell: bool,
    /// It blocks, and runs again only for a completion, the bell or its deadline.
    pub asleep: bool,
    /// The world keeps it from running: a core that is busy elsewhere.
    pub stalled: bool,
    /// When it has asked for `Deadline`.
    pub deadline: Option<u64>,
    /// The same, but not moved on while it is late.
    due: Option<u64>,
    /// When it last heard of a deadline so late that it counts as having stood still.
    pub stood_still_until: u64,
}

impl Host {
    pub(super) fn new(shard: Shard) -> Self {
        Self {
            shard,
            completions: VecDeque::new(),
            outside: VecDeque::new(),
            bell: false,
            asleep: false,
            stalled: false,
            deadline: None,
            due: None,
            stood_still_until: 0,
        }
    }

    /// Whether its thread would run now.
    pub fn would_run(&self, ms: u64) -> bool {
        !self.asleep
            || self.bell
            || !self.completions.is_empty()
            || self.deadline.is_some_and(|deadline| deadline <= ms)
    }

    /// Work that nobody has told a sleeping shard of.
    pub fn is_forgotten(&self) -> bool {
        self.asleep && !self.bell && (self.shard.has_mail() || !self.outside.is_empty())
    }
}

#[derive(Clone, Copy)]
enum Source {
    Completions,
    Outside,
    Mail,
    Deadline,
}

impl World<'_> {
    pub(super) fn now_of_shards(&self) -> Now {
        Now {
            ms: self.ms,
            unix_ms: (super::UNIX_EPOCH_MS + self.ms).saturating_add_signed(self.wall_ms),
        }
    }

    /// One turn: a few inputs, all effects, and sleep if nothing is left.
    pub(crate) fn turn(&mut self, at: usize) {
        let now = self.now_of_shards();
        self.turns += 1;
        let host = &mut self.hosts[at];
        if host.asleep {
            host.asleep = false;
            host.bell = false;
            host.shard.wake_up();
        }
        let inputs = self.random.size(1..=self.scenario.turn_inputs);
        self.trace
            .line(self.ms, format_args!("shard {at} takes a turn"));
        for _ in 0..inputs {
            let host = &self.hosts[at];
            let mut sources: [Option<Source>; 4] = [None; 4];
            let mut count = 0;
            for (ready, source) in [
                (!host.completions.is_empty(), Source::Completions),
                (!host.outside.is_empty(), Source::Outside),
                (host.shard.has_mail(), Source::Mail),
                (
                    host.deadline.is_some_and(|deadline| deadline <= now.ms),
                    Source::Deadline,
                ),
            ] {
                if ready {
                    sources[count] = Some(source);
                    count += 1;
                }
            }
            if count == 0 {
                break;
            }
            let Some(source) = sources[self.random.below(count)] else {
                break;
            };
            self.take_input(at, now, source);
            if self.failure.is_some() {
                return;
            }
            // Effects may be carried out after each input or after several.
            if self.random.chance(50) {
                self.carry_out(at, now);
            }
        }
        self.carry_out(at, now);
        self.watch_backlogs(at);
        let host = &mut self.hosts[at];
        host.deadline = host.shard.next_deadline(now);
        host.due = host.due.filter(|due| *due <= now.ms).or(host.deadline);
        let idle =
            host.completions.is_empty() && host.deadline.is_none_or(|deadline| deadline > now.ms);
        // As an engine must: announce sleep, then look into every queue once more.
        if idle && host.shard.fall_asleep() {
            if host.outside.is_empty() {
                host.asleep = true;
            } else {
                host.shard.wake_up();
            }
        }
    }

    fn take_input(&mut self, at: usize, now: Now, source: Source) {
        match source {
            Source::Mail => self.hosts[at].shard.handle(now, Input::Mail),
            Source::Deadline => {
                self.trace
                    .line(self.ms, format_args!("shard {at}: deadline"));
                let host = &mut self.hosts[at];
                host.shard.handle(now, Input::Deadline);
                host.deadline = None;
                if host.due.take().is_some_and(|due| now.ms > due + STALL_MS) {
                    host.stood_still_until = now.ms;
                }
            }
            Source::Outside => match self.hosts[at].outside.pop_front() {
                Some(Outside::Command(command)) => self.hand_in_command(at, now, command),
                Some(Outside::HandedOff(client)) => self.open(at, now, client),
                None => {}
            },
            Source::Completions => match self.hosts[at].completions.pop_front() {
                Some(Completion::Accepted(client)) => self.accept(at, now, client),
                Some(Completion::Received(client, bytes)) => self.receive(at, now, client, bytes),
                Some(Completion::Ended(client)) => self.end(at, now, client),
                Some(Completion::Writable(client)) => self.flush(at, now, client),
                Some(Completion::Handled(call)) => self.handled(at, now, call),
                Some(Completion::Stored(ticket, outcome)) => {
                    let shard = &mut self.hosts[at].shard;
                    shard.handle(now, Input::Stored { ticket, outcome });
                }
                None => {}
            },
        }
    }

    fn hand_in_command(&mut self, at: usize, now: Now, command: Command) {
        self.trace
            .line(self.ms, format_args!("shard {at}: command {command:?}"));
        if let Command::CloseAll { code, .. } = command {
            for (client, socket) in self.clients.iter_mut().zip(&self.sockets) {
                if socket.shard == Some(at) && !socket.closed && !client.disconnected {
                    client.told_to_go.push(code);
                    client.disturbed = true;
                }
            }
        }
        self.hosts[at].shard.handle(now, Input::Command(command));
    }

    /// Puts work into a shard's other queue, and rings if it sleeps.
    pub(crate) fn put_in(&mut self, at: usize, work: Outside) {
        self.hosts[at].outside.push_back(work);
        if self.sleepers.must_ring(ShardId(at as u16)) {
            self.hosts[at].bell = true;
        }
    }

    /// A command that publishes, from outside.
    pub(crate) fn publish_from_outside(&mut self, at: usize, channel: usize, number: usize) {
        let message = Bytes::from(super::message(number, 0));
        let channel = self.scenario.channels[channel].as_str().into();
        self.put_in(
            at,
            Outside::Command(Command::Publish {
                channel,
                message,
                exclude: Vec::new(),
                options: None,
                answer: None,
            }),
        );
    }
}
