//! What can happen, one thing at a time.

use std::net::{IpAddr, Ipv4Addr};

use arbitrary::{Result, Unstructured};
use shardwire_protocol::codes::ErrorCode;
use shardwire_protocol::websocket::frame::{self, Kind};
use shardwire_shards::vocabulary::{
    AnswerId, Audience, Command, ConnectionId, Denied, Identity, Input, Mode, Opening, Returned,
    ShardId, SocketToken, Standing, Verdict,
};

use super::socket::{Socket, Stage};
use super::speech::{self, CHANNELS, USERS, VALUES};
use super::world::World;

/// Sockets of one run, those that are gone included.
const SOCKETS_MAX: usize = 24;

/// Offers of permessage-deflate, and one that is none.
const OFFERS: [&str; 3] = [
    "permessage-deflate",
    "permessage-deflate; client_no_context_takeover; server_max_window_bits=9",
    "something-else",
];

impl World {
    /// One thing happens.
    pub(super) fn deed(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        match u.int_in_range(0..=15)? {
            0..=1 => self.open(u),
            2..=6 => self.speak(u),
            7 => {
                if let Some(number) = self.some_socket(u)? {
                    self.lose(number);
                }
                Ok(())
            }
            8 => {
                let at = u.choose_index(self.shards.len())?;
                self.hand_in(at, Input::Mail);
                Ok(())
            }
            9 => {
                let ms = *u.choose(&[0, 1, 10, 1_000, 6_000, 31_000, 70_000])?;
                self.pass(ms);
                Ok(())
            }
            10 => self.room(u),
            11 => self.verdict(u),
            12 => self.returned(u),
            13 => self.hand_over(u),
            14 => self.command(u),
            _ => self.stale(u),
        }
    }

    fn some_socket(&self, u: &mut Unstructured<'_>) -> Result<Option<usize>> {
        if self.sockets.is_empty() {
            return Ok(None);
        }
        Ok(Some(u.choose_index(self.sockets.len())?))
    }

    /// A connection, or what was one.
    fn some_id(&self, u: &mut Unstructured<'_>) -> Result<Option<ConnectionId>> {
        if self.ids.is_empty() {
            return Ok(None);
        }
        Ok(self
            .ids
            .keys()
            .nth(u.choose_index(self.ids.len())?)
            .copied())
    }

    fn open(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        if self.sockets.len() == SOCKETS_MAX {
            return Ok(());
        }
        let address = IpAddr::V4(Ipv4Addr::new(127, 0, 0, u.int_in_range(1..=3)?));
        let mode = if u.ratio(1, 5)? {
            Mode::Echo
        } else {
            Mode::Json
        };
        let standing = self.standing(u)?;
        let user = match &standing {
            Standing::Unverified(user) => user.as_deref(),
            Standing::Verified(identity) => Some(&**identity.user()),
            Standing::Awaited | Standing::Anonymous => None,
        };
        let door = u.choose_index(self.shards.len())?;
        let at = self
            .placement
            .home(ShardId(door as u16), address, user)
            .index();
        let now = self.now();
        if self.shards[door].admit_another(now).is_err() || !self.shards[door].admit() {
            return Ok(());
        }
        let offers: &[&str] = if u.arbitrary()? {
            &OFFERS[u.choose_index(OFFERS.len())?..]
        } else {
            &[]
        };
        let awaited = standing == Standing::Awaited;
        let negotiated = self.shards[door].negotiate(offers.iter().copied(), awaited);
        let compression = negotiated.map(|(_, compression)| compression);
        if u.ratio(1, 8)? {
            // The socket ended before its answer was out.
            self.shards[door].revoke_admission();
            if let Some(compression) = compression {
                self.shards[door].revoke_compression(compression);
            }
            return Ok(());
        }
        let mut early = Vec::new();
        if u.ratio(1, 3)? {
            speech::say(u, compression.is_some(), &mut early)?;
        }
        let number = self.sockets.len();
        let opening = Opening {
            standing,
            compression,
            early,
            hello: self.settings.authentication.is_some(),
            ..Opening::new(SocketToken(number as u64), mode, address)
        };
        self.sockets.push(Socket::new(at, mode, compression));
        self.hand_in(at, Input::Opened(opening));
        Ok(())
    }

