//! Acquire and release of an idle connection, beside `deadpool` and `bb8` managing the same connections: time (criterion) and
//! allocations (counted on this thread, printed first). The servers are in memory and do nothing, so the pools are all there is to
//! see; everything runs on one thread.
//!
//! *plain*: what is handed out is known to be open. *ping*: it has answered a ping, which is our default.
#![allow(clippy::unwrap_used, missing_docs)]
// SAFETY (of the whole file): an allocator can only be written with `unsafe impl GlobalAlloc`. This one passes every call with
// its arguments unchanged to the system's allocator, so it keeps the contract because that one does; besides, it only adds to a
// constant-initialised thread-local without a destructor, which neither allocates nor panics.
#![allow(unsafe_code)]

#[path = "../tests/support/mod.rs"]
mod support;

use criterion::Criterion;
use shardwire_client::{
    Backend, ConnectError, ConnectOptions, Connection, Error, HealthCheck, LoadBalancing,
    PoolOptions, WebSocketPool,
};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    future::Future,
    hint::black_box,
    time::Duration,
};
use support::{echo_server, options};
use tokio::runtime::Runtime;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const CONNECTIONS: usize = 30;
const WAIT: Duration = Duration::from_secs(30);
const PONG: Duration = Duration::from_secs(2);
const URL: &str = "ws://backend/";

/// What `deadpool` and `bb8` manage.
struct Manager {
    options: ConnectOptions,
    ping: bool,
}

impl Manager {
    fn new(ping: bool) -> Manager {
        Manager {
            options: options(echo_server()),
            ping,
        }
    }

    async fn is_good(&self, connection: &Connection) -> Result<(), Error> {
        match self.ping {
            true => connection.ping(PONG).await.map(drop),
            false if connection.is_open() => Ok(()),
            false => Err(Error::Ended(connection.ending().unwrap())),
        }
    }
}

impl deadpool::managed::Manager for Manager {
    type Type = Connection;
    type Error = ConnectError;

    async fn create(&self) -> Result<Connection, ConnectError> {
        Connection::open(URL, &self.options).await
    }

    async fn recycle(
        &self,
        connection: &mut Connection,
        _: &deadpool::managed::Metrics,
    ) -> deadpool::managed::RecycleResult<ConnectError> {
        let good = self.is_good(connection).await;
        good.map_err(|error| deadpool::managed::RecycleError::message(error.to_string()))
    }
}

impl bb8::ManageConnection for Manager {
    type Connection = Connection;
    type Error = ConnectError;

    async fn connect(&self) -> Result<Connection, ConnectError> {
        Connection::open(URL, &self.options).await
    }

    async fn is_valid(&self, connection: &mut Connection) -> Result<(), ConnectError> {
        let good = self.is_good(connection).await;
        good.map_err(|_| ConnectError::TimedOut(PONG))
    }

    fn has_broken(&self, connection: &mut Connection) -> bool {
        !connection.is_open()
    }
}

async fn ours(backends: usize, strategy: LoadBalancing, ping: bool) -> WebSocketPool {
    let pool = WebSocketPool::new(PoolOptions {
        max_connections: CONNECTIONS,
        min_connections: CONNECTIONS,
        acquire_timeout: WAIT,
        validate_on_checkout: ping,
        validation_timeout: PONG,
        load_balancing: strategy,
        backends: (0..backends)
            .map(|number| Backend::new(format!("backend-{number}"), URL))
            .collect(),
        health_check: HealthCheck {
            enabled: false,
            ..HealthCheck::default()
        },
        connect: options(echo_server()),
        ..PoolOptions::default()
    })
    .unwrap();
    while pool.idle_count() < CONNECTIONS {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    pool
}

async fn deadpool(ping: bool) -> deadpool::managed::Pool<Manager> {
    let pool = deadpool::managed::Pool::builder(Manager::new(ping))
        .max_size(CONNECTIONS)
        .wait_timeout(Some(WAIT))
        .runtime(deadpool::Runtime::Tokio1)
        .build()
        .unwrap();
    let mut all = Vec::new();
    for _ in 0..CONNECTIONS {
        all.push(pool.get().await.unwrap());
    }
    drop(all);
    pool
}

async fn bb8(ping: bool) -> bb8::Pool<Manager> {
    bb8::Pool::builder()
        .max_size(CONNECTIONS as u32)
        .min_idle(CONNECTIONS as u32)
        .connection_timeout(WAIT)
        .test_on_check_out(true)
        .build(Manager::new(ping))
        .await
        .unwrap()
}

/// Both figures of one way to acquire and release.
fn measure<F: Future>(
    criterion: &mut Criterion,
    runtime: &Runtime,
    name: &str,
    turn: impl Fn() -> F,
) {
    const TURNS: usize = 1000;
    let counted = runtime.block_on(async {
        // Grown buffers are not what is asked about.
        for _ in 0..TURNS {
            black_box(turn().await);
        }
        let before = ALLOCATIONS.get();
        for _ in 0..TURNS {
            black_box(turn().await);
        }
        ALLOCATIONS.get() - before
    });
    eprintln!("{name}: {:.2} allocations", counted as f64 / TURNS as f64);
    criterion.bench_function(name, |bencher| {
        bencher
            .to_async(runtime)
            .iter(|| async { black_box(turn().await) });
    });
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut criterion = Criterion::default().configure_from_args();
    for (kind, ping) in [("plain", false), ("ping", true)] {
        let pools = [
            (1, LoadBalancing::RoundRobin, "shardwire, 1 backend"),
            (3, LoadBalancing::RoundRobin, "shardwire, 3 backends"),
            (
                3,
                LoadBalancing::LeastConnections,
                "shardwire, 3 backends, least connections",
            ),
        ];
        for (backends, strategy, name) in pools {
            let pool = runtime.block_on(ours(backends, strategy, ping));
            let name = format!("{kind}: {name}");
            measure(&mut criterion, &runtime, &name, || async {
                drop(pool.acquire().await.unwrap())
            });
        }
        let pool = runtime.block_on(deadpool(ping));
        measure(
            &mut criterion,
            &runtime,
            &format!("{kind}: deadpool"),
            || async { drop(pool.get().await.unwrap()) },
        );
        let pool = runtime.block_on(bb8(ping));
        measure(
            &mut criterion,
            &runtime,
            &format!("{kind}: bb8"),
            || async { drop(pool.get().await.unwrap()) },
        );
    }
    criterion.final_summary();
}
