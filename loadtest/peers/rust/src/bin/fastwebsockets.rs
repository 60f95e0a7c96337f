//! A peer to measure against: fastwebsockets on one tokio thread. Only `/echo`: it has no pub/sub, and none is built on it here.

use std::convert::Infallible;

use fastwebsockets::upgrade::{UpgradeFut, upgrade};
use fastwebsockets::{FragmentCollector, OpCode};
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use peers::{MESSAGE_MAX, address};
use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let address = address();
    let listener = TcpListener::bind(&address).await?;
    println!("listening on {address}");
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            continue;
        };
        let _ = socket.set_nodelay(true);
        tokio::task::spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(socket), service_fn(answer));
            let _ = connection.with_upgrades().await;
        });
    }
}

async fn answer(mut request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, Infallible> {
    match upgrade(&mut request) {
        Ok((response, websocket)) => {
            tokio::task::spawn(echo(websocket));
            Ok(response)
        }
        Err(_) => {
            let mut refusal = Response::new(Empty::new());
            *refusal.status_mut() = StatusCode::BAD_REQUEST;
            Ok(refusal)
        }
    }
}

async fn echo(websocket: UpgradeFut) {
    let Ok(mut websocket) = websocket.await else {
        return;
    };
    websocket.set_max_message_size(MESSAGE_MAX);
    let mut websocket = FragmentCollector::new(websocket);
    while let Ok(frame) = websocket.read_frame().await {
        let is_data = matches!(frame.opcode, OpCode::Text | OpCode::Binary);
        if frame.opcode == OpCode::Close || is_data && websocket.write_frame(frame).await.is_err() {
            return;
        }
    }
}
