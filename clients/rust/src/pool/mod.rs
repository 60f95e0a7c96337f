//! A pool of WebSocket connections to several servers (contract P1 to P25).
//!
//! **What lives here.** [`WebSocketPool`]. What decides, without a clock and behind one lock: `core`. What waits: `acquire`,
//! `shared` (the lock, openings), `keeper` (time and health checks). What users hold: `guard`, `events`, `options`.
//!
//! **What does not.** Frames, sockets and keepalive of one connection ([`crate::Connection`]).
//!
//! **Invariants.**
//! * Never more than `max_connections`, those that open or close included. Only health checks use connections of their own.
//! * Every connection is opening, idle, active or closing; each opening, acquire and check ends in exactly one result, also
//!   when its future is dropped at any moment.
//! * Acquires are served in the order they came: nobody overtakes one for whom nothing is on its way. A new connection is not
//!   bound to the acquire that caused it: whoever has waited longest gets whatever comes first.
//! * Every change of a backend is told exactly once.
//! * The lock is never held while anything waits or a user's code runs.
//!
//! **Who calls in.** Users. **Tests**: beside the code; `tests/pool.rs` (one test for each id), `tests/pool_seeded.rs` (1,000
//! seeded runs), `tests/pool_servers.rs` (real servers, killed).

mod acquire;
mod core;
mod events;
mod guard;
mod keeper;
mod options;
mod shared;

pub use self::core::BreakerState;
pub use acquire::AcquireError;
pub use events::{PoolEvent, PoolEvents};
pub use guard::PooledConnection;
pub use options::{
    Backend, CircuitBreaker, EvictionPolicy, HealthCheck, InvalidOptions, LoadBalancing,
    PoolOptions,
};

use self::core::{Core, Member};
use shared::Shared;
use std::{
    collections::BTreeMap,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tracing::Instrument;

/// A pool; a cheap handle, to be cloned. When the last one is dropped, the pool closes as by [`WebSocketPool::close`].
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use shardwire_client::{Backend, LoadBalancing, PoolOptions, WebSocketPool};
///
/// let pool = WebSocketPool::new(PoolOptions {
///     backends: vec![
///         Backend::new("ws-1", "wss://ws1.example.com").weight(2),
///         Backend::new("ws-2", "wss://ws2.example.com"),
///         Backend::new("ws-3", "wss://ws3.example.com"),
///     ],
///     load_balancing: LoadBalancing::WeightedRoundRobin,
///     ..PoolOptions::default()
/// })?;
/// let connection = pool.acquire().await?;
/// connection.send(r#"{"type":"message","data":"hello"}"#).await?;
/// connection.release();
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct WebSocketPool {
    owner: Arc<Owner>,
}

/// Closes the pool with its last handle.
struct Owner {
    shared: Arc<Shared>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        close(&self.shared);
    }
}

fn close(shared: &Shared) {
    shared.closed.send_replace(true);
    shared.change(|core, now, actions| core.close(now, actions));
}

/// How a backend is (P22).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthStatus {
    /// Whether its health checks pass. True until they fail.
    pub healthy: bool,
    /// How long the last good check took; zero while unhealthy.
    pub latency: Duration,
    /// When it was checked last.
    pub last_check: Option<SystemTime>,
    /// Its circuit breaker.
    pub breaker: BreakerState,
    /// The last failure of a check, an opening or a validation; forgotten when the backend becomes healthy.
    pub last_error: Option<String>,
    /// Its connections that are in use.
    pub active: usize,
    /// Its connections that are not.
    pub idle: usize,
}

/// All counts at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolCounts {
    /// Connections in use.
    pub active: usize,
    /// Connections not in use.
    pub idle: usize,
    /// Connections being opened.
    pub opening: usize,
    /// Connections being closed.
    pub closing: usize,
    /// Acquires that wait.
    pub waiting: usize,
}

impl PoolCounts {
    /// What counts against `max_connections`.
    pub fn total(&self) -> usize {
        self.active + self.idle + self.opening + self.closing
    }
}

impl WebSocketPool {
    /// Starts a pool on the current tokio runtime, and opens `min_connections` in the background.
    ///
    /// # Errors
    ///
    /// [`InvalidOptions`], with everything that is wrong.
    pub fn new(options: PoolOptions) -> Result<WebSocketPool, InvalidOptions> {
        options.check()?;
        let options = Arc::new(options);
        let shared = Shared::new(Core::new(options.clone()));
        let pool = WebSocketPool {
            owner: Arc::new(Owner {
                shared: shared.clone(),
            }),
        };
        // All of them before the first connection is opened, so that the first ones are spread, too.
        shared.change(|core, now, actions| {
            for backend in &options.backends {
                add(core, backend)?;
            }
            core.pump(now, actions);
            Ok(())
        })?;
        pool.start_checks();
        let keeper = keeper::keep(shared.clone(), options.eviction_policy.interval);
        tokio::spawn(keeper.instrument(shared.span.clone()));
        Ok(pool)
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.owner.shared
    }

