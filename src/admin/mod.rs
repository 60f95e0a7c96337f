//! The port for operators: health, readiness, metrics, and the HTTP API. Apart from where clients connect.
//!
//! - **Lives here**: the thread and its server (`server.rs`), which path means what (`routes.rs`), the key (`guard.rs`), what is
//!   answered when something is wrong (`problem.rs`), probes and metrics (`probes.rs`), the API (`api/`).
//! - **Does not**: anything an embedding service could not do: every answer comes through [`EngineHandle`](crate::EngineHandle).
//! - **Invariants**: not on a shard's thread, and a shard is only asked what it answers between turns; every question has a time
//!   limit; without a key there is no API, and where strangers can reach the port, no metrics; keys are compared in constant time;
//!   head, body, connections and time of a request are bounded.
//! - **Called by** the engine's builder (starting) and its end (stopping). **Calls** `engine/` through its handle, `telemetry/`.
//! - **Tests**: `tests/admin.rs`; the guide `docs/guides/operations.md` is run by `tests/foreign/test_operations.py`.
//!
//! Served by axum on a tokio runtime of one thread: `docs/decisions/0014-the-admin-port.md` says why.

mod api;
mod guard;
mod probes;
mod problem;
mod routes;
mod server;

pub(crate) use server::{AdminThread, bind, start};

use std::time::Duration;

/// How long a scrape waits for a shard's numbers.
const REPORT_LIMIT: Duration = Duration::from_secs(1);

/// How long a search, or the outcome of a command, is waited for.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
