//! The threads on which verifiers run, and their futures: so that no shard computes a signature or waits for a database.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use shardwire_shards::vocabulary::{Denied, Verdict};

use super::{Attempt, Verification, Verifier};

/// Attempts that may be under way at once; beyond that, one is denied as unavailable. Each holds a token and maybe a request, up to
/// 24 KiB, and a node that has so many unanswered ones has a verifier that does not keep up.
const UNDER_WAY_MAX: usize = 16_384;

/// What is done with a verdict: bring it to whoever waits. Runs on one of the threads.
pub(super) type Deliver = Box<dyn FnOnce(Verdict) + Send>;

/// Threads that poll verifications. They end when it is dropped.
pub(super) struct Pool {
    queue: Arc<Queue>,
    verifier: Arc<dyn Verifier>,
    under_way: Arc<AtomicUsize>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("under_way", &self.under_way)
            .finish_non_exhaustive()
    }
}

/// Tasks that can go on.
#[derive(Default)]
struct Queue {
    ready: Mutex<Ready>,
    more: Condvar,
}

#[derive(Default)]
struct Ready {
    tasks: VecDeque<Arc<Task>>,
    closed: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Ready> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, task: Arc<Task>) {
        self.lock().tasks.push_back(task);
        self.more.notify_one();
    }

    /// Blocks until there is a task; none when the pool is gone.
    fn pop(&self) -> Option<Arc<Task>> {
        let mut ready = self.lock();
        loop {
            if ready.closed {
                return None;
            }
            if let Some(task) = ready.tasks.pop_front() {
                return Some(task);
            }
            ready = self
                .more
                .wait(ready)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// One attempt.
struct Task {
    work: Mutex<Option<Work>>,
    queued: AtomicBool,
    cancelled: AtomicBool,
    queue: Arc<Queue>,
}

struct Work {
    verification: Stage,
    deliver: Deliver,
    _count: Count,
}

/// The verifier is called on a thread of the pool, too: it may compute before it gives its future.
enum Stage {
    Called(Arc<dyn Verifier>, Option<Attempt>),
    Begun(Verification),
}

/// One of those under way, until it is dropped.
struct Count(Arc<AtomicUsize>);

impl Drop for Count {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            let queue = Arc::clone(&self.queue);
            queue.push(self);
        }
    }
}

impl Task {
    /// One step, on a thread of the pool.
    fn run(self: &Arc<Self>) {
        self.queued.store(false, Ordering::Release);
        let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        if self.cancelled.load(Ordering::Acquire) {
            let given_up = work.take();
            drop(work);
            // What a verifier's future does when it is dropped is its own affair, too.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(given_up)));
            return;
        }
        let Some(Work { verification, .. }) = work.as_mut() else {
            return;
        };
        let waker = Waker::from(Arc::clone(self));
        let polled = catch_unwind(AssertUnwindSafe(|| {
            if let Stage::Called(verifier, attempt) = verification
                && let Some(attempt) = attempt.take()
            {
                *verification = Stage::Begun(verifier.verify(attempt));
            }
            match verification {
                Stage::Begun(verification) => {
                    verification.as_mut().poll(&mut Context::from_waker(&waker))
                }
                Stage::Called(..) => Poll::Ready(Err(Denied::Unavailable)),
            }
        }));
        let verdict = match polled {
            Ok(Poll::Pending) => return,
            Ok(Poll::Ready(verdict)) => verdict,
            Err(_) => {
                tracing::error!(
                    "a verifier panicked; whoever it was asked about is told to come back later"
                );
                Err(Denied::Unavailable)
            }
        };
        if let Some(done) = work.take() {
            drop(work);
            (done.deliver)(verdict);
        }
    }
}

/// Held by whoever waits for a verdict. Dropped before the verdict is there, it ends the attempt where it awaits.
pub(crate) struct Ticket(Arc<Task>);

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ticket")
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.cancelled.store(true, Ordering::Release);
        Arc::clone(&self.0).wake();
    }
}

impl Pool {
    pub(super) fn start(threads: usize, verifier: Arc<dyn Verifier>) -> io::Result<Self> {
        let pool = Self {
            queue: Arc::default(),
            verifier,
            under_way: Arc::default(),
        };
        for index in 0..threads {
            let queue = Arc::clone(&pool.queue);
            thread::Builder::new()
                .name(format!("verifier-{index}"))
                .spawn(move || {
                    while let Some(task) = queue.pop() {
                        task.run();
                    }
                })?;
        }
        Ok(pool)
    }

