//! No peer but the floor under all: an epoll loop on one thread that receives, takes the mask off in place, and sends. No limits, no
//! fragments, no control frames, no timeouts. What an echo costs here, the kernel costs.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use peers::address;

const LISTENER: Token = Token(usize::MAX);
/// Appended to the client's key (RFC 6455, 1.3).
const KEY_SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

struct Connection {
    socket: TcpStream,
    upgraded: bool,
    /// What came of a message or request that is not whole yet.
    kept: Vec<u8>,
}

fn main() -> io::Result<()> {
    let address = address().parse().expect("an address and a port");
    let mut listener = TcpListener::bind(address)?;
    let mut poll = Poll::new()?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(1024);
    let mut connections = HashMap::new();
    let mut buffer = vec![0; 512 << 10];
    let mut next = 0;
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() != LISTENER {
                let Some(connection) = connections.get_mut(&event.token()) else {
                    continue;
                };
                if serve(connection, &mut buffer).is_err() {
                    connections.remove(&event.token());
                }
                continue;
            }
            while let Ok((mut socket, _)) = listener.accept() {
                socket.set_nodelay(true)?;
                poll.registry()
                    .register(&mut socket, Token(next), Interest::READABLE)?;
                let connection = Connection {
                    socket,
                    upgraded: false,
                    kept: Vec::new(),
                };
                connections.insert(Token(next), connection);
                next += 1;
            }
        }
    }
}

/// One readable socket.
fn serve(connection: &mut Connection, buffer: &mut [u8]) -> io::Result<()> {
    loop {
        let kept = connection.kept.len();
        buffer[..kept].copy_from_slice(&connection.kept);
        let len = match connection.socket.read(&mut buffer[kept..]) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(len) => kept + len,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        // Epoll is edge-triggered here: a buffer that was not filled has emptied the socket.
        let emptied = len < buffer.len();
        connection.kept.clear();
        let taken = if connection.upgraded {
            echo(connection, &mut buffer[..len])?
        } else {
            upgrade(connection, &buffer[..len])?
        };
        connection.kept.extend_from_slice(&buffer[taken..len]);
        if emptied {
            return Ok(());
        }
    }
}

fn upgrade(connection: &mut Connection, request: &[u8]) -> io::Result<usize> {
    if !request.ends_with(b"\r\n\r\n") {
        return Ok(0);
    }
    let text = String::from_utf8_lossy(request);
    let key = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-key")
            .then(|| value.trim())
    });
    let key = key.ok_or(ErrorKind::InvalidData)?;
    let digest = sha1_smol::Sha1::from(format!("{key}{KEY_SUFFIX}")).digest();
    let accept = BASE64_STANDARD.encode(digest.bytes());
    let response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    connection.socket.write_all(response.as_bytes())?;
    connection.upgraded = true;
    Ok(request.len())
}

/// Sends back every whole frame; returns how many bytes those were.
fn echo(connection: &mut Connection, bytes: &mut [u8]) -> io::Result<usize> {
    let mut at = 0;
    while let Some((header, len)) = frame(&bytes[at..]) {
        let frame = &mut bytes[at..at + header + len];
        at += frame.len();
        if frame[0] & 0x0F == 8 {
            return Err(ErrorKind::ConnectionAborted.into());
        }
        let (head, payload) = frame.split_at_mut(header);
        let mask: [u8; 4] = head[header - 4..].try_into().expect("four bytes");
        let wide = u128::from_ne_bytes([mask, mask, mask, mask].concat().try_into().expect("16"));
        let mut blocks = payload.chunks_exact_mut(16);
        for block in &mut blocks {
            let word = u128::from_ne_bytes((&*block).try_into().expect("16 bytes")) ^ wide;
            block.copy_from_slice(&word.to_ne_bytes());
        }
        for (byte, mask) in blocks.into_remainder().iter_mut().zip(mask.iter().cycle()) {
            *byte ^= mask;
        }
        // The answer's header is the same without the mask, right before the payload.
        head.copy_within(..header - 4, 4);
        head[5] &= 0x7F;
        connection.socket.write_all(&frame[4..])?;
    }
    Ok(at)
}

/// Lengths of the header and the payload of a whole masked frame at the start.
fn frame(bytes: &[u8]) -> Option<(usize, usize)> {
    let (header, len) = match bytes.get(1)? & 0x7F {
        126 => (8, u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?).into()),
        127 => {
            let len = u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?);
            (14, usize::try_from(len).ok()?)
        }
        len => (6, len.into()),
    };
    (bytes.len() >= header + len).then_some((header, len))
}
