//! Limits of connections and rates over real sockets (contract M17, M18, W6, decision D22). Goal: limits are exact while thousands
//! connect at once: nobody is let in beyond them, and nobody is refused who is within them. Method: storms from many threads,
//! under every placement and through both doors, in which nobody leaves before everybody has an answer.
#![allow(clippy::unwrap_used)]

mod support;

#[path = "support/tokens.rs"]
mod tokens;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use shardwire::config::{AuthenticationType, Config, Limit, PlacementRule, Secret, Texts};
use shardwire_protocol::websocket::frame;
use support::{Client, TestEngine, config, eventually};
use tokens::{SECRET, claims, signed, with};
use tungstenite::Message;

const SHARDS: usize = 4;
const USERS: usize = 100;
const CONNECTS: usize = 2000;
const PER_USER: usize = 5;
const THREADS: usize = 40;

/// How a client shows who it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Door {
    /// In a header: known before the upgrade is answered.
    Request,
    /// In its first frame: known after.
    FirstFrame,
}

fn storm_config(placement: PlacementRule) -> Config {
    let mut config = config(SHARDS, placement);
    config.connections.max_connections_per_user = Some(Limit::AtMost(PER_USER));
    config.connections.max_connections_per_ip = Some(Limit::Unlimited);
    config.authentication.kind = Some(AuthenticationType::Jwt);
    config.authentication.secret = Some(Secret::new(SECRET));
    config.authentication.audience = Some(Texts::One("websocket".to_owned()));
    config
}

fn request(door: Door, token: &str) -> Vec<u8> {
    let authorization = match door {
        Door::Request => format!("Authorization: Bearer {token}\r\n"),
        Door::FirstFrame => String::new(),
    };
    let mut bytes = format!(
        "GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{authorization}\r\n"
    )
    .into_bytes();
    if door == Door::FirstFrame {
        let text = json!({"type": "auth", "token": token}).to_string();
        frame::write_client(&mut bytes, frame::Kind::Text, text.as_bytes(), [1, 2, 3, 4]);
    }
    bytes
}

/// Reads the 101 and what is said first: `hello`, or the code of a close.
fn outcome(mut stream: TcpStream) -> Result<Client, u16> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(
        head.starts_with(b"HTTP/1.1 101 "),
        "{}",
        String::from_utf8_lossy(&head)
    );
    let mut client = Client::behind_upgrade(stream);
    match client.0.read().unwrap() {
        Message::Text(text) => {
            let hello: Value = serde_json::from_str(text.as_str()).unwrap();
            assert_eq!(hello["type"], "hello");
            Ok(client)
        }
        Message::Close(Some(close)) => Err(close.code.into()),
        other => panic!("{other:?}"),
    }
}

/// All at once; who got in, by user. Everybody else was told `code`.
fn storm(
    engine: &TestEngine,
    door: Door,
    who: &[(usize, IpAddr)],
    code: u16,
) -> HashMap<usize, Vec<Client>> {
    let tokens: Arc<Vec<String>> = Arc::new(
        (0..USERS)
            .map(|user| signed(&with(claims(), "sub", json!(name(user)))))
            .collect(),
    );
    let barrier = Arc::new(Barrier::new(THREADS));
    let threads: Vec<_> = who
        .chunks(who.len().div_ceil(THREADS))
        .map(|part| {
            // Connected first, so that the requests come in one moment.
            let sockets: Vec<_> = part
                .iter()
                .map(|(user, address)| (*user, engine.socket_from(*address)))
                .collect();
            let (tokens, barrier) = (Arc::clone(&tokens), Arc::clone(&barrier));
            std::thread::spawn(move || {
                let mut sockets = sockets;
                barrier.wait();
                for (user, socket) in &mut sockets {
                    socket.write_all(&request(door, &tokens[*user])).unwrap();
                }
                sockets
                    .into_iter()
                    .map(|(user, socket)| (user, outcome(socket)))
                    .collect::<Vec<_>>()
            })
        })
        .collect();
    assert_eq!(threads.len(), THREADS);
    let mut inside: HashMap<usize, Vec<Client>> = HashMap::new();
    for (user, outcome) in threads
        .into_iter()
        .flat_map(|thread| thread.join().unwrap())
    {
        match outcome {
            Ok(client) => inside.entry(user).or_default().push(client),
            Err(told) => assert_eq!(told, code),
        }
    }
    inside
}

