//! What was measured: every report as it came, and the numbers that are compared.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::cases::{Case, Cost};
use super::machine;
use super::peers::{PEERS, Peer};
use crate::args::CompareArguments;

/// Everything.
#[derive(Debug)]
pub struct Results {
    pub machine: String,
    pub how: String,
    /// Per peer.
    pub versions: BTreeMap<&'static str, String>,
    pub cases: Vec<Found>,
}

/// What was found in one case.
#[derive(Debug)]
pub struct Found {
    pub case: &'static Case,
    /// In the order in which they had their first turn.
    pub rows: Vec<Row>,
}

/// The runs of one peer in one case.
#[derive(Debug)]
pub struct Row {
    pub peer: &'static Peer,
    pub reports: Vec<Value>,
    /// How many of these are of a second attempt.
    pub repeated: usize,
    /// Why others are missing: what the second attempt failed for.
    pub missing: Vec<String>,
}

/// What came of one peer's turn.
#[derive(Debug, PartialEq)]
pub enum Turn {
    /// Its report.
    Done(Value),
    /// The report of the second attempt.
    Repeated(Value),
    /// Why there is none.
    Missing(String),
}

/// Median and range of a number over runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    pub median: f64,
    pub lowest: f64,
    pub highest: f64,
}

impl Spread {
    /// None without values.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (lowest, highest) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len().is_multiple_of(2) {
            (values[middle - 1] + values[middle]) / 2.0
        } else {
            values[middle]
        };
        Some(Self {
            median,
            lowest,
            highest,
        })
    }
}

impl Results {
    pub fn new(arguments: &CompareArguments, versions: BTreeMap<&'static str, String>) -> Self {
        let seconds = |time: std::time::Duration| format!("{} s", time.as_secs_f64());
        let also = if arguments.also.iter().any(|name| !name.is_empty()) {
            format!(
                " ({} in the first {})",
                arguments.also.join(", "),
                arguments.also_rounds
            )
        } else {
            String::new()
        };
        Self {
            machine: machine::describe(),
            how: format!(
                "Servers on core {}, client on core {}; {} rounds in which everybody had a turn{also}; {} measured after {} of warm-up",
                arguments.server_core,
                arguments.client_core,
                arguments.rounds,
                seconds(arguments.duration),
                seconds(arguments.warmup)
            ),
            versions,
            cases: Vec::new(),
        }
    }

    /// All reports.
    pub fn json(&self) -> String {
        let cases: BTreeMap<&str, BTreeMap<&str, &[Value]>> = self
            .cases
            .iter()
            .map(|found| {
                let rows = found.rows.iter();
                let rows = rows.map(|row| (row.peer.name, row.reports.as_slice()));
                (found.case.name, rows.collect())
            })
            .collect();
        let incomplete: BTreeMap<&str, BTreeMap<&str, &[String]>> = self
            .cases
            .iter()
            .map(|found| {
                let rows = found.rows.iter().filter(|row| !row.missing.is_empty());
                let rows = rows.map(|row| (row.peer.name, row.missing.as_slice()));
                (found.case.name, rows.collect::<BTreeMap<_, _>>())
            })
            .filter(|(_, rows)| !rows.is_empty())
            .collect();
        let all = serde_json::json!({
            "machine": self.machine,
            "how": self.how,
            "versions": self.versions,
            "cases": cases,
            "incomplete": incomplete,
        });
        serde_json::to_string_pretty(&all).expect("values that were read as JSON")
    }

    /// Everybody who had a turn, in the order of the table of peers.
    pub fn peers(&self) -> Vec<&'static Peer> {
        let mut peers: Vec<&'static Peer> = PEERS.iter().collect();
        peers.retain(|peer| {
            self.cases
                .iter()
                .any(|found| found.row(peer.name).is_some())
        });
        peers
    }
}

impl Found {
    pub fn new(case: &'static Case) -> Self {
        Self {
            case,
            rows: Vec::new(),
        }
    }

    pub fn add(&mut self, peer: &'static Peer, turn: Turn) {
        let known = self.rows.iter().position(|row| row.peer.name == peer.name);
        let at = known.unwrap_or_else(|| {
            self.rows.push(Row {
                peer,
                reports: Vec::new(),
                repeated: 0,
                missing: Vec::new(),
            });
            self.rows.len() - 1
        });
        let row = &mut self.rows[at];
        row.repeated += usize::from(matches!(turn, Turn::Repeated(_)));
        match turn {
            Turn::Done(report) | Turn::Repeated(report) => row.reports.push(report),
            Turn::Missing(reason) => row.missing.push(reason),
        }
    }

    pub fn row(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.peer.name == name)
    }

    /// What the case is ranked by.
    pub fn cost(&self, row: &Row) -> Option<Spread> {
        row.spread(cost_path(self.case.cost), Runs::All)
    }

    /// Those who may be ranked, the cheapest first: their median is of runs without faults in which the client was not the limit, and
    /// those are most of their runs.
    pub fn ranking(&self) -> Vec<(&Row, Spread)> {
        let path = cost_path(self.case.cost);
        let mut ranked: Vec<(&Row, Spread)> = self
            .rows
            .iter()
            .filter(|row| row.is_ranked())
            .filter_map(|row| Some((row, row.spread(path, Runs::Good)?)))
            .collect();
        ranked.sort_by(|one, other| one.1.median.total_cmp(&other.1.median));
        ranked
    }
}

