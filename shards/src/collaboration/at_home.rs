//! At a document's home: what members ask is done, and what comes of it is told.

use bytes::Bytes;

use shardwire_protocol::codes::ErrorCode;
use shardwire_protocol::envelope::outbound::documents::{self, Present, Standing};
use shardwire_protocol::text::Operation;

use super::outputs::{Ask, Entry, News, Output, Reply};
use super::requests::document_id;
use super::storing::Disk;
use super::unloaded::Wish;
use super::{Access, Author, CollaborationSettings, Document, Edit, Edited, Joining, Refused};
use crate::mesh::Lane;
use crate::routing::kept_reply;
use crate::shard::Shard;
use crate::vocabulary::{
    Answer, AnswerId, ChannelName, ConnectionId, DocumentAsk, DocumentCommand, DocumentEdit,
    DocumentJoin, DocumentMessage, DocumentQuestion, DocumentText, DocumentTold, LogKind, Now,
    ShardMessage,
};

/// Nanoseconds of one step of bringing an edit behind others, for what a connection may take of a turn.
const TRANSFORM_STEP_NS: u64 = 10;

fn access(writes: bool) -> Access {
    match writes {
        true => Access::Write,
        false => Access::Read,
    }
}

/// Whom others see when the server edits.
const SERVER: &str = "$server";

impl Shard {
    pub(super) fn document_asked(
        &mut self,
        now: Now,
        name: ChannelName,
        id: ConnectionId,
        ask: DocumentAsk,
    ) {
        let Some(Wish::Ask(id, ask)) = self.wait_for_document(&name, Wish::Ask(id, ask)) else {
            return;
        };
        match ask {
            DocumentAsk::Join(join) => self.document_joined(name.clone(), id, *join),
            DocumentAsk::Edit(edit) => self.document_edited(&name, id, *edit),
            DocumentAsk::Cursor {
                version,
                position,
                reply,
            } => self.cursor_moved(now, &name, id, version, position, reply),
            DocumentAsk::Writes(writes) => {
                if let Some(document) = self.documents.get_mut(&name) {
                    document.set_access(id, access(writes));
                }
            }
            DocumentAsk::Leave => {
                if let Some(document) = self.documents.get_mut(&name) {
                    document.leave(id);
                    self.note_audience(&name, id);
                }
            }
        }
        self.carry_out(now, &name);
    }

    fn document_joined(&mut self, name: ChannelName, id: ConnectionId, join: DocumentJoin) {
        let ticket = Some(join.ticket);
        let reply = join.reply.clone();
        let refuse = |code| DocumentTold::Refused {
            ticket,
            code,
            reply,
        };
        let Some(settings) = self.settings.collaboration else {
            return self.tell_member(&name, id, refuse(ErrorCode::UnknownType));
        };
        let Some(document) = self.open_document(&name, &settings) else {
            return self.tell_member(&name, id, refuse(ErrorCode::Overloaded));
        };
        let joining = Joining {
            author: Author {
                user: join.user,
                replica: join.replica,
            },
            access: access(join.writes),
            has: join.has,
            acknowledged: join.acknowledged,
            ask: Ask {
                ticket: Some(join.ticket),
                reply: join.reply,
            },
        };
        match document.join(id, joining) {
            Ok(()) => {
                self.counters.document_joins += 1;
                self.note_audience(&name, id);
            }
            Err(refused) => {
                let code = self.refusal(&name, refused);
                self.tell_member(&name, id, refuse(code));
            }
        }
    }

    /// The document, begun if there is none. None: there are as many as there may be.
    fn open_document(
        &mut self,
        name: &ChannelName,
        settings: &CollaborationSettings,
    ) -> Option<&mut Document<ConnectionId>> {
        if self.documents.get_mut(name).is_none() {
            if !self.documents.may_begin(settings) {
                return None;
            }
            let epoch = self.history.next_epoch().0;
            let document = Document::new(settings.document, epoch);
            self.documents
                .insert(name.clone(), document, Disk::default());
        }
        self.documents.get_mut(name)
    }

