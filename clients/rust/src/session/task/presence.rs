//! What is said of the session's own user, again on every connection, and that it is still there; who is in which channel.

use super::{TRY_AGAIN, Task, outbox::What};
use crate::session::{PresenceChange, Refusal};
use rand::RngExt;
use serde_json::value::to_raw_value;
use shardwire_protocol::envelope::{
    PRESENCE_PREFIX,
    client::{self as wire, PresenceTold},
};
use std::time::Duration;
use tokio::time::Instant;

/// What the session says of its user.
#[derive(Default)]
pub(super) struct OwnPresence {
    /// All that was said and taken, as one change.
    said: Option<PresenceChange>,
    /// Id of the message that says it again.
    request: Option<u64>,
    /// When it is to be said again that was refused for now.
    again: Option<Instant>,
    /// How long the server lets the session be silent.
    silence: Option<Duration>,
    /// When it last said something.
    spoke: Option<Instant>,
}

impl OwnPresence {
    /// The server has taken a change.
    pub(super) fn taken(&mut self, change: PresenceChange) {
        self.said.get_or_insert_default().and(change);
    }

    pub(super) fn lost(&mut self) {
        (self.request, self.again) = (None, None);
        (self.silence, self.spoke) = (None, None);
    }

    pub(super) fn spoke(&mut self) {
        self.spoke = Some(Instant::now());
    }

    /// When something has to be done.
    pub(super) fn due(&self) -> Option<Instant> {
        let heartbeat = self.spoke.zip(self.silence);
        let heartbeat = heartbeat.and_then(|(spoke, silence)| spoke.checked_add(silence));
        [self.again, heartbeat].into_iter().flatten().min()
    }

    /// Whether `id` is that of the message that says it again, which ends with this answer.
    pub(super) fn answered(&mut self, id: u64) -> bool {
        let ours = self.request == Some(id);
        if ours {
            self.request = None;
        }
        ours
    }
}

impl Task {
    /// A connection is open: what was said of the user is said again, before anything that waited.
    pub(super) fn say_presence_again(&mut self) {
        self.presence.again = None;
        let change = self.presence.said.as_ref();
        let change = change.filter(|_| self.options.presence_again);
        // What was said once can be said again.
        let Some(Ok(change)) = change.map(to_raw_value) else {
            return;
        };
        let id = self.number();
        self.presence.request = Some(id);
        let fields = [("presence", &*change)];
        let text = super::text(|out| wire::message(out, "set-presence", fields, Some(id)));
        self.outbox.push_front(text, What::Connection);
    }

    /// The server's `hello` says how long the session may be silent.
    pub(super) fn may_be_silent(&mut self, silence: Option<Duration>) {
        self.presence.silence = silence.filter(|_| self.options.presence_heartbeat);
        self.presence.spoke();
    }

    /// It is time for something that [`OwnPresence::due`] said.
    pub(super) fn presence_is_due(&mut self) {
        let now = Instant::now();
        if self.presence.again.is_some_and(|at| at <= now) {
            self.say_presence_again();
        } else {
            self.presence.spoke();
            // Without an id: the answer is nobody's.
            let ping = super::text(|out| wire::message(out, "ping", [], None));
            self.outbox.push(ping, What::Connection);
        }
    }

    /// Whether the server refuses what was said again.
    pub(super) fn presence_refused(&mut self, id: u64, refusal: &Refusal) -> bool {
        let ours = self.presence.answered(id);
        if ours && refusal.temporary {
            let delay = TRY_AGAIN.mul_f64(1.0 + rand::rng().random::<f64>());
            self.presence.again = Some(Instant::now() + delay);
        }
        ours
    }

    /// A `presence-state` that nobody asked for, or that was asked for because a message was missing; or a `presence-diff`.
    pub(super) fn members_told(&mut self, message: &str, is_state: bool) {
        let told = match PresenceTold::read(message) {
            Ok(told) => told,
            Err(error) => {
                tracing::warn!(%error, "the server tells presence in another shape");
                return;
            }
        };
        let told_in = format!("{PRESENCE_PREFIX}{}", &*told.channel);
        let Some(roster) = self.channels.roster(&told_in) else {
            return;
        };
        if is_state {
            roster.request = None;
            roster.state(&told);
        } else if !roster.diff(&told) {
            let id = self.number();
            tracing::warn!(
                channel = &*told.channel,
                version = told.version,
                "a change of presence is missing"
            );
            if let (Some(roster), Ok(channel)) =
                (self.channels.roster(&told_in), to_raw_value(&*told.channel))
            {
                roster.request = Some(id);
                let ask = super::text(|out| {
                    wire::message(out, "get-presence", [("channel", &*channel)], Some(id));
                });
                self.outbox.push(ask, What::Connection);
            }
        }
    }
}
