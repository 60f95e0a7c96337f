//! The pool's own tasks: one that watches the time, and one health check for each backend.

use super::{core::Key, options::PoolOptions, shared::Shared};
use crate::{
    connection::Connection, handshake, message::Message, target::Target, websocket::WebSocket,
};
use shardwire_protocol::handshake::{client::MAX_HEAD_BYTES, response::ResponseHead};
use std::{
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{self, Instant, MissedTickBehavior},
};

/// Half-opens breakers, tries failed backends again, and sweeps, until the pool is closed.
pub(super) async fn keep(shared: Arc<Shared>, interval: Duration) {
    let mut closed = shared.closed.subscribe();
    let mut sweeps = time::interval(interval);
    sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
    sweeps.tick().await;
    loop {
        let deadline = shared.look(|core| core.next_deadline(Instant::now()));
        let due = async {
            match deadline {
                Some(at) => time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = closed.wait_for(|closed| *closed) => return,
            _ = shared.keeper.notified() => {}
            _ = due => shared.change(|core, now, actions| core.tick(now, actions)),
            _ = sweeps.tick() => shared.change(|core, now, actions| core.sweep(now, actions)),
        }
    }
}

/// Checks one backend for ever; its task is aborted when the backend is removed.
pub(super) async fn check_health(
    shared: Weak<Shared>,
    key: Key,
    target: Arc<Target>,
    options: Arc<PoolOptions>,
) {
    let check = &options.health_check;
    let mut times = time::interval(check.interval);
    times.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        times.tick().await;
        let begin = Instant::now();
        let asked = time::timeout(check.timeout, ask(&target, &options)).await;
        let result = match asked {
            Ok(Ok(())) => Ok(begin.elapsed()),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(format!("no answer within {:?}", check.timeout)),
        };
        let Some(shared) = shared.upgrade() else {
            return;
        };
        shared.change(|core, now, actions| core.checked(key, result, now, actions));
    }
}

async fn ask(target: &Target, options: &PoolOptions) -> Result<(), String> {
    match &options.health_check.path {
        Some(path) => ask_http(target, path, options).await,
        None => ask_websocket(target, options).await,
    }
}

/// `GET path`: any 2xx is healthy (P11).
async fn ask_http(target: &Target, path: &str, options: &PoolOptions) -> Result<(), String> {
    let opening = handshake::open_stream(target, &options.connect);
    let mut stream = opening.await.map_err(|error| error.to_string())?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nUser-Agent: shardwire-client\r\n\r\n",
        target.authority
    );
    let io = |error: std::io::Error| format!("{path}: {error}");
    stream.write_all(request.as_bytes()).await.map_err(io)?;
    stream.flush().await.map_err(io)?;
    let mut received = Vec::with_capacity(512);
    loop {
        let read = stream.read_buf(&mut received).await.map_err(io)?;
        match ResponseHead::read(&received) {
            Ok(Some(head)) if (200..300).contains(&head.status) => return Ok(()),
            Ok(Some(head)) => return Err(format!("{path}: HTTP status {}", head.status)),
            Ok(None) if read == 0 || received.len() > MAX_HEAD_BYTES => {
                return Err(format!("{path}: no whole answer"));
            }
            Ok(None) => {}
            Err(error) => return Err(format!("{path}: {error}")),
        }
    }
}

/// Opens a WebSocket, pings it, and closes it well in the background.
async fn ask_websocket(target: &Target, options: &PoolOptions) -> Result<(), String> {
    let opening = handshake::connect_to(target, &options.connect);
    let mut socket: WebSocket = opening.await.map_err(|error| error.to_string())?;
    let ping = Message::Ping(bytes::Bytes::from_static(b"health"));
    socket.send(ping).await.map_err(|error| error.to_string())?;
    loop {
        match socket.receive().await {
            Ok(Message::Pong(_)) => break,
            // A server may speak first.
            Ok(Message::Close(_)) => return Err("it closed the connection".into()),
            Ok(_) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    drop(Connection::over(socket, &options.connect));
    Ok(())
}
