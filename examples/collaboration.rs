//! Documents that several people edit at once, in a service that reads and edits them, too: whoever has a document open sees at once what the
//! service writes into it.
//!
//! ```sh
//! cargo run --example collaboration
//! ```
//!
//! It prints both addresses. Open the page of the engine twice and type into one document, then ask the service:
//!
//! ```sh
//! curl http://127.0.0.1:3000/documents/notes
//! curl -X POST http://127.0.0.1:3000/documents/notes -d 'a line by the service'
//! curl -X DELETE http://127.0.0.1:3000/documents/notes
//! ```
//!
//! With a directory as third argument, documents are kept there and outlive the process.

use std::path::PathBuf;

use anyhow::Context;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use shardwire::config::{Collaboration, Config, Listen, Persistence, Storage};
use shardwire::text::Operation;
use shardwire::{DocumentError, Engine, EngineHandle};

/// What went wrong, as HTTP says it.
type Failure = (StatusCode, String);

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let http = arguments.next().unwrap_or_else(|| "127.0.0.1:3000".into());
    let websocket = arguments.next().unwrap_or_else(|| "127.0.0.1:8080".into());
    let directory = arguments.next().map(PathBuf::from);

    let config = Config {
        listen: Listen {
            address: websocket.parse()?,
            ..Listen::default()
        },
        collaboration: Collaboration {
            enabled: Some(true),
            persistence: match directory {
                Some(_) => Persistence::Disk,
                None => Persistence::Memory,
            },
            ..Collaboration::default()
        },
        storage: Storage {
            directory,
            ..Storage::default()
        },
        ..Config::default()
    };
    let engine = Engine::builder(config).start()?;

    let service = Router::new()
        .route("/documents/{id}", get(read).post(append).delete(forget))
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
    tokio::task::spawn_blocking(move || engine.drain_and_stop()).await??;
    Ok(())
}

async fn read(
    State(engine): State<EngineHandle>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Failure> {
    let document = engine
        .document(&id)
        .map_err(failure)?
        .await
        .map_err(failure)?;
    Ok(Json(
        json!({ "content": document.content, "version": document.version }),
    ))
}

/// Appends a line. Whoever edits meanwhile is not in the way: the engine brings the two behind each other.
async fn append(
    State(engine): State<EngineHandle>,
    Path(id): Path<String>,
    line: String,
) -> Result<Json<Value>, Failure> {
    let document = engine
        .document(&id)
        .map_err(failure)?
        .await
        .map_err(failure)?;
    let end = u32::try_from(document.content.chars().count()).expect("a document is no longer");
    let operation = Operation::replacement(end, 0, &format!("{line}\n"))
        .map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?;
    let edited = engine.edit_document(&id, Some(document.version), operation);
    let version = edited.map_err(failure)?.await.map_err(failure)?;
    Ok(Json(json!({ "version": version })))
}

async fn forget(
    State(engine): State<EngineHandle>,
    Path(id): Path<String>,
) -> Result<StatusCode, Failure> {
    match engine.forget_document(&id).map_err(failure)?.await {
        0 => Ok(StatusCode::NOT_FOUND),
        _ => Ok(StatusCode::NO_CONTENT),
    }
}

fn failure(error: DocumentError) -> Failure {
    let status = match error {
        DocumentError::Name(_) => StatusCode::BAD_REQUEST,
        DocumentError::OutOfStep => StatusCode::CONFLICT,
        DocumentError::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, error.to_string())
}
