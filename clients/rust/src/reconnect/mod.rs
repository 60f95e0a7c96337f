//! Coming back: when, how often, and when not.
//!
//! **What lives here.** [`ReconnectOptions`]; [`Backoff`], the arithmetic without a clock; [`Reconnector`], which opens one
//! connection after the other by it (contract D1).
//!
//! **What does not.** What is said again on a new connection (`session`); the pool's own retries use [`Backoff`].
//!
//! **Invariants.**
//! * Full jitter: a delay is uniform between zero and the window; the window grows by the factor up to the ceiling.
//! * What the server asks for (close-code class, `Retry-After`) is a floor *below* the jitter, so that clients that were all
//!   told the same do not come back at the same moment.
//! * The window begins anew only after a connection has stood for `stable_after`: a server that accepts and closes at once is
//!   not hammered.
//! * Dropping any future here leaves neither a socket nor a timer behind, and forgets no delay.
//!
//! **Who calls in.** Users, `session`, `pool`. **Tests**: beside the code (distribution), `tests/reconnect.rs`.

mod backoff;
mod reconnector;

pub use backoff::{Backoff, GaveUp, Hint, ReconnectOptions};
pub use reconnector::Reconnector;
