//! The loop: one epoll, one read buffer, one output buffer for all connections of this process.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::time::Duration;

use mio::{Events, Interest, Poll, Token};
use shardwire_protocol::handshake::client::ClientHandshake;
use shardwire_protocol::websocket::deflate::{Deflater, Inflater, Offer};
use shardwire_protocol::websocket::{Event, Lent, Role, Rules};
use slab::Slab;

use super::connection::{Connection, ConnectionId, State, Upgrading};
use super::failure::{End, Failure};
use super::handler::{ClientOptions, Handler, Message};
use super::outgoing::{MAX_UNSENT, Masks, Outgoing};
use super::secure::Trust;
use super::sources::Sources;
use super::timer::Timer;
use crate::measure::clock;

/// Bytes read at once; larger reads save calls when many frames wait, and one buffer serves all connections.
const READ_BUFFER: usize = 256 * 1024;
/// Reads from one connection before the others get their turn.
const READS_PER_TURN: usize = 8;
/// Events fetched at once.
const EVENTS: usize = 1024;
/// Codes of the close frames we send (RFC 6455, section 7.4.1).
const NORMAL: u16 = 1000;

/// How hard messages are compressed: like most clients.
const DEFLATE_LEVEL: u8 = 6;

const TIMER: Token = Token(usize::MAX);

/// All connections of this process.
pub struct Client {
    options: ClientOptions,
    sources: Sources,
    rules: Rules,
    poll: Poll,
    events: Events,
    timer: Timer,
    connections: Slab<Connection>,
    generation: u32,
    masks: Masks,
    read_buffer: Box<[u8]>,
    output: Vec<u8>,
    /// What a TLS connection received, opened.
    plain: Vec<u8>,
    deflater: Deflater,
    inflater: Inflater,
    /// Connections that had more to read than one turn allows.
    again: Vec<ConnectionId>,
    /// Ends that were found outside of `poll`, to be told in the next one.
    untold: Vec<(u32, End)>,
    /// Deadlines of connections being opened and being closed; equal timeouts, so they are in order.
    opening_deadlines: VecDeque<(u64, ConnectionId)>,
    closing_deadlines: VecDeque<(u64, ConnectionId)>,
    opening: usize,
}

impl Client {
    /// A client without connections.
    ///
    /// # Errors
    /// Out of files.
    pub fn new(options: ClientOptions) -> io::Result<Self> {
        let poll = Poll::new()?;
        let timer = Timer::new(poll.registry(), TIMER)?;
        Ok(Self {
            sources: Sources::new(options.source_addresses.clone()),
            rules: Rules {
                role: Role::Client,
                max_message_size: options.max_message_size,
            },
            options,
            poll,
            events: Events::with_capacity(EVENTS),
            timer,
            connections: Slab::new(),
            generation: 0,
            masks: Masks::new(),
            read_buffer: vec![0; READ_BUFFER].into_boxed_slice(),
            output: Vec::new(),
            plain: Vec::new(),
            deflater: Deflater::new(DEFLATE_LEVEL),
            inflater: Inflater::default(),
            again: Vec::new(),
            untold: Vec::new(),
            opening_deadlines: VecDeque::new(),
            closing_deadlines: VecDeque::new(),
            opening: 0,
        })
    }

    /// Connections that are connecting or upgrading.
    pub fn opening(&self) -> usize {
        self.opening
    }

    /// All connections, in whatever state.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Begins to connect. How it went is told by the handler, even if it failed at once.
    pub fn connect(&mut self, tag: u32) {
        let begun = self
            .sources
            .connect(self.options.target.address)
            .and_then(|mut socket| {
                let generation = self.generation;
                self.generation = self.generation.wrapping_add(1);
                let entry = self.connections.vacant_entry();
                let id = ConnectionId {
                    slot: entry.key() as u32,
                    generation,
                };
                let interest = Interest::READABLE | Interest::WRITABLE;
                self.poll
                    .registry()
                    .register(&mut socket, id.token(), interest)?;
                entry.insert(Connection::new(socket, generation, tag));
                Ok(id)
            });
        match begun {
            Ok(id) => {
                self.opening += 1;
                let deadline = clock::now() + self.options.connect_timeout;
                self.opening_deadlines.push_back((deadline, id));
            }
            Err(error) => self
                .untold
                .push((tag, End::NotOpened(Failure::of_connect(&error)))),
        }
    }

