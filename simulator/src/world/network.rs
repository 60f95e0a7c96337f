//! What kernel and network do between a client and its shard, some bytes at a time.

use shardwire_protocol::codes::ErrorCode;
use shardwire_protocol::websocket::frame::Kind;
use shardwire_protocol::websocket::{CloseFrame, Event};
use shardwire_shards::vocabulary::Mode;

use super::{Completion, World};
use crate::checks::Seen;
use crate::clients::{Heard, RULES, Speech, Stage, understand};
use crate::scenario::room_name;

impl World<'_> {
    /// One movement towards the shard: bytes, an end, or the news that there is room.
    pub(crate) fn arrive(&mut self, client: usize) {
        let socket = &mut self.sockets[client];
        let Some(shard) = socket.shard.filter(|_| socket.can_arrive()) else {
            return;
        };
        let completions = &mut self.hosts[shard].completions;
        if socket.wants_room && (socket.cut || socket.space() > 0) {
            socket.wants_room = false;
            completions.push_back(Completion::Writable(client));
        } else if socket.receiving && !socket.cut && !socket.to_server.is_empty() {
            let most = socket.to_server.len().min(self.scenario.chunk);
            let len = if self.calm {
                most
            } else {
                self.random.size(1..=most)
            };
            let bytes: Vec<u8> = socket.to_server.drain(..len).collect();
            self.trace.bytes(bytes.iter().copied());
            completions.push_back(Completion::Received(client, bytes));
        } else {
            socket.end_on_its_way = true;
            completions.push_back(Completion::Ended(client));
        }
    }

    /// The client reads some of what has come, or notices the end.
    pub(crate) fn read(&mut self, client: usize) {
        let socket = &mut self.sockets[client];
        if !socket.can_be_read() || self.clients[client].stage == Stage::Gone {
            return;
        }
        let len = socket.to_client.len();
        let most = match self.calm {
            true => len,
            false if self.clients[client].slow => self.random.size(0..=len.min(40)),
            false => self.random.size(0..=len),
        };
        let mut bytes: Vec<u8> = socket.to_client.drain(..most).collect();
        self.trace.line(
            self.ms,
            format_args!("client {client} reads {} bytes", bytes.len()),
        );
        let mut decoder = std::mem::take(&mut self.clients[client].decoder);
        let mut at = 0;
        while at < bytes.len() && self.failure.is_none() {
            match decoder.decode(&RULES, &mut bytes[at..]) {
                Ok(decoded) => {
                    at += decoded.consumed;
                    if let Some(event) = decoded.event {
                        let socket = &mut self.sockets[client];
                        self.written_at = socket.written_at(socket.read + at as u64);
                        self.hear(client, event);
                    }
                }
                Err(error) => {
                    self.see(Seen::Nonsense {
                        client,
                        what: &error.to_string(),
                    });
                    return;
                }
            }
        }
        self.clients[client].decoder = decoder;
        let socket = &mut self.sockets[client];
        socket.read += bytes.len() as u64;
        if socket.cut || (socket.closed && socket.to_client.is_empty()) {
            self.trace
                .line(self.ms, format_args!("client {client} is at its end"));
            self.clients[client].stage = Stage::Gone;
            self.sockets[client].to_server.clear();
            self.see(Seen::Gone { client });
        }
    }

    fn hear(&mut self, client: usize, event: Event<'_>) {
        match event {
            Event::Text(text) if self.clients[client].mode == Mode::Json => {
                self.trace
                    .line(self.ms, format_args!("client {client} hears {text:.120}"));
                match understand(text) {
                    Ok(heard) => self.understood(client, heard),
                    Err(what) => self.see(Seen::Nonsense {
                        client,
                        what: &what,
                    }),
                }
            }
            Event::Text(text) => {
                self.see(Seen::CameBack {
                    client,
                    text: true,
                    bytes: text.as_bytes(),
                });
            }
            Event::Binary(bytes) => self.see(Seen::CameBack {
                client,
                text: false,
                bytes,
            }),
            Event::Pong(payload) => self.see(Seen::Pong { client, payload }),
            Event::Ping(payload) => {
                self.trace
                    .line(self.ms, format_args!("client {client} is pinged"));
                self.see(Seen::Pinged { client });
                let who = &self.clients[client];
                if !who.mute && who.stage == Stage::Speaking {
                    self.say(client, |speech| speech.frame(Kind::Pong, payload));
                }
            }
            Event::Close(frame) => {
                let CloseFrame { code, reason } = frame.unwrap_or(CloseFrame {
                    code: 1005,
                    reason: "",
                });
                self.trace.line(
                    self.ms,
                    format_args!("client {client} hears close {code} {reason:?}"),
                );
                self.see(Seen::CloseFrame { client, code });
                if self.clients[client].stage == Stage::Speaking {
                    self.clients[client].stage = Stage::Silent;
                    self.say(client, |speech| speech.close(code, ""));
                }
            }
        }
    }

    fn understood(&mut self, client: usize, heard: Heard) {
        let index = |channel: &str| {
            self.scenario
                .channels
                .iter()
                .position(|name| name == channel)
        };
        let known = match &heard {
            Heard::Subscribed { channel, .. }
            | Heard::Unsubscribed { channel, .. }
            | Heard::Broadcast { channel, .. }
            | Heard::Gap { channel, .. }
            | Heard::Missed { channel }
            | Heard::Published { channel, .. }
            | Heard::History { channel, .. }
            | Heard::Counts { channel, .. }
            | Heard::PresenceState { channel, .. }
            | Heard::PresenceDiff { channel, .. } => index(channel),
            _ => Some(0),
        };
        let Some(channel) = known else {
            return self.see(Seen::Nonsense {
                client,
                what: "a channel nobody uses",
            });
        };
        match heard {
            Heard::Subscribed {
                id,
                place,
                recovered,
                ..
            } => {
                self.see(Seen::Subscribed {
                    client,
                    channel,
                    id,
                    place,
                    recovered,
                });
                if let Some(place) = place {
                    self.clients[client].places.insert(channel, place);
                }
                self.clients[client].channels.insert(channel);
            }
            Heard::Unsubscribed { id, .. } => {
                self.see(Seen::Unsubscribed {
                    client,
                    channel,
                    id,
                });
                self.clients[client].channels.remove(&channel);
            }
            Heard::Gap {
                from, to, evicted, ..
            } => {
                self.see(Seen::Gap {
                    client,
                    channel,
                    from,
                    to,
                    evicted,
                });
                self.clients[client].places.insert(channel, to);
            }
            Heard::Missed { .. } => {}
            Heard::Published { place, id, .. } => {
                self.see(Seen::Published {
                    client,
                    channel,
                    id,
                    place,
                });
            }
            Heard::History { messages, id, .. } => self.see(Seen::History {
                client,
                channel,
                id,
                messages: &messages,
            }),
            Heard::Broadcast {
                number,
                timestamp,
                place,
                ..
            } => {
                self.see(Seen::Broadcast {
                    client,
                    channel,
                    number,
                    timestamp,
                    place,
                });
                if let Some(place) = place {
                    self.clients[client].places.insert(channel, place);
                }
                if let Some(publication) = self.publications.get_mut(number) {
                    publication.seen = true;
                }
            }
            Heard::Counts { counts, .. } => self.see(Seen::Counts {
                client,
                channel,
                counts: &counts,
            }),
            Heard::RoomJoined { room, members, id } => {
                let rooms = 0..self.scenario.rooms;
                let known = rooms.into_iter().find(|&known| room_name(known) == room);
                let Some(room) = known else {
                    return self.see(Seen::Nonsense {
                        client,
                        what: "a room nobody uses",
                    });
                };
                self.see(Seen::RoomJoined {
                    client,
                    room,
                    members: &members,
                    id,
                });
                self.clients[client].room = Some(room);
            }
            Heard::RoomLeft { id } => {
                self.see(Seen::RoomLeft { client, id });
                self.clients[client].room = None;
            }
            Heard::Came { user } => self.see(Seen::Came {
                client,
                user: &user,
            }),
            Heard::Went { user } => self.see(Seen::Went {
                client,
                user: &user,
            }),
            Heard::Said { user, number } => self.see(Seen::Said {
                client,
                user: &user,
                number,
            }),
            Heard::Typing => {}
            Heard::PresenceState { .. } | Heard::PresenceDiff { .. } if channel > 0 => {
                self.see(Seen::Nonsense {
                    client,
                    what: "who is in a channel that nobody asked about",
                });
            }
            Heard::PresenceState {
                members,
                count,
                version,
                id,
                ..
            } => self.see(Seen::PresenceState {
                client,
                members: members.as_deref(),
                count,
                version,
                id,
            }),
            Heard::PresenceDiff {
                changes,
                count,
                version,
                ..
            } => self.see(Seen::PresenceDiff {
                client,
                changes: changes.as_ref(),
                count,
                version,
            }),
            Heard::PresenceUpdate { users, id } => {
                self.see(Seen::PresenceUpdate { client, users, id });
            }
            Heard::Notified { .. }
            | Heard::Inbox { .. }
            | Heard::Unread { .. }
            | Heard::Marked { .. } => self.heard_of_inbox(client, heard),
            Heard::Worked { id } => self.see(Seen::Worked { client, id }),
            Heard::Pong { id } => self.see(Seen::JsonPong { client, id }),
            Heard::Echo { data, id } => self.see(Seen::Echo {
                client,
                data: &data,
                id,
            }),
            Heard::Document(message) => self.heard_of_document(client, &message),
            Heard::Error { code, id } => {
                self.see(Seen::Error { client, code, id });
                let join = id.is_some_and(|id| self.joins.contains(&(client, id)));
                // Asked for again too often while it is on its way in, it still is.
                if join && code != ErrorCode::RateLimitExceeded as u16 {
                    self.clients[client].room = None;
                }
                if let Some(number) = id.and_then(|id| self.publication_of(client, id)) {
                    self.publications[number].refused = true;
                }
            }
        }
    }

    /// The client says something: bytes into its socket.
    pub(crate) fn say<T>(&mut self, client: usize, say: impl FnOnce(&mut Speech<'_>) -> T) -> T {
        let mut out = Vec::new();
        let mut speech = Speech {
            out: &mut out,
            random: &mut self.random,
        };
        let result = say(&mut speech);
        let socket = &mut self.sockets[client];
        if !socket.cut && !socket.lost && !socket.finished {
            socket.said += out.len() as u64;
            socket.to_server.extend(out);
        }
        result
    }
}
