//! In a channel with history a subscriber gets every message once, in order, or is told which ones it does not get: across
//! connections, when it comes back with the place it was at.

use std::collections::BTreeMap;

use super::{Check, Seen, Verdict, demand, entry};
use crate::World;
use crate::clients::{Place, Request};

/// One stay of a client in a channel with history.
#[derive(Debug)]
struct Stay {
    epoch: u64,
    /// The offset that comes next, unless it is the client's own and it excluded itself.
    next: u64,
    /// Offsets that were passed over without a word.
    silent: Vec<u64>,
    /// It was told that not everything comes, and not yet what.
    owed_gap: bool,
    /// It has not asked to leave.
    open: bool,
}

/// Every place has one publication, every publication one place, for everybody and for ever; and whoever stays in a channel has, at rest,
/// got or been told of every offset from where it began.
#[derive(Debug, Default)]
pub struct History {
    /// (channel, place) → publication.
    places: BTreeMap<(usize, Place), usize>,
    /// Publication → place.
    place_of: BTreeMap<usize, Place>,
    /// (channel, epoch) → the highest offset anybody has seen.
    heads: BTreeMap<(usize, u64), u64>,
    /// By client, then channel.
    stays: Vec<BTreeMap<usize, Stay>>,
    /// By client, then id: where it said it had been.
    returns: Vec<BTreeMap<u64, Place>>,
}

impl History {
    /// Somebody saw this publication at this place.
    fn note(&mut self, channel: usize, place: Place, number: usize) -> Verdict {
        let there = *self.places.entry((channel, place)).or_insert(number);
        demand!(
            there == number,
            "publications {there} and {number} are both at {place:?} of channel {channel}"
        );
        let at = *self.place_of.entry(number).or_insert(place);
        demand!(
            at == place,
            "publication {number} is at {at:?} and at {place:?} of channel {channel}"
        );
        let head = self.heads.entry((channel, place.epoch)).or_default();
        *head = (*head).max(place.offset);
        Ok(())
    }

    fn stay(&mut self, client: usize, channel: usize) -> Option<&mut Stay> {
        entry(&mut self.stays, client).get_mut(&channel)
    }

    fn subscribed(
        &mut self,
        client: usize,
        channel: usize,
        since: Option<Place>,
        place: Place,
        recovered: Option<bool>,
    ) -> Verdict {
        if let Some(stay) = self.stay(client, channel) {
            // It asked once more: it is told where it is.
            demand!(
                stay.epoch == place.epoch && place.offset + 1 >= stay.next,
                "client {client} was told {place:?} of channel {channel} when it was at {stay:?}"
            );
            stay.silent.extend(stay.next..=place.offset);
            stay.next = place.offset + 1;
            return Ok(());
        }
        demand!(
            recovered.is_some() == since.is_some(),
            "client {client} came back to channel {channel} with {since:?} and was told {recovered:?}"
        );
        let goes_on = since == Some(place);
        demand!(
            recovered != Some(true) || goes_on,
            "client {client} was told that {since:?} of channel {channel} was recovered, and is at {place:?}"
        );
        let stay = Stay {
            epoch: place.epoch,
            next: place.offset + 1,
            silent: Vec::new(),
            owed_gap: goes_on && recovered == Some(false),
            open: true,
        };
        entry(&mut self.stays, client).insert(channel, stay);
        Ok(())
    }

    /// Offsets `from` to `to` of a client's stay are accounted for.
    fn advance(&mut self, client: usize, channel: usize, from: u64, to: Place) -> Verdict {
        let Some(stay) = self.stay(client, channel) else {
            return Ok(());
        };
        demand!(
            stay.epoch == to.epoch && from >= stay.next && from <= to.offset,
            "client {client} heard of {from} to {to:?} of channel {channel} when it was at {stay:?}"
        );
        stay.silent.extend(stay.next..from);
        stay.next = to.offset + 1;
        Ok(())
    }
}

