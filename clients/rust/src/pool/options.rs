//! What a pool may be told, in the words and with the defaults of the contract (P1 to P19).

use crate::{options::ConnectOptions, target::Target};
use std::{collections::HashSet, time::Duration};

/// Options of a [`WebSocketPool`](super::WebSocketPool).
#[derive(Clone, Debug)]
pub struct PoolOptions {
    /// Most connections at any moment, those that open or close included (P1). Default: 100.
    pub max_connections: usize,
    /// Connections that are opened ahead and kept (P2). Default: 10.
    pub min_connections: usize,
    /// How long an acquire may wait (P3). Default: 30 s.
    pub acquire_timeout: Duration,
    /// A connection idle for longer is closed by the next sweep (P4). Default: 300 s. See [`EvictionPolicy`].
    pub idle_timeout: Duration,
    /// Whether a connection that was used before must answer a ping before it is handed out (P5). Default: true.
    pub validate_on_checkout: bool,
    /// Which backend the next acquire goes to (P6). Default: round robin.
    pub load_balancing: LoadBalancing,
    /// The servers (P7). More can be added later.
    pub backends: Vec<Backend>,
    /// Health checks (P8 to P13).
    pub health_check: HealthCheck,
    /// Circuit breakers, one for each backend (P14 to P16).
    pub circuit_breaker: CircuitBreaker,
    /// The idle sweep (P17 to P19).
    pub eviction_policy: EvictionPolicy,
    /// How long a connection may take to answer the ping of the checkout. Default: 2 s.
    pub validation_timeout: Duration,
    /// A backend that comes back gets its full share only after this time, growing from a tenth. Zero: at once.
    /// Default: 10 s.
    pub slow_start: Duration,
    /// How each connection is opened. Its `close_timeout` is taken as 1 s at most.
    pub connect: ConnectOptions,
    /// Seed of the jitter between failed openings, for tests; `None`: from the system.
    pub seed: Option<u64>,
}

impl Default for PoolOptions {
    fn default() -> PoolOptions {
        PoolOptions {
            max_connections: 100,
            min_connections: 10,
            acquire_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(300),
            validate_on_checkout: true,
            load_balancing: LoadBalancing::default(),
            backends: Vec::new(),
            health_check: HealthCheck::default(),
            circuit_breaker: CircuitBreaker::default(),
            eviction_policy: EvictionPolicy::default(),
            validation_timeout: Duration::from_secs(2),
            slow_start: Duration::from_secs(10),
            connect: ConnectOptions::default(),
            seed: None,
        }
    }
}

/// Which backend the next acquire goes to, among those that are healthy and can serve it (P6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LoadBalancing {
    /// One after the other (`round-robin`).
    #[default]
    RoundRobin,
    /// The one with the fewest connections in use for its weight (`least-connections`).
    LeastConnections,
    /// One after the other by weight, evenly mixed: `a b a c` for 2:1:1 (`weighted-round-robin`).
    WeightedRoundRobin,
    /// The same backend for the same key, by weighted rendezvous hashing: when a backend goes, only its keys move
    /// (`ip-hash`). The key comes with [`acquire_for`](super::WebSocketPool::acquire_for); an acquire without one goes round
    /// robin.
    IpHash,
}

/// One server (P7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Its name in events and status; unique in the pool.
    pub id: String,
    /// Where its WebSocket is.
    pub url: String,
    /// Its share, relative to the others'; at least 1. Default: 1.
    pub weight: u32,
}

impl Backend {
    /// A backend of weight 1.
    pub fn new(id: impl Into<String>, url: impl Into<String>) -> Backend {
        Backend {
            id: id.into(),
            url: url.into(),
            weight: 1,
        }
    }

    /// With another weight.
    pub fn weight(mut self, weight: u32) -> Backend {
        self.weight = weight;
        self
    }
}

/// Health checks of every backend (P8 to P13).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// Whether there are any (P8). Default: true.
    pub enabled: bool,
    /// From one check's begin to the next one's (P9). Default: 30 s.
    pub interval: Duration,
    /// A check that takes longer has failed (P10). Default: 5 s.
    pub timeout: Duration,
    /// Asked by HTTP GET on the backend's host and port; any 2xx is healthy (P11). Default: `/health`. `None`: a WebSocket
    /// is opened at the backend's URL and pinged instead, for servers that answer no plain HTTP. A check uses a connection of
    /// its own, beyond `max_connections`.
    pub path: Option<String>,
    /// Failed checks in a row that make a backend unhealthy (P12). Default: 3.
    pub unhealthy_threshold: u32,
    /// Checks in a row that make it healthy again (P13). Default: 2.
    pub healthy_threshold: u32,
}

