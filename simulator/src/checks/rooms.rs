//! Chat rooms: nobody is in one twice, left behind or passed over, and all members read the same in the same order.

use std::collections::{BTreeMap, BTreeSet};

use super::{Check, Seen, Verdict, demand, entry};
use crate::World;
use crate::clients::Request;

/// How one client sees the room it is in.
#[derive(Debug, Default)]
struct View {
    /// Where its requests so far lead, if none is refused.
    wish: Option<usize>,
    /// It has read its own coming.
    entered: bool,
    /// Who is there, as it was told: a list, then who came and went.
    there: BTreeSet<String>,
    /// What was published since it came, in the order of arrival.
    read: Vec<String>,
}

/// A member is told a list of all and then every coming and going, so its view must be the truth whenever nothing is under way. And what two
/// members of a room have read since the later of them came must be the same.
#[derive(Debug, Default)]
pub struct Rooms {
    views: Vec<View>,
    /// By number: who said it, and in which room.
    said: BTreeMap<usize, (usize, Option<usize>)>,
    /// Under which id a client has said what.
    said_as: BTreeMap<(usize, u64), usize>,
    refused: BTreeSet<usize>,
}

impl Check for Rooms {
    fn name(&self) -> &'static str {
        "everybody is in the room it is in"
    }

    fn see(&mut self, seen: &Seen<'_>, world: &World<'_>) -> Verdict {
        match *seen {
            Seen::Asked {
                client,
                id,
                request,
            } => {
                let view = entry(&mut self.views, client);
                match *request {
                    Request::JoinRoom(room) => view.wish = Some(room),
                    Request::LeaveRoom => view.wish = None,
                    Request::Say(number) => {
                        self.said.insert(number, (client, view.wish));
                        self.said_as.extend(id.map(|id| ((client, id), number)));
                    }
                    _ => {}
                }
            }
            Seen::RoomJoined {
                client,
                room,
                members,
                ..
            } if world.clients[client].room != Some(room) => {
                let view = entry(&mut self.views, client);
                view.there = members.iter().cloned().collect();
                demand!(
                    view.there.len() == members.len(),
                    "client {client} was told that somebody is in room {room} twice: {members:?}"
                );
                view.entered = false;
                view.read.clear();
            }
            Seen::Error {
                client,
                id: Some(id),
                ..
            } => {
                if let Some(&number) = self.said_as.get(&(client, id)) {
                    self.refused.insert(number);
                }
            }
            Seen::Came { client, user } => {
                let view = entry(&mut self.views, client);
                demand!(
                    world.clients[client].room.is_some(),
                    "client {client} was told that {user} came, and is in no room"
                );
                if user == world.shown(client) {
                    demand!(!view.entered, "client {client} came into its room twice");
                    view.entered = true;
                    demand!(
                        view.there.contains(user),
                        "client {client} was not on the list of who is there"
                    );
                } else {
                    demand!(
                        view.there.insert(user.to_owned()),
                        "client {client} was told that {user} came, who was there"
                    );
                    view.read.push(format!("+{user}"));
                    demand!(view.entered, "client {client} hears before it is in");
                }
            }
            Seen::Went { client, user } => {
                let view = entry(&mut self.views, client);
                demand!(
                    view.entered && view.there.remove(user),
                    "client {client} was told that {user} went, who was not there"
                );
                view.read.push(format!("-{user}"));
            }
            Seen::Said {
                client,
                user,
                number,
            } => {
                let view = entry(&mut self.views, client);
                let room = world.clients[client].room;
                let said = self.said.get(&number).copied();
                let by_whom = said.map(|(author, wish)| (world.shown(author), wish));
                demand!(
                    view.entered && by_whom == Some((user.to_owned(), room)),
                    "client {client} in room {room:?} got message {number} of {user}, which is of {by_whom:?}"
                );
                demand!(
                    !self.refused.contains(&number),
                    "client {client} got message {number}, which was refused"
                );
                view.read.push(number.to_string());
            }
            _ => {}
        }
        Ok(())
    }

    fn at_rest(&mut self, world: &World<'_>) -> Verdict {
        for room in 0..world.scenario.rooms {
            let members: Vec<usize> = world
                .living()
                .filter(|&client| world.clients[client].room == Some(room))
                .collect();
            let users: BTreeSet<String> = members.iter().map(|&it| world.shown(it)).collect();
            let most = world.scenario.settings.chat.map_or(0, |it| it.max_members);
            demand!(
                members.len() <= most,
                "{} in room {room}, which takes {most}",
                members.len()
            );
            let longest = members
                .iter()
                .max_by_key(|&&client| self.views.get(client).map_or(0, |view| view.read.len()));
            for &client in &members {
                let view = entry(&mut self.views, client);
                demand!(view.entered, "client {client} never read its own coming");
                demand!(
                    view.there == users,
                    "client {client} in room {room} believes that {:?} are there, and {users:?} are",
                    view.there
                );
            }
            let Some(witness) = longest.and_then(|&client| self.views.get(client)) else {
                continue;
            };
            for &client in &members {
                let read = &self.views[client].read;
                demand!(
                    witness.read.ends_with(read),
                    "client {client} read {read:?} since it came into room {room}, another {:?}",
                    witness.read
                );
            }
        }
        Ok(())
    }
}