impl Check for History {
    fn name(&self) -> &'static str {
        "once, in order, or told"
    }

    fn see(&mut self, seen: &Seen<'_>, world: &World<'_>) -> Verdict {
        match *seen {
            Seen::Asked {
                client,
                id: Some(id),
                request: Request::Return(_, place),
            } => {
                entry(&mut self.returns, client).insert(id, *place);
            }
            Seen::Asked {
                client,
                request: Request::Unsubscribe(channel),
                ..
            } => {
                if let Some(stay) = self.stay(client, *channel) {
                    stay.open = false;
                }
            }
            Seen::Subscribed {
                client,
                channel,
                id,
                place: Some(place),
                recovered,
            } => {
                let returns = entry(&mut self.returns, client);
                let since = id.and_then(|id| returns.remove(&id));
                return self.subscribed(client, channel, since, place, recovered);
            }
            Seen::Subscribed { channel, .. } => {
                // Who leaves before the home has answered is told no place.
                demand!(
                    !world.scenario.has_history(channel) || world.scenario.placement.shards() > 1,
                    "a subscription to channel {channel} was told no place"
                );
            }
            Seen::Unsubscribed {
                client, channel, ..
            } => {
                entry(&mut self.stays, client).remove(&channel);
            }
            Seen::Broadcast {
                client,
                channel,
                number,
                place,
                ..
            } if world.scenario.has_history(channel) => {
                let volatile = world
                    .publications
                    .get(number)
                    .is_some_and(|publication| publication.volatile);
                demand!(
                    volatile == place.is_none(),
                    "publication {number}, volatile: {volatile}, came with the place {place:?}"
                );
                if let Some(place) = place {
                    self.note(channel, place, number)?;
                    return self.advance(client, channel, place.offset, place);
                }
            }
            Seen::Gap {
                client,
                channel,
                from,
                to,
                ..
            } => {
                if let Some(stay) = self.stay(client, channel) {
                    stay.owed_gap = false;
                }
                return self.advance(client, channel, from, to);
            }
            Seen::Published {
                client,
                channel,
                id: Some(id),
                place,
            } => {
                if let Some(number) = world.publication_of(client, id) {
                    return self.note(channel, place, number);
                }
            }
            Seen::History {
                channel, messages, ..
            } => {
                for (place, number) in messages {
                    self.note(channel, *place, *number)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn at_rest(&mut self, world: &World<'_>) -> Verdict {
        demand_own_order(&self.places, world)?;
        for (client, stays) in self.stays.iter_mut().enumerate() {
            for (channel, stay) in stays {
                let Stay { epoch, next, .. } = *stay;
                if world.lives(client) && stay.open {
                    let head = self.heads.get(&(*channel, epoch)).copied().unwrap_or(0);
                    stay.silent.extend(next..=head);
                    stay.next = next.max(head + 1);
                    demand!(
                        !stay.owed_gap,
                        "client {client} was never told what of channel {channel} it does not get"
                    );
                }
                for offset in stay.silent.drain(..) {
                    let place = Place { epoch, offset };
                    let Some(&number) = self.places.get(&(*channel, place)) else {
                        // Nobody knows what was there: it was somebody's own, and that one has gone.
                        continue;
                    };
                    let publication = &world.publications[number];
                    demand!(
                        publication.excludes_publisher && publication.publisher == Some(client),
                        "client {client} neither got publication {number} at {place:?} of channel {channel} nor was it told"
                    );
                }
            }
        }
        Ok(())
    }
}

/// In each log every publisher's own order is kept.
fn demand_own_order(places: &BTreeMap<(usize, Place), usize>, world: &World<'_>) -> Verdict {
    let mut last: BTreeMap<(usize, u64, usize), usize> = BTreeMap::new();
    for (&(channel, place), &number) in places {
        let Some(publisher) = world.publications[number].publisher else {
            continue;
        };
        let before = last.insert((channel, place.epoch, publisher), number);
        demand!(
            before.is_none_or(|before| before < number),
            "publication {number} of client {publisher} is behind its {before:?} in channel {channel}"
        );
    }
    Ok(())
}
