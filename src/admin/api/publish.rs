//! Publishing into channels, one message or many, and messages to connections at large.

use std::borrow::Cow;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use shardwire_shards::vocabulary::{Audience, UserId};
use tokio::time::{Instant, sleep, timeout_at};

use super::super::problem::Problem;
use super::{check_depth, ids, outcome, read};
use crate::admin::ANSWER_LIMIT;
use crate::{EngineHandle, Pending, PublishError};

/// Publications in one batch.
const BATCH_MAX: usize = 10_000;

/// How long a batch waits for room in a full inbox, over all its publications.
const ROOM_LIMIT: Duration = Duration::from_secs(2);

/// One message into one channel.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Publication<'b> {
    #[serde(borrow)]
    channel: Cow<'b, str>,
    #[serde(borrow)]
    message: &'b RawValue,
    /// Connections that shall not get it.
    #[serde(default)]
    exclude: Vec<String>,
}

impl Publication<'_> {
    fn publish(&self, engine: &EngineHandle) -> Result<Pending<bool>, Refused> {
        check_depth(self.message).map_err(Refused::For)?;
        let exclude = ids(&self.exclude).map_err(|error| Refused::For(error.into()))?;
        match engine.publish_to(&self.channel, self.message, &exclude) {
            Ok(pending) => Ok(pending),
            Err(PublishError::Overloaded) => Err(Refused::NoRoom),
            Err(mistake) => Err(Refused::For(mistake.into())),
        }
    }
}

enum Refused {
    /// Its shard's inbox is full.
    NoRoom,
    For(Problem),
}

/// `POST /v1/publish`
pub(in crate::admin) async fn one(
    State(engine): State<EngineHandle>,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let publication: Publication<'_> = read(&body)?;
    let pending = publication
        .publish(&engine)
        .map_err(|refused| match refused {
            Refused::NoRoom => Problem::overloaded(),
            Refused::For(problem) => problem,
        })?;
    if outcome(pending).await? {
        Ok(Json(json!({ "published": 1 })))
    } else {
        Err(Problem::overloaded())
    }
}

/// `POST /v1/publish/batch`: in order, each for itself; what is refused is told by its place in the list.
pub(in crate::admin) async fn batch(
    State(engine): State<EngineHandle>,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let publications: Vec<Publication<'_>> = read(&body)?;
    if publications.len() > BATCH_MAX {
        return Err(Problem::too_large(format!(
            "a batch has at most {BATCH_MAX} publications"
        )));
    }
    let room_until = Instant::now() + ROOM_LIMIT;
    let mut under_way = Vec::with_capacity(publications.len());
    let mut refused = Vec::new();
    for (index, publication) in publications.iter().enumerate() {
        loop {
            match publication.publish(&engine) {
                Ok(pending) => under_way.push((index, pending)),
                // A full inbox is a few milliseconds of work: the batch waits instead of failing.
                Err(Refused::NoRoom) if Instant::now() < room_until => {
                    sleep(Duration::from_millis(1)).await;
                    continue;
                }
                Err(Refused::NoRoom) => refused.push((index, Problem::overloaded())),
                Err(Refused::For(problem)) => refused.push((index, problem)),
            }
            break;
        }
    }
    let mut published = 0;
    let until = Instant::now() + ANSWER_LIMIT;
    for (index, pending) in under_way {
        match timeout_at(until, pending).await {
            Ok(true) => published += 1,
            Ok(false) => refused.push((index, Problem::overloaded())),
            Err(_) => refused.push((index, Problem::too_slow())),
        }
    }
    refused.sort_by_key(|(index, _)| *index);
    let refused: Vec<Value> = refused
        .iter()
        .map(|(index, problem)| json!({ "index": index, "error": problem.error() }))
        .collect();
    Ok(Json(json!({ "published": published, "refused": refused })))
}

/// A message to connections at large.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Broadcast<'b> {
    #[serde(borrow)]
    message: &'b RawValue,
    /// Only to connections of these users.
    users: Option<Vec<String>>,
    /// To all but these connections.
    except: Option<Vec<String>>,
}

/// `POST /v1/broadcast` (contract M24)
pub(in crate::admin) async fn broadcast(
    State(engine): State<EngineHandle>,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let broadcast: Broadcast<'_> = read(&body)?;
    check_depth(broadcast.message)?;
    let audience = match (broadcast.users, broadcast.except) {
        (None, None) => Audience::Everyone,
        (Some(users), None) => Audience::Users(users.into_iter().map(UserId::from).collect()),
        (None, Some(except)) => Audience::Except(ids(&except)?),
        (Some(_), Some(_)) => {
            return Err(Problem::bad_request("either users or except, not both"));
        }
    };
    engine.broadcast(broadcast.message, &audience)?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "accepted": true }))))
}
