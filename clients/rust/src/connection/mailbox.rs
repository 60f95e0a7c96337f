//! What a connection received and nobody has taken yet, and how it ended: the only state its handle and task share.

use super::OnEnd;
use crate::message::{Ending, Message};
use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::{Mutex, MutexGuard},
    task::{Context, Poll, Waker},
};

#[derive(Default)]
struct Inside {
    queue: VecDeque<Message>,
    bytes: usize,
    /// Whether what comes is dropped.
    discarding: bool,
    /// Whether the handle was dropped.
    abandoned: bool,
    /// Whether the handle waits for the end.
    closing: bool,
    /// Known from the close frame or error on.
    ending: Option<Ending>,
    /// The task has ended and the socket is closed.
    gone: bool,
    on_end: Option<OnEnd>,
    reader: Option<Waker>,
    closer: Option<Waker>,
    driver: Option<Waker>,
}

pub(super) struct Mailbox {
    inside: Mutex<Inside>,
    max_messages: usize,
    max_bytes: usize,
}

/// What the driver should do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// There is room: read.
    Free,
    /// The handle's queue is full: do not read until woken.
    Full,
    /// The handle waits for the end, or is gone: what comes is dropped, and the end must come in time.
    Leaving {
        /// It is gone.
        abandoned: bool,
    },
}

impl Mailbox {
    pub(super) fn new(max_messages: usize, max_bytes: usize) -> Mailbox {
        Mailbox {
            inside: Mutex::default(),
            max_messages: max_messages.max(1),
            max_bytes: max_bytes.max(1),
        }
    }

    /// Nobody panics while holding the lock; should it happen all the same, the state is whole between two statements.
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    // ---- for the task ----

    /// Whether there is room for one more message; registers the task for a change.
    pub(super) fn poll_room(&self, cx: &mut Context<'_>) -> Room {
        let mut inside = self.lock();
        register(&mut inside.driver, cx);
        if inside.abandoned || inside.closing {
            Room::Leaving {
                abandoned: inside.abandoned,
            }
        } else if inside.queue.len() < self.max_messages && inside.bytes < self.max_bytes {
            Room::Free
        } else {
            Room::Full
        }
    }

    pub(super) fn offer(&self, message: Message) {
        let mut inside = self.lock();
        if inside.discarding || inside.abandoned || inside.closing {
            crate::telemetry::discarded();
            return;
        }
        inside.bytes += message.len();
        inside.queue.push_back(message);
        wake(&mut inside.reader);
    }

    /// The end is known: the first word stands.
    pub(super) fn set_ending(&self, ending: Ending) {
        let mut inside = self.lock();
        inside.ending.get_or_insert(ending);
        wake(&mut inside.reader);
    }

    /// The socket is closed.
    pub(super) fn set_gone(&self) {
        let mut inside = self.lock();
        inside
            .ending
            .get_or_insert_with(|| Ending::cut("it was aborted here"));
        inside.gone = true;
        wake(&mut inside.reader);
        wake(&mut inside.closer);
        let on_end = inside.on_end.take();
        drop(inside);
        if let Some(on_end) = on_end {
            on_end();
        }
    }

    // ---- for the handle ----

    /// The next message, or the end behind the last one.
    pub(super) fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Result<Message, Ending>> {
        let mut inside = self.lock();
        if let Some(message) = inside.queue.pop_front() {
            inside.bytes -= message.len();
            wake(&mut inside.driver);
            return Poll::Ready(Ok(message));
        }
        match &inside.ending {
            Some(ending) => Poll::Ready(Err(ending.clone())),
            None => {
                register(&mut inside.reader, cx);
                Poll::Pending
            }
        }
    }

    pub(super) fn ending(&self) -> Option<Ending> {
        self.lock().ending.clone()
    }

    pub(super) fn is_gone(&self) -> bool {
        self.lock().gone
    }

    pub(super) fn set_discarding(&self, discarding: bool) {
        let mut inside = self.lock();
        inside.discarding = discarding;
        if discarding && !inside.queue.is_empty() {
            inside.queue.clear();
            inside.bytes = 0;
            wake(&mut inside.driver);
        }
    }

    pub(super) fn abandon(&self) {
        let mut inside = self.lock();
        inside.abandoned = true;
        inside.queue = VecDeque::new();
        inside.bytes = 0;
        wake(&mut inside.driver);
    }

    pub(super) fn on_end(&self, on_end: OnEnd) {
        let mut inside = self.lock();
        if !inside.gone {
            inside.on_end = Some(on_end);
            return;
        }
        drop(inside);
        on_end();
    }

    /// The handle is given up and waits for the end: what was not taken is dropped.
    pub(super) fn set_closing(&self) {
        let mut inside = self.lock();
        inside.closing = true;
        inside.queue.clear();
        inside.bytes = 0;
        wake(&mut inside.driver);
    }

    /// Waits until the socket is closed.
    pub(super) async fn gone(&self) -> Ending {
        poll_fn(|cx| {
            let mut inside = self.lock();
            if !inside.gone {
                register(&mut inside.closer, cx);
                return Poll::Pending;
            }
            match &inside.ending {
                Some(ending) => Poll::Ready(ending.clone()),
                None => unreachable!("set_gone sets an ending"),
            }
        })
        .await
    }
}

fn register(slot: &mut Option<Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) if waker.will_wake(cx.waker()) => {}
        _ => *slot = Some(cx.waker().clone()),
    }
}

fn wake(slot: &mut Option<Waker>) {
    if let Some(waker) = slot.take() {
        waker.wake();
    }
}
