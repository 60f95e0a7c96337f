//! Who is in one channel, and what those who watch are told of it next.
//!
//! A change is told at once while half of what can be saved up is there; else it waits for others until the interval is over. When what
//! has gathered does not fit, or the list has become too long to be given to a newcomer, only the number is told; lists come back
//! when they fit twice over. Nothing here waits for anybody: what could not be told stays untold, and is asked for again.

use std::collections::hash_map::Entry;

use ahash::AHashMap;
use bytes::Bytes;
use shardwire_protocol::envelope::{RawValue, presence};
use shardwire_protocol::websocket::frame;
use smallvec::SmallVec;

use super::PresenceSettings;
use super::budget::Allowance;
use crate::vocabulary::{ChannelMembers, ConnectionId, UserId};

/// Bytes of a message and its frame besides names and the channel's: generously.
const OVERHEAD_BYTES: usize = 128;

/// What those who watch know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Told {
    /// Everybody by name.
    Names,
    /// How many there are; none: they still believe to know names, or not all of them know the same number.
    Number(Option<u64>),
}

#[derive(Debug, Default)]
struct Member {
    connections: SmallVec<[ConnectionId; 1]>,
    /// Without connections: since when, in milliseconds.
    alone_since: u64,
}

/// Who is in one channel.
#[derive(Debug)]
pub(super) struct Roster {
    members: AHashMap<UserId, Member>,
    /// Bytes of the message that tells all of them by name, at most.
    list_bytes: usize,
    /// Whether anybody wants to be told.
    pub(super) watched: bool,
    told: Told,
    /// Grows with every message to all.
    version: u64,
    /// Who has come (or gone) since that.
    changes: AHashMap<UserId, bool>,
    /// Bytes of names that have changed since the interval began.
    churn: u64,
    allowance: Allowance,
    /// Whether time will be told.
    pub(super) armed: bool,
    /// The state for newcomers, until something changes.
    state: Option<Bytes>,
}

/// What a message to all tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Telling {
    Changes,
    Number,
    List,
}

/// Bytes of a name in a list.
fn name_bytes(user: &str) -> usize {
    let escaped = user.bytes().filter(|byte| matches!(byte, b'"' | b'\\'));
    user.len() + escaped.count() + 3
}

/// Names in an order of their own: a hash map's differs from process to process.
fn sorted<'a>(names: impl Iterator<Item = &'a UserId>) -> Vec<&'a str> {
    let mut names: Vec<&str> = names.map(|user| &**user).collect();
    names.sort_unstable();
    names
}

impl Roster {
    pub(super) fn new(now_ms: u64, channel: &str, settings: &PresenceSettings) -> Self {
        Self {
            members: AHashMap::new(),
            list_bytes: OVERHEAD_BYTES + name_bytes(channel),
            watched: false,
            told: Told::Names,
            version: 0,
            changes: AHashMap::new(),
            churn: 0,
            allowance: Allowance::full(now_ms, settings),
            armed: false,
            state: None,
        }
    }

    /// Everybody in it.
    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// A connection of a user is in the channel.
    pub(super) fn join(&mut self, user: UserId, connection: ConnectionId) {
        match self.members.entry(user) {
            Entry::Occupied(member) => member.into_mut().connections.push(connection),
            Entry::Vacant(place) => {
                let user = place.key().clone();
                place.insert(Member {
                    connections: SmallVec::from_slice(&[connection]),
                    alone_since: 0,
                });
                self.list_bytes += name_bytes(&user);
                self.note(user, true);
            }
        }
    }

    /// A connection is not in the channel any more. True: it was the last of its user.
    pub(super) fn leave(&mut self, now_ms: u64, user: &str, connection: ConnectionId) -> bool {
        let Some(member) = self.members.get_mut(user) else {
            return false;
        };
        member.connections.retain(|it| *it != connection);
        member.alone_since = now_ms;
        member.connections.is_empty()
    }

    /// Takes a user out that has been without connections for so long.
    pub(super) fn look_at(&mut self, now_ms: u64, user: &UserId, grace_ms: u64) {
        let gone = self.members.get(user).is_some_and(|member| {
            member.connections.is_empty() && now_ms >= member.alone_since + grace_ms
        });
        if gone {
            self.members.remove(user);
            self.list_bytes -= name_bytes(user);
            self.note(user.clone(), false);
        }
    }

    fn note(&mut self, user: UserId, joined: bool) {
        self.state = None;
        if !self.watched {
            return;
        }
        self.churn += name_bytes(&user) as u64;
        if self.told == Told::Names {
            self.changes.insert(user, joined);
        }
    }

    /// Somebody watches, or nobody any more.
    pub(super) fn set_watched(&mut self, watched: bool, settings: &PresenceSettings) {
        if self.watched == watched {
            return;
        }
        self.watched = watched;
        self.changes.clear();
        self.churn = 0;
        self.state = None;
        self.told = if self.list_bytes <= settings.list_bytes_max() {
            Told::Names
        } else {
            Told::Number(Some(self.members.len() as u64))
        };
    }

    /// Whether there is nothing to keep it for.
    pub(super) fn is_over(&self) -> bool {
        self.members.is_empty() && !self.watched
    }

