//! WebSocket client for tokio: connections, reconnection, a load-balancing pool, and sessions of the shardwire protocol.

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
pub use session::{
    Answer, GapReason, Publication, PublishOptions, Published, Refusal, Session, SessionEnd,
    SessionError, SessionEvent, SessionOptions, SessionState, Subscription, SubscriptionEvent,
};
/// Operations on text, and the text: what a [`collaboration::Replica`] is made of.
pub use shardwire_protocol::text;
pub use target::Target;
pub use websocket::WebSocket;
