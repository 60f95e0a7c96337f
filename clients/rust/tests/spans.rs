//! Where the pool and its connections are seen by `tracing`.
#![allow(clippy::unwrap_used)]

use shardwire_client::{Backend, ConnectOptions, HealthCheck, PoolOptions, Proxy, WebSocketPool};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tracing::span::{Attributes, Id};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

/// Every span that begins, with those around it: `outer/inner`.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<String>>>);

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Seen {
    fn on_new_span(&self, _: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let names = context.span_scope(id).unwrap().from_root();
        let path: Vec<_> = names.map(|span| span.name()).collect();
        self.0.lock().unwrap().push(path.join("/"));
    }
}

#[tokio::test]
async fn what_a_pool_does_by_itself_is_inside_of_its_span() {
    let seen = Seen::default();
    let _here = tracing::subscriber::set_default(tracing_subscriber::registry().with(seen.clone()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    // Every upgrade is cut off: that one is tried is all that is asked here.
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    let pool = WebSocketPool::new(PoolOptions {
        min_connections: 1,
        backends: vec![Backend::new("one", format!("ws://127.0.0.1:{port}/"))],
        health_check: HealthCheck {
            interval: Duration::from_millis(10),
            path: None,
            ..HealthCheck::default()
        },
        connect: ConnectOptions {
            proxy: Proxy::Direct,
            ..ConnectOptions::default()
        },
        ..PoolOptions::default()
    })
    .unwrap();
    let wanted = [
        "pool",
        "pool/connect",
        "pool/health_check",
        "pool/health_check/connect",
    ];
    let all_seen = async {
        while !wanted
            .iter()
            .all(|path| seen.0.lock().unwrap().iter().any(|it| it == path))
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let outcome = tokio::time::timeout(Duration::from_secs(20), all_seen).await;
    assert!(outcome.is_ok(), "{:?}", seen.0.lock().unwrap());
    pool.close().await;
}
