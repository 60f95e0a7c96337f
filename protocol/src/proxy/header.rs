//! The header before everything else, of either version.

use std::net::SocketAddr;

use super::{v1, v2};

/// Longest header that is read, in bytes. Version 1 has at most 107; version 2 may announce 65,551, but addresses take 52 of
/// them, and what load balancers add (names, ids of networks, what they know of TLS) takes a few hundred.
pub const HEADER_BYTES_MAX: usize = 4096;

/// Which version must be there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Accepted {
    /// The line of text.
    V1,
    /// The binary header.
    V2,
    /// Either, but one of them.
    Any,
}

/// What the bytes so far amount to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// The header is not whole yet.
    Incomplete,
    /// The header is whole.
    Complete {
        /// Its length in bytes; the client's own bytes begin behind it.
        header_len: usize,
        /// The client's address and port. None: the proxy speaks for itself (a health check), or cannot say for whom, and the
        /// socket's own address holds.
        source: Option<SocketAddr>,
    },
}

/// Why there is no header. The connection has to be dropped: whatever comes behind it cannot be believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HeaderError {
    /// It begins with something else.
    #[error("no PROXY protocol header")]
    Missing,
    /// It begins like one and breaks the grammar.
    #[error("malformed PROXY protocol header: {0}")]
    Malformed(&'static str),
    /// More than [`HEADER_BYTES_MAX`].
    #[error("PROXY protocol header of {0} bytes: at most {HEADER_BYTES_MAX} are read")]
    TooLong(usize),
    /// Its checksum does not fit.
    #[error("PROXY protocol header with a wrong checksum")]
    Checksum,
}

/// Reads the header at the front of `bytes` (the PROXY protocol, versions 1 and 2, section 2 of its specification).
///
/// # Errors
/// See [`HeaderError`]; found as early as a byte tells it.
pub fn read_header(accepted: Accepted, bytes: &[u8]) -> Result<Progress, HeaderError> {
    let begins = |with: &[u8]| bytes.iter().zip(with).all(|(byte, other)| byte == other);
    let (may_be_v1, may_be_v2) = (begins(v1::PREFIX), begins(v2::SIGNATURE));
    match accepted {
        _ if bytes.is_empty() => Ok(Progress::Incomplete),
        Accepted::V1 | Accepted::Any if may_be_v1 => v1::read(bytes),
        Accepted::V2 | Accepted::Any if may_be_v2 => v2::read(bytes),
        _ => Err(HeaderError::Missing),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    const V1: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n";
    const V2: &[u8] =
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc6\x33\x64\x01\x12\x67\x01\xbb";

    #[test]
    fn only_what_is_accepted_is_read() {
        let whole =
            |accepted, bytes| matches!(read_header(accepted, bytes), Ok(Progress::Complete { .. }));
        assert!(whole(Accepted::V1, V1) && whole(Accepted::V2, V2));
        assert!(whole(Accepted::Any, V1) && whole(Accepted::Any, V2));
        assert_eq!(read_header(Accepted::V1, V2), Err(HeaderError::Missing));
        assert_eq!(read_header(Accepted::V2, V1), Err(HeaderError::Missing));
        for other in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"\x16\x03\x01",
            b"P\0",
            b"proxy tcp4",
            b"\r\n\r\nG",
        ] {
            assert_eq!(read_header(Accepted::Any, other), Err(HeaderError::Missing));
        }
    }

    proptest! {
        /// Whatever comes, in whatever pieces: the same outcome, never a panic, never an endless wait.
        #[test]
        fn any_split_gives_the_same(start in 0_usize..3, tail in prop::collection::vec(any::<u8>(), 0..300), flip in any::<(u8, u8)>()) {
            let mut bytes = [&b""[..], V1, V2][start].to_vec();
            bytes.extend(&tail);
            if let Some(byte) = bytes.get_mut(usize::from(flip.0)) {
                *byte ^= flip.1;
            }
            for accepted in [Accepted::V1, Accepted::V2, Accepted::Any] {
                let whole = read_header(accepted, &bytes);
                for cut in 0..bytes.len() {
                    let part = read_header(accepted, &bytes[..cut]);
                    match (part, whole) {
                        (Ok(Progress::Incomplete), _) => {}
                        (part, whole) => prop_assert_eq!(part, whole, "cut at {}", cut),
                    }
                }
                if let Ok(Progress::Complete { header_len, .. }) = whole {
                    prop_assert!(header_len <= bytes.len());
                    prop_assert_eq!(read_header(accepted, &bytes[..header_len]), whole);
                }
            }
        }

        #[test]
        fn no_header_is_waited_for_beyond_its_bound(byte: u8, version in 0_usize..2) {
            let mut bytes = [v1::PREFIX, v2::SIGNATURE][version].to_vec();
            bytes.resize(HEADER_BYTES_MAX, byte);
            prop_assert_ne!(read_header(Accepted::Any, &bytes), Ok(Progress::Incomplete));
        }
    }
}
