//! What the server says.

use super::{Answer, TRY_AGAIN, Task};
use crate::session::{Hello, Refusal, SessionError, SessionEvent};
use rand::RngExt;
use shardwire_protocol::envelope::client::{self as wire, Reply};
use std::time::Duration;
use tokio::time::Instant;

impl Task {
    pub(super) fn received(&mut self, message: &str) {
        let reply = match Reply::read(message) {
            Ok(reply) => reply,
            Err(error) => {
                tracing::warn!(%error, "the server said something that is no message");
                return;
            }
        };
        match (&*reply.kind, reply.id()) {
            ("broadcast" | "topic-message", _) => {
                if let (Some(channel), Some(message)) = (reply.about(), reply.message) {
                    let timestamp = reply.timestamp.unwrap_or_default();
                    self.channels
                        .deliver(&channel, message, timestamp, reply.place());
                }
            }
            ("gap", _) => {
                if let (Some(channel), Some(gap)) = (reply.about(), reply.gap()) {
                    self.channels.left_out(&channel, gap);
                }
            }
            ("subscribed", Some(id)) => {
                let away = self.lost_at.map(|at| at.elapsed());
                let recovered = reply.is_recovered();
                self.channels.granted(id, reply.place(), recovered, away);
            }
            ("presence-diff", _) => self.members_told(message, false),
            ("presence-state", id) if !id.is_some_and(|id| self.pending.contains_key(&id)) => {
                self.members_told(message, true);
            }
            ("unsubscribed", None) => {
                if let Some(channel) = reply.about() {
                    self.channels.ended(&channel, &refusal(&reply));
                }
            }
            ("hello", _) => self.greeted(message),
            ("token-expiring", _) => self.refresh(Instant::now()),
            ("refreshed", Some(id)) if self.refreshed(id) => {}
            (kind, None) if self.is_about_document(kind, message) => {}
            ("error", id) => self.refused(&reply, id),
            ("presence-update", Some(id)) if self.presence.answered(id) => {}
            (kind, Some(id)) => {
                if let Some(mut pending) = self.pending.remove(&id) {
                    if let Some(change) = pending.change.take() {
                        self.presence.taken(change);
                    }
                    let _ = pending.answer.send(Ok(Answer {
                        kind: kind.to_owned(),
                        text: message.to_owned(),
                    }));
                }
            }
            _ => {}
        }
    }

    fn refused(&mut self, reply: &Reply<'_>, id: Option<u64>) {
        let refusal = refusal(reply);
        let Some(number) = id else {
            self.announcer
                .announce(&SessionEvent::Refused { id, refusal });
            return;
        };
        if let Some(pending) = self.pending.remove(&number) {
            let _ = pending.answer.send(Err(SessionError::Refused(refusal)));
            return;
        }
        if self.refreshed(number) {
            tracing::warn!(%refusal, "the server refuses the newer token");
            if refusal.temporary {
                self.refresh_later();
            }
            self.announcer
                .announce(&SessionEvent::Refused { id, refusal });
            return;
        }
        if let Some(roster) = self.channels.roster_asked(number) {
            // The next change asks anew.
            roster.request = None;
        }
        if self.presence_refused(number, &refusal) {
            tracing::warn!(%refusal, "the server refuses what was said of the user before");
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

    fn greeted(&mut self, message: &str) {
        let hello = match wire::Hello::read(message) {
            Ok(hello) => owned(&hello),
            Err(error) => {
                tracing::warn!(%error, "the server's hello is none of ours");
                return;
            }
        };
        self.may_be_silent(hello.heartbeat_presence);
        self.hello.send_replace(Some(hello.clone()));
        self.announcer.announce(&SessionEvent::Hello(hello));
    }
}

fn refusal(reply: &Reply<'_>) -> Refusal {
    Refusal {
        code: reply.code.unwrap_or_default(),
        error: reply.error.as_deref().unwrap_or_default().to_owned(),
        temporary: reply.temporary.unwrap_or_default(),
    }
}

fn owned(hello: &wire::Hello<'_>) -> Hello {
    Hello {
        connection: hello.connection.to_string(),
        user: hello.user.as_deref().map(str::to_owned),
        name: hello.name.as_deref().map(str::to_owned),
        max_message_size: hello.limits.max_message_size,
        max_channels: hello.limits.max_channels,
        messages_per_second: hello.limits.messages_per_second,
        heartbeat_interval: Duration::from_millis(hello.heartbeat.interval),
        heartbeat_timeout: Duration::from_millis(hello.heartbeat.timeout),
        heartbeat_presence: Some(hello.heartbeat.presence)
            .filter(|ms| *ms > 0)
            .map(Duration::from_millis),
        server_time: hello.server_time,
        expires: hello.expires,
    }
}
