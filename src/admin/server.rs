//! The admin port's thread: accepts, and serves each connection within its bounds.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

use super::problem::Problem;
use super::routes;
use crate::EngineHandle;

/// Connections at once; the next waits in the kernel until one has ended. Few, because each is an open file that clients cannot have.
const CONNECTIONS_MAX: usize = 32;

/// For the head of a request, and between two requests of one connection.
const HEAD_LIMIT: Duration = Duration::from_secs(10);

/// For a request as a whole, its body included.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);

/// Before accepting is tried again when descriptors ran out.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// The running thread.
#[derive(Debug)]
pub(crate) struct AdminThread {
    thread: JoinHandle<()>,
    /// Dropped to end it.
    stop: watch::Sender<()>,
}

impl AdminThread {
    /// Ends it; the port is free afterwards.
    pub(crate) fn stop(self) {
        drop(self.stop);
        // A panic of one request ends that request's connection only; one of the thread was logged when it happened.
        let _ = self.thread.join();
    }
}

/// Takes the port.
pub(crate) fn bind(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Starts the thread.
pub(crate) fn start(listener: TcpListener, engine: EngineHandle) -> io::Result<AdminThread> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(4)
        .thread_name("admin-blocking")
        .build()?;
    let (stop, stopped) = watch::channel(());
    let thread = thread::Builder::new()
        .name("admin".to_owned())
        .spawn(move || {
            runtime.block_on(async move {
                match tokio::net::TcpListener::from_std(listener) {
                    Ok(listener) => accept(listener, routes::router(engine), stopped).await,
                    Err(error) => tracing::error!(%error, "the admin port cannot be served"),
                }
            });
            // What is under way is cut: the engine has ended.
            runtime.shutdown_background();
        })?;
    Ok(AdminThread { thread, stop })
}

async fn accept(
    listener: tokio::net::TcpListener,
    router: Router,
    mut stopped: watch::Receiver<()>,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            next = next => next,
            _ = stopped.changed() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let router = router.clone();
                tokio::spawn(async move {
                    serve(stream, router).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the admin port cannot accept");
                sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, router: Router) {
    let service = service_fn(move |request: Request<Incoming>| {
        let router = router.clone();
        async move {
            let answer = timeout(REQUEST_LIMIT, routes::call(router, request)).await;
            Ok::<_, std::convert::Infallible>(answer.unwrap_or_else(|_| Problem::too_slow().into()))
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection to the admin port ended");
    }
}
