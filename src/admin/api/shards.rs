//! The shard table: what each carries, and how evenly.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::EngineHandle;
use crate::admin::REPORT_LIMIT;
use crate::telemetry::ShardReport;
use crate::telemetry::metrics::ShardStatus;

/// `GET /v1/shards`
pub(in crate::admin) async fn table(State(engine): State<EngineHandle>) -> Json<Value> {
    let reports = engine.reports().within(REPORT_LIMIT).await;
    let snapshot = engine.snapshot_of(reports);
    let rows: Vec<Value> = snapshot.shards.iter().enumerate().map(row).collect();
    let up: Vec<&ShardReport> = snapshot
        .shards
        .iter()
        .filter_map(|status| status.report.as_ref())
        .collect();
    let of = |value: fn(&ShardReport) -> f64| imbalance(up.iter().map(|report| value(report)));
    Json(json!({
        "phase": snapshot.phase.word(),
        "connections": snapshot.connections,
        "max_connections": snapshot.max_connections,
        "uptime_seconds": snapshot.uptime.as_secs_f64(),
        "shards": rows,
        "imbalance": {
            "connections": of(|report| report.gauges.connections as f64),
            "subscriptions": of(|report| report.gauges.subscriptions as f64),
            "deliveries": of(|report| report.counters.deliveries as f64),
            "busy": of(|report| report.turns.busy().as_secs_f64()),
        },
    }))
}

fn row((shard, status): (usize, &ShardStatus)) -> Value {
    let Some(report) = &status.report else {
        return json!({ "shard": shard, "up": false, "stalled": status.stalled });
    };
    let (gauges, counters) = (&report.gauges, &report.counters);
    json!({
        "shard": shard,
        "up": true,
        "stalled": status.stalled,
        "connections": gauges.connections,
        "subscriptions": gauges.subscriptions,
        "local_channels": gauges.local_channels,
        "homed_channels": gauges.homed_channels,
        "homed_users": gauges.users,
        "waiting_bytes": gauges.waiting_bytes,
        "inbox_items": report.work.inbox,
        "messages_received": counters.messages_received,
        "messages_sent": counters.messages_sent,
        "deliveries": counters.deliveries,
        "turns": report.turns.turns(),
        "busy_seconds": report.turns.busy().as_secs_f64(),
    })
}

/// How much more the fullest shard carries than the mean: 1 is even, the number of shards is all on one. None where there is
/// nothing to carry.
fn imbalance(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (mut sum, mut most, mut count) = (0.0, 0.0_f64, 0);
    for value in values {
        sum += value;
        most = most.max(value);
        count += 1;
    }
    (sum > 0.0).then(|| (most * f64::from(count) / sum * 100.0).round() / 100.0)
}

#[cfg(test)]
mod tests {
    use super::imbalance;

    #[test]
    fn imbalance_is_the_fullest_against_the_mean() {
        assert_eq!(imbalance([5.0, 5.0, 5.0].into_iter()), Some(1.0));
        assert_eq!(imbalance([9.0, 0.0, 0.0].into_iter()), Some(3.0));
        assert_eq!(imbalance([4.0, 2.0].into_iter()), Some(1.33));
        assert_eq!(imbalance([0.0, 0.0].into_iter()), None);
        assert_eq!(imbalance(std::iter::empty()), None);
    }
}
