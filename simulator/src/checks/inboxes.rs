//! Every device of a user knows what is in the inbox: nothing is lost or there twice, and all are told the same number of unread ones.

use std::collections::{BTreeMap, BTreeSet};

use shardwire_shards::vocabulary::Mode;

use super::{Check, Seen, Verdict, demand, entry};
use crate::World;
use crate::clients::{Listed, Request};

/// Ticks of timers and rounding.
const ROUNDING_MS: u64 = 100;

/// What became of notifications, as devices were told.
#[derive(Clone, Debug, Default)]
struct Marks {
    read: BTreeSet<usize>,
    acknowledged: BTreeSet<usize>,
}

/// At rest a device has been told as many unread ones as its user's inbox has. What was taken is in the inbox until its time has passed or
/// as many as fit have come behind it, on disk also when the node was killed meanwhile; and it stays read.
#[derive(Debug, Default)]
pub struct Inboxes {
    /// Number → id, for everybody and for ever.
    ids: BTreeMap<usize, String>,
    refused: BTreeSet<usize>,
    /// What was taken, and must be there.
    taken: BTreeSet<usize>,
    marks: Marks,
    /// Those of them that were surely on disk when the world last rested.
    saved: Marks,
    /// By client: the notifications it got.
    got: Vec<BTreeSet<usize>>,
    /// By client, then id: what it has said of notifications.
    asked: Vec<BTreeMap<u64, Request>>,
    /// By user: what its home says at rest.
    held: Vec<Option<(Vec<Listed>, usize)>>,
}

impl Inboxes {
    fn note(&mut self, number: usize, notice: &str) -> Verdict {
        let known = self.ids.entry(number).or_insert_with(|| notice.to_owned());
        demand!(
            known == notice,
            "notification {number} goes by {known} and by {notice}"
        );
        demand!(
            !self.refused.contains(&number),
            "notification {number} is there, and its sender was told that it was not taken"
        );
        Ok(())
    }

    /// A list names nothing twice, and nothing of another user.
    fn note_list(&mut self, user: usize, listed: &[Listed], world: &World<'_>) -> Verdict {
        let mut seen = BTreeSet::new();
        for one in listed {
            self.note(one.number, &one.notice)?;
            demand!(
                seen.insert(one.number),
                "notification {} is in the inbox of user {user} twice",
                one.number
            );
            demand!(
                world.notices[one.number].user == user,
                "notification {} is in the inbox of user {user}",
                one.number
            );
        }
        Ok(())
    }

    /// What was taken and has had neither its time nor enough behind it is in the inbox.
    fn demand_kept(&self, user: usize, listed: &[Listed], world: &World<'_>) -> Verdict {
        let Some(settings) = world.scenario.settings.notifications else {
            return Ok(());
        };
        let there: BTreeSet<usize> = listed.iter().map(|one| one.number).collect();
        let sent = |number: &usize| world.notices[*number].user == user;
        for &number in self.taken.iter().filter(|number| sent(number)) {
            // The clock on the wall says when its time has passed.
            let age = world.ms - world.notices[number].ms + world.wall_stepped_ms + ROUNDING_MS;
            let behind = (number + 1..world.notices.len()).filter(sent).count();
            demand!(
                there.contains(&number)
                    || age >= settings.ttl_ms
                    || behind >= settings.max_per_user,
                "notification {number}, {age} ms old and with at most {behind} behind it, is not in the inbox of user {user}"
            );
        }
        Ok(())
    }

    /// What devices were told that it is noted is noted.
    fn demand_marked(&self, listed: &[Listed]) -> Verdict {
        for one in listed {
            demand!(
                one.read || !self.marks.read.contains(&one.number),
                "notification {} was marked as read, and is not",
                one.number
            );
            demand!(
                (one.acknowledged && one.delivered)
                    || !self.marks.acknowledged.contains(&one.number),
                "notification {} was acknowledged, and is not",
                one.number
            );
        }
        Ok(())
    }
}