    fn standing(&self, u: &mut Unstructured<'_>) -> Result<Standing> {
        if self.settings.authentication.is_none() {
            let user = u.arbitrary::<bool>()?.then_some(*u.choose(&USERS)?);
            return Ok(Standing::Unverified(user.map(Into::into)));
        }
        Ok(match u.int_in_range(0..=3)? {
            0 => Standing::Anonymous,
            1 => Standing::Verified(self.identity(u)?),
            _ => Standing::Awaited,
        })
    }

    fn identity(&self, u: &mut Unstructured<'_>) -> Result<Identity> {
        let identity = Identity::new(*u.choose(&USERS)?);
        let identity = match u.arbitrary()? {
            true => identity.with_permissions(["role"]),
            false => identity,
        };
        Ok(match u.int_in_range(0..=3)? {
            0 => identity.expiring_at(self.now().unix_ms + 65_000),
            1 => identity.expiring_at(self.now().unix_ms.saturating_sub(u.int_in_range(0..=2)?)),
            _ => identity,
        })
    }

    fn speak(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let Some(number) = self.some_socket(u)? else {
            return Ok(());
        };
        let socket = &mut self.sockets[number];
        if !socket.receiving && !std::mem::take(&mut socket.on_its_way) {
            return Ok(());
        }
        let (Some(connection), at) = (socket.connection, socket.shard) else {
            return Ok(());
        };
        let compresses = socket.compresses;
        let mut bytes = Vec::new();
        for _ in 0..u.int_in_range(1..=3)? {
            speech::say(u, compresses, &mut bytes)?;
        }
        let cut = u.choose_index(bytes.len() + 1)?;
        let (first, last) = bytes.split_at_mut(cut);
        for bytes in [first, last] {
            if self.sockets[number].connection == Some(connection) {
                self.hand_in(at, Input::Bytes { connection, bytes });
            }
        }
        Ok(())
    }

    /// A socket takes so much, and no more for now.
    fn room(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let Some(number) = self.some_socket(u)? else {
            return Ok(());
        };
        let room = *u.choose(&[0, 1, 100, 1000, usize::MAX])?;
        let at = self.sockets[number].shard;
        if std::mem::take(&mut self.sockets[number].blocked) {
            self.flush(number, room);
        } else {
            self.sockets[number].blocked = room == 0;
        }
        self.hand_in(at, Input::Mail);
        Ok(())
    }

    fn verdict(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let waiting = self.sockets.iter().position(|socket| socket.verifying);
        let Some(socket) = waiting.map(|number| &mut self.sockets[number]) else {
            return Ok(());
        };
        socket.verifying = false;
        let (Some(connection), at) = (socket.connection, socket.shard) else {
            return Ok(());
        };
        let verdict = self.some_verdict(u)?;
        self.hand_in(
            at,
            Input::Verdict {
                connection,
                verdict,
            },
        );
        Ok(())
    }

    fn some_verdict(&self, u: &mut Unstructured<'_>) -> Result<Verdict> {
        Ok(match u.int_in_range(0..=5)? {
            0 => Err(*u.choose(&[
                Denied::Missing,
                Denied::Wrong,
                Denied::Expired,
                Denied::Unavailable,
            ])?),
            1 => Ok(Identity::new("")),
            _ => Ok(self.identity(u)?),
        })
    }

    fn returned(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let waiting = self.sockets.iter().position(|socket| socket.calling);
        let Some(socket) = waiting.map(|number| &mut self.sockets[number]) else {
            return Ok(());
        };
        socket.calling = false;
        let (Some(connection), at) = (socket.connection, socket.shard) else {
            return Ok(());
        };
        let outcome = u
            .choose(&[
                Returned::Done,
                Returned::Failed(ErrorCode::Overloaded),
                Returned::Panicked,
                Returned::Refused("not so".into()),
            ])?
            .clone();
        self.hand_in(
            at,
            Input::Returned {
                connection,
                outcome,
            },
        );
        Ok(())
    }