    /// Begins an attempt. None: there are too many under way.
    pub(super) fn verify(&self, attempt: Attempt, deliver: Deliver) -> Option<Ticket> {
        let before = self.under_way.fetch_add(1, Ordering::Relaxed);
        let count = Count(Arc::clone(&self.under_way));
        if before >= UNDER_WAY_MAX {
            return None;
        }
        let task = Arc::new(Task {
            work: Mutex::new(Some(Work {
                verification: Stage::Called(Arc::clone(&self.verifier), Some(attempt)),
                deliver,
                _count: count,
            })),
            queued: AtomicBool::new(true),
            cancelled: AtomicBool::new(false),
            queue: Arc::clone(&self.queue),
        });
        self.queue.push(Arc::clone(&task));
        Some(Ticket(task))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut ready = self.queue.lock();
        ready.closed = true;
        // What nobody will poll any more is dropped outside the lock: its end may wake somebody.
        let tasks = std::mem::take(&mut ready.tasks);
        drop(ready);
        self.queue.more.notify_all();
        drop(tasks);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::mpsc;
    use std::time::{Duration, Instant};

    use shardwire_shards::vocabulary::Token;

    use super::*;
    use crate::auth::{Identity, Source};

    fn attempt(token: &str) -> Attempt {
        Attempt {
            token: Token::new(token).map(|token| (token, Source::Header)),
            request: None,
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            user: None,
        }
    }

    fn pool(threads: usize, verifier: impl Verifier) -> Pool {
        Pool::start(threads, Arc::new(verifier)).unwrap()
    }

    fn ask(pool: &Pool, token: &str) -> (Ticket, mpsc::Receiver<Verdict>) {
        let (sender, receiver) = mpsc::channel();
        let deliver = Box::new(move |verdict| drop(sender.send(verdict)));
        (pool.verify(attempt(token), deliver).unwrap(), receiver)
    }

    const PATIENCE: Duration = Duration::from_secs(20);

    /// Waits without occupying its thread, as an answer from elsewhere does.
    async fn elsewhere(delay: Duration) {
        let (sender, receiver) = oneshot::channel();
        thread::spawn(move || {
            thread::sleep(delay);
            let _ = sender.send(());
        });
        let _ = receiver.into_future().await;
    }

    /// A verdict is told (and an attempt dropped) a moment before it stops counting.
    fn comes_to_rest(pool: &Pool) {
        let begin = Instant::now();
        while pool.under_way.load(Ordering::Relaxed) > 0 {
            assert!(begin.elapsed() < PATIENCE, "something is still under way");
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_hundred_slow_verdicts_share_one_thread() {
        let pool = pool(1, |attempt: Attempt| async move {
            elsewhere(Duration::from_millis(200)).await;
            Ok(Identity::new(attempt.token().unwrap()))
        });
        let begin = Instant::now();
        let waiting: Vec<_> = (0..100).map(|n| ask(&pool, &n.to_string())).collect();
        for (n, (_ticket, receiver)) in waiting.iter().enumerate() {
            let identity = receiver.recv_timeout(PATIENCE).unwrap().unwrap();
            assert_eq!(**identity.user(), n.to_string());
        }
        assert!(
            begin.elapsed() < Duration::from_secs(10),
            "one after the other would take 20 s"
        );
        comes_to_rest(&pool);
    }

    #[test]
    fn a_panic_is_a_verdict_and_the_thread_goes_on() {
        let pool = pool(1, |attempt: Attempt| {
            assert_ne!(attempt.token(), Some("at once"), "planned");
            async move {
                assert_ne!(attempt.token(), Some("later"), "planned");
                Ok(Identity::new("ann"))
            }
        });
        for (token, expected) in [
            ("at once", Err(Denied::Unavailable)),
            ("later", Err(Denied::Unavailable)),
            ("well", Ok(Identity::new("ann"))),
        ] {
            let (_ticket, receiver) = ask(&pool, token);
            assert_eq!(receiver.recv_timeout(PATIENCE).unwrap(), expected);
        }
    }

    /// Tells when it is dropped.
    struct Guard(mpsc::Sender<()>);

    impl Drop for Guard {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }

    #[test]
    fn an_attempt_nobody_waits_for_is_dropped_where_it_awaits() {
        let (sender, dropped) = mpsc::channel();
        let sender = Mutex::new(sender);
        let pool = pool(1, move |_: Attempt| {
            let guard = Guard(sender.lock().unwrap().clone());
            async move {
                let _guard = guard;
                std::future::pending::<()>().await;
                Err(Denied::Wrong)
            }
        });
        let (ticket, receiver) = ask(&pool, "x");
        assert!(receiver.recv_timeout(Duration::from_millis(100)).is_err());
        drop(ticket);
        dropped.recv_timeout(PATIENCE).unwrap();
        assert!(receiver.recv_timeout(PATIENCE).is_err(), "no verdict comes");
        comes_to_rest(&pool);
    }

    #[test]
    fn too_many_at_once_are_turned_away() {
        let pool = pool(1, |_: Attempt| std::future::pending());
        pool.under_way.store(UNDER_WAY_MAX, Ordering::Relaxed);
        assert!(pool.verify(attempt("x"), Box::new(|_| {})).is_none());
        assert_eq!(pool.under_way.load(Ordering::Relaxed), UNDER_WAY_MAX);
    }
}
