//! From an outbox to its socket: gathered, one write, the rest when the socket drains.

use std::io::{self, IoSlice};

use shardwire_shards::Shard;
use shardwire_shards::bounds::WRITE_SLICES_MAX;
use shardwire_shards::vocabulary::{ConnectionId, Now};
use smallvec::SmallVec;

use super::Responding;
use crate::runtime::{Driver, SocketId};

/// How a flush ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Flushed {
    /// Everything is written.
    Done,
    /// The socket takes no more for now; the driver will say when it does.
    Blocked,
    /// The socket is broken.
    Broken,
}

/// Writes what waits for a connection, in as few system calls as it takes.
pub(crate) fn flush(
    now: Now,
    shard: &mut Shard,
    driver: &mut impl Driver,
    connection: ConnectionId,
    socket: SocketId,
) -> Flushed {
    loop {
        let (written, more) = write_once(shard, driver, connection, socket);
        let flushed = note_written(now, shard, driver, connection, socket, written);
        if flushed != Flushed::Done || !more {
            return flushed;
        }
    }
}

/// How a write went.
#[derive(Debug)]
pub(crate) struct Written {
    /// How many bytes the socket was offered.
    pub(crate) offered: usize,
    /// How many it took.
    pub(crate) outcome: io::Result<usize>,
}

/// Takes note of a write, and sees to the rest: if the socket did not take all, the driver says when it takes more.
pub(crate) fn note_written(
    now: Now,
    shard: &mut Shard,
    driver: &mut impl Driver,
    connection: ConnectionId,
    socket: SocketId,
    Written { offered, outcome }: Written,
) -> Flushed {
    let (written, blocked) = match outcome {
        Ok(written) => (written, written < offered),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => (0, true),
        // The shard asks for another flush.
        Err(error) if error.kind() == io::ErrorKind::Interrupted => (0, false),
        Err(_) => return Flushed::Broken,
    };
    shard.sent(now, connection, written, blocked);
    if blocked {
        driver.notify_writable(socket);
        return Flushed::Blocked;
    }
    Flushed::Done
}

/// Offers the socket what waits, as far as one call takes it, and whether there is more.
fn write_once(
    shard: &Shard,
    driver: &mut impl Driver,
    connection: ConnectionId,
    socket: SocketId,
) -> (Written, bool) {
    let slices: SmallVec<[IoSlice<'_>; WRITE_SLICES_MAX]> = shard
        .pending(connection)
        .take(WRITE_SLICES_MAX)
        .map(IoSlice::new)
        .collect();
    let offered = slices.iter().map(|slice| slice.len()).sum();
    let outcome = if offered == 0 {
        Ok(0)
    } else {
        driver.send(socket, &slices)
    };
    let more = slices.len() == WRITE_SLICES_MAX;
    (Written { offered, outcome }, more)
}

/// Writes more of a plain answer.
pub(crate) fn write_some(
    driver: &mut impl Driver,
    socket: SocketId,
    responding: &mut Responding,
) -> Flushed {
    while responding.written < responding.bytes.len() {
        match driver.send(
            socket,
            &[IoSlice::new(&responding.bytes[responding.written..])],
        ) {
            Ok(written) => responding.written += written,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                driver.notify_writable(socket);
                return Flushed::Blocked;
            }
            Err(_) => return Flushed::Broken,
        }
    }
    Flushed::Done
}
