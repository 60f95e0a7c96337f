//! Inboxes: sending notifications, reading them, noting what became of them (contract N4 to N9).

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::{Value, json};
use shardwire_shards::vocabulary::NotificationId;
use tokio::time::timeout;

use super::super::problem::Problem;
use super::{ROWS_MAX, outcome, read};
use crate::admin::ANSWER_LIMIT;
use crate::{EngineHandle, Notification, NotificationPages, StoredNotification};

/// A notification in a body.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sending {
    title: String,
    body: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    data: Value,
    /// Milliseconds.
    ttl: Option<u64>,
    /// Whether it goes to the connections that are there; else they get it when they are opened again.
    #[serde(default = "yes")]
    deliver: bool,
}

fn yes() -> bool {
    true
}

/// `POST /v1/users/{user}/notifications` (contract N8, N9)
pub(in crate::admin) async fn send(
    State(engine): State<EngineHandle>,
    Path(user): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let sending: Sending = read(&body)?;
    let notification = Notification {
        title: sending.title,
        body: sending.body,
        kind: sending.kind,
        data: sending.data,
        ttl: sending.ttl.map(Duration::from_millis),
    };
    let pending = if sending.deliver {
        engine.send_notification(&user, &notification)?
    } else {
        engine.store_notification(&user, &notification)?
    };
    let sent = timeout(ANSWER_LIMIT, pending)
        .await
        .map_err(|_| Problem::too_slow())??;
    Ok(Json(
        json!({ "id": sent.id.to_string(), "connections": sent.connections }),
    ))
}

/// Which part of an inbox is wanted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct Asked {
    limit: Option<usize>,
    #[serde(default)]
    offset: usize,
    cursor: Option<String>,
    #[serde(default)]
    pending: bool,
}

/// `GET /v1/users/{user}/notifications` (contract N4, N7)
pub(in crate::admin) async fn list(
    State(engine): State<EngineHandle>,
    Path(user): Path<String>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let Query(asked) = asked?;
    let cursor = match asked.cursor.as_deref().map(str::parse) {
        Some(Err(error)) => return Err(Problem::bad_request(format!("cursor: {error}"))),
        Some(Ok(cursor)) => Some(cursor),
        None => None,
    };
    if asked.pending && (asked.limit.is_some() || asked.offset > 0 || cursor.is_some()) {
        return Err(Problem::bad_request(
            "all pending ones come at once: neither limit, offset nor cursor",
        ));
    }
    let pages = NotificationPages {
        limit: asked.limit.unwrap_or(50).min(ROWS_MAX),
        offset: asked.offset,
        cursor,
    };
    let pending = match asked.pending {
        true => engine.pending_notifications(&user)?,
        false => engine.notifications(&user, pages)?,
    };
    let page = timeout(ANSWER_LIMIT, pending)
        .await
        .map_err(|_| Problem::too_slow())?;
    let rows: Vec<Value> = page.notifications.iter().map(row).collect();
    Ok(Json(json!({
        "notifications": rows,
        "unread": page.unread,
        "total": page.total,
        "next": page.next.map(|id| id.to_string()),
    })))
}

fn row(notification: &StoredNotification) -> Value {
    json!({
        "id": notification.id.to_string(),
        "title": notification.title,
        "body": notification.body,
        "type": notification.kind,
        "data": notification.data,
        "timestamp": notification.timestamp,
        "delivered": notification.delivered,
        "acknowledged": notification.acknowledged,
        "read": notification.read,
    })
}

/// What became of notifications.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Marked {
    #[serde(default)]
    delivered: Vec<String>,
    #[serde(default)]
    read: Vec<String>,
}

/// `POST /v1/users/{user}/notifications/mark` (contract N5, N6)
pub(in crate::admin) async fn mark(
    State(engine): State<EngineHandle>,
    Path(user): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let marked: Marked = read(&body)?;
    let ids = |texts: &[String]| -> Result<Vec<NotificationId>, Problem> {
        let parsed = texts.iter().map(|text| text.parse());
        parsed
            .collect::<Result<_, _>>()
            .map_err(|error| Problem::bad_request(format!("{error}")))
    };
    let (delivered, read) = (ids(&marked.delivered)?, ids(&marked.read)?);
    let delivered = outcome(engine.mark_delivered(&user, &delivered)?).await?;
    let read = outcome(engine.mark_read(&user, &read)?).await?;
    Ok(Json(json!({ "delivered": delivered, "read": read })))
}
