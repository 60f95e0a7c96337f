//! Users: who is there, on which connections; sending to all of them, closing all of them.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use serde_json::{Value, json};

use super::super::problem::Problem;
use super::{Closing, Names, Sending, check_depth, ids, outcome, read, unanswered};
use crate::EngineHandle;
use crate::admin::ANSWER_LIMIT;

/// `GET /v1/users`
pub(in crate::admin) async fn list(
    State(engine): State<EngineHandle>,
    names: Result<Query<Names>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let filter = names?.0.filter()?;
    let answers = engine.users(&filter).within(ANSWER_LIMIT).await;
    let unanswered = unanswered(&answers);
    let mut users = BTreeMap::new();
    for info in answers.into_iter().flatten().flatten() {
        *users.entry(info.name).or_insert(0) += info.connections;
    }
    let rows: Vec<Value> = users
        .iter()
        .take(filter.limit)
        .map(|(user, connections)| json!({ "user": **user, "connections": connections }))
        .collect();
    Ok(Json(
        json!({ "users": rows, "unanswered_shards": unanswered }),
    ))
}

/// `GET /v1/users/{user}` (contract M23)
pub(in crate::admin) async fn one(
    State(engine): State<EngineHandle>,
    Path(user): Path<String>,
) -> Result<Json<Value>, Problem> {
    let mut connections = outcome(engine.user_connections(&user)).await?;
    if connections.is_empty() {
        return Err(Problem::not_found("this user has no connections"));
    }
    connections.sort();
    let ids: Vec<String> = connections.iter().map(ToString::to_string).collect();
    Ok(Json(json!({ "user": user, "connections": ids })))
}

/// `POST /v1/users/{user}/send`
pub(in crate::admin) async fn send(
    State(engine): State<EngineHandle>,
    Path(user): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let sending: Sending<'_> = read(&body)?;
    check_depth(sending.message)?;
    let pending = engine.send_to_user(&user, sending.message, &ids(&sending.except)?)?;
    Ok(Json(json!({ "sent": outcome(pending).await? })))
}

/// `POST /v1/users/{user}/kick`
pub(in crate::admin) async fn kick(
    State(engine): State<EngineHandle>,
    Path(user): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let closing = Closing::read(&body)?;
    let except = ids(&closing.except)?;
    let pending = engine.kick_user(&user, closing.code, &closing.reason, &except)?;
    Ok(Json(json!({ "closed": outcome(pending).await? })))
}
