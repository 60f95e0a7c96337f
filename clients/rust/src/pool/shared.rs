//! The pool's state behind its lock, and what is done when the lock is released.

use super::{
    core::{Actions, Core, End, Key, Lease, Opening, Return},
    guard::PooledConnection,
    options::PoolOptions,
};
use crate::{connection::Connection, error::ConnectError, options::ConnectOptions};
use shardwire_protocol::codes::close;
use std::{
    sync::{Arc, Mutex, Weak},
    time::Duration,
};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use tracing::{Instrument, Span};

/// A connection on its way out counts against the maximum: one to a backend that answers nothing any more must not count for
/// long.
const CLOSE_TIMEOUT_MAX: Duration = Duration::from_secs(1);

pub(super) struct Shared {
    core: Mutex<Core>,
    pub(super) options: Arc<PoolOptions>,
    /// How connections are opened: as the options say, but closed sooner.
    pub(super) connect: ConnectOptions,
    /// Wakes the keeper when its next deadline may have changed.
    pub(super) keeper: Notify,
    /// True when the pool is closed: every task of it ends.
    pub(super) closed: watch::Sender<bool>,
    /// Told when nothing is left of a closed pool.
    pub(super) emptied: Notify,
    /// All that the pool does by itself is inside of it.
    pub(super) span: Span,
    this: Weak<Shared>,
}

impl Shared {
    pub(super) fn new(core: Core) -> Arc<Shared> {
        let mut connect = core.options.connect.clone();
        connect.close_timeout = connect.close_timeout.min(CLOSE_TIMEOUT_MAX);
        Arc::new_cyclic(|this| Shared {
            options: core.options.clone(),
            connect,
            core: Mutex::new(core),
            keeper: Notify::new(),
            closed: watch::Sender::new(false),
            emptied: Notify::new(),
            span: tracing::info_span!("pool"),
            this: this.clone(),
        })
    }

    fn this(&self) -> Arc<Shared> {
        self.this
            .upgrade()
            .expect("somebody holds it: it is called")
    }

    /// Changes the state, then does what follows from it, without the lock.
    pub(super) fn change<R>(
        &self,
        change: impl FnOnce(&mut Core, Instant, &mut Actions) -> R,
    ) -> R {
        self.change_at(Instant::now(), change)
    }

    /// The same at a moment that was read just now: reading the clock is a good part of what an acquire costs.
    pub(super) fn change_at<R>(
        &self,
        now: Instant,
        change: impl FnOnce(&mut Core, Instant, &mut Actions) -> R,
    ) -> R {
        let mut actions = Actions::default();
        let result = self.look(|core| change(core, now, &mut actions));
        self.perform(actions);
        result
    }

    /// Looks at the state, or changes it without consequences.
    pub(super) fn look<R>(&self, look: impl FnOnce(&mut Core) -> R) -> R {
        // A panic under the lock would be a fault of ours; the state is whole between two statements that matter.
        let mut core = self
            .core
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let result = look(&mut core);
        #[cfg(debug_assertions)]
        core.assert_sound();
        result
    }

    fn perform(&self, actions: Actions) {
        for opening in actions.openings {
            self.open(opening);
        }
        for (connection, end) in actions.endings {
            match end {
                End::Close => connection.close_in_background(close::NORMAL, "not needed any more"),
                End::Cut => connection.abort(),
            }
        }
        for (answer, result) in actions.deliveries {
            // Whoever does not wait any more drops the guard, and the connection comes back.
            let guarded = result.map(|lease| PooledConnection::new(lease, self.this()));
            let _ = answer.send(guarded);
        }
        if actions.wake_keeper {
            self.keeper.notify_one();
        }
        if actions.emptied {
            self.emptied.notify_waiters();
        }
    }

    pub(super) fn release(&self, lease: Lease, why: Return) {
        self.change(|core, now, actions| core.release(lease, why, now, actions));
    }

    /// Opens a connection in a task of its own: whoever it is for may go away meanwhile, and it is not lost.
    fn open(&self, opening: Opening) {
        let shared = self.this();
        let mut closed = self.closed.subscribe();
        let opened = async move {
            let report = Report {
                shared: &shared,
                key: opening.member,
                probe: opening.probe,
                told: false,
            };
            tokio::select! {
                biased;
                _ = closed.wait_for(|closed| *closed) => {}
                result = Connection::open_to(&opening.target, &shared.connect) => report.tell(result),
            }
        };
        tokio::spawn(opened.instrument(self.span.clone()));
    }
}

/// Tells the pool how an opening ended: also when its task is cancelled, or a connector panics.
struct Report<'s> {
    shared: &'s Arc<Shared>,
    key: Key,
    probe: bool,
    told: bool,
}

impl Report<'_> {
    fn tell(mut self, result: Result<Connection, ConnectError>) {
        self.told = true;
        let watch = result.as_ref().ok().map(Connection::sender);
        let id = self.shared.look(Core::number);
        self.shared.change(|core, now, actions| {
            core.opened(self.key, self.probe, id, result, now, actions);
        });
        // Only now: before, the pool would not know whose end it is.
        if let Some(watch) = watch {
            let (shared, key) = (Arc::downgrade(self.shared), self.key);
            watch.on_end(Box::new(move || {
                if let Some(shared) = shared.upgrade() {
                    shared.change(|core, now, actions| core.gone(key, id, now, actions));
                }
            }));
        }
    }
}

impl Drop for Report<'_> {
    fn drop(&mut self) {
        if !self.told {
            self.shared.change(|core, now, actions| {
                core.opening_lost(self.key, self.probe, now, actions);
            });
        }
    }
}
