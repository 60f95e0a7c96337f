//! The kernel's filter puts every connection where user space says it belongs.

use super::*;
use crate::runtime::attach_ip_hash;
use shardwire_shards::placement::address_hash;
use socket2::{Domain, Socket, Type};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Which member of the group has the connection from `source`.
fn landing(group: &[TcpListener], source: IpAddr, destination: SocketAddr) -> usize {
    let client = Socket::new(Domain::for_address(destination), Type::STREAM, None).unwrap();
    client.bind(&SocketAddr::new(source, 0).into()).unwrap();
    client.connect(&destination.into()).unwrap();
    for (index, listener) in group.iter().enumerate() {
        listener.set_nonblocking(true).unwrap();
        if let Ok((_, peer)) = listener.accept() {
            assert_eq!(peer.ip().to_canonical(), source);
            return index;
        }
    }
    panic!("no listener has the connection");
}

fn sources() -> impl Iterator<Item = IpAddr> {
    (0..60u8).map(|number| {
        IpAddr::V4(Ipv4Addr::new(
            127,
            0,
            number / 7,
            1 + number.wrapping_mul(37) % 250,
        ))
    })
}

fn check_v4(bind: &str) {
    for count in [1, 2, 4, 7] {
        let group = listen_group(bind.parse().unwrap(), count, 128).unwrap();
        attach_ip_hash(&group[0], count).unwrap();
        let port = group[0].local_addr().unwrap().port();
        let mut hits = vec![0; count];
        for source in sources() {
            let predicted = address_hash(source) as usize % count;
            let destination = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
            assert_eq!(
                landing(&group, source, destination),
                predicted,
                "{source} with {count} shards"
            );
            hits[predicted] += 1;
        }
        assert!(
            hits.iter().all(|hits| *hits > 0),
            "a poor choice of sources: {hits:?}"
        );
    }
}

#[test]
fn ipv4_clients_land_where_predicted() {
    check_v4("127.0.0.1:0");
}

#[test]
fn ipv4_clients_of_a_dual_stack_group_land_where_predicted() {
    check_v4("[::]:0");
}

#[test]
fn an_ipv6_client_lands_where_predicted() {
    let home = IpAddr::V6(Ipv6Addr::LOCALHOST);
    for count in [1, 2, 3, 4, 5, 7, 11, 13] {
        let Ok(group) = listen_group(SocketAddr::new(home, 0), count, 128) else {
            eprintln!("no IPv6 here");
            return;
        };
        attach_ip_hash(&group[0], count).unwrap();
        let destination = group[0].local_addr().unwrap();
        assert_eq!(
            landing(&group, home, destination),
            address_hash(home) as usize % count,
            "{count} shards"
        );
    }
}

#[test]
fn a_listener_of_its_own_or_no_shards_are_refused() {
    let alone = TcpListener::bind("127.0.0.1:0").unwrap();
    assert!(attach_ip_hash(&alone, 2).is_err());
    let group = listen_group("127.0.0.1:0".parse().unwrap(), 1, 128).unwrap();
    assert_eq!(
        attach_ip_hash(&group[0], 0).unwrap_err().kind(),
        std::io::ErrorKind::InvalidInput
    );
}
