//! A replica and what it says over a connection, as text in and text out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::json;
use shardwire_protocol::text::{Content, Operation, TextError};

use super::replica::{CaughtUp, Joining, MissedEdit, OutOfStep, Outgoing, Replica};

/// What has happened to a shared document. What others did to the text is gathered: see [`SharedDocument::take_change`].
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum DocumentEvent {
    /// It has joined, or joined again.
    Joined,
    /// Users or cursors are others.
    People,
    /// The server has refused what the user did, with this code and in these words; it was taken back.
    Refused(u16, String),
    /// The server does not let the client in, or has shown it out; it does not try again by itself.
    Left(String),
    /// An edit had been sent, and the server does not know whether it took it; it is not sent again.
    InDoubt(Operation),
}

/// A document that several people edit, over any connection of the JSON protocol: a machine without time and wires.
///
/// Whoever carries it calls [`connected`](Self::connected) and [`disconnected`](Self::disconnected), hands every message of the server to
/// [`receive`](Self::receive), and sends what [`poll_message`](Self::poll_message) gives after every call.
///
/// ```
/// use shardwire_client::collaboration::SharedDocument;
/// use shardwire_client::text::Operation;
///
/// let mut plan = SharedDocument::new("plan", "a name of its own");
/// plan.connected();
/// assert!(plan.poll_message().unwrap().contains("join-document"));
/// plan.receive(r#"{"type":"document-state","documentId":"plan","version":0,"epoch":"00000000000000ff",
///     "readOnly":false,"content":"","sequence":null,"users":[],"cursors":{}}"#);
/// plan.edit(&Operation::replacement(0, 0, "hello").unwrap()).unwrap();
/// assert!(plan.poll_message().unwrap().contains(r#""operation":["hello"]"#));
/// ```
#[derive(Debug)]
pub struct SharedDocument {
    id: String,
    name: String,
    replica: Replica,
    online: bool,
    read_only: bool,
    users: BTreeSet<String>,
    /// In characters of the server's text.
    cursors: BTreeMap<String, u32>,
    cursor: Option<u32>,
    told_cursor: Option<u32>,
    change: Operation,
    messages: Vec<String>,
    events: Vec<DocumentEvent>,
    /// What the server could not do just now.
    postponed: Option<&'static str>,
}

/// A message about a document.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    #[serde(rename = "type")]
    kind: String,
    document_id: Option<String>,
    id: Option<serde_json::Value>,
    version: Option<u64>,
    epoch: Option<String>,
    content: Option<String>,
    #[serde(default)]
    sequence: Option<u64>,
    #[serde(default)]
    read_only: bool,
    #[serde(default)]
    users: Vec<String>,
    #[serde(default)]
    cursors: BTreeMap<String, u32>,
    #[serde(default)]
    edits: Vec<Missed>,
    operation: Option<Operation>,
    user_id: Option<String>,
    position: Option<u32>,
    reason: Option<String>,
    code: Option<u16>,
    error: Option<String>,
    #[serde(default)]
    temporary: bool,
}

#[derive(Deserialize)]
struct Missed {
    version: u64,
    sequence: Option<u64>,
    operation: Operation,
}

const NOT_JOINED: u16 = 120;
const OUT_OF_STEP: u16 = 123;

impl SharedDocument {
    /// The document of this id. `name` is the copy's own, another one for each: 1 to 64 bytes, such as a UUID.
    #[must_use]
    pub fn new(id: &str, name: &str) -> Self {
        Self {
            id: id.to_owned(),
            name: name.to_owned(),
            replica: Replica::new(),
            online: false,
            read_only: false,
            users: BTreeSet::new(),
            cursors: BTreeMap::new(),
            cursor: None,
            told_cursor: None,
            change: Operation::new(),
            messages: Vec::new(),
            events: Vec::new(),
            postponed: None,
        }
    }

    /// The replica: its text, its version, whether it is settled.
    #[must_use]
    pub fn replica(&self) -> &Replica {
        &self.replica
    }

    /// Whether the server lets the user see only.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Who is there.
    pub fn users(&self) -> impl Iterator<Item = &str> {
        self.users.iter().map(String::as_str)
    }

    /// Where others' cursors are in the text shown, in characters.
    pub fn cursors(&self) -> impl Iterator<Item = (&str, u32)> {
        let cursors = self.cursors.iter();
        cursors.map(|(user, position)| (user.as_str(), self.replica.place(*position)))
    }

