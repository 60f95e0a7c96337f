//! One end to every beginning, and a reason for it.

use shardwire_protocol::codes::close;
use shardwire_shards::mesh::LaneBounds;
use shardwire_shards::vocabulary::CloseCause;

use super::{Check, Seen, Verdict, demand, entry};
use crate::World;

#[derive(Clone, Copy, Debug, Default)]
struct Life {
    turned_away: bool,
    opened: bool,
    connected: bool,
    disconnected: bool,
    /// The shard closed the socket.
    closed: bool,
    /// The shard was told that the socket ended, in this turn.
    end_told: Option<u64>,
    close_frame: bool,
}

impl Life {
    fn ended(&self) -> bool {
        self.closed || self.end_told.is_some()
    }
}

/// Every socket a shard took over has exactly one `Disconnected`, and an end: the shard closed it, or was told
/// that it ended. A client gets at most one close frame, with a code that it or the world has given cause for, nothing
/// after it, and none only if it could not be reached. A node that is killed tells nobody anything.
#[derive(Debug, Default)]
pub struct Endings {
    lives: Vec<Life>,
}

impl Check for Endings {
    fn name(&self) -> &'static str {
        "one end to every beginning"
    }

    fn see(&mut self, seen: &Seen<'_>, world: &World<'_>) -> Verdict {
        if let Seen::Restarted = seen {
            // Nobody is left who could tell of these ends.
            self.lives.fill(Life::default());
        }
        let Some(client) = subject(seen) else {
            return Ok(());
        };
        let life = entry(&mut self.lives, client);
        match *seen {
            Seen::TurnedAway { .. } => life.turned_away = true,
            Seen::Opened { .. } => {
                demand!(
                    !life.opened && !life.turned_away,
                    "client {client} was opened out of turn: {life:?}"
                );
                life.opened = true;
            }
            Seen::Connected { .. } => {
                demand!(
                    life.opened && !life.connected && !life.disconnected,
                    "client {client} connected out of turn: {life:?}"
                );
                life.connected = true;
            }
            Seen::Disconnected { cause, .. } => {
                demand!(
                    life.opened && !life.disconnected,
                    "client {client} disconnected out of turn: {life:?}"
                );
                life.disconnected = true;
                let true_cause = match cause {
                    CloseCause::Peer(code) => world.clients[client].earned == Some(code),
                    CloseCause::Us(code) => is_deserved(code, client, world),
                    CloseCause::Lost => world.clients[client].disturbed,
                };
                demand!(
                    true_cause,
                    "client {client} is said to have ended by {cause:?}: {:?}",
                    world.clients[client]
                );
            }
            Seen::SocketClosed { .. } => {
                // What a shard asks for before it is told may be carried out after, but only within one turn.
                demand!(
                    !life.closed && life.end_told.is_none_or(|turn| turn == world.turns),
                    "the socket of client {client} ended twice: {life:?}"
                );
                life.closed = true;
            }
            Seen::EndTold { .. } => life.end_told = Some(world.turns),
            Seen::CloseFrame { code, .. } => {
                demand!(
                    !life.close_frame,
                    "client {client} got a second close frame"
                );
                life.close_frame = true;
                demand!(
                    is_deserved(code, client, world),
                    "client {client} was closed with {code} for no reason it knows: {:?}",
                    world.clients[client]
                );
            }
            Seen::Gone { .. } => {
                let socket = &world.sockets[client];
                let reachable =
                    !(socket.cut || socket.finished || socket.lost || socket.was_blocked);
                demand!(
                    life.close_frame || !(life.closed && reachable),
                    "the socket of client {client} was closed without a close frame"
                );
            }
            _ => demand!(
                !life.close_frame,
                "client {client} got {seen:?} after its close frame"
            ),
        }
        Ok(())
    }

    fn at_rest(&mut self, world: &World<'_>) -> Verdict {
        for (client, life) in self.lives.iter().enumerate() {
            demand!(
                life.disconnected == life.ended(),
                "client {client} has half an end: {life:?}"
            );
            let there = life.opened && !life.ended();
            demand!(
                !there || world.lives(client),
                "client {client} is kept though it does not live: {life:?}, {:?}",
                world.clients[client]
            );
        }
        Ok(())
    }

    fn at_end(&mut self, _world: &World<'_>) -> Verdict {
        for (client, life) in self.lives.iter().enumerate() {
            demand!(
                life.opened == life.disconnected && life.opened == life.ended(),
                "client {client} never ended: {life:?}"
            );
        }
        Ok(())
    }
}

/// Whom this is about: what a shard did with its connection, or what it received.
fn subject(seen: &Seen<'_>) -> Option<usize> {
    match *seen {
        Seen::TurnedAway { client }
        | Seen::Opened { client }
        | Seen::Connected { client }
        | Seen::Disconnected { client, .. }
        | Seen::SocketClosed { client }
        | Seen::EndTold { client }
        | Seen::Subscribed { client, .. }
        | Seen::Unsubscribed { client, .. }
        | Seen::Broadcast { client, .. }
        | Seen::Counts { client, .. }
        | Seen::JsonPong { client, .. }
        | Seen::Echo { client, .. }
        | Seen::Worked { client, .. }
        | Seen::Called { client, .. }
        | Seen::Error { client, .. }
        | Seen::CameBack { client, .. }
        | Seen::Pinged { client }
        | Seen::Pong { client, .. }
        | Seen::CloseFrame { client, .. }
        | Seen::Gone { client } => Some(client),
        _ => None,
    }
}

fn is_deserved(code: u16, client: usize, world: &World<'_>) -> bool {
    let (who, settings) = (&world.clients[client], &world.scenario.settings);
    match code {
        // heartbeat.rs looks closer.
        close::HEARTBEAT_TIMEOUT => true,
        close::TOO_MANY_OF_USER => {
            !who.connected && who.user.is_some() && settings.max_connections_per_user.is_some()
        }
        close::TOO_MANY_OF_ADDRESS => !who.connected && settings.max_connections_per_ip.is_some(),
        close::OVERLOADED => !who.connected && world.scenario.lanes != LaneBounds::default(),
        close::SLOW_CONSUMER => world.sockets[client].was_blocked,
        _ => who.earned == Some(code) || who.told_to_go.contains(&code),
    }
}
