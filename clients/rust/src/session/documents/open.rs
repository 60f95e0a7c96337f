//! All documents of a session.

use super::{SessionDocument, handle::Inside};
use crate::{
    collaboration::{DocumentEvent, SharedDocument},
    session::{Refusal, SessionError, UnconfirmedDocument},
};
use serde::Deserialize;
use shardwire_protocol::text::{Operation, transform_position};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{Notify, watch};

/// Events that one document may have waiting; further ones are dropped, and counted with the messages that subscriptions miss.
const WAITING_MAX: usize = 256;

/// What the handle and the session's task share of one document.
pub(super) type Shared = Arc<Mutex<Inside>>;

pub(super) fn look(inside: &Mutex<Inside>) -> MutexGuard<'_, Inside> {
    // Nothing panics while it is held.
    inside.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What of a message tells which document it is about.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct About {
    document_id: Option<Box<str>>,
    id: Option<Box<str>>,
    code: Option<u16>,
    error: Option<String>,
    #[serde(default)]
    temporary: bool,
}

/// All documents of a session.
pub(in crate::session) struct OpenDocuments {
    documents: BTreeMap<Arc<str>, Open>,
    /// Rung by handles that have something to say or are dropped.
    bell: Arc<Notify>,
}

struct Open {
    /// The copy's own name.
    name: String,
    inside: Shared,
    /// Rung when there is something for the handle to look at. It ends with the session.
    news: watch::Sender<()>,
}

impl OpenDocuments {
    pub(in crate::session) fn new() -> OpenDocuments {
        OpenDocuments {
            documents: BTreeMap::new(),
            bell: Arc::default(),
        }
    }

    /// Rung when a handle has something to say.
    pub(in crate::session) fn bell(&self) -> Arc<Notify> {
        self.bell.clone()
    }

    /// Opens one.
    pub(in crate::session) fn open(
        &mut self,
        id: &str,
        connected: bool,
    ) -> Result<SessionDocument, SessionError> {
        if let Some((id, open)) = self.documents.get_key_value(id) {
            let mut inside = look(&open.inside);
            if !inside.left {
                return Err(SessionError::AlreadyOpen);
            }
            // It was dropped, and stays for its edits' sake: the new handle has it from here.
            (inside.left, inside.refusal) = (false, None);
            let (copy, news) = (open.inside.clone(), open.news.subscribe());
            return Ok(SessionDocument::new(
                id.clone(),
                copy,
                news,
                self.bell.clone(),
            ));
        }
        let name = format!("{:032x}", rand::random::<u128>());
        let mut document = SharedDocument::new(id, &name);
        if connected {
            document.connected();
        }
        let inside = Arc::new(Mutex::new(Inside {
            document,
            pending: Operation::new(),
            events: VecDeque::new(),
            cursor: None,
            joined: false,
            refusal: None,
            shut_out: false,
            left: false,
        }));
        let (news, seen) = watch::channel(());
        let id: Arc<str> = id.into();
        let handle = SessionDocument::new(id.clone(), inside.clone(), seen, self.bell.clone());
        self.documents.insert(id, Open { name, inside, news });
        Ok(handle)
    }

    /// Takes out those whose handles are gone, once the server has their edits or does not want them: it is to be told that they have left.
    pub(in crate::session) fn take_left(&mut self) -> Vec<Arc<str>> {
        let left = self.documents.iter();
        let left = left.filter(|(id, open)| {
            let inside = look(&open.inside);
            let is_settled = inside.document.replica().is_settled();
            if inside.left && inside.shut_out && !is_settled {
                tracing::warn!(
                    document = &***id,
                    "edits are lost: the server does not let the user in any more"
                );
            }
            inside.left && (is_settled || inside.shut_out)
        });
        let left: Vec<Arc<str>> = left.map(|(id, _)| id.clone()).collect();
        for id in &left {
            self.documents.remove(id);
        }
        left
    }

