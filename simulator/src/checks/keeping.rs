//! What is kept is kept as long as was promised: by number, age and lifetime, whatever the clock on the wall does; and on disk, once
//! somebody knows of it, also when the node is killed.

use std::collections::BTreeMap;

use super::{Check, Seen, Verdict, demand, entry};
use crate::World;
use crate::clients::{Place, Request};
use crate::world::Publication;

/// Ticks of timers and rounding.
const ROUNDING_MS: u64 = 100;

/// Whoever hears that something is not kept any more, or that its place belongs to a life of the log that is over, is told so of
/// publications only that have had their time, or were followed by as many as are kept.
#[derive(Debug, Default)]
pub struct Keeping {
    /// Channel and epoch → offset → publication: those that somebody was told are there.
    known: BTreeMap<(usize, u64), BTreeMap<u64, usize>>,
    /// By client, then id: where it said it had been.
    returns: Vec<BTreeMap<u64, Place>>,
    /// The node was killed at least once.
    restarted: bool,
}

impl Keeping {
    fn note(&mut self, channel: usize, place: Place, number: usize) {
        let life = (channel, place.epoch);
        self.known
            .entry(life)
            .or_default()
            .insert(place.offset, number);
    }

    /// None of these publications should be there any more.
    fn demand_gone(
        &self,
        channel: usize,
        epoch: u64,
        from: u64,
        to: u64,
        world: &World<'_>,
    ) -> Verdict {
        let settings = &world.scenario.settings.channels;
        let Some(rule) = settings.rules.first().and_then(|rule| rule.history) else {
            return Ok(());
        };
        // Where bytes are short, nobody outside can say what is kept.
        let plenty = rule.max_bytes.min(settings.history_memory) >= 64 << 20;
        let Some(known) = self.known.get(&(channel, epoch)).filter(|_| plenty) else {
            return Ok(());
        };
        if self.restarted && !rule.durable {
            return Ok(());
        }
        let published = |it: &&Publication| it.channel == channel && it.handed_in.is_some();
        let published = world.publications.iter().filter(published).count();
        for (&offset, &number) in known.range(from..=to) {
            let publication = &world.publications[number];
            let lifetime = publication.lifetime_ms.unwrap_or(u64::MAX);
            let age = world.ms - publication.handed_in_ms + ROUNDING_MS;
            // Across a restart the clock on the wall is asked.
            let age = match self.restarted {
                true => age + world.wall_stepped_ms,
                false => age,
            };
            // At most: whatever is not known to be before it.
            let followers = published - known.range(..=offset).count();
            demand!(
                age >= lifetime.min(rule.max_age_ms) || followers >= rule.max_messages,
                "publication {number} at offset {offset} of channel {channel}, {age} ms old and with at most {followers} behind it, is not kept any more"
            );
        }
        Ok(())
    }
}

impl Check for Keeping {
    fn name(&self) -> &'static str {
        "kept as long as promised"
    }

    fn see(&mut self, seen: &Seen<'_>, world: &World<'_>) -> Verdict {
        match *seen {
            Seen::Restarted => self.restarted = true,
            Seen::Asked {
                client,
                id: Some(id),
                request: Request::Return(_, place),
            } => {
                entry(&mut self.returns, client).insert(id, *place);
            }
            Seen::Broadcast {
                channel,
                number,
                place: Some(place),
                ..
            } => self.note(channel, place, number),
            Seen::Published {
                client,
                channel,
                id: Some(id),
                place,
            } => {
                if let Some(number) = world.publication_of(client, id) {
                    self.note(channel, place, number);
                }
            }
            Seen::Gap {
                channel,
                from,
                to,
                evicted: true,
                ..
            } => return self.demand_gone(channel, to.epoch, from, to.offset, world),
            Seen::Subscribed {
                client,
                channel,
                id: Some(id),
                place: Some(place),
                recovered: Some(false),
            } => {
                let since = entry(&mut self.returns, client).remove(&id);
                // A life that is over has left nothing.
                if let Some(since) = since.filter(|since| since.epoch != place.epoch) {
                    return self.demand_gone(channel, since.epoch, 1, u64::MAX, world);
                }
            }
            _ => {}
        }
        Ok(())
    }
}
