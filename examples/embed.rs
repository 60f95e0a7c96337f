//! shardwire inside an HTTP service on tokio: the service answers HTTP, the engine carries the live connections on cores
//! of its own, and an [`EngineHandle`] joins the two from any thread.
//!
//! ```sh
//! cargo run --example embed
//! ```
//!
//! It prints both addresses. Connect a WebSocket client to the engine, subscribe to a channel, then let the service publish:
//!
//! ```sh
//! curl -X POST http://127.0.0.1:3000/channels/news -H 'content-type: application/json' -d '{"title":"hello"}'
//! curl http://127.0.0.1:3000/connections
//! curl http://127.0.0.1:3000/users/ann/connections
//! ```
//!
//! Ctrl-C stops the service first and then drains the engine.

use anyhow::Context;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use shardwire::config::{Config, Listen};
use shardwire::{Engine, EngineHandle, PublishError};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let http = arguments.next().unwrap_or_else(|| "127.0.0.1:3000".into());
    let websocket = arguments.next().unwrap_or_else(|| "127.0.0.1:8080".into());

    let config = Config {
        listen: Listen {
            address: websocket.parse()?,
            ..Listen::default()
        },
        ..Config::default()
    };
    let engine = Engine::builder(config).start()?;

    let service = Router::new()
        .route("/channels/{channel}", post(publish))
        .route("/connections", get(connections))
        .route("/users/{user}/connections", get(user_connections))
        .with_state(engine.clone());
    let listener = tokio::net::TcpListener::bind(&http).await.context(http)?;
    println!(
        "http on {}, websocket on ws://{}/ws",
        listener.local_addr()?,
        engine.local_address()
    );
    axum::serve(listener, service)
        .with_graceful_shutdown(async { drop(tokio::signal::ctrl_c().await) })
        .await?;

    // Draining waits for clients to say goodbye: not on the runtime's own thread.
    tokio::task::spawn_blocking(move || engine.drain_and_stop()).await??;
    Ok(())
}

/// Publishes the body to everybody who is subscribed.
async fn publish(
    State(engine): State<EngineHandle>,
    Path(channel): Path<String>,
    Json(message): Json<Value>,
) -> Result<StatusCode, (StatusCode, String)> {
    engine.publish(&channel, &message).map_err(|error| {
        let status = match error {
            PublishError::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_REQUEST,
        };
        (status, error.to_string())
    })?;
    Ok(StatusCode::ACCEPTED)
}

async fn connections(State(engine): State<EngineHandle>) -> Json<Value> {
    Json(json!({ "active": engine.active_connections(), "shards": engine.shards() }))
}

async fn user_connections(
    State(engine): State<EngineHandle>,
    Path(user): Path<String>,
) -> Json<Value> {
    let connections = engine.user_connections(&user).await;
    Json(json!(
        connections
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    ))
}
