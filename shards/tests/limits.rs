//! Limits on connections: of the node, of a user, of an address; exact over all shards, however they come.

#![allow(clippy::unwrap_used)]

mod support;

use std::net::{IpAddr, Ipv6Addr};

use shardwire_shards::ShardSettings;
use shardwire_shards::mesh::LaneBounds;
use shardwire_shards::vocabulary::{Answer, AnswerId, CloseCause, Command, Event, Standing};
use support::{Frame, PeerId, Who, World, close, from, open_settings, user};

const SHARDS: [u16; 4] = [1, 2, 4, 7];

fn limits(user: Option<usize>, address: Option<usize>) -> ShardSettings {
    ShardSettings {
        max_connections_per_user: user,
        max_connections_per_ip: address,
        ..open_settings()
    }
}

fn too_many_of_user() -> Frame {
    Frame::Close(4101, "too many connections of this user".into())
}

fn too_many_of_address() -> Frame {
    Frame::Close(4102, "too many connections from this address".into())
}

fn is_connected(world: &World, peer: PeerId) -> bool {
    let connection = world.id(peer);
    world.events.contains(&Event::Connected { connection })
}

fn connections_of(world: &mut World, user: &'static str) -> usize {
    let home = world.placement.home_of_user(user).index();
    let command = Command::ConnectionsOfUser {
        user: user.into(),
        answer: AnswerId(0),
    };
    world.command(home, command);
    let Some(Answer::Connections(connections)) = world.answers.pop() else {
        panic!("no answer");
    };
    connections.len()
}

#[test]
fn a_user_has_so_many_connections_on_all_shards_together() {
    for shards in SHARDS {
        let mut world = World::with(shards, limits(Some(5), None));
        let count = usize::from(shards);
        let mut peers: Vec<_> = (0..8)
            .map(|n| world.connect_as(n % count, user("ann")))
            .collect();
        let refused = peers.split_off(5);
        for &peer in &peers {
            assert!(is_connected(&world, peer));
            assert!(world.heard(peer).is_empty());
        }
        for &peer in &refused {
            assert!(!is_connected(&world, peer));
            assert_eq!(world.heard(peer), [too_many_of_user()]);
            assert!(world.peers[peer].receiving, "its close frame is awaited");
            world.bytes(peer, &close(4101, ""));
            assert!(world.peers[peer].closed);
            assert_eq!(world.disconnected(peer), [CloseCause::Us(4101)]);
        }
        assert_eq!(connections_of(&mut world, "ann"), 5);
        // Somebody else, or nobody in particular, is not concerned.
        let (bob, nobody) = (world.connect_as(0, user("bob")), world.connect(count - 1));
        assert!(is_connected(&world, bob) && is_connected(&world, nobody));
        // One goes, one comes.
        world.lose(peers[2]);
        world.settle();
        assert_eq!(connections_of(&mut world, "ann"), 4);
        let next = world.connect_as(count - 1, user("ann"));
        assert!(is_connected(&world, next));
        let one_more = world.connect_as(0, user("ann"));
        assert!(!is_connected(&world, one_more));
    }
}

#[test]
fn an_address_has_so_many_connections_and_ipv6_counts_by_its_64() {
    for shards in SHARDS {
        let mut world = World::with(shards, limits(None, Some(3)));
        let count = usize::from(shards);
        let v6 = |last: u16| Who {
            address: IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 9, 0, 0, 0, last)),
            ..Who::default()
        };
        for n in 0..5 {
            let (v4, v6) = (
                world.connect_as(n % count, from(7)),
                world.connect_as(n % count, v6(n as u16)),
            );
            for peer in [v4, v6] {
                assert_eq!(is_connected(&world, peer), n < 3);
                if n >= 3 {
                    assert_eq!(world.heard(peer), [too_many_of_address()]);
                }
            }
        }
        assert!({
            let peer = world.connect_as(0, from(8));
            is_connected(&world, peer)
        });
        assert_eq!(world.residue().counted_addresses, 3);
    }
}

/// All come at once, on all shards, before any home has said a word.
fn storm(world: &mut World) -> Vec<PeerId> {
    let count = world.shards.len();
    let peers: Vec<_> = (0..60)
        .map(|n| {
            let who = Who {
                standing: Standing::Unverified(Some(["ann", "bob", "cleo", "dan"][n % 4].into())),
                ..from(1)
            };
            world.open(n * 5 % count, who)
        })
        .collect();
    world.settle();
    peers
}

#[test]
fn a_storm_fills_a_limit_to_the_last_place_and_not_beyond() {
    for shards in SHARDS {
        for (settings, fit) in [
            (limits(Some(4), None), 16),
            (limits(None, Some(9)), 9),
            (limits(Some(20), Some(9)), 9),
        ] {
            let mut world = World::with(shards, settings);
            let peers = storm(&mut world);
            let connected = peers
                .iter()
                .filter(|&&peer| is_connected(&world, peer))
                .count();
            assert_eq!(connected, fit, "{shards} shards");
        }
    }
}