    /// A connection is open, or is lost.
    pub(in crate::session) fn set_connected(&mut self, connected: bool) {
        for open in self.documents.values() {
            let mut inside = look(&open.inside);
            (inside.joined, inside.shut_out) = (false, false);
            if connected {
                inside.document.connected();
            } else {
                inside.document.disconnected();
            }
        }
    }

    /// A message of the server that no request waits for: whether it is about one of these documents.
    pub(in crate::session) fn receive(&mut self, text: &str) -> bool {
        if self.documents.is_empty() {
            return false;
        }
        let Ok(about) = serde_json::from_str::<About>(text) else {
            return false;
        };
        let id = about.id.as_deref();
        let named = id.and_then(|id| id.rsplit_once(':'));
        let open = match &about.document_id {
            Some(document) => self.documents.get(&**document),
            None => named.and_then(|(name, _)| {
                let mut all = self.documents.values();
                all.find(|open| open.name == name)
            }),
        };
        let Some(open) = open else {
            return false;
        };
        let mut inside = look(&open.inside);
        let of_joining = named.is_some_and(|(name, what)| name == open.name && what == "join");
        if of_joining
            && !about.temporary
            && let Some(error) = about.error
        {
            inside.refusal = Some(Refusal {
                code: about.code.unwrap_or_default(),
                error,
                temporary: false,
            });
            inside.shut_out = true;
        }
        let ours = inside.document.receive(text);
        inside.gather();
        drop(inside);
        open.news.send_replace(());
        ours
    }

    /// What the documents have to say now.
    pub(in crate::session) fn messages(&mut self) -> Vec<String> {
        let mut messages = Vec::new();
        for open in self.documents.values() {
            let mut inside = look(&open.inside);
            if let Some(position) = inside.cursor.take() {
                inside.document.move_cursor(position);
            }
            while let Some(message) = inside.document.poll_message() {
                messages.push(message);
            }
        }
        messages
    }

    /// Whether the server has all edits, but for those of documents that it does not let the user into.
    pub(in crate::session) fn are_settled(&self) -> bool {
        self.documents.values().all(|open| {
            let inside = look(&open.inside);
            inside.shut_out || inside.document.replica().is_settled()
        })
    }

    /// What the server has not confirmed.
    pub(in crate::session) fn unconfirmed(&self) -> Vec<UnconfirmedDocument> {
        let documents = self.documents.iter();
        let documents = documents.map(|(id, open)| {
            let inside = look(&open.inside);
            let in_doubt = inside.events.iter().filter_map(|event| match event {
                DocumentEvent::InDoubt(edit) => Some(edit.clone()),
                _ => None,
            });
            UnconfirmedDocument {
                id: (**id).to_owned(),
                edits: inside.document.replica().unconfirmed().cloned().collect(),
                in_doubt: in_doubt.collect(),
            }
        });
        documents
            .filter(|document| !(document.edits.is_empty() && document.in_doubt.is_empty()))
            .collect()
    }

    /// Whether the server could not do something just now.
    pub(in crate::session) fn is_postponed(&self) -> bool {
        let mut all = self.documents.values();
        all.any(|open| look(&open.inside).document.is_postponed())
    }

    /// Says once more what the server could not do.
    pub(in crate::session) fn try_again(&mut self) {
        for open in self.documents.values() {
            look(&open.inside).document.try_again();
        }
    }
}

impl Inside {
    /// Takes what has happened out of the document: bounded, however much that is.
    pub(super) fn gather(&mut self) {
        let change = self.document.take_change();
        if let Some(position) = &mut self.cursor {
            *position = transform_position(*position, &change);
        }
        // It fails only for more text than there can be.
        if let Ok(both) = self.pending.compose(&change) {
            self.pending = both;
        }
        while let Some(event) = self.document.poll_event() {
            if event == DocumentEvent::Joined {
                (self.joined, self.shut_out) = (true, false);
            }
            // People are a state: once is enough.
            let known = event == DocumentEvent::People && self.events.back() == Some(&event);
            if known {
                continue;
            }
            if self.events.len() < WAITING_MAX {
                self.events.push_back(event);
            } else {
                metrics::counter!("shardwire_client_session_missed_total").increment(1);
            }
        }
    }
}
