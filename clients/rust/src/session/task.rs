//! The task of one session.

use super::{
    Answer, PublishOptions, Published, Refusal, SessionEnd, SessionError, SessionEvent,
    SessionOptions, SessionState, Subscription, subscriptions::Channels,
};
use crate::{
    announce::{Announcer, Events},
    connection::{Connection, ConnectionSender},
    message::{Ending, Message},
    reconnect::Reconnector,
};
use rand::RngExt;
use serde_json::value::RawValue;
use shardwire_protocol::{
    codes::close,
    envelope::client::{self as wire, Reply},
};
use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};
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
    Request {
        kind: String,
        fields: Vec<(String, Box<RawValue>)>,
        answer: Asking<Answer>,
    },
    Events {
        answer: oneshot::Sender<Events<SessionEvent>>,
    },
    Close,
}

/// A message that waits to be sent.
struct Waiting {
    text: String,
    what: What,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Publish,
    /// Somebody waits for the answer with this id.
    Request(u64),
    /// A subscribe or unsubscribe: of no use on another connection.
    Subscription,
}

/// Why a connected session stopped being one.
enum Left {
    Lost,
    Closed,
}

pub(super) struct Task {
    options: SessionOptions,
    inbox: mpsc::Receiver<Command>,
    state: watch::Sender<SessionState>,
    announcer: Announcer<SessionEvent>,
    channels: Channels,
    leaving: mpsc::UnboundedReceiver<(Arc<str>, u64)>,
    /// What waits to be sent, in order.
    outbox: VecDeque<Waiting>,
    outbox_bytes: usize,
    pending: HashMap<u64, Asking<Answer>>,
    /// Subscriptions to be tried again.
    again: VecDeque<(Instant, Arc<str>)>,
    numbers: u64,
    connected: bool,
    /// Since when there is no connection, after the first one.
    lost_at: Option<Instant>,
    /// When the session is to be closed: the latest moment for it.
    closing: Option<Instant>,
}

