//! One connection: its socket, its state, and what the kernel has not taken yet.

use std::io::{self, Write};

use mio::Token;
use mio::net::TcpStream;
use shardwire_protocol::handshake::client::ClientHandshake;
use shardwire_protocol::websocket::Decoder;
use shardwire_protocol::websocket::deflate::Offer;

use super::failure::{End, Failure};
use super::secure::Session;

/// Kept capacity above which an emptied buffer is given back.
const KEPT_CAPACITY: usize = 64 * 1024;

/// Names one connection of a client for its whole life: a stale id never names another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionId {
    pub(super) slot: u32,
    pub(super) generation: u32,
}

impl ConnectionId {
    pub(super) fn token(self) -> Token {
        Token((self.generation as usize) << 32 | self.slot as usize)
    }

    pub(super) fn of(token: Token) -> Self {
        Self {
            slot: token.0 as u32,
            generation: (token.0 >> 32) as u32,
        }
    }
}

/// The upgrade under way.
pub struct Upgrading {
    pub handshake: ClientHandshake,
    /// permessage-deflate was offered, and must be taken.
    pub compress: bool,
    /// What was received of the response head.
    pub response: Vec<u8>,
}

impl Upgrading {
    /// Adds `input` to the response head. `Some`: the upgrade is accepted, and frames begin there in `input`.
    pub fn read(&mut self, input: &[u8]) -> Result<Option<usize>, End> {
        let before = self.response.len();
        self.response.extend_from_slice(input);
        // Without context takeover: one inflater serves all connections.
        let offer = self.compress.then_some(Offer { takeover: false });
        match self.handshake.read_answer(&self.response, offer) {
            Ok(Some(accepted)) if self.compress && accepted.deflate.is_none() => {
                Err(End::NotOpened(Failure::NotCompressed))
            }
            Ok(Some(accepted)) => Ok(Some(accepted.head_len.saturating_sub(before))),
            Ok(None) => Ok(None),
            Err(error) => Err(End::NotOpened(Failure::HandshakeRefused(
                status_line(&self.response).unwrap_or_else(|| error.to_string()),
            ))),
        }
    }
}

/// The first line of an HTTP response, if it is one and says something else than 101.
fn status_line(response: &[u8]) -> Option<String> {
    let line = response
        .split(|byte| *byte == b'\r' || *byte == b'\n')
        .next()?;
    let line = std::str::from_utf8(line).ok()?;
    (line.starts_with("HTTP/") && !line.contains(" 101")).then(|| line.chars().take(80).collect())
}

/// Where a connection stands.
pub enum State {
    /// TCP is connecting.
    Connecting,
    /// The upgrade request is sent.
    Upgrading(Box<Upgrading>),
    /// Messages flow.
    Open,
    /// We sent a close frame and wait for the answer.
    Closing,
}

/// One connection.
pub struct Connection {
    pub socket: TcpStream,
    /// For `wss://`, from the upgrade request on.
    pub tls: Option<Session>,
    pub state: State,
    pub generation: u32,
    /// The scenario's number for it.
    pub tag: u32,
    pub decoder: Decoder,
    /// Frames that the kernel has not taken.
    pub unsent: Vec<u8>,
    /// Nothing is read any more, not even the end.
    pub stopped: bool,
}

impl Connection {
    pub fn new(socket: TcpStream, generation: u32, tag: u32) -> Self {
        Self {
            socket,
            tls: None,
            state: State::Connecting,
            generation,
            tag,
            decoder: Decoder::default(),
            unsent: Vec::new(),
            stopped: false,
        }
    }

    /// Whether the WebSocket was ever open.
    pub fn was_open(&self) -> bool {
        matches!(self.state, State::Open | State::Closing)
    }

    /// How it ended when the other side said no more.
    pub fn end_of_input(&self) -> End {
        match self.state {
            State::Connecting => End::NotOpened(Failure::Connect("connection ended".to_owned())),
            State::Upgrading(_) => End::NotOpened(Failure::HandshakeEnded),
            State::Open | State::Closing => End::Broken(Failure::Ended),
        }
    }

    /// How it ended by this failure.
    pub fn end_by(&self, failure: Failure) -> End {
        if self.was_open() {
            End::Broken(failure)
        } else {
            End::NotOpened(failure)
        }
    }

    /// Seals `bytes`, if the connection does, and writes them after what waits already; keeps what the kernel does not take.
    /// Clears `bytes`.
    pub fn send(&mut self, bytes: &mut Vec<u8>) -> Result<(), Failure> {
        if let Some(tls) = &mut self.tls
            && (!bytes.is_empty() || tls.has_more())
        {
            tls.seal(bytes)?;
        }
        if bytes.is_empty() {
            return Ok(());
        }
        if !self.unsent.is_empty() {
            self.unsent.append(bytes);
            return Ok(());
        }
        let taken = write_all_possible(&mut self.socket, bytes)
            .map_err(|error| Failure::Broken(error.kind()))?;
        self.unsent.extend_from_slice(&bytes[taken..]);
        bytes.clear();
        Ok(())
    }

    /// Writes what waits; called when the socket becomes writable.
    pub fn send_unsent(&mut self) -> io::Result<()> {
        if self.unsent.is_empty() {
            return Ok(());
        }
        let taken = write_all_possible(&mut self.socket, &self.unsent)?;
        self.unsent.drain(..taken);
        if self.unsent.is_empty() && self.unsent.capacity() > KEPT_CAPACITY {
            self.unsent = Vec::new();
        }
        Ok(())
    }
}

/// Writes until all is taken or the kernel would block; the edge-triggered poll tells when it takes more.
fn write_all_possible(socket: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut taken = 0;
    while taken < bytes.len() {
        match socket.write(&bytes[taken..]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => taken += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(taken)
}
