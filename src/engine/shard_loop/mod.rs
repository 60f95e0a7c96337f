//! The loop that joins one driver to one shard: what the driver reports becomes inputs, what the shard asks for is carried out.
//!
//! **Lives here:** the turn (this file), arriving sockets and their upgrade (`arrivals.rs`), what proxies say before it
//! (`introductions.rs`), verdicts on their way (`verifying.rs`), sockets that speak TLS (`secure.rs`), what is kept on disk (`storing.rs`), carrying out effects
//! (`effects.rs`). **Does not:** decide about connections (the shard does) or know how the kernel is asked (the driver does).
//! **Invariants:** one turn is one wait, all its completions, one batch of mail and of the inbox, due deadlines, then effects until
//! there are none: a socket touched many times in a turn is written once. Before it blocks, the loop says so, and looks
//! into its queues once more.
//! **Called by:** `runtime/` (turn after turn). **Calls:** `shards/`, `transport/`, `listen/`, the driver.
//! **Tests:** `tests/` at the root.

mod arrivals;
mod effects;
mod introductions;
mod secure;
mod storing;
mod verifying;

use std::io;
use std::net::TcpListener;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use rustls::ServerConfig;
use shardwire_protocol::handshake::server::RequestLimits;
use shardwire_shards::placement::Placement;
use shardwire_shards::vocabulary::{Command, ConnectionId, Input, Now, SocketToken};
use shardwire_shards::{NodeCount, Shard};

use verifying::Verifications;

use super::ending::EndGuard;
use super::inbox::{Errand, Inboxes, Item, Questions};
use crate::handlers::{Finished, Tasks};
use crate::listen::{Proxies, Routes};
use crate::runtime::{Clock, Completion, Driver, ShardLoop, SocketId};
use crate::storage::StorageLink;
use crate::telemetry::{ShardReport, TurnTimes, Work};
use crate::transport::{Deadlines, Flushed, SocketState, Sockets, write_some};
use secure::Secure;

/// Longest sleep of a shard with nothing to do. Nothing depends on it: whoever has work for the shard rings its bell.
const IDLE_BLOCK: Duration = Duration::from_secs(1);

/// Longest sleep while draining, when the end of the last connection of *another* shard is what is waited for.
const DRAIN_BLOCK: Duration = Duration::from_millis(10);

/// Inbox items taken per turn: commands share the core with everybody else.
const INBOX_BATCH: usize = 256;

/// Rounds of effects and handlers per turn.
const HANDLER_ROUNDS: usize = 16;

/// Milliseconds before accepting is tried again when descriptors ran out.
const ACCEPT_RETRY_MS: u64 = 100;

/// What a shard's loop is made of, apart from the shard and its driver.
#[derive(Debug)]
pub(super) struct LoopParts {
    pub(super) clock: Clock,
    pub(super) inbox: Receiver<Item>,
    pub(super) inboxes: Inboxes,
    pub(super) node_count: NodeCount,
    pub(super) placement: Placement,
    pub(super) routes: Routes,
    pub(super) proxies: Proxies,
    pub(super) connection_timeout_ms: u64,
    /// What TLS sessions are made with; none: connections are plain.
    pub(super) tls: Option<Arc<ServerConfig>>,
    /// Its end of the storage, where something is kept on disk.
    pub(super) storage: Option<StorageLink>,
    /// Tells, when it is dropped, that this loop has ended, however it did.
    pub(super) _ending: EndGuard,
}

/// One shard at work.
pub(super) struct RunningShard<D> {
    shard: Shard,
    driver: D,
    sockets: Sockets,
    tasks: Tasks,
    finished: Vec<Finished>,
    questions: Questions,
    introduction_deadlines: Deadlines,
    introductions_refused: u64,
    errands: Vec<Box<dyn Errand>>,
    turns: TurnTimes,
    upgrade_deadlines: Deadlines,
    verify_deadlines: Deadlines,
    verifications: Verifications,
    linger_deadlines: Deadlines,
    accept_again_ms: Option<u64>,
    accept_failures: u64,
    request_limits: RequestLimits,
    completions: Vec<Completion>,
    /// Who is to be flushed, and how the last ones went.
    flushes: Vec<(ConnectionId, SocketToken)>,
    outcomes: Vec<io::Result<usize>>,
    draining: Option<u64>,
    secure: Secure,
    parts: LoopParts,
}

