//! 1,000 seeded runs of a pool whose world breaks: backends refuse, hang, cut, fall silent and come back, while users
//! acquire, cancel, hold, release and discard. Under tokio's paused clock, so a run is the same each time.
//!
//! Checked: the pool's own invariants after every change (`sound`, in debug builds); never more than the maximum, also as the
//! servers count it; nobody who waits is forgotten; every event once and in order; nothing left at the end.
//!
//! `POOL_SEED=17 cargo test -p shardwire-client --test pool_seeded` runs one seed.
#![allow(clippy::unwrap_used)]

mod support;

use rand::{RngExt, SeedableRng, rngs::StdRng};
use shardwire_client::{
    AcquireError, Backend, BreakerState, CircuitBreaker, EvictionPolicy, HealthCheck,
    LoadBalancing, PoolEvent, PoolEvents, PoolOptions, WebSocketPool,
};
use shardwire_protocol::websocket::frame::Kind;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{Heard, Memory, Peer, options, refused};
use tokio::io::DuplexStream;
use tokio::sync::watch;
use tokio::time::{self, Instant};

const BACKENDS: [&str; 3] = ["a", "b", "c"];
/// How long the world breaks; afterwards all is well.
const TROUBLE: Duration = Duration::from_secs(40);
/// Longer than the trouble and all that waits behind it: whoever times out was forgotten.
const PATIENCE: Duration = Duration::from_secs(150);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Well,
    /// Refuses connections.
    Down,
    /// Accepts, and never answers the upgrade.
    Stuck,
    /// Answers nothing on open connections.
    Deaf,
    /// Says "not now".
    Full,
    /// Answers the upgrade with nonsense.
    Mad,
}

struct World {
    mood: BTreeMap<String, Mood>,
    slow: Duration,
    open: usize,
    most_open: usize,
}

struct Outside {
    world: Mutex<World>,
    /// A new number cuts every connection of that backend.
    cuts: BTreeMap<String, watch::Sender<u32>>,
}

