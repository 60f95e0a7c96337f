//! What is wrong with a run, and what its reader should know.

use super::{Report, units};

/// A rate below this part of the wanted one is worth a remark.
const RATE_REACHED: f64 = 0.98;

impl Report {
    pub(super) fn find_faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut fault = |count: u64, text: &str| {
            if count > 0 {
                faults.push(format!("{} {text}", units::count(count)));
            }
        };
        fault(self.correctness.lost, "lost");
        fault(self.correctness.duplicated, "duplicated");
        fault(self.correctness.out_of_order, "out of order");
        fault(self.correctness.corrupted, "corrupted or misrouted");
        fault(
            self.correctness.subscribers_in_other_order.unwrap_or(0),
            "subscribers saw another order than the others of their channel",
        );
        fault(self.failed, "connections could not be opened");
        fault(self.dropped, "connections were dropped");
        let of_connections = self.failed + self.dropped;
        fault(
            self.errors
                .values()
                .sum::<u64>()
                .saturating_sub(of_connections),
            "other errors",
        );
        if self.setting.awaits_messages && self.received == 0 {
            faults.push("nothing was received while it was measured".to_owned());
        } else if self.opened == 0 {
            faults.push("no connection was opened".to_owned());
        }
        faults
    }

    pub(super) fn find_warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.client_limited {
            warnings.push(
                "the client itself was the limit: rates and latencies say more about it than about the server; \
                 use more --processes on other cores, or less load"
                    .to_owned(),
            );
        }
        if self.setting.interrupted {
            warnings.push("interrupted before the time was over".to_owned());
        }
        if let Some(rate) = self.setting.rate
            && self.measured_seconds > 0.0
            && self.sent_per_second < rate * RATE_REACHED
        {
            warnings.push(format!(
                "only {} of {} per second were sent",
                units::count(self.sent_per_second as u64),
                units::count(rate as u64)
            ));
        }
        if self.withheld > 0 {
            warnings.push(format!(
                "{} were due but not sent, because their connections took no more",
                units::count(self.withheld)
            ));
        }
        if self
            .server
            .as_ref()
            .is_some_and(|server| server.cpu_seconds.is_none() && self.measured_seconds > 0.0)
        {
            warnings.push("the process given with --pid could not be read all the time".to_owned());
        }
        warnings
    }
}

#[cfg(test)]
mod tests {
    use super::super::Setting;
    use super::super::tests::{outcome, setting};
    use super::*;
    use crate::correctness::Counts;
    use crate::measure::process::Usage;
    use crate::scenarios::Outcome;

    #[test]
    fn every_kind_of_fault_fails_the_run() {
        let faults = |change: &dyn Fn(&mut Outcome)| {
            let mut outcome = outcome();
            change(&mut outcome);
            let report = Report::new(setting(), outcome, None);
            assert!(!report.passed);
            assert!(report.text().contains("FAILED"), "{}", report.text());
            report.faults.join("; ")
        };
        assert_eq!(
            faults(&|outcome| outcome.counts = Counts {
                lost: 1_234,
                ..Counts::default()
            }),
            "1,234 lost"
        );
        assert_eq!(
            faults(&|outcome| outcome.counts.duplicated = 1),
            "1 duplicated"
        );
        assert_eq!(
            faults(&|outcome| outcome.counts.out_of_order = 1),
            "1 out of order"
        );
        assert_eq!(
            faults(&|outcome| outcome.counts.corrupted = 1),
            "1 corrupted or misrouted"
        );
        assert_eq!(
            faults(&|outcome| outcome.dropped = 1),
            "1 connections were dropped"
        );
        assert_eq!(
            faults(&|outcome| outcome.failed = 2),
            "2 connections could not be opened"
        );
        assert!(faults(&|outcome| outcome.measured_received = 0).contains("nothing was received"));
    }

    #[test]
    fn a_busy_or_starved_client_is_named() {
        for (cpu_seconds, waiting_seconds) in [(9.6, 0.0), (6.0, 3.6)] {
            let mut outcome = outcome();
            outcome.clients[0] = Usage {
                wall_seconds: 10.0,
                cpu_seconds,
                waiting_seconds,
            };
            let report = Report::new(setting(), outcome, None);
            assert!(report.client_limited && report.passed);
            assert!(
                report.text().contains("the client itself was the limit"),
                "{}",
                report.text()
            );
        }
    }

    #[test]
    fn a_rate_that_was_not_reached_is_remarked() {
        let setting = Setting {
            rate: Some(300_000.0),
            ..setting()
        };
        let report = Report::new(setting, outcome(), None);
        assert_eq!(
            report.warnings,
            ["only 200,000 of 300,000 per second were sent"]
        );
    }
}
