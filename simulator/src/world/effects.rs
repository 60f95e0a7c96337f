//! What a shard asks for, carried out: writes, closes, calls, rings.

use shardwire_shards::bounds::WRITE_SLICES_MAX;
use shardwire_shards::vocabulary::{Answer, Effect, Event, Now};

use super::{Completion, World};
use crate::checks::Seen;

/// How the close frame of a slow consumer (4103) ends.
const SLOW_CONSUMER: &[u8] = b"\x10\x07slow consumer";

impl World<'_> {
    /// Carries effects out until there is none.
    pub(super) fn carry_out(&mut self, at: usize, now: Now) {
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
                Effect::Store(request) => self.ask_disk(at, *request),
                Effect::Ring(shard) => {
                    self.trace
                        .line(self.ms, format_args!("shard {at} rings {shard}"));
                    self.hosts[shard.index()].bell = true;
                }
                Effect::Answer { id, answer } => {
                    // The scenarios ask for connections, documents and inboxes only.
                    match answer {
                        Answer::Connections(connections) => self.see(Seen::UsersConnections {
                            user: id.0 as usize,
                            connections: &connections,
                        }),
                        Answer::Document(Ok(text)) => self.document_told(id, &text),
                        Answer::Document(Err(code)) => {
                            unreachable!("no store is asked, and {code:?} answered")
                        }
                        Answer::Notification(answer) => self.inbox_told(id, &answer),
                        _ => {}
                    }
                }
                Effect::Call {
                    connection,
                    target,
                    message,
                    ..
                } => self.call(at, connection, target, message),
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
            // Inboxes are read by their own check.
            Event::Unreached { .. } => {}
        }
    }

    /// One write, as the documentation of `Flush` says.
    pub(super) fn flush(&mut self, at: usize, now: Now, client: usize) {
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
    pub(super) fn watch_backlogs(&mut self, at: usize) {
        for client in 0..self.sockets.len() {
            let socket = &self.sockets[client];
            if socket.shard != Some(at) || !socket.wants_room {
                continue;
            }
            let Some(connection) = socket.connection else {
                continue;
            };
            let shard = &self.hosts[at].shard;
            let waiting = shard.pending(connection).map(<[u8]>::len).sum();
            let last = shard.pending(connection).last();
            let given_up = last.is_some_and(|last| last.ends_with(SLOW_CONSUMER));
            self.see(Seen::Backlog {
                client,
                waiting,
                given_up,
            });
        }
    }
}