/// While it waits for the one home, a connection holds its place at the other; so in a storm against both limits somebody
/// may be refused who would have fitted an instant later, but nobody is let in who does not fit, and nothing stays counted.
#[test]
fn a_storm_against_two_limits_exceeds_neither() {
    for shards in SHARDS {
        let mut world = World::with(shards, limits(Some(4), Some(9)));
        let peers = storm(&mut world);
        let connected = peers
            .iter()
            .filter(|&&peer| is_connected(&world, peer))
            .count();
        assert!(
            (1..=9).contains(&connected),
            "{connected} on {shards} shards"
        );
        for user in ["ann", "bob", "cleo", "dan"] {
            assert!(connections_of(&mut world, user) <= 4);
        }
        for peer in peers {
            if is_connected(&world, peer) {
                world.lose(peer);
            }
        }
        world.settle();
        // The refused count for nothing, though their sockets are still being closed.
        let held = world.residue();
        assert_eq!((held.counted_users, held.counted_addresses), (0, 0));
        let next = world.connect_as(
            0,
            Who {
                standing: Standing::Unverified(Some("ann".into())),
                ..from(1)
            },
        );
        assert!(is_connected(&world, next));
    }
}

/// Being refused for the one key gives back what was counted for the other.
#[test]
fn a_refusal_for_the_address_gives_the_users_place_back() {
    for shards in SHARDS {
        let mut world = World::with(shards, limits(Some(2), Some(1)));
        let last = usize::from(shards) - 1;
        world.connect_as(0, from(1));
        for _ in 0..5 {
            let peer = world.connect_as(
                last,
                Who {
                    standing: Standing::Unverified(Some("ann".into())),
                    ..from(1)
                },
            );
            assert_eq!(world.heard(peer), [too_many_of_address()]);
        }
        assert_eq!(connections_of(&mut world, "ann"), 0);
        for n in 2..4 {
            let peer = world.connect_as(
                last,
                Who {
                    standing: Standing::Unverified(Some("ann".into())),
                    ..from(n)
                },
            );
            assert!(is_connected(&world, peer));
        }
    }
}

#[test]
fn a_socket_that_ends_while_its_homes_are_asked_is_not_counted() {
    for shards in SHARDS {
        let mut world = World::with(shards, limits(Some(1), Some(1)));
        let shard = usize::from(shards) - 1;
        let who = Who {
            standing: Standing::Unverified(Some("ann".into())),
            ..from(1)
        };
        for _ in 0..3 {
            let peer = world.open(shard, who.clone());
            world.lose(peer);
        }
        world.settle();
        assert_eq!(world.residue(), Default::default());
        assert_eq!(world.node_count.get(), 0);
        let peer = world.connect_as(shard, who);
        assert!(is_connected(&world, peer));
    }
}

#[test]
fn contract_m1_the_node_has_so_many_connections_and_a_refused_one_costs_nothing() {
    let settings = ShardSettings {
        max_connections: 3,
        ..open_settings()
    };
    let mut world = World::with(2, settings);
    let peers = [world.connect(0), world.connect(1), world.connect(0)];
    assert!(!world.shards[1].admit());
    assert_eq!(world.shards[1].counters().connections_refused, 1);
    assert_eq!(world.node_count.get(), 3);
    world.lose(peers[1]);
    assert!(world.shards[1].admit());
    world.shards[1].revoke_admission();
    assert!(world.shards[0].admit());
    assert!(!world.shards[1].admit());
    world.shards[0].revoke_admission();
}

/// A verdict that took long leaves the peer as much time to read the refusal as any other.
#[test]
fn the_time_to_take_a_refusal_begins_with_the_refusal() {
    let mut world = World::with(2, limits(Some(0), None));
    let away = 1 - world.placement.home_of_user("ann").index();
    let peer = world.open(away, user("ann"));
    world.ms += 60_000;
    world.peers[peer].room = Some(0);
    world.settle();
    world.pass(4_900);
    assert!(!world.peers[peer].closed);
    world.make_room(peer, None);
    assert_eq!(world.heard(peer), [too_many_of_user()]);
    world.pass(200);
    assert!(world.peers[peer].closed);
}

/// A home that cannot be asked refuses whoever would have to be counted there.
#[test]
fn a_full_way_to_the_home_refuses_the_connection() {
    let lanes = LaneBounds {
        lane_messages: 1,
        overflow_messages: 1,
        overflow_bytes: 1 << 20,
    };
    let mut world = World::bounded(2, limits(Some(5), None), lanes);
    let away = 1 - world.placement.home_of_user("ann").index();
    let peers: Vec<_> = (0..3).map(|_| world.open(away, user("ann"))).collect();
    world.pass(10);
    assert!(is_connected(&world, peers[0]) && is_connected(&world, peers[1]));
    assert_eq!(
        world.heard(peers[2]),
        [Frame::Close(4100, "overloaded".into())]
    );
    assert_eq!(connections_of(&mut world, "ann"), 2);
}

#[test]
fn what_comes_before_the_verdict_is_kept_and_handled_after_it() {
    let mut world = World::with(2, limits(Some(1), None));
    let away = 1 - world.placement.home_of_user("ann").index();
    let early = support::masked(
        shardwire_protocol::websocket::frame::Kind::Text,
        br#"{"type":"ping","id":1}"#,
    );
    let (first, rest) = early.split_at(9);
    let peer = world.open(
        away,
        Who {
            early: first.to_vec(),
            ..user("ann")
        },
    );
    world.bytes(peer, rest);
    assert!(world.heard(peer).is_empty());
    world.settle();
    assert_eq!(world.texts(peer).len(), 1);
    // Of one that is refused, nothing is looked at.
    let refused = world.open(
        away,
        Who {
            early: early.clone(),
            ..user("ann")
        },
    );
    world.settle();
    assert_eq!(world.heard(refused), [too_many_of_user()]);
}
