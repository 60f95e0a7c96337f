//! Every connection lives on the shard that `placement::home` names, steered by the kernel or handed off, and a hand-off
//! loses no byte (contract K2, K3).
#![allow(clippy::unwrap_used)]

mod support;

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use shardwire::config::PlacementRule;
use shardwire_protocol::websocket::frame;
use shardwire_shards::placement::{Placement, Rule};
use shardwire_shards::vocabulary::ShardId;
use support::{TestEngine, config, lives_on, read_messages};

const SHARDS: [usize; 4] = [1, 2, 4, 7];

fn source(n: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, (n / 200) as u8, 1 + (n % 200) as u8))
}

#[test]
fn ip_hash_is_steered_by_the_kernel_and_by_hand_off_alike() {
    for kernel_steering in [true, false] {
        for shards in SHARDS {
            let mut config = config(shards, PlacementRule::IpHash);
            config.shards.kernel_steering = kernel_steering;
            let engine = TestEngine::start(config);
            let placement = Placement::new(Rule::IpHash, shards as u16);
            let mut clients = Vec::new();
            let mut used = vec![0; shards];
            for n in 0..28 {
                let user = format!("user{n}");
                clients.push(engine.client_from(source(n * 13), &format!("/ws?user={user}")));
                let home = lives_on(&engine, &user);
                assert_eq!(
                    home,
                    placement.home(ShardId(0), source(n * 13), Some(&user))
                );
                used[home.index()] += 1;
            }
            assert!(
                used.iter().all(|count| *count > 0),
                "every shard of {shards} has some: {used:?}"
            );
        }
    }
}

#[test]
fn user_hash_hands_every_connection_to_its_users_shard() {
    for shards in SHARDS {
        let engine = TestEngine::start(config(shards, PlacementRule::UserHash));
        let placement = Placement::new(Rule::UserHash, shards as u16);
        let mut clients = Vec::new();
        for n in 0..28 {
            let user = format!("user{n}");
            clients.push(engine.client_from(source(n), &format!("/ws?user={user}")));
            assert_eq!(lives_on(&engine, &user), placement.home_of_user(&user));
        }
    }
}

#[test]
fn accept_leaves_connections_where_the_kernel_put_them() {
    for shards in SHARDS {
        let engine = TestEngine::start(config(shards, PlacementRule::Accept));
        let mut used = vec![0; shards];
        let mut clients = Vec::new();
        for n in 0..12 * shards {
            let user = format!("user{n}");
            clients.push(engine.client(&format!("/ws?user={user}")));
            used[lives_on(&engine, &user).index()] += 1;
        }
        // The kernel spreads by a hash of ports and addresses: from one address every shard gets its share.
        assert!(used.iter().all(|count| *count > 0), "{used:?}");
    }
}

/// Frames pipelined behind the upgrade request and sent on while the socket moves: every byte comes back, in order.
#[test]
fn a_hand_off_loses_no_byte() {
    let seed = 20_261_121;
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    for (shards, placement) in [
        (4, PlacementRule::UserHash),
        (7, PlacementRule::UserHash),
        (4, PlacementRule::IpHash),
    ] {
        let mut config = config(shards, placement);
        config.shards.kernel_steering = false;
        let engine = TestEngine::start(config);
        for n in 0..30 {
            echo_stream(&engine, &mut random, n);
        }
    }
}

fn echo_stream(engine: &TestEngine, random: &mut StdRng, n: usize) {
    let mut request = format!(
        "GET /echo?user=user{n} HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .into_bytes();
    let mut expected = Vec::new();
    for number in 0..400_u32 {
        let mut payload = number.to_be_bytes().to_vec();
        payload.resize(4 + random.random_range(0..300), number as u8);
        frame::write_client(&mut request, frame::Kind::Binary, &payload, random.random());
        expected.push(payload);
    }
    let mut stream = engine.socket_from(source(n));
    let mut reader = stream.try_clone().unwrap();
    let cuts: Vec<usize> = (0..20)
        .map(|_| random.random_range(1..request.len()))
        .collect();
    let writer = std::thread::spawn(move || {
        let mut cuts = cuts;
        cuts.push(request.len());
        cuts.sort_unstable();
        let mut from = 0;
        for to in cuts {
            stream.write_all(&request[from..to]).unwrap();
            from = to;
        }
        stream
    });
    let got = read_messages(&mut reader, expected.len());
    assert_eq!(got.len(), expected.len());
    assert!(
        got == expected,
        "connection {n}: bytes were lost or changed"
    );
    drop(writer.join().unwrap());
}