fn name(user: usize) -> String {
    format!("user{user}")
}

/// Asks for users' connections again and again; the most it ever saw of one user.
struct Watcher(Arc<AtomicBool>, std::thread::JoinHandle<usize>);

impl Watcher {
    fn start(engine: &TestEngine) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (engine, stopped) = (engine.0.clone(), Arc::clone(&stop));
        let watch = move || {
            let mut most = 0;
            for user in (0..USERS).cycle() {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                most = most.max(engine.user_connections(&name(user)).wait().len());
            }
            most
        };
        Self(stop, std::thread::spawn(watch))
    }

    fn most_seen(self) -> usize {
        self.0.store(true, Ordering::Relaxed);
        self.1.join().unwrap()
    }
}

#[test]
fn contract_m17_five_connections_per_user_hold_exactly_in_a_storm_of_two_thousand() {
    for placement in [
        PlacementRule::IpHash,
        PlacementRule::UserHash,
        PlacementRule::Accept,
    ] {
        for door in [Door::Request, Door::FirstFrame] {
            let engine = TestEngine::start(storm_config(placement));
            let watcher = Watcher::start(&engine);
            // From many addresses, so that ip-hash has something to spread.
            let who: Vec<_> = (0..CONNECTS).map(|n| (n % USERS, address(n))).collect();
            let begin = Instant::now();
            let mut inside = storm(&engine, door, &who, 4101);
            let took = begin.elapsed();
            for user in 0..USERS {
                assert_eq!(
                    inside[&user].len(),
                    PER_USER,
                    "{placement} {door:?} {}",
                    name(user)
                );
                let known = engine.0.user_connections(&name(user)).wait();
                assert_eq!(known.len(), PER_USER);
            }
            let most = watcher.most_seen();
            assert!(most <= PER_USER, "{placement} {door:?}: {most} at once");
            println!(
                "{placement} {door:?}: {CONNECTS} connects of {USERS} users in {took:?}: {PER_USER} each, never more than {most} seen"
            );

            // Whoever leaves makes room for one, not for two.
            for user in 0..USERS {
                let mut leaver = inside.get_mut(&user).unwrap().pop().unwrap();
                leaver.0.close(None).unwrap();
                while leaver.0.read().is_ok() {}
            }
            for user in 0..USERS {
                eventually("the place is free", || {
                    engine.0.user_connections(&name(user)).wait().len() == PER_USER - 1
                });
            }
            let who: Vec<_> = (0..2 * USERS).map(|n| (n % USERS, address(n))).collect();
            let again = storm(&engine, door, &who, 4101);
            assert!((0..USERS).all(|user| again[&user].len() == 1));
        }
    }
}

fn address(n: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, (n / 200) as u8, 1 + (n % 200) as u8))
}

#[test]
fn contract_m18_ten_connections_per_address_hold_exactly_too() {
    for placement in [
        PlacementRule::IpHash,
        PlacementRule::UserHash,
        PlacementRule::Accept,
    ] {
        let mut config = storm_config(placement);
        config.connections.max_connections_per_user = Some(Limit::Unlimited);
        config.connections.max_connections_per_ip = Some(Limit::AtMost(10));
        let engine = TestEngine::start(config);
        // 30 from each of 20 addresses; each as a user of its own, by address.
        let who: Vec<_> = (0..600).map(|n| (n % 20, address(n % 20))).collect();
        let inside = storm(&engine, Door::Request, &who, 4102);
        for source in 0..20 {
            assert_eq!(inside[&source].len(), 10, "{placement} address {source}");
        }
        // Those who have not said who they are count, too.
        let (_, stranger) = (0, engine.socket_from(address(0)));
        let mut stranger = stranger;
        stranger.write_all(&request(Door::FirstFrame, "x")).unwrap();
        assert_eq!(outcome(stranger).err(), Some(4102));
    }
}

