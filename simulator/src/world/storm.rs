//! The storm: anything may happen next.

use shardwire_protocol::codes::close;
use shardwire_shards::vocabulary::{AnswerId, Command, Mode};

use super::{Outside, Publication, World};
use crate::clients::Stage;

impl World<'_> {
    /// One step, drawn by the scenario's weights. What cannot be done now is passed over.
    pub(crate) fn step(&mut self) {
        let weights = self.scenario.weights;
        let kinds = [
            weights.turn,
            weights.arrive,
            weights.read,
            weights.act,
            weights.clock,
            weights.command,
            weights.trouble,
            weights.disk,
            weights.notify,
        ];
        match self.random.weighted(&kinds) {
            0 => {
                if let Some(at) = self.find(self.hosts.len(), |world, at| {
                    !world.hosts[at].stalled && world.hosts[at].would_run(world.ms)
                }) {
                    self.turn(at);
                }
            }
            1 => {
                for _ in 0..self.random.pick(&[1, 2, 8]) {
                    if let Some(client) = self.find(self.sockets.len(), |world, at| {
                        world.sockets[at].can_arrive()
                    }) {
                        self.arrive(client);
                    }
                }
            }
            2 => {
                for _ in 0..self.random.pick(&[1, 2, 8]) {
                    if let Some(client) = self.find(self.sockets.len(), |world, at| {
                        world.sockets[at].can_be_read() && world.clients[at].stage != Stage::Gone
                    }) {
                        self.read(client);
                    }
                }
            }
            3 => {
                self.act();
                if self.random.chance(50) {
                    self.end_a_call();
                }
            }
            4 => self.ms += self.random.within(1..=self.scenario.clock_step),
            5 => self.command(),
            6 => self.trouble(),
            8 => self.notify(),
            _ => {
                let (shard, requests) = (
                    self.random.below(self.hosts.len()),
                    self.random.pick(&[1, 3, 50]),
                );
                self.work_on_disk(shard, requests);
            }
        }
    }

    /// The first that fits, looking from a drawn place on.
    fn find(&mut self, count: usize, fits: impl Fn(&Self, usize) -> bool) -> Option<usize> {
        if count == 0 {
            return None;
        }
        let from = self.random.below(count);
        (from..count).chain(0..from).find(|&at| fits(self, at))
    }

    fn act(&mut self) {
        let speaking = |world: &Self, at: usize| {
            world.clients[at].stage == Stage::Speaking && !world.sockets[at].lost
        };
        let crowd = (0..self.clients.len())
            .filter(|&at| speaking(self, at))
            .count();
        if crowd < self.scenario.crowd && self.random.chance(if crowd < 3 { 60 } else { 20 }) {
            let user = self
                .random
                .chance(60)
                .then(|| self.random.below(self.scenario.users.len()));
            let address = self.random.below(self.scenario.addresses.len());
            let client = self.connect(user, address);
            if self.clients[client].mode == Mode::Json && self.random.chance(70) {
                let channel = self.random.below(self.scenario.channels.len());
                self.subscribe(client, channel);
            }
            return;
        }
        let ahead = self.scenario.ahead;
        let Some(client) = self.find(self.clients.len(), |world, at| {
            speaking(world, at) && world.sockets[at].to_server.len() <= ahead
        }) else {
            return;
        };
        if self.random.below(1000) < self.scenario.churn as usize {
            self.end_somehow(client);
        } else if self.clients[client].mode == Mode::Echo {
            self.speak_raw(client);
        } else {
            self.speak(client);
        }
    }

    /// One that clients may publish to; mostly one that somebody listens to.
    pub(super) fn some_channel(&mut self) -> usize {
        let all = self.scenario.channels.len() - 1;
        let told_in = self.scenario.told_in;
        let open: Vec<usize> = (0..all).filter(|at| Some(*at) != told_in).collect();
        let somebody = self.random.below(self.clients.len());
        let listens = &self.clients[somebody].channels;
        let listened: Vec<usize> = listens
            .iter()
            .copied()
            .filter(|at| open.contains(at))
            .collect();
        if listened.is_empty() || self.random.chance(20) {
            self.random.pick(&open)
        } else {
            self.random.pick(&listened)
        }
    }

    fn command(&mut self) {
        let at = self.random.below(self.hosts.len());
        match self.random.weighted(&[70, 25, 5]) {
            0 => {
                if self.clients.is_empty() {
                    return;
                }
                let (number, channel) = (self.publications.len(), self.some_channel());
                self.publications.push(Publication {
                    channel,
                    publisher: None,
                    excludes_publisher: false,
                    volatile: false,
                    handed_in: Some(self.moment),
                    handed_in_ms: self.ms,
                    lifetime_ms: None,
                    refused: false,
                    seen: false,
                    taken: false,
                });
                self.publish_from_outside(at, channel, number);
            }
            1 => {
                let user = self.random.below(self.scenario.users.len());
                self.ask_for_connections(user);
            }
            _ => {
                let code = self.random.pick(&[close::GOING_AWAY, close::DRAINING]);
                let reason = "everybody out".to_owned();
                self.put_in(at, Outside::Command(Command::CloseAll { code, reason }));
            }
        }
    }

    pub(crate) fn ask_for_connections(&mut self, user: usize) {
        let name = self.scenario.users[user].as_str();
        let home = self.scenario.placement.home_of_user(name).index();
        let command = Command::ConnectionsOfUser {
            user: name.into(),
            answer: AnswerId(user as u64),
        };
        self.put_in(home, Outside::Command(command));
    }

    fn trouble(&mut self) {
        let disk = u32::from(self.scenario.durable) * 12;
        match self.random.weighted(&[80, 8, disk, 2]) {
            0 => self.stall_or_wake(),
            1 => self.step_wall_clock(),
            2 => self.trouble_disk(),
            _ => self.restart(),
        }
    }

    /// Somebody sets the clock on the wall, which no other clock follows.
    fn step_wall_clock(&mut self) {
        let step = self
            .random
            .pick(&[-3_600_000, -5_000, -40, 40, 5_000, 3_600_000]);
        self.trace.line(
            self.ms,
            format_args!("the clock on the wall steps by {step} ms"),
        );
        self.wall_ms += step;
        self.wall_stepped_ms += step.unsigned_abs();
        self.wall_went_back |= step < 0;
    }

    fn stall_or_wake(&mut self) {
        let at = self.random.below(self.hosts.len());
        let stalled = !self.hosts[at].stalled;
        self.trace
            .line(self.ms, format_args!("shard {at} is stalled: {stalled}"));
        self.hosts[at].stalled = stalled;
    }
}
