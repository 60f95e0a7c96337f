//! The pool, one test for each id of the contract (P1 to P25), under tokio's paused clock.
#![allow(clippy::unwrap_used)]

mod support;

use futures_util::StreamExt;
use shardwire_client::{
    AcquireError, Backend, BreakerState, CircuitBreaker, ConnectError, EvictionPolicy, HealthCheck,
    LoadBalancing, Message, PoolEvent, PoolOptions, WebSocketPool,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{Heard, Memory, Peer, options, refused};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::{self, Instant};

/// What the world outside does to each backend, by its host.
#[derive(Default)]
struct World {
    down: BTreeSet<String>,
    /// `/health` answers this; 200 unless told otherwise.
    health: BTreeMap<String, u16>,
    /// Pings are not answered.
    deaf: BTreeSet<String>,
    delay: Duration,
    open: BTreeMap<String, usize>,
    most_open: usize,
    opened: BTreeMap<String, usize>,
    pings: usize,
}

type Outside = Arc<Mutex<World>>;

fn world() -> (Outside, Arc<Memory>) {
    let outside = Outside::default();
    let (gate, inside) = (outside.clone(), outside.clone());
    let server = Memory::gated(
        move |target| {
            let world = gate.lock().unwrap();
            match world.down.contains(&target.host) {
                true => Err(refused()),
                false => Ok(world.delay),
            }
        },
        move |target, stream| serve(inside.clone(), target.host, stream),
    );
    (outside, server)
}

async fn serve(outside: Outside, host: String, mut stream: DuplexStream) {
    let mut first = [0; 5];
    // Health checks and upgrades both come as GET; the path tells them apart.
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    first.copy_from_slice(&head[4..9]);
    if &first == b"/heal" {
        let status = *outside.lock().unwrap().health.get(&host).unwrap_or(&200);
        time::sleep(Duration::from_millis(45)).await;
        let _ = stream
            .write_all(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n").as_bytes())
            .await;
        return;
    }
    // The upgrade was read already: a second stream gives it to the peer again.
    let (mut replay, inner) = tokio::io::duplex(support::STREAM_BYTES);
    replay.write_all(&head).await.unwrap();
    let pipe = async move {
        let _ = tokio::io::copy_bidirectional(&mut stream, &mut replay).await;
    };
    let talk = async move {
        let mut peer = Peer::accept(inner).await;
        {
            let mut world = outside.lock().unwrap();
            *world.open.entry(host.clone()).or_default() += 1;
            *world.opened.entry(host.clone()).or_default() += 1;
            let open = world.open.values().sum();
            world.most_open = world.most_open.max(open);
        }
        loop {
            let said = match peer.hear().await {
                Heard::Text(text) => peer.text(&text).await,
                Heard::Ping(payload) => {
                    let deaf = {
                        let mut world = outside.lock().unwrap();
                        world.pings += 1;
                        world.deaf.contains(&host)
                    };
                    match deaf {
                        true => Ok(()),
                        false => {
                            peer.say(shardwire_protocol::websocket::frame::Kind::Pong, &payload)
                                .await
                        }
                    }
                }
                Heard::Close(_) => {
                    let _ = peer.close(1000, "").await;
                    break;
                }
                Heard::End => break,
                _ => Ok(()),
            };
            if said.is_err() {
                break;
            }
        }
        *outside.lock().unwrap().open.get_mut(&host).unwrap() -= 1;
    };
    tokio::join!(pipe, talk);
}

fn backends(ids: &[&str]) -> Vec<Backend> {
    ids.iter()
        .map(|id| Backend::new(*id, format!("ws://{id}/ws")))
        .collect()
}

/// Nothing that runs by itself: no health checks, no connections ahead, no slow start.
fn quiet(server: Arc<Memory>, ids: &[&str]) -> PoolOptions {
    PoolOptions {
        min_connections: 0,
        backends: backends(ids),
        health_check: HealthCheck {
            enabled: false,
            ..HealthCheck::default()
        },
        slow_start: Duration::ZERO,
        connect: options(server),
        seed: Some(7),
        ..PoolOptions::default()
    }
}

async fn settle() {
    time::sleep(Duration::from_millis(50)).await;
}

fn count<'a>(ids: impl Iterator<Item = &'a str>) -> BTreeMap<&'a str, usize> {
    let mut counts = BTreeMap::new();
    for id in ids {
        *counts.entry(id).or_default() += 1;
    }
    counts
}

