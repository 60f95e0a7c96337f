//! No shard sleeps over work, and the world comes to rest.

use super::{Check, Seen, Verdict};
use crate::World;

/// Keeps nothing: both are seen as they happen.
#[derive(Debug, Default)]
pub struct Wakes;

impl Check for Wakes {
    fn name(&self) -> &'static str {
        "no lost wake"
    }

    fn see(&mut self, seen: &Seen<'_>, world: &World<'_>) -> Verdict {
        match *seen {
            Seen::Forgotten { shard } => Err(format!(
                "shard {shard} sleeps, has work ({} in its other queue, mail: {}) and was not rung",
                world.hosts[shard].outside.len(),
                world.hosts[shard].shard.has_mail()
            )),
            Seen::NoRest => Err("the world does not come to rest".to_owned()),
            _ => Ok(()),
        }
    }
}