    /// Something asked from outside.
    pub(crate) fn document_command(&mut self, now: Now, question: DocumentQuestion) {
        let DocumentQuestion {
            document: name,
            command,
            answer,
        } = question;
        let wish = Wish::Command(command, answer);
        let Some(Wish::Command(command, answer)) = self.wait_for_document(&name, wish) else {
            return;
        };
        match command {
            DocumentCommand::Read if self.settings.collaboration.is_none() => {
                self.tell(answer, Answer::Document(Err(ErrorCode::UnknownType)));
            }
            DocumentCommand::Read => {
                let document = self.documents.get_mut(&name);
                let text = document.map_or_else(DocumentText::default, |document| DocumentText {
                    content: document.content().to_string(),
                    version: document.version(),
                });
                self.tell(answer, Answer::Document(Ok(text)));
            }
            DocumentCommand::Edit { version, operation } => {
                if let Err(code) = self.edit_from_outside(&name, version, operation, answer) {
                    self.tell(answer, Answer::Edited(Err(code)));
                }
                self.carry_out(now, &name);
            }
            DocumentCommand::Forget => {
                let unloaded = self.forget_unloaded(now, &name);
                if unloaded {
                    return self.tell(answer, Answer::Count(1));
                }
                let members: Option<Vec<ConnectionId>> = self
                    .documents
                    .get_mut(&name)
                    .map(|document| document.members().collect());
                self.forget_stored(&name);
                self.documents.remove(&name);
                for &member in members.iter().flatten() {
                    let shard = member.shard();
                    self.channels.homes.note(name.clone(), shard, false);
                    let mut text = Vec::new();
                    documents::left(&mut text, document_id(&name), Some("forgotten"), None);
                    self.tell_member(&name, member, DocumentTold::Left(text.into()));
                }
                self.tell(answer, Answer::Count(usize::from(members.is_some())));
            }
        }
    }

    fn edit_from_outside(
        &mut self,
        name: &ChannelName,
        version: Option<u64>,
        operation: Operation,
        answer: Option<AnswerId>,
    ) -> Result<(), ErrorCode> {
        let settings = self.settings.collaboration;
        let settings = settings.ok_or(ErrorCode::UnknownType)?;
        let grows = operation.text_bytes() > 0;
        if !self.can_take_edits(name, &settings, grows) {
            return Err(ErrorCode::Overloaded);
        }
        let document = self.open_document(name, &settings);
        let document = document.ok_or(ErrorCode::Overloaded)?;
        let token = answer.map_or(u64::MAX, |answer| answer.0);
        let done = document.edit_from_outside(&SERVER.into(), version, operation, token);
        self.counters.document_edits += u64::from(done.is_ok());
        done.map_err(|refused| self.refusal(name, refused))
    }

    /// Whether what an edit brings about can be stored, and told to all.
    fn can_take_edits(&self, name: &str, settings: &CollaborationSettings, grows: bool) -> bool {
        let room = !grows || self.documents.bytes() < settings.memory;
        let store = !settings.document.stored || self.storing.has_room(LogKind::Document);
        room && store && self.ways_are_free(name)
    }

    /// What is told of a refusal.
    fn refusal(&mut self, name: &str, refused: Refused) -> ErrorCode {
        match refused {
            Refused::Unstored => {
                let disk = self.documents.disk_of(name);
                disk.map_or(ErrorCode::StorageFailed, |(_, disk)| disk.refusal())
            }
            Refused::NotJoined => ErrorCode::NotJoined,
            Refused::ReadOnly => ErrorCode::NotPermitted,
            Refused::Full => ErrorCode::TooManyMembers,
            Refused::Overloaded => ErrorCode::Overloaded,
            Refused::Misplaced => ErrorCode::OutOfStep,
            Refused::TooLarge => ErrorCode::DocumentTooLarge,
        }
    }

