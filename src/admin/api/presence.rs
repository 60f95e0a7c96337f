//! Presence: what is known of a user, and who is in a channel.

use std::future::IntoFuture;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use shardwire_shards::vocabulary::{Presence, PresenceChange};
use tokio::time::timeout;

use super::super::problem::Problem;
use super::limit;
use crate::admin::ANSWER_LIMIT;
use crate::{EngineHandle, PresenceError};

/// `GET /v1/users/{user}/presence` (contract R5)
pub(in crate::admin) async fn user(
    State(engine): State<EngineHandle>,
    Path(user): Path<String>,
) -> Result<Json<Value>, Problem> {
    let found = outcome(engine.presence(&[&user])?).await?;
    let presence = found.first().map(|(_, presence)| presence);
    row(&user, presence)
}

/// `POST /v1/users/{user}/presence` (contract R4)
pub(in crate::admin) async fn set(
    State(engine): State<EngineHandle>,
    Path(user): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let text = std::str::from_utf8(&body)
        .map_err(|_| Problem::bad_request("the body is not UTF-8".to_owned()))?;
    let change = PresenceChange::read(text).map_err(PresenceError::from_code)?;
    let presence = outcome(engine.set_presence(&user, change)?).await?;
    row(&user, Some(&presence))
}

/// How many names are listed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct Members {
    limit: Option<usize>,
}

/// `GET /v1/channels/{channel}/presence`
pub(in crate::admin) async fn channel(
    State(engine): State<EngineHandle>,
    Path(channel): Path<String>,
    asked: Result<Query<Members>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let limit = limit(asked?.0.limit)?;
    let found = outcome(engine.channel_presence(&channel, limit)?).await?;
    let members: Vec<&str> = found.members.iter().map(|user| &**user).collect();
    Ok(Json(
        json!({ "channel": channel, "count": found.count, "members": members }),
    ))
}

fn row(user: &str, presence: Option<&Presence>) -> Result<Json<Value>, Problem> {
    let presence = presence.map(|it| RawValue::from_string(it.to_json()));
    let presence = presence
        .transpose()
        .map_err(|error| Problem::bad_request(error.to_string()))?;
    Ok(Json(json!({ "user": user, "presence": presence })))
}

async fn outcome<T: Send + 'static>(
    pending: impl IntoFuture<Output = Result<T, PresenceError>>,
) -> Result<T, Problem> {
    let answered = timeout(ANSWER_LIMIT, pending.into_future()).await;
    Ok(answered.map_err(|_| Problem::too_slow())??)
}
