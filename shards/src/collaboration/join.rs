//! Coming and going.

use std::collections::BTreeSet;
use std::hash::Hash;

use super::Refused;
use super::authors::{Author, Progress};
use super::document::{Access, Document, Member};
use super::outputs::{Ask, Catchup, News, Output, Reply, State};
use crate::bounds::{DOCUMENT_HELD_MAX, DOCUMENT_MISSED_BYTES_MAX, REPLICA_NAME_BYTES_MAX};
use crate::vocabulary::UserId;

/// What a connection says that joins, be it for the first time, again on a new connection, or because it has lost the thread.
#[derive(Clone, PartialEq, Debug)]
pub struct Joining {
    /// Whose replica it is.
    pub author: Author,
    /// What it may do.
    pub access: Access,
    /// Epoch and version of what the replica has: if the log reaches back to it, it gets what it missed, else everything. None:
    /// it has nothing.
    pub has: Option<(u64, u64)>,
    /// The number of its last edit that was acknowledged; 0 if none was.
    pub acknowledged: u64,
    /// Comes back with the answer.
    pub ask: Ask,
}

impl<M: Copy + Eq + Hash> Document<M> {
    pub(super) fn let_in(&mut self, member: M, joining: Joining) -> Result<(), Refused> {
        let Joining {
            author,
            access,
            has,
            acknowledged,
            ask,
        } = joining;
        if !(1..=REPLICA_NAME_BYTES_MAX).contains(&author.replica.len()) {
            return Err(Refused::Misplaced);
        }
        let known = self.authors.get(&author);
        let before = known.and_then(|progress| progress.member);
        let replaces = before.is_some() || self.members.contains_key(&member);
        if !replaces && self.members.len() >= self.settings.max_members {
            return Err(Refused::Full);
        }
        if self.held.len() >= DOCUMENT_HELD_MAX {
            return Err(Refused::Overloaded);
        }
        // The connection may have been here as another author, the author on another connection.
        if (self.members.get(&member)).is_some_and(|own| own.author != author) {
            self.leave(member);
        }
        let present = self.user_is_here(&author);
        if let Some(before) = before.filter(|before| *before != member) {
            self.members.remove(&before);
            self.forget_cursor(&author.user, before);
            self.withdraw(before);
            // At once: it waits for nothing that is stored, and must not come behind an answer to its joining again.
            let output = Output::Reply {
                to: before,
                reply: Reply::Displaced,
                ask: Ask::default(),
            };
            self.held.push_front((0, output));
        }
        let last_number = match self.authors.get(&author) {
            Some(progress) => Some(progress.number),
            // Had anything come in since then, its author would be known.
            None => has
                .filter(|(epoch, version)| {
                    *epoch == self.epoch
                        && version.saturating_add(1) >= self.authors.complete_from()
                })
                .map(|_| acknowledged),
        };
        // Before the answer, which says who is here.
        let entering = Member {
            author: author.clone(),
            access,
        };
        self.members.insert(member, entering);
        let caught_up = has.filter(|(epoch, version)| {
            *epoch == self.epoch
                && *version <= self.stored
                && self.log.reaches(*version)
                && self.log.bytes_since(*version) <= DOCUMENT_MISSED_BYTES_MAX
        });
        match caught_up {
            Some((_, version)) => {
                let missed = Catchup {
                    edits: self.log.entries_since(version),
                    author: author.clone(),
                    epoch: self.epoch,
                    version: self.version,
                    access,
                    users: self.users(),
                    cursors: self.cursors_but(&author.user),
                };
                self.reply(member, Reply::Missed(missed), ask);
            }
            None => self.tell_state(member, &author, access, last_number, ask),
        }
        match self.authors.get_mut(&author) {
            Some(progress) => progress.member = Some(member),
            None => {
                let progress = Progress {
                    number: acknowledged,
                    version: 0,
                    member: Some(member),
                };
                self.authors.insert(author.clone(), progress);
            }
        }
        if !present {
            self.publish(Some(member), News::Joined(author.user));
        }
        Ok(())
    }

    /// A connection is gone, or has had enough. One that is no member: nothing happens.
    pub fn leave(&mut self, member: M) {
        let Some(Member { author, .. }) = self.members.remove(&member) else {
            return;
        };
        self.withdraw(member);
        self.forget_cursor(&author.user, member);
        if let Some(progress) = self.authors.get_mut(&author) {
            progress.member = None;
        }
        self.authors.forget_idle(&author);
        if !self.user_is_here(&author) {
            self.publish(None, News::Left(author.user));
        }
    }

    fn user_is_here(&self, author: &Author) -> bool {
        (self.members.values()).any(|member| member.author.user == author.user)
    }

    /// What was to be told to a member is not told any more.
    fn withdraw(&mut self, member: M) {
        (self.held)
            .retain(|(_, output)| !matches!(output, Output::Reply { to, .. } if *to == member));
    }

    /// A member may do something else from now on. One that is no member: nothing happens.
    pub fn set_access(&mut self, member: M, access: Access) {
        if let Some(member) = self.members.get_mut(&member) {
            member.access = access;
        }
    }

    /// Who is a member, each user once, in the order of their names: the same in every run.
    #[must_use]
    pub fn users(&self) -> Vec<UserId> {
        let users = self.members.values().map(|member| &member.author.user);
        let once: BTreeSet<&UserId> = users.collect();
        once.into_iter().cloned().collect()
    }

    pub(super) fn tell_state(
        &mut self,
        member: M,
        author: &Author,
        access: Access,
        last_number: Option<u64>,
        ask: Ask,
    ) {
        let state = State {
            epoch: self.epoch,
            version: self.version,
            content: self.content.clone(),
            last_number,
            access,
            users: self.users(),
            cursors: self.cursors_but(&author.user),
        };
        self.reply(member, Reply::State(state), ask);
    }
}
