//! The text format of Prometheus: <https://prometheus.io/docs/instrumenting/exposition_formats/>.
//!
//! Three kinds of line and no input from outside: names, helps and label values are constants of ours. That is why no library
//! stands here (`docs/decisions/0014-the-admin-port.md`).

use std::fmt::Write;

use super::Snapshot;
use super::families::{Family, Sample, Value, families};
use crate::telemetry::TurnTimes;

pub(super) const PREFIX: &str = "shardwire_";

/// Everything `snapshot` says.
pub(super) fn write(snapshot: &Snapshot) -> String {
    // About ninety bytes a line, sixty lines a shard.
    let mut out = String::with_capacity(8_192 * (snapshot.shards.len() + 1));
    for (family, samples) in families(snapshot) {
        let Family {
            name, kind, help, ..
        } = &family;
        debug_assert!(
            !help.contains(['\\', '\n']),
            "{name}: a help needs no escapes"
        );
        let kind = kind.word();
        line(&mut out, format_args!("# HELP {PREFIX}{name} {help}"));
        line(&mut out, format_args!("# TYPE {PREFIX}{name} {kind}"));
        for sample in samples {
            write_sample(&mut out, &family, &sample);
        }
    }
    out
}

fn write_sample(out: &mut String, family: &Family, sample: &Sample) {
    let name = family.name;
    let labels = labels(family, sample);
    match &sample.value {
        Value::Whole(number) => line(
            out,
            format_args!("{PREFIX}{name}{} {number}", braced(&labels)),
        ),
        Value::Seconds(seconds) => {
            line(
                out,
                format_args!("{PREFIX}{name}{} {seconds}", braced(&labels)),
            );
        }
        Value::Turns(turns) => write_turns(out, name, &labels, turns),
    }
}

fn write_turns(out: &mut String, name: &str, labels: &str, turns: &TurnTimes) {
    for (bound, count) in turns.cumulative() {
        line(
            out,
            format_args!("{PREFIX}{name}_bucket{{{labels},le=\"{bound}\"}} {count}"),
        );
    }
    let (all, busy) = (turns.turns(), turns.busy().as_secs_f64());
    line(
        out,
        format_args!("{PREFIX}{name}_bucket{{{labels},le=\"+Inf\"}} {all}"),
    );
    line(out, format_args!("{PREFIX}{name}_sum{{{labels}}} {busy}"));
    line(out, format_args!("{PREFIX}{name}_count{{{labels}}} {all}"));
}

fn labels(family: &Family, sample: &Sample) -> String {
    debug_assert_eq!(family.labels.len(), sample.labels.len(), "{}", family.name);
    let pairs = family.labels.iter().zip(&sample.labels);
    let text: Vec<String> = pairs
        .map(|(name, value)| format!("{name}=\"{value}\""))
        .collect();
    text.join(",")
}

fn braced(labels: &str) -> String {
    if labels.is_empty() {
        String::new()
    } else {
        format!("{{{labels}}}")
    }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text)
        .expect("writing into a String cannot fail");
    out.push('\n');
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::HashSet;
    use std::time::Duration;

    use super::*;
    use crate::engine::Phase;
    use crate::telemetry::ShardReport;
    use crate::telemetry::metrics::ShardStatus;

    fn snapshot() -> Snapshot {
        let mut report = ShardReport::default();
        report.counters.deliveries = 42;
        report.turns.count(Duration::from_micros(30));
        report.turns.count(Duration::from_secs(9));
        Snapshot {
            shards: vec![
                ShardStatus {
                    report: Some(report),
                    stalled: false,
                },
                ShardStatus {
                    report: None,
                    stalled: true,
                },
            ],
            phase: Phase::Running,
            uptime: Duration::from_millis(1_500),
            connections: 3,
            max_connections: 1_000,
            storage: None,
        }
    }

    #[test]
    fn a_line_is_what_prometheus_reads() {
        let text = write(&snapshot());
        for expected in [
            "# TYPE shardwire_channels_deliveries_total counter",
            "shardwire_channels_deliveries_total{shard=\"0\"} 42",
            "shardwire_engine_uptime_seconds 1.5",
            "shardwire_engine_phase{phase=\"running\"} 1",
            "shardwire_engine_phase{phase=\"draining\"} 0",
            "shardwire_engine_turn_seconds_bucket{shard=\"0\",le=\"0.00005\"} 1",
            "shardwire_engine_turn_seconds_bucket{shard=\"0\",le=\"2\"} 1",
            "shardwire_engine_turn_seconds_bucket{shard=\"0\",le=\"+Inf\"} 2",
            "shardwire_engine_turn_seconds_sum{shard=\"0\"} 9.00003",
            "shardwire_connections_ended_total{shard=\"0\",by=\"server\",code=\"4200\"} 0",
        ] {
            assert!(
                text.lines().any(|line| line == expected),
                "{expected}\n{text}"
            );
        }
    }

    #[test]
    fn a_shard_without_an_answer_is_down_and_has_no_numbers() {
        let text = write(&snapshot());
        let of_it: Vec<&str> = text
            .lines()
            .filter(|line| line.contains("shard=\"1\""))
            .collect();
        assert_eq!(
            of_it,
            [
                "shardwire_engine_shard_up{shard=\"1\"} 0",
                "shardwire_engine_shard_stalled{shard=\"1\"} 1"
            ]
        );
    }

    #[test]
    fn no_series_comes_twice_and_names_keep_their_form() {
        let text = write(&snapshot());
        let mut seen = HashSet::new();
        for line in text.lines() {
            if line.starts_with('#') {
                continue;
            }
            let (series, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert!(seen.insert(series.to_owned()), "{line}");
            let name = series.split('{').next().unwrap();
            let form = |c: char| c.is_ascii_lowercase() || c == '_';
            assert!(name.starts_with(PREFIX) && name.chars().all(form), "{name}");
        }
    }
}
