//! What a proxy says of a client: any bytes before the request, any text in its headers.

use std::net::IpAddr;

use shardwire_protocol::proxy::forwarded::{Field, client_address};
use shardwire_protocol::proxy::{
    Accepted, HEADER_BYTES_MAX, HeaderError, Network, Networks, Progress, read_header,
};

/// The first byte says which of them.
pub fn proxy(data: &[u8]) {
    let Some((&choice, bytes)) = data.split_first() else {
        return;
    };
    match choice % 4 {
        0 => header(bytes),
        1 => network(bytes),
        2 => forwarded(Field::XForwardedFor, bytes),
        _ => forwarded(Field::Forwarded, bytes),
    }
}

/// A header in any pieces is the header in one, and either version is what both together say.
fn header(bytes: &[u8]) {
    let whole = read_header(Accepted::Any, bytes);
    for end in 0..bytes.len() {
        match read_header(Accepted::Any, &bytes[..end]) {
            Ok(Progress::Incomplete) => {}
            outcome => {
                assert_eq!(outcome, whole, "{end} bytes tell something else than all");
                break;
            }
        }
    }
    if let Ok(Progress::Complete { header_len, .. }) = whole {
        assert!(header_len <= bytes.len().min(HEADER_BYTES_MAX));
    }
    assert!(whole != Ok(Progress::Incomplete) || bytes.len() < HEADER_BYTES_MAX);
    let by_version = [Accepted::V1, Accepted::V2].map(|accepted| read_header(accepted, bytes));
    let missing = Err(HeaderError::Missing);
    assert!(
        by_version.contains(&whole)
            && (by_version.contains(&missing) || whole == Ok(Progress::Incomplete)),
        "{whole:?} is neither of {by_version:?}"
    );
}

/// A network is written as it is read, and holds its own address.
fn network(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(network) = text.parse::<Network>() {
        let written = network.to_string();
        assert_eq!(written.parse(), Ok(network));
        let address = written.split('/').next().map(str::parse::<IpAddr>);
        assert!(
            address.is_some_and(|address| address.is_ok_and(|address| network.contains(address)))
        );
    }
}

/// Whatever a client writes to the left of what the proxies add, the result is the same.
fn forwarded(field: Field, bytes: &[u8]) {
    const PEERS: [&str; 3] = ["10.0.0.1", "2001:db8:ffff::1", "192.0.2.1"];
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.split('\n').collect();
    let trusted: Networks = ["10.0.0.0/8", "2001:db8:ffff::/48"]
        .iter()
        .map(|network| network.parse().expect("a network"))
        .collect();
    for peer in PEERS {
        let peer: IpAddr = peer.parse().expect("an address");
        let found = client_address(field, lines.iter().copied(), peer, &trusted);
        if !trusted.contains(peer) {
            assert_eq!(found, peer, "a stranger was believed");
        }
        if trusted.contains(found) {
            // The walk may have ended because nothing stood further left.
            continue;
        }
        for forged in ["6.6.6.6", "for=6.6.6.6", "\"", "for=\"6.6.6.6"] {
            let first = format!("{forged},{}", lines[0]);
            let more = std::iter::once(first.as_str()).chain(lines[1..].iter().copied());
            let lines: Vec<&str> = more.collect();
            assert_eq!(
                client_address(field, lines.iter().copied(), peer, &trusted),
                found
            );
            let more: Vec<&str> = std::iter::once(forged).chain(lines).collect();
            assert_eq!(
                client_address(field, more.into_iter(), peer, &trusted),
                found
            );
        }
    }
}
