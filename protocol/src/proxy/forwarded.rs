//! The client's address from what HTTP proxies wrote into the request: `X-Forwarded-For`, or `Forwarded` (RFC 7239).
//!
//! Every proxy appends the address it saw. The rightmost was written by the proxy that connects to us, so it is true if that proxy is
//! trusted; the next one to the left is true if the address just read is a trusted proxy as well; and so on. Whatever stands
//! left of the first address that is not trusted may have been written by anybody.

use std::net::{IpAddr, SocketAddr};

use super::Networks;

/// Which of the two is believed; never both, for a proxy writes one and passes the other on as the client sent it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Field {
    /// `X-Forwarded-For: client, proxy1, proxy2`.
    XForwardedFor,
    /// `Forwarded: for=client;proto=https, for="[2001:db8::1]:4711"`.
    Forwarded,
}

impl Field {
    /// The name of the request header.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
        }
    }
}

/// The client's address: the first from the right that is not a trusted proxy's.
///
/// `peer` is who is connected to us and `lines` the header's values, in their order. A peer that is not trusted is the client itself.
/// A hop that hides (`unknown`, `_name`) or cannot be read ends the walk: its proxy is then the last that is known, and stands
/// for everybody behind it. When all hops are trusted, the leftmost is the client.
#[must_use]
pub fn client_address<'a>(
    field: Field,
    lines: impl DoubleEndedIterator<Item = &'a str>,
    peer: IpAddr,
    trusted: &Networks,
) -> IpAddr {
    let mut known = peer.to_canonical();
    for line in lines.rev() {
        let mut rest = Some(line);
        while let Some(list) = rest {
            if !trusted.contains(known) {
                return known;
            }
            let Some((before, element)) = last_element(field, list) else {
                return known;
            };
            rest = before;
            if element.is_empty() {
                // RFC 9110 section 5.6.1.2: empty elements are no elements.
                continue;
            }
            let hop = match field {
                Field::XForwardedFor => node(element),
                Field::Forwarded => node_of_pairs(element),
            };
            match hop {
                Some(address) => known = address,
                None => return known,
            }
        }
    }
    known
}

/// The last element of a list, and what stands before its comma. Read from the right, so that a quote that somebody opened further
/// left hides nothing. None: a quote in it is not closed.
fn last_element(field: Field, list: &str) -> Option<(Option<&str>, &str)> {
    let bytes = list.as_bytes();
    let mut quoted = false;
    for at in (0..bytes.len()).rev() {
        match bytes[at] {
            b'"' if field == Field::Forwarded && !is_escaped(bytes, at) => quoted = !quoted,
            b',' if !quoted => return Some((Some(&list[..at]), trimmed(&list[at + 1..]))),
            _ => {}
        }
    }
    (!quoted).then(|| (None, trimmed(list)))
}

/// Whether an odd number of backslashes stands before this byte.
fn is_escaped(bytes: &[u8], at: usize) -> bool {
    let backslashes = bytes[..at].iter().rev().take_while(|byte| **byte == b'\\');
    backslashes.count() % 2 == 1
}

