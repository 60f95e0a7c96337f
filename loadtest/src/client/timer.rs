//! Sleeping to the microsecond: epoll's own timeout counts milliseconds, which is too coarse for a rate of 50,000 per second.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use crate::measure::clock::SECOND;

/// A timerfd in the poll. It wakes the poll by being readable (edge-triggered, so it is never read).
pub struct Timer {
    file: OwnedFd,
    armed: Option<u64>,
}

impl Timer {
    /// A timer that wakes `registry`'s poll with `token`.
    ///
    /// # Errors
    /// Out of files.
    pub fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let file = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        registry.register(&mut SourceFd(&file.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Self { file, armed: None })
    }

    /// Wakes the poll at `time` (nanoseconds of the monotonic clock, not 0); replaces what was armed before.
    ///
    /// # Errors
    /// None that a valid time can cause.
    pub fn arm(&mut self, time: u64) -> io::Result<()> {
        if self.armed == Some(time) {
            return Ok(());
        }
        let value = Itimerspec {
            it_interval: Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: Timespec {
                tv_sec: (time / SECOND) as i64,
                tv_nsec: (time % SECOND) as i64,
            },
        };
        timerfd_settime(&self.file, TimerfdTimerFlags::ABSTIME, &value)?;
        self.armed = Some(time);
        Ok(())
    }

    /// It rang: the next [`arm`](Self::arm) must arm again, whatever its time.
    pub fn rang(&mut self) {
        self.armed = None;
    }
}
