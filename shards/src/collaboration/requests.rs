//! On the shard of a member's connection: what its client asks, on the way to the document's home, and what comes back.

use std::sync::Arc;

use shardwire_protocol::codes::ErrorCode;
use shardwire_protocol::envelope::{Inbound, outbound::documents};
use shardwire_protocol::text::{Kind, Operation};

use crate::bounds::REPLICA_NAME_BYTES_MAX;
use crate::channels::{DOCUMENT_PREFIX, document_channel};
use crate::connections::Connection;
use crate::mesh::Lane;
use crate::permissions::Action;
use crate::routing::kept_reply;
use crate::shard::Shard;
use crate::vocabulary::{
    ChannelName, ConnectionId, DocumentAsk, DocumentEdit, DocumentJoin, DocumentMessage,
    DocumentTold, Now, ShardMessage, UserId,
};

/// The messages about documents (contract L3, L5, L6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum DocumentRequest {
    Join,
    Leave,
    Edit,
    MoveCursor,
}

impl DocumentRequest {
    /// By the `type` of a message.
    pub(crate) fn from_kind(kind: &str) -> Option<Self> {
        match kind {
            "join-document" => Some(Self::Join),
            "leave-document" => Some(Self::Leave),
            "edit" => Some(Self::Edit),
            "cursor-move" => Some(Self::MoveCursor),
            _ => None,
        }
    }
}

/// The name rules about a document speak of: `document:…`.
fn ruled_name(document: &str) -> &str {
    document.strip_prefix('$').unwrap_or(document)
}

/// What clients call it.
pub(crate) fn document_id(document: &str) -> &str {
    document.strip_prefix(DOCUMENT_PREFIX).unwrap_or(document)
}

/// Whether a text has characters that take six bytes of JSON each: nobody types them, and a document full of them would be told in
/// six times its size. Tabs, line ends, backspaces and form feeds take two.
fn has_bulky_characters(operation: &Operation) -> bool {
    let bulky = |byte: u8| byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r' | 0x08 | 0x0c);
    let mut inserts = operation
        .components()
        .filter(|component| component.kind == Kind::Insert);
    inserts.any(|component| component.text.bytes().any(bulky))
}

impl Shard {
    /// A client's message about a document.
    ///
    /// # Errors
    /// What the client is to be told at once; what its home refuses, it says itself.
    pub(crate) fn ask_of_document(
        &mut self,
        id: ConnectionId,
        request: DocumentRequest,
        inbound: &Inbound<'_>,
    ) -> Result<(), ErrorCode> {
        let named = inbound.document()?;
        let document = document_channel(&named).ok_or(ErrorCode::InvalidMessage)?;
        let document = self.channel_name(&document);
        let reply = inbound.id.map(|raw| raw.get().into());
        let ask = match request {
            DocumentRequest::Join => return self.join_document(id, document, inbound, reply),
            DocumentRequest::Leave => {
                self.leave_document(id, &document);
                let reply = kept_reply(reply);
                self.answer(id, |out| {
                    documents::left(out, &named, None, reply.as_deref())
                });
                return Ok(());
            }
            DocumentRequest::Edit => {
                let operation = inbound.operation()?;
                if has_bulky_characters(&operation) {
                    return Err(ErrorCode::InvalidOperation);
                }
                DocumentAsk::Edit(Box::new(DocumentEdit {
                    version: inbound.version()?.ok_or(ErrorCode::InvalidMessage)?,
                    number: inbound.sequence()?,
                    operation,
                    reply,
                }))
            }
            DocumentRequest::MoveCursor => DocumentAsk::Cursor {
                version: inbound.version()?,
                position: inbound.position()?,
                reply,
            },
        };
        if self.joined.get_mut(id, &document).is_none() {
            return Err(ErrorCode::NotJoined);
        }
        self.ask_home_of_document(document, id, ask)
    }

    fn join_document(
        &mut self,
        id: ConnectionId,
        document: ChannelName,
        inbound: &Inbound<'_>,
        reply: Option<Box<str>>,
    ) -> Result<(), ErrorCode> {
        let replica = inbound.replica()?;
        let fits = |name: &str| (1..=REPLICA_NAME_BYTES_MAX).contains(&name.len());
        if replica.as_deref().is_some_and(|name| !fits(name)) {
            return Err(ErrorCode::InvalidMessage);
        }
        let has = inbound
            .document_since()?
            .and_then(|since| Some((since.epoch?, since.version)));
        let acknowledged = inbound.sequence()?.unwrap_or(0);
        self.authorize(id, Action::Join, ruled_name(&document))?;
        let writes = self.may_edit(id, &document);
        let Some(connection) = self.registry.get(id).filter(|it| it.is_reachable()) else {
            return Ok(());
        };
        let places = self.joined.of(id);
        let outside = places.iter().filter(|place| !place.inside).count();
        let known = places.iter().any(|place| place.document == document);
        if !known && connection.memberships.len() + outside >= self.settings.max_channels {
            return Err(ErrorCode::TooManyChannels);
        }
        let replica: Arc<str> = match replica.as_deref() {
            Some(name) => name.into(),
            // One connection is one copy.
            None => id.to_string().into(),
        };
        let user = match &connection.user {
            Some(user) => user.clone(),
            None => guest(id),
        };
        let ticket = self.joined.begin(id, &document);
        let join = DocumentJoin {
            user,
            replica,
            writes,
            has,
            acknowledged,
            ticket,
            reply,
        };
        let ask = DocumentAsk::Join(Box::new(join));
        let sent = self.ask_home_of_document(document.clone(), id, ask);
        if sent.is_err() {
            self.joining_refused(id, &document, ticket);
        }
        sent
    }

