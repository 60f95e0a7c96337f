//! Byte streams: TCP, TLS, and tunnels through a proxy.
//!
//! **What lives here.** [`Connector`], the seam a test or another network puts its own streams behind, and the default
//! one: TCP with `TCP_NODELAY`, a CONNECT tunnel if a [`Proxy`] is to be used, TLS by rustls for `wss`.
//!
//! **What does not.** HTTP upgrade and frames (`handshake`, `websocket`), deadlines (the caller's).
//!
//! **Invariants.** Dropping the future of [`Connector::connect`] leaves no socket behind.
//!
//! **Who calls in.** [`crate::connect`] and the pool's health checks. **Tests**: beside the code; TLS and proxy against real
//! sockets in `tests/network.rs`.

mod proxy;
mod tls;

pub use proxy::Proxy;
pub use tls::Tls;

use crate::{error::ConnectError, target::Target};
use std::{fmt, future::Future, pin::Pin};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

/// An open byte stream in both directions.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for S {}

/// What [`Connector::connect`] gives.
pub type Connecting<'a> =
    Pin<Box<dyn Future<Output = Result<Box<dyn ByteStream>, ConnectError>> + Send + 'a>>;

/// Opens byte streams. Must be cancel-safe: dropping the future gives up and leaves nothing behind.
pub trait Connector: Send + Sync + 'static {
    /// Opens a stream over which the upgrade to `target` can be sent: for a secure target, TLS is already inside.
    fn connect<'a>(&'a self, target: &'a Target) -> Connecting<'a>;
}

/// TCP, proxies and TLS.
#[derive(Clone, Debug)]
pub(crate) struct Network<'o> {
    pub(crate) tls: &'o Tls,
    pub(crate) proxy: &'o Proxy,
}

impl Network<'_> {
    pub(crate) async fn open(&self, target: &Target) -> Result<Box<dyn ByteStream>, ConnectError> {
        let stream = match self.proxy.route(target)? {
            None => dial(&target.host, target.port).await?,
            Some(route) => {
                let mut stream = dial(&route.host, route.port).await?;
                proxy::tunnel(&mut stream, target, route.authorization.as_deref()).await?;
                stream
            }
        };
        match target.secure {
            true => Ok(Box::new(self.tls.open(&target.host, stream).await?)),
            false => Ok(Box::new(stream)),
        }
    }
}

async fn dial(host: &str, port: u16) -> Result<TcpStream, ConnectError> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl fmt::Debug for dyn Connector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Connector")
    }
}
