//! Processor time and memory of a process, from `/proc`.
//!
//! Layouts: proc_pid_stat(5) (fields 14 and 15, in clock ticks), proc_pid_status(5) (`VmRSS`, in KiB) and the kernel's
//! sched-stats document for `/proc/PID/schedstat` (second field: nanoseconds spent waiting for a processor).

use std::fs;

use super::clock;

/// Which process is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// This process.
    Own,
    /// Another process.
    Pid(u32),
}

impl Subject {
    fn directory(self) -> String {
        match self {
            Subject::Own => "/proc/self".to_owned(),
            Subject::Pid(pid) => format!("/proc/{pid}"),
        }
    }

    fn read(self, file: &str) -> Option<String> {
        fs::read_to_string(format!("{}/{file}", self.directory())).ok()
    }

    /// User and system time of all threads so far, in seconds, in steps of one clock tick (10 ms); `None` if the process is gone.
    pub fn cpu_seconds(self) -> Option<f64> {
        let ticks = ticks(&self.read("stat")?)?;
        Some(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
    }

    /// Resident memory in bytes; `None` if the process is gone.
    pub fn resident_bytes(self) -> Option<u64> {
        resident_bytes(&self.read("status")?)
    }

    /// Seconds its threads were ready to run but had no processor, added up; `None` where the kernel does not tell.
    pub fn waiting_seconds(self) -> Option<f64> {
        let mut waited = 0;
        for task in fs::read_dir(format!("{}/task", self.directory())).ok()? {
            // A thread may end while we look.
            let schedstat = fs::read_to_string(task.ok()?.path().join("schedstat"));
            waited += schedstat.ok().as_deref().and_then(waited_of).unwrap_or(0);
        }
        Some(clock::seconds(waited))
    }
}

/// Fields 14 (user) and 15 (system) of `/proc/PID/stat`. The name in field 2 may hold spaces and parentheses, so the count
/// starts after the last `)`, with field 3.
fn ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Second field of `schedstat`: nanoseconds.
fn waited_of(schedstat: &str) -> Option<u64> {
    schedstat.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn resident_bytes(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// Processor use over a stretch of time, begun by [`Meter::start`].
#[derive(Debug, Clone, Copy)]
pub struct Meter {
    subject: Subject,
    at: u64,
    cpu_seconds: Option<f64>,
    waiting_seconds: Option<f64>,
}

/// What a process used between two moments.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Usage {
    /// Length of the stretch, in seconds.
    pub wall_seconds: f64,
    /// User and system time of all threads, in seconds.
    pub cpu_seconds: f64,
    /// Time its threads were ready but had no processor, in seconds; 0 where the kernel does not tell.
    pub waiting_seconds: f64,
}

impl Meter {
    /// Begins a stretch now.
    pub fn start(subject: Subject) -> Self {
        Self {
            subject,
            at: clock::now(),
            cpu_seconds: subject.cpu_seconds(),
            waiting_seconds: subject.waiting_seconds(),
        }
    }

    /// What was used since the start; `None` if the process was or is not readable.
    pub fn stop(&self) -> Option<Usage> {
        let cpu_seconds = self.subject.cpu_seconds()? - self.cpu_seconds?;
        let waiting_seconds = match (self.subject.waiting_seconds(), self.waiting_seconds) {
            (Some(end), Some(start)) => end - start,
            _ => 0.0,
        };
        Some(Usage {
            wall_seconds: clock::seconds(clock::now() - self.at),
            cpu_seconds,
            waiting_seconds,
        })
    }
}

impl Usage {
    /// Share of one core, in percent.
    pub fn cpu_percent(&self) -> f64 {
        percent(self.cpu_seconds, self.wall_seconds)
    }

    /// Share of the time in which the process wanted a core and had none, in percent.
    pub fn waiting_percent(&self) -> f64 {
        percent(self.waiting_seconds, self.wall_seconds)
    }
}

fn percent(part: f64, whole: f64) -> f64 {
    if whole > 0.0 {
        part / whole * 100.0
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_are_found_behind_a_name_with_spaces_and_parentheses() {
        let stat = "42 (a (b) c) S 1 42 42 0 -1 4194560 100 0 0 0 123 77 5 6 20 0 1 0 100 1000 10";
        assert_eq!(ticks(stat), Some(200));
        assert_eq!(ticks("nonsense"), None);
        assert_eq!(waited_of("400 7000 12\n"), Some(7_000));
    }

    #[test]
    fn resident_memory_is_in_bytes() {
        let status = "Name:\tx\nVmHWM:\t  9000 kB\nVmRSS:\t   2048 kB\nThreads:\t1\n";
        assert_eq!(resident_bytes(status), Some(2 * 1024 * 1024));
        assert_eq!(resident_bytes("Name:\tkthread\n"), None);
    }

    #[test]
    fn the_own_process_can_be_read_and_a_missing_one_is_none() {
        assert!(
            Subject::Own
                .resident_bytes()
                .is_some_and(|bytes| bytes > 100_000)
        );
        assert!(Subject::Own.cpu_seconds().is_some());
        // Above the kernel's limit for process ids.
        assert_eq!(Subject::Pid(u32::MAX).cpu_seconds(), None);
        assert_eq!(Subject::Pid(u32::MAX).resident_bytes(), None);
    }

    #[test]
    fn a_busy_stretch_shows_as_processor_time() {
        let meter = Meter::start(Subject::Own);
        let mut sum = 0u64;
        let until = clock::now() + 60 * clock::MILLISECOND;
        while clock::now() < until {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(7));
        }
        let usage = meter.stop().expect("the own process is readable");
        assert!(usage.wall_seconds >= 0.06, "{usage:?}");
        assert!(usage.cpu_seconds > 0.0, "{usage:?}");
    }
}