#[tokio::test(start_paused = true)]
async fn p1_never_more_than_max_connections() {
    assert_eq!(PoolOptions::default().max_connections, 100);
    let (outside, server) = world();
    let pool = WebSocketPool::new(PoolOptions {
        max_connections: 5,
        ..quiet(server, &["a", "b"])
    })
    .unwrap();
    let mut users = Vec::new();
    for _ in 0..200 {
        let pool = pool.clone();
        users.push(tokio::spawn(async move {
            let connection = pool.acquire().await.unwrap();
            time::sleep(Duration::from_millis(10)).await;
            assert!(pool.counts().total() <= 5);
            drop(connection);
        }));
    }
    for user in users {
        user.await.unwrap();
    }
    assert_eq!(outside.lock().unwrap().most_open, 5);
    let invalid = PoolOptions {
        max_connections: 0,
        ..PoolOptions::default()
    };
    let faults = WebSocketPool::new(invalid).unwrap_err().to_string();
    assert!(
        faults.contains("max_connections must be at least 1"),
        "{faults}"
    );
    assert!(
        faults.contains("min_connections must not exceed"),
        "{faults}"
    );
}

#[tokio::test(start_paused = true)]
async fn p2_min_connections_are_opened_ahead_and_kept() {
    assert_eq!(PoolOptions::default().min_connections, 10);
    let (outside, server) = world();
    let pool = WebSocketPool::new(PoolOptions {
        min_connections: 6,
        ..quiet(server, &["a", "b", "c"])
    })
    .unwrap();
    settle().await;
    assert_eq!(pool.idle_count(), 6);
    assert_eq!(
        outside
            .lock()
            .unwrap()
            .open
            .values()
            .copied()
            .collect::<Vec<_>>(),
        [2, 2, 2]
    );
    for _ in 0..3 {
        pool.acquire().await.unwrap().discard();
    }
    settle().await;
    assert_eq!(pool.idle_count(), 6);
    // Not even age takes the minimum away.
    time::sleep(Duration::from_secs(1000)).await;
    assert_eq!(pool.idle_count(), 6);
}

