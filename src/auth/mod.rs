//! Who is at the other end: verifiers, and where they run.
//!
//! **Lives here:** the seam [`Verifier`] with what it is shown ([`Attempt`]); the built-in verifiers for JSON Web Tokens (`jwt/`) and
//! API keys (`api_key.rs`); where in a request credentials are looked for (`gate.rs`); the threads verifiers run on
//! (`pool.rs`). **Does not:** what an identity may do (`shards/permissions`), how long it holds and what a client is told
//! (`shards/connections`), HTTP's grammar (`protocol/handshake`).
//! **Invariants:** no shard ever verifies or waits for a verdict; a verdict that is not there in time is a refusal; an attempt that
//! nobody waits for any more is dropped; no token, key or secret is printed.
//! **Called by:** `listen/` (what does this request show?), `engine/` (verify it; start), `config/` (are the keys usable?). Calls nobody.
//! **Tests:** beside each file; what tokens are refused, and how, in `jwt/tests.rs`; over real sockets in `tests/authentication.rs`.

mod api_key;
mod attempt;
mod error;
mod gate;
mod jwt;
mod pool;

use std::future::Future;
use std::pin::Pin;

pub use attempt::{Attempt, Source};
pub use error::AuthError;
pub(crate) use gate::{Gate, Shown};
pub(crate) use pool::Ticket;
pub use shardwire_shards::vocabulary::{Denied, Identity};

use crate::config::{AuthenticationMethod, AuthenticationSettings};

/// What keeps the keys that the configuration holds and names from being used: all of it, and nothing is started.
pub(crate) fn key_faults(settings: &AuthenticationSettings) -> Vec<AuthError> {
    match &settings.method {
        AuthenticationMethod::Jwt(jwt) => jwt::Jwt::faults(jwt),
        _ => Vec::new(),
    }
}

/// A verdict on its way. `'static`: it may outlive the call that began it, on another thread.
pub type Verification = Pin<Box<dyn Future<Output = Result<Identity, Denied>> + Send>>;

/// Finds out who somebody is (contract M8, M11). Any function that takes an [`Attempt`] and gives a future is one.
///
/// It is polled on a thread of its own, never on a shard: it may compute for a while and await what it likes, but should not
/// block for long. A future that needs the reactor of an async runtime is best spawned there and its handle awaited here.
/// It is dropped where it awaits when `authentication.timeout` has passed or the client has gone.
///
/// ```
/// use shardwire::auth::{Attempt, Denied, Identity};
/// use shardwire::{Engine, config::Config};
///
/// let engine = Engine::builder(Config::default()).verifier(|attempt: Attempt| async move {
///     match attempt.token() {
///         Some("let me in") => Ok(Identity::new("ann").with_permissions(["room.read"])),
///         Some(_) => Err(Denied::Wrong),
///         None => Err(Denied::Missing),
///     }
/// });
/// ```
pub trait Verifier: Send + Sync + 'static {
    /// Begins to find out.
    fn verify(&self, attempt: Attempt) -> Verification;
}

impl<F, V> Verifier for F
where
    F: Fn(Attempt) -> V + Send + Sync + 'static,
    V: Future<Output = Result<Identity, Denied>> + Send + 'static,
{
    fn verify(&self, attempt: Attempt) -> Verification {
        Box::pin(self(attempt))
    }
}
