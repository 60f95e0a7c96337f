//! WebSocket client for tokio: connections, reconnection, a load-balancing pool, and sessions of the shardwire protocol.
//!
//! The first three work with any server of RFC 6455; a [`Session`] speaks the JSON messages of a shardwire server.
//!
//! | to | use |
//! | --- | --- |
//! | hold one WebSocket, polled by oneself | [`connect`], [`WebSocket`]: a `Stream` and a `Sink` |
//! | hold one that answers pings while nobody looks | [`Connection`] |
//! | come back after it is lost | [`Reconnector`], or the bare arithmetic, [`Backoff`] |
//! | share connections to several servers | [`WebSocketPool`] |
//! | subscribe, publish, ask, whatever happens to the connection | [`Session`] |
//!
//! The rooms, each with a front door (`mod.rs`) that says what lives there and what always holds:
//!
//! | room | is |
//! | --- | --- |
//! | `net` | byte streams: TCP, TLS, tunnels through proxies, and the seam for others |
//! | `handshake` | the HTTP upgrade over one |
//! | `websocket` | an open WebSocket without a task |
//! | `connection` | the same with one |
//! | `reconnect` | when to come back |
//! | `pool` | connections to several backends, balanced, checked, broken off |
//! | `session` | what outlives its connections |
//! | `telemetry` | names of metrics, and what is logged |
//!
//! This crate knows only the wire (`shardwire-protocol`), never the engine.

mod announce;
pub mod collaboration;
mod connection;
mod error;
mod handshake;
mod message;
mod net;
mod options;
mod pool;
mod reconnect;
mod session;
mod target;
mod telemetry;
mod token;
mod websocket;

pub use announce::Events;
pub use connection::{Connection, ConnectionSender};
pub use error::{ConnectError, Error};
pub use handshake::connect;
pub use message::{CloseFrame, Ending, Message};
pub use net::{ByteStream, Connecting, Connector, Proxy, Tls};
pub use options::{Compression, ConnectOptions};
pub use pool::{
    AcquireError, Backend, BreakerState, CircuitBreaker, EvictionPolicy, HealthCheck, HealthStatus,
    InvalidOptions, LoadBalancing, PoolCounts, PoolEvent, PoolEvents, PoolOptions,
    PooledConnection, WebSocketPool,
};
pub use reconnect::{Backoff, GaveUp, Hint, ReconnectOptions, Reconnector};
/// For [`Tls::custom`].
pub use rustls;
pub use session::{
    Acknowledged, Answer, DocumentUpdate, GapReason, Hello, Members, PresenceChange, PresenceEvent,
    PresenceWatch, Publication, PublishOptions, Published, Refusal, Session, SessionDocument,
    SessionEnd, SessionError, SessionEvent, SessionOptions, SessionState, Subscription,
    SubscriptionEvent, Unconfirmed, UnconfirmedDocument, UserPresence,
};
/// Operations on text, and the text: what a [`collaboration::Replica`] is made of.
pub use shardwire_protocol::text;
pub use target::Target;
pub use token::{TokenError, TokenSource, TokenUse};
pub use websocket::WebSocket;

/// The Rust in the guides compiles.
#[cfg(doctest)]
mod guides {
    #[doc = include_str!("../../../docs/guides/client.md")]
    struct Client;
    #[doc = include_str!("../../../docs/guides/pool.md")]
    struct Pool;
}
