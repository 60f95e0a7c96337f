//! Source addresses: one address has about 28,000 ports for one destination, and a server may place connections by address.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context, Result, bail};
use mio::net::TcpStream;
use socket2::{Domain, Protocol, Socket, Type};

/// Most addresses one range may name.
const MAX_ADDRESSES: usize = 65_536;

/// How often another port is tried when the kernel picked one that is still taken for this destination.
const PORT_ATTEMPTS: usize = 4;

/// Reads `127.0.0.2-127.0.0.9`, `127.0.0.2`, or several of both separated by commas.
///
/// # Errors
/// With a text for the user: not an address, mixed families, a range that runs backwards or is too long.
pub fn parse_source_addresses(text: &str) -> Result<Vec<IpAddr>> {
    let mut addresses = Vec::new();
    for part in text.split(',').map(str::trim) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let read = |text: &str| {
            text.trim()
                .parse::<IpAddr>()
                .with_context(|| format!("{text:?} is not an IP address"))
        };
        let (first, last) = (read(first)?, read(last)?);
        let (first_number, last_number) = match (first, last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                (u128::from(first.to_bits()), u128::from(last.to_bits()))
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => (first.to_bits(), last.to_bits()),
            _ => bail!("the range {part:?} mixes IPv4 and IPv6"),
        };
        if first_number > last_number {
            bail!("the range {part:?} runs backwards");
        }
        if last_number - first_number >= (MAX_ADDRESSES - addresses.len()) as u128 {
            bail!("more than {MAX_ADDRESSES} source addresses");
        }
        addresses.extend((first_number..=last_number).map(|number| match first {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from_bits(number as u32)),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(number)),
        }));
    }
    Ok(addresses)
}

/// Begins connections, each from the next source address in turn.
pub struct Sources {
    addresses: Vec<IpAddr>,
    next: usize,
}

impl Sources {
    /// With no addresses the kernel chooses.
    pub fn new(addresses: Vec<IpAddr>) -> Self {
        Self { addresses, next: 0 }
    }

    /// Begins to connect, without waiting.
    ///
    /// # Errors
    /// What the kernel says at once: out of files or ports, no such source address.
    pub fn connect(&mut self, target: SocketAddr) -> io::Result<TcpStream> {
        let source = self.addresses.get(self.next).copied();
        self.next = (self.next + 1) % self.addresses.len().max(1);
        for _ in 1..PORT_ATTEMPTS {
            match begin(target, source) {
                Err(error)
                    if error.kind() == io::ErrorKind::AddrNotAvailable && source.is_some() => {}
                other => return other,
            }
        }
        begin(target, source)
    }
}

fn begin(target: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = Socket::new(
        Domain::for_address(target),
        Type::STREAM.nonblocking().cloexec(),
        Some(Protocol::TCP),
    )?;
    socket.set_tcp_nodelay(true)?;
    if let Some(source) = source {
        // Ports of connections that are in TIME_WAIT towards this destination may be used again.
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    match socket.connect(&target.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(IN_PROGRESS) => {}
        Err(error) => return Err(error),
    }
    Ok(TcpStream::from_std(socket.into()))
}

/// EINPROGRESS (errno(3)); `std::io::ErrorKind` has a name for it only in unstable Rust.
const IN_PROGRESS: i32 = rustix::io::Errno::INPROGRESS.raw_os_error();

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ranges_and_lists_are_read() {
        let addresses = parse_source_addresses("127.0.0.254-127.0.1.1, 127.0.0.9").unwrap();
        let text: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        assert_eq!(
            text,
            [
                "127.0.0.254",
                "127.0.0.255",
                "127.0.1.0",
                "127.0.1.1",
                "127.0.0.9"
            ]
        );
        assert_eq!(parse_source_addresses("::1-::3").unwrap().len(), 3);
    }

    #[test]
    fn bad_ranges_are_explained() {
        let message = |text: &str| format!("{:#}", parse_source_addresses(text).unwrap_err());
        assert!(message("127.0.0.9-127.0.0.2").contains("backwards"));
        assert!(message("127.0.0.1-::1").contains("mixes"));
        assert!(message("localhost").contains("not an IP address"));
        assert!(message("127.0.0.0-127.255.0.0").contains("more than"));
    }
}
