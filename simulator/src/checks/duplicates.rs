//! No publication without a place reaches a connection twice. (What has a place is looked at place by place.)

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
        // What has a place may be asked for again: by who says that it was not there yet.
        if let Seen::Broadcast {
            client,
            number,
            place: None,
            ..
        } = *seen
        {
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
