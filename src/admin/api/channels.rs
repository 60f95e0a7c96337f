//! Channels: which there are, who is home, how many listen where.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use serde_json::{Value, json};
use shardwire_shards::search::NameFilter;
use shardwire_shards::vocabulary::ChannelName;

use super::super::problem::Problem;
use super::{Names, unanswered};
use crate::EngineHandle;
use crate::admin::ANSWER_LIMIT;

/// Subscribers per shard, by channel.
type Audiences = BTreeMap<ChannelName, Vec<usize>>;

/// `GET /v1/channels`
pub(in crate::admin) async fn list(
    State(engine): State<EngineHandle>,
    names: Result<Query<Names>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let filter = names?.0.filter()?;
    let (audiences, unanswered) = find(&engine, &filter).await;
    let rows: Vec<Value> = audiences
        .iter()
        .take(filter.limit)
        .map(|(channel, shards)| row(&engine, channel, shards))
        .collect();
    Ok(Json(
        json!({ "channels": rows, "unanswered_shards": unanswered }),
    ))
}

/// `GET /v1/channels/{channel}`
pub(in crate::admin) async fn one(
    State(engine): State<EngineHandle>,
    Path(channel): Path<String>,
) -> Result<Json<Value>, Problem> {
    // The first name that begins like it is itself, if it is there.
    let filter = NameFilter {
        prefix: channel.clone(),
        after: None,
        limit: 1,
    };
    let (audiences, unanswered) = find(&engine, &filter).await;
    match audiences.get(channel.as_str()) {
        Some(shards) => Ok(Json(row(&engine, &channel, shards))),
        None if unanswered.is_empty() => Err(Problem::not_found("nobody is subscribed to it")),
        None => Err(Problem::too_slow()),
    }
}

async fn find(engine: &EngineHandle, filter: &NameFilter) -> (Audiences, Vec<usize>) {
    let answers = engine.channels(filter).within(ANSWER_LIMIT).await;
    let (count, unanswered) = (answers.len(), unanswered(&answers));
    let mut audiences = Audiences::new();
    for (shard, found) in answers.into_iter().enumerate() {
        for info in found.into_iter().flatten() {
            let shards = audiences.entry(info.name).or_insert_with(|| vec![0; count]);
            shards[shard] = info.subscribers;
        }
    }
    (audiences, unanswered)
}

fn row(engine: &EngineHandle, channel: &str, shards: &[usize]) -> Value {
    json!({
        "channel": channel,
        "home": engine.channel_home(channel),
        "subscribers": shards.iter().sum::<usize>(),
        "subscribers_per_shard": shards,
    })
}
