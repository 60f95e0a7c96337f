//! From an outbox through its session to its socket: gathered, sealed, one write.

use std::io::{self, IoSlice};

use shardwire_shards::Shard;
use shardwire_shards::bounds::WRITE_SLICES_MAX;
use shardwire_shards::vocabulary::{ConnectionId, Now};

use super::Session;
use crate::runtime::{Driver, SocketId};
use crate::transport::Flushed;

/// Plaintext sealed for one write: four full records. It also bounds the ciphertext that a peer who does not read makes a
/// session keep, beyond its outbox.
const SEALED_AT_ONCE: usize = 64 << 10;

/// Capacity above which the lent buffers are given back after a burst.
const KEPT_CAPACITY: usize = 128 << 10;

/// What sealing needs for the time of one flush, lent to all sessions of a shard.
#[derive(Debug, Default)]
pub(crate) struct Sealing {
    /// Several slices of an outbox behind each other: one record for many small frames.
    gathered: Vec<u8>,
    sealed: Vec<u8>,
}

/// Writes what waits for a connection, and before it what its session has to say. As `flush` without TLS, but that bytes count
/// as sent once they are sealed: what the socket does not take of them stays in the session.
pub(crate) fn flush_sealed(
    now: Now,
    shard: &mut Shard,
    driver: &mut impl Driver,
    (connection, socket): (ConnectionId, SocketId),
    session: &mut Session,
    sealing: &mut Sealing,
) -> Flushed {
    if session.is_blocked() {
        match send_unsent(driver, socket, session) {
            Flushed::Done => {}
            Flushed::Blocked => {
                shard.sent(now, connection, 0, true);
                return Flushed::Blocked;
            }
            Flushed::Broken => return Flushed::Broken,
        }
    }
    let flushed = loop {
        let Sealing { gathered, sealed } = sealing;
        sealed.clear();
        session.take_unsent(sealed);
        let (offered, more) = match seal_pending(shard, connection, session, gathered, sealed) {
            Ok(gathered) => gathered,
            Err(_) => break Flushed::Broken,
        };
        let written = match write(driver, socket, sealed) {
            Ok(written) => written,
            Err(_) => break Flushed::Broken,
        };
        session.keep_unsent(&sealed[written..]);
        let blocked = written < sealed.len();
        shard.sent(now, connection, offered, blocked);
        if blocked {
            driver.notify_writable(socket);
            break Flushed::Blocked;
        }
        if !more {
            break Flushed::Done;
        }
    };
    sealing.shrink();
    flushed
}

/// Seals the front of an outbox: how many of its bytes, and whether there are more.
fn seal_pending(
    shard: &Shard,
    connection: ConnectionId,
    session: &mut Session,
    gathered: &mut Vec<u8>,
    sealed: &mut Vec<u8>,
) -> Result<(usize, bool), super::SessionError> {
    let mut pending = shard.pending(connection);
    let Some(first) = pending.next() else {
        return Ok((0, false));
    };
    let Some(second) = pending.next() else {
        // The usual case: one message, sealed from where it lies.
        let taken = &first[..first.len().min(SEALED_AT_ONCE)];
        session.seal(taken, sealed)?;
        return Ok((taken.len(), taken.len() < first.len()));
    };
    gathered.clear();
    let mut more = false;
    for (count, slice) in [first, second].into_iter().chain(pending).enumerate() {
        let room = SEALED_AT_ONCE - gathered.len();
        gathered.extend_from_slice(&slice[..slice.len().min(room)]);
        if slice.len() > room || count == WRITE_SLICES_MAX {
            more = true;
            break;
        }
    }
    session.seal(gathered, sealed)?;
    Ok((gathered.len(), more))
}

/// Writes what a session has to say of its own: handshake, answers, alerts.
pub(crate) fn send_unsent(
    driver: &mut impl Driver,
    socket: SocketId,
    session: &mut Session,
) -> Flushed {
    match write(driver, socket, session.unsent()) {
        Ok(written) => {
            session.sent(written);
            if session.unsent().is_empty() {
                Flushed::Done
            } else {
                driver.notify_writable(socket);
                Flushed::Blocked
            }
        }
        Err(_) => Flushed::Broken,
    }
}

/// One write; nothing taken is no error.
fn write(driver: &mut impl Driver, socket: SocketId, bytes: &[u8]) -> io::Result<usize> {
    if bytes.is_empty() {
        return Ok(0);
    }
    loop {
        match driver.send(socket, &[IoSlice::new(bytes)]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
            result => return result,
        }
    }
}

impl Sealing {
    fn shrink(&mut self) {
        for buffer in [&mut self.gathered, &mut self.sealed] {
            if buffer.capacity() > KEPT_CAPACITY {
                *buffer = Vec::new();
            }
        }
    }
}
