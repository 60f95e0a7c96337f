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
            ("hello", _) => self.greeted(message),
            ("token-expiring", _) => self.refresh(Instant::now()),
            ("refreshed", Some(id)) if self.refreshed(id) => {}
            ("error", id) => self.refused(&reply, id),
            (kind, Some(id)) => {
                if let Some(pending) = self.pending.remove(&id) {
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
        self.hello.send_replace(Some(hello.clone()));
        self.announcer.announce(&SessionEvent::Hello(hello));
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
        server_time: hello.server_time,
        expires: hello.expires,
    }
}
