//! Waiting for a connection.

use super::{
    core::{Answer, Core, Requested},
    guard::PooledConnection,
    shared::Shared,
};
use crate::telemetry::{self, Acquired};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::oneshot,
    time::{self, Instant},
};

/// No connection was acquired. The pool is as before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AcquireError {
    /// None was free, or could be opened, within [`PoolOptions::acquire_timeout`](super::PoolOptions::acquire_timeout). The
    /// counts tell whether the pool is too small (`active` at the maximum) or its backends do not answer.
    #[error(
        "no connection within {waited:?} ({active} in use, {idle} idle, {waiting} waiting){}",
        .last_error.as_ref().map(|error| format!("; last error: {error}")).unwrap_or_default()
    )]
    TimedOut {
        /// How long was waited.
        waited: Duration,
        /// Connections in use at that moment.
        active: usize,
        /// Idle ones, of backends this acquire could not use.
        idle: usize,
        /// How many others waited.
        waiting: usize,
        /// The last failure of any backend.
        last_error: Option<String>,
    },
    /// Every backend is unhealthy or its circuit breaker open: waiting would not help, so nobody waits.
    #[error("no backend is available: {}", .reasons.join("; "))]
    Unavailable {
        /// What is wrong with each.
        reasons: Vec<String>,
    },
    /// The pool is closed.
    #[error("the pool is closed")]
    Closed,
}

/// One place in the queue; left when dropped.
struct Place<'s> {
    shared: &'s Shared,
    ticket: u64,
    answered: oneshot::Receiver<Answer>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        // If the answer came at the same moment, it is a guard in the channel, and is dropped with it.
        let ticket = self.ticket;
        self.shared
            .change(|core, now, actions| core.cancel(ticket, now, actions));
    }
}

pub(super) async fn acquire(
    shared: &Arc<Shared>,
    key: Option<u64>,
) -> Result<PooledConnection, AcquireError> {
    let begin = Instant::now();
    let mut outcome = Acquired::Idle;
    let result = acquire_by(shared, key, begin, &mut outcome).await;
    match &result {
        Ok(_) => {}
        Err(AcquireError::TimedOut { .. }) => outcome = Acquired::TimedOut,
        Err(AcquireError::Unavailable { .. }) => outcome = Acquired::Unavailable,
        Err(AcquireError::Closed) => outcome = Acquired::Closed,
    }
    telemetry::acquired(outcome, begin.elapsed());
    result
}

async fn acquire_by(
    shared: &Arc<Shared>,
    key: Option<u64>,
    begin: Instant,
    outcome: &mut Acquired,
) -> Result<PooledConnection, AcquireError> {
    let options = &*shared.options;
    let (patience, validation) = (options.acquire_timeout, options.validation_timeout);
    let mut ticket = None;
    let mut now = begin;
    loop {
        let requested = shared.change_at(now, |core, now, actions| {
            core.request(&mut ticket, key, now, actions)
        });
        let guard = match requested {
            Requested::Ready(lease) => PooledConnection::new(lease, shared.clone()),
            Requested::Failed(error) => return Err(error),
            Requested::Wait(answered) => {
                *outcome = Acquired::Waited;
                let mut place = Place {
                    shared,
                    ticket: ticket.expect("a request has written it"),
                    answered,
                };
                let left = patience.saturating_sub(begin.elapsed());
                match time::timeout(left, &mut place.answered).await {
                    Ok(Ok(answer)) => answer?,
                    Ok(Err(_)) => return Err(AcquireError::Closed),
                    Err(_) => {
                        drop(place);
                        return Err(shared.look(|core| timed_out(core, begin.elapsed())));
                    }
                }
            }
        };
        if !options.validate_on_checkout || !guard.is_reused() {
            guard.set_discarding(false);
            return Ok(guard);
        }
        let left = patience.saturating_sub(begin.elapsed());
        match guard.ping(validation.min(left)).await {
            Ok(_) => {
                // The pong came behind everything that was meant for the last user.
                guard.set_discarding(false);
                shared.look(|core| core.validated(guard.member()));
                return Ok(guard);
            }
            Err(error) => {
                tracing::debug!(backend = guard.backend(), %error, "connection failed its validation");
                // One that has ended says nothing about its backend; one that does not answer does.
                match guard.is_open() && validation <= left {
                    true => guard.dead(),
                    false => guard.discard(),
                }
                now = Instant::now();
                if now - begin >= patience {
                    return Err(shared.look(|core| timed_out(core, begin.elapsed())));
                }
            }
        }
    }
}

fn timed_out(core: &mut Core, waited: Duration) -> AcquireError {
    let members = &core.members;
    AcquireError::TimedOut {
        waited,
        active: members.iter().map(|member| member.active).sum(),
        idle: members.iter().map(|member| member.idle.len()).sum(),
        waiting: core.waiters.len(),
        last_error: members
            .iter()
            .find_map(|member| Some(format!("{}: {}", member.id, member.last_error.as_ref()?))),
    }
}
