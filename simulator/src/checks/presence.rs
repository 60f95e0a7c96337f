//! Whoever watches who is in a channel has, from the state and the changes it was given, the list as it is; and is not told of somebody
//! who was away for less than the grace period.

use std::collections::{BTreeMap, BTreeSet};

use super::{Check, Seen, Verdict, demand};
use crate::World;

/// What one that watches knows, as the documents say that it can.
#[derive(Debug, Default)]
struct Known {
    /// None: it has got no state yet.
    version: Option<u64>,
    /// None: only the number is told.
    list: Option<BTreeSet<String>>,
    count: u64,
}

/// What each client that watches knows.
#[derive(Debug, Default)]
pub struct Presence {
    known: BTreeMap<usize, Known>,
}

/// The users in a channel.
pub(super) fn members(world: &World<'_>, channel: usize) -> BTreeSet<String> {
    world
        .living()
        .map(|client| &world.clients[client])
        .filter(|client| client.channels.contains(&channel))
        .filter_map(|client| Some(world.scenario.users[client.user?].clone()))
        .collect()
}

impl Presence {
    fn watching(&mut self, client: usize, world: &World<'_>) -> Result<&mut Known, String> {
        demand!(
            !world.flapping,
            "client {client} was told of somebody who was away for less than the grace period"
        );
        self.known
            .get_mut(&client)
            .ok_or_else(|| format!("client {client} was told who is there without watching"))
    }
}

impl Check for Presence {
    fn name(&self) -> &'static str {
        "who is there is known"
    }

    fn see(&mut self, seen: &Seen<'_>, world: &World<'_>) -> Verdict {
        match *seen {
            Seen::Subscribed {
                client, channel, ..
            } if Some(channel) == world.scenario.told_in => {
                self.known.entry(client).or_default();
            }
            Seen::Unsubscribed {
                client, channel, ..
            } if Some(channel) == world.scenario.told_in => {
                self.known.remove(&client);
            }
            Seen::Gone { client } => {
                self.known.remove(&client);
            }
            Seen::PresenceState {
                client,
                members,
                count,
                version,
                id,
            } => {
                // Who watches may ask besides: the answer takes the place of what it knew.
                if id.is_some() && !self.known.contains_key(&client) {
                    return Ok(());
                }
                let known = self.watching(client, world)?;
                demand!(
                    known.version.is_none_or(|before| before <= version),
                    "client {client} got a state of version {version} behind {:?}",
                    known.version
                );
                let list: Option<BTreeSet<String>> =
                    members.map(|names| names.iter().cloned().collect());
                demand!(
                    list.as_ref().is_none_or(|list| list.len() as u64 == count),
                    "client {client} got a list of {members:?} for {count}"
                );
                *known = Known {
                    version: Some(version),
                    list,
                    count,
                };
            }
            Seen::PresenceDiff {
                client,
                changes,
                count,
                version,
            } => {
                let known = self.watching(client, world)?;
                let Some(before) = known.version.filter(|before| *before < version) else {
                    return Ok(());
                };
                demand!(
                    version == before + 1,
                    "client {client} got version {version} behind {before}"
                );
                known.version = Some(version);
                known.count = count;
                match (changes, &mut known.list) {
                    (None, list) => *list = None,
                    (Some([joins, leaves]), Some(list)) => {
                        list.extend(joins.iter().cloned());
                        list.retain(|name| !leaves.contains(name));
                        demand!(
                            list.len() as u64 == count,
                            "client {client} has {list:?} and is told of {count}"
                        );
                    }
                    (Some(_), None) => {
                        return Err(format!("client {client} got changes of a list it has not"));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn at_rest(&mut self, world: &World<'_>) -> Verdict {
        let truth = members(world, 0);
        for (&client, known) in &self.known {
            if !world.lives(client) {
                continue;
            }
            demand!(
                known.version.is_some(),
                "client {client} watches and was never told who is there"
            );
            demand!(
                known.count == truth.len() as u64
                    && known.list.as_ref().is_none_or(|list| *list == truth),
                "client {client} knows of {} {:?}, there are {truth:?}",
                known.count,
                known.list
            );
        }
        Ok(())
    }
}
