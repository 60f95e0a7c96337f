//! What happens to sockets, handed in: accepted, opened, bytes, the end.

use shardwire_shards::vocabulary::{Input, Now, Opening, ShardId, SocketToken, Standing};

use super::{Outside, World};
use crate::checks::Seen;

impl World<'_> {
    /// An upgrade request: is there room, and whose connection will it be?
    pub(super) fn accept(&mut self, at: usize, now: Now, client: usize) {
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

    pub(super) fn open(&mut self, at: usize, now: Now, client: usize) {
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

    pub(super) fn receive(&mut self, at: usize, now: Now, client: usize, mut bytes: Vec<u8>) {
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
            self.publications[number].handed_in_ms = self.ms;
        }
    }

    pub(super) fn end(&mut self, at: usize, now: Now, client: usize) {
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
}