    /// A connection is open.
    pub fn connected(&mut self) {
        self.online = true;
        self.postponed = None;
        self.join();
    }

    /// The connection is gone. What was to be sent is not sent any more; the user may go on editing.
    pub fn disconnected(&mut self) {
        self.online = false;
        self.messages.clear();
        // It sends nothing until it has joined again.
        let _ = self.replica.joining();
    }

    /// The user edits the text shown.
    ///
    /// # Errors
    ///
    /// Those of [`Replica::edit`]; nothing has changed.
    pub fn edit(&mut self, operation: &Operation) -> Result<(), TextError> {
        self.replica.edit(operation)?;
        self.flush();
        Ok(())
    }

    /// The user's cursor is at this character of the text shown.
    pub fn move_cursor(&mut self, position: u32) {
        self.cursor = Some(position);
        self.flush();
    }

    /// What others have done to the text shown since this was last asked, as one operation: what an editor does to its own text, before it
    /// hands in its next edit. Empty: nothing.
    pub fn take_change(&mut self) -> Operation {
        std::mem::take(&mut self.change)
    }

    /// The next message to send.
    pub fn poll_message(&mut self) -> Option<String> {
        (!self.messages.is_empty()).then(|| self.messages.remove(0))
    }

    /// What has happened, the oldest first.
    pub fn poll_event(&mut self) -> Option<DocumentEvent> {
        (!self.events.is_empty()).then(|| self.events.remove(0))
    }

    /// Whether the server could not do something just now: [`try_again`](Self::try_again) after a while.
    #[must_use]
    pub fn is_postponed(&self) -> bool {
        self.postponed.is_some()
    }

    /// Says once more what the server could not do.
    pub fn try_again(&mut self) {
        match self.postponed.take() {
            Some("join") => self.join(),
            Some(_) => {
                let again = self.replica.again();
                self.send_edit(again);
            }
            None => {}
        }
    }

    /// A message of the server. False: it is not about this document.
    pub fn receive(&mut self, text: &str) -> bool {
        let Ok(message) = serde_json::from_str::<Message>(text) else {
            return false;
        };
        let own_id = |what: &str| {
            let id = message.id.as_ref().and_then(serde_json::Value::as_str);
            id == Some(&*format!("{}:{what}", self.name))
        };
        let ours = message.document_id.as_deref() == Some(&self.id)
            || (message.kind == "error" && (own_id("edit") || own_id("join") || own_id("cursor")));
        // An answer to a copy that was given up on this connection is none to this one.
        let others = message.id.as_ref().is_some_and(|id| {
            let id = id.as_str().unwrap_or_default();
            id.strip_prefix(&*self.name)
                .is_none_or(|rest| !rest.starts_with(':'))
        });
        if !ours || !self.online || others {
            return ours;
        }
        let about_edit = own_id("edit");
        let about_join = own_id("join");
        let done = match &*message.kind {
            "document-state" | "document-edits" => self.caught_up(message),
            "error" => self.refused(&message, about_edit, about_join),
            "document-left" => {
                match message.reason.as_deref() {
                    // The joining of a connection that was given up came late: this one joins again.
                    Some("replaced") => self.join(),
                    Some(reason) => self.events.push(DocumentEvent::Left(reason.to_owned())),
                    None => {}
                }
                Ok(())
            }
            _ => self.told(message),
        };
        if done.is_err() {
            self.join();
        }
        self.flush();
        true
    }

    fn caught_up(&mut self, message: Message) -> Result<(), OutOfStep> {
        let CaughtUp { change, in_doubt } = if message.kind == "document-state" {
            let epoch = message.epoch.as_deref().unwrap_or_default();
            let epoch = u64::from_str_radix(epoch, 16).map_err(|_| OutOfStep)?;
            let content = Content::from(message.content.as_deref().unwrap_or_default());
            let version = message.version.ok_or(OutOfStep)?;
            self.replica
                .state(epoch, version, content, message.sequence)?
        } else {
            let missed = |missed: Missed| MissedEdit {
                version: missed.version,
                own: missed.sequence,
                operation: missed.operation,
            };
            let edits: Vec<MissedEdit> = message.edits.into_iter().map(missed).collect();
            self.replica.missed(&edits)?
        };
        self.postponed = None;
        self.read_only = message.read_only;
        self.users = message.users.into_iter().collect();
        self.cursors = message.cursors;
        self.told_cursor = None;
        self.changed(&change);
        self.events.push(DocumentEvent::Joined);
        self.events.push(DocumentEvent::People);
        self.events.extend(in_doubt.map(DocumentEvent::InDoubt));
        Ok(())
    }

