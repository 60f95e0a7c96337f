//! A pool before three real servers, ours, Python's `websockets` and Node's `ws`, while one of them is killed (SIGKILL) or
//! stopped (SIGSTOP: it keeps its sockets and answers nothing) and comes back. 300 acquires a second; `POOL_RATE=2000
//! POOL_FIGURES=1`, in a release build on a quiet machine, prints the table of docs/guides/pool.md.
#![allow(clippy::unwrap_used)]

#[path = "support/program.rs"]
mod program;

use program::{Program, free_port, installed, repository};
use shardwire_client::{
    Backend, CircuitBreaker, ConnectOptions, HealthCheck, Message, PoolEvent, PoolOptions, Proxy,
    Session, SessionOptions, SubscriptionEvent, WebSocketPool,
};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tokio::task;
use tokio::time::{self, Instant, MissedTickBehavior};

const BACKENDS: [&str; 3] = ["shardwire", "websockets", "ws"];
/// An exchange that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(2);

/// Acquires in a second.
fn rate() -> usize {
    std::env::var("POOL_RATE").map_or(300, |rate| rate.parse().unwrap())
}

/// Our server's binary, where the build of this test would have put it.
fn our_binary() -> PathBuf {
    let beside = std::env::current_exe().unwrap();
    let built = beside.parent().unwrap().parent().unwrap().join("shardwire");
    let named = std::env::var_os("SERVER_UNDER_TEST").map_or(built, PathBuf::from);
    assert!(
        named.exists(),
        "{} is missing; build it with: cargo build --bin shardwire",
        named.display()
    );
    named
}

fn start(backend: &str, port: u16) -> Program {
    let servers = repository().join("clients/rust/tests/servers");
    let mut command = match backend {
        "shardwire" => {
            let mut command = Command::new(our_binary());
            command.env("SHARDWIRE_LISTEN__ADDRESS", format!("127.0.0.1:{port}"));
            command
        }
        "websockets" => {
            let mut command = Command::new(installed(".venv/bin/python"));
            command.arg(servers.join("echo.py")).arg(port.to_string());
            command
        }
        _ => {
            let mut command = Command::new("node");
            command.arg(servers.join("echo.cjs")).arg(port.to_string());
            command.env("NODE_PATH", installed("tests/foreign/node_modules"));
            command
        }
    };
    Program::start(&mut command).listening(port)
}

fn url(backend: &str, port: u16) -> String {
    match backend {
        "shardwire" => format!("ws://127.0.0.1:{port}/echo"),
        _ => format!("ws://127.0.0.1:{port}/"),
    }
}

/// Seconds that the threads of this process have run, and have waited for a core (Linux; the pool's own share of the figures).
fn own_cpu() -> [f64; 2] {
    let mut sums = [0.0; 2];
    for thread in std::fs::read_dir("/proc/self/task").into_iter().flatten() {
        let path = thread.unwrap().path().join("schedstat");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        for (sum, nanoseconds) in sums.iter_mut().zip(text.split_whitespace()) {
            *sum += nanoseconds.parse::<f64>().unwrap_or_default() / 1e9;
        }
    }
    sums
}

/// One acquire, one exchange.
struct Outcome {
    at: Duration,
    took: Duration,
    /// `Err`: which step failed.
    backend: Result<String, &'static str>,
}