    /// Sends what `write` puts out, in one write. `false`: the connection is not open, or too much waits for it already
    /// (`MAX_UNSENT`), and `write` was not called.
    pub fn send(&mut self, id: ConnectionId, write: impl FnOnce(&mut Outgoing<'_>)) -> bool {
        let Some(connection) = living(&mut self.connections, id) else {
            return false;
        };
        if !matches!(connection.state, State::Open) || connection.unsent.len() > MAX_UNSENT {
            return false;
        }
        write(&mut Outgoing {
            buffer: &mut self.output,
            masks: &mut self.masks,
            deflater: self.options.compress.then_some(&mut self.deflater),
            finish: false,
            stop_reading: false,
        });
        if let Err(failure) = connection.send(&mut self.output) {
            self.forget(id, |_| End::Broken(failure));
        }
        true
    }

    /// Ends a connection as a broken cable would: nothing is said, what was not written or read is gone. The handler is told in the next
    /// poll. `false`: there is no such connection any more.
    pub fn cut(&mut self, id: ConnectionId) -> bool {
        let lives = living(&mut self.connections, id).is_some();
        self.forget(id, |_| End::Cut);
        lives
    }

    /// Begins the close handshake on every open connection and gives up those that are not open yet.
    pub fn close_all(&mut self) {
        let ids: Vec<ConnectionId> = self
            .connections
            .iter()
            .map(|(slot, connection)| ConnectionId {
                slot: slot as u32,
                generation: connection.generation,
            })
            .collect();
        for id in ids {
            let closes = self.send(id, |out| out.close(Some(NORMAL)));
            let Some(connection) = living(&mut self.connections, id) else {
                continue;
            };
            if closes {
                connection.state = State::Closing;
                self.closing_deadlines
                    .push_back((clock::now() + self.options.close_timeout, id));
            } else if !matches!(connection.state, State::Closing) {
                self.forget(id, |connection| connection.end_by(Failure::CloseTimeout));
            }
        }
    }

    /// Waits until something happens, at most until `until` (nanoseconds of the clock), and tells `handler` all that did.
    ///
    /// # Errors
    /// Of epoll itself; never of a connection.
    pub fn poll(&mut self, until: u64, handler: &mut impl Handler) -> io::Result<()> {
        let now = clock::now();
        let first_deadline = [&self.opening_deadlines, &self.closing_deadlines]
            .iter()
            .filter_map(|queue| queue.front().map(|(deadline, _)| *deadline))
            .min()
            .unwrap_or(u64::MAX);
        let until = until.min(first_deadline);
        let timeout = if until <= now || !self.again.is_empty() || !self.untold.is_empty() {
            Some(Duration::ZERO)
        } else {
            self.timer.arm(until)?;
            None
        };
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        let polled = self.poll.poll(&mut events, timeout);
        match polled {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => events.clear(),
            other => other?,
        }
        for event in &events {
            match event.token() {
                TIMER => self.timer.rang(),
                token => {
                    let id = ConnectionId::of(token);
                    if event.is_writable() || event.is_error() {
                        self.writable(id, handler);
                    }
                    if event.is_readable() || event.is_read_closed() || event.is_error() {
                        self.readable(id, event.is_read_closed() || event.is_error(), handler);
                    }
                }
            }
        }
        self.events = events;
        for id in std::mem::take(&mut self.again) {
            self.readable(id, false, handler);
        }
        self.check_deadlines();
        for (tag, end) in std::mem::take(&mut self.untold) {
            handler.closed(clock::now(), tag, end);
        }
        Ok(())
    }

    fn writable(&mut self, id: ConnectionId, handler: &mut impl Handler) {
        let Some(connection) = living(&mut self.connections, id) else {
            return;
        };
        let result = if matches!(connection.state, State::Connecting) {
            match connection.socket.take_error() {
                Ok(None) => {
                    self.begin_upgrade(id);
                    return;
                }
                Ok(Some(error)) | Err(error) => Err(End::NotOpened(Failure::of_connect(&error))),
            }
        } else {
            let sent = connection.send_unsent();
            sent.map_err(|error| connection.end_by(Failure::Broken(error.kind())))
        };
        if let Err(end) = result {
            self.end(id, end, handler);
        }
    }

    fn begin_upgrade(&mut self, id: ConnectionId) {
        let Some(connection) = living(&mut self.connections, id) else {
            return;
        };
        let handshake = ClientHandshake::new(rand::random());
        let mut offer = Vec::new();
        Offer { takeover: false }.write(&mut offer);
        let offer = String::from_utf8_lossy(&offer);
        let offer = (self.options.compress).then_some(("Sec-WebSocket-Extensions", &*offer));
        let headers: Vec<(&str, &str)> = self
            .options
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .chain(offer)
            .collect();
        let target = &self.options.target;
        handshake.write_request(&mut self.output, &target.host, &target.path, &headers);
        connection.state = State::Upgrading(Box::new(Upgrading {
            handshake,
            compress: self.options.compress,
            response: Vec::new(),
        }));
        let secured = match self.options.trust.as_ref().map(Trust::session).transpose() {
            Ok(session) => {
                connection.tls = session;
                // TLS keeps the request until its own handshake is done.
                connection.send(&mut self.output)
            }
            Err(failure) => Err(failure),
        };
        if let Err(failure) = secured {
            self.forget(id, |_| End::NotOpened(failure));
        }
    }

    /// Reads what there is. A short read has emptied the socket (epoll(7)), except when its end may follow.
    fn readable(&mut self, id: ConnectionId, end_follows: bool, handler: &mut impl Handler) {
        for _ in 0..READS_PER_TURN {
            let Some(connection) = living(&mut self.connections, id) else {
                return;
            };
            if connection.stopped {
                return;
            }
            let count = match connection.socket.read(&mut self.read_buffer) {
                Ok(0) => {
                    let end = connection.end_of_input();
                    return self.end(id, end, handler);
                }
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    let end = connection.end_by(Failure::Broken(error.kind()));
                    return self.end(id, end, handler);
                }
            };
            if let Err(end) = self.received(id, count, handler) {
                return self.end(id, end, handler);
            }
            if count < self.read_buffer.len() && !end_follows {
                return;
            }
        }
        self.again.push(id);
    }