impl<D: Driver> RunningShard<D> {
    pub(super) fn new(
        mut parts: LoopParts,
        shard: Shard,
        mut driver: D,
        tasks: Tasks,
        listener: TcpListener,
    ) -> Self {
        if let Err(error) = driver.listen(listener) {
            // The driver is new, so this cannot be a second listener; whatever it is, the node must not pretend to serve.
            panic!("the driver does not listen: {error}");
        }
        Self {
            shard,
            driver,
            sockets: Sockets::default(),
            tasks,
            finished: Vec::new(),
            questions: Questions::default(),
            introduction_deadlines: Deadlines::default(),
            introductions_refused: 0,
            errands: Vec::new(),
            turns: TurnTimes::default(),
            upgrade_deadlines: Deadlines::default(),
            verify_deadlines: Deadlines::default(),
            verifications: Verifications::default(),
            linger_deadlines: Deadlines::default(),
            accept_again_ms: None,
            accept_failures: 0,
            request_limits: RequestLimits::default(),
            completions: Vec::new(),
            flushes: Vec::new(),
            outcomes: Vec::new(),
            draining: None,
            secure: Secure::new(parts.tls.take()),
            parts,
        }
    }

    fn now(&self) -> Now {
        Now {
            ms: self.parts.clock.elapsed_ms(),
            unix_ms: self.parts.clock.unix_ms(),
        }
    }

    /// How long the driver may block.
    fn patience(&self, now: Now) -> Duration {
        if self.shard.has_mail()
            || !self.parts.inbox.is_empty()
            || self.tasks.is_ready()
            || !self.errands.is_empty()
            || self.secure.has_work()
            || self.has_stored()
        {
            return Duration::ZERO;
        }
        let deadlines = [
            self.shard.next_deadline(now),
            self.introduction_deadlines.next(),
            self.upgrade_deadlines.next(),
            self.verify_deadlines.next(),
            self.verifications.next_deadline(),
            self.linger_deadlines.next(),
            self.accept_again_ms,
            self.tasks.next_deadline(),
            self.draining,
        ];
        let longest = if self.draining.is_some() {
            DRAIN_BLOCK
        } else {
            IDLE_BLOCK
        };
        match deadlines.into_iter().flatten().min() {
            Some(deadline) => Duration::from_millis(deadline.saturating_sub(now.ms)).min(longest),
            None => longest,
        }
    }

    /// Blocks until something happened, at most until the next deadline.
    fn wait(&mut self) {
        let mut patience = self.patience(self.now());
        if !patience.is_zero()
            && (!self.shard.fall_asleep()
                || !self.parts.inbox.is_empty()
                || self.tasks.is_ready()
                || self.has_stored())
        {
            patience = Duration::ZERO;
        }
        let mut completions = std::mem::take(&mut self.completions);
        if let Err(error) = self.driver.wait(Some(patience), &mut completions) {
            // Without its driver a shard serves nobody: fail loudly, the node is restarted from outside.
            panic!("the driver is broken: {error}");
        }
        self.shard.wake_up();
        self.completions = completions;
    }

    fn completion(&mut self, now: Now, completion: Completion) {
        match completion {
            Completion::Accepted(socket) => self.accepted(now, socket),
            Completion::AcceptFailed(error) => self.accept_failed(now, &error),
            Completion::Received {
                socket,
                buffer,
                len,
            } => {
                self.received(now, socket, buffer, len);
                self.driver.recycle(buffer);
            }
            // What was read of it goes home first; its end is found there again.
            Completion::Ended {
                socket,
                error: None,
            } if self.is_handed_off(socket) => self.stopped(socket),
            Completion::Ended { socket, error: _ } => self.ended(now, socket),
            Completion::Stopped { socket } => self.stopped(socket),
            Completion::Writable { socket } => self.writable(now, socket),
            Completion::Bell => {}
        }
    }

    fn writable(&mut self, now: Now, socket: SocketId) {
        match self.sockets.get_mut(socket) {
            Some(&mut SocketState::Connection(connection)) => {
                if self.flush(now, connection, socket) == Flushed::Broken {
                    self.lose(now, socket);
                }
            }
            Some(SocketState::Responding(responding)) => {
                match write_some(&mut self.driver, socket, responding) {
                    Flushed::Done => self.linger(now, socket),
                    Flushed::Blocked => {}
                    Flushed::Broken => self.lose(now, socket),
                }
            }
            _ => self.send_unsent(now, socket),
        }
    }

    /// Effects and the handlers they call, until neither brings more; a handler that needs no waiting answers in the turn its
    /// message came. Bounded, so that one connection's long row of messages does not hold up the others.
    fn run_handlers(&mut self, now: Now) {
        self.carry_out(now);
        for _ in 0..HANDLER_ROUNDS {
            if !self.tasks.is_ready() && self.tasks.next_deadline().is_none_or(|at| at > now.ms) {
                break;
            }
            let mut finished = std::mem::take(&mut self.finished);
            self.tasks.poll(now.ms, &mut finished);
            while let Some(command) = self.tasks.take_asked() {
                self.shard.handle(now, Input::Command(command));
            }
            for Finished {
                connection,
                outcome,
            } in finished.drain(..)
            {
                self.shard.handle(
                    now,
                    Input::Returned {
                        connection,
                        outcome,
                    },
                );
            }
            self.finished = finished;
            self.carry_out(now);
        }
    }