    fn may_edit(&self, id: ConnectionId, document: &str) -> bool {
        self.authorize(id, Action::Edit, ruled_name(document))
            .is_ok()
    }

    fn ask_home_of_document(
        &mut self,
        document: ChannelName,
        connection: ConnectionId,
        ask: DocumentAsk,
    ) -> Result<(), ErrorCode> {
        let home = self.placement.home_of_channel(&document);
        if home == self.id {
            self.document_asked(self.now, document, connection, ask);
            return Ok(());
        }
        let message = DocumentMessage::Ask {
            document,
            connection,
            ask,
        };
        let message = ShardMessage::Document(Box::new(message));
        let sent = self.ends.send(home, Lane::Delivery, message);
        sent.map_err(|_| ErrorCode::Overloaded)
    }

    /// Tells a document's home what it must know.
    fn notify_home_of_document(
        &mut self,
        document: ChannelName,
        connection: ConnectionId,
        ask: DocumentAsk,
    ) {
        let home = self.placement.home_of_channel(&document);
        if home == self.id {
            return self.document_asked(self.now, document, connection, ask);
        }
        let message = DocumentMessage::Ask {
            document,
            connection,
            ask,
        };
        let message = ShardMessage::Document(Box::new(message));
        self.ends.post(home, Lane::Delivery, message);
    }

    /// Takes a connection out of a document; one that is not in: nothing happens.
    fn leave_document(&mut self, id: ConnectionId, document: &ChannelName) {
        if self.joined.remove(id, document) {
            self.leave_channel(id, document);
            self.notify_home_of_document(document.clone(), id, DocumentAsk::Leave);
        }
    }

    /// The connection is over.
    pub(crate) fn leave_all_documents(&mut self, id: ConnectionId) {
        for place in self.joined.remove_all(id) {
            self.leave_channel(id, &place.document);
            self.notify_home_of_document(place.document, id, DocumentAsk::Leave);
        }
    }

    /// A connection's permissions have changed: it leaves what it may not read any more, and the homes of the others hear whether it
    /// may edit.
    pub(crate) fn review_documents(&mut self, id: ConnectionId) {
        let places = self.joined.of(id).iter();
        let names: Vec<ChannelName> = places.map(|place| place.document.clone()).collect();
        for document in names {
            if self
                .authorize(id, Action::Join, ruled_name(&document))
                .is_ok()
            {
                let writes = self.may_edit(id, &document);
                self.notify_home_of_document(document, id, DocumentAsk::Writes(writes));
                continue;
            }
            self.leave_document(id, &document);
            self.answer(id, |out| {
                documents::left(out, document_id(&document), Some("not-permitted"), None);
            });
        }
    }

    pub(crate) fn document_message(&mut self, now: Now, message: DocumentMessage) {
        match message {
            DocumentMessage::Ask {
                document,
                connection,
                ask,
            } => self.document_asked(now, document, connection, ask),
            DocumentMessage::Tell {
                document,
                connection,
                told,
            } => self.document_told(&document, connection, told),
        }
    }

    /// What a document tells one connection of this shard. One that has left meanwhile is told nothing.
    pub(super) fn document_told(
        &mut self,
        document: &ChannelName,
        id: ConnectionId,
        told: DocumentTold,
    ) {
        match told {
            DocumentTold::Joined { ticket, text } => {
                let Some(place) = self.joined.answered(id, document, ticket) else {
                    return;
                };
                place.inside = true;
                if self.registry.get(id).is_some_and(Connection::is_reachable) {
                    self.hear_from_home(id, document);
                }
                self.answer(id, |out| out.extend_from_slice(&text));
            }
            DocumentTold::Text(text) => {
                if self.joined.get_mut(id, document).is_some() {
                    self.answer(id, |out| out.extend_from_slice(&text));
                }
            }
            DocumentTold::Left(text) => {
                if self.joined.remove(id, document) {
                    self.leave_channel(id, document);
                    self.answer(id, |out| out.extend_from_slice(&text));
                }
            }
            DocumentTold::Refused {
                ticket,
                code,
                reply,
            } => {
                if let Some(ticket) = ticket {
                    self.joining_refused(id, document, ticket);
                }
                self.answer_error(id, code, kept_reply(reply).as_deref());
            }
        }
    }

    fn joining_refused(&mut self, id: ConnectionId, document: &ChannelName, ticket: u32) {
        let place = self.joined.answered(id, document, ticket);
        if place.is_some_and(|place| !place.inside && place.pending == 0) {
            self.joined.remove(id, document);
        }
    }
}

/// Whom others see when a connection has no user: itself.
fn guest(id: ConnectionId) -> UserId {
    format!("guest:{id}").into()
}
