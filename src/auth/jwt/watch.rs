//! Looking at the file of keys every now and then: what it holds then counts.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use super::keys::{Key, KeyRing, parse_set, read};
use super::{AuthError, Shared};

/// How often the file is looked at. Issuers announce a new key long before they sign with it.
const INTERVAL: Duration = Duration::from_secs(2);

/// Watches until the verifier is gone. `seen`: what the file held when it was first read.
pub(super) fn start(
    shared: Weak<Shared>,
    fixed: Vec<Key>,
    path: PathBuf,
    seen: Vec<u8>,
) -> Result<(), AuthError> {
    let watch = move || {
        let mut seen = Ok(seen);
        loop {
            thread::sleep(INTERVAL);
            let Some(shared) = shared.upgrade() else {
                return;
            };
            let now = read("jwks_file", &path).map_err(|error| error.to_string());
            if now != seen {
                let changed = now
                    .as_ref()
                    .map_err(Clone::clone)
                    .and_then(|text| parse_set(text, shared.settings.algorithm));
                match changed {
                    Ok(more) => shared.replace(KeyRing::new(fixed.clone(), more)),
                    // The keys there were go on to count: a file half written must not lock everybody out.
                    Err(problem) => {
                        tracing::warn!(file = %path.display(), problem, "the key set is kept as it was");
                    }
                }
                seen = now;
            }
        }
    };
    thread::Builder::new()
        .name("key-set".to_owned())
        .spawn(watch)?;
    Ok(())
}

impl Shared {
    fn replace(&self, ring: KeyRing) {
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ring);
        tracing::info!("the key set was read again");
    }
}