    fn document_edited(&mut self, name: &ChannelName, id: ConnectionId, edit: DocumentEdit) {
        let grows = edit.operation.text_bytes() > 0;
        let takes = (self.settings.collaboration)
            .is_some_and(|settings| self.can_take_edits(name, &settings, grows));
        let reply = edit.reply.clone();
        let done = match self.documents.get_mut(name) {
            Some(_) if !takes => Err(Refused::Overloaded),
            Some(document) => {
                let done = document.edit(
                    id,
                    Edit {
                        version: edit.version,
                        number: edit.number,
                        operation: edit.operation,
                        ask: Ask {
                            ticket: None,
                            reply: edit.reply,
                        },
                    },
                );
                self.work += document.take_work() as u64 * TRANSFORM_STEP_NS;
                done
            }
            None => Err(Refused::NotJoined),
        };
        match done {
            Ok(Edited::Accepted) => self.counters.document_edits += 1,
            Ok(Edited::Repeated) => self.counters.document_edits_repeated += 1,
            Ok(Edited::Resent) => self.counters.document_edits_resent += 1,
            Err(refused) => {
                self.counters.document_edits_refused += 1;
                let code = self.refusal(name, refused);
                self.refuse_member(name, id, code, reply);
            }
        }
    }

    fn cursor_moved(
        &mut self,
        now: Now,
        name: &ChannelName,
        id: ConnectionId,
        version: Option<u64>,
        position: u32,
        reply: Option<Box<str>>,
    ) {
        let moved = match self.documents.get_mut(name) {
            Some(document) => {
                let version = version.unwrap_or(document.told_version());
                document.move_cursor(id, version, position)
            }
            None => Err(Refused::NotJoined),
        };
        match moved {
            Ok(()) => {
                if self.documents.cursor_moved(name, now.ms) {
                    self.tell_cursors(now, name);
                }
            }
            Err(refused) => {
                let code = self.refusal(name, refused);
                self.refuse_member(name, id, code, reply);
            }
        }
    }

    fn tell_cursors(&mut self, now: Now, name: &ChannelName) {
        if !self.ways_are_free(name) {
            return self.documents.postpone_cursors(name, now.ms);
        }
        if let Some(document) = self.documents.get_mut(name) {
            document.flush_cursors();
        }
    }

    /// Cursors that have moved are told, and documents that nobody comes back to are let go.
    pub(crate) fn look_after_documents(&mut self, now: Now) {
        while let Some(name) = self.documents.next_due(now.ms) {
            if self.documents.are_cursors_due(&name, now.ms) {
                self.tell_cursors(now, &name);
                self.carry_out(now, &name);
            }
            if self.documents.is_store_due(&name, now.ms) {
                self.store_what_stands(now, &name);
            }
            if let Some(epoch) = self.documents.unload_if_due(&name, now.ms) {
                self.forget_document_log(&name, epoch);
            }
        }
    }

    /// Whether the shard of this connection has members of the document has maybe changed.
    fn note_audience(&mut self, name: &ChannelName, id: ConnectionId) {
        let shard = id.shard();
        let Some(document) = self.documents.get_mut(name) else {
            return;
        };
        let on = document.members().any(|member| member.shard() == shard);
        self.channels.homes.note(name.clone(), shard, on);
    }

    /// Does what the document says is to be done.
    pub(super) fn carry_out(&mut self, now: Now, name: &ChannelName) {
        let Some(settings) = self.settings.collaboration else {
            return;
        };
        while let Some(document) = self.documents.get_mut(name)
            && let Some(output) = document.poll_output()
        {
            match output {
                Output::Reply { to, reply, ask } => self.tell_reply(name, to, reply, ask),
                Output::Publish { except, news } => self.tell_news(name, except, &news),
                Output::Settled { token, outcome } => {
                    let outcome = outcome.map_err(|refused| self.refusal(name, refused));
                    let answer = (token != u64::MAX).then_some(AnswerId(token));
                    self.tell(answer, Answer::Edited(outcome));
                }
                Output::Store(record) => self.store_document(now, name, record),
            }
        }
        self.documents
            .settle(name, now.ms, settings.unload_after_ms);
    }

