//! A server in memory: byte streams by `tokio::io::duplex`, the upgrade and frames by the server half of the protocol
//! crate. Works under tokio's paused clock.
#![allow(clippy::unwrap_used, dead_code)]

use shardwire_client::{ByteStream, ConnectError, ConnectOptions, Connecting, Connector, Target};
use shardwire_protocol::{
    handshake::server::{self, Progress, RequestLimits},
    websocket::{
        Decoder, Event, Role, Rules,
        frame::{self, Kind},
    },
};
use std::{future::Future, io, pin::Pin, sync::Arc, time::Duration};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// Bytes a stream holds in one direction.
pub const STREAM_BYTES: usize = 64 << 10;

type Handler =
    dyn Fn(Target, DuplexStream) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync;
type Gate = dyn Fn(&Target) -> Result<Duration, ConnectError> + Send + Sync;

/// Connects to a server that is a function.
pub struct Memory {
    handler: Box<Handler>,
    gate: Box<Gate>,
}

impl Memory {
    /// Every connection is given to `handler` in a task of its own.
    pub fn serve<F>(
        handler: impl Fn(Target, DuplexStream) -> F + Send + Sync + 'static,
    ) -> Arc<Memory>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Memory::gated(|_| Ok(Duration::ZERO), handler)
    }

    /// The same; before, `gate` refuses or says how long opening takes.
    pub fn gated<F>(
        gate: impl Fn(&Target) -> Result<Duration, ConnectError> + Send + Sync + 'static,
        handler: impl Fn(Target, DuplexStream) -> F + Send + Sync + 'static,
    ) -> Arc<Memory>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Arc::new(Memory {
            handler: Box::new(move |target, stream| Box::pin(handler(target, stream))),
            gate: Box::new(gate),
        })
    }
}

impl Connector for Memory {
    fn connect<'a>(&'a self, target: &'a Target) -> Connecting<'a> {
        Box::pin(async move {
            let delay = (self.gate)(target)?;
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            let (ours, theirs) = tokio::io::duplex(STREAM_BYTES);
            tokio::spawn((self.handler)(target.clone(), theirs));
            Ok(Box::new(ours) as Box<dyn ByteStream>)
        })
    }
}

/// Options that go to `server`.
pub fn options(server: Arc<Memory>) -> ConnectOptions {
    ConnectOptions {
        connector: Some(server),
        ..ConnectOptions::default()
    }
}

/// A connection that is refused by TCP.
pub fn refused() -> ConnectError {
    io::Error::from(io::ErrorKind::ConnectionRefused).into()
}

/// What the server's end received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
    End,
}

/// The server's end of one connection.
pub struct Peer {
    pub stream: DuplexStream,
    pub request: String,
    decoder: Decoder,
    input: Vec<u8>,
}

impl Peer {
    /// Reads the upgrade and accepts it.
    pub async fn accept(stream: DuplexStream) -> Peer {
        Peer::accept_with(stream, None).await
    }

    /// `None` if the client goes away first.
    pub async fn try_accept(stream: DuplexStream) -> Option<Peer> {
        Peer::begin(stream, None).await.ok()
    }

    pub async fn accept_with(stream: DuplexStream, protocol: Option<&str>) -> Peer {
        Peer::begin(stream, protocol).await.unwrap()
    }

    async fn begin(mut stream: DuplexStream, protocol: Option<&str>) -> io::Result<Peer> {
        let mut input = Vec::new();
        let (head, key) = loop {
            if stream.read_buf(&mut input).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Progress::Complete { request, head_len } =
                server::read_request(&input, 0, &RequestLimits::default()).unwrap()
            {
                let key = server::upgrade(&request).unwrap().key.to_owned();
                break (head_len, key);
            }
        };
        let request = String::from_utf8(input.drain(..head).collect()).unwrap();
        let mut answer = Vec::new();
        server::write_accept(&mut answer, &key, protocol, None);
        stream.write_all(&answer).await?;
        Ok(Peer {
            stream,
            request,
            decoder: Decoder::default(),
            input,
        })
    }

    /// Answers the upgrade with `answer`, whatever it is, and closes.
    pub async fn refuse(mut stream: DuplexStream, answer: &str) {
        let mut input = vec![0; 4096];
        let _ = stream.read(&mut input).await;
        let _ = stream.write_all(answer.as_bytes()).await;
    }

    pub async fn hear(&mut self) -> Heard {
        let rules = Rules {
            role: Role::Server,
            max_message_size: 64 << 20,
        };
        loop {
            let (mut used, len) = (0, self.input.len());
            let heard = loop {
                let decoded = self
                    .decoder
                    .decode(&rules, &mut self.input[used..])
                    .unwrap();
                used += decoded.consumed;
                match decoded.event {
                    Some(event) => break Some(heard(event)),
                    None if used == len => break None,
                    None => {}
                }
            };
            self.input.drain(..used);
            if let Some(heard) = heard {
                return heard;
            }
            match self.stream.read_buf(&mut self.input).await {
                Ok(0) | Err(_) => return Heard::End,
                Ok(_) => {}
            }
        }
    }

    pub async fn say(&mut self, kind: Kind, payload: &[u8]) -> io::Result<()> {
        let mut out = Vec::new();
        frame::write_server(&mut out, kind, payload);
        self.stream.write_all(&out).await
    }

    pub async fn text(&mut self, text: &str) -> io::Result<()> {
        self.say(Kind::Text, text.as_bytes()).await
    }

    pub async fn close(&mut self, code: u16, reason: &str) -> io::Result<()> {
        let mut out = Vec::new();
        frame::write_close(&mut out, code, reason);
        self.stream.write_all(&out).await
    }

    /// Echoes data, answers pings and the close, until the end.
    pub async fn echo(mut self) {
        loop {
            let said = match self.hear().await {
                Heard::Text(text) => self.text(&text).await,
                Heard::Binary(bytes) => self.say(Kind::Binary, &bytes).await,
                Heard::Ping(bytes) => self.say(Kind::Pong, &bytes).await,
                Heard::Pong(_) => Ok(()),
                Heard::Close(frame) => {
                    let code = frame.map_or(1005, |(code, _)| code);
                    let _ = self.close(code, "").await;
                    return;
                }
                Heard::End => return,
            };
            if said.is_err() {
                return;
            }
        }
    }
}

fn heard(event: Event<'_>) -> Heard {
    match event {
        Event::Text(text) => Heard::Text(text.into()),
        Event::Binary(bytes) => Heard::Binary(bytes.into()),
        Event::Ping(bytes) => Heard::Ping(bytes.into()),
        Event::Pong(bytes) => Heard::Pong(bytes.into()),
        Event::Close(frame) => Heard::Close(frame.map(|frame| (frame.code, frame.reason.into()))),
    }
}

/// A server that echoes.
pub fn echo_server() -> Arc<Memory> {
    Memory::serve(|_, stream| async move { Peer::accept(stream).await.echo().await })
}