    /// Handles the first `count` bytes of the read buffer, then writes all that they caused in one go.
    fn received(
        &mut self,
        id: ConnectionId,
        count: usize,
        handler: &mut impl Handler,
    ) -> Result<(), End> {
        let Some(connection) = living(&mut self.connections, id) else {
            return Ok(());
        };
        let at = clock::now();
        let tag = connection.tag;
        let mut opened = Ok(());
        let input = match &mut connection.tls {
            None => &mut self.read_buffer[..count],
            Some(tls) => {
                self.plain.clear();
                opened = tls.open(&self.read_buffer[..count], &mut self.plain);
                &mut self.plain[..]
            }
        };
        if let Err(failure) = opened {
            // What the peer is told of it; whether it hears that does not matter.
            let _ = connection.send(&mut self.output);
            return Err(connection.end_by(failure));
        }
        let count = input.len();
        if count == 0 {
            // A part of a record, or of the handshake, to which there may be something to say.
            let sent = connection.send(&mut self.output);
            return sent.map_err(|failure| connection.end_by(failure));
        }
        let compress = self.options.compress;
        let mut out = Outgoing {
            buffer: &mut self.output,
            masks: &mut self.masks,
            deflater: compress.then_some(&mut self.deflater),
            finish: false,
            stop_reading: false,
        };
        let mut from = 0;
        if let State::Upgrading(upgrading) = &mut connection.state {
            let Some(head_in_input) = upgrading.read(input)? else {
                return Ok(());
            };
            from = head_in_input;
            connection.state = State::Open;
            self.opening -= 1;
            handler.opened(at, id, tag, &mut out);
        }
        let mut end = None;
        while from < count && end.is_none() {
            let lent = compress.then_some(Lent {
                inflater: &mut self.inflater,
                context: None,
            });
            let input = &mut input[from..];
            let decoded = match connection.decoder.decode_with(&self.rules, lent, input) {
                Ok(decoded) => decoded,
                Err(error) => {
                    out.close(Some(error.close_code()));
                    end = Some(End::Broken(Failure::Protocol(error.to_string())));
                    break;
                }
            };
            from += decoded.consumed;
            match decoded.event {
                None => {}
                Some(Event::Text(text)) => handler.message(at, tag, Message::Text(text), &mut out),
                Some(Event::Binary(bytes)) => {
                    handler.message(at, tag, Message::Binary(bytes), &mut out)
                }
                Some(Event::Pong(bytes)) => {
                    handler.message(at, tag, Message::Pong(bytes), &mut out)
                }
                Some(Event::Ping(bytes)) => out.pong(bytes),
                Some(Event::Close(_)) if matches!(connection.state, State::Closing) => {
                    end = Some(End::Clean)
                }
                Some(Event::Close(frame)) => {
                    // 1005 (RFC 6455, section 7.4.1): the frame held no code.
                    let (code, reason) =
                        frame.map_or((1005, ""), |frame| (frame.code, frame.reason));
                    out.close(frame.map(|frame| frame.code));
                    end = Some(End::Broken(Failure::ClosedByServer {
                        code,
                        reason: reason.to_owned(),
                    }));
                }
            }
        }
        connection.stopped = out.stop_reading;
        let finish = out.finish && end.is_none() && matches!(connection.state, State::Open);
        if finish {
            out.close(Some(NORMAL));
            connection.state = State::Closing;
            self.closing_deadlines
                .push_back((at + self.options.close_timeout, id));
        }
        let sent = connection.send(&mut self.output);
        self.output.clear();
        match (end, sent) {
            (Some(end), _) => Err(end),
            (None, Err(failure)) => Err(End::Broken(failure)),
            (None, Ok(())) => Ok(()),
        }
    }