async fn serve(outside: Arc<Outside>, host: String, stream: DuplexStream) {
    let mood = || outside.world.lock().unwrap().mood[&host];
    match mood() {
        Mood::Stuck => {
            let _kept = stream;
            time::sleep(Duration::from_secs(3600)).await;
            return;
        }
        Mood::Full => {
            return Peer::refuse(stream, "HTTP/1.1 503 Full\r\nRetry-After: 1\r\n\r\n").await;
        }
        Mood::Mad => return Peer::refuse(stream, "HTTP/1.1 200 Fine\r\n\r\n").await,
        Mood::Well | Mood::Down | Mood::Deaf => {}
    }
    let mut cut = outside.cuts[&host].subscribe();
    cut.mark_unchanged();
    let Some(mut peer) = Peer::try_accept(stream).await else {
        return;
    };
    {
        let mut world = outside.world.lock().unwrap();
        world.open += 1;
        world.most_open = world.most_open.max(world.open);
    }
    loop {
        let heard = tokio::select! {
            biased;
            _ = cut.changed() => break,
            heard = peer.hear() => heard,
        };
        if mood() == Mood::Deaf {
            if heard == Heard::End {
                break;
            }
            continue;
        }
        let said = match heard {
            Heard::Text(text) => peer.text(&text).await,
            Heard::Ping(payload) => peer.say(Kind::Pong, &payload).await,
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
    outside.world.lock().unwrap().open -= 1;
}

/// Follows the events of every backend: each must be possible after the one before.
async fn follow(mut events: PoolEvents) -> BTreeMap<String, (bool, BreakerState)> {
    let mut known: BTreeMap<String, (bool, BreakerState)> = BACKENDS
        .iter()
        .map(|id| ((*id).to_owned(), (true, BreakerState::Closed)))
        .collect();
    while let Some(event) = events.next().await {
        let (healthy, breaker) = known.get_mut(event.backend()).unwrap();
        match &event {
            PoolEvent::BackendHealthy { .. } => {
                assert!(!std::mem::replace(healthy, true), "{event:?}")
            }
            PoolEvent::BackendUnhealthy { .. } => {
                assert!(std::mem::replace(healthy, false), "{event:?}")
            }
            PoolEvent::BreakerOpened { .. } => {
                assert_ne!(
                    std::mem::replace(breaker, BreakerState::Open),
                    BreakerState::Open
                );
            }
            PoolEvent::BreakerHalfOpened { .. } => {
                assert_eq!(
                    std::mem::replace(breaker, BreakerState::HalfOpen),
                    BreakerState::Open
                );
            }
            PoolEvent::BreakerClosed { .. } => {
                assert_eq!(
                    std::mem::replace(breaker, BreakerState::Closed),
                    BreakerState::HalfOpen
                );
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(events.missed(), 0);
    known
}

/// What a run has seen, so that a run in which nothing happens is noticed.
#[derive(Debug, Default)]
struct Seen {
    acquired: u64,
    waited: u64,
    cancelled: u64,
    unavailable: u64,
    longest: Duration,
}

async fn user(pool: WebSocketPool, mut random: StdRng, until: Instant, max_hold: u64) -> Seen {
    let mut seen = Seen::default();
    while Instant::now() < until {
        let begin = Instant::now();
        let key = random.random_range(0..50u32).to_string();
        let patience = match random.random_range(0..3) {
            0 => Duration::from_millis(random.random_range(0..500)),
            _ => Duration::MAX,
        };
        let acquired = match time::timeout(patience, pool.acquire_for(&key)).await {
            Err(_) => {
                seen.cancelled += 1;
                continue;
            }
            Ok(acquired) => acquired,
        };
        match acquired {
            Ok(mut connection) => {
                let waited = begin.elapsed();
                seen.acquired += 1;
                seen.waited += u64::from(!waited.is_zero());
                seen.longest = seen.longest.max(waited);
                if random.random_bool(0.5) {
                    let _ = connection.send("hello").await;
                    let _ = time::timeout(Duration::from_millis(50), connection.receive()).await;
                }
                time::sleep(Duration::from_millis(random.random_range(0..max_hold))).await;
                if random.random_bool(0.1) {
                    connection.discard();
                }
            }
            Err(AcquireError::Unavailable { .. }) => {
                seen.unavailable += 1;
                time::sleep(Duration::from_millis(random.random_range(1..500))).await;
            }
            Err(error) => panic!(
                "somebody who waited was forgotten: {error}; {:?}",
                pool.counts()
            ),
        }
    }
    seen
}

async fn run(seed: u64) -> Seen {
    let mut random = StdRng::seed_from_u64(seed);
    let outside = Arc::new(Outside {
        world: Mutex::new(World {
            mood: BACKENDS
                .iter()
                .map(|id| ((*id).to_owned(), Mood::Well))
                .collect(),
            slow: Duration::ZERO,
            open: 0,
            most_open: 0,
        }),
        cuts: BACKENDS
            .iter()
            .map(|id| ((*id).to_owned(), watch::Sender::new(0)))
            .collect(),
    });
    let (gate, inside) = (outside.clone(), outside.clone());
    let server = Memory::gated(
        move |target| {
            let world = gate.world.lock().unwrap();
            match world.mood[&target.host] {
                Mood::Down => Err(refused()),
                _ => Ok(world.slow),
            }
        },
        move |target, stream| serve(inside.clone(), target.host, stream),
    );
    let max = random.random_range(1..=8);
    let strategies = [
        LoadBalancing::RoundRobin,
        LoadBalancing::LeastConnections,
        LoadBalancing::WeightedRoundRobin,
        LoadBalancing::IpHash,
    ];
    let mut connect = options(server);
    connect.connect_timeout = Duration::from_secs(3);
    connect.close_timeout = Duration::from_secs(1);
    let check = random.random_bool(0.5);
    let pool = WebSocketPool::new(PoolOptions {
        max_connections: max,
        min_connections: random.random_range(0..=max),
        acquire_timeout: PATIENCE,
        idle_timeout: Duration::from_secs(random.random_range(1..20)),
        validate_on_checkout: random.random_bool(0.5),
        load_balancing: strategies[random.random_range(0..4)],
        backends: BACKENDS
            .iter()
            .map(|id| Backend::new(*id, format!("ws://{id}/")).weight(random.random_range(1..4)))
            .collect(),
        health_check: HealthCheck {
            enabled: check,
            interval: Duration::from_secs(random.random_range(1..5)),
            timeout: Duration::from_secs(2),
            path: None,
            unhealthy_threshold: random.random_range(1..4),
            healthy_threshold: random.random_range(1..3),
        },
        circuit_breaker: CircuitBreaker {
            enabled: random.random_bool(0.8),
            failure_threshold: random.random_range(1..6),
            recovery_timeout: Duration::from_secs(random.random_range(1..10)),
        },
        eviction_policy: EvictionPolicy {
            interval: Duration::from_secs(random.random_range(1..10)),
            ..EvictionPolicy::default()
        },
        slow_start: Duration::from_secs(random.random_range(0..10)),
        seed: Some(seed),
        connect,
        ..PoolOptions::default()
    })
    .unwrap();
    let followed = tokio::spawn(follow(pool.events()));

    let begin = Instant::now();
    let users: Vec<_> = (0..random.random_range(4..16))
        .map(|_| {
            let random = StdRng::seed_from_u64(random.random());
            tokio::spawn(user(
                pool.clone(),
                random,
                begin + TROUBLE + Duration::from_secs(10),
                1500,
            ))
        })
        .collect();
    while begin.elapsed() < TROUBLE {
        time::sleep(Duration::from_millis(random.random_range(1..3000))).await;
        let host = BACKENDS[random.random_range(0..3)];
        let mood = [
            Mood::Well,
            Mood::Well,
            Mood::Well,
            Mood::Down,
            Mood::Down,
            Mood::Stuck,
            Mood::Deaf,
            Mood::Full,
            Mood::Mad,
        ][random.random_range(0..9)];
        {
            let mut world = outside.world.lock().unwrap();
            world.mood.insert(host.into(), mood);
            world.slow = Duration::from_millis([0, 0, 10, 300, 2500][random.random_range(0..5)]);
        }
        if mood == Mood::Down || random.random_bool(0.3) {
            outside.cuts[host].send_modify(|number| *number += 1);
        }
        let counts = pool.counts();
        assert!(counts.total() <= max, "{counts:?}");
    }
    {
        let mut world = outside.world.lock().unwrap();
        world.slow = Duration::ZERO;
        for mood in world.mood.values_mut() {
            *mood = Mood::Well;
        }
    }
    let mut seen = Seen::default();
    for user in users {
        let one = user.await.unwrap();
        seen.acquired += one.acquired;
        seen.waited += one.waited;
        seen.cancelled += one.cancelled;
        seen.unavailable += one.unavailable;
        seen.longest = seen.longest.max(one.longest);
    }
    // All is well and nobody uses it: every backend is used again, and what is idle is what the servers have open.
    time::sleep(Duration::from_secs(30)).await;
    let status = pool.health_status();
    assert!(status.values().all(|backend| backend.healthy), "{status:?}");
    assert!(
        status
            .values()
            .all(|backend| backend.breaker == BreakerState::Closed),
        "{status:?}"
    );
    let mut backends = std::collections::BTreeSet::new();
    for number in 0..100 {
        let connection = pool.acquire_for(number.to_string()).await.unwrap();
        backends.insert(connection.backend().to_owned());
    }
    assert!(
        backends.len() == 3 || max < 3,
        "{backends:?} of {max}, {:?}: {:?}",
        pool.counts(),
        pool.health_status()
    );
    time::sleep(Duration::from_secs(2)).await;
    let counts = pool.counts();
    assert_eq!(
        (
            counts.active,
            counts.waiting,
            counts.opening,
            counts.closing
        ),
        (0, 0, 0, 0)
    );
    // Health checks have connections of their own, which the servers count, too.
    if !check {
        let world = outside.world.lock().unwrap();
        assert_eq!(world.open, counts.idle);
        assert!(world.most_open <= max, "{} of {max}", world.most_open);
    }
    let status = pool.health_status();
    pool.close().await;
    assert_eq!(pool.counts().total(), 0);
    for (id, (healthy, breaker)) in followed.await.unwrap() {
        assert_eq!(
            (healthy, breaker),
            (status[&id].healthy, status[&id].breaker)
        );
    }
    seen
}

fn seeds(from: u64, to: u64) {
    let one = std::env::var("POOL_SEED")
        .ok()
        .map(|seed| seed.parse().unwrap());
    let mut all = Seen::default();
    for seed in one.map_or(from..to, |seed: u64| seed..seed + 1) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let result =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.block_on(run(seed))));
        let Ok(seen) = result else {
            panic!("seed {seed} failed");
        };
        all.acquired += seen.acquired;
        all.waited += seen.waited;
        all.cancelled += seen.cancelled;
        all.unavailable += seen.unavailable;
        all.longest = all.longest.max(seen.longest);
    }
    println!("{all:?}");
    if one.is_none() {
        // The runs are no walk in the park.
        assert!(
            all.waited > 10_000 && all.cancelled > 1_000 && all.unavailable > 100,
            "{all:?}"
        );
    }
}

#[test]
fn seeds_0_to_249() {
    seeds(0, 250);
}

#[test]
fn seeds_250_to_499() {
    seeds(250, 500);
}

#[test]
fn seeds_500_to_749() {
    seeds(500, 750);
}

#[test]
fn seeds_750_to_999() {
    seeds(750, 1000);
}
