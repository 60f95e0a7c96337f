//! Who the client really is, when a proxy connects on its behalf.
//!
//! **Lives here:** the header that PROXY protocol v1 and v2 put before everything else ([`read_header`]), the request headers
//! `X-Forwarded-For` and `Forwarded` ([`forwarded`]), and the networks that may be believed ([`Networks`]).
//! **Does not:** choose whom to believe, or wait for a header: the engine does, by its configuration.
//! **Invariants:** nothing is guessed: whoever calls says which kind of header must be there. A header has a greatest length. Of
//! a list of hops only what trusted proxies wrote is believed: it is read from the right, and whatever a client wrote further
//! left changes nothing.
//! **Called by:** `src/listen`, the configuration (networks), the fuzzers. **Calls:** nobody.
//! **Tests:** beside each file; over real sockets in the engine's `tests/proxy.rs`.

pub mod forwarded;
mod header;
mod network;
mod v1;
mod v2;

pub use header::{Accepted, HEADER_BYTES_MAX, HeaderError, Progress, read_header};
pub use network::{Network, NetworkError, Networks};
