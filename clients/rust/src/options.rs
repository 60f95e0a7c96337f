//! How to open one connection, and what it may hold.

use crate::{
    net::{Connector, Proxy, Tls},
    token::TokenSource,
};
use std::{fmt, sync::Arc, time::Duration};

/// Options of one connection. `Default` is good for most; every field may be set.
///
/// ```
/// # use shardwire_client::ConnectOptions;
/// let options = ConnectOptions {
///     headers: vec![("Authorization".into(), "Bearer abc".into())],
///     protocols: vec!["chat".into()],
///     ..ConnectOptions::default()
/// };
/// ```
#[derive(Clone)]
pub struct ConnectOptions {
    /// Further header lines of the upgrade request. Default: none.
    pub headers: Vec<(String, String)>,
    /// Asked for a token before every connection, which is shown as `Authorization: Bearer …`. Default: none.
    pub token: Option<TokenSource>,
    /// Subprotocols to offer, the preferred one first. Default: none.
    pub protocols: Vec<String>,
    /// Deadline for everything from the token, if one is asked for, to the answer of the upgrade. Default: 10 s.
    pub connect_timeout: Duration,
    /// Deadline of the close handshake, TCP's end included. Default: 5 s.
    pub close_timeout: Duration,
    /// Largest message that is taken, in bytes; a larger one ends the connection with 1009. Default: 1 MiB.
    pub max_message_size: usize,
    /// How many bytes may wait for the socket before sending waits. One message always fits. Default: 64 KiB.
    pub write_buffer: usize,
    /// Messages a [`Connection`](crate::Connection) may have waiting to be sent before sending waits. Default: 64.
    pub send_queue: usize,
    /// Messages a [`Connection`](crate::Connection) may have waiting to be received before the socket is not read any
    /// more, so that the peer has to wait. Default: 64.
    pub receive_queue: usize,
    /// The same bound in bytes. One message always fits. Default: 1 MiB.
    pub receive_queue_bytes: usize,
    /// A [`Connection`](crate::Connection) that has received nothing for this long pings; `None`: never. Default: 30 s.
    pub ping_interval: Option<Duration>,
    /// How long the answer to that ping may take before the connection counts as dead. Default: 10 s.
    pub ping_timeout: Duration,
    /// permessage-deflate; `None`: not offered. Default: offered, without contexts.
    pub compression: Option<Compression>,
    /// Certificates for `wss`. Default: those the system trusts.
    pub tls: Tls,
    /// HTTP proxy. Default: as the environment says (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`).
    pub proxy: Proxy,
    /// Who opens the byte stream: TCP, TLS and proxy unless set, for tests and for other networks.
    pub connector: Option<Arc<dyn Connector>>,
}

/// Compression of messages (permessage-deflate, RFC 7692), if the server takes the offer. What comes inflates to at most
/// [`ConnectOptions::max_message_size`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compression {
    /// Messages of more bytes than this are compressed, if that makes them shorter. Default: 1024.
    pub threshold: usize,
    /// From 1 (fastest) to 9 (shortest). Default: 6.
    pub level: u8,
    /// Whether messages may refer back to earlier ones: shorter, but up to 430 KB of memory for each connection, and not for
    /// secrets beside text that an attacker chooses. Default: false.
    pub takeover: bool,
}

impl Default for Compression {
    fn default() -> Compression {
        Compression {
            threshold: 1024,
            level: 6,
            takeover: false,
        }
    }
}

impl Default for ConnectOptions {
    fn default() -> ConnectOptions {
        ConnectOptions {
            headers: Vec::new(),
            token: None,
            protocols: Vec::new(),
            connect_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(5),
            max_message_size: 1 << 20,
            write_buffer: 64 << 10,
            send_queue: 64,
            receive_queue: 64,
            receive_queue_bytes: 1 << 20,
            ping_interval: Some(Duration::from_secs(30)),
            ping_timeout: Duration::from_secs(10),
            compression: Some(Compression::default()),
            tls: Tls::default(),
            proxy: Proxy::default(),
            connector: None,
        }
    }
}

impl fmt::Debug for ConnectOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Header values may be credentials: only their names are shown.
        let headers: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        formatter
            .debug_struct("ConnectOptions")
            .field("headers", &headers)
            .field("protocols", &self.protocols)
            .field("connect_timeout", &self.connect_timeout)
            .field("close_timeout", &self.close_timeout)
            .field("max_message_size", &self.max_message_size)
            .finish_non_exhaustive()
    }
}
