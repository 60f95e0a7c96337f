//! Closing everybody, and leaving.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};
use shardwire_protocol::codes::close::GOING_AWAY;
use tokio::task::spawn_blocking;

use super::super::problem::Problem;
use super::Closing;
use crate::{CloseError, EngineHandle};

/// `POST /v1/close` (contract M25): everybody is closed; new connections are still accepted.
pub(in crate::admin) async fn close(
    State(engine): State<EngineHandle>,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let closing = if body.is_empty() {
        Closing {
            code: GOING_AWAY,
            reason: "going away".to_owned(),
            except: Vec::new(),
        }
    } else {
        Closing::read(&body)?
    };
    if !closing.except.is_empty() {
        return Err(Problem::bad_request("everybody has no exceptions"));
    }
    crate::engine::check_code(closing.code).map_err(|error: CloseError| Problem::from(error))?;
    let told = engine.active_connections();
    // It waits for room in full inboxes.
    let closed = spawn_blocking(move || engine.close(closing.code, &closing.reason)).await;
    closed.map_err(|_| Problem::too_slow())?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "connections": told }))))
}

/// `POST /v1/drain`: what SIGTERM does. The process ends when the last connection has gone.
pub(in crate::admin) async fn drain(
    State(engine): State<EngineHandle>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let told = engine.active_connections();
    let phase = engine.clone();
    let drained = spawn_blocking(move || engine.drain()).await;
    drained.map_err(|_| Problem::too_slow())?;
    let body = json!({ "phase": phase.phase().word(), "connections": told });
    Ok((StatusCode::ACCEPTED, Json(body)))
}