/// The devices of a user.
fn devices<'w>(user: usize, world: &'w World<'_>) -> impl Iterator<Item = usize> + 'w {
    world.living().filter(move |&client| {
        let who = &world.clients[client];
        who.user == Some(user) && who.mode == Mode::Json
    })
}

impl Check for Inboxes {
    fn name(&self) -> &'static str {
        "every device knows the inbox"
    }

    fn see(&mut self, seen: &Seen<'_>, world: &World<'_>) -> Verdict {
        match *seen {
            Seen::Restarted => {
                let settings = world.scenario.settings.notifications;
                if !settings.is_some_and(|settings| settings.durable) {
                    self.taken.clear();
                }
                self.marks = self.saved.clone();
            }
            Seen::NoticeSent {
                number,
                taken: true,
            } => {
                self.taken.insert(number);
            }
            Seen::NoticeSent { number, .. } => {
                self.refused.insert(number);
                demand!(
                    !self.ids.contains_key(&number),
                    "notification {number} was refused after somebody got it"
                );
            }
            Seen::Asked {
                client,
                id: Some(id),
                request: request @ (Request::MarkRead(_) | Request::Acknowledge(_)),
            } => {
                entry(&mut self.asked, client).insert(id, request.clone());
            }
            Seen::Marked {
                client,
                id: Some(id),
            } => match entry(&mut self.asked, client).remove(&id) {
                Some(Request::MarkRead(numbers)) => self.marks.read.extend(numbers),
                Some(Request::Acknowledge(numbers)) => self.marks.acknowledged.extend(numbers),
                _ => {}
            },
            Seen::Notified {
                client,
                number,
                notice,
            } => {
                self.note(number, notice)?;
                demand!(
                    world.clients[client].user == Some(world.notices[number].user),
                    "client {client} got notification {number}, which is not for its user"
                );
                demand!(
                    entry(&mut self.got, client).insert(number),
                    "client {client} got notification {number} twice"
                );
            }
            Seen::Inbox {
                client,
                listed,
                unread,
                total,
                ..
            } => {
                let user = world.clients[client].user;
                let user = user.ok_or("a client that is nobody has an inbox")?;
                self.note_list(user, listed, world)?;
                let all = listed.len() as u64 == total;
                let counted = listed.iter().filter(|one| !one.read).count() as u64;
                demand!(
                    !all || counted == unread,
                    "client {client} was told of {unread} unread ones, and {counted} are listed"
                );
            }
            Seen::InboxHeld {
                user,
                listed,
                unread,
            } => {
                self.note_list(user, listed, world)?;
                *entry(&mut self.held, user) = Some((listed.to_vec(), unread));
            }
            _ => {}
        }
        Ok(())
    }

    fn at_rest(&mut self, world: &World<'_>) -> Verdict {
        for (user, held) in std::mem::take(&mut self.held).into_iter().enumerate() {
            let Some((listed, unread)) = held else {
                continue;
            };
            let counted = listed.iter().filter(|one| !one.read).count();
            demand!(
                counted == unread,
                "user {user} has {counted} unread ones, and its home counts {unread}"
            );
            self.demand_kept(user, &listed, world)?;
            self.demand_marked(&listed)?;
            for client in devices(user, world) {
                let told = world.clients[client].unread;
                demand!(
                    told == unread as u64,
                    "client {client} of user {user} was told of {told} unread ones, there are {unread}"
                );
                for one in listed.iter().filter(|one| !one.read) {
                    demand!(
                        one.delivered || !world.notices[one.number].deliver,
                        "notification {} waits, though client {client} of user {user} is there",
                        one.number
                    );
                }
            }
        }
        // What was refused room is tried again, some time.
        self.saved = match world.disk.has_refused {
            true => Marks::default(),
            false if world.scenario.durable => self.marks.clone(),
            false => Marks::default(),
        };
        Ok(())
    }
}