    fn tell_news(&mut self, name: &ChannelName, except: Option<ConnectionId>, news: &News) {
        let id = document_id(name);
        let exclude = except.as_slice();
        match news {
            News::Edit(entry) => self.tell_audience(name, exclude, |out| {
                documents::edit(out, id, edit_on_the_wire(entry, None));
            }),
            News::Cursor {
                user,
                position,
                version,
            } => {
                self.counters.document_cursors += 1;
                self.tell_audience(name, exclude, |out| {
                    documents::cursor_update(out, id, user, *position, *version);
                });
            }
            News::Joined(user) => self.tell_audience(name, exclude, |out| {
                documents::user_joined(out, id, user);
            }),
            News::Left(user) => self.tell_audience(name, exclude, |out| {
                documents::user_left(out, id, user);
            }),
        }
    }

    fn tell_reply(&mut self, name: &ChannelName, to: ConnectionId, reply: Reply, ask: Ask) {
        let document = document_id(name);
        if reply == Reply::Unstored {
            let code = self.refusal(name, Refused::Unstored);
            return self.refuse_member(name, to, code, ask.reply);
        }
        let id = kept_reply(ask.reply);
        let id = id.as_deref();
        let mut text = Vec::new();
        match reply {
            Reply::State(state) => {
                text.reserve(state.content.bytes() + 256);
                let standing = Standing {
                    document,
                    version: state.version,
                    epoch: state.epoch,
                    read_only: state.access == Access::Read,
                };
                let present = Present {
                    users: &state.users,
                    cursors: &state.cursors,
                };
                let number = state.last_number;
                documents::state(&mut text, standing, &state.content, number, present, id);
            }
            Reply::Missed(missed) => {
                let standing = Standing {
                    document,
                    version: missed.version,
                    epoch: missed.epoch,
                    read_only: missed.access == Access::Read,
                };
                let present = Present {
                    users: &missed.users,
                    cursors: &missed.cursors,
                };
                let edits = missed
                    .edits
                    .iter()
                    .map(|entry| edit_on_the_wire(entry, Some(&missed.author)));
                documents::edits(&mut text, standing, edits, present, id);
            }
            Reply::Acknowledged { number, version } => {
                documents::edit_ack(&mut text, document, version, number, id);
            }
            Reply::Unstored => return,
            Reply::Displaced => {
                documents::left(&mut text, document, Some("replaced"), None);
                self.note_audience(name, to);
                return self.tell_member(name, to, DocumentTold::Left(text.into()));
            }
        }
        let text = Bytes::from(text);
        let told = match ask.ticket {
            Some(ticket) => DocumentTold::Joined { ticket, text },
            None => DocumentTold::Text(text),
        };
        self.tell_member(name, to, told);
    }

    pub(super) fn refuse_member(
        &mut self,
        name: &ChannelName,
        id: ConnectionId,
        code: ErrorCode,
        reply: Option<Box<str>>,
    ) {
        let told = DocumentTold::Refused {
            ticket: None,
            code,
            reply,
        };
        self.tell_member(name, id, told);
    }

    pub(super) fn tell_member(&mut self, name: &ChannelName, id: ConnectionId, told: DocumentTold) {
        if id.shard() == self.id {
            return self.document_told(name, id, told);
        }
        let message = DocumentMessage::Tell {
            document: name.clone(),
            connection: id,
            told,
        };
        let message = ShardMessage::Document(Box::new(message));
        self.ends.post(id.shard(), Lane::Delivery, message);
    }
}

/// An edit as the wire has it; its number only for `own`'s.
fn edit_on_the_wire<'e>(entry: &'e Entry, own: Option<&Author>) -> documents::Edit<'e> {
    documents::Edit {
        version: entry.version,
        operation: &entry.operation,
        user: &entry.author.user,
        sequence: own
            .is_some_and(|own| *own == entry.author)
            .then_some(entry.number),
    }
}