#[test]
fn contract_d22_new_connections_per_second_are_counted_for_the_node() {
    let mut config = config(SHARDS, PlacementRule::Accept);
    config.rates.new_connections = "10/s burst 50".parse().unwrap();
    let engine = TestEngine::start(config);
    let (admitted, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..25 {
                    let mut stream = engine.socket();
                    stream.write_all(&request(Door::Request, "")).unwrap();
                    let mut answer = [0; 512];
                    let len = stream.read(&mut answer).unwrap();
                    let answer = String::from_utf8_lossy(&answer[..len]).into_owned();
                    if answer.starts_with("HTTP/1.1 101 ") {
                        admitted.fetch_add(1, Ordering::Relaxed);
                    } else {
                        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
                        assert!(answer.contains("Retry-After: 1\r\n"), "{answer}");
                        refused.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let took = begin.elapsed().as_secs_f64();
    let (admitted, refused) = (admitted.into_inner(), refused.into_inner());
    assert_eq!(admitted + refused, 200);
    let most = 50 + (took * 10.0).ceil() as usize;
    assert!((50..=most).contains(&admitted), "{admitted} in {took} s");
    std::thread::sleep(Duration::from_millis(150));
    engine.client("/ws");
}

#[test]
fn contract_w6_messages_beyond_the_rate_are_refused_and_who_goes_on_is_closed() {
    let mut config = config(2, PlacementRule::Accept);
    config.rates.connection_messages = "1/h burst 3".parse().unwrap();
    config.rates.refused_messages = "5/h".parse().unwrap();
    let engine = TestEngine::start(config);
    let mut client = engine.client("/ws?hello=1");
    let hello = client.receive();
    assert!(hello["limits"]["messagesPerSecond"].as_f64().unwrap() > 0.0);
    let refusal = json!({"type": "error", "error": "Rate limit exceeded", "code": 102, "temporary": true, "id": 7});
    for _ in 0..3 {
        assert_eq!(client.ask(&json!({"type": "ping"}))["type"], "pong");
    }
    for _ in 0..5 {
        assert_eq!(client.ask(&json!({"type": "ping", "id": 7})), refusal);
    }
    client.send(&json!({"type": "ping"}));
    assert_eq!(client.read_close(), (4104, "too many messages".to_owned()));
    // Others have their own.
    assert_eq!(
        engine.client("/ws").ask(&json!({"type": "ping"}))["type"],
        "pong"
    );
}

#[test]
fn contract_d22_a_user_has_one_rate_on_all_its_connections() {
    for placement in [PlacementRule::UserHash, PlacementRule::Accept] {
        let mut config = config(SHARDS, placement);
        config.rates.user_messages = "1/h burst 20".parse().unwrap();
        let engine = TestEngine::start(config);
        let mut clients: Vec<_> = (0..8).map(|_| engine.client("/ws?user=ann")).collect();
        let mut answered = 0;
        for client in &mut clients {
            for _ in 0..10 {
                let answer = client.ask(&json!({"type": "ping"}));
                answered += usize::from(answer["type"] == "pong");
            }
        }
        // Exact where all live on one shard; a burst for each further shard is what is promised otherwise.
        let most = match placement {
            PlacementRule::UserHash => 20,
            _ => 20 * SHARDS,
        };
        println!("{placement}: {answered} of 80 messages at a burst of 20");
        assert!((20..=most).contains(&answered), "{placement}: {answered}");
        // And it is paid back: nobody has anything left, on no shard.
        std::thread::sleep(Duration::from_millis(200));
        for client in &mut clients {
            assert_eq!(client.ask(&json!({"type": "ping"}))["code"], 102);
        }
    }
}

#[test]
fn messages_from_outside_are_bounded_too() {
    let mut config = config(1, PlacementRule::Accept);
    config.connections.max_outgoing_message_size = Some("1KiB".parse().unwrap());
    let engine = TestEngine::start(config);
    let (fits, exceeds) = ("x".repeat(1022), "x".repeat(1023));
    engine.0.publish("c", &fits).unwrap();
    let error = engine.0.publish("c", &exceeds).unwrap_err();
    assert!(error.to_string().contains("1025 bytes"), "{error}");
    assert!(
        engine
            .0
            .broadcast(&exceeds, &shardwire::Audience::Everyone)
            .is_err()
    );
}