impl Default for HealthCheck {
    fn default() -> HealthCheck {
        HealthCheck {
            enabled: true,
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(5),
            path: Some("/health".into()),
            unhealthy_threshold: 3,
            healthy_threshold: 2,
        }
    }
}

/// When a backend is left alone (P14 to P16). A failure is a connection that could not be opened, or one that did not
/// answer the ping of the checkout. A server that says "not now" (429, 503, with or without `Retry-After`) is not tried for
/// that time, and that is no failure; nor is it one when [`ConnectOptions::token`] gives none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CircuitBreaker {
    /// Whether there are any (P14). Default: true.
    pub enabled: bool,
    /// Failures in a row that open the breaker (P15). Default: 5.
    pub failure_threshold: u32,
    /// How long it stays open; then one connection is tried (P16). Default: 60 s.
    pub recovery_timeout: Duration,
}

impl Default for CircuitBreaker {
    fn default() -> CircuitBreaker {
        CircuitBreaker {
            enabled: true,
            failure_threshold: 5,
            recovery_timeout: Duration::from_secs(60),
        }
    }
}

/// The sweep that closes idle connections (P17 to P19). It enforces the smaller of `max_idle_time` and
/// [`PoolOptions::idle_timeout`] (D12), never below `min_connections`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvictionPolicy {
    /// Whether `max_idle_time` counts; `idle_timeout` does in any case (P17). Default: true.
    pub enabled: bool,
    /// From sweep to sweep (P18). Default: 30 s.
    pub interval: Duration,
    /// A connection idle for longer is closed (P19). Default: 300 s.
    pub max_idle_time: Duration,
}

impl Default for EvictionPolicy {
    fn default() -> EvictionPolicy {
        EvictionPolicy {
            enabled: true,
            interval: Duration::from_secs(30),
            max_idle_time: Duration::from_secs(300),
        }
    }
}

/// The options contradict themselves: everything that is wrong with them, one sentence each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct InvalidOptions(pub Vec<String>);

impl PoolOptions {
    pub(super) fn check(&self) -> Result<(), InvalidOptions> {
        let mut faults = Vec::new();
        let mut need = |holds: bool, fault: &str| {
            if !holds {
                faults.push(fault.to_owned());
            }
        };
        need(
            self.max_connections > 0,
            "max_connections must be at least 1",
        );
        need(
            self.min_connections <= self.max_connections,
            "min_connections must not exceed max_connections",
        );
        let health = &self.health_check;
        if health.enabled {
            need(
                !health.interval.is_zero(),
                "health_check.interval must not be zero",
            );
            need(
                !health.timeout.is_zero(),
                "health_check.timeout must not be zero",
            );
            need(
                health.unhealthy_threshold > 0 && health.healthy_threshold > 0,
                "health_check's thresholds must be at least 1",
            );
            need(
                health
                    .path
                    .as_ref()
                    .is_none_or(|path| path.starts_with('/')),
                "health_check.path must begin with /",
            );
        }
        need(
            !self.circuit_breaker.enabled || self.circuit_breaker.failure_threshold > 0,
            "circuit_breaker.failure_threshold must be at least 1",
        );
        need(
            !self.eviction_policy.interval.is_zero(),
            "eviction_policy.interval must not be zero",
        );
        let mut ids = HashSet::new();
        for backend in &self.backends {
            need(
                ids.insert(&backend.id),
                &format!("there are two backends {:?}", backend.id),
            );
            if let Err(fault) = backend.check() {
                faults.extend(fault.0);
                break;
            }
        }
        match faults.is_empty() {
            true => Ok(()),
            false => Err(InvalidOptions(faults)),
        }
    }

    /// Idle for longer than this: closed by the next sweep (D12).
    pub(super) fn longest_idle(&self) -> Duration {
        match self.eviction_policy.enabled {
            true => self.idle_timeout.min(self.eviction_policy.max_idle_time),
            false => self.idle_timeout,
        }
    }
}

impl Backend {
    pub(super) fn check(&self) -> Result<Target, InvalidOptions> {
        if self.id.is_empty() {
            return Err(InvalidOptions(vec!["a backend needs an id".into()]));
        }
        if self.weight == 0 || self.weight > 1_000_000 {
            return Err(InvalidOptions(vec![format!(
                "the weight of backend {:?} must be from 1 to 1,000,000",
                self.id
            )]));
        }
        Target::parse(&self.url)
            .map_err(|error| InvalidOptions(vec![format!("backend {:?}: {error}", self.id)]))
    }
}
