//! The storm: anything may happen next.

use shardwire_protocol::codes::{ErrorCode, close};
use shardwire_protocol::websocket::frame::Kind;
use shardwire_shards::vocabulary::{AnswerId, Command, Mode};

use super::{Completion, Outside, Publication, Socket, World, message};
use crate::checks::Seen;
use crate::clients::{Client, Offence, Request, Stage};

impl World<'_> {
    /// One step, drawn by the scenario's weights. What cannot be done now is passed over.
    pub(crate) fn step(&mut self) {
        let weights = self.scenario.weights;
        let kinds = [
            weights.turn,
            weights.arrive,
            weights.read,
            weights.act,
            weights.clock,
            weights.command,
            weights.trouble,
        ];
        match self.random.weighted(&kinds) {
            0 => {
                if let Some(at) = self.find(self.hosts.len(), |world, at| {
                    !world.hosts[at].stalled && world.hosts[at].would_run(world.ms)
                }) {
                    self.turn(at);
                }
            }
            1 => {
                for _ in 0..self.random.pick(&[1, 2, 8]) {
                    if let Some(client) = self.find(self.sockets.len(), |world, at| {
                        world.sockets[at].can_arrive()
                    }) {
                        self.arrive(client);
                    }
                }
            }
            2 => {
                for _ in 0..self.random.pick(&[1, 2, 8]) {
                    if let Some(client) = self.find(self.sockets.len(), |world, at| {
                        world.sockets[at].can_be_read() && world.clients[at].stage != Stage::Gone
                    }) {
                        self.read(client);
                    }
                }
            }
            3 => self.act(),
            4 => self.ms += self.random.within(1..=self.scenario.clock_step),
            5 => self.command(),
            _ => self.trouble(),
        }
    }

    /// The first that fits, looking from a drawn place on.
    fn find(&mut self, count: usize, fits: impl Fn(&Self, usize) -> bool) -> Option<usize> {
        if count == 0 {
            return None;
        }
        let from = self.random.below(count);
        (from..count).chain(0..from).find(|&at| fits(self, at))
    }

    fn act(&mut self) {
        let speaking = |world: &Self, at: usize| {
            world.clients[at].stage == Stage::Speaking && !world.sockets[at].lost
        };
        let crowd = (0..self.clients.len())
            .filter(|&at| speaking(self, at))
            .count();
        if crowd < self.scenario.crowd && self.random.chance(if crowd < 3 { 60 } else { 20 }) {
            let user = self
                .random
                .chance(60)
                .then(|| self.random.below(self.scenario.users.len()));
            let address = self.random.below(self.scenario.addresses.len());
            let client = self.connect(user, address);
            if self.clients[client].mode == Mode::Json && self.random.chance(70) {
                let channel = self.random.below(self.scenario.channels.len());
                self.subscribe(client, channel);
            }
            return;
        }
        let ahead = self.scenario.ahead;
        let Some(client) = self.find(self.clients.len(), |world, at| {
            speaking(world, at) && world.sockets[at].to_server.len() <= ahead
        }) else {
            return;
        };
        if self.random.below(1000) < self.scenario.churn as usize {
            self.end_somehow(client);
        } else if self.clients[client].mode == Mode::Echo {
            self.speak_raw(client);
        } else {
            self.speak(client);
        }
    }

    fn end_somehow(&mut self, client: usize) {
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

    fn ask(&mut self, client: usize, request: &Request, json: &str) {
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
        let json = format!("{{\"type\":\"subscribe\",\"channel\":\"{name}\"}}");
        self.ask(client, &Request::Subscribe(channel), &json);
    }

    /// A client that speaks JSON says one thing.
    fn speak(&mut self, client: usize) {
        let channels = self.scenario.channels.len();
        match self.random.weighted(&[18, 8, 60, 3, 3, 4, 4]) {
            0 => {
                let channel = self.random.below(channels);
                self.subscribe(client, channel);
            }
            1 => {
                let channel = self.random.below(channels);
                let name = &self.scenario.channels[channel];
                let json = format!("{{\"type\":\"unsubscribe\",\"channel\":\"{name}\"}}");
                self.ask(client, &Request::Unsubscribe(channel), &json);
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

    /// One that clients may publish to; mostly one that somebody listens to.
    fn some_channel(&mut self) -> usize {
        let channels = self.scenario.channels.len() - 1;
        let somebody = self.random.below(self.clients.len());
        let listens = &self.clients[somebody].channels;
        let listened: Vec<usize> = listens
            .iter()
            .copied()
            .filter(|at| *at < channels)
            .collect();
        if listened.is_empty() || self.random.chance(20) {
            self.random.below(channels)
        } else {
            self.random.pick(&listened)
        }
    }

    fn publish(&mut self, client: usize, channel: usize) {
        let number = self.publications.len();
        let excludes_publisher = self.random.chance(15);
        self.publications.push(Publication {
            channel,
            publisher: Some(client),
            excludes_publisher,
            handed_in: None,
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
            "{{\"type\":\"publish\",\"channel\":\"{}\",\"message\":{}{}}}",
            self.scenario.channels[channel],
            message(number, filler.saturating_sub(120)),
            if excludes_publisher {
                ",\"exclude\":\"self\""
            } else {
                ""
            },
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
    fn speak_raw(&mut self, client: usize) {
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

    fn command(&mut self) {
        let at = self.random.below(self.hosts.len());
        match self.random.weighted(&[70, 25, 5]) {
            0 => {
                if self.clients.is_empty() {
                    return;
                }
                let (number, channel) = (self.publications.len(), self.some_channel());
                self.publications.push(Publication {
                    channel,
                    publisher: None,
                    excludes_publisher: false,
                    handed_in: Some(self.moment),
                    refused: false,
                    seen: false,
                    taken: false,
                });
                self.publish_from_outside(at, channel, number);
            }
            1 => {
                let user = self.random.below(self.scenario.users.len());
                self.ask_for_connections(user);
            }
            _ => {
                let code = self.random.pick(&[close::GOING_AWAY, close::DRAINING]);
                let reason = "everybody out".to_owned();
                self.put_in(at, Outside::Command(Command::CloseAll { code, reason }));
            }
        }
    }

    pub(crate) fn ask_for_connections(&mut self, user: usize) {
        let name = self.scenario.users[user].as_str();
        let home = self.scenario.placement.home_of_user(name).index();
        let command = Command::ConnectionsOfUser {
            user: name.into(),
            answer: AnswerId(user as u64),
        };
        self.put_in(home, Outside::Command(command));
    }

    fn trouble(&mut self) {
        let at = self.random.below(self.hosts.len());
        let stalled = !self.hosts[at].stalled;
        self.trace
            .line(self.ms, format_args!("shard {at} is stalled: {stalled}"));
        self.hosts[at].stalled = stalled;
    }
}
