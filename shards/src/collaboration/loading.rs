//! A document that nobody has been in for a while is let go of, and read again when somebody wants it.

use shardwire_protocol::codes::ErrorCode;

use super::storing::read_back;
use super::unloaded::{Wish, Wished};
use crate::shard::Shard;
use crate::vocabulary::{
    Answer, ChannelName, DocumentAsk, DocumentCommand, DocumentQuestion, DocumentTold, Effect,
    Epoch, LoadFailure, LoadTicket, LogName, Now, RestoredLog, StoreRequest,
};

impl Shard {
    /// What is asked of a document that is in the store only waits until it has been read. None: it waits, or was refused.
    pub(super) fn wait_for_document(&mut self, name: &ChannelName, wish: Wish) -> Option<Wish> {
        if self.documents.get_mut(name).is_some() {
            return Some(wish);
        }
        match self.documents.unloaded.wish(name, wish) {
            Wished::Now(wish) => return Some(wish),
            Wished::Waits => self.load_documents(),
            Wished::Refused(wish) => self.refuse_wish(name, wish, ErrorCode::Overloaded),
        }
        None
    }

    /// Asks the store for as many of those that are wanted as may be under way at once.
    fn load_documents(&mut self) {
        let Some(settings) = self.settings.collaboration else {
            return;
        };
        while let Some((ticket, name, epoch)) = self.documents.unloaded.next_load() {
            if !self.documents.has_room(&settings) {
                self.refuse_load(ticket, ErrorCode::Overloaded);
                continue;
            }
            let log = LogName::document(name);
            let load = StoreRequest::Load { ticket, log, epoch };
            self.effects.push_back(Effect::Store(Box::new(load)));
        }
    }

    /// The store has read a document, or has not.
    pub(crate) fn document_loaded(
        &mut self,
        now: Now,
        ticket: LoadTicket,
        outcome: Result<RestoredLog, LoadFailure>,
    ) {
        match outcome {
            Ok(log) => self.document_came(now, ticket, &log),
            Err(failure) => {
                self.counters.document_loads_failed += 1;
                let code = match failure {
                    LoadFailure::Full => ErrorCode::StorageFull,
                    LoadFailure::Failed => ErrorCode::StorageFailed,
                };
                self.refuse_load(ticket, code);
            }
        }
        self.load_documents();
    }

    fn document_came(&mut self, now: Now, ticket: LoadTicket, log: &RestoredLog) {
        let Some(settings) = self.settings.collaboration else {
            return;
        };
        let Some((name, wishes)) = self.documents.unloaded.answered(ticket) else {
            return;
        };
        let Some((document, disk)) = read_back(&settings, log) else {
            // What was stored is not one document. It stays where it is, and what it was wanted for is refused.
            self.counters.document_loads_failed += 1;
            for wish in wishes {
                self.refuse_wish(&name, wish, ErrorCode::StorageFailed);
            }
            return;
        };
        self.counters.document_loads += 1;
        self.documents.unloaded.remove(&name);
        self.documents.insert(name.clone(), document, disk);
        for wish in wishes {
            self.grant(now, name.clone(), wish);
        }
        self.documents
            .settle(&name, now.ms, settings.unload_after_ms);
    }

    /// Does what has waited for a document.
    fn grant(&mut self, now: Now, name: ChannelName, wish: Wish) {
        match wish {
            Wish::Ask(connection, ask) => self.document_asked(now, name, connection, ask),
            Wish::Command(command, answer) => {
                let question = DocumentQuestion {
                    document: name,
                    command,
                    answer,
                };
                self.document_command(now, question);
            }
        }
    }

    fn refuse_load(&mut self, ticket: LoadTicket, code: ErrorCode) {
        let Some((name, wishes)) = self.documents.unloaded.answered(ticket) else {
            return;
        };
        for wish in wishes {
            self.refuse_wish(&name, wish, code);
        }
    }

    fn refuse_wish(&mut self, name: &ChannelName, wish: Wish, code: ErrorCode) {
        match wish {
            Wish::Ask(id, DocumentAsk::Join(join)) => {
                let told = DocumentTold::Refused {
                    ticket: Some(join.ticket),
                    code,
                    reply: join.reply,
                };
                self.tell_member(name, id, told);
            }
            Wish::Ask(id, DocumentAsk::Edit(edit)) => {
                self.counters.document_edits_refused += 1;
                self.refuse_member(name, id, code, edit.reply);
            }
            Wish::Ask(id, DocumentAsk::Cursor { reply, .. }) => {
                self.refuse_member(name, id, code, reply);
            }
            Wish::Ask(_, DocumentAsk::Writes(_) | DocumentAsk::Leave) => {}
            Wish::Command(command, answer) => {
                let told = match command {
                    DocumentCommand::Read => Answer::Document(Err(code)),
                    DocumentCommand::Edit { .. } => Answer::Edited(Err(code)),
                    DocumentCommand::Forget => Answer::Count(0),
                };
                self.tell(answer, told);
            }
        }
    }

    /// Ends a document that is in the store only. False: there is none.
    pub(super) fn forget_unloaded(&mut self, now: Now, name: &ChannelName) -> bool {
        let Some((epoch, wishes)) = self.documents.unloaded.remove(name) else {
            return false;
        };
        self.forget_document_log(name, epoch);
        // Who was coming comes into a new one.
        for wish in wishes {
            self.grant(now, name.clone(), wish);
        }
        true
    }

    pub(super) fn forget_document_log(&mut self, name: &ChannelName, epoch: Epoch) {
        let log = LogName::document(name.clone());
        let forget = StoreRequest::Forget { log, epoch };
        self.effects.push_back(Effect::Store(Box::new(forget)));
    }
}
