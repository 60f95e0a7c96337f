//! What clients do: come, speak, offend, leave.

use shardwire_protocol::codes::ErrorCode;
use shardwire_protocol::websocket::frame::Kind;
use shardwire_shards::vocabulary::Mode;

use super::{Completion, Publication, Socket, World, message};
use crate::checks::Seen;
use crate::clients::{Client, Offence, Place, Request, Stage};
use crate::scenario::{WORK, room_name};

impl World<'_> {
    pub(super) fn end_somehow(&mut self, client: usize) {
        match self.random.weighted(&[3, 3, 2, 1, 1]) {
            0 => self.close_politely(client),
            1 => self.cut(client),
            2 => self.offend(client),
            3 => {
                // Says good-bye to nobody: its bytes still arrive, then the end.
                self.trace
                    .line(self.ms, format_args!("client {client} walks away"));
                self.sockets[client].finished = true;
                self.sockets[client].to_client.clear();
                self.leave(client);
            }
            _ => {
                self.trace
                    .line(self.ms, format_args!("the way to client {client} is lost"));
                self.sockets[client].lost = true;
                self.clients[client].disturbed = true;
            }
        }
    }

    /// A new client at the door of some shard.
    pub(crate) fn connect(&mut self, user: Option<usize>, address: usize) -> usize {
        let client = self.clients.len();
        let echo = !self.calm && self.random.chance(self.scenario.echoes);
        let mode = if echo { Mode::Echo } else { Mode::Json };
        let mut new = Client::new(self.scenario.addresses[address], user, mode);
        if !self.calm {
            new.slow = self.random.chance(self.scenario.slow_readers);
            new.mute = self.random.chance(self.scenario.mutes);
        }
        let at = self.random.below(self.hosts.len());
        self.trace.line(
            self.ms,
            format_args!(
                "client {client} ({user:?}, {}, {mode:?}) comes to shard {at}",
                new.address
            ),
        );
        self.clients.push(new);
        self.sockets.push(Socket {
            room: self.scenario.socket_room,
            ..Socket::default()
        });
        self.hosts[at]
            .completions
            .push_back(Completion::Accepted(client));
        client
    }

    pub(super) fn ask(&mut self, client: usize, request: &Request, json: &str) {
        let id = self.clients[client].next_id;
        self.clients[client].next_id += 1;
        // A message that is not understood is answered without an id.
        let anonymous = matches!(request, Request::Fault(code) if *code as u16 <= 105 && *code != ErrorCode::UnknownType);
        let text = match json.strip_suffix('}').filter(|_| !anonymous) {
            Some(head) => format!("{head},\"id\":{id}}}"),
            None => json.to_owned(),
        };
        self.trace
            .line(self.ms, format_args!("client {client} says {text:.100}"));
        self.see(Seen::Asked {
            client,
            id: (!anonymous).then_some(id),
            request,
        });
        let pings = self.say(client, |speech| speech.message(Kind::Text, text.as_bytes()));
        for _ in 0..pings {
            self.see(Seen::PingSaid {
                client,
                payload: b"between",
            });
        }
    }

    pub(crate) fn subscribe(&mut self, client: usize, channel: usize) {
        let name = self.scenario.channels[channel].clone();
        if let Some(place) = self.some_place(channel) {
            let since = format!(
                "{{\"offset\":{},\"epoch\":\"{:016x}\"}}",
                place.offset, place.epoch
            );
            let json =
                format!("{{\"type\":\"subscribe\",\"channel\":\"{name}\",\"since\":{since}}}");
            return self.ask(client, &Request::Return(channel, place), &json);
        }
        let json = format!("{{\"type\":\"subscribe\",\"channel\":\"{name}\"}}");
        self.ask(client, &Request::Subscribe(channel), &json);
    }

    pub(crate) fn unsubscribe(&mut self, client: usize, channel: usize) {
        let name = &self.scenario.channels[channel];
        let json = format!("{{\"type\":\"unsubscribe\",\"channel\":\"{name}\"}}");
        self.ask(client, &Request::Unsubscribe(channel), &json);
    }

    /// A place somebody has been at: who subscribes with it comes back as that one.
    fn some_place(&mut self, channel: usize) -> Option<Place> {
        if !self.scenario.has_history(channel) || self.random.chance(30) {
            return None;
        }
        let been: Vec<Place> = self
            .clients
            .iter()
            .filter_map(|client| client.places.get(&channel).copied())
            .collect();
        // Mostly one of the last.
        let from = match self.random.chance(70) {
            true => been.len().saturating_sub(4),
            false => 0,
        };
        (!been.is_empty()).then(|| self.random.pick(&been[from..]))
    }

    /// A client that speaks JSON says one thing.
    pub(super) fn speak(&mut self, client: usize) {
        let channels = self.scenario.channels.len();
        let [subscribe, unsubscribe, publish] = self.scenario.habits;
        let work = u32::from(!self.scenario.settings.routes.types.is_empty()) * 8;
        let history = u32::from(self.scenario.logs > 0) * 4;
        let documents = self.scenario.documents.len() as u32 * 30;
        let rooms = u32::from(self.scenario.rooms > 0) * 25;
        let inboxes = u32::from(self.scenario.settings.notifications.is_some()) * 10;
        let kinds = [
            subscribe,
            unsubscribe,
            publish,
            3,
            3,
            4,
            4,
            work,
            history,
            documents,
            rooms,
            2,
            2,
            2,
            inboxes,
        ];
        match self.random.weighted(&kinds) {
            0 => {
                let channel = self.random.below(channels);
                self.subscribe(client, channel);
            }
            1 => {
                let channel = self.random.below(channels);
                self.unsubscribe(client, channel);
            }
            2 => {
                let channel = self.some_channel();
                for _ in 0..self.random.pick(&[1, 1, 1, 5]) {
                    self.publish(client, channel);
                }
            }
            3 => self.ask(client, &Request::Ping, "{\"type\":\"ping\"}"),
            4 => {
                let data = format!("{{\"some\":[\"{}\",null]}}", self.random.below(1000));
                let json = format!("{{\"type\":\"echo\",\"data\":{data}}}");
                self.ask(client, &Request::Echo(data), &json);
            }
            5 => self.ping(client),
            10 => self.chat(client),
            8 => {
                let last = self.scenario.shard_counts();
                let channel = last - 1 - self.random.below(self.scenario.logs);
                let json = format!(
                    "{{\"type\":\"history\",\"channel\":\"{}\",\"limit\":{},\"direction\":\"{}\"}}",
                    self.scenario.channels[channel],
                    self.random.pick(&[1, 5, 1000]),
                    self.random.pick(&["forward", "backward"]),
                );
                self.ask(client, &Request::History(channel), &json);
            }
            9 => self.work_on_a_document(client),
            11 => {
                let json = format!(
                    "{{\"type\":\"set-presence\",\"presence\":{{\"status\":\"{}\"}}}}",
                    self.random.pick(&["online", "busy"]),
                );
                self.ask(client, &Request::SetPresence, &json);
            }
            12 => {
                let wanted = self.random.size(1..=self.scenario.users.len());
                let ids = self.scenario.users[..wanted].join("\",\"");
                let json = format!("{{\"type\":\"get-presence\",\"ids\":[\"{ids}\"]}}");
                self.ask(client, &Request::GetPresence(wanted), &json);
            }
            14 => self.use_inbox(client),
            13 => {
                let json = format!(
                    "{{\"type\":\"get-presence\",\"channel\":\"{}\"}}",
                    self.scenario.channels[0],
                );
                self.ask(client, &Request::Members, &json);
            }
            7 => {
                let json = format!("{{\"type\":\"{WORK}\"}}");
                self.ask(client, &Request::Work, &json);
            }
            _ => {
                let (json, code) = self.random.pick(&[
                    ("{\"type\":\"dance\"}", ErrorCode::UnknownType),
                    ("{\"no\":\"type\"}", ErrorCode::MissingType),
                    ("{\"type\":7}", ErrorCode::InvalidType),
                    ("{\"type\"", ErrorCode::InvalidFormat),
                    (
                        "{\"type\":\"subscribe\",\"channel\":\"\"}",
                        ErrorCode::InvalidChannel,
                    ),
                    (
                        "{\"type\":\"subscribe\",\"channel\":\"$mine\"}",
                        ErrorCode::ReservedChannel,
                    ),
                    (
                        "{\"type\":\"publish\",\"channel\":\"$shards\",\"message\":1}",
                        ErrorCode::ReservedChannel,
                    ),
                    (
                        "{\"type\":\"publish\",\"channel\":\"room:0\"}",
                        ErrorCode::InvalidMessage,
                    ),
                ]);
                self.ask(client, &Request::Fault(code), json);
            }
        }
    }

    /// One thing that is done in chat rooms.
    fn chat(&mut self, client: usize) {
        match self.random.weighted(&[30, 8, 50, 12]) {
            0 => {
                let room = self.random.below(self.scenario.rooms);
                let json = format!(
                    "{{\"type\":\"join-room\",\"roomId\":\"{}\"}}",
                    room_name(room)
                );
                self.joins.insert((client, self.clients[client].next_id));
                self.ask(client, &Request::JoinRoom(room), &json);
            }
            1 => self.ask(client, &Request::LeaveRoom, "{\"type\":\"leave-room\"}"),
            2 => {
                let number = self.said;
                self.said += 1;
                let json = format!("{{\"type\":\"send-message\",\"content\":\"{number}\"}}");
                self.ask(client, &Request::Say(number), &json);
            }
            _ => {
                let json = self.random.pick(&[
                    "{\"type\":\"typing-start\"}",
                    "{\"type\":\"typing-start\"}",
                    "{\"type\":\"typing-stop\"}",
                ]);
                self.ask(client, &Request::Type, json);
            }
        }
    }

    fn publish(&mut self, client: usize, channel: usize) {
        let number = self.publications.len();
        let excludes_publisher = self.random.chance(15);
        let has_history = self.scenario.has_history(channel);
        let volatile = has_history && self.random.chance(5);
        let lifetime = (has_history && self.random.chance(10))
            .then(|| self.random.pick(&[0_u64, 20, 1_000, 1_000_000]));
        self.publications.push(Publication {
            channel,
            publisher: Some(client),
            excludes_publisher,
            volatile,
            handed_in: None,
            handed_in_ms: 0,
            lifetime_ms: lifetime,
            refused: false,
            seen: false,
            taken: false,
        });
        let filler = if self.random.chance(30) {
            self.random.size(0..=self.scenario.filler)
        } else {
            0
        };
        let json = format!(
            "{{\"type\":\"publish\",\"channel\":\"{}\",\"message\":{}{}{}{}}}",
            self.scenario.channels[channel],
            message(number, filler.saturating_sub(180)),
            if excludes_publisher {
                ",\"exclude\":\"self\""
            } else {
                ""
            },
            if volatile { ",\"volatile\":true" } else { "" },
            lifetime.map_or(String::new(), |ttl| format!(",\"ttl\":{ttl}")),
        );
        self.asked_as
            .insert((client, self.clients[client].next_id), number);
        self.ask(client, &Request::Publish(number), &json);
        let socket = &mut self.sockets[client];
        socket.publications.push_back((socket.said, number));
    }

    fn ping(&mut self, client: usize) {
        let payload: Vec<u8> = (0..self.random.pick(&[0, 1, 125]))
            .map(|_| self.random.bits() as u8)
            .collect();
        self.see(Seen::PingSaid {
            client,
            payload: &payload,
        });
        self.say(client, |speech| speech.frame(Kind::Ping, &payload));
    }

    /// A client on the echo path says one thing.
    pub(super) fn speak_raw(&mut self, client: usize) {
        let len = self.random.size(0..=self.scenario.filler.min(400));
        let text = self.random.chance(50);
        let bytes: Vec<u8> = (0..len)
            .map(|_| {
                if text {
                    b'a' + self.random.below(26) as u8
                } else {
                    self.random.bits() as u8
                }
            })
            .collect();
        self.see(Seen::RawSaid {
            client,
            text,
            bytes: &bytes,
        });
        let kind = if text { Kind::Text } else { Kind::Binary };
        let pings = self.say(client, |speech| speech.message(kind, &bytes));
        for _ in 0..pings {
            self.see(Seen::PingSaid {
                client,
                payload: b"between",
            });
        }
    }

    fn leave(&mut self, client: usize) {
        self.clients[client].disturbed = true;
        self.clients[client].stage = Stage::Gone;
        self.see(Seen::Gone { client });
    }

    pub(crate) fn cut(&mut self, client: usize) {
        self.trace
            .line(self.ms, format_args!("client {client} is cut off"));
        let socket = &mut self.sockets[client];
        socket.cut = true;
        // What was on its way may be lost, or the shard gets some of it before it notices.
        socket.to_server.clear();
        socket.to_client.clear();
        self.leave(client);
    }

    pub(crate) fn close_politely(&mut self, client: usize) {
        let code = self.random.pick(&[1000, 1001, 1005, 3000, 4999]);
        self.trace
            .line(self.ms, format_args!("client {client} closes with {code}"));
        let who = &mut self.clients[client];
        who.stage = Stage::Silent;
        who.disturbed = true;
        who.earned = Some(code);
        self.say(client, |speech| speech.close(code, "bye"));
        if self.random.chance(20) {
            // What follows a close frame counts for nothing.
            self.say(client, |speech| {
                speech.frame(Kind::Text, b"{\"type\":\"ping\"}")
            });
        }
    }

    fn offend(&mut self, client: usize) {
        let offence = self.random.pick(&Offence::ALL);
        self.trace.line(
            self.ms,
            format_args!("client {client} offends: {offence:?}"),
        );
        let who = &mut self.clients[client];
        who.stage = Stage::Silent;
        who.disturbed = true;
        who.earned = Some(offence.close_code());
        let limit = self.scenario.settings.max_message_size;
        self.say(client, |speech| speech.offend(offence, limit));
    }
}
