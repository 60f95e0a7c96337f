//! What clients do with documents that several edit.

use serde_json::Value;
use shardwire_protocol::text::Operation;
use shardwire_protocol::websocket::frame::Kind;
use shardwire_shards::vocabulary::{
    AnswerId, Command, DocumentCommand, DocumentQuestion, DocumentText,
};

use super::{Outside, World};
use crate::checks::Seen;
use crate::clients::{Copy, Reaction, Stage};

/// From here on answers are about documents.
const DOCUMENT_ANSWERS: u64 = 1 << 32;

const PIECES: [&str; 6] = ["a", "bc", "é", "😭", "中", "\n"];

impl World<'_> {
    /// A client does something with one of the documents.
    pub(super) fn work_on_a_document(&mut self, client: usize) {
        self.give_up_copies();
        let document = self.random.below(self.scenario.documents.len());
        let name = self.scenario.documents[document].clone();
        let held = self.copies.iter().position(|copy| {
            !copy.dropped && copy.holder == Some(client) && copy.document == document
        });
        let Some(at) = held else {
            let at = self.some_copy(client, document);
            let text = self.copies[at].join(&name);
            return self.say_about_document(client, &text);
        };
        if let Some(reaction) = self.copies[at].postponed.take() {
            return self.react(client, at, &reaction);
        }
        match self.random.weighted(&[20, 3, 1]) {
            0 => {
                if !self.copies[at].joined || self.copies[at].under_way.is_some() {
                    return;
                }
                let operation = self.some_edit(at);
                self.copies[at].under_way = Some(operation);
                let text = self.copies[at].edit(&name);
                if let Some(text) = text {
                    self.say_about_document(client, &text);
                }
            }
            1 => {
                let position = self.random.below(20);
                let text = format!(
                    "{{\"type\":\"cursor-move\",\"documentId\":\"{name}\",\"position\":{position},\"id\":\"{at}c\"}}"
                );
                self.say_about_document(client, &text);
            }
            _ => {
                self.copies[at].dropped = true;
                let text = format!(
                    "{{\"type\":\"leave-document\",\"documentId\":\"{name}\",\"id\":\"{at}l\"}}"
                );
                self.say_about_document(client, &text);
            }
        }
    }

    /// A new copy, or one that its user has had on another connection.
    fn some_copy(&mut self, client: usize, document: usize) -> usize {
        let user = self.clients[client].user;
        let orphan = self.copies.iter().position(|copy| {
            !copy.dropped && copy.holder.is_none() && copy.document == document && copy.user == user
        });
        if let Some(at) = orphan {
            self.copies[at].holder = Some(client);
            return at;
        }
        let at = self.copies.len();
        self.copies.push(Copy::new(at, document, user, client));
        at
    }

    /// Copies of clients that say nothing any more wait for their user to come back; nobody's are lost.
    fn give_up_copies(&mut self) {
        for copy in &mut self.copies {
            if let Some(holder) = copy.holder
                && self.clients[holder].stage != Stage::Speaking
            {
                (copy.holder, copy.joined) = (None, false);
                copy.dropped |= copy.user.is_none();
            }
        }
    }

    fn some_edit(&mut self, copy: usize) -> Operation {
        let length = self.copies[copy].text.length() as usize;
        let position = self.random.below(length + 1);
        let deleted = self.random.below(3).min(length - position);
        let mut inserted = self.random.pick(&PIECES);
        if deleted > 0 && self.random.chance(50) {
            inserted = "";
        }
        Operation::replacement(position as u32, deleted as u32, inserted)
            .expect("a short edit of a short text")
    }

    fn say_about_document(&mut self, client: usize, text: &str) {
        self.trace
            .line(self.ms, format_args!("client {client} says {text:.160}"));
        let pings = self.say(client, |speech| speech.message(Kind::Text, text.as_bytes()));
        for _ in 0..pings {
            self.see(Seen::PingSaid {
                client,
                payload: b"between",
            });
        }
    }

    /// A client hears something about a document.
    pub(super) fn heard_of_document(&mut self, client: usize, message: &Value) {
        let by_id = || {
            let id = message["id"].as_str()?;
            id[..id.len() - 1].parse::<usize>().ok()
        };
        let document = message["documentId"].as_str();
        let at = match document {
            Some(name) => self.copies.iter().position(|copy| {
                !copy.dropped
                    && copy.holder == Some(client)
                    && self.scenario.documents[copy.document] == name
            }),
            None => by_id().filter(|at| {
                let copy = self.copies.get(*at);
                copy.is_some_and(|copy| !copy.dropped && copy.holder == Some(client))
            }),
        };
        // It has left, or what it had has gone to another connection.
        let Some(at) = at else { return };
        let reaction = match self.copies[at].hear(message) {
            Ok(reaction) => reaction,
            Err(what) => {
                return self.see(Seen::Misled {
                    client,
                    what: &what,
                });
            }
        };
        if self.clients[client].stage == Stage::Speaking {
            self.react(client, at, &reaction);
        }
    }

    /// In the calm: says once more what the server had no room for. False: there is nothing.
    pub(super) fn say_what_was_postponed(&mut self) -> bool {
        self.give_up_copies();
        let mut said = false;
        for at in 0..self.copies.len() {
            let copy = &mut self.copies[at];
            if let Some(client) = copy.holder.filter(|_| !copy.dropped)
                && let Some(reaction) = copy.postponed.take()
            {
                self.react(client, at, &reaction);
                said = true;
            }
        }
        said
    }

    fn react(&mut self, client: usize, at: usize, reaction: &Reaction) {
        let name = self.scenario.documents[self.copies[at].document].clone();
        let text = match reaction {
            Reaction::Nothing => None,
            Reaction::Edit => self.copies[at].edit(&name),
            Reaction::Join => Some(self.copies[at].join(&name)),
        };
        if let Some(text) = text {
            self.say_about_document(client, &text);
        }
    }

    /// Asks the homes of all documents what is in them.
    pub(super) fn ask_for_documents(&mut self) {
        self.give_up_copies();
        for document in 0..self.scenario.documents.len() {
            let channel = self.scenario.document_channel(document);
            let home = self.scenario.placement.home_of_channel(&channel).index();
            let question = DocumentQuestion {
                document: channel.into(),
                command: DocumentCommand::Read,
                answer: Some(AnswerId(DOCUMENT_ANSWERS + document as u64)),
            };
            let command = Command::Document(Box::new(question));
            self.put_in(home, Outside::Command(command));
        }
    }

    pub(super) fn document_told(&mut self, id: AnswerId, text: &DocumentText) {
        let document = (id.0 - DOCUMENT_ANSWERS) as usize;
        self.see(Seen::DocumentText { document, text });
    }
}
