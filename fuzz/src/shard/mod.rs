//! A few shards under generated inputs: whatever happens in whatever order, no panic, every opened socket ends exactly once, what
//! is written is a stream of frames, bounds hold, and nothing is left when all are gone.
//!
//! The simulator drives shards as a well-behaved engine would and judges what clients should see. Here the order is the
//! input's, with verifiers, hand-offs and ids that are not true any more among it; and what is judged is what holds whatever happens.
//! `world.rs` is the engine's part, `socket.rs` the other end of a socket, `deeds.rs` what can happen, `speech.rs` what
//! clients say.

mod deeds;
mod socket;
mod speech;
mod world;

use arbitrary::Unstructured;
use world::World;

/// Things that happen in one run.
const DEEDS_MAX: usize = 200;

/// The bytes choose the settings, then one thing after the other.
pub fn shard(data: &[u8]) {
    let mut u = Unstructured::new(data);
    // Without data there are no choices left to make: not a fault.
    let (Ok(asked), Ok(mut world)) = (u.arbitrary(), World::new(&mut u)) else {
        return;
    };
    for _ in 0..DEEDS_MAX {
        if u.is_empty() || world.deed(&mut u).is_err() {
            break;
        }
    }
    world.end(asked);
}
