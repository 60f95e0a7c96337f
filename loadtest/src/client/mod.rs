//! Very many WebSocket connections on one thread, as cheaply as one can hold them.
//!
//! *Lives here*: connecting (with a bound source address if wanted), TLS, the upgrade, compression, frames in and out, answers to pings and to
//! closes, timeouts of both, and one epoll loop for all. *Does not live here*: what is sent and what arrives means
//! (`scenarios/`), frame and handshake grammar (`shardwire-protocol`).
//!
//! *Invariants*: every connection that was begun ends in exactly one call of [`Handler::closed`], unless it still lives when the
//! client is dropped. A socket is read into one buffer lent to all, and written at most once per read while the kernel takes
//! it all; only what the kernel did not take is kept per connection, within a bound. An idle connection owns no
//! buffer. Nothing here waits except [`Client::poll`], and that until the time it is given at most.
//!
//! *Called by* `scenarios/`. *Calls* `shardwire-protocol`, `measure::clock`. *Tests*: beside the code for addresses and URLs;
//! against real sockets in `tests/`.

mod connection;
mod event_loop;
mod failure;
mod handler;
mod outgoing;
mod ramp;
mod secure;
mod sources;
mod target;
mod timer;

pub use connection::ConnectionId;
pub use event_loop::Client;
pub use failure::{End, Failure};
pub use handler::{ClientOptions, Handler, Message};
pub use outgoing::Outgoing;
pub use ramp::Ramp;
pub use secure::Trust;
pub use sources::parse_source_addresses;
pub use target::Target;