    /// A socket that was given away arrives at its new home, or is lost on the way.
    fn hand_over(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        if self.moving.is_empty() {
            return Ok(());
        }
        let (number, opening) = self.moving.remove(0);
        if u.ratio(1, 4)? {
            self.sockets[number].stage = Stage::Gone;
            let at = self.sockets[number].shard;
            self.shards[at].abandon(&opening);
            self.hand_in(at, Input::Mail);
        } else {
            self.arrive(number, opening);
        }
        Ok(())
    }

    fn command(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let channel = (*u.choose(&CHANNELS)?).into();
        let value = *u.choose(&VALUES)?;
        let some = self.some_id(u)?;
        let anywhere = u.choose_index(self.shards.len())?;
        let user = *u.choose(&USERS)?;
        let kind = u.int_in_range(0..=8)?;
        let (at, command) = match (kind, some) {
            (0, _) | (_, None) => {
                let exclude = some.into_iter().collect();
                (
                    anywhere,
                    Command::Publish {
                        channel,
                        message: value.into(),
                        exclude,
                        options: None,
                        answer: None,
                    },
                )
            }
            (1, _) => {
                let mut frame = Vec::new();
                frame::write_server(&mut frame, Kind::Text, br#"{"type":"news"}"#);
                let audience = match u.int_in_range(0..=2)? {
                    0 => Audience::Everyone,
                    1 => Audience::Users(vec![user.into()]),
                    _ => Audience::Except(some.into_iter().collect()),
                };
                (
                    anywhere,
                    Command::Broadcast {
                        frame: frame.into(),
                        audience,
                    },
                )
            }
            (2, _) => {
                let home = self.placement.home_of_user(user).index();
                (
                    home,
                    Command::ConnectionsOfUser {
                        user: user.into(),
                        answer: AnswerId(1),
                    },
                )
            }
            (kind, Some(connection)) => {
                let command = match kind {
                    3 => Command::SendText {
                        connection,
                        text: r#"{"type":"word"}"#.into(),
                        answer: None,
                    },
                    4 => Command::Subscribe {
                        connection,
                        channel,
                    },
                    5 => Command::Unsubscribe {
                        connection,
                        channel,
                    },
                    6 => Command::RouteBuiltIn {
                        connection,
                        message: speech::message(u)?.into(),
                    },
                    7 => Command::CloseConnection {
                        connection,
                        code: 4000,
                        reason: "go".to_owned(),
                        answer: None,
                    },
                    _ => Command::CloseAll {
                        code: 4200,
                        reason: "all".to_owned(),
                    },
                };
                (connection.shard().index(), command)
            }
        };
        self.hand_in(at, Input::Command(command));
        Ok(())
    }

    /// Something about a connection that nobody has asked for, and that may have ended.
    fn stale(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let Some(connection) = self.some_id(u)? else {
            return Ok(());
        };
        let at = connection.shard().index();
        let lives = self
            .ids
            .get(&connection)
            .is_some_and(|number| self.sockets[*number].connection == Some(connection));
        match u.int_in_range(0..=2)? {
            0 => {
                let verdict = self.some_verdict(u)?;
                if !lives {
                    self.hand_in(
                        at,
                        Input::Verdict {
                            connection,
                            verdict,
                        },
                    );
                }
            }
            1 if !lives => self.hand_in(
                at,
                Input::Returned {
                    connection,
                    outcome: Returned::Done,
                },
            ),
            _ if !lives => {
                let mut bytes = Vec::new();
                speech::say(u, false, &mut bytes)?;
                self.hand_in(
                    at,
                    Input::Bytes {
                        connection,
                        bytes: &mut bytes,
                    },
                );
                self.hand_in(at, Input::Closed { connection });
            }
            _ => {}
        }
        Ok(())
    }
}
