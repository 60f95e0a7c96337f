//! Names of metrics (by the `metrics` facade: without a recorder they cost nearly nothing) and what is logged.
//!
//! | metric | kind | labels | is |
//! | --- | --- | --- | --- |
//! | `shardwire_client_connects_total` | counter | `outcome`: `opened`, `refused`, `failed`, `timed_out` | upgrades tried |
//! | `shardwire_client_connections` | gauge | | connections whose task runs |
//! | `shardwire_client_endings_total` | counter | `clean`: `yes`, `no` | connections that ended |
//! | `shardwire_client_discarded_total` | counter | | messages that came for an idle or closing connection |
//! | `shardwire_client_pool_acquires_total` | counter | `outcome`: `idle`, `waited`, `timed_out`, `unavailable`, `closed` | acquires that ended |
//! | `shardwire_client_pool_acquire_seconds` | histogram | | how long a successful acquire took |
//! | `shardwire_client_pool_connections` | gauge | `backend`, `state`: `active`, `idle` | sampled at each sweep |
//! | `shardwire_client_pool_waiting` | gauge | | sampled at each sweep |
//! | `shardwire_client_pool_healthy` | gauge | `backend` | 1 or 0 |
//! | `shardwire_client_pool_breaker_opened_total` | counter | `backend` | a circuit breaker opened |
//! | `shardwire_client_session_reconnects_total` | counter | | sessions that came back |
//! | `shardwire_client_session_missed_total` | counter | | messages dropped because a subscription was not read |

use crate::{error::ConnectError, message::Ending, websocket::WebSocket};
use std::time::Duration;

pub(crate) fn connected(result: &Result<WebSocket, ConnectError>) {
    let outcome = match result {
        Ok(_) => "opened",
        Err(ConnectError::Refused { .. }) => "refused",
        Err(ConnectError::TimedOut(_)) => "timed_out",
        Err(_) => "failed",
    };
    metrics::counter!("shardwire_client_connects_total", "outcome" => outcome).increment(1);
}

pub(crate) fn opened() {
    metrics::gauge!("shardwire_client_connections").increment(1.0);
}

pub(crate) fn ended(ending: Option<&Ending>) {
    metrics::gauge!("shardwire_client_connections").decrement(1.0);
    let clean = match ending {
        Some(ending) if ending.is_clean() => "yes",
        _ => "no",
    };
    metrics::counter!("shardwire_client_endings_total", "clean" => clean).increment(1);
}

pub(crate) fn discarded() {
    metrics::counter!("shardwire_client_discarded_total").increment(1);
}

/// How an acquire ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acquired {
    Idle,
    Waited,
    TimedOut,
    Unavailable,
    Closed,
}

pub(crate) fn acquired(outcome: Acquired, waited: Duration) {
    // Each label as a literal: its key is a constant, where a variable would be an allocation for each acquire.
    macro_rules! count {
        ($outcome:literal) => {
            metrics::counter!("shardwire_client_pool_acquires_total", "outcome" => $outcome)
        };
    }
    let counter = match outcome {
        Acquired::Idle => count!("idle"),
        Acquired::Waited => count!("waited"),
        Acquired::TimedOut => count!("timed_out"),
        Acquired::Unavailable => count!("unavailable"),
        Acquired::Closed => count!("closed"),
    };
    counter.increment(1);
    if matches!(outcome, Acquired::Idle | Acquired::Waited) {
        metrics::histogram!("shardwire_client_pool_acquire_seconds").record(waited.as_secs_f64());
    }
}
