//! Version 2: a binary header.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::header::{HEADER_BYTES_MAX, HeaderError, Progress};

/// How every header begins: bytes that no other protocol begins with.
pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version and command, family, length.
const FIXED_BYTES: usize = 16;

/// Type of the value that holds a CRC-32C of the whole header (`PP2_TYPE_CRC32C`).
const TYPE_CRC32C: u8 = 0x03;

/// Type, and two bytes of length.
const VALUE_HEAD_BYTES: usize = 3;

/// Reads a header that begins with [`SIGNATURE`], as far as it is there.
pub(super) fn read(bytes: &[u8]) -> Result<Progress, HeaderError> {
    let Some(&version_and_command) = bytes.get(12) else {
        return Ok(Progress::Incomplete);
    };
    if version_and_command >> 4 != 2 {
        return Err(HeaderError::Malformed("not version 2"));
    }
    let proxied = match version_and_command & 0x0f {
        0 => false,
        1 => true,
        _ => return Err(HeaderError::Malformed("unknown command")),
    };
    let Some(&family) = bytes.get(13) else {
        return Ok(Progress::Incomplete);
    };
    if family >> 4 > 3 || family & 0x0f > 2 {
        return Err(HeaderError::Malformed("unknown family"));
    }
    let (Some(&high), Some(&low)) = (bytes.get(14), bytes.get(15)) else {
        return Ok(Progress::Incomplete);
    };
    let header_len = FIXED_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if header_len > HEADER_BYTES_MAX {
        return Err(HeaderError::TooLong(header_len));
    }
    let Some(header) = bytes.get(..header_len) else {
        return Ok(Progress::Incomplete);
    };
    // `LOCAL`: the proxy's own connection, and addresses, if any, mean nothing.
    let source = if proxied {
        proxied_source(family, header)?
    } else {
        None
    };
    Ok(Progress::Complete { header_len, source })
}

/// Addresses by family, then the values behind them.
fn proxied_source(family: u8, header: &[u8]) -> Result<Option<SocketAddr>, HeaderError> {
    let addresses_len = match family >> 4 {
        1 => 12,
        2 => 36,
        3 => 216,
        _ => 0,
    };
    let values_at = FIXED_BYTES + addresses_len;
    let Some(addresses) = header.get(FIXED_BYTES..values_at) else {
        return Err(HeaderError::Malformed(
            "shorter than the addresses of its family",
        ));
    };
    check_values(header, values_at)?;
    // Streams over IP only: of everything else the socket's own address is all that can be said.
    Ok(match (family, addresses) {
        (0x11, &[a, b, c, d, _, _, _, _, high, low, ..]) => Some(SocketAddr::new(
            IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
            u16::from_be_bytes([high, low]),
        )),
        (0x21, addresses) => {
            let source: Option<[u8; 16]> = addresses.first_chunk().copied();
            let port: Option<[u8; 2]> = addresses.get(32..34).and_then(|port| port.try_into().ok());
            source.zip(port).map(|(source, port)| {
                SocketAddr::new(IpAddr::V6(Ipv6Addr::from(source)), u16::from_be_bytes(port))
            })
        }
        _ => None,
    })
}

/// The values must fill the header exactly, and a checksum must fit. What else they say is not needed.
fn check_values(header: &[u8], mut at: usize) -> Result<(), HeaderError> {
    while at < header.len() {
        let Some(&[kind, high, low]) = header.get(at..).and_then(|rest| rest.first_chunk()) else {
            return Err(HeaderError::Malformed("half a value"));
        };
        let value_at = at + VALUE_HEAD_BYTES;
        let end = value_at + usize::from(u16::from_be_bytes([high, low]));
        let Some(value) = header.get(value_at..end) else {
            return Err(HeaderError::Malformed("a value longer than the header"));
        };
        if kind == TYPE_CRC32C {
            let Ok(expected) = value.try_into().map(u32::from_be_bytes) else {
                return Err(HeaderError::Malformed("a checksum that is not 4 bytes"));
            };
            let parts = [&header[..value_at], &[0; 4], &header[end..]];
            if crc32c(parts.into_iter().flatten().copied()) != expected {
                return Err(HeaderError::Checksum);
            }
        }
        at = end;
    }
    Ok(())
}

