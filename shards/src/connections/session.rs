//! How long a verified identity holds: the warning before it expires, the refresh, the grace, the end.

use serde_json::value::RawValue;

use shardwire_protocol::codes::{ErrorCode, close};
use shardwire_protocol::envelope::outbound;

use super::{Flags, State};
use crate::channels::is_document_channel;
use crate::permissions::Action;
use crate::routing::kept_reply;
use crate::shard::Shard;
use crate::timers::tick_at;
use crate::vocabulary::{ConnectionId, Denied, Effect, Identity, Now, Token, Verdict};

/// Who a connection is, for as long as its credentials hold. Connections that nobody verified have none.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) identity: Identity,
    /// When it expires, in milliseconds since start: wall clocks may be set while it waits.
    expires_ms: Option<u64>,
    warned: bool,
    /// Moments before this one were armed for a token that was replaced.
    next_ms: u64,
    /// The `id` of the `refresh` that is being verified.
    reply: Option<Box<str>>,
}

impl Session {
    pub(crate) fn new(now: Now, identity: Identity) -> Self {
        let left = |unix_ms: u64| unix_ms.saturating_sub(now.unix_ms);
        let expires_ms = identity
            .expires_unix_ms()
            .map(|unix_ms| now.ms.saturating_add(left(unix_ms)));
        Self {
            identity,
            expires_ms,
            warned: false,
            next_ms: 0,
            reply: None,
        }
    }
}

impl Shard {
    /// A moment at which something of a session, or of the wait for one, may be due.
    pub(crate) fn look_at_session(&mut self, now: Now, id: ConnectionId) {
        let tick = self.tick(now);
        match self.registry.get(id).map(|connection| &connection.state) {
            Some(State::Authenticating(authenticating)) if tick >= authenticating.until => {
                self.token_overdue(now, id);
            }
            Some(State::Open | State::Calling(_)) => self.watch_expiry(now, id),
            _ => {}
        }
    }

    /// Warns, closes, or arms the next moment at which one of both is due.
    pub(super) fn watch_expiry(&mut self, now: Now, id: ConnectionId) {
        let times = self.settings.authentication.unwrap_or_default();
        let Some(connection) = self.registry.get_mut(id) else {
            return;
        };
        let verifying = connection.flags.has(Flags::VERIFYING);
        let Some(session) = connection.session.as_deref_mut() else {
            return;
        };
        let (Some(expires), Some(unix_ms)) =
            (session.expires_ms, session.identity.expires_unix_ms())
        else {
            return;
        };
        let end = expires.saturating_add(times.grace_ms);
        // A refresh that is being verified has its own time limit; whoever asked in time is not closed meanwhile.
        let last = end.saturating_add(if verifying { times.timeout_ms } else { 0 });
        let warning = expires.saturating_sub(times.warning_ms);
        if now.ms < session.next_ms {
            return;
        }
        if now.ms >= last {
            return self.close(now, id, close::NEW_TOKEN, "the token has expired");
        }
        let warn = now.ms >= warning && !session.warned;
        session.warned |= warn;
        session.next_ms = match now.ms {
            ms if ms >= end => last,
            ms if ms >= warning => end,
            _ => warning,
        };
        self.session_wheel.arm(tick_at(session.next_ms), id);
        if warn {
            self.answer(id, |out| outbound::token_expiring(out, unix_ms));
        }
    }

    /// A client shows a new token.
    pub(crate) fn refresh(
        &mut self,
        id: ConnectionId,
        token: Option<&str>,
        reply: Option<&RawValue>,
    ) {
        let Some(token) = token else {
            return self.answer_error(id, ErrorCode::InvalidMessage, reply);
        };
        let Some(connection) = self.registry.get_mut(id) else {
            return;
        };
        let verifying = connection.flags.has(Flags::VERIFYING);
        let Some(session) = connection.session.as_deref_mut() else {
            // Nobody became somebody by a refresh: that takes another connection.
            return self.answer_error(id, ErrorCode::NotPermitted, reply);
        };
        if verifying {
            return self.answer_error(id, ErrorCode::Overloaded, reply);
        }
        let Some(token) = Token::new(token) else {
            return self.answer_error(id, ErrorCode::AuthenticationFailed, reply);
        };
        session.reply = reply.map(|raw| raw.get().into());
        let user = Some(session.identity.user().clone());
        connection.flags.set(Flags::VERIFYING, true);
        self.effects.push_back(Effect::Verify {
            connection: id,
            token,
            address: connection.address,
            user,
        });
    }

    /// What came of it. A token of another user is no refresh: the connection is counted, and maybe lives, where its user is.
    pub(super) fn refreshed(&mut self, now: Now, id: ConnectionId, verdict: Verdict) {
        let Some(connection) = self.registry.get_mut(id) else {
            return;
        };
        connection.flags.set(Flags::VERIFYING, false);
        let Some(session) = connection.session.as_deref_mut() else {
            return;
        };
        let reply = kept_reply(session.reply.take());
        let code = match verdict {
            Ok(identity) if identity.user() == session.identity.user() => {
                let expires = identity.expires_unix_ms();
                let before = std::mem::replace(session, Session::new(now, identity));
                self.answer(id, |out| {
                    outbound::refreshed(out, expires, reply.as_deref());
                });
                self.leave_forbidden_room(id, &before.identity);
                self.leave_forbidden_channels(id, &before.identity);
                self.review_documents(id);
                return self.watch_expiry(now, id);
            }
            Ok(_) => ErrorCode::NotPermitted,
            Err(Denied::Unavailable) => ErrorCode::Overloaded,
            Err(_) => ErrorCode::AuthenticationFailed,
        };
        self.answer_error(id, code, reply.as_deref());
    }

    /// Permissions changed: takes a connection out of every channel that it could subscribe to `before` and cannot now, and tells
    /// it. Channels the application subscribed it to, it keeps: they never hung on its permissions.
    fn leave_forbidden_channels(&mut self, id: ConnectionId, before: &Identity) {
        let Some(connection) = self.registry.get(id) else {
            return;
        };
        let audiences = &self.channels.audiences;
        let joined = connection
            .memberships
            .iter()
            .filter_map(|membership| audiences.get(membership.audience))
            .map(|audience| audience.name.clone());
        let permissions = &self.settings.permissions;
        let room = self.room_entered(id);
        let forbidden: Vec<_> = joined
            .filter(|name| !is_document_channel(name))
            .filter(|name| room.as_ref() != Some(name))
            .filter(|name| permissions.allow(Action::Subscribe, name, Some(before)))
            .filter(|name| self.authorize(id, Action::Subscribe, name).is_err())
            .collect();
        for channel in forbidden {
            self.leave_channel(id, &channel);
            self.answer(id, |out| {
                outbound::taken_out(out, &channel, ErrorCode::NotPermitted);
            });
        }
    }
}
