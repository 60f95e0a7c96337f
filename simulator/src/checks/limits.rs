//! Limits are never exceeded, and nobody is refused who fits.

use super::registries::line;
use super::{Check, Seen, Verdict, demand};
use crate::World;

/// Connections per node, user and address. While the storm goes on, only those are counted that are open beyond doubt; at rest
/// everything is exact.
#[derive(Debug, Default)]
pub struct Limits;

impl Check for Limits {
    fn name(&self) -> &'static str {
        "limits are exact"
    }

    fn see(&mut self, seen: &Seen<'_>, world: &World<'_>) -> Verdict {
        let settings = &world.scenario.settings;
        match *seen {
            Seen::Opened { .. } => demand!(
                world.node_count.get() <= settings.max_connections,
                "{} connections on the node, {} allowed",
                world.node_count.get(),
                settings.max_connections
            ),
            Seen::TurnedAway { client } => demand!(
                world.node_count.get() == settings.max_connections,
                "client {client} was turned away with {} connections on the node, {} allowed",
                world.node_count.get(),
                settings.max_connections
            ),
            Seen::Connected { client } => {
                let sure = |other: usize| other != client && is_surely_open(other, world);
                if let Some(limit) = settings.max_connections_per_user {
                    let others = same_user(client, world)
                        .filter(|&other| sure(other))
                        .count();
                    demand!(
                        others < limit,
                        "client {client} was let in as number {} of its user, {limit} allowed",
                        others + 1
                    );
                }
                if let Some(limit) = settings.max_connections_per_ip {
                    let others = same_address(client, world)
                        .filter(|&other| sure(other))
                        .count();
                    demand!(
                        others < limit,
                        "client {client} was let in as number {} from its address, {limit} allowed",
                        others + 1
                    );
                }
            }
            Seen::UsersConnections { user, connections } => {
                let limit = settings.max_connections_per_user.unwrap_or(usize::MAX);
                demand!(
                    connections.len() <= limit,
                    "user {user} has {} connections, {limit} allowed",
                    connections.len()
                );
                if world.resting {
                    let mut told = connections.to_vec();
                    told.sort_unstable();
                    let mut living: Vec<_> = world
                        .living()
                        .filter(|&client| world.clients[client].user == Some(user))
                        .filter_map(|client| world.clients[client].connection)
                        .collect();
                    living.sort_unstable();
                    demand!(
                        told == living,
                        "user {user} has connections {living:?}, the directory says {told:?}"
                    );
                }
            }
            Seen::Probed { client } => {
                let fits =
                    |others: usize, limit: Option<usize>| limit.is_none_or(|limit| others < limit);
                let living = |other: &usize| *other != client && world.lives(*other);
                let users = same_user(client, world).filter(living).count();
                let addresses = same_address(client, world).filter(living).count();
                let all = world.living().filter(|other| *other != client).count();
                let expected = all < settings.max_connections
                    && (world.clients[client].user.is_none()
                        || fits(users, settings.max_connections_per_user))
                    && fits(addresses, settings.max_connections_per_ip);
                demand!(
                    world.lives(client) == expected,
                    "client {client} was {} while {users} of its user, {addresses} from its address and {all} in all were there",
                    if expected { "refused" } else { "let in" }
                );
            }
            _ => {}
        }
        Ok(())
    }

    fn at_rest(&mut self, world: &World<'_>) -> Verdict {
        let living = world.living().count();
        demand!(
            world.node_count.get() == living,
            "{living} connections live, {} are counted on the node",
            world.node_count.get()
        );
        Ok(())
    }

    fn at_end(&mut self, world: &World<'_>) -> Verdict {
        let counted = world.node_count.get();
        demand!(
            counted == 0,
            "everybody has gone, {counted} are counted on the node"
        );
        Ok(())
    }
}

fn same_user<'a>(client: usize, world: &'a World<'_>) -> impl Iterator<Item = usize> + 'a {
    let user = world.clients[client].user;
    (0..world.clients.len())
        .filter(move |&other| user.is_some() && world.clients[other].user == user)
}

fn same_address<'a>(client: usize, world: &'a World<'_>) -> impl Iterator<Item = usize> + 'a {
    let line_of = |client: usize| line(world.clients[client].address);
    let mine = line_of(client);
    (0..world.clients.len()).filter(move |&other| line_of(other) == mine)
}

/// Nothing has happened, as far as anybody outside can know, that may have closed it.
fn is_surely_open(client: usize, world: &World<'_>) -> bool {
    let who = &world.clients[client];
    world.lives(client)
        && !who.disturbed
        && !world.sockets[client].was_blocked
        && world.ms - who.heard_at < world.scenario.settings.heartbeat_timeout_ms
}