/// RFC 3720, appendix B.4: reflected, polynomial 0x1EDC6F41. Bit by bit: it is needed once per connection at most.
fn crc32c(bytes: impl Iterator<Item = u8>) -> u32 {
    !bytes.fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ (0x82F6_3B78 & (crc & 1).wrapping_neg())
        })
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn header(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([0x20 | command, family]);
        bytes.extend((body.len() as u16).to_be_bytes());
        bytes.extend(body);
        bytes
    }

    fn source(bytes: &[u8]) -> Result<Option<SocketAddr>, HeaderError> {
        let mut behind = bytes.to_vec();
        behind.extend(b"GET / HTTP/1.1\r\n");
        match read(&behind)? {
            Progress::Complete { header_len, source } => {
                assert_eq!(header_len, bytes.len());
                Ok(source)
            }
            Progress::Incomplete => panic!("{bytes:?} is not whole"),
        }
    }

    const V4: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 0x12, 0x67, 0x01, 0xbb];

    fn value(kind: u8, bytes: &[u8]) -> Vec<u8> {
        let mut value = vec![kind];
        value.extend((bytes.len() as u16).to_be_bytes());
        value.extend(bytes);
        value
    }

    #[test]
    fn every_family_is_read() {
        let v4 = Ok(Some("192.0.2.7:4711".parse().unwrap()));
        assert_eq!(source(&header(1, 0x11, &V4)), v4);
        let with_values = [
            &V4[..],
            &value(0x04, &[0; 100]),
            &value(0xEA, b"vpce-1"),
            &value(0x01, b""),
        ]
        .concat();
        assert_eq!(source(&header(1, 0x11, &with_values)), v4);
        let mut v6 = [0; 36];
        v6[..4].copy_from_slice(&[0x20, 1, 0xd, 0xb8]);
        v6[15] = 9;
        v6[33] = 80;
        assert_eq!(
            source(&header(1, 0x21, &v6)),
            Ok(Some("[2001:db8::9]:80".parse().unwrap()))
        );
        // Its own connection, a family that is not known, datagrams, a local socket: the socket's address holds.
        assert_eq!(source(&header(0, 0x00, &[])), Ok(None));
        assert_eq!(source(&header(0, 0x11, &[1, 2, 3])), Ok(None));
        assert_eq!(source(&header(1, 0x00, &[])), Ok(None));
        assert_eq!(source(&header(1, 0x12, &V4)), Ok(None));
        assert_eq!(source(&header(1, 0x31, &[7; 216])), Ok(None));
    }

    #[test]
    fn hostile_headers_are_refused() {
        assert_eq!(crc32c(b"123456789".iter().copied()), 0xE306_9283);
        for (command, family, body) in [
            (2, 0x11, &V4[..]),
            (1, 0x41, &V4),
            (1, 0x13, &V4),
            (1, 0x11, &V4[..11]),
            (1, 0x21, &V4),
            (1, 0x31, &V4),
            (1, 0x11, &[&V4[..], &[4]].concat()),
            (1, 0x11, &[&V4[..], &[4, 0, 9, 1]].concat()),
            (1, 0x11, &[&V4[..], &value(TYPE_CRC32C, &[0; 3])].concat()),
        ] {
            let bytes = header(command, family, body);
            assert!(
                matches!(read(&bytes), Err(HeaderError::Malformed(_))),
                "{bytes:?}"
            );
        }
        let mut bytes = header(1, 0x11, &V4);
        bytes[12] = 0x11;
        assert_eq!(read(&bytes), Err(HeaderError::Malformed("not version 2")));
        // Refused when the length is known, not when 64 KiB have been collected.
        let mut long = header(1, 0x11, &[]);
        long[14..16].copy_from_slice(&[0xff, 0xff]);
        assert_eq!(read(&long[..16]), Err(HeaderError::TooLong(65_551)));
        assert_eq!(read(&header(1, 0x11, &V4)[..27]), Ok(Progress::Incomplete));
    }

    #[test]
    fn a_checksum_is_compared() {
        let mut bytes = header(
            1,
            0x11,
            &[
                &V4[..],
                &value(TYPE_CRC32C, &[0; 4]),
                &value(2, b"example.org"),
            ]
            .concat(),
        );
        let at = FIXED_BYTES + V4.len() + VALUE_HEAD_BYTES;
        let sum = crc32c(bytes.iter().copied());
        bytes[at..at + 4].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(source(&bytes), Ok(Some("192.0.2.7:4711".parse().unwrap())));
        bytes[FIXED_BYTES] ^= 1;
        assert_eq!(read(&bytes), Err(HeaderError::Checksum));
    }

    proptest! {
        #[test]
        fn what_a_proxy_writes_is_read_back(from: SocketAddr, values in prop::collection::vec(any::<u8>(), 0..50)) {
            let mut body = Vec::new();
            let family = match from.ip() {
                IpAddr::V4(ip) => {
                    body.extend(ip.octets());
                    body.extend([0; 4]);
                    0x11
                }
                IpAddr::V6(ip) => {
                    body.extend(ip.octets());
                    body.extend([0; 16]);
                    0x21
                }
            };
            body.extend(from.port().to_be_bytes());
            body.extend([0; 2]);
            body.extend(value(0xE0, &values));
            let read = source(&header(1, family, &body)).unwrap().unwrap();
            prop_assert_eq!((read.ip(), read.port()), (from.ip(), from.port()));
        }
    }
}
