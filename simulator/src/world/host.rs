//! What an engine does around one shard: hand in what happened, carry out what is asked, sleep when there is nothing.

use std::collections::VecDeque;

use bytes::Bytes;
use shardwire_shards::Shard;
use shardwire_shards::bounds::WRITE_SLICES_MAX;
use shardwire_shards::vocabulary::{
    Answer, Command, Effect, Event, Input, Now, Opening, ShardId, SocketToken, Standing,
};

use super::World;
use crate::checks::Seen;

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
    fn now_of_shards(&self) -> Now {
        Now {
            ms: self.ms,
            unix_ms: super::UNIX_EPOCH_MS + self.ms,
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
                self.hosts[at].shard.handle(now, Input::Deadline);
                self.hosts[at].deadline = None;
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

    /// An upgrade request: is there room, and whose connection will it be?
    fn accept(&mut self, at: usize, now: Now, client: usize) {
        if !self.hosts[at].shard.admit() {
            self.trace.line(
                self.ms,
                format_args!("shard {at} turns client {client} away"),
            );
            self.sockets[client].turned_away = true;
            self.sockets[client].closed = true;
            return self.see(Seen::TurnedAway { client });
        }
        if self.sockets[client].cut {
            // It went between the admission and the hand-off.
            self.hosts[at].shard.revoke_admission();
            self.sockets[client].closed = true;
            return;
        }
        let user = self.clients[client]
            .user
            .map(|user| self.scenario.users[user].as_str());
        let address = self.clients[client].address;
        let home = self
            .scenario
            .placement
            .home(ShardId(at as u16), address, user);
        if home.index() == at {
            self.open(at, now, client);
        } else {
            self.trace.line(
                self.ms,
                format_args!("shard {at} hands client {client} off to {home}"),
            );
            self.put_in(home.index(), Outside::HandedOff(client));
        }
    }

    /// Puts work into a shard's other queue, and rings if it sleeps.
    pub(crate) fn put_in(&mut self, at: usize, work: Outside) {
        self.hosts[at].outside.push_back(work);
        if self.sleepers.must_ring(ShardId(at as u16)) {
            self.hosts[at].bell = true;
        }
    }

    fn open(&mut self, at: usize, now: Now, client: usize) {
        if self.sockets[client].cut && self.random.chance(50) {
            // Noticed in time; unnoticed, the connection is opened and ends at once.
            self.hosts[at].shard.revoke_admission();
            self.sockets[client].closed = true;
            return;
        }
        let socket = &mut self.sockets[client];
        socket.shard = Some(at);
        // A socket that was not handed off is still being read from for its upgrade.
        socket.receiving = self.random.chance(30);
        let most = socket.to_server.len().min(self.scenario.chunk);
        let early: Vec<u8> = socket
            .to_server
            .drain(..self.random.size(0..=most))
            .collect();
        self.clients[client].heard_at = self.ms;
        self.note_handed_in(client, early.len());
        let who = &self.clients[client];
        let user = who.user.map(|user| self.scenario.users[user].as_str());
        self.trace.line(
            self.ms,
            format_args!(
                "shard {at}: client {client} opens as {user:?}, {} bytes early",
                early.len()
            ),
        );
        let opening = Opening {
            standing: Standing::Unverified(user.map(Into::into)),
            early,
            ..Opening::new(SocketToken(client as u64), who.mode, who.address)
        };
        self.hosts[at].shard.handle(now, Input::Opened(opening));
    }

    fn receive(&mut self, at: usize, now: Now, client: usize, mut bytes: Vec<u8>) {
        self.clients[client].heard_at = self.ms;
        self.trace.line(
            self.ms,
            format_args!("shard {at}: {} bytes of client {client}", bytes.len()),
        );
        // After the end an engine throws bytes away, or hands them in under the dead id, where nothing must come of it.
        let connection = self.sockets[client].connection.or_else(|| {
            let stale = self.clients[client].connection;
            stale.filter(|_| self.random.chance(50))
        });
        self.note_handed_in(client, bytes.len());
        if let Some(connection) = connection {
            let bytes = &mut bytes[..];
            self.hosts[at]
                .shard
                .handle(now, Input::Bytes { connection, bytes });
        }
    }

    /// So many more bytes of a client are with its shard: publications among them cannot have been taken before.
    fn note_handed_in(&mut self, client: usize, bytes: usize) {
        let socket = &mut self.sockets[client];
        socket.handed_in += bytes as u64;
        while let Some(&(end, number)) = socket.publications.front()
            && end <= socket.handed_in
        {
            socket.publications.pop_front();
            self.publications[number].handed_in = Some(self.moment);
        }
    }

    fn end(&mut self, at: usize, now: Now, client: usize) {
        let Some(connection) = self.clients[client].connection else {
            return;
        };
        let known = self.sockets[client].connection.take().is_some();
        if known || self.random.chance(50) {
            self.trace.line(
                self.ms,
                format_args!("shard {at}: the socket of client {client} ended"),
            );
            if known {
                self.see(Seen::EndTold { client });
            }
            self.hosts[at]
                .shard
                .handle(now, Input::Closed { connection });
        }
    }

    /// Carries effects out until there is none.
    fn carry_out(&mut self, at: usize, now: Now) {
        while let Some(effect) = self.hosts[at].shard.poll_effect() {
            match effect {
                Effect::Opened { connection, socket } => {
                    let client = socket.0 as usize;
                    self.sockets[client].connection = Some(connection);
                    self.clients[client].connection = Some(connection);
                    self.client_of.insert(connection, client);
                    self.trace.line(
                        self.ms,
                        format_args!("shard {at}: client {client} is {connection}"),
                    );
                    self.see(Seen::Opened { client });
                }
                Effect::Receive { socket, on } => {
                    self.trace.line(
                        self.ms,
                        format_args!("shard {at}: read client {}: {on}", socket.0),
                    );
                    self.sockets[socket.0 as usize].receiving = on;
                }
                Effect::Flush { connection, socket } => {
                    let client = socket.0 as usize;
                    if self.sockets[client].connection == Some(connection) {
                        self.flush(at, now, client);
                    }
                }
                Effect::Close { socket } => self.close(at, socket.0 as usize),
                Effect::Verify { .. } | Effect::HandOff { .. } => {
                    unreachable!("no scenario has authentication on")
                }
                Effect::Ring(shard) => {
                    self.trace
                        .line(self.ms, format_args!("shard {at} rings {shard}"));
                    self.hosts[shard.index()].bell = true;
                }
                Effect::Answer { id, answer } => {
                    // The scenarios ask for connections only.
                    if let Answer::Connections(connections) = answer {
                        self.see(Seen::UsersConnections {
                            user: id.0 as usize,
                            connections: &connections,
                        });
                    }
                }
                Effect::Call { .. } => unreachable!("the scenario registers no application routes"),
                Effect::Event(event) => self.observe(at, event),
            }
            if self.failure.is_some() {
                return;
            }
        }
    }

    fn observe(&mut self, at: usize, event: Event) {
        self.trace
            .line(self.ms, format_args!("shard {at}: {event:?}"));
        match event {
            Event::Connected { connection } => {
                let client = self.client_of[&connection];
                self.clients[client].connected = true;
                self.clients[client].heard_at = self.ms;
                self.see(Seen::Connected { client });
            }
            Event::Disconnected {
                connection, cause, ..
            } => {
                let client = self.client_of[&connection];
                self.see(Seen::Disconnected { client, cause });
                self.clients[client].disconnected = true;
            }
        }
    }

    /// One write, as the documentation of `Flush` says.
    fn flush(&mut self, at: usize, now: Now, client: usize) {
        let socket = &mut self.sockets[client];
        let Some(connection) = socket.connection else {
            return;
        };
        if socket.cut {
            // The write fails; the driver reports the end.
            socket.wants_room = false;
            if !socket.end_on_its_way {
                socket.end_on_its_way = true;
                self.hosts[at]
                    .completions
                    .push_back(Completion::Ended(client));
            }
            return;
        }
        let shard = &mut self.hosts[at].shard;
        let offered: usize = shard
            .pending(connection)
            .take(WRITE_SLICES_MAX)
            .map(<[u8]>::len)
            .sum();
        let mut taken = offered.min(socket.space());
        if !self.calm && taken > 0 && self.random.chance(20) {
            taken = self.random.size(0..=taken);
        }
        let before = socket.to_client.len();
        let bytes = shard
            .pending(connection)
            .take(WRITE_SLICES_MAX)
            .flatten()
            .copied()
            .take(taken);
        socket.to_client.extend(bytes);
        self.trace.bytes(socket.to_client.range(before..).copied());
        if socket.finished {
            socket.to_client.clear();
        }
        if taken > 0 {
            socket.written += taken as u64;
            socket.writes.push_back((socket.written, self.moment));
        }
        let blocked = taken < offered;
        if socket.blocked && taken > 0 {
            // It has read, so it lives.
            self.clients[client].heard_at = self.ms;
        }
        socket.blocked = blocked;
        socket.wants_room = blocked;
        socket.was_blocked |= blocked;
        self.trace.line(
            self.ms,
            format_args!("shard {at} writes {taken} of {offered} bytes to client {client}"),
        );
        shard.sent(now, connection, taken, blocked);
    }

    fn close(&mut self, at: usize, client: usize) {
        self.trace.line(
            self.ms,
            format_args!("shard {at} closes the socket of client {client}"),
        );
        self.see(Seen::SocketClosed { client });
        let socket = &mut self.sockets[client];
        socket.connection = None;
        socket.closed = true;
        socket.wants_room = false;
    }

    /// Whoever does not read: how much waits for it?
    fn watch_backlogs(&mut self, at: usize) {
        for client in 0..self.sockets.len() {
            let socket = &self.sockets[client];
            if socket.shard != Some(at) || !socket.wants_room {
                continue;
            }
            let Some(connection) = socket.connection else {
                continue;
            };
            let waiting = self.hosts[at]
                .shard
                .pending(connection)
                .map(<[u8]>::len)
                .sum();
            self.see(Seen::Backlog { client, waiting });
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
                answer: None,
            }),
        );
    }
}
