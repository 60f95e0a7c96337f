//! The first frame of a connection that has not said yet who it is (decision D18), and what follows from the verdict.
//!
//! Such a connection is counted at its address's home like any other, then has `authentication.timeout` to say
//! `{"type":"auth","token":…}`. What it sends behind that is kept until the verdict. The user may be at home on another shard:
//! then the socket goes there, with everything that was read, and begins anew as a verified one.

use shardwire_protocol::codes::close;
use shardwire_protocol::envelope::{self, outbound};

use super::connection::{Admitting, Authenticating};
use super::{Connection, Flags, Session, State};
use crate::routing::kept_reply;
use crate::shard::Shard;
use crate::timers::tick_at;
use crate::vocabulary::{
    ConnectionId, Denied, Effect, Identity, LimitedKey, Mode, Now, Opening, ShardId, Standing,
    Token, Verdict,
};

/// What a client is told that is not let in, or not any longer.
pub(super) fn close_of(denied: Denied) -> (u16, &'static str) {
    match denied {
        Denied::Missing | Denied::Wrong => (close::AUTHENTICATION_FAILED, "authentication failed"),
        Denied::Expired => (close::NEW_TOKEN, "the token has expired"),
        Denied::Unavailable => (close::TRY_AGAIN_LATER, "nobody can check the token now"),
    }
}

impl Shard {
    /// The connection is counted in, but must say who it is before anything else.
    pub(super) fn await_token(&mut self, now: Now, id: ConnectionId) {
        let timeout = self.settings.authentication.unwrap_or_default().timeout_ms;
        let until = tick_at(now.ms.saturating_add(timeout));
        let Some(connection) = self.registry.get_mut(id) else {
            return;
        };
        let authenticating = Authenticating {
            until,
            verifying: false,
            reply: None,
            early: Vec::new(),
        };
        let before = std::mem::replace(
            &mut connection.state,
            State::Authenticating(Box::new(authenticating)),
        );
        connection.flags.set(Flags::PAUSED, false);
        let socket = connection.socket;
        self.session_wheel.arm(until, id);
        self.effects.push_back(Effect::Receive { socket, on: true });
        if let State::Admitting(mut admitting) = before
            && !admitting.early.is_empty()
        {
            self.take_in(now, id, &mut admitting.early);
        }
    }

    /// The first message of such a connection.
    pub(super) fn first_message(&mut self, now: Now, id: ConnectionId, text: &str) {
        let inbound = match envelope::parse(text) {
            Ok(inbound) if &*inbound.kind == "auth" => inbound,
            _ => {
                let reason = "say who you are first: {\"type\":\"auth\",\"token\":…}";
                return self.close(now, id, close::AUTHENTICATION_FAILED, reason);
            }
        };
        let Some(token) = inbound.token.and_then(|token| Token::new(&token)) else {
            let (code, reason) = close_of(Denied::Wrong);
            return self.close(now, id, code, reason);
        };
        let Some(connection) = self.registry.get_mut(id) else {
            return;
        };
        if let State::Authenticating(authenticating) = &mut connection.state {
            authenticating.verifying = true;
            authenticating.reply = inbound.id.map(|raw| raw.get().into());
            self.effects.push_back(Effect::Verify {
                connection: id,
                token,
                address: connection.address,
                user: None,
            });
        }
    }

    /// Whether what this connection sends is kept until its verdict.
    pub(super) fn is_verifying(&self, id: ConnectionId) -> bool {
        matches!(
            self.registry.get(id),
            Some(Connection { state: State::Authenticating(authenticating), .. }) if authenticating.verifying
        )
    }

    /// The time to say who one is has passed.
    pub(super) fn token_overdue(&mut self, now: Now, id: ConnectionId) {
        let (code, reason) = if self.is_verifying(id) {
            close_of(Denied::Unavailable)
        } else {
            (
                close::AUTHENTICATION_FAILED,
                "no credentials came within authentication.timeout",
            )
        };
        self.close(now, id, code, reason);
    }

