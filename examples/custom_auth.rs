//! A verifier of one's own: the service logs people in over HTTP and keeps their sessions; the engine asks it who somebody is
//! when they connect, and when they refresh.
//!
//! ```sh
//! cargo run --example custom_auth
//! ```
//!
//! It prints both addresses. Log in, then connect with what you got: in a header, as subprotocol `bearer.TOKEN`, or in the
//! first message, which is the way for browsers:
//!
//! ```sh
//! curl -X POST http://127.0.0.1:3000/login -d ann
//! websocat ws://127.0.0.1:8080/ws          # then type {"type":"auth","token":"TOKEN"}
//! ```
//!
//! Everybody who is logged in may read `room:*`, only `ann` may publish there, and everybody has an inbox of their own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use shardwire::auth::{Attempt, Denied, Identity};
use shardwire::config::{Config, Listen, PermissionRule};
use shardwire::{Engine, EngineHandle};
use tokio::runtime::Handle;

/// Who is logged in, and until when (Unix milliseconds). A real service asks its database.
#[derive(Clone, Default)]
struct Sessions(Arc<Mutex<HashMap<String, (String, u64)>>>);

impl Sessions {
    fn begin(&self, user: &str) -> String {
        let token = format!("{:032x}", rand::random::<u128>());
        let until = now_ms() + 3_600_000;
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.insert(token.clone(), (user.to_owned(), until));
        token
    }

    async fn find(&self, token: &str) -> Option<(String, u64)> {
        // What a database far away would take.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.get(token).cloned()
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let http = arguments.next().unwrap_or_else(|| "127.0.0.1:3000".into());
    let websocket = arguments.next().unwrap_or_else(|| "127.0.0.1:8080".into());

    let sessions = Sessions::default();
    let engine = start(&websocket, sessions.clone(), Handle::current())?;
    let service = Router::new()
        .route("/login", post(login))
        .with_state(sessions);
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

fn start(address: &str, sessions: Sessions, runtime: Handle) -> anyhow::Result<EngineHandle> {
    let mut config = Config {
        listen: Listen {
            address: address.parse()?,
            ..Listen::default()
        },
        ..Config::default()
    };
    let allow = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect());
    config.permissions.rules = vec![
        PermissionRule {
            channel: "room:*".to_owned(),
            subscribe: allow(&["@user"]),
            publish: allow(&["room.write"]),
            ..PermissionRule::default()
        },
        PermissionRule {
            channel: "inbox:{user}".to_owned(),
            subscribe: allow(&["@user"]),
            publish: allow(&[]),
            ..PermissionRule::default()
        },
    ];
    let engine = Engine::builder(config).verifier(move |attempt: Attempt| {
        let (sessions, runtime) = (sessions.clone(), runtime.clone());
        async move {
            let token = attempt.token().ok_or(Denied::Missing)?.to_owned();
            // The engine polls this on a thread of its own. What needs tokio's timers and sockets runs on tokio.
            let found = runtime.spawn(async move { sessions.find(&token).await });
            let (user, until) = found
                .await
                .map_err(|_| Denied::Unavailable)?
                .ok_or(Denied::Wrong)?;
            if until < now_ms() {
                return Err(Denied::Expired);
            }
            let permissions = if user == "ann" {
                &["room.write"][..]
            } else {
                &[]
            };
            Ok(Identity::new(user)
                .with_permissions(permissions.iter().copied())
                .expiring_at(until))
        }
    });
    Ok(engine.start()?)
}

/// Logs in whoever says a name. (Passwords are not what this example is about.)
async fn login(State(sessions): State<Sessions>, user: String) -> Result<String, StatusCode> {
    if user.is_empty() || user.len() > 100 {
        return Err(StatusCode::BAD_REQUEST);
    }
    Ok(sessions.begin(&user))
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}