fn trimmed(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// The node of the one `for=` among the pairs of an element.
fn node_of_pairs(element: &str) -> Option<IpAddr> {
    let mut found = None;
    let mut rest = element;
    while !rest.is_empty() {
        let (name, behind) = rest.split_once('=')?;
        let (value, behind) = match behind.strip_prefix('"') {
            Some(quoted) => {
                let end = (0..quoted.len()).find(|at| {
                    quoted.as_bytes()[*at] == b'"' && !is_escaped(quoted.as_bytes(), *at)
                })?;
                (&quoted[..end], &quoted[end + 1..])
            }
            None => {
                let end = behind.find(';').unwrap_or(behind.len());
                behind.split_at(end)
            }
        };
        if trimmed(name).eq_ignore_ascii_case("for") && found.replace(value).is_some() {
            return None;
        }
        let behind = trimmed(behind);
        rest = match behind.strip_prefix(';') {
            Some(rest) => rest,
            None if behind.is_empty() => "",
            None => return None,
        };
    }
    node(trimmed(found?))
}

/// An address, with or without port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`. A port may be
/// hidden (`_name`, RFC 7239 section 6), an address that is makes this none.
fn node(text: &str) -> Option<IpAddr> {
    let address = if let Some(bracketed) = text.strip_prefix('[') {
        let (address, port) = bracketed.split_once(']')?;
        let is_port = port.strip_prefix(':').is_some_and(is_node_port);
        if !port.is_empty() && !is_port {
            return None;
        }
        IpAddr::V6(address.parse().ok()?)
    } else if let Ok(address) = text.parse::<IpAddr>() {
        address
    } else if let Ok(address) = text.parse::<SocketAddr>() {
        address.ip()
    } else {
        let (address, port) = text.split_once(':')?;
        if !is_node_port(port) {
            return None;
        }
        IpAddr::V4(address.parse().ok()?)
    };
    Some(address.to_canonical())
}

fn is_node_port(port: &str) -> bool {
    let number = port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
    !port.is_empty() && (number || port.starts_with('_'))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    const PROXY: &str = "10.0.0.1";

    fn trusted() -> Networks {
        ["10.0.0.0/8", "2001:db8:ffff::/48"]
            .iter()
            .map(|network| network.parse().unwrap())
            .collect()
    }

    fn client(field: Field, lines: &[&str], peer: &str) -> String {
        let peer = peer.parse().unwrap();
        client_address(field, lines.iter().copied(), peer, &trusted()).to_string()
    }

    fn x_forwarded_for(lines: &[&str]) -> String {
        client(Field::XForwardedFor, lines, PROXY)
    }

    fn forwarded(lines: &[&str]) -> String {
        client(Field::Forwarded, lines, PROXY)
    }

    #[test]
    fn the_first_from_the_right_that_is_not_trusted_is_the_client() {
        assert_eq!(x_forwarded_for(&["192.0.2.7"]), "192.0.2.7");
        assert_eq!(x_forwarded_for(&["6.6.6.6, 192.0.2.7"]), "192.0.2.7");
        assert_eq!(
            x_forwarded_for(&["6.6.6.6, 192.0.2.7, 10.9.9.9 ,10.8.8.8"]),
            "192.0.2.7"
        );
        assert_eq!(
            x_forwarded_for(&["6.6.6.6", "192.0.2.7", "10.9.9.9"]),
            "192.0.2.7"
        );
        assert_eq!(x_forwarded_for(&["10.1.1.1, 10.2.2.2"]), "10.1.1.1");
        assert_eq!(x_forwarded_for(&[]), PROXY);
        assert_eq!(x_forwarded_for(&["", " , ,", "192.0.2.7,, "]), "192.0.2.7");
        assert_eq!(
            forwarded(&[
                "for=6.6.6.6",
                "for=192.0.2.7;proto=https, For=\"[2001:db8:ffff::1]:443\";by=10.0.0.2"
            ]),
            "192.0.2.7"
        );
    }

    #[test]
    fn an_untrusted_peer_is_not_believed() {
        assert_eq!(
            client(Field::XForwardedFor, &["10.0.0.5"], "192.0.2.1"),
            "192.0.2.1"
        );
        assert_eq!(
            client(Field::Forwarded, &["for=10.0.0.5"], "::ffff:192.0.2.1"),
            "192.0.2.1"
        );
    }

    #[test]
    fn every_way_to_write_an_address_is_read() {
        for text in [
            "192.0.2.7",
            "192.0.2.7:80",
            "192.0.2.7:_hidden",
            "::ffff:192.0.2.7",
            "[::ffff:192.0.2.7]:1",
        ] {
            assert_eq!(x_forwarded_for(&[text]), "192.0.2.7", "{text}");
            assert_eq!(
                forwarded(&[&format!("for=\"{text}\"")]),
                "192.0.2.7",
                "{text}"
            );
        }
        for text in [
            "2001:db8::7",
            "[2001:db8::7]",
            "[2001:db8::7]:443",
            "[2001:db8::7]:_a",
        ] {
            assert_eq!(x_forwarded_for(&[text]), "2001:db8::7", "{text}");
            assert_eq!(
                forwarded(&[&format!("proto=http ; FOR=\"{text}\"")]),
                "2001:db8::7",
                "{text}"
            );
        }
    }

    #[test]
    fn who_hides_stands_behind_its_proxy() {
        for hop in [
            "unknown",
            "_SEVKISEK",
            "1.2.3",
            "1.2.3.4:http",
            "[::1",
            "::1]:80",
            "1.2.3.4 5.6.7.8",
            "-",
            "[1.2.3.4]",
        ] {
            assert_eq!(
                x_forwarded_for(&[&format!("6.6.6.6, {hop}, 10.7.7.7")]),
                "10.7.7.7",
                "{hop}"
            );
            assert_eq!(
                forwarded(&[&format!("for=6.6.6.6, for=\"{hop}\", for=10.7.7.7")]),
                "10.7.7.7",
                "{hop}"
            );
        }
        for element in [
            "proto=https",
            "for",
            "for=1.2.3.4;for=1.2.3.5",
            "for=\"1.2.3.4\" x",
            "for=\"1.2.3.4",
            "=1.2.3.4",
        ] {
            assert_eq!(
                forwarded(&[&format!("for=6.6.6.6, {element}, for=10.7.7.7")]),
                "10.7.7.7",
                "{element}"
            );
        }
        // A quoted comma, and a quote within quotes, belong to their value.
        assert_eq!(
            forwarded(&[r#"for=192.0.2.7;host="a\", for=6.6.6.6""#]),
            "192.0.2.7"
        );
    }

    proptest! {
        /// Nothing a client can write changes what its proxy says of it: not by quotes, commas, or addresses that are trusted.
        #[test]
        fn what_stands_left_of_the_client_is_ignored(spoofed in "[ -~]{0,40}", other in "[\", ;=\\\\for0-9.:\\[\\]]{0,30}") {
            for left in [&spoofed, &other] {
                prop_assert_eq!(x_forwarded_for(&[&format!("{left}, 192.0.2.7")]), "192.0.2.7");
                prop_assert_eq!(x_forwarded_for(&[left, "192.0.2.7, 10.3.3.3"]), "192.0.2.7");
                prop_assert_eq!(forwarded(&[&format!("{left}, for=192.0.2.7")]), "192.0.2.7");
                prop_assert_eq!(forwarded(&[&format!("{left},for=\"192.0.2.7:1\";proto=https, for=10.3.3.3")]), "192.0.2.7");
                prop_assert_eq!(forwarded(&[left, "for=192.0.2.7"]), "192.0.2.7");
            }
        }

        #[test]
        fn no_text_panics(text in ".{0,80}") {
            x_forwarded_for(&[&text]);
            forwarded(&[&text]);
        }
    }
}