fn cost_path(cost: Cost) -> &'static [&'static str] {
    match cost {
        Cost::Messages => &["server", "cpu_seconds_per_million_messages"],
        Cost::Openings => &["server", "opening_cpu_seconds_per_million_connections"],
    }
}

/// The part of a rate that has to come back.
const PACE_KEPT: f64 = 0.98;

/// Which runs count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runs {
    All,
    /// Without faults, at the rate that was asked for, and the client was not the limit.
    Good,
}

impl Row {
    /// Runs in which the client was the limit.
    pub fn limited(&self) -> usize {
        let limited = |report: &&Value| report["client_limited"] == true;
        self.reports.iter().filter(limited).count()
    }

    /// What went wrong, each once.
    pub fn faults(&self) -> Vec<String> {
        let missing = self.missing.iter();
        let missing = missing.map(|reason| format!("incomplete, a run failed twice: {reason}"));
        let mut faults: Vec<String> = self
            .reports
            .iter()
            .filter_map(|report| report["faults"].as_array())
            .flatten()
            .filter_map(|fault| Some(fault.as_str()?.to_owned()))
            .chain(missing)
            .collect();
        faults.sort();
        faults.dedup();
        faults
    }

    /// Whether none of its runs is missing, and most can be ranked.
    pub fn is_ranked(&self) -> bool {
        let good = self.reports.iter().filter(|report| is_good(report)).count();
        self.missing.is_empty() && good * 2 > self.reports.len()
    }

    /// A number of the report over these runs.
    pub fn spread(&self, path: &[&str], runs: Runs) -> Option<Spread> {
        let values = self
            .reports
            .iter()
            .filter(|report| runs == Runs::All || is_good(report))
            .filter_map(|report| {
                let mut value: &Value = report;
                for step in path {
                    value = value.get(step)?;
                }
                value.as_f64()
            });
        Spread::of(values.collect())
    }
}

fn is_good(report: &Value) -> bool {
    let no_faults = report["faults"].as_array().is_none_or(Vec::is_empty);
    no_faults && report["client_limited"] != true && kept_pace(report)
}

/// Whether as much came back as was to be sent: who falls behind a rate has done another work than the others.
fn kept_pace(report: &Value) -> bool {
    let rate = report["rate"]
        .as_f64()
        .filter(|_| report["scenario"] == "echo");
    let came = report["messages_per_second"].as_f64();
    rate.is_none_or(|rate| came.is_some_and(|came| came >= rate * PACE_KEPT))
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::cases::CASES;
    use super::*;

    pub fn report(cost: f64, limited: bool, faults: &[&str]) -> Value {
        serde_json::json!({
            "client_limited": limited,
            "faults": faults,
            "messages_per_second": 80_000.0,
            "latency": {"p50_us": 40.0, "p90_us": 60.0, "p99_us": 120.0, "p99.9_us": 900.0},
            "server": {"cpu_seconds_per_million_messages": cost, "cpu_percent": 50.0, "waiting_percent": 0.0,
                       "rss_per_connection_bytes": 300.0, "opening_cpu_seconds_per_million_connections": 20.0},
        })
    }

    pub fn found(rows: &[(&str, &[Value])]) -> Found {
        let mut found = Found::new(&CASES[0]);
        for (name, reports) in rows {
            let peer = PEERS.iter().find(|peer| peer.name == *name).unwrap();
            for report in *reports {
                found.add(peer, Turn::Done(report.clone()));
            }
        }
        found
    }

    #[test]
    fn a_spread_is_median_and_range() {
        let spread = |values: &[f64]| {
            Spread::of(values.to_vec()).map(|it| (it.lowest, it.median, it.highest))
        };
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Some((1.0, 2.0, 3.0)));
        assert_eq!(spread(&[4.0, 1.0]), Some((1.0, 2.5, 4.0)));
    }

    #[test]
    fn who_falls_behind_the_rate_is_not_ranked() {
        let mut report = report(4.0, false, &[]);
        report["scenario"] = "echo".into();
        report["rate"] = 81_000.0.into();
        assert!(found(&[("bun", &[report.clone()])]).ranking().len() == 1);
        report["rate"] = 90_000.0.into();
        assert!(found(&[("bun", &[report])]).ranking().is_empty());
    }

    #[test]
    fn runs_in_which_the_client_was_the_limit_are_not_ranked() {
        let found = found(&[
            (
                "bun",
                &[
                    report(4.0, false, &[]),
                    report(9.0, true, &[]),
                    report(4.2, false, &[]),
                ],
            ),
            (
                "shardwire",
                &[
                    report(1.0, true, &[]),
                    report(1.0, true, &[]),
                    report(3.0, false, &[]),
                ],
            ),
            ("ws", &[report(20.0, false, &[]), report(22.0, false, &[])]),
            (
                "axum",
                &[
                    report(2.0, false, &["1 lost"]),
                    report(2.0, false, &["1 lost"]),
                ],
            ),
        ]);
        let ranking = found.ranking();
        let names: Vec<&str> = ranking.iter().map(|(row, _)| row.peer.name).collect();
        assert_eq!(names, ["bun", "ws"]);
        assert_eq!(ranking[0].1.median, 4.1, "only of the runs that count");
        let shardwire = found.row("shardwire").unwrap();
        assert!(shardwire.limited() == 2 && !shardwire.is_ranked());
        assert_eq!(found.cost(shardwire).unwrap().median, 1.0);
        assert_eq!(found.row("axum").unwrap().faults(), ["1 lost"]);
    }
}
