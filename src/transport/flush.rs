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
        let offer = write_once(shard, driver, connection, socket);
        let (written, blocked, more) = match offer {
            Ok(Offer {
                offered,
                slices,
                written,
            }) => (written, written < offered, slices == WRITE_SLICES_MAX),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => (0, true, false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return Flushed::Broken,
        };
        shard.sent(now, connection, written, blocked);
        if blocked {
            driver.notify_writable(socket);
            return Flushed::Blocked;
        }
        if !more {
            return Flushed::Done;
        }
    }
}

struct Offer {
    offered: usize,
    slices: usize,
    written: usize,
}

fn write_once(
    shard: &Shard,
    driver: &mut impl Driver,
    connection: ConnectionId,
    socket: SocketId,
) -> io::Result<Offer> {
    let slices: SmallVec<[IoSlice<'_>; WRITE_SLICES_MAX]> = shard
        .pending(connection)
        .take(WRITE_SLICES_MAX)
        .map(IoSlice::new)
        .collect();
    let offered = slices.iter().map(|slice| slice.len()).sum();
    let written = if offered == 0 {
        0
    } else {
        driver.send(socket, &slices)?
    };
    Ok(Offer {
        offered,
        slices: slices.len(),
        written,
    })
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
