//! Listening sockets: one per shard on a shared port, so that the kernel spreads connections
//! without a lock or a hand-off.
#![allow(unsafe_code)]

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

/// How long a taken port is tried again.
const PORT_PATIENCE: Duration = Duration::from_millis(500);

/// Opens `count` listeners on `address`, one per shard, in shard order: the n-th to listen is the
/// n-th in the kernel's group, which is what [`attach_ip_hash`](super::reuseport::attach_ip_hash)
/// counts on. With port 0 the first one picks a port and the others share it.
///
/// Connections inherit `TCP_NODELAY`: a flush is one write per turn already, waiting for more would
/// only delay it. An IPv6 wildcard address also takes IPv4 clients. `backlog` (connections
/// completed but not yet accepted, per listener) is cut by the kernel to `net.core.somaxconn`.
///
/// Do not close single listeners of a group while it serves: the last one would take over its
/// number, and connections waiting in it are reset. To change the number of shards, open a new
/// group.
///
/// # Errors
/// `AddrInUse`, after half a second of trying, also if another process shares ports on this
/// address: two servers that split the connections between them without knowing are worse than one
/// that does not start. [`listen_error`](super::preflight::listen_error) words the usual ones for
/// the operator.
pub fn listen_group(
    address: SocketAddr,
    count: usize,
    backlog: u32,
) -> io::Result<Vec<TcpListener>> {
    let mut sockets = Vec::with_capacity(count);
    let mut address = address;
    for shard in 0..count {
        let socket = open(address)?;
        if shard == 0 {
            // Bound alone first, shared only afterwards: this is what finds other processes on the
            // port.
            bind_when_free(&socket, address)?;
            socket.set_reuse_port(true)?;
            address.set_port(bound_port(&socket)?);
        } else {
            socket.set_reuse_port(true)?;
            socket.bind(&address.into())?;
        }
        sockets.push(socket);
    }
    let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
    for socket in &sockets {
        socket.listen(backlog)?;
    }
    Ok(sockets.into_iter().map(TcpListener::from).collect())
}

/// Makes the kernel hand over connections with their first bytes instead of before them, as clients
/// speak first in everything that is spoken here: a shard is woken once for a new client, not twice.
///
/// A client that says nothing is handed over as well, a second after it came.
///
/// # Errors
/// The kernel does not do it; connections come at once then.
pub fn accept_with_first_bytes(listener: &TcpListener) -> io::Result<()> {
    let seconds: libc::c_int = 1;
    // SAFETY: option value and length describe one `c_int`, which lives until the call returns.
    let set = unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const seconds).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if set == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Errors that took a failed connection out of the queue (accept(2), "Error handling"), or nothing
/// at all: the next accept may well work. Anything else would come again at once, so the loop has
/// to back off.
pub(super) fn is_about_one_connection(error: i32) -> bool {
    matches!(
        error,
        libc::ECANCELED
            | libc::EINTR
            | libc::EAGAIN
            | libc::ECONNABORTED
            | libc::EPERM
            | libc::EPROTO
            | libc::ENETDOWN
            | libc::ENOPROTOOPT
            | libc::EHOSTDOWN
            | libc::ENONET
            | libc::EHOSTUNREACH
            | libc::ENETUNREACH
    )
}

/// A killed io_uring server is reaped at once, but its listener stays bound until the kernel has
/// cleared up after it (up to 150 ms were measured with 76,000 connections). A supervisor that
/// restarts at once should find a free port, so wait a little before calling it taken.
fn bind_when_free(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    let deadline = Instant::now() + PORT_PATIENCE;
    loop {
        match socket.bind(&address.into()) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(20));
            }
            result => return result,
        }
    }
}

fn open(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // A restart must not wait for old connections in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    if address.is_ipv6() {
        // The system's default is an administrator's choice; what `[::]` means here must not depend
        // on it.
        socket.set_only_v6(false)?;
    }
    Ok(socket)
}

fn bound_port(socket: &Socket) -> io::Result<u16> {
    let address = socket.local_addr()?;
    address
        .as_socket()
        .map(|address| address.port())
        .ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream};
    use std::os::fd::AsFd;

    fn local(port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
    }

    #[test]
    fn the_group_shares_the_port_the_first_one_picked() {
        let group = listen_group(local(0), 4, 128).unwrap();
        let ports: Vec<_> = group
            .iter()
            .map(|listener| listener.local_addr().unwrap().port())
            .collect();
        assert_ne!(ports[0], 0);
        assert!(ports.iter().all(|port| *port == ports[0]), "{ports:?}");
    }

    #[test]
    fn a_port_another_group_listens_on_is_taken() {
        let first = listen_group(local(0), 2, 128).unwrap();
        let port = first[0].local_addr().unwrap().port();
        let error = listen_group(local(port), 2, 128).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(first);
        listen_group(local(port), 2, 128).unwrap();
    }

    #[test]
    fn a_port_that_becomes_free_soon_is_waited_for() {
        let first = listen_group(local(0), 1, 128).unwrap();
        let port = first[0].local_addr().unwrap().port();
        let dying = thread::spawn(move || {
            thread::sleep(Duration::from_millis(100));
            drop(first);
        });
        listen_group(local(port), 1, 128).unwrap();
        dying.join().unwrap();
    }

    #[test]
    fn connections_inherit_nodelay() {
        let group = listen_group(local(0), 1, 128).unwrap();
        let client = TcpStream::connect(group[0].local_addr().unwrap()).unwrap();
        let (server, _) = group[0].accept().unwrap();
        assert!(server.nodelay().unwrap());
        assert!(
            socket2::SockRef::from(&server.as_fd())
                .tcp_nodelay()
                .unwrap()
        );
        drop(client);
    }

    #[test]
    fn who_speaks_is_accepted_before_who_came_first_and_is_silent() {
        let group = listen_group(local(0), 1, 128).unwrap();
        accept_with_first_bytes(&group[0]).unwrap();
        let address = group[0].local_addr().unwrap();
        let silent = TcpStream::connect(address).unwrap();
        let mut speaking = TcpStream::connect(address).unwrap();
        speaking.write_all(b"hello").unwrap();
        let accepted = [(); 2].map(|()| group[0].accept().unwrap().1);
        let came = [&speaking, &silent].map(|client| client.local_addr().unwrap());
        assert_eq!(accepted, came);
    }

    #[test]
    fn an_ipv6_wildcard_takes_ipv4_clients() {
        let Ok(group) = listen_group(
            SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0),
            2,
            128,
        ) else {
            eprintln!("no IPv6 here");
            return;
        };
        let port = group[0].local_addr().unwrap().port();
        TcpStream::connect(local(port)).unwrap();
    }
}
