//! When the store refuses: what it does not have has not happened.

use std::collections::VecDeque;
use std::hash::Hash;

use super::Refused;
use super::document::Document;
use super::outputs::{Ask, News, Output, Reply};

impl<M: Copy + Eq + Hash> Document<M> {
    /// The store has refused an edit: it, and those behind it, are undone. Nobody has been told of them; their authors are told to send
    /// them again. Until [`recovered`](Self::recovered), no edit is taken.
    pub fn roll_back(&mut self) {
        self.refused = true;
        self.records.clear();
        if self.unstored.is_empty() {
            return;
        }
        for entry in std::mem::take(&mut self.unstored).iter().rev() {
            if let Some(progress) = self.authors.get_mut(&entry.author) {
                // That its version is a later one than it was matters to nobody: the author has heard of it.
                (progress.number, progress.version) = (entry.number - 1, self.stored);
            }
        }
        self.content = self.stored_content.clone();
        self.version = self.stored;
        self.log.truncate(self.stored);
        let length = self.content.length();
        for cursor in self.cursors.values_mut() {
            cursor.position = cursor.position.min(length);
        }
        for (version, output) in std::mem::take(&mut self.held) {
            self.hold_again(version, output);
        }
    }

    /// The store works again, and has what stands.
    pub fn recovered(&mut self) {
        self.refused = false;
    }

    /// What was to be told of a version that has not come to be.
    fn hold_again(&mut self, version: u64, output: Output<M>) {
        if version <= self.stored {
            return self.held.push_back((version, output));
        }
        match output {
            Output::Reply {
                to,
                reply: Reply::Acknowledged { .. },
                ask,
            } => self.reply(to, Reply::Unstored, ask),
            Output::Reply {
                to,
                reply: Reply::State(_) | Reply::Missed(_),
                ask,
            } => self.tell_anew(to, ask),
            Output::Publish {
                news: News::Edit(_) | News::Cursor { .. },
                ..
            } => {}
            Output::Settled { token, .. } => {
                let outcome = Err(Refused::Unstored);
                self.held
                    .push_back((self.stored, Output::Settled { token, outcome }));
            }
            other => self.held.push_back((self.stored, other)),
        }
    }

    fn tell_anew(&mut self, to: M, ask: Ask) {
        let Some(member) = self.members.get(&to) else {
            return;
        };
        let (author, access) = (member.author.clone(), member.access);
        let number = self.authors.get(&author).map(|progress| progress.number);
        self.tell_state(to, &author, access, number, ask);
    }
}

/// What a restored document needs of the edits before its snapshot: those that lead to it, each with the length of the text before it,
/// the last first.
pub(super) fn leading_to<T>(
    version: u64,
    length: u32,
    mut edits: VecDeque<T>,
    about: impl Fn(&T) -> (u64, u32, u32, u32),
) -> Vec<(T, u32)> {
    let (mut version, mut length, mut found) = (version, length, Vec::new());
    while let Some(edit) = edits.pop_back() {
        let (made, inserted, deleted, needed) = about(&edit);
        if made != version {
            continue;
        }
        let Some(before) = length
            .checked_sub(inserted)
            .and_then(|rest| rest.checked_add(deleted))
        else {
            break;
        };
        if needed > before {
            break;
        }
        found.push((edit, before));
        (version, length) = (version - 1, before);
    }
    found
}
