//! A small WebSocket gateway: the engine accepts the clients, a pool carries them to several backends.
//!
//! ```sh
//! cargo run --example gateway -- 127.0.0.1:8080 ws://127.0.0.1:9001/ws ws://127.0.0.1:9002/ws
//! ```
//!
//! Every client gets a connection of its own to one backend, the one with the fewest clients. What the client sends goes there, what
//! the backend sends comes back: text messages that are JSON, since that is what the engine speaks. When the backend ends the
//! connection, the client is closed with the same code; when the backend dies, with 1012, which tells it to come back: it then gets
//! another backend, because the pool has noticed. A client for which there is no backend is closed with 1013.
//!
//! Whoever does not read makes the other end wait, in both directions; nothing grows. Ctrl-C drains the engine and closes the pool.

use anyhow::{Context as _, bail};
use serde_json::value::RawValue;
use shardwire::config::{Config, Listen};
use shardwire::{ConnectionId, Context, Engine, EngineHandle, Message, Next};
use shardwire_client::{
    Backend, HealthCheck, LoadBalancing, PoolOptions, PooledConnection, WebSocketPool,
};
use std::time::Duration;
use tokio::sync::mpsc;

/// Messages of one client that may be on their way to its backend.
const ON_THE_WAY: usize = 16;

/// What the engine keeps with each client: the way to its backend. Dropped with the client, which ends the relay.
#[derive(Default)]
struct ToBackend(Option<mpsc::Sender<String>>);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:8080".into());
    let backends: Vec<Backend> = arguments
        .map(|url| Backend::new(url.clone(), url))
        .collect();
    if backends.is_empty() {
        bail!("name the backends: gateway 127.0.0.1:8080 ws://127.0.0.1:9001/ws …");
    }

    let pool = WebSocketPool::new(PoolOptions {
        // One for each client.
        max_connections: 10_000,
        acquire_timeout: Duration::from_secs(5),
        load_balancing: LoadBalancing::LeastConnections,
        backends,
        health_check: HealthCheck {
            interval: Duration::from_secs(5),
            // By a WebSocket ping; any server answers that.
            path: None,
            ..HealthCheck::default()
        },
        ..PoolOptions::default()
    })?;
    let mut events = pool.events();
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            eprintln!("{event:?}");
        }
    });

    let config = Config {
        listen: Listen {
            address: address.parse().context(address)?,
            ..Listen::default()
        },
        ..Config::default()
    };
    // Handlers run on the shards' own threads. What needs tokio's sockets and timers is spawned on tokio and awaited there.
    let (tokio, clients_pool) = (tokio::runtime::Handle::current(), pool.clone());
    let engine = Engine::builder(config)
        .on_connect(async move |context: Context| {
            let pool = clients_pool.clone();
            let acquired = tokio.spawn(async move { pool.acquire().await }).await;
            let Ok(Ok(backend)) = acquired else {
                context.close(1013, "no backend");
                return Ok(());
            };
            let (to_backend, from_client) = mpsc::channel(ON_THE_WAY);
            context.data::<ToBackend>().0 = Some(to_backend);
            let (engine, client) = (context.engine().clone(), context.connection());
            tokio.spawn(relay(engine, client, from_client, backend));
            Ok(())
        })
        .middleware(async |context: Context, message: Message, _: Next| {
            // Not `next`: nothing that a client says is for the gateway itself.
            let to_backend = context.data::<ToBackend>().0.clone();
            if let Some(to_backend) = to_backend {
                // Fails when the relay has ended: then this client is being closed.
                let _ = to_backend.send(message.text().to_owned()).await;
            }
            Ok(())
        })
        .start()?;
    println!("gateway on ws://{}/ws", engine.local_address());

    tokio::signal::ctrl_c().await?;
    // Draining waits for clients to say goodbye: not on the runtime's own thread.
    tokio::task::spawn_blocking(move || engine.drain_and_stop()).await??;
    pool.close().await;
    Ok(())
}

/// Carries messages in both directions until one end is gone.
async fn relay(
    engine: EngineHandle,
    client: ConnectionId,
    mut from_client: mpsc::Receiver<String>,
    mut backend: PooledConnection,
) {
    let to_backend = backend.sender();
    let up = async {
        while let Some(text) = from_client.recv().await {
            if to_backend.send(text).await.is_err() {
                // The other direction knows why.
                std::future::pending::<()>().await;
            }
        }
    };
    let down = async {
        loop {
            match backend.receive().await {
                Ok(shardwire_client::Message::Text(text)) => {
                    if let Err(error) = deliver(&engine, client, text).await {
                        break (1011, error.to_string());
                    }
                }
                Ok(_) => break (1003, "the backend sent binary".into()),
                Err(_) => {
                    let ending = backend.ending().expect("receiving ends with an ending");
                    break (ending.code, ending.reason);
                }
            }
        }
    };
    let end = tokio::select! {
        () = up => None,
        end = down => Some(end),
    };
    // What the client did there (subscriptions, a login) must not meet the next one.
    backend.discard();
    if let Some((code, reason)) = end {
        // A code that this engine may not send: the client is told to come back.
        let closed = engine.kick(client, code, &reason);
        match closed.or_else(|_| engine.kick(client, 1012, "the backend was lost")) {
            Ok(closed) => drop(closed.await),
            Err(error) => eprintln!("cannot close {client}: {error}"),
        }
    }
}

/// To the client, as it is, and not faster than its shard takes it.
async fn deliver(engine: &EngineHandle, client: ConnectionId, text: String) -> anyhow::Result<()> {
    let message = RawValue::from_string(text).context("the backend sent what is not JSON")?;
    match engine.send(client, &message)?.await {
        0 => bail!("the client is gone, or its shard has no room"),
        _ => Ok(()),
    }
}