async fn exchange(pool: &WebSocketPool, number: usize) -> Result<String, &'static str> {
    let mut connection = pool.acquire().await.map_err(|_| "acquire")?;
    let backend = connection.backend().to_owned();
    let text = format!("message {number}");
    let echoed = async {
        connection.send(text.clone()).await.ok()?;
        connection.receive().await.ok()
    };
    match time::timeout(PATIENCE, echoed).await {
        Ok(Some(Message::Text(echo))) if echo == text => Ok(backend),
        Ok(Some(_)) => Err("a wrong answer"),
        Ok(None) => Err("cut"),
        Err(_) => {
            // The answer may still come: nobody else should get it.
            connection.discard();
            Err("no answer")
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Harm {
    Kill,
    Stop,
}

struct Figures {
    exchanges: usize,
    acquires_failed: usize,
    cut: usize,
    last_failure: Duration,
    p99: Duration,
    breaker: [Option<Duration>; 3],
    unhealthy: [Option<Duration>; 2],
    /// When the harmed server listened again: starting one takes its time.
    healed: Duration,
    /// Percent of all that went to the harmed backend: before, while it was away, at the end.
    share: [f64; 3],
    /// Percent of a core that this process used, and would have used but had to wait for.
    cpu: [f64; 2],
}

const HARM_AT: Duration = Duration::from_secs(2);
const HEAL_AT: Duration = Duration::from_secs(6);
/// For how long there is load after the server listens again.
const AFTERWARDS: Duration = Duration::from_secs(7);
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(2);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

async fn run(harmed: &'static str, harm: Harm) -> Figures {
    let ports: Vec<u16> = BACKENDS.iter().map(|_| free_port()).collect();
    let mut servers: Vec<Program> = BACKENDS
        .iter()
        .zip(&ports)
        .map(|(backend, port)| start(backend, *port))
        .collect();
    let index = BACKENDS
        .iter()
        .position(|backend| *backend == harmed)
        .unwrap();
    let pool = WebSocketPool::new(PoolOptions {
        max_connections: 60,
        min_connections: 30,
        acquire_timeout: Duration::from_secs(10),
        validation_timeout: Duration::from_secs(1),
        backends: BACKENDS
            .iter()
            .zip(&ports)
            .map(|(backend, port)| Backend::new(*backend, url(backend, *port)))
            .collect(),
        // A kill is the breaker's to find out, a stop the checks'.
        health_check: HealthCheck {
            enabled: harm == Harm::Stop,
            interval: Duration::from_millis(500),
            timeout: Duration::from_secs(1),
            path: None,
            ..HealthCheck::default()
        },
        circuit_breaker: CircuitBreaker {
            recovery_timeout: RECOVERY_TIMEOUT,
            ..CircuitBreaker::default()
        },
        slow_start: Duration::from_secs(2),
        connect: ConnectOptions {
            proxy: Proxy::Direct,
            connect_timeout: CONNECT_TIMEOUT,
            ..ConnectOptions::default()
        },
        ..PoolOptions::default()
    })
    .unwrap();
    let opening = async {
        while pool.idle_count() < 30 {
            time::sleep(Duration::from_millis(10)).await;
        }
    };
    time::timeout(Duration::from_secs(20), opening)
        .await
        .expect("min_connections are opened");

    let begin = Instant::now();
    let cpu_before = own_cpu();
    let mut events = pool.events();
    let told = tokio::spawn(async move {
        let mut told = Vec::new();
        while let Some(event) = events.next().await {
            told.push((begin.elapsed(), event));
        }
        told
    });
    let outcomes = Arc::new(Mutex::new(Vec::new()));
    // Known once the server is back.
    let end = Arc::new(OnceLock::new());
    let load = tokio::spawn({
        let (pool, outcomes, end) = (pool.clone(), outcomes.clone(), end.clone());
        async move {
            let mut ticks = time::interval(Duration::from_millis(10));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            let mut tasks = tokio::task::JoinSet::new();
            for tick in 0.. {
                if end.get().is_some_and(|end| begin.elapsed() >= *end) {
                    break;
                }
                ticks.tick().await;
                for one in 0..rate() / 100 {
                    let (pool, outcomes) = (pool.clone(), outcomes.clone());
                    tasks.spawn(async move {
                        let at = begin.elapsed();
                        let backend = exchange(&pool, tick * 100 + one).await;
                        let took = begin.elapsed() - at;
                        outcomes.lock().unwrap().push(Outcome { at, took, backend });
                    });
                }
                while tasks.try_join_next().is_some() {}
            }
            while tasks.join_next().await.is_some() {}
        }
    });
    time::sleep_until(begin + HARM_AT).await;
    match harm {
        Harm::Kill => servers[index].kill(),
        Harm::Stop => servers[index].signal("STOP"),
    }
    time::sleep_until(begin + HEAL_AT).await;
    match harm {
        // Waiting for it blocks, and the load goes on meanwhile.
        Harm::Kill => {
            servers[index] = task::block_in_place(|| start(harmed, ports[index]));
        }
        Harm::Stop => servers[index].signal("CONT"),
    }
    let healed = begin.elapsed();
    let end = *end.get_or_init(|| healed + AFTERWARDS);
    load.await.unwrap();
    let cpu_after = own_cpu();
    let took = begin.elapsed().as_secs_f64();
    pool.close().await;
    let told = told.await.unwrap();

    let first = |matches: fn(&PoolEvent) -> bool| {
        let mut about = told.iter().filter(|(_, event)| event.backend() == harmed);
        about.find(|(_, event)| matches(event)).map(|(at, _)| *at)
    };
    let last_half_open = told
        .iter()
        .rev()
        .find(|(_, event)| matches!(event, PoolEvent::BreakerHalfOpened { .. }))
        .map(|(at, _)| *at);
    let outcomes = outcomes.lock().unwrap();
    let share = |from: Duration, to: Duration| {
        let within = outcomes
            .iter()
            .filter(|outcome| (from..to).contains(&outcome.at));
        let served: Vec<&String> = within
            .filter_map(|outcome| outcome.backend.as_ref().ok())
            .collect();
        let there = served
            .iter()
            .filter(|backend| ***backend == *harmed)
            .count();
        100.0 * there as f64 / served.len().max(1) as f64
    };
    let failed = |which: &[&str]| {
        let failures = outcomes.iter().filter(|outcome| {
            outcome
                .backend
                .as_ref()
                .is_err_and(|why| which.contains(why))
        });
        failures.count()
    };
    let last_failure = outcomes
        .iter()
        .filter(|outcome| outcome.backend.is_err())
        .map(|outcome| outcome.at)
        .max();
    assert_eq!(
        failed(&["a wrong answer"]),
        0,
        "an answer came to somebody else"
    );
    assert!(
        outcomes
            .iter()
            .all(|outcome| outcome.backend.is_ok() || outcome.at + PATIENCE >= HARM_AT),
        "a failure before anything was harmed"
    );
    let mut times: Vec<Duration> = outcomes.iter().map(|outcome| outcome.took).collect();
    times.sort();
    Figures {
        exchanges: outcomes.len(),
        acquires_failed: failed(&["acquire"]),
        cut: failed(&["cut", "no answer"]),
        last_failure: last_failure.unwrap_or_default().saturating_sub(HARM_AT),
        p99: times[times.len() * 99 / 100],
        cpu: [0, 1].map(|which| 100.0 * (cpu_after[which] - cpu_before[which]) / took),
        healed,
        breaker: [
            first(|event| matches!(event, PoolEvent::BreakerOpened { .. })),
            last_half_open,
            first(|event| matches!(event, PoolEvent::BreakerClosed { .. })),
        ],
        unhealthy: [
            first(|event| matches!(event, PoolEvent::BackendUnhealthy { .. })),
            first(|event| matches!(event, PoolEvent::BackendHealthy { .. })),
        ],
        share: [
            share(Duration::ZERO, HARM_AT),
            share(HARM_AT + Duration::from_secs(2), HEAL_AT),
            share(end - Duration::from_secs(2), end),
        ],
    }
}

fn show(harmed: &str, harm: Harm, figures: &Figures) {
    if std::env::var_os("POOL_FIGURES").is_none() {
        return;
    }
    let seconds =
        |at: &Option<Duration>| at.map_or("-".into(), |at| format!("{:.2}", at.as_secs_f64()));
    let times: Vec<String> = figures
        .breaker
        .iter()
        .chain(&figures.unhealthy)
        .map(seconds)
        .collect();
    println!(
        "| {harmed}, {harm:?} | {} | {} | {} | {} ms | {:.0} / {:.0} / {:.0} % | {} | {} ms | {:.0} % + {:.0} % |",
        figures.exchanges,
        figures.acquires_failed,
        figures.cut,
        figures.last_failure.as_millis(),
        figures.share[0],
        figures.share[1],
        figures.share[2],
        times.join(" / "),
        figures.p99.as_millis(),
        figures.cpu[0],
        figures.cpu[1],
    );
}

async fn killed(harmed: &'static str) {
    let figures = run(harmed, Harm::Kill).await;
    show(harmed, Harm::Kill, &figures);
    assert_eq!(
        figures.acquires_failed, 0,
        "the pool hid it from whoever acquired"
    );
    // Only what was on a connection at the moment of the kill.
    assert!(figures.cut <= 60, "{}", figures.cut);
    assert!(
        figures.last_failure < Duration::from_millis(500),
        "{:?}",
        figures.last_failure
    );
    let [opened, half_open, closed] = figures.breaker.map(Option::unwrap);
    assert!(opened > HARM_AT && opened < HEAL_AT, "{opened:?}");
    assert!(half_open - opened >= RECOVERY_TIMEOUT);
    // The next probe begins within the one, and takes at most the other.
    assert!(
        closed > HEAL_AT && closed < figures.healed + RECOVERY_TIMEOUT + CONNECT_TIMEOUT,
        "{closed:?}, and the server was back at {:?}",
        figures.healed
    );
    back(&figures);
}

fn back(figures: &Figures) {
    assert!(
        (30.0..37.0).contains(&figures.share[0]),
        "{:?}",
        figures.share
    );
    assert_eq!(figures.share[1], 0.0);
    assert!(
        (27.0..40.0).contains(&figures.share[2]),
        "{:?}",
        figures.share
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_three_servers_is_killed() {
    for harmed in BACKENDS {
        killed(harmed).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_three_servers_stops_answering() {
    let figures = run("ws", Harm::Stop).await;
    show("ws", Harm::Stop, &figures);
    assert_eq!(figures.acquires_failed, 0);
    // Two checks of half a second and their half second of patience; then nobody is sent there any more.
    assert!(
        figures.last_failure < Duration::from_millis(2500),
        "{:?}",
        figures.last_failure
    );
    assert!(figures.breaker[0].or(figures.unhealthy[0]).is_some());
    back(&figures);
}

#[tokio::test]
async fn a_session_with_our_own_server() {
    let port = free_port();
    let mut server = start("shardwire", port);
    let options = SessionOptions {
        connect: ConnectOptions {
            proxy: Proxy::Direct,
            ..ConnectOptions::default()
        },
        ..SessionOptions::default()
    };
    let session = Session::start(&format!("ws://127.0.0.1:{port}/ws?user=ann"), options).unwrap();
    let mut lobby = session.subscribe("lobby").await.unwrap();
    let _ = session.publish("lobby", &[1, 2, 3]).await.unwrap();
    let Some(SubscriptionEvent::Message(publication)) = lobby.next().await else {
        panic!("no message");
    };
    assert_eq!(publication.decode::<Vec<u8>>().unwrap(), [1, 2, 3]);
    assert!(publication.timestamp > 1_700_000_000_000);
    session.ping().await.unwrap();
    let hello = session.hello().expect("said before anything is answered");
    assert_eq!((hello.user, hello.max_message_size), (None, 65536));
    // Killed, and another one in its place: the session comes back and says so.
    server.kill();
    let _server = start("shardwire", port);
    assert!(matches!(
        lobby.next().await,
        Some(SubscriptionEvent::Gap(_))
    ));
    let _ = session.publish("lobby", "again").await.unwrap();
    assert!(matches!(
        lobby.next().await,
        Some(SubscriptionEvent::Message(_))
    ));
    session.close().await;
}