    /// Gives up what takes too long.
    fn check_deadlines(&mut self) {
        let now = clock::now();
        while let Some((_, id)) = self
            .opening_deadlines
            .pop_front_if(|(deadline, _)| *deadline <= now)
        {
            match living(&mut self.connections, id).map(|connection| &connection.state) {
                Some(State::Connecting) => {
                    self.forget(id, |_| End::NotOpened(Failure::ConnectTimeout))
                }
                Some(State::Upgrading(_)) => {
                    self.forget(id, |_| End::NotOpened(Failure::HandshakeTimeout))
                }
                _ => {}
            }
        }
        while let Some((_, id)) = self
            .closing_deadlines
            .pop_front_if(|(deadline, _)| *deadline <= now)
        {
            self.forget(id, |_| End::Broken(Failure::CloseTimeout));
        }
    }

    fn end(&mut self, id: ConnectionId, end: End, handler: &mut impl Handler) {
        if let Some(connection) = self.remove(id) {
            handler.closed(clock::now(), connection.tag, end);
        }
    }

    /// Removes a connection now and tells the handler in the next poll.
    fn forget(&mut self, id: ConnectionId, end: impl FnOnce(&Connection) -> End) {
        self.output.clear();
        if let Some(connection) = self.remove(id) {
            let end = end(&connection);
            self.untold.push((connection.tag, end));
        }
    }

    fn remove(&mut self, id: ConnectionId) -> Option<Connection> {
        living(&mut self.connections, id)?;
        let connection = self.connections.remove(id.slot as usize);
        if !connection.was_open() {
            self.opening -= 1;
        }
        Some(connection)
    }
}

fn living(connections: &mut Slab<Connection>, id: ConnectionId) -> Option<&mut Connection> {
    connections
        .get_mut(id.slot as usize)
        .filter(|connection| connection.generation == id.generation)
}
