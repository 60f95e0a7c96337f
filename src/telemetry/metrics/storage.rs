//! Families of the storage, of nodes that keep something on disk.

use super::families::{Family, Kind, Sample, Value};
use crate::storage::{Health, StorageCounts};

/// All of them.
pub(super) fn families(health: Health, counts: &StorageCounts) -> Vec<(Family, Vec<Sample>)> {
    let states = Health::ALL.map(|state| Sample {
        labels: vec![state.word().to_owned()],
        value: Value::Whole(u64::from(state == health)),
    });
    let state = Family {
        name: "storage_state",
        kind: Kind::Gauge,
        labels: &["state"],
        help: "1 for how the storage is, 0 for the other states. While it is full, it tries again by itself; once it has failed, only a restart helps.",
    };
    let alone = |name, kind, help, value| {
        let family = Family {
            name,
            kind,
            labels: &[],
            help,
        };
        let labels = Vec::new();
        (family, vec![Sample { labels, value }])
    };
    let count = |name, help, value| alone(name, Kind::Counter, help, Value::Whole(value));
    let seconds = |us: u64| Value::Seconds(us as f64 / 1_000_000.0);
    let refused = Family {
        name: "storage_refused_total",
        kind: Kind::Counter,
        labels: &["reason"],
        help: "Records refused, because there was no room or because the disk had failed; their publishers were told.",
    };
    let reasons = [
        ("full", counts.refused_full),
        ("failed", counts.refused_failed),
    ];
    let refusals = reasons.map(|(reason, count)| Sample {
        labels: vec![reason.to_owned()],
        value: Value::Whole(count),
    });
    vec![
        (state, states.into()),
        alone(
            "storage_longest_commit_seconds",
            Kind::Gauge,
            "The longest commit since the start.",
            seconds(counts.longest_commit_us),
        ),
        count(
            "storage_commits_total",
            "Commits, each one sync of the disk.",
            counts.commits,
        ),
        count(
            "storage_records_total",
            "Records stored and acknowledged.",
            counts.records,
        ),
        count(
            "storage_bytes_total",
            "Bytes of all that was committed.",
            counts.bytes,
        ),
        (refused, refusals.into()),
        alone(
            "storage_commit_seconds_total",
            Kind::Counter,
            "Time spent in commits; divided by the commits it is what a sync takes.",
            seconds(counts.commit_us),
        ),
    ]
}
