//! Version 1: one line of text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::header::{HeaderError, Progress};

/// How every line begins.
pub(super) const PREFIX: &[u8] = b"PROXY ";

/// The longest line, CR LF included: `PROXY UNKNOWN` with two whole IPv6 addresses and ports.
const LINE_BYTES_MAX: usize = 107;

/// Reads a line that begins with [`PREFIX`], as far as it is there.
pub(super) fn read(bytes: &[u8]) -> Result<Progress, HeaderError> {
    let window = &bytes[..bytes.len().min(LINE_BYTES_MAX)];
    let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < LINE_BYTES_MAX {
            Ok(Progress::Incomplete)
        } else {
            Err(HeaderError::Malformed("the line does not end"))
        };
    };
    let complete = |source| Progress::Complete {
        header_len: end + 2,
        source,
    };
    let line = window.get(PREFIX.len()..end).unwrap_or_default();
    let line = std::str::from_utf8(line).map_err(|_| HeaderError::Malformed("not text"))?;
    let mut words = line.split(' ');
    let read = match words.next() {
        Some("TCP4") => addresses::<Ipv4Addr>(words),
        Some("TCP6") => addresses::<Ipv6Addr>(words),
        // Whatever follows is to be passed over.
        Some("UNKNOWN") => return Ok(complete(None)),
        _ => return Err(HeaderError::Malformed("neither TCP4, TCP6 nor UNKNOWN")),
    };
    read.map(|source| complete(Some(source)))
        .ok_or(HeaderError::Malformed(
            "two addresses and two ports are needed",
        ))
}

/// Exactly source address, destination address, source port, destination port.
fn addresses<'a, A: std::str::FromStr + Into<IpAddr>>(
    mut words: impl Iterator<Item = &'a str>,
) -> Option<SocketAddr> {
    let source: A = words.next()?.parse().ok()?;
    let _destination: A = words.next()?.parse().ok()?;
    let source_port = port(words.next()?)?;
    port(words.next()?)?;
    match words.next() {
        None => Some(SocketAddr::new(source.into(), source_port)),
        Some(_) => None,
    }
}

/// A decimal number without leading zeros, which some would read as octal.
fn port(word: &str) -> Option<u16> {
    let plain = word.bytes().all(|byte| byte.is_ascii_digit())
        && (word.len() == 1 || !word.starts_with('0'));
    plain.then(|| word.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn source(line: &str) -> Result<Option<SocketAddr>, HeaderError> {
        match read(line.as_bytes())? {
            Progress::Complete { header_len, source } => {
                assert_eq!(&line[header_len - 2..header_len], "\r\n");
                Ok(source)
            }
            Progress::Incomplete => panic!("{line:?} is not whole"),
        }
    }

    #[test]
    fn the_examples_of_the_specification_are_read() {
        assert_eq!(
            source("PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\nGET / HTTP/1.1\r\n"),
            Ok(Some("192.168.0.1:56324".parse().unwrap()))
        );
        let longest = "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
        assert_eq!(
            source(longest),
            Ok(Some(
                "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"
                    .parse()
                    .unwrap()
            ))
        );
        assert_eq!(source("PROXY UNKNOWN\r\n"), Ok(None));
        let unknown = longest.replace("TCP6", "UNKNOWN");
        assert_eq!(unknown.len(), LINE_BYTES_MAX);
        assert_eq!(source(&unknown), Ok(None));
    }

    #[test]
    fn hostile_lines_are_refused() {
        for line in [
            "PROXY \r\n",
            "PROXY TCP4\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
            "PROXY TCP4 1.2.3.4  1.2.3.4 1 2\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1 \r\n",
            "PROXY TCP4 01.2.3.4 1.2.3.4 1 2\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
            "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
            "PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n",
            "PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
            "PROXY UNKNOWNS\r\n",
            "PROXY tcp4 1.2.3.4 1.2.3.4 1 2\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\r\n",
            "PROXY TCP4 1.2.3.4\t1.2.3.4 1 2\r\n",
        ] {
            assert!(source(line).is_err(), "{line:?}");
        }
        let endless = format!("PROXY UNKNOWN {}\r\n", "x".repeat(92));
        assert!(read(endless.as_bytes()).is_err());
        assert!(read(b"PROXY TCP4 \xff\xff\r\n").is_err());
    }

    proptest! {
        #[test]
        fn what_a_proxy_writes_is_read_back(source_address: SocketAddr, destination: SocketAddr) {
            let (family, from, to) = match (source_address.ip(), destination.ip()) {
                (IpAddr::V4(from), IpAddr::V4(to)) => ("TCP4", from.to_string(), to.to_string()),
                (from, to) => {
                    let v6 = |address| match address {
                        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                        IpAddr::V6(v6) => v6,
                    };
                    ("TCP6", v6(from).to_string(), v6(to).to_string())
                }
            };
            let line = format!("PROXY {family} {from} {to} {} {}\r\n", source_address.port(), destination.port());
            let read = source(&line).unwrap().unwrap();
            prop_assert_eq!(read.ip().to_canonical(), source_address.ip().to_canonical());
            prop_assert_eq!(read.port(), source_address.port());
        }
    }
}