    /// A connection, within `acquire_timeout` (P3, P20). It goes back when it is dropped. Cancel-safe: a place in the queue
    /// is left, a connection already given comes back.
    ///
    /// # Errors
    ///
    /// See [`AcquireError`].
    pub async fn acquire(&self) -> Result<PooledConnection, AcquireError> {
        acquire::acquire(self.shared(), None).await
    }

    /// The same for a key, such as a client's address: with [`LoadBalancing::IpHash`] the same key gets the same backend as
    /// long as it is there. Other strategies do not look at it.
    ///
    /// # Errors
    ///
    /// See [`AcquireError`].
    pub async fn acquire_for(
        &self,
        key: impl AsRef<[u8]>,
    ) -> Result<PooledConnection, AcquireError> {
        acquire::acquire(self.shared(), Some(self::core::hash_of(key.as_ref()))).await
    }

    /// Gives a connection back (P20); the same as dropping it.
    pub fn release(&self, connection: PooledConnection) {
        connection.release();
    }

    /// Connections in use (P21).
    pub fn active_count(&self) -> usize {
        self.counts().active
    }

    /// Connections not in use (P21).
    pub fn idle_count(&self) -> usize {
        self.counts().idle
    }

    /// Acquires that wait (P21).
    pub fn waiting_count(&self) -> usize {
        self.counts().waiting
    }

    /// All counts at one moment.
    pub fn counts(&self) -> PoolCounts {
        self.shared().look(|core| {
            let mut counts = PoolCounts {
                waiting: core.waiters.len(),
                ..PoolCounts::default()
            };
            for member in &core.members {
                counts.active += member.active;
                counts.idle += member.idle.len();
                counts.opening += member.opening;
                counts.closing += member.closing.len();
            }
            counts
        })
    }

    /// How every backend is, by its id (P22).
    pub fn health_status(&self) -> BTreeMap<String, HealthStatus> {
        let status = |member: &Member| HealthStatus {
            healthy: member.healthy,
            latency: member.latency,
            last_check: member.last_check,
            breaker: member.breaker.state(),
            last_error: member.last_error.clone(),
            active: member.active,
            idle: member.idle.len(),
        };
        self.shared().look(|core| {
            let members = core.members.iter().filter(|member| !member.removed);
            members
                .map(|member| (member.id.to_string(), status(member)))
                .collect()
        })
    }

    /// Changes of backends from now on (P23, P24), as a stream.
    pub fn events(&self) -> PoolEvents {
        self.shared().look(|core| core.announcer.listen())
    }

    /// Adds a backend while the pool runs.
    ///
    /// # Errors
    ///
    /// [`InvalidOptions`]: its id is taken, its URL or weight is wrong.
    pub fn add_backend(&self, backend: &Backend) -> Result<(), InvalidOptions> {
        self.shared().change(|core, now, actions| {
            add(core, backend)?;
            core.pump(now, actions);
            Ok(())
        })?;
        self.start_checks();
        Ok(())
    }

    /// Removes a backend while the pool runs: idle connections are closed, those in use when they come back. Whether there was
    /// one.
    pub fn remove_backend(&self, id: &str) -> bool {
        self.shared().change(|core, now, actions| {
            let mut members = core.members.iter();
            let index = members.position(|member| !member.removed && *member.id == *id);
            if let Some(index) = index {
                core.remove(index, now, actions);
            }
            index.is_some()
        })
    }

    /// Closes the pool: acquires fail, idle connections are closed, those in use when they come back. Waits until none is
    /// left. Cancelled, the pool is closed all the same.
    pub async fn close(&self) {
        let shared = self.shared();
        let emptied = shared.emptied.notified();
        tokio::pin!(emptied);
        // Before the look: what happens between the two is not missed.
        emptied.as_mut().enable();
        close(shared);
        if shared.look(|core| core.total()) > 0 {
            emptied.await;
        }
    }

    /// Starts the health checks of backends that have none.
    fn start_checks(&self) {
        let shared = self.shared();
        shared.look(|core| {
            let options = core.options.clone();
            if !options.health_check.enabled || core.closed {
                return;
            }
            for member in &mut core.members {
                if member.health_task.is_none() && !member.removed {
                    let check = keeper::check_health(
                        Arc::downgrade(shared),
                        member.key,
                        member.target.clone(),
                        options.clone(),
                    );
                    let span = tracing::debug_span!(parent: &shared.span, "health_check", backend = &*member.id);
                    member.health_task = Some(tokio::spawn(check.instrument(span)).abort_handle());
                }
            }
        });
    }
}

fn add(core: &mut Core, backend: &Backend) -> Result<(), InvalidOptions> {
    let target = backend.check()?;
    let mut members = core.members.iter();
    if members.any(|member| !member.removed && *member.id == *backend.id) {
        let fault = format!("there is a backend {:?} already", backend.id);
        return Err(InvalidOptions(vec![fault]));
    }
    let key = core.number();
    let member = Member::new(key, backend, target, &core.options);
    core.members.push(member);
    Ok(())
}

impl fmt::Debug for WebSocketPool {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("WebSocketPool")
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}
