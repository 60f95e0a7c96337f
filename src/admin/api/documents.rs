//! Documents: which there are, and what is in them.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::super::problem::Problem;
use super::{Names, unanswered};
use crate::EngineHandle;
use crate::admin::ANSWER_LIMIT;

/// `GET /v1/documents`
pub(in crate::admin) async fn list(
    State(engine): State<EngineHandle>,
    names: Result<Query<Names>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let filter = names?.0.filter()?;
    let answers = engine.documents(&filter).within(ANSWER_LIMIT).await;
    let unanswered = unanswered(&answers);
    let documents: BTreeMap<_, _> = (answers.into_iter().flatten().flatten())
        .map(|info| (info.name, info.open))
        .collect();
    let rows: Vec<Value> = (documents.iter().take(filter.limit))
        .map(|(name, open)| match open {
            Some((version, members)) => {
                json!({ "document": name, "open": true, "version": version, "members": members })
            }
            None => json!({ "document": name, "open": false, "members": 0 }),
        })
        .collect();
    Ok(Json(
        json!({ "documents": rows, "unanswered_shards": unanswered }),
    ))
}

/// `GET /v1/documents/{document}`
pub(in crate::admin) async fn one(
    State(engine): State<EngineHandle>,
    Path(document): Path<String>,
) -> Result<Json<Value>, Problem> {
    let text = timeout(ANSWER_LIMIT, engine.document(&document)?)
        .await
        .map_err(|_| Problem::too_slow())??;
    if text.version == 0 {
        return Err(Problem::not_found("nobody has written into it"));
    }
    Ok(Json(json!({
        "document": document,
        "version": text.version,
        "content": text.content,
    })))
}
