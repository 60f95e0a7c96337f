//! The task of one session: connects, sends what waits, reads, and connects again.
//!
//! `outbox`: what waits to be sent. `answers`: what the server says. `closing`: the end. `token`: a newer token for an open connection. `presence`: what is said of
//! the session's user, and of who is in a channel. `documents`: what its documents say and hear.

mod answers;
mod closing;
mod documents;
mod outbox;
mod presence;
mod token;

use super::{
    Answer, Hello, PresenceChange, PublishOptions, Published, SessionDocument, SessionEnd,
    SessionError, SessionEvent, SessionOptions, SessionState, Subscription, Unconfirmed, Wish,
    documents::OpenDocuments, subscriptions::Channels,
};
use crate::{
    announce::{Announcer, Events},
    connection::{Connection, ConnectionSender},
    message::{Ending, Message},
    reconnect::Reconnector,
};
use outbox::{Outbox, Waiting, What};
use presence::OwnPresence;
use serde_json::value::RawValue;
use shardwire_protocol::{codes::close, envelope::client as wire};
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};
use token::Refresh;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{self, Instant},
};

/// Answers that may be awaited at once.
const PENDING_MAX: usize = 4096;

/// When a subscription that was refused for now is tried again: this and up to as much again.
const TRY_AGAIN: Duration = Duration::from_secs(1);

type Asking<T> = oneshot::Sender<Result<T, SessionError>>;

pub(super) enum Command {
    Subscribe {
        channel: Arc<str>,
        answer: Asking<Subscription>,
    },
    Publish {
        channel: Box<str>,
        message: Box<RawValue>,
        options: PublishOptions,
        answer: Asking<Published>,
    },
    /// Ends with the server's `published`.
    PublishAcknowledged {
        channel: Box<str>,
        message: Box<RawValue>,
        exclude_self: bool,
        key: Box<str>,
        answer: Asking<Answer>,
    },
    Request {
        kind: String,
        fields: Vec<(String, Box<RawValue>)>,
        /// Whether it is sent again when the connection is cut before the answer came.
        again: bool,
        /// What it changes of the session's own presence.
        change: Option<PresenceChange>,
        answer: Asking<Answer>,
    },
    Document {
        id: Box<str>,
        answer: Asking<SessionDocument>,
    },
    Events {
        answer: oneshot::Sender<Events<SessionEvent>>,
    },
}

/// Somebody waits for an answer.
struct Pending {
    answer: Asking<Answer>,
    /// To be said again on the next connection if this one is cut before the answer comes: it has a key, by which the server
    /// knows it again, or means the same however often it is said.
    again: Option<String>,
    /// What it changes of the session's own presence.
    change: Option<PresenceChange>,
    /// It has been sent, on this connection or one before.
    is_sent: bool,
}

/// Why a connected session stopped being one.
enum Left {
    Lost,
    Closed,
}

pub(super) struct Task {
    options: SessionOptions,
    inbox: mpsc::Receiver<Command>,
    wishes: watch::Receiver<Wish>,
    /// Whether anybody holds the session.
    is_held: bool,
    state: watch::Sender<SessionState>,
    announcer: Announcer<SessionEvent>,
    channels: Channels,
    leaving: mpsc::UnboundedReceiver<(Arc<str>, u64)>,
    hello: watch::Sender<Option<Hello>>,
    outbox: Outbox,
    pending: HashMap<u64, Pending>,
    /// Subscriptions to be tried again.
    again: VecDeque<(Instant, Arc<str>)>,
    refresh: Refresh,
    presence: OwnPresence,
    documents: OpenDocuments,
    /// When documents are to say again what the server could not do.
    documents_again: Option<Instant>,
    numbers: u64,
    connected: bool,
    /// Since when there is no connection, after the first one.
    lost_at: Option<Instant>,
    /// When the session is to be closed: the latest moment for it.
    closing: Option<Instant>,
    /// Whether this connection has been given publishes that nobody acknowledges.
    has_published: bool,
    /// What is said of the rest at the end.
    unconfirmed: watch::Sender<Unconfirmed>,
}

/// What a session's handles have of its task, seen from the task.
pub(super) struct Ends {
    pub(super) inbox: mpsc::Receiver<Command>,
    pub(super) wishes: watch::Receiver<Wish>,
    pub(super) state: watch::Sender<SessionState>,
    pub(super) hello: watch::Sender<Option<Hello>>,
    pub(super) unconfirmed: watch::Sender<Unconfirmed>,
}