impl Task {
    pub(super) fn new(
        options: SessionOptions,
        inbox: mpsc::Receiver<Command>,
        state: watch::Sender<SessionState>,
    ) -> Task {
        let (left, leaving) = mpsc::unbounded_channel();
        Task {
            channels: Channels::new(options.subscription_queue, left),
            options,
            inbox,
            state,
            announcer: Announcer::default(),
            leaving,
            outbox: VecDeque::new(),
            outbox_bytes: 0,
            pending: HashMap::new(),
            again: VecDeque::new(),
            numbers: 0,
            connected: false,
            lost_at: None,
            closing: None,
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
                tokio::select! {
                    biased;
                    command = self.inbox.recv() => self.command(command),
                    Some((channel, listener)) = self.leaving.recv() => self.left(&channel, listener),
                    connected = &mut connecting => break Some(connected),
                }
                if self.closing.is_some() {
                    break None;
                }
            };
            let Some((returned, result)) = connected else {
                break SessionEnd::Closed;
            };
            reconnector = returned;
            let mut connection = match result {
                Ok(connection) => connection,
                Err(gave_up) => {
                    let why = reconnector.last_error().map(ToString::to_string);
                    break SessionEnd::GaveUp(gave_up, why.unwrap_or_default());
                }
            };
            self.begin();
            let left = self.serve(&mut connection).await;
            self.connected = false;
            self.lost();
            match left {
                Left::Closed => {
                    connection.close(close::NORMAL, "").await;
                    break SessionEnd::Closed;
                }
                Left::Lost => {
                    let ending = connection.ending().unwrap_or_else(|| Ending::cut("lost"));
                    match reconnector.lost(&ending) {
                        Ok(retry_in) => {
                            self.state.send_replace(SessionState::Connecting);
                            self.announcer
                                .announce(&SessionEvent::Disconnected { ending, retry_in });
                        }
                        Err(gave_up) => break SessionEnd::GaveUp(gave_up, ending.to_string()),
                    }
                }
            }
        };
        tracing::debug!(?end, "session ended");
        self.announcer.announce(&SessionEvent::Ended(end.clone()));
        self.state.send_replace(SessionState::Ended(end));
    }

    /// A connection is open: every channel is asked for again, before anything that waited.
    fn begin(&mut self) {
        self.connected = true;
        self.again.clear();
        let missing = self.channels.missing();
        for channel in missing.iter().rev() {
            let text = self.subscribe_text(channel);
            self.outbox_bytes += text.len();
            let what = What::Subscription;
            self.outbox.push_front(Waiting { text, what });
        }
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
        self.outbox
            .retain(|waiting| waiting.what != What::Subscription);
        self.outbox_bytes = self.outbox.iter().map(|waiting| waiting.text.len()).sum();
        // A request that has not been sent still will be.
        let unsent: HashSet<u64> = self
            .outbox
            .iter()
            .filter_map(|waiting| match waiting.what {
                What::Request(id) => Some(id),
                What::Publish | What::Subscription => None,
            })
            .collect();
        let (kept, lost) = self
            .pending
            .drain()
            .partition::<HashMap<_, _>, _>(|(id, _)| unsent.contains(id));
        self.pending = kept;
        for answer in lost.into_values() {
            let _ = answer.send(Err(SessionError::Lost));
        }
    }

    /// Works on one connection until it is lost or the session is to be closed.
    async fn serve(&mut self, connection: &mut Connection) -> Left {
        let sender: ConnectionSender = connection.sender();
        loop {
            if self.closing.is_some() && self.outbox.is_empty() {
                return Left::Closed;
            }
            let room_for_commands = self.outbox.len() < self.options.offline_queue.max(1);
            let again = self.again.front().map(|(at, _)| *at);
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
                            room.send(text);
                        }
                    }
                    Err(_) => return Left::Lost,
                },
                command = self.inbox.recv(), if room_for_commands && self.closing.is_none() => self.command(command),
                Some((channel, listener)) = self.leaving.recv() => self.left(&channel, listener),
                () = until(self.closing) => return Left::Closed,
                () = until(again) => {
                    if let Some((_, channel)) = self.again.pop_front()
                        && self.channels.is_missing(&channel)
                    {
                        let text = self.subscribe_text(&channel);
                        self.queue(text, What::Subscription);
                    }
                }
            }
        }
    }

    /// The next message, without requests whose answer nobody waits for any more.
    fn next_to_send(&mut self) -> Option<String> {
        while let Some(Waiting { text, what }) = self.outbox.pop_front() {
            self.outbox_bytes -= text.len();
            match what {
                What::Request(id) if self.pending.get(&id).is_none_or(Asking::is_closed) => {
                    self.pending.remove(&id);
                }
                _ => return Some(text),
            }
        }
        None
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn queue(&mut self, text: String, what: What) {
        self.outbox_bytes += text.len();
        self.outbox.push_back(Waiting { text, what });
    }

    fn has_room(&self, more: usize) -> bool {
        self.outbox.len() < self.options.offline_queue
            && self.outbox_bytes + more <= self.options.offline_queue_bytes
    }

    fn subscribe_text(&mut self, channel: &str) -> String {
        let id = self.number();
        self.channels.asked(channel, id);
        text(|out| wire::subscribe(out, channel, id))
    }

    fn command(&mut self, command: Option<Command>) {
        match command {
            // Nobody holds the session any more.
            None | Some(Command::Close) => {
                let patience = self
                    .options
                    .connect
                    .close_timeout
                    .min(Duration::from_secs(3600));
                self.closing.get_or_insert(Instant::now() + patience);
            }
            Some(Command::Events { answer }) => {
                let _ = answer.send(self.announcer.listen());
            }
            Some(Command::Subscribe { channel, answer }) => {
                if self.channels.want(channel.clone(), answer) && self.connected {
                    let text = self.subscribe_text(&channel);
                    self.queue(text, What::Subscription);
                }
            }
            Some(Command::Publish {
                channel,
                message,
                options,
                answer,
            }) => {
                let id = self.number();
                let raw = message.get();
                let text = text(|out| wire::publish(out, &channel, raw, options.exclude_self, id));
                let _ = answer.send(match options.volatile {
                    true if !self.connected || !self.outbox.is_empty() => Ok(Published::Dropped),
                    _ if !self.has_room(text.len()) => Err(SessionError::QueueFull),
                    _ => {
                        self.queue(text, What::Publish);
                        Ok(Published::Queued(id))
                    }
                });
            }
            Some(Command::Request {
                kind,
                fields,
                answer,
            }) => self.request(&kind, &fields, answer),
        }
    }

    fn request(&mut self, kind: &str, fields: &[(String, Box<RawValue>)], answer: Asking<Answer>) {
        let id = self.number();
        let fields = fields.iter().map(|(name, value)| (name.as_str(), &**value));
        let text = text(|out| wire::message(out, kind, fields, Some(id)));
        if self.pending.len() >= PENDING_MAX {
            // Those who have given up waiting.
            self.pending.retain(|_, answer| !answer.is_closed());
        }
        if self.pending.len() >= PENDING_MAX || !self.has_room(text.len()) {
            let _ = answer.send(Err(SessionError::QueueFull));
            return;
        }
        self.pending.insert(id, answer);
        self.queue(text, What::Request(id));
    }

    fn left(&mut self, channel: &str, listener: u64) {
        if self.channels.left(channel, listener) && self.connected {
            let id = self.number();
            let text = text(|out| wire::unsubscribe(out, channel, id));
            self.queue(text, What::Subscription);
        }
    }

    fn received(&mut self, message: &str) {
        let reply = match Reply::read(message) {
            Ok(reply) => reply,
            Err(error) => {
                tracing::warn!(%error, "the server said something that is no message");
                return;
            }
        };
        match (&*reply.kind, reply.id()) {
            ("broadcast", _) => {
                if let (Some(channel), Some(message)) = (&reply.channel, reply.message) {
                    self.channels
                        .deliver(channel, message, reply.timestamp.unwrap_or_default());
                }
            }
            ("subscribed", Some(id)) => {
                let away = self.lost_at.map(|at| at.elapsed());
                self.channels.granted(id, away);
            }
            ("error", id) => self.refused(&reply, id),
            (kind, Some(id)) => {
                if let Some(answer) = self.pending.remove(&id) {
                    let _ = answer.send(Ok(Answer {
                        kind: kind.to_owned(),
                        text: message.to_owned(),
                    }));
                }
            }
            _ => {}
        }
    }

    fn refused(&mut self, reply: &Reply<'_>, id: Option<u64>) {
        let refusal = Refusal {
            code: reply.code.unwrap_or_default(),
            error: reply.error.as_deref().unwrap_or_default().to_owned(),
            temporary: reply.temporary.unwrap_or_default(),
        };
        let Some(number) = id else {
            self.announcer
                .announce(&SessionEvent::Refused { id, refusal });
            return;
        };
        if let Some(answer) = self.pending.remove(&number) {
            let _ = answer.send(Err(SessionError::Refused(refusal)));
            return;
        }
        match self.channels.refused(number, &refusal) {
            Some(Some(channel)) => {
                let delay = TRY_AGAIN.mul_f64(1.0 + rand::rng().random::<f64>());
                self.again.push_back((Instant::now() + delay, channel));
            }
            Some(None) => {}
            None => self
                .announcer
                .announce(&SessionEvent::Refused { id, refusal }),
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
