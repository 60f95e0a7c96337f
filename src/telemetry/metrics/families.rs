//! Every family of metrics, with its samples of one moment.

use shardwire_protocol::codes::close::CLOSES;
use shardwire_shards::metrics::{Counters, EndKind, Gauges, Number};

use super::{ShardStatus, Snapshot};
use crate::engine::Phase;
use crate::telemetry::{ShardReport, TurnTimes, Work};

/// What kind of number it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Numbers of one name.
#[derive(Clone, Debug)]
pub(super) struct Family {
    /// Without `shardwire_`.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// Names of the labels every sample has.
    pub(super) labels: &'static [&'static str],
    pub(super) help: &'static str,
}

/// One number, with the values of its family's labels.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) labels: Vec<String>,
    pub(super) value: Value,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Whole(u64),
    Seconds(f64),
    Turns(Box<TurnTimes>),
}

const SHARD: &[&str] = &["shard"];

/// All of them, in the order of the page.
pub(super) fn families(snapshot: &Snapshot) -> Vec<(Family, Vec<Sample>)> {
    let mut all = node(snapshot);
    if let Some((health, counts)) = &snapshot.storage {
        all.extend(super::storage::families(*health, counts));
    }
    all.extend(shards_up(snapshot));
    all.extend(table(snapshot, Kind::Gauge, Gauges::ALL, |report| {
        &report.gauges
    }));
    all.extend(table(snapshot, Kind::Gauge, Work::GAUGES, |report| {
        &report.work
    }));
    all.extend(table(snapshot, Kind::Counter, Counters::ALL, |report| {
        &report.counters
    }));
    all.extend(table(snapshot, Kind::Counter, Work::COUNTERS, |report| {
        &report.work
    }));
    all.push(ends(snapshot));
    all.push(turns(snapshot));
    all
}

fn node(snapshot: &Snapshot) -> Vec<(Family, Vec<Sample>)> {
    let alone = |name, help, value| {
        let family = Family {
            name,
            kind: Kind::Gauge,
            labels: &[],
            help,
        };
        let labels = Vec::new();
        (family, vec![Sample { labels, value }])
    };
    let phases = Phase::ALL.map(|phase| Sample {
        labels: vec![phase.word().to_owned()],
        value: Value::Whole(u64::from(phase == snapshot.phase)),
    });
    let build = Sample {
        labels: vec![env!("CARGO_PKG_VERSION").to_owned()],
        value: Value::Whole(1),
    };
    vec![
        (
            Family {
                name: "engine_build_info",
                kind: Kind::Gauge,
                labels: &["version"],
                help: "Always 1; the label says which version runs.",
            },
            vec![build],
        ),
        (
            Family {
                name: "engine_phase",
                kind: Kind::Gauge,
                labels: &["phase"],
                help: "1 for where the engine is in its life, 0 for the other phases.",
            },
            phases.into(),
        ),
        alone(
            "engine_uptime_seconds",
            "Seconds since the engine was started.",
            Value::Seconds(snapshot.uptime.as_secs_f64()),
        ),
        alone(
            "engine_connections",
            "Connections of the whole node, those being opened or closed included.",
            Value::Whole(snapshot.connections as u64),
        ),
        alone(
            "engine_max_connections",
            "Connections the node may have.",
            Value::Whole(snapshot.max_connections as u64),
        ),
    ]
}

fn shards_up(snapshot: &Snapshot) -> [(Family, Vec<Sample>); 2] {
    let per_shard = |name, help, value: fn(&ShardStatus) -> bool| {
        let family = Family {
            name,
            kind: Kind::Gauge,
            labels: SHARD,
            help,
        };
        let samples = snapshot.shards.iter().enumerate();
        let sample = |(shard, status)| Sample {
            labels: vec![usize::to_string(&shard)],
            value: Value::Whole(u64::from(value(status))),
        };
        (family, samples.map(sample).collect())
    };
    [
        per_shard(
            "engine_shard_up",
            "1 if the shard answered this scrape in time, else 0; without an answer it has no other numbers.",
            |status| status.report.is_some(),
        ),
        per_shard(
            "engine_shard_stalled",
            "1 while the watchdog has waited for the shard for more than two seconds.",
            |status| status.stalled,
        ),
    ]
}

fn reports(snapshot: &Snapshot) -> impl Iterator<Item = (String, &ShardReport)> {
    let shards = snapshot.shards.iter().enumerate();
    shards.filter_map(|(shard, status)| Some((shard.to_string(), status.report.as_ref()?)))
}

fn table<T: 'static>(
    snapshot: &Snapshot,
    kind: Kind,
    numbers: &'static [Number<T>],
    part: fn(&ShardReport) -> &T,
) -> impl Iterator<Item = (Family, Vec<Sample>)> {
    numbers.iter().map(move |number| {
        let family = Family {
            name: number.name,
            kind,
            labels: SHARD,
            help: number.help.trim(),
        };
        let sample = |(shard, report)| Sample {
            labels: vec![shard],
            value: Value::Whole((number.value)(part(report))),
        };
        (family, reports(snapshot).map(sample).collect())
    })
}

fn ends(snapshot: &Snapshot) -> (Family, Vec<Sample>) {
    let family = Family {
        name: "connections_ended_total",
        kind: Kind::Counter,
        labels: &["shard", "by", "code"],
        help: "Connections that are gone, by who ended them: the `client`, the `server` with the close code it sent, or nobody (`lost`: the socket just ended).",
    };
    let mut samples = Vec::new();
    for (shard, report) in reports(snapshot) {
        for (kind, count) in report.ends.counts() {
            let (by, code) = match kind {
                EndKind::Peer => ("client", String::new()),
                EndKind::Lost => ("lost", String::new()),
                EndKind::Us(code) => ("server", code.to_string()),
                EndKind::UsOther => ("server", "other".to_owned()),
            };
            samples.push(Sample {
                labels: vec![shard.clone(), by.to_owned(), code],
                value: Value::Whole(count),
            });
        }
    }
    debug_assert!(samples.len() <= snapshot.shards.len() * (CLOSES.len() + 3));
    (family, samples)
}

fn turns(snapshot: &Snapshot) -> (Family, Vec<Sample>) {
    let family = Family {
        name: "engine_turn_seconds",
        kind: Kind::Histogram,
        labels: SHARD,
        help: "How long turns of the shard took, without waiting; the sum is the time the shard was busy.",
    };
    let sample = |(shard, report): (String, &ShardReport)| Sample {
        labels: vec![shard],
        value: Value::Turns(Box::new(report.turns)),
    };
    (family, reports(snapshot).map(sample).collect())
}
