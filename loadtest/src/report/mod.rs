//! What the user reads: a line of progress, the report as text or JSON, and the verdict.
//!
//! *Lives here*: rates and costs derived from an [`Outcome`], what counts as a fault, how numbers are written. *Does not live here*:
//! counting.
//!
//! *Invariants*: the report goes to standard output, everything else to standard error. A report with faults means exit code 1.
//! *Called by* `main.rs`, `processes/`. *Calls* nobody. *Tests*: beside the code.

pub mod progress;
mod text;
mod units;
mod verdict;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::measure::histogram::{Distribution, Quantiles};
use crate::measure::process::Usage;
use crate::scenarios::Outcome;

/// A client process that was busy, or waited for its core, for so many percent of the time was the limit, not the server.
const CLIENT_LIMIT_PERCENT: f64 = 95.0;
/// What was asked for.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Setting {
    pub scenario: &'static str,
    pub url: String,
    pub processes: u32,
    pub connections: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publishers: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscribers: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channels: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload_bytes: Option<usize>,
    /// Messages (echo), publishes (fanout), cycles (churn) or probes (idle) per second.
    pub rate: Option<f64>,
    /// Per connection (echo), in the whole run (fanout), cycles at once (churn).
    pub in_flight: Option<u32>,
    pub warmup_seconds: f64,
    /// What one received message is called.
    #[serde(skip)]
    pub unit: &'static str,
    /// Messages are awaited: nothing received is a fault.
    #[serde(skip)]
    pub awaits_messages: bool,
    /// Ctrl-C ended the run early.
    #[serde(skip)]
    pub interrupted: bool,
}

/// What the server used, as far as it could be read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ServerCost {
    pub pids: Vec<u32>,
    /// Connections that were open before load was offered; 0 where load is opening them.
    pub connections: u64,
    /// While connections were opened.
    pub opening: Option<Usage>,
    /// While load was measured.
    pub measured: Option<Usage>,
    /// Resident bytes before the first connection, when load was warm, and at the end with all connections still open.
    pub resident_before: Option<u64>,
    pub resident_open: Option<u64>,
    pub resident_end: Option<u64>,
}

/// The report; serialised it is the output of `--json`.
#[derive(Debug, Serialize)]
pub struct Report {
    #[serde(flatten)]
    pub setting: Setting,
    pub opened: u64,
    pub failed: u64,
    pub dropped: u64,
    pub opening_seconds: f64,
    pub opened_per_second: f64,
    pub measured_seconds: f64,
    /// Sent and received in the measured stretch.
    pub sent: u64,
    pub received: u64,
    pub sent_per_second: f64,
    pub messages_per_second: f64,
    /// Due but not sent: the connection took no more.
    pub withheld: u64,
    pub latency: Option<Latency>,
    /// How late the client itself sent.
    pub send_lag: Option<Latency>,
    /// Further distributions of the scenario.
    #[serde(flatten)]
    pub further: BTreeMap<String, Option<Latency>>,
    pub correctness: Correctness,
    /// What else the scenario counted.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub events: BTreeMap<String, u64>,
    pub errors: BTreeMap<String, u64>,
    /// Samples of unexpected messages of the server.
    pub server_said: Vec<String>,
    pub server: Option<Server>,
    pub clients: Vec<ClientUse>,
    pub client_limited: bool,
    pub warnings: Vec<String>,
    pub faults: Vec<String>,
    pub passed: bool,
}

/// Quantiles in microseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Latency {
    pub count: u64,
    pub mean_us: f64,
    pub p50_us: f64,
    pub p90_us: f64,
    pub p99_us: f64,
    #[serde(rename = "p99.9_us")]
    pub p99_9_us: f64,
    pub max_us: f64,
}

/// Counted over the whole run, warm-up included.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Correctness {
    pub expected: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub out_of_order: u64,
    pub corrupted: u64,
    /// Subscribers that received everything once, and those of them that saw another order than most of their channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscribers_compared: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscribers_in_other_order: Option<u64>,
}

/// What the server cost.
#[derive(Debug, Clone, Serialize)]
pub struct Server {
    pub pids: Vec<u32>,
    pub cpu_seconds: Option<f64>,
    pub cpu_percent: Option<f64>,
    /// Its threads wanted to run but had no core: another program disturbs the measurement.
    pub waiting_percent: Option<f64>,
    pub cpu_seconds_per_million_messages: Option<f64>,
    pub opening_cpu_seconds_per_million_connections: Option<f64>,
    pub rss_before_bytes: Option<u64>,
    pub rss_open_bytes: Option<u64>,
    pub rss_end_bytes: Option<u64>,
    pub rss_per_connection_bytes: Option<f64>,
}

/// What one client process used of a core.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct ClientUse {
    pub cpu_percent: f64,
    /// It wanted to run but had no core.
    pub waiting_percent: f64,
}