impl Task {
    pub(super) fn new(options: SessionOptions, ends: Ends) -> Task {
        let Ends {
            inbox,
            wishes,
            state,
            hello,
            unconfirmed,
        } = ends;
        let (left, leaving) = mpsc::unbounded_channel();
        Task {
            channels: Channels::new(options.subscription_queue, left),
            outbox: Outbox::new(options.offline_queue, options.offline_queue_bytes),
            options,
            inbox,
            wishes,
            is_held: true,
            state,
            hello,
            announcer: Announcer::default(),
            leaving,
            pending: HashMap::new(),
            again: VecDeque::new(),
            refresh: Refresh::default(),
            presence: OwnPresence::default(),
            documents: OpenDocuments::new(),
            documents_again: None,
            numbers: 0,
            connected: false,
            lost_at: None,
            closing: None,
            has_published: false,
            unconfirmed,
        }
    }

    pub(super) async fn run(mut self, mut reconnector: Reconnector) {
        let end = loop {
            // One future for the whole of an attempt: commands that come meanwhile must not begin it anew.
            let mut connecting = Box::pin(async move {
                let result = reconnector.next().await;
                (reconnector, result)
            });
            let connected = loop {
                if self.may_end() {
                    break None;
                }
                tokio::select! {
                    biased;
                    wish = self.wishes.changed(), if self.is_held => self.wished(wish.is_ok()),
                    Some(command) = self.inbox.recv() => self.command(command),
                    () = until(self.closing) => {}
                    Some((channel, listener)) = self.leaving.recv() => self.left(&channel, listener),
                    connected = &mut connecting => break Some(connected),
                }
            };
            let Some((returned, result)) = connected else {
                self.give_up();
                break SessionEnd::Closed;
            };
            reconnector = returned;
            let mut connection = match result {
                Ok(connection) => connection,
                Err(gave_up) => {
                    let why = reconnector.last_error().map(ToString::to_string);
                    self.give_up();
                    break SessionEnd::GaveUp(gave_up, why.unwrap_or_default());
                }
            };
            self.begin();
            let left = self.serve(&mut connection).await;
            self.connected = false;
            match left {
                Left::Closed => {
                    self.give_up();
                    let ending = connection.close(close::NORMAL, "").await;
                    self.doubt_publishes(ending.is_clean());
                    break SessionEnd::Closed;
                }
                Left::Lost => {
                    self.lost();
                    self.doubt_publishes(false);
                    let ending = connection.ending().unwrap_or_else(|| Ending::cut("lost"));
                    match reconnector.lost(&ending) {
                        Ok(retry_in) => {
                            self.state.send_replace(SessionState::Connecting);
                            self.announcer
                                .announce(&SessionEvent::Disconnected { ending, retry_in });
                        }
                        Err(gave_up) => {
                            self.give_up();
                            break SessionEnd::GaveUp(gave_up, ending.to_string());
                        }
                    }
                }
            }
        };
        self.end(end);
    }

    /// A connection is open: every channel is asked for again, before anything that waited.
    fn begin(&mut self) {
        self.connected = true;
        self.has_published = false;
        if self.closing.is_none() {
            // What an earlier connection took along has been told by its end.
            self.unconfirmed.send_replace(Unconfirmed::default());
        }
        self.again.clear();
        self.say_presence_again();
        let missing = self.channels.missing();
        for channel in missing.iter().rev() {
            let text = self.subscribe_text(channel);
            self.outbox.push_front(text, What::Connection);
        }
        self.carry_documents(true);
        self.state.send_replace(SessionState::Connected);
        let again = self.lost_at.is_some();
        if again {
            metrics::counter!("shardwire_client_session_reconnects_total").increment(1);
        }
        self.announcer.announce(&SessionEvent::Connected { again });
    }

    fn lost(&mut self) {
        self.lost_at = Some(Instant::now());
        self.channels.lost();
        self.presence.lost();
        self.carry_documents(false);
        self.refresh = Refresh::Not;
        // A request that has not been sent still will be.
        let unsent = self.outbox.lost();
        let (kept, lost) = self
            .pending
            .drain()
            .partition::<HashMap<_, _>, _>(|(id, _)| unsent.contains(id));
        self.pending = kept;
        let mut again = Vec::new();
        for (id, pending) in lost {
            match &pending.again {
                Some(text) => {
                    again.push((id, text.clone()));
                    self.pending.insert(id, pending);
                }
                None => {
                    let _ = pending.answer.send(Err(SessionError::Lost));
                }
            }
        }
        // In the order in which they were sent, before what was not sent yet.
        again.sort_unstable_by_key(|(id, _)| std::cmp::Reverse(*id));
        for (id, text) in again {
            self.outbox.push_front(text, What::Request(id));
        }
    }

