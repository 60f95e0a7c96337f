//! The runtime on real sockets of the loopback.
//!
//! Every loop is bounded: a behaviour that does not come makes its test fail within [`PATIENCE`].
#![allow(clippy::unwrap_used)]

mod accepting;
mod bell;
mod children;
mod churn;
mod direct;
mod echo;
mod fallback;
mod hand_off;
mod ip_hash;
mod pause;
mod quiet;
mod sends;
mod shard;
mod stale;
mod starvation;
mod writable;

use std::io::IoSlice;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use super::{
    Completion, Driver, DriverKind, DriverOptions, Outgoing, ShardDriver, SocketId, listen_group,
};

const PATIENCE: Duration = Duration::from_secs(10);

/// A driver with a small pool: 16 buffers of 2 KiB.
fn driver() -> ShardDriver {
    driver_with(16, 2048)
}

fn driver_with(buffer_count: u16, buffer_size: u32) -> ShardDriver {
    driver_of(DriverOptions {
        buffer_count,
        buffer_size,
        table_size: table_size(),
        quiet_after: quiet_after(),
        ..DriverOptions::default()
    })
}

/// Every socket counts as quiet where this is set; else none does as long as a test takes.
fn quiet_after() -> Option<Duration> {
    match std::env::var_os("TEST_QUIET_SOCKETS") {
        Some(_) => Some(Duration::ZERO),
        None => DriverOptions::default().quiet_after,
    }
}

/// Tables of direct descriptors so small that everything happens on several rings, where the server
/// is told to use them.
fn table_size() -> Option<u32> {
    match std::env::var("SHARDWIRE_SHARDS__DIRECT_DESCRIPTORS").as_deref() {
        Ok("on") => Some(3),
        Ok("off" | "auto") | Err(_) => None,
        Ok(other) => panic!("there is no {other:?} for direct descriptors"),
    }
}

fn driver_of(options: DriverOptions) -> ShardDriver {
    ShardDriver::new(kind(), &options).unwrap()
}

/// Which driver is tried: as the server reads it, so that one variable turns the whole suite.
fn kind() -> DriverKind {
    match std::env::var("SHARDWIRE_SHARDS__DRIVER").as_deref() {
        Ok("epoll") => DriverKind::Epoll,
        Ok("io-uring" | "auto") | Err(_) => DriverKind::Uring,
        Ok(other) => panic!("there is no driver {other:?}"),
    }
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = listen_group("127.0.0.1:0".parse().unwrap(), 1, 4096)
        .unwrap()
        .remove(0);
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Both ends of a fresh connection, in blocking mode; reads of the first fail after [`PATIENCE`].
fn connection() -> (TcpStream, OwnedFd) {
    let (listener, address) = listener();
    let client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.set_nodelay(true).unwrap();
    let (server, _) = listener.accept().unwrap();
    (client, server.into())
}

/// Turns the driver until `done` says so; every completion goes through `each`.
fn turn_until<D: Driver, S>(
    driver: &mut D,
    state: &mut S,
    mut each: impl FnMut(&mut D, &mut S, Completion),
    mut done: impl FnMut(&S) -> bool,
) {
    let deadline = Instant::now() + PATIENCE;
    let mut completions = Vec::new();
    while !done(state) {
        assert!(
            Instant::now() < deadline,
            "it did not happen within {PATIENCE:?}"
        );
        driver
            .wait(Some(Duration::from_millis(10)), &mut completions)
            .unwrap();
        for completion in completions.drain(..) {
            each(driver, state, completion);
        }
    }
}

/// Copies a received buffer out and recycles it.
fn take<D: Driver>(driver: &mut D, buffer: super::BufferId, len: usize) -> Vec<u8> {
    let bytes = driver.buffer(buffer, len).to_vec();
    driver.recycle(buffer);
    bytes
}

fn send_all<D: Driver>(driver: &mut D, socket: SocketId, bytes: &[u8]) {
    let sent = driver.send(socket, &[IoSlice::new(bytes)]).unwrap();
    assert_eq!(
        sent,
        bytes.len(),
        "the test sends less than a socket buffer holds"
    );
}