impl Report {
    /// Derives everything that is shown.
    pub fn new(setting: Setting, outcome: Outcome, cost: Option<ServerCost>) -> Self {
        let per_second = |count: u64| ratio(count as f64, outcome.measured_seconds);
        let clients: Vec<ClientUse> = outcome
            .clients
            .iter()
            .map(|usage| ClientUse {
                cpu_percent: usage.cpu_percent(),
                waiting_percent: usage.waiting_percent(),
            })
            .collect();
        let mut report = Self {
            opened: outcome.opened,
            failed: outcome.failed,
            dropped: outcome.dropped,
            opening_seconds: outcome.opening_seconds,
            opened_per_second: ratio(outcome.opened as f64, outcome.opening_seconds),
            measured_seconds: outcome.measured_seconds,
            sent: outcome.measured_sent,
            received: outcome.measured_received,
            sent_per_second: per_second(outcome.measured_sent),
            messages_per_second: per_second(outcome.measured_received),
            withheld: outcome.withheld,
            latency: latency(&outcome.latency),
            // In a closed loop nothing has an intended time to be behind.
            send_lag: setting.rate.and_then(|_| latency(&outcome.lag)),
            further: outcome
                .further
                .iter()
                .map(|(name, values)| (name.clone(), latency(values)))
                .collect(),
            correctness: correctness(&outcome),
            server: cost.map(|cost| server(cost, &outcome)),
            client_limited: clients
                .iter()
                .any(|client| client.cpu_percent + client.waiting_percent >= CLIENT_LIMIT_PERCENT),
            clients,
            warnings: Vec::new(),
            faults: Vec::new(),
            passed: false,
            events: outcome.events,
            errors: outcome.errors,
            server_said: outcome.samples,
            setting,
        };
        report.faults = report.find_faults();
        report.passed = report.faults.is_empty();
        report.warnings = report.find_warnings();
        report
    }

    /// One JSON object.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("the report holds only plain values")
    }

    /// For people.
    pub fn text(&self) -> String {
        text::write(self)
    }
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

fn latency(distribution: &Distribution) -> Option<Latency> {
    let Quantiles {
        count,
        mean,
        p50,
        p90,
        p99,
        p99_9,
        max,
    } = distribution.quantiles()?;
    let us = |nanoseconds: u64| nanoseconds as f64 / 1_000.0;
    Some(Latency {
        count,
        mean_us: mean / 1_000.0,
        p50_us: us(p50),
        p90_us: us(p90),
        p99_us: us(p99),
        p99_9_us: us(p99_9),
        max_us: us(max),
    })
}

fn correctness(outcome: &Outcome) -> Correctness {
    let counts = outcome.counts;
    Correctness {
        expected: counts.expected,
        lost: counts.lost,
        duplicated: counts.duplicated,
        out_of_order: counts.out_of_order,
        corrupted: counts.corrupted,
        subscribers_compared: outcome.orders.as_ref().map(|orders| orders.compared()),
        subscribers_in_other_order: outcome.orders.as_ref().map(|orders| orders.differing()),
    }
}

fn server(cost: ServerCost, outcome: &Outcome) -> Server {
    let million = 1_000_000.0;
    let per_message = |usage: Usage| {
        (outcome.measured_received > 0)
            .then(|| usage.cpu_seconds * million / outcome.measured_received as f64)
    };
    let per_opened = |usage: Usage| {
        (cost.connections > 0).then(|| usage.cpu_seconds * million / cost.connections as f64)
    };
    let per_connection = match (cost.resident_before, cost.resident_open) {
        (Some(before), Some(open)) if cost.connections > 0 => {
            Some((open as f64 - before as f64) / cost.connections as f64)
        }
        _ => None,
    };
    Server {
        pids: cost.pids,
        cpu_seconds: cost.measured.map(|usage| usage.cpu_seconds),
        cpu_percent: cost.measured.map(|usage| usage.cpu_percent()),
        waiting_percent: cost.measured.map(|usage| usage.waiting_percent()),
        cpu_seconds_per_million_messages: cost.measured.and_then(per_message),
        opening_cpu_seconds_per_million_connections: cost.opening.and_then(per_opened),
        rss_before_bytes: cost.resident_before,
        rss_open_bytes: cost.resident_open,
        rss_end_bytes: cost.resident_end,
        rss_per_connection_bytes: per_connection,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::histogram::Recorder;

    pub(super) fn setting() -> Setting {
        Setting {
            scenario: "echo",
            url: "ws://x/".to_owned(),
            awaits_messages: true,
            unit: "echoes",
            ..Setting::default()
        }
    }

    pub(super) fn outcome() -> Outcome {
        let mut recorder = Recorder::new();
        recorder.record(1_500_000);
        Outcome {
            wanted: 10,
            opened: 10,
            measured_sent: 2_000_000,
            measured_received: 2_000_000,
            measured_seconds: 10.0,
            latency: recorder.distribution(),
            clients: vec![Usage {
                wall_seconds: 10.0,
                cpu_seconds: 5.0,
                waiting_seconds: 0.0,
            }],
            ..Outcome::default()
        }
    }

    #[test]
    fn rates_and_costs_are_derived() {
        let cost = ServerCost {
            pids: vec![7],
            connections: 10,
            measured: Some(Usage {
                wall_seconds: 10.0,
                cpu_seconds: 9.0,
                waiting_seconds: 0.0,
            }),
            resident_before: Some(1_000_000),
            resident_open: Some(1_010_000),
            ..ServerCost::default()
        };
        let report = Report::new(setting(), outcome(), Some(cost));
        assert!(
            report.passed && !report.client_limited,
            "{:?}",
            report.faults
        );
        assert_eq!(report.messages_per_second, 200_000.0);
        let server = report.server.as_ref().expect("it was watched");
        assert_eq!(server.cpu_seconds_per_million_messages, Some(4.5));
        assert_eq!(server.rss_per_connection_bytes, Some(1_000.0));
        let value: serde_json::Value = serde_json::from_str(&report.json()).expect("it is JSON");
        assert_eq!(value["correctness"]["lost"], 0);
        assert_eq!(value["scenario"], "echo");
        assert!(
            value["latency"]["p99.9_us"]
                .as_f64()
                .is_some_and(|p| (p - 1_500.0).abs() < 2.0),
            "{value}"
        );
    }
}
