//! What the ring knows of each socket.

use std::time::{Duration, Instant};

use crate::runtime::sockets::State;

/// Where a socket's receiving stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Receive {
    /// Not asked for; nothing in the kernel.
    #[default]
    Idle,
    /// A request is in the kernel (or queued for it).
    Armed,
    /// Asked for, but the buffers had run out: nothing in the kernel until some are back.
    Starved,
    /// A request is in the kernel, its cancel is on the way, and the caller waits for `Stopped`.
    Stopping,
    /// Nothing in the kernel; the caller's `Stopped` is due at the next wait.
    StopDue,
    /// End or failure was reported; nothing in the kernel, for good.
    Ended,
}

/// The requests of one socket.
#[derive(Default)]
pub(super) struct Requests {
    pub(super) receive: Receive,
    /// The caller wants to receive again after the `Stopped` it waits for.
    pub(super) again: bool,
    /// A poll for room to write is in the kernel.
    pub(super) polling: bool,
    /// It is in its slot of the table, and has no descriptor.
    pub(super) direct: bool,
    /// How often it has spoken in a row without a long silence between, to at most [`TALKATIVE`]; or [`NEW`].
    pub(super) talk: u8,
    /// What is armed is a poll, not a receive.
    pub(super) awaited: bool,
    /// When bytes last came.
    pub(super) heard: Age,
}

/// Who has spoken so often in a row is no longer waited for by a poll. Not sooner: what most
/// connections ever say in a row is their upgrade request and what they subscribe to, and to change
/// back takes a cancel, which is dear where there are very many requests.
pub(super) const TALKATIVE: u8 = 4;

/// Who has not spoken at all. Its first bytes, an upgrade request, are usually there before it is
/// received from for the first time, so that a poll would only be in between.
pub(super) const NEW: u8 = u8::MAX;

/// How a socket's next bytes are waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wait {
    /// By a receive that ends with them.
    Once,
    /// By a poll, and a receive when that answers.
    Poll,
    /// By a receive that stays armed.
    Stay,
}

impl Requests {
    pub(super) fn wait(&self) -> Wait {
        match self.talk {
            NEW => Wait::Once,
            0..TALKATIVE => Wait::Poll,
            TALKATIVE.. => Wait::Stay,
        }
    }
}

/// A coarse time that wraps: whoever has been silent for hours may now and then count as having just
/// spoken, which costs a few hundred bytes until it speaks.
pub(super) type Age = u8;

/// Tells who has been silent for long.
pub(super) struct Silence {
    begin: Instant,
    /// Milliseconds of one step; `None`: nobody ever is.
    step_ms: Option<u64>,
    /// As of the last [`Silence::look`].
    now: Age,
}

impl Silence {
    pub(super) fn new(quiet_after: Option<Duration>) -> Self {
        Self {
            begin: Instant::now(),
            step_ms: quiet_after.map(|after| after.as_millis() as u64 / 2),
            now: 0,
        }
    }

    /// Looks at the clock.
    pub(super) fn look(&mut self) {
        if let Some(step_ms @ 1..) = self.step_ms {
            self.now = (self.begin.elapsed().as_millis() as u64 / step_ms) as Age;
        }
    }

    pub(super) fn now(&self) -> Age {
        self.now
    }

    /// What a socket begins with that has not spoken yet.
    pub(super) fn first_talk(&self) -> u8 {
        match self.step_ms {
            None => TALKATIVE,
            Some(_) => NEW,
        }
    }

    /// What follows when it speaks again that was last `heard` then.
    pub(super) fn talk_after(&self, talk: u8, heard: Age) -> u8 {
        match talk {
            _ if self.was_long(heard) => 0,
            NEW => 1,
            talk => talk.saturating_add(1).min(TALKATIVE),
        }
    }

    /// Whether bytes that come now end a long silence.
    fn was_long(&self, heard: Age) -> bool {
        match self.step_ms {
            None => false,
            Some(0) => true,
            Some(_) => self.now.wrapping_sub(heard) >= 2,
        }
    }
}

impl State for Requests {
    fn in_kernel(&self) -> bool {
        self.polling || matches!(self.receive, Receive::Armed | Receive::Stopping)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_long_from_half_of_the_time_on_and_surely_after_it() {
        let at = |now| Silence {
            begin: Instant::now(),
            step_ms: Some(5_000),
            now,
        };
        for (now, heard, long) in [(0, 0, false), (1, 0, false), (2, 0, true), (255, 0, true)] {
            assert_eq!(at(now).was_long(heard), long, "{heard} to {now}");
        }
        // The clock goes round.
        assert!(!at(0).was_long(255));
        assert!(at(1).was_long(255));
        assert!(!Silence::new(None).was_long(7), "nobody is ever quiet");
        assert_eq!(Silence::new(None).first_talk(), TALKATIVE);
        assert!(Silence::new(Some(Duration::ZERO)).was_long(0), "all are");
    }

    #[test]
    fn who_speaks_often_enough_in_a_row_is_talkative_until_the_next_long_silence() {
        let mut silence = Silence::new(Some(Duration::from_secs(10)));
        let mut talk = silence.first_talk();
        for said in 0..TALKATIVE + 3 {
            let expected = match said {
                0 => Wait::Once,
                1..TALKATIVE => Wait::Poll,
                TALKATIVE.. => Wait::Stay,
            };
            let requests = Requests {
                talk,
                ..Requests::default()
            };
            assert_eq!(requests.wait(), expected, "after {said}");
            talk = silence.talk_after(talk, 0);
        }
        silence.now = 2;
        assert_eq!(silence.talk_after(talk, 0), 0);
    }
}