    fn take_inbox(&mut self, now: Now) {
        for _ in 0..INBOX_BATCH {
            let Ok(item) = self.parts.inbox.try_recv() else {
                break;
            };
            match item {
                Item::Command(command) => self.shard.handle(now, Input::Command(command)),
                Item::Ask {
                    id,
                    command,
                    waiting,
                } => {
                    self.questions.note(id, waiting);
                    self.shard.handle(now, Input::Command(command));
                }
                // Whoever asked may have given up waiting.
                Item::Report(answer) => {
                    let _ = answer.send(self.report());
                }
                Item::Search(errand) => self.errands.push(errand),
                Item::Ping(answer) => {
                    let _ = answer.send(());
                }
                Item::Socket(handed_off) => self.handed_off(now, handed_off),
                Item::Verdict(verdict_for, verdict) => self.verdict(now, verdict_for, *verdict),
                Item::Certificate(config) => self.secure.replace(config),
                Item::Drain {
                    window_ms,
                    deadline_ms,
                } => self.drain(now, window_ms, deadline_ms),
            }
        }
    }

    /// One slice of every search; the turns of connections go between.
    fn run_errands(&mut self, now: Now) {
        let shard = &self.shard;
        self.errands.retain_mut(|errand| errand.step(now, shard));
    }

    /// All numbers of this shard.
    fn report(&self) -> ShardReport {
        ShardReport {
            counters: *self.shard.counters(),
            gauges: self.shard.gauges(),
            ends: self.shard.ends().clone(),
            work: Work {
                sockets: self.sockets.len() as u64,
                upgrading: self.sockets.upgrading() as u64,
                inbox: self.parts.inbox.len() as u64,
                accept_failures: self.accept_failures,
            },
            turns: self.turns,
        }
    }

    fn deadlines(&mut self, now: Now) {
        if self
            .shard
            .next_deadline(now)
            .is_some_and(|deadline| deadline <= now.ms)
        {
            self.shard.handle(now, Input::Deadline);
        }
        while let Some(socket) = self.introduction_deadlines.pop_due(now.ms) {
            self.introduction_overdue(now, socket);
        }
        while let Some(socket) = self.upgrade_deadlines.pop_due(now.ms) {
            self.upgrade_overdue(now, socket);
        }
        self.verdicts_overdue(now);
        while let Some(socket) = self.linger_deadlines.pop_due(now.ms) {
            if let Some(SocketState::Lingering | SocketState::Responding(_)) =
                self.sockets.get_mut(socket)
            {
                self.sockets.take(socket);
                self.driver.close(socket);
            }
        }
        if self.accept_again_ms.is_some_and(|at| at <= now.ms) {
            self.accept_again_ms = None;
            self.driver.resume_accepting();
        }
    }

    /// Stops accepting and has the shard tell everybody to go. Sockets in the middle of their upgrade are cut: they have lost nothing.
    fn drain(&mut self, now: Now, window_ms: u64, deadline_ms: u64) {
        if self.draining.is_some() {
            return;
        }
        self.draining = Some(deadline_ms);
        self.driver.stop_accepting();
        for socket in self.sockets.all_upgrading() {
            self.lose(now, socket);
        }
        self.shard
            .handle(now, Input::Command(Command::Drain { window_ms }));
    }

    /// A draining shard stays until the last connection of *all* shards is gone, since it may be home to what they leave.
    fn is_done(&self, now: Now) -> bool {
        let Some(deadline) = self.draining else {
            return false;
        };
        (self.parts.node_count.get() == 0 && self.sockets.len() == 0) || now.ms >= deadline
    }
}

impl<D: Driver> ShardLoop for RunningShard<D> {
    fn turn(&mut self) -> ControlFlow<()> {
        self.wait();
        let begin = Instant::now();
        let now = self.now();
        self.greet_the_waiting(now);
        let mut completions = std::mem::take(&mut self.completions);
        for completion in completions.drain(..) {
            self.completion(now, completion);
        }
        self.completions = completions;
        if self.shard.has_mail() {
            self.shard.handle(now, Input::Mail);
        }
        self.take_inbox(now);
        self.take_stored(now);
        self.deadlines(now);
        if !self.errands.is_empty() {
            self.run_errands(now);
        }
        self.run_handlers(now);
        self.send_all_unsent(now);
        self.turns.count(begin.elapsed());
        if self.is_done(now) {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}
