//! From a socket to an open connection: counted on the node, at its user's home, at its address's home.

use shardwire_protocol::codes::close;

use super::connection::Admitting;
use super::{Connection, Flags, Outbox, Session, Share, SpokeAt, State};
use crate::mesh::Lane;
use crate::shard::Shard;
use crate::users::limited_address;
use crate::vocabulary::{
    CallTarget, ConnectionId, Effect, Event, LimitedKey, Now, Opening, ShardMessage, Standing,
};

impl Shard {
    /// Asked before an upgrade is answered: is there room on the node (contract M1)? True: one place is taken, to be passed
    /// on with `Opened` or given back by [`revoke_admission`](Self::revoke_admission).
    #[must_use]
    pub fn admit(&mut self) -> bool {
        let admitted = self.node_count.try_acquire(self.settings.max_connections);
        if !admitted {
            self.counters.connections_refused += 1;
        }
        admitted
    }

    /// Asked for every upgrade request, before anything is spent on it: may one more connection come now? Counted for the whole
    /// node, refused ones not.
    ///
    /// # Errors
    /// How long until the next may come, in milliseconds.
    pub fn admit_another(&mut self, now: Now) -> Result<(), u64> {
        let Some(rate) = &self.settings.rates.new_connections else {
            return Ok(());
        };
        let admitted = self.node_count.take_token(now.ms, rate);
        self.counters.connections_refused += u64::from(admitted.is_err());
        admitted
    }

    /// The socket ended between [`admit`](Self::admit) and `Opened`.
    pub fn revoke_admission(&mut self) {
        self.node_count.release();
    }

    pub(crate) fn opened(&mut self, now: Now, opening: Opening) {
        let Opening {
            socket,
            mode,
            address,
            standing,
            compression,
            early,
            hello,
            reply,
            unsent,
            address_counted,
        } = opening;
        let mut flags = Flags::default();
        flags.set(Flags::HELLO, hello);
        flags.set(Flags::ADDRESS_COUNTED, address_counted.is_some());
        flags.set(Flags::AWAITED, standing == Standing::Awaited);
        let (user, session) = match standing {
            Standing::Unverified(user) => (user, None),
            Standing::Anonymous | Standing::Awaited => (None, None),
            Standing::Verified(identity) => (
                Some(identity.user().clone()),
                Some(Box::new(Session::new(now, identity))),
            ),
        };
        let connection = Connection {
            socket,
            decoder: Default::default(),
            outbox: Outbox::default(),
            user,
            session,
            buckets: None,
            memberships: Vec::new(),
            address,
            mode,
            flags,
            extension: compression.into(),
            share: Share::default(),
            state: State::Admitting(Box::new(Admitting {
                verdicts_missing: 0,
                early,
                reply,
            })),
            heard: self.tick(now),
            spoke: SpokeAt::at(now),
            pinged: None,
        };
        let Some(id) = self.registry.insert(connection) else {
            self.node_count.release();
            if let Some(counted) = address_counted {
                let address = LimitedKey::Address(limited_address(address));
                self.release_key(counted, address);
            }
            if let Some(compression) = compression {
                self.revoke_compression(compression);
            }
            self.counters.connections_refused += 1;
            self.effects.push_back(Effect::Close { socket });
            return;
        };
        self.begin_compression(id, compression);
        self.counters.connections_opened += 1;
        self.effects.push_back(Effect::Opened {
            connection: id,
            socket,
        });
        if !unsent.is_empty() {
            self.write(id, |out| out.extend_from_slice(&unsent));
        }
        self.ask_for_admission(now, id);
    }

    /// Asks the homes of those of the connection's keys under which it is not counted yet; goes on at once if none has to be asked.
    pub(super) fn ask_for_admission(&mut self, now: Now, id: ConnectionId) {
        let Some(connection) = self.registry.get(id) else {
            return;
        };
        let user = connection.user.clone().map(LimitedKey::User);
        // An address is counted only while it is limited; a user always, for `ConnectionsOfUser`.
        let address = self
            .settings
            .max_connections_per_ip
            .filter(|_| !connection.flags.has(Flags::ADDRESS_COUNTED))
            .map(|_| LimitedKey::Address(limited_address(connection.address)));
        let mut missing = 0;
        for key in [user, address].into_iter().flatten() {
            let home = self.home_of(&key);
            if home == self.id {
                let granted = self.admit_here(id, &key);
                if !self.note_verdict(now, id, key, granted) {
                    return;
                }
            } else if self
                .ends
                .send(
                    home,
                    Lane::Control,
                    ShardMessage::Admit {
                        connection: id,
                        key,
                    },
                )
                .is_ok()
            {
                missing += 1;
            } else {
                self.close(now, id, close::OVERLOADED, "overloaded");
                return;
            }
        }
        if let Some(Connection {
            state: State::Admitting(admitting),
            ..
        }) = self.registry.get_mut(id)
        {
            admitting.verdicts_missing = missing;
        }
        if missing == 0 {
            self.admitted(now, id);
        }
    }