    /// Works on one connection until it is lost or the session is to be closed.
    async fn serve(&mut self, connection: &mut Connection) -> Left {
        let sender: ConnectionSender = connection.sender();
        let documents = self.documents.bell();
        loop {
            if self.may_end() {
                return Left::Closed;
            }
            let room_for_commands = self.outbox.is_open();
            let again = self.again.front().map(|(at, _)| *at);
            let presence = self.presence.due();
            tokio::select! {
                biased;
                message = connection.receive() => match message {
                    Ok(Message::Text(text)) => self.received(&text),
                    // The protocol has no binary messages yet.
                    Ok(_) => {}
                    Err(_) => return Left::Lost,
                },
                room = sender.reserve(), if !self.outbox.is_empty() => match room {
                    Ok(room) => {
                        if let Some(text) = self.next_to_send() {
                            self.presence.spoke();
                            room.send(text);
                        }
                    }
                    Err(_) => return Left::Lost,
                },
                wish = self.wishes.changed(), if self.is_held => self.wished(wish.is_ok()),
                Some(command) = self.inbox.recv(), if room_for_commands => self.command(command),
                Some((channel, listener)) = self.leaving.recv() => self.left(&channel, listener),
                token = self.refresh.token() => self.got_token(token),
                () = until(self.closing) => {}
                () = until(presence) => self.presence_is_due(),
                () = documents.notified(), if room_for_commands => self.say_documents(),
                () = until(self.documents_again) => self.try_documents_again(),
                () = until(again) => {
                    if let Some((_, channel)) = self.again.pop_front()
                        && self.channels.is_missing(&channel)
                    {
                        let text = self.subscribe_text(&channel);
                        self.outbox.push(text, What::Connection);
                    }
                }
            }
        }
    }

    /// The next message, without requests whose answer nobody waits for any more.
    fn next_to_send(&mut self) -> Option<String> {
        while let Some(Waiting { text, what }) = self.outbox.pop() {
            match what {
                What::Request(id)
                    if self
                        .pending
                        .get(&id)
                        .is_none_or(|pending| pending.answer.is_closed()) =>
                {
                    self.pending.remove(&id);
                }
                What::Request(id) => {
                    if let Some(pending) = self.pending.get_mut(&id) {
                        pending.is_sent = true;
                    }
                    return Some(text);
                }
                What::Publish(_) => {
                    self.has_published = true;
                    return Some(text);
                }
                What::Connection => return Some(text),
            }
        }
        None
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn subscribe_text(&mut self, channel: &str) -> String {
        let id = self.number();
        self.channels.asked(channel, id);
        text(|out| wire::subscribe(out, channel, self.channels.place(channel), id))
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Events { answer } => {
                let _ = answer.send(self.announcer.listen());
            }
            Command::Document { id, answer } => self.open_document(&id, answer),
            Command::Subscribe { channel, answer } => {
                if self.channels.want(channel.clone(), answer) && self.connected {
                    let text = self.subscribe_text(&channel);
                    self.outbox.push(text, What::Connection);
                }
            }
            Command::Publish {
                channel,
                message,
                options,
                answer,
            } => {
                let id = self.number();
                let raw = message.get();
                let text =
                    text(|out| wire::publish(out, &channel, raw, options.exclude_self, None, id));
                let _ = answer.send(match options.volatile {
                    true if !self.connected || !self.outbox.is_empty() => Ok(Published::Dropped),
                    _ if !self.outbox.has_room(text.len()) => Err(SessionError::QueueFull),
                    _ => {
                        self.outbox.push(text, What::Publish(id));
                        Ok(Published::Queued(id))
                    }
                });
            }
            Command::PublishAcknowledged {
                channel,
                message,
                exclude_self,
                key,
                answer,
            } => {
                let id = self.number();
                let text = text(|out| {
                    wire::publish(out, &channel, message.get(), exclude_self, Some(&key), id);
                });
                let pending = Pending {
                    answer,
                    again: Some(text.clone()),
                    change: None,
                    is_sent: false,
                };
                self.await_answer(id, text, pending);
            }
            Command::Request {
                kind,
                fields,
                again,
                change,
                answer,
            } => {
                let id = self.number();
                let fields = fields.iter().map(|(name, value)| (name.as_str(), &**value));
                let text = text(|out| wire::message(out, &kind, fields, Some(id)));
                let pending = Pending {
                    answer,
                    again: again.then(|| text.clone()),
                    change,
                    is_sent: false,
                };
                self.await_answer(id, text, pending);
            }
        }
    }

    fn await_answer(&mut self, id: u64, text: String, pending: Pending) {
        if self.pending.len() >= PENDING_MAX {
            // Those who have given up waiting.
            self.pending
                .retain(|_, pending| !pending.answer.is_closed());
        }
        if self.pending.len() >= PENDING_MAX || !self.outbox.has_room(text.len()) {
            let _ = pending.answer.send(Err(SessionError::QueueFull));
            return;
        }
        self.pending.insert(id, pending);
        self.outbox.push(text, What::Request(id));
    }

    fn left(&mut self, channel: &str, listener: u64) {
        if self.channels.left(channel, listener) && self.connected {
            let id = self.number();
            let text = text(|out| wire::unsubscribe(out, channel, id));
            self.outbox.push(text, What::Connection);
        }
    }
}

fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::with_capacity(128);
    write(&mut out);
    String::from_utf8(out).expect("JSON is UTF-8")
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
