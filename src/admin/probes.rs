//! What a service manager and Prometheus ask.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::REPORT_LIMIT;
use crate::EngineHandle;
use crate::telemetry::metrics;

/// Is it alive? No: restart it.
pub(super) async fn health(State(engine): State<EngineHandle>) -> Response {
    let stalled = engine.stalled_shards();
    let status = status(stalled.is_empty());
    let body = json!({ "phase": engine.phase().word(), "stalled_shards": stalled });
    (status, [(CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

/// Should new clients be sent here? No: not now.
pub(super) async fn ready(State(engine): State<EngineHandle>) -> Response {
    let ready = engine.is_ready();
    let body = json!({ "ready": ready, "phase": engine.phase().word() });
    (status(ready), [(CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

fn status(good: bool) -> StatusCode {
    if good {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

/// Every shard is asked; one that does not answer in time is told as down.
pub(super) async fn metrics(State(engine): State<EngineHandle>) -> Response {
    let reports = engine.reports().within(REPORT_LIMIT).await;
    let text = engine.snapshot_of(reports).to_text();
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response()
}