    /// Counted in everywhere.
    fn admitted(&mut self, now: Now, id: ConnectionId) {
        let awaited = self
            .registry
            .get(id)
            .is_some_and(|connection| connection.flags.has(Flags::AWAITED));
        if awaited {
            self.await_token(now, id);
        } else {
            self.open(now, id);
        }
    }

    /// As a key's home: counts a connection in, if it may open.
    fn admit_here(&mut self, connection: ConnectionId, key: &LimitedKey) -> bool {
        let granted = self.directory.admit(connection, key, &self.settings);
        if let LimitedKey::User(user) = key
            && granted
        {
            self.user_came(self.now, user);
        }
        granted
    }

    /// As a key's home: counts a connection out.
    pub(crate) fn release_here(&mut self, now: Now, connection: ConnectionId, key: &LimitedKey) {
        self.directory.release(connection, key);
        if let LimitedKey::User(user) = key {
            self.user_went(now, user);
        }
    }

    /// As a key's home: may this connection open?
    pub(crate) fn decide_admission(&mut self, connection: ConnectionId, key: LimitedKey) {
        let granted = self.admit_here(connection, &key);
        self.ends.post(
            connection.shard(),
            Lane::Control,
            ShardMessage::Verdict {
                connection,
                key,
                granted,
            },
        );
    }

    /// A home's verdict arrives.
    pub(crate) fn verdict(&mut self, now: Now, id: ConnectionId, key: LimitedKey, granted: bool) {
        if !self.note_verdict(now, id, key, granted) {
            return;
        }
        let Some(connection) = self.registry.get_mut(id) else {
            return;
        };
        if let State::Admitting(admitting) = &mut connection.state {
            admitting.verdicts_missing -= 1;
            if admitting.verdicts_missing == 0 {
                self.admitted(now, id);
                self.go_if_all_is_said(id);
            }
        }
    }

    /// Records a verdict; closes the connection if it was refused, gives the count back if nobody waits for it any more.
    fn note_verdict(&mut self, now: Now, id: ConnectionId, key: LimitedKey, granted: bool) -> bool {
        let waiting = self
            .registry
            .get_mut(id)
            .filter(|connection| matches!(connection.state, State::Admitting(_)));
        match waiting {
            Some(connection) if granted => {
                let flag = match key {
                    LimitedKey::User(_) => Flags::USER_COUNTED,
                    LimitedKey::Address(_) => Flags::ADDRESS_COUNTED,
                };
                connection.flags.set(flag, true);
                true
            }
            Some(_) => {
                let (code, reason) = match key {
                    LimitedKey::User(_) => {
                        (close::TOO_MANY_OF_USER, "too many connections of this user")
                    }
                    LimitedKey::Address(_) => (
                        close::TOO_MANY_OF_ADDRESS,
                        "too many connections from this address",
                    ),
                };
                self.counters.connections_refused += 1;
                self.close(now, id, code, reason);
                false
            }
            None => {
                if granted {
                    self.release_key(id, key);
                }
                false
            }
        }
    }

    fn open(&mut self, now: Now, id: ConnectionId) {
        let tick = self.tick(now);
        let Some(connection) = self.registry.get_mut(id) else {
            return;
        };
        let State::Admitting(admitting) = std::mem::replace(&mut connection.state, State::Open)
        else {
            return;
        };
        connection.flags.set(Flags::PAUSED, false);
        connection.heard = tick;
        let socket = connection.socket;
        let hello = connection.flags.has(Flags::HELLO);
        self.arm_heartbeat(now, id);
        self.effects
            .push_back(Effect::Event(Event::Connected { connection: id }));
        self.effects.push_back(Effect::Receive { socket, on: true });
        if hello {
            self.say_hello(now, id, admitting.reply);
        }
        self.watch_expiry(now, id);
        self.drain_late(now, id);
        let mut early = admitting.early;
        if !self
            .registry
            .get(id)
            .is_some_and(|connection| connection.is_open())
        {
            // A token that had expired already, without any grace; or a shard that is being emptied.
            return;
        }
        if self.registry.get(id).is_some_and(Connection::is_reachable) {
            self.announce_device(id);
        }
        if self.settings.routes.on_connect {
            self.call(id, CallTarget::Connect, Box::default());
            self.keep_for_later(id, &early);
        } else if !early.is_empty() {
            self.take_in(now, id, &mut early);
        }
        self.drain_late(now, id);
    }

    pub(crate) fn home_of(&self, key: &LimitedKey) -> crate::vocabulary::ShardId {
        match key {
            LimitedKey::User(user) => self.placement.home_of_user(user),
            LimitedKey::Address(address) => self.placement.home_of_address(*address),
        }
    }

    /// Gives one counted key back to its home.
    pub(crate) fn release_key(&mut self, id: ConnectionId, key: LimitedKey) {
        #[cfg(feature = "planted-faults")]
        if self
            .planted
            .strikes(crate::planted::Fault::ForgetDeregistration)
        {
            return;
        }
        let home = self.home_of(&key);
        if home == self.id {
            self.release_here(self.now, id, &key);
        } else {
            self.ends.post(
                home,
                Lane::Control,
                ShardMessage::Release {
                    connection: id,
                    key,
                },
            );
        }
    }
}