    /// Whether it has to be looked at when the interval is over.
    pub(super) fn waits(&self, settings: &PresenceSettings) -> bool {
        self.watched
            && match self.told {
                Told::Names => !self.changes.is_empty(),
                Told::Number(count) => {
                    count != Some(self.members.len() as u64) || self.could_list(settings)
                }
            }
    }

    /// Whether the list is short enough to be told again.
    fn could_list(&self, settings: &PresenceSettings) -> bool {
        self.list_bytes <= settings.list_bytes_max() / 2
    }

    /// Writes what is told to all now, if anything is. `over`: the interval is.
    pub(super) fn next(
        &mut self,
        now_ms: u64,
        channel: &str,
        over: bool,
        settings: &PresenceSettings,
        out: &mut Vec<u8>,
    ) -> Option<Telling> {
        if !self.watched {
            return None;
        }
        let available = self.allowance.available(now_ms, settings);
        let churn = self.churn;
        if over {
            self.churn = 0;
        }
        if self.told == Told::Names {
            if self.list_bytes > settings.list_bytes_max() {
                return Some(self.give_up_names(channel, out));
            }
            if self.changes.is_empty() {
                return None;
            }
            if !over && (self.armed || available < settings.depth() / 2) {
                return None;
            }
            self.write_changes(channel, out);
            if out.len() <= available {
                return Some(Telling::Changes);
            }
            return over.then(|| self.give_up_names(channel, out));
        }
        if !over {
            return None;
        }
        let calm = churn <= settings.flow() / 2;
        if calm && self.could_list(settings) && self.list_bytes <= available {
            out.clear();
            self.write_state(channel, true, self.version + 1, out);
            return Some(Telling::List);
        }
        let count = self.members.len() as u64;
        if self.told != Told::Number(Some(count)) {
            self.write_number(channel, out);
            return Some(Telling::Number);
        }
        None
    }

    /// What [`next`](Self::next) wrote was taken.
    pub(super) fn tell(&mut self, telling: Telling, bytes: usize) {
        self.allowance.take(bytes);
        self.version += 1;
        self.state = None;
        match telling {
            Telling::Changes => self.changes.clear(),
            Telling::Number => self.told = Told::Number(Some(self.members.len() as u64)),
            Telling::List => self.told = Told::Names,
        }
    }

    fn give_up_names(&mut self, channel: &str, out: &mut Vec<u8>) -> Telling {
        self.told = Told::Number(None);
        self.changes.clear();
        self.state = None;
        self.write_number(channel, out);
        Telling::Number
    }

    fn write_number(&self, channel: &str, out: &mut Vec<u8>) {
        out.clear();
        let count = self.members.len() as u64;
        let nobody = None::<[[&str; 0]; 2]>;
        presence::diff(out, channel, nobody, count, self.version + 1);
    }

    fn write_changes(&self, channel: &str, out: &mut Vec<u8>) {
        out.clear();
        let changed = |joined: bool| {
            let changes = self.changes.iter();
            let changes = changes.filter(move |(_, change)| **change == joined);
            sorted(changes.map(|(user, _)| user))
        };
        let changes = [changed(true), changed(false)];
        let count = self.members.len() as u64;
        presence::diff(out, channel, Some(changes), count, self.version + 1);
    }

    fn write_state(&self, channel: &str, names: bool, version: u64, out: &mut Vec<u8>) {
        let members = names.then(|| sorted(self.members.keys()));
        let count = self.members.len() as u64;
        presence::state(out, channel, members, count, version, None);
    }

    /// Somebody is told alone how many there are. Even if that is the old number again before the others are told, all are told.
    fn tell_alone(&mut self) {
        let count = self.members.len() as u64;
        if self.watched && self.told != Told::Names && self.told != Told::Number(Some(count)) {
            self.told = Told::Number(None);
        }
    }

    /// The frame for somebody who begins to watch.
    pub(super) fn state(&mut self, channel: &str) -> Bytes {
        self.tell_alone();
        if let Some(state) = &self.state {
            return state.clone();
        }
        let names = self.told == Told::Names;
        let mut frame = Vec::new();
        frame::write_text_with(&mut frame, |out| {
            self.write_state(channel, names, self.version, out);
        });
        let state = Bytes::from(frame);
        self.state = Some(state.clone());
        state
    }

    /// The text for somebody who asks once: with names if they would be told at all.
    pub(super) fn answer(
        &mut self,
        channel: &str,
        settings: &PresenceSettings,
        id: Option<&RawValue>,
    ) -> Vec<u8> {
        self.tell_alone();
        let mut out = Vec::new();
        let short = self.list_bytes <= settings.list_bytes_max();
        let names = short && (!self.watched || self.told == Told::Names);
        let members = names.then(|| sorted(self.members.keys()));
        let count = self.members.len() as u64;
        presence::state(&mut out, channel, members, count, self.version, id);
        out
    }

    /// The same about a channel in which nobody is.
    pub(super) fn answer_of_none(channel: &str, id: Option<&RawValue>) -> Vec<u8> {
        let mut out = Vec::new();
        presence::state(&mut out, channel, Some([""; 0]), 0, 0, id);
        out
    }

    /// How many there are, and the first of them by name.
    pub(super) fn first(&self, limit: usize) -> ChannelMembers {
        let mut members: Vec<UserId> = self.members.keys().cloned().collect();
        members.sort_unstable();
        members.truncate(limit);
        ChannelMembers {
            count: self.members.len(),
            members,
        }
    }
}
