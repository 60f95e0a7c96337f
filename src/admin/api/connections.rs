//! Connections: finding them, sending to one, closing one.

use std::net::IpAddr;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::{Value, json};
use shardwire_shards::history::SlowPolicy;
use shardwire_shards::search::{
    ConnectionFilter, ConnectionInfo, ConnectionOrder, ConnectionSearch, ConnectionStage, LagInfo,
};
use shardwire_shards::vocabulary::{ConnectionId, Mode};

use super::super::problem::Problem;
use super::{Closing, Sending, check_depth, limit, outcome, read, unanswered};
use crate::EngineHandle;
use crate::admin::ANSWER_LIMIT;

const NO_SUCH: &str = "there is no such connection (any more)";

/// Which connections are listed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct Asked {
    user: Option<String>,
    address: Option<IpAddr>,
    channel: Option<String>,
    #[serde(default)]
    min_pending: usize,
    #[serde(default)]
    lagging: bool,
    #[serde(default)]
    sort: Sort,
    limit: Option<usize>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Sort {
    #[default]
    Id,
    Pending,
    Silent,
    Behind,
}

/// `GET /v1/connections`
pub(in crate::admin) async fn list(
    State(engine): State<EngineHandle>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let Query(asked) = asked?;
    let limit = limit(asked.limit)?;
    let filter = ConnectionFilter {
        user: asked.user.map(Into::into),
        address: asked.address.map(|address| address.to_canonical()),
        channel: asked.channel.map(Into::into),
        min_pending: asked.min_pending,
        lagging: asked.lagging,
    };
    let order = match asked.sort {
        Sort::Id => ConnectionOrder::Id,
        Sort::Pending => ConnectionOrder::Pending,
        Sort::Silent => ConnectionOrder::Silent,
        Sort::Behind => ConnectionOrder::Behind,
    };
    let answers = engine
        .connections(&filter, order, limit)
        .within(ANSWER_LIMIT)
        .await;
    let unanswered = unanswered(&answers);
    let mut found: Vec<ConnectionInfo> = answers.into_iter().flatten().flatten().collect();
    ConnectionSearch::arrange(order, limit, &mut found);
    let rows: Vec<Value> = found.iter().map(row).collect();
    Ok(Json(
        json!({ "connections": rows, "unanswered_shards": unanswered }),
    ))
}

fn row(info: &ConnectionInfo) -> Value {
    json!({
        "id": info.id.to_string(),
        "shard": info.id.shard().0,
        "user": info.user.as_deref(),
        "address": info.address,
        "path": match info.mode {
            Mode::Json => "/ws",
            Mode::Echo => "/echo",
        },
        "stage": match info.stage {
            ConnectionStage::Opening => "opening",
            ConnectionStage::Authenticating => "authenticating",
            ConnectionStage::Open => "open",
            ConnectionStage::Closing => "closing",
        },
        "pending_bytes": info.pending_bytes,
        "blocked": info.blocked,
        "channels": info.channels,
        "silent_ms": info.silent_ms,
        "lagging": info.lagging,
        "lags": info.lags.iter().map(lag).collect::<Vec<_>>(),
    })
}

/// A channel in which it is behind.
fn lag(lag: &LagInfo) -> Value {
    json!({
        "channel": &*lag.channel,
        "policy": match lag.policy {
            SlowPolicy::Disconnect => "disconnect",
            SlowPolicy::CatchUp => "catch-up",
            SlowPolicy::DropOldest => "drop-oldest",
            SlowPolicy::KeepLatest => "keep-latest",
        },
        "reads": if lag.from_history { "history" } else { "queue" },
        "behind": lag.behind,
        "queued_bytes": lag.queued_bytes,
    })
}

/// `POST /v1/connections/{id}/send`
pub(in crate::admin) async fn send(
    State(engine): State<EngineHandle>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let id: ConnectionId = id.parse()?;
    let sending: Sending<'_> = read(&body)?;
    check_depth(sending.message)?;
    if !sending.except.is_empty() {
        return Err(Problem::bad_request("one connection has no exceptions"));
    }
    match outcome(engine.send(id, sending.message)?).await? {
        0 => Err(Problem::not_found(NO_SUCH)),
        sent => Ok(Json(json!({ "sent": sent }))),
    }
}

/// `POST /v1/connections/{id}/kick`
pub(in crate::admin) async fn kick(
    State(engine): State<EngineHandle>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let id: ConnectionId = id.parse()?;
    let closing = Closing::read(&body)?;
    if !closing.except.is_empty() {
        return Err(Problem::bad_request("one connection has no exceptions"));
    }
    match outcome(engine.kick(id, closing.code, &closing.reason)?).await? {
        0 => Err(Problem::not_found(NO_SUCH)),
        closed => Ok(Json(json!({ "closed": closed }))),
    }
}
