//! The line of progress on standard error: rewritten in place on a terminal, one line per second elsewhere.

use std::io::{IsTerminal, Write};

use super::units::{count, time};
use crate::measure::clock;
use crate::processes::messages::{Phase, Progress};

/// Shows how the run goes.
pub struct ProgressLine {
    shown: bool,
    in_place: bool,
    width: usize,
    begun: u64,
    last: Option<(u64, Progress)>,
}

impl ProgressLine {
    /// On standard error.
    pub fn new() -> Self {
        Self {
            shown: true,
            in_place: std::io::stderr().is_terminal(),
            width: 0,
            begun: clock::now(),
            last: None,
        }
    }

    /// Shows nothing.
    pub fn silent() -> Self {
        Self {
            shown: false,
            in_place: false,
            width: 0,
            begun: clock::now(),
            last: None,
        }
    }

    /// Shows the state of all workers together.
    pub fn show(&mut self, progress: &Progress) {
        if !self.shown {
            return;
        }
        let now = clock::now();
        let text = describe(
            clock::seconds(now - self.begun),
            self.last
                .as_ref()
                .map(|(at, last)| (clock::seconds(now - at), last)),
            progress,
        );
        self.last = Some((now, *progress));
        let width = self.width.max(text.len());
        self.width = text.len();
        let mut stderr = std::io::stderr().lock();
        // A line of progress that cannot be shown is no reason to end the run.
        let _ = if self.in_place {
            write!(stderr, "\r{text:<width$}")
        } else {
            writeln!(stderr, "{text}")
        };
        let _ = stderr.flush();
    }

    /// No more progress: the report may follow.
    pub fn end(&mut self) {
        if self.shown && self.in_place && self.width > 0 {
            eprintln!();
        }
        self.shown = false;
    }
}

fn describe(elapsed: f64, last: Option<(f64, &Progress)>, progress: &Progress) -> String {
    let phase = match progress.phase {
        Phase::Opening => "opening",
        Phase::WarmUp => "warm-up",
        Phase::Measuring => "measuring",
        Phase::Draining => "draining",
    };
    let mut text = format!("{elapsed:>4.0} s {phase:<9}  {} open", count(progress.open));
    if progress.phase == Phase::Opening {
        text += &format!(" of {}", count(progress.wanted));
    }
    if let Some((seconds, last)) = last.filter(|(seconds, _)| *seconds > 0.0) {
        let rate = |now: u64, before: u64| {
            count((now.saturating_sub(before) as f64 / seconds).round() as u64)
        };
        text += &format!(
            "  sent {}/s  received {}/s",
            rate(progress.sent, last.sent),
            rate(progress.received, last.received)
        );
    }
    if let Some(p99) = progress.p99 {
        text += &format!("  p99 {}", time(p99 as f64 / 1_000.0));
    }
    if progress.errors > 0 {
        text += &format!("  {} errors", count(progress.errors));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_phase_rates_and_errors() {
        let before = Progress {
            phase: Phase::WarmUp,
            wanted: 5,
            open: 5,
            sent: 0,
            received: 0,
            p99: None,
            errors: 0,
        };
        assert_eq!(describe(1.0, None, &before), "   1 s warm-up    5 open");
        let now = Progress {
            phase: Phase::Measuring,
            sent: 30_000,
            received: 29_000,
            p99: Some(1_500_000),
            errors: 2,
            ..before
        };
        assert_eq!(
            describe(3.0, Some((2.0, &before)), &now),
            "   3 s measuring  5 open  sent 15,000/s  received 14,500/s  p99 1.50 ms  2 errors"
        );
    }
}
