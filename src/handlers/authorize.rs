//! The application's check of permissions, made safe to ask in the middle of a shard's turn.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use shardwire_shards::permissions::{Access, AuthorizeHook};

use super::tasks::panic_text;

/// Longest time one question may take without being named in the log: a shard that waits serves nobody meanwhile.
const SLOW: Duration = Duration::from_millis(5);

/// The check, so that a panic refuses and harms nobody, and one that waits is found.
pub(super) fn guarded(hook: impl Fn(&Access<'_>) -> bool + Send + Sync + 'static) -> AuthorizeHook {
    let slow = AtomicU64::new(0);
    AuthorizeHook::new(move |access| {
        let begin = Instant::now();
        let allowed = match catch_unwind(AssertUnwindSafe(|| hook(access))) {
            Ok(allowed) => allowed,
            Err(panic) => {
                let (connection, channel) = (access.connection, access.channel);
                tracing::error!(shard = connection.shard().0, %connection, channel, panic = panic_text(&*panic), "the check of permissions panicked: refused");
                false
            }
        };
        let took = begin.elapsed();
        if took > SLOW {
            // The first, second, fourth, eighth … time.
            let times = slow.fetch_add(1, Ordering::Relaxed) + 1;
            if times.is_power_of_two() {
                tracing::warn!(
                    shard = access.connection.shard().0,
                    took_ms = took.as_millis() as u64,
                    times,
                    "the check of permissions holds up its shard: answer from memory, and look things up when a connection begins"
                );
            }
        }
        allowed
    })
}
