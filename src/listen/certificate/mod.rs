//! The certificate that the engine shows to clients, and its key: from two PEM files to what TLS sessions are made with.
//!
//! **Lives here:** reading the pair and saying what is wrong with it (`pair.rs`), the choices of TLS itself: versions, suites,
//! ALPN, tickets (`server_config.rs`), seeing that the files have changed (`watch.rs`). **Does not:** sessions (`transport/tls`), or which files there are (`config/`).
//! **Invariants:** no part of a key is ever told, in no fault and in no log; a pair whose key does not belong to its certificate
//! is never used.
//! **Called by:** `config/` (to try the files before the start), `engine/`. **Calls:** rustls.
//! **Tests:** beside each file; through the binary and over sockets in `tests/tls*.rs`.

mod pair;
mod server_config;
mod watch;

pub(crate) use pair::{Pair, PairFault, WhichFile, read_pair};
pub(crate) use server_config::server_config;
pub(crate) use watch::Watch;
