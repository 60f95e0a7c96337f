//! When to ping a silent peer, and when to give it up.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep_until};

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// The peer was silent for the interval: ask it.
    Ping,
    /// It did not answer that.
    GiveUp,
}

/// Watches for signs of life: any byte is one.
pub(super) struct Keepalive {
    interval: Duration,
    timeout: Duration,
    /// `None`: never pings.
    timer: Option<Pin<Box<Sleep>>>,
    seen: u64,
    asked: bool,
}

impl Keepalive {
    pub(super) fn new(interval: Option<Duration>, timeout: Duration) -> Keepalive {
        let interval = interval.unwrap_or(Duration::MAX);
        Keepalive {
            interval,
            timeout,
            timer: far(interval).map(|at| Box::pin(sleep_until(at))),
            seen: 0,
            asked: false,
        }
    }

    /// Call whenever the task runs, with the bytes received so far. `reading`: whether the socket is read at all; while our
    /// own user does not take messages, the peer's silence means nothing.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        received: u64,
        reading: bool,
    ) -> Option<Due> {
        let timer = self.timer.as_mut()?;
        if received != self.seen || !reading {
            self.seen = received;
            self.asked = false;
            timer.as_mut().reset(far(self.interval)?);
        }
        match timer.as_mut().poll(cx) {
            Poll::Pending => None,
            Poll::Ready(()) if self.asked => Some(Due::GiveUp),
            Poll::Ready(()) => {
                self.asked = true;
                timer.as_mut().reset(far(self.timeout)?);
                // Registers the task with the new deadline.
                let _ = timer.as_mut().poll(cx);
                Some(Due::Ping)
            }
        }
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }
}

fn far(after: Duration) -> Option<Instant> {
    Instant::now().checked_add(after)
}
