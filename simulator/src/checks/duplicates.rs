//! No publication reaches a connection twice.

use super::{Check, Seen, Verdict, demand, entry};
use crate::World;

/// Which publications each client has.
#[derive(Debug, Default)]
pub struct Duplicates {
    /// By client, then publication, 64 to a word.
    got: Vec<Vec<u64>>,
}

impl Check for Duplicates {
    fn name(&self) -> &'static str {
        "no duplicate"
    }

    fn see(&mut self, seen: &Seen<'_>, _world: &World<'_>) -> Verdict {
        if let Seen::Broadcast { client, number, .. } = *seen {
            let word = entry(entry(&mut self.got, client), number / 64);
            let bit = 1 << (number % 64);
            demand!(
                *word & bit == 0,
                "client {client} got publication {number} twice"
            );
            *word |= bit;
        }
        Ok(())
    }
}