#[tokio::test(start_paused = true)]
async fn p3_acquire_waits_at_most_acquire_timeout() {
    assert_eq!(
        PoolOptions::default().acquire_timeout,
        Duration::from_secs(30)
    );
    let (_, server) = world();
    let pool = WebSocketPool::new(PoolOptions {
        max_connections: 1,
        ..quiet(server, &["a"])
    })
    .unwrap();
    let _held = pool.acquire().await.unwrap();
    let begin = Instant::now();
    let error = pool.acquire().await.unwrap_err();
    assert_eq!(begin.elapsed(), Duration::from_secs(30));
    assert!(
        matches!(
            error,
            AcquireError::TimedOut {
                active: 1,
                waiting: 0,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(pool.waiting_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn p4_idle_timeout_closes_what_is_not_used() {
    assert_eq!(
        PoolOptions::default().idle_timeout,
        Duration::from_secs(300)
    );
    let (outside, server) = world();
    let pool = WebSocketPool::new(PoolOptions {
        idle_timeout: Duration::from_secs(60),
        ..quiet(server, &["a"])
    })
    .unwrap();
    let held = [pool.acquire().await.unwrap(), pool.acquire().await.unwrap()];
    drop(held);
    time::sleep(Duration::from_secs(59)).await;
    assert_eq!(pool.idle_count(), 2);
    // The next sweep, at most one interval later (D12).
    time::sleep(Duration::from_secs(32)).await;
    assert_eq!((pool.idle_count(), pool.counts().total()), (0, 0));
    assert_eq!(outside.lock().unwrap().open["a"], 0);
}

#[tokio::test(start_paused = true)]
async fn p5_validate_on_checkout_pings_what_was_used_before() {
    assert!(PoolOptions::default().validate_on_checkout);
    for validate in [true, false] {
        let (outside, server) = world();
        let pool = WebSocketPool::new(PoolOptions {
            validate_on_checkout: validate,
            ..quiet(server, &["a", "b"])
        })
        .unwrap();
        for _ in 0..2 {
            pool.acquire().await.unwrap();
        }
        assert_eq!(outside.lock().unwrap().pings, 0, "a new one needs no ping");
        let first = pool.acquire().await.unwrap();
        assert_eq!((first.backend(), first.is_reused()), ("a", true));
        drop(first);
        assert_eq!(outside.lock().unwrap().pings, usize::from(validate));
        // b does not answer any more: it is noticed, and the acquire is served all the same.
        outside.lock().unwrap().deaf.insert("b".into());
        let second = pool.acquire().await.unwrap();
        assert_eq!(second.is_reused(), !validate || second.backend() == "a");
        drop(second);
        let left = outside.lock().unwrap().open.values().sum::<usize>();
        assert!(left >= 1);
    }
}

#[tokio::test(start_paused = true)]
async fn p6_load_balancing_round_robin() {
    assert_eq!(
        PoolOptions::default().load_balancing,
        LoadBalancing::RoundRobin
    );
    let (_, server) = world();
    let pool = WebSocketPool::new(quiet(server, &["a", "b", "c"])).unwrap();
    let mut order = Vec::new();
    for _ in 0..9 {
        order.push(pool.acquire().await.unwrap().backend().to_owned());
    }
    assert_eq!(order.concat(), "abcabcabc");
}

#[tokio::test(start_paused = true)]
async fn p6_load_balancing_least_connections() {
    let (_, server) = world();
    let pool = WebSocketPool::new(PoolOptions {
        load_balancing: LoadBalancing::LeastConnections,
        ..quiet(server, &["a", "b", "c"])
    })
    .unwrap();
    let mut held = Vec::new();
    for _ in 0..30 {
        held.push(pool.acquire().await.unwrap());
    }
    let counts = count(held.iter().map(|connection| connection.backend()));
    assert_eq!(counts, BTreeMap::from([("a", 10), ("b", 10), ("c", 10)]));
    // b is relieved: the next ones go there.
    held.retain(|connection| connection.backend() != "b");
    for _ in 0..10 {
        let next = pool.acquire().await.unwrap();
        assert_eq!(next.backend(), "b");
        held.push(next);
    }
}

#[tokio::test(start_paused = true)]
async fn p6_load_balancing_ip_hash_moves_only_the_lost_keys() {
    let (outside, server) = world();
    let pool = WebSocketPool::new(PoolOptions {
        load_balancing: LoadBalancing::IpHash,
        validate_on_checkout: false,
        max_connections: 4,
        ..quiet(server, &["a", "b", "c"])
    })
    .unwrap();
    let keys: Vec<String> = (0..300)
        .map(|number| format!("10.1.{}.{number}", number % 7))
        .collect();
    let mut homes = BTreeMap::new();
    for _ in 0..2 {
        for key in &keys {
            let backend = pool.acquire_for(key).await.unwrap().backend().to_owned();
            let home = homes.entry(key.clone()).or_insert(backend.clone());
            assert_eq!(*home, backend);
        }
    }
    let counts = count(homes.values().map(String::as_str));
    assert!(
        counts.values().all(|count| (70..130).contains(count)),
        "{counts:?}"
    );
    assert!(pool.remove_backend("b"));
    for (key, home) in &homes {
        let now = pool.acquire_for(key).await.unwrap().backend().to_owned();
        assert!(
            now == *home || home == "b",
            "{key} moved from {home} to {now}"
        );
    }
    // And when it comes back under its name, its keys come back.
    pool.add_backend(&Backend::new("b", "ws://b/ws")).unwrap();
    for (key, home) in &homes {
        assert_eq!(pool.acquire_for(key).await.unwrap().backend(), home);
    }
    assert!(outside.lock().unwrap().most_open <= 4);
}

#[tokio::test(start_paused = true)]
async fn p7_backends_with_weights_2_1_1_get_2000_1000_1000_of_4000() {
    let (outside, server) = world();
    let weighted = |server| PoolOptions {
        load_balancing: LoadBalancing::WeightedRoundRobin,
        backends: vec![
            Backend::new("ws-1", "ws://ws-1/ws").weight(2),
            Backend::new("ws-2", "ws://ws-2/ws"),
            Backend::new("ws-3", "ws://ws-3/ws"),
        ],
        ..quiet(server, &[])
    };
    let pool = WebSocketPool::new(weighted(server.clone())).unwrap();
    let mut backends = Vec::new();
    for _ in 0..4000 {
        backends.push(pool.acquire().await.unwrap().backend().to_owned());
    }
    let exact = BTreeMap::from([("ws-1", 2000), ("ws-2", 1000), ("ws-3", 1000)]);
    assert_eq!(count(backends.iter().map(String::as_str)), exact);
    // One after the other, one connection for each is enough.
    assert_eq!(pool.counts().total(), 3);
    pool.close().await;

    // The same with all of them held at once, and connections opened ahead.
    let pool = WebSocketPool::new(PoolOptions {
        max_connections: 400,
        min_connections: 10,
        ..weighted(server)
    })
    .unwrap();
    let mut held = Vec::new();
    for _ in 0..400 {
        held.push(pool.acquire().await.unwrap());
    }
    let counts = count(held.iter().map(|connection| connection.backend()));
    assert_eq!(
        counts,
        BTreeMap::from([("ws-1", 200), ("ws-2", 100), ("ws-3", 100)])
    );
    assert_eq!(outside.lock().unwrap().most_open, 400);
}

#[tokio::test(start_paused = true)]
async fn p8_health_checks_can_be_disabled() {
    assert!(HealthCheck::default().enabled);
    let (outside, server) = world();
    outside.lock().unwrap().health.insert("a".into(), 500);
    let pool = WebSocketPool::new(quiet(server, &["a"])).unwrap();
    time::sleep(Duration::from_secs(1000)).await;
    let status = &pool.health_status()["a"];
    assert!(status.healthy && status.last_check.is_none());
}

/// A pool with the checks of the contract's defaults, and what it tells.
fn checked(server: Arc<Memory>, ids: &[&str]) -> WebSocketPool {
    WebSocketPool::new(PoolOptions {
        health_check: HealthCheck::default(),
        ..quiet(server, ids)
    })
    .unwrap()
}

#[tokio::test(start_paused = true)]
async fn p9_health_checks_come_every_interval() {
    assert_eq!(HealthCheck::default().interval, Duration::from_secs(30));
    let (outside, server) = world();
    let pool = checked(server, &["a"]);
    settle().await;
    settle().await;
    assert!(
        pool.health_status()["a"].last_check.is_some(),
        "the first one at once"
    );
    outside.lock().unwrap().health.insert("a".into(), 503);
    let mut events = pool.events();
    let begin = Instant::now();
    events.next().await.unwrap();
    // Failures at 30, 60 and 90 s; each check takes 45 ms here.
    assert!((Duration::from_secs(89)..Duration::from_secs(91)).contains(&begin.elapsed()));
}

#[tokio::test(start_paused = true)]
async fn p10_a_health_check_that_takes_too_long_has_failed() {
    assert_eq!(HealthCheck::default().timeout, Duration::from_secs(5));
    let (outside, server) = world();
    let pool = checked(server, &["a"]);
    settle().await;
    outside.lock().unwrap().delay = Duration::from_secs(6);
    let mut events = pool.events();
    let Some(PoolEvent::BackendUnhealthy { error, .. }) = events.next().await else {
        panic!("not unhealthy");
    };
    assert_eq!(error, "no answer within 5s");
}

#[tokio::test(start_paused = true)]
async fn p11_the_health_path_or_a_websocket_ping() {
    assert_eq!(HealthCheck::default().path.as_deref(), Some("/health"));
    let (outside, server) = world();
    outside.lock().unwrap().health.insert("a".into(), 404);
    outside.lock().unwrap().deaf.insert("b".into());
    let pool = checked(server.clone(), &["a", "b"]);
    time::sleep(Duration::from_secs(70)).await;
    let status = pool.health_status();
    assert_eq!((status["a"].healthy, status["b"].healthy), (false, true));
    assert_eq!(
        status["a"].last_error.as_deref(),
        Some("/health: HTTP status 404")
    );
    // By WebSocket ping it is the other way round.
    let pool = WebSocketPool::new(PoolOptions {
        health_check: HealthCheck {
            path: None,
            ..HealthCheck::default()
        },
        ..quiet(server, &["a", "b"])
    })
    .unwrap();
    time::sleep(Duration::from_secs(70)).await;
    let status = pool.health_status();
    assert_eq!((status["a"].healthy, status["b"].healthy), (true, false));
    assert_eq!(
        pool.counts().total(),
        0,
        "checks have connections of their own"
    );
    settle().await;
    assert_eq!(outside.lock().unwrap().open["a"], 0, "and close them");
}

#[tokio::test(start_paused = true)]
async fn p12_three_failures_make_a_backend_unhealthy() {
    assert_eq!(HealthCheck::default().unhealthy_threshold, 3);
    let (outside, server) = world();
    let pool = checked(server, &["a", "b"]);
    drop([pool.acquire().await.unwrap(), pool.acquire().await.unwrap()]);
    settle().await;
    // Two failures, a success, two failures: still healthy.
    for status in [500, 500, 200, 500, 500] {
        outside.lock().unwrap().health.insert("a".into(), status);
        time::sleep(Duration::from_secs(30)).await;
        assert!(pool.health_status()["a"].healthy);
    }
    time::sleep(Duration::from_secs(30)).await;
    let status = &pool.health_status()["a"];
    assert!(!status.healthy && status.idle == 0);
    for _ in 0..4 {
        assert_eq!(pool.acquire().await.unwrap().backend(), "b");
    }
}

#[tokio::test(start_paused = true)]
async fn p13_two_successes_make_it_healthy_again() {
    assert_eq!(HealthCheck::default().healthy_threshold, 2);
    let (outside, server) = world();
    outside.lock().unwrap().health.insert("a".into(), 500);
    let pool = checked(server, &["a"]);
    time::sleep(Duration::from_secs(61)).await;
    assert!(!pool.health_status()["a"].healthy);
    let error = pool.acquire().await.unwrap_err();
    assert!(
        matches!(&error, AcquireError::Unavailable { reasons } if reasons[0].contains("500")),
        "{error}"
    );
    outside.lock().unwrap().health.insert("a".into(), 204);
    time::sleep(Duration::from_secs(30)).await;
    assert!(!pool.health_status()["a"].healthy);
    time::sleep(Duration::from_secs(30)).await;
    assert!(pool.health_status()["a"].healthy);
    pool.acquire().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn p14_without_a_breaker_a_backend_is_tried_again_and_again() {
    assert!(CircuitBreaker::default().enabled);
    let (outside, server) = world();
    outside.lock().unwrap().down.insert("a".into());
    let pool = WebSocketPool::new(PoolOptions {
        circuit_breaker: CircuitBreaker {
            enabled: false,
            ..CircuitBreaker::default()
        },
        ..quiet(server, &["a"])
    })
    .unwrap();
    let begin = Instant::now();
    let error = pool.acquire().await.unwrap_err();
    assert!(
        error.to_string().contains("last error: a: cannot connect"),
        "{error}"
    );
    assert_eq!(begin.elapsed(), Duration::from_secs(30));
    assert_eq!(pool.health_status()["a"].breaker, BreakerState::Closed);
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { pool.acquire().await.map(drop) }
    });
    time::sleep(Duration::from_secs(10)).await;
    outside.lock().unwrap().down.clear();
    waiting.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn p15_five_failures_open_the_breaker() {
    assert_eq!(CircuitBreaker::default().failure_threshold, 5);
    let (outside, server) = world();
    outside.lock().unwrap().down.insert("a".into());
    let pool = WebSocketPool::new(quiet(server, &["a", "b"])).unwrap();
    let mut events = pool.events();
    let begin = Instant::now();
    // Nobody notices but by the time it takes: b serves.
    let mut opened = None;
    for _ in 0..2000 {
        assert_eq!(pool.acquire().await.unwrap().backend(), "b");
        time::sleep(Duration::from_millis(5)).await;
        if pool.health_status()["a"].breaker == BreakerState::Open {
            opened = Some(begin.elapsed());
            break;
        }
    }
    assert!(opened.unwrap() < Duration::from_secs(5), "{opened:?}");
    let Some(PoolEvent::BreakerOpened { backend, error }) = events.next().await else {
        panic!("no event");
    };
    assert_eq!(&*backend, "a");
    assert!(error.contains("refused"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn p16_after_the_recovery_time_one_probe_decides() {
    assert_eq!(
        CircuitBreaker::default().recovery_timeout,
        Duration::from_secs(60)
    );
    let (outside, server) = world();
    outside.lock().unwrap().down.insert("a".into());
    let pool = WebSocketPool::new(quiet(server, &["a"])).unwrap();
    let mut events = pool.events();
    assert!(matches!(
        pool.acquire().await,
        Err(AcquireError::Unavailable { .. })
    ));
    let begin = Instant::now();
    // At once, while it is open.
    assert!(matches!(
        pool.acquire().await,
        Err(AcquireError::Unavailable { .. })
    ));
    assert!(begin.elapsed().is_zero());
    assert!(matches!(
        events.next().await,
        Some(PoolEvent::BreakerOpened { .. })
    ));
    // The first probe fails, the second opens.
    assert!(matches!(
        events.next().await,
        Some(PoolEvent::BreakerHalfOpened { .. })
    ));
    assert!(matches!(
        events.next().await,
        Some(PoolEvent::BreakerOpened { .. })
    ));
    assert_eq!(begin.elapsed().as_secs(), 60);
    outside.lock().unwrap().down.clear();
    outside.lock().unwrap().delay = Duration::from_secs(1);
    assert!(matches!(
        events.next().await,
        Some(PoolEvent::BreakerHalfOpened { .. })
    ));
    assert_eq!(begin.elapsed().as_secs(), 120);
    // While the probe is under way, everybody waits for it, and nothing else is opened.
    let users: Vec<_> = (0..10)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move { pool.acquire().await.unwrap() })
        })
        .collect();
    time::sleep(Duration::from_millis(500)).await;
    assert_eq!((pool.counts().opening, pool.waiting_count()), (1, 10));
    assert!(matches!(
        events.next().await,
        Some(PoolEvent::BreakerClosed { .. })
    ));
    let mut held = Vec::new();
    for user in users {
        held.push(user.await.unwrap());
    }
    assert_eq!(pool.active_count(), 10);
}

#[tokio::test(start_paused = true)]
async fn p17_without_the_eviction_policy_idle_timeout_still_counts() {
    assert!(EvictionPolicy::default().enabled);
    let (_, server) = world();
    let pool = WebSocketPool::new(PoolOptions {
        idle_timeout: Duration::from_secs(100),
        eviction_policy: EvictionPolicy {
            enabled: false,
            max_idle_time: Duration::from_secs(1),
            ..EvictionPolicy::default()
        },
        ..quiet(server, &["a"])
    })
    .unwrap();
    drop(pool.acquire().await.unwrap());
    time::sleep(Duration::from_secs(95)).await;
    assert_eq!(pool.idle_count(), 1);
    time::sleep(Duration::from_secs(40)).await;
    assert_eq!(pool.idle_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn p18_sweeps_come_every_interval() {
    assert_eq!(EvictionPolicy::default().interval, Duration::from_secs(30));
    let (_, server) = world();
    let pool = WebSocketPool::new(PoolOptions {
        eviction_policy: EvictionPolicy {
            interval: Duration::from_secs(500),
            max_idle_time: Duration::from_secs(10),
            ..EvictionPolicy::default()
        },
        ..quiet(server, &["a"])
    })
    .unwrap();
    drop(pool.acquire().await.unwrap());
    time::sleep(Duration::from_secs(499)).await;
    assert_eq!(pool.idle_count(), 1);
    time::sleep(Duration::from_secs(2)).await;
    assert_eq!(pool.idle_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn p19_max_idle_time_counts_when_it_is_the_smaller() {
    assert_eq!(
        EvictionPolicy::default().max_idle_time,
        Duration::from_secs(300)
    );
    let (_, server) = world();
    let pool = WebSocketPool::new(PoolOptions {
        eviction_policy: EvictionPolicy {
            max_idle_time: Duration::from_secs(40),
            ..EvictionPolicy::default()
        },
        min_connections: 1,
        ..quiet(server, &["a"])
    })
    .unwrap();
    let held: Vec<_> = [pool.acquire().await.unwrap(), pool.acquire().await.unwrap()].into();
    drop(held);
    // One of the two is used every 20 s: the other one grows old, down to the minimum.
    for _ in 0..4 {
        time::sleep(Duration::from_secs(20)).await;
        drop(pool.acquire().await.unwrap());
    }
    assert_eq!(pool.idle_count(), 1);
}

#[tokio::test(start_paused = true)]
async fn p20_acquire_and_release_in_the_order_they_came() {
    let (_, server) = world();
    let pool = WebSocketPool::new(PoolOptions {
        max_connections: 1,
        ..quiet(server, &["a"])
    })
    .unwrap();
    let first = pool.acquire().await.unwrap();
    first.send("hello").await.unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut users = Vec::new();
    for number in 0..50 {
        let (pool, order) = (pool.clone(), order.clone());
        users.push(tokio::spawn(async move {
            let mut connection = pool.acquire().await.unwrap();
            order.lock().unwrap().push(number);
            // Nothing of the one before is left on it.
            connection.send(format!("{number}")).await.unwrap();
            assert_eq!(
                connection.receive().await.unwrap(),
                Message::text(format!("{number}"))
            );
            pool.release(connection);
        }));
        tokio::task::yield_now().await;
        // Every third one gives up while it waits.
        if number % 3 == 2 {
            users.last().unwrap().abort();
        }
    }
    settle().await;
    pool.release(first);
    for user in users {
        let ended = user.await;
        assert!(ended.is_ok() || ended.is_err_and(|error| error.is_cancelled()));
    }
    let expected: Vec<i32> = (0..50).filter(|number| number % 3 != 2).collect();
    assert_eq!(*order.lock().unwrap(), expected);
    assert_eq!(
        (pool.active_count(), pool.idle_count(), pool.waiting_count()),
        (0, 1, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn p21_active_idle_and_waiting_counts() {
    let (_, server) = world();
    let pool = WebSocketPool::new(PoolOptions {
        max_connections: 2,
        ..quiet(server, &["a"])
    })
    .unwrap();
    let counts = || (pool.active_count(), pool.idle_count(), pool.waiting_count());
    assert_eq!(counts(), (0, 0, 0));
    let one = pool.acquire().await.unwrap();
    let two = pool.acquire().await.unwrap();
    assert_eq!(counts(), (2, 0, 0));
    let third = tokio::spawn({
        let pool = pool.clone();
        async move { pool.acquire().await.unwrap() }
    });
    settle().await;
    assert_eq!(counts(), (2, 0, 1));
    drop(one);
    let third = third.await.unwrap();
    assert_eq!(counts(), (2, 0, 0));
    drop((two, third));
    assert_eq!(counts(), (0, 2, 0));
    pool.acquire().await.unwrap().discard();
    settle().await;
    assert_eq!(counts(), (0, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn p22_health_status_tells_healthy_latency_and_last_check() {
    let (outside, server) = world();
    outside.lock().unwrap().health.insert("ws-2".into(), 500);
    let pool = checked(server, &["ws-1", "ws-2"]);
    time::sleep(Duration::from_secs(61)).await;
    let status = pool.health_status();
    assert_eq!(status.keys().collect::<Vec<_>>(), ["ws-1", "ws-2"]);
    assert!(status["ws-1"].healthy && !status["ws-2"].healthy);
    assert_eq!(status["ws-1"].latency.as_millis(), 45);
    assert_eq!(status["ws-2"].latency, Duration::ZERO);
    assert!(status.values().all(|backend| backend.last_check.is_some()));
}

#[tokio::test(start_paused = true)]
async fn p23_backend_healthy_is_told_once() {
    let (outside, server) = world();
    let pool = checked(server, &["a"]);
    let events = pool.events();
    outside.lock().unwrap().health.insert("a".into(), 500);
    time::sleep(Duration::from_secs(300)).await;
    outside.lock().unwrap().health.clear();
    time::sleep(Duration::from_secs(300)).await;
    pool.close().await;
    let told: Vec<PoolEvent> = events.collect().await;
    assert_eq!(told.len(), 2);
    assert_eq!(
        told[1],
        PoolEvent::BackendHealthy {
            backend: "a".into()
        }
    );
}

#[tokio::test(start_paused = true)]
async fn p24_backend_unhealthy_is_told_once_with_its_error() {
    let (outside, server) = world();
    outside.lock().unwrap().down.insert("a".into());
    let pool = checked(server, &["a", "b"]);
    let events = pool.events();
    time::sleep(Duration::from_secs(300)).await;
    pool.close().await;
    let told: Vec<PoolEvent> = events.collect().await;
    let [PoolEvent::BackendUnhealthy { backend, error }] = &told[..] else {
        panic!("{told:?}");
    };
    assert_eq!(&**backend, "a");
    assert!(error.starts_with("cannot connect"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn p25_the_example_message_goes_and_comes() {
    let (_, server) = world();
    let pool = WebSocketPool::new(quiet(server, &["a"])).unwrap();
    let mut connection = pool.acquire().await.unwrap();
    let message = r#"{"type":"message","data":"hello"}"#;
    connection.send(message).await.unwrap();
    assert_eq!(connection.receive().await.unwrap(), Message::text(message));
    pool.release(connection);
}

// ---- what the ids do not name ----

#[tokio::test(start_paused = true)]
async fn backends_come_and_go_while_the_pool_runs() {
    let (outside, server) = world();
    let pool = WebSocketPool::new(PoolOptions {
        max_connections: 4,
        ..quiet(server, &["a"])
    })
    .unwrap();
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(pool.acquire().await.unwrap());
    }
    pool.add_backend(&Backend::new("b", "ws://b/ws")).unwrap();
    assert!(pool.add_backend(&Backend::new("b", "ws://c/ws")).is_err());
    // Full, and somebody waits: what comes back of a gives way until b has its share.
    let waiting: Vec<_> = (0..4)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move { pool.acquire().await.unwrap() })
        })
        .collect();
    settle().await;
    held.clear();
    let mut now = Vec::new();
    for user in waiting {
        now.push(user.await.unwrap());
    }
    let counts = count(now.iter().map(|connection| connection.backend()));
    assert_eq!(counts, BTreeMap::from([("a", 2), ("b", 2)]));
    // One that is in use is closed when it comes back.
    assert!(pool.remove_backend("a") && !pool.remove_backend("a"));
    drop(now);
    settle().await;
    assert_eq!(outside.lock().unwrap().open["a"], 0);
    assert_eq!(pool.idle_count(), 2);
    assert_eq!(pool.health_status().keys().collect::<Vec<_>>(), ["b"]);
    pool.remove_backend("b");
    assert!(matches!(
        pool.acquire().await,
        Err(AcquireError::Unavailable { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_returns_to_a_busy_pool_starts_slowly_and_gets_its_share() {
    let (outside, server) = world();
    outside.lock().unwrap().down.insert("a".into());
    let pool = WebSocketPool::new(PoolOptions {
        max_connections: 20,
        slow_start: Duration::from_secs(10),
        circuit_breaker: CircuitBreaker {
            recovery_timeout: Duration::from_secs(5),
            ..CircuitBreaker::default()
        },
        validate_on_checkout: false,
        ..quiet(server, &["a", "b"])
    })
    .unwrap();
    // 40 users for 20 connections: somebody always waits.
    let stop = Instant::now() + Duration::from_secs(60);
    let log = Arc::new(Mutex::new(Vec::new()));
    let users: Vec<_> = (0..40)
        .map(|_| {
            let (pool, log) = (pool.clone(), log.clone());
            tokio::spawn(async move {
                while Instant::now() < stop {
                    let connection = pool.acquire().await.unwrap();
                    log.lock()
                        .unwrap()
                        .push((Instant::now(), connection.backend() == "a"));
                    time::sleep(Duration::from_millis(20)).await;
                }
            })
        })
        .collect();
    let begin = Instant::now();
    time::sleep(Duration::from_secs(20)).await;
    outside.lock().unwrap().down.clear();
    for user in users {
        user.await.unwrap();
    }
    let log = log.lock().unwrap();
    let share = |from: u64, to: u64| {
        let within = |(at, _): &&(Instant, bool)| (from..to).contains(&(*at - begin).as_secs());
        let all = log.iter().filter(within).count();
        log.iter().filter(within).filter(|(_, a)| *a).count() as f64 / all as f64
    };
    assert_eq!(share(0, 20), 0.0);
    // Back within a recovery time; little of its share at first, then half of everything.
    let back = log
        .iter()
        .find(|(_, a)| *a)
        .map(|(at, _)| (*at - begin).as_secs());
    let back = back.unwrap();
    assert!((20..=26).contains(&back), "{back}");
    assert!(share(back, back + 2) < 0.2, "{}", share(back, back + 2));
    assert!((0.45..=0.55).contains(&share(40, 60)), "{}", share(40, 60));
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_says_not_now_is_left_alone_and_its_breaker_stays_closed() {
    let (outside, server) = world();
    drop(outside);
    drop(server);
    let asked = Arc::new(Mutex::new(Vec::new()));
    let kept = asked.clone();
    let server = Memory::serve(move |_, stream| {
        kept.lock().unwrap().push(Instant::now());
        Peer::refuse(stream, "HTTP/1.1 503 Full\r\nRetry-After: 20\r\n\r\n")
    });
    let pool = WebSocketPool::new(quiet(server, &["a"])).unwrap();
    let begin = Instant::now();
    assert!(matches!(
        pool.acquire().await,
        Err(AcquireError::TimedOut { .. })
    ));
    assert_eq!(pool.health_status()["a"].breaker, BreakerState::Closed);
    let times: Vec<u64> = asked
        .lock()
        .unwrap()
        .iter()
        .map(|at| (*at - begin).as_secs())
        .collect();
    assert_eq!(times, [0, 20]);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_that_ends_is_gone_at_once() {
    let server = Memory::serve(|_, stream| async move {
        let mut peer = Peer::accept(stream).await;
        time::sleep(Duration::from_secs(10)).await;
        peer.close(4200, "draining").await.unwrap();
        peer.hear().await;
    });
    let pool = WebSocketPool::new(PoolOptions {
        validate_on_checkout: false,
        ..quiet(server, &["a"])
    })
    .unwrap();
    drop(pool.acquire().await.unwrap());
    assert_eq!(pool.idle_count(), 1);
    time::sleep(Duration::from_secs(11)).await;
    assert_eq!(pool.counts().total(), 0);
    assert!(!pool.acquire().await.unwrap().is_reused());
}

#[tokio::test(start_paused = true)]
async fn what_comes_while_a_connection_is_idle_is_not_the_next_users() {
    let server = Memory::serve(|_, stream| async move {
        let mut peer = Peer::accept(stream).await;
        // 500 messages that nobody asked for: more than any queue here holds.
        for _ in 0..500 {
            peer.text(&"x".repeat(1000)).await.unwrap();
        }
        peer.echo().await;
    });
    let pool = WebSocketPool::new(quiet(server, &["a"])).unwrap();
    drop(pool.acquire().await.unwrap());
    settle().await;
    let mut connection = pool.acquire().await.unwrap();
    assert!(connection.is_reused());
    connection.send("mine").await.unwrap();
    assert_eq!(connection.receive().await.unwrap(), Message::text("mine"));
}

#[tokio::test(start_paused = true)]
async fn closing_ends_everything() {
    let (outside, server) = world();
    let pool = WebSocketPool::new(PoolOptions {
        max_connections: 2,
        min_connections: 2,
        ..quiet(server.clone(), &["a"])
    })
    .unwrap();
    settle().await;
    let held = pool.acquire().await.unwrap();
    let other = pool.acquire().await.unwrap();
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { pool.acquire().await.map(drop) }
    });
    settle().await;
    let closing = tokio::spawn({
        let pool = pool.clone();
        async move { pool.close().await }
    });
    assert_eq!(waiting.await.unwrap(), Err(AcquireError::Closed));
    assert!(!closing.is_finished());
    drop((held, other));
    closing.await.unwrap();
    assert_eq!(outside.lock().unwrap().open["a"], 0);
    assert!(matches!(pool.acquire().await, Err(AcquireError::Closed)));
    // A pool that is only dropped leaves nothing, either.
    let pool = WebSocketPool::new(PoolOptions {
        min_connections: 5,
        ..quiet(server, &["a"])
    })
    .unwrap();
    settle().await;
    assert_eq!(outside.lock().unwrap().open["a"], 5);
    drop(pool);
    settle().await;
    assert_eq!(outside.lock().unwrap().open["a"], 0);
}

#[tokio::test(start_paused = true)]
async fn a_connector_that_panics_costs_one_attempt() {
    struct Broken(Mutex<u32>, Arc<Memory>);
    impl shardwire_client::Connector for Broken {
        fn connect<'a>(
            &'a self,
            target: &'a shardwire_client::Target,
        ) -> shardwire_client::Connecting<'a> {
            let number = {
                let mut count = self.0.lock().unwrap();
                *count += 1;
                *count
            };
            match number {
                1 => Box::pin(async { panic!("a connector of the user's own") }),
                2 => Box::pin(async { Err(ConnectError::Options("no".into())) }),
                _ => self.1.connect(target),
            }
        }
    }
    let (_, server) = world();
    let mut options = quiet(server.clone(), &["a"]);
    options.connect.connector = Some(Arc::new(Broken(Mutex::new(0), server)));
    let pool = WebSocketPool::new(options).unwrap();
    let connection = pool.acquire().await.unwrap();
    assert_eq!(pool.counts().total(), 1);
    drop(connection);
}