    /// What came of [`Effect::Verify`]. Of a connection that does not wait for it any more, nothing.
    pub(crate) fn verified(&mut self, now: Now, id: ConnectionId, verdict: Verdict) {
        let Some(connection) = self.registry.get(id) else {
            return;
        };
        match &connection.state {
            State::Authenticating(authenticating) if authenticating.verifying => {}
            State::Open | State::Calling(_) if connection.flags.has(Flags::VERIFYING) => {
                return self.refreshed(now, id, verdict);
            }
            _ => return,
        }
        match verdict {
            Ok(identity) if identity.is_valid() => {
                self.let_in(now, id, identity);
                self.go_if_all_is_said(id);
            }
            Ok(_) => {
                let (code, reason) = close_of(Denied::Wrong);
                self.close(now, id, code, reason);
            }
            Err(denied) => {
                let (code, reason) = close_of(denied);
                self.close(now, id, code, reason);
            }
        }
    }

    fn let_in(&mut self, now: Now, id: ConnectionId, identity: Identity) {
        let Some(connection) = self.registry.get_mut(id) else {
            return;
        };
        let home = self
            .placement
            .home(self.id, connection.address, Some(identity.user()));
        // What one whose socket has ended has said can be handled here as well.
        if home != self.id && !connection.flags.has(Flags::ENDED) {
            return self.give_away(id, home, identity);
        }
        connection.flags.set(Flags::AWAITED, false);
        connection.user = Some(identity.user().clone());
        connection.session = Some(Box::new(Session::new(now, identity)));
        let before = std::mem::replace(&mut connection.state, State::Open);
        if let State::Authenticating(authenticating) = before {
            connection.state = State::Admitting(Box::new(Admitting {
                verdicts_missing: 0,
                early: authenticating.early,
                reply: authenticating.reply,
            }));
        }
        self.ask_for_admission(now, id);
    }

    /// The user is at home elsewhere: the socket goes there with all that is known, and this shard forgets it. The place on the
    /// node and at the address's home go along.
    fn give_away(&mut self, id: ConnectionId, home: ShardId, identity: Identity) {
        let Some(mut connection) = self.registry.remove(id) else {
            return;
        };
        let (early, reply) = match connection.state {
            State::Authenticating(authenticating) => (authenticating.early, authenticating.reply),
            _ => Default::default(),
        };
        self.forget_postponed(id);
        let opening = Opening {
            compression: self.move_compression(id, connection.extension),
            standing: Standing::Verified(identity),
            hello: connection.flags.has(Flags::HELLO),
            reply,
            unsent: connection
                .outbox
                .slices(&self.frames)
                .flatten()
                .copied()
                .collect(),
            address_counted: connection.flags.has(Flags::ADDRESS_COUNTED).then_some(id),
            early,
            ..Opening::new(connection.socket, connection.mode, connection.address)
        };
        connection.outbox.clear(&mut self.frames, &mut self.pool);
        self.counters.connections_handed_off += 1;
        self.effects.push_back(Effect::HandOff {
            home,
            opening: Box::new(opening),
        });
    }

    /// A socket that was let in, or given away, became no connection anywhere: what it holds is free again.
    pub fn abandon(&mut self, opening: &Opening) {
        self.node_count.release();
        if let Some(compression) = opening.compression {
            self.revoke_compression(compression);
        }
        if let Some(counted) = opening.address_counted {
            let address = crate::users::limited_address(opening.address);
            self.release_key(counted, LimitedKey::Address(address));
        }
    }

    /// Tells a client that it is known now, and what is expected of it.
    pub(super) fn say_hello(&mut self, now: Now, id: ConnectionId, reply: Option<Box<str>>) {
        let Some(connection) = self.registry.get(id) else {
            return;
        };
        if connection.mode != Mode::Json {
            return;
        }
        let identity = connection
            .session
            .as_deref()
            .map(|session| session.identity.clone());
        let settings = std::sync::Arc::clone(&self.settings);
        let name = id.to_string();
        let hello = outbound::Hello {
            connection: &name,
            user: identity.as_ref().map(|identity| &**identity.user()),
            name: identity.as_ref().and_then(Identity::name),
            max_message_size: settings.max_message_size as u64,
            max_channels: settings.max_channels as u64,
            messages_per_second: settings
                .rates
                .connection_messages
                .map(|rate| rate.per_second()),
            heartbeat_interval_ms: settings.heartbeat_interval_ms,
            heartbeat_timeout_ms: settings.heartbeat_timeout_ms,
            presence_interval_ms: settings.presence.heartbeat_interval_ms,
            server_time: now.unix_ms,
            expires: identity.as_ref().and_then(Identity::expires_unix_ms),
        };
        let reply = kept_reply(reply);
        self.answer(id, |out| outbound::hello(out, &hello, reply.as_deref()));
    }
}