    fn told(&mut self, message: Message) -> Result<(), OutOfStep> {
        let version = message.version;
        match (&*message.kind, message.user_id) {
            ("edit", _) => {
                let theirs = message.operation.ok_or(OutOfStep)?;
                let change = self.replica.remote(version.ok_or(OutOfStep)?, &theirs)?;
                self.move_cursors(&theirs);
                self.changed(&change.unwrap_or_default());
            }
            ("edit-ack", _) => {
                let number = message.sequence.ok_or(OutOfStep)?;
                let own = self.replica.again();
                self.replica
                    .acknowledged(number, version.ok_or(OutOfStep)?)?;
                if let Some(own) = own {
                    self.move_cursors(&own.operation);
                }
            }
            ("cursor-update", Some(user)) => {
                self.cursors
                    .insert(user, message.position.unwrap_or_default());
                self.events.push(DocumentEvent::People);
            }
            ("user-joined", Some(user)) => {
                self.users.insert(user);
                self.events.push(DocumentEvent::People);
            }
            ("user-left", Some(user)) => {
                self.cursors.remove(&user);
                self.users.remove(&user);
                self.events.push(DocumentEvent::People);
            }
            _ => {}
        }
        Ok(())
    }

    fn refused(&mut self, message: &Message, edit: bool, join: bool) -> Result<(), OutOfStep> {
        let code = message.code.unwrap_or_default();
        let error = message.error.clone().unwrap_or_default();
        if message.temporary && (edit || join) {
            self.postponed = Some(if join { "join" } else { "edit" });
        } else if join {
            self.events.push(DocumentEvent::Left(error));
        } else if edit {
            if code == NOT_JOINED {
                self.replica.not_taken();
            } else if code != OUT_OF_STEP {
                let change = self.replica.take_back()?;
                self.changed(&change);
                self.events.push(DocumentEvent::Refused(code, error));
            }
            self.join();
        }
        Ok(())
    }

    fn move_cursors(&mut self, operation: &Operation) {
        for position in self.cursors.values_mut() {
            *position = shardwire_protocol::text::transform_position(*position, operation);
        }
    }

    fn changed(&mut self, change: &Operation) {
        let moved = |position: &mut Option<u32>| {
            if let Some(position) = position {
                *position = shardwire_protocol::text::transform_position(*position, change);
            }
        };
        moved(&mut self.cursor);
        moved(&mut self.told_cursor);
        // What cannot be one operation any more is more text than there can be.
        if let Ok(both) = self.change.compose(change) {
            self.change = both;
        }
    }

    fn flush(&mut self) {
        if !self.online {
            return;
        }
        let edit = self.replica.poll_send();
        self.send_edit(edit);
        if self.cursor != self.told_cursor
            && let Some((version, position)) =
                self.cursor.and_then(|at| self.replica.own_cursor(at))
        {
            self.told_cursor = self.cursor;
            self.say(
                "cursor",
                &json!({"type": "cursor-move", "version": version, "position": position}),
            );
        }
    }

    fn send_edit(&mut self, edit: Option<Outgoing>) {
        if let Some(edit) = edit.filter(|_| self.online) {
            let Outgoing {
                version,
                number,
                operation,
            } = edit;
            let edit = json!({"type": "edit", "version": version, "sequence": number, "operation": operation});
            self.say("edit", &edit);
        }
    }

    fn join(&mut self) {
        if !self.online {
            return;
        }
        let Joining { has, acknowledged } = self.replica.joining();
        let mut join =
            json!({"type": "join-document", "replica": self.name, "sequence": acknowledged});
        if let Some((epoch, version)) = has {
            let mut written = String::new();
            let _ = write!(written, "{epoch:016x}");
            join["since"] = json!({"version": version, "epoch": written});
        }
        self.say("join", &join);
    }

    fn say(&mut self, what: &str, message: &serde_json::Value) {
        let mut message = message.clone();
        message["documentId"] = json!(self.id);
        message["id"] = json!(format!("{}:{what}", self.name));
        self.messages.push(message.to_string());
    }
}
