//! No loss among the living, and no holes in what anybody got.

use std::collections::BTreeMap;

use super::{Check, Seen, Verdict, demand, entry};
use crate::World;
use crate::clients::Request;

/// One stay of a client in a channel.
#[derive(Debug, Default)]
struct Stay {
    channel: usize,
    client: usize,
    /// When the shard wrote that it is subscribed.
    told: u64,
    /// It has not asked to leave.
    open: bool,
    /// What it got since the world last rested.
    got: Vec<usize>,
}

/// Two rules. Whoever was told `subscribed`, and neither asked to leave nor ended, has in the end got all that the channel's
/// home took of what was handed in to shards after that. And between two publications a client got during one stay, it got whatever
/// another client got there.
#[derive(Debug, Default)]
pub struct Loss {
    stays: Vec<Stay>,
    /// By client, then channel: its present stay.
    present: Vec<BTreeMap<usize, usize>>,
}

/// So many of the longest stays are what the others are compared with.
const WITNESSES: usize = 3;

impl Loss {
    /// A stay begins, unless it has begun before.
    fn begin(&mut self, client: usize, channel: usize, told: u64) {
        let next = self.stays.len();
        let stay = *entry(&mut self.present, client)
            .entry(channel)
            .or_insert(next);
        if stay == next {
            self.stays.push(Stay {
                channel,
                client,
                told,
                open: true,
                got: Vec::new(),
            });
        }
    }

    fn present(&mut self, client: usize, channel: usize) -> Option<&mut Stay> {
        let stay = *entry(&mut self.present, client).get(&channel)?;
        self.stays.get_mut(stay)
    }
}

impl Check for Loss {
    fn name(&self) -> &'static str {
        "no loss"
    }

    fn see(&mut self, seen: &Seen<'_>, world: &World<'_>) -> Verdict {
        match *seen {
            // What has history is looked at place by place.
            Seen::Subscribed { channel, .. } if world.scenario.has_history(channel) => {}
            Seen::Subscribed {
                client, channel, ..
            } => {
                self.begin(client, channel, world.written_at);
            }
            // From asking to leave until being told so it may get some and miss some; nothing is demanded but no holes.
            Seen::Asked {
                client,
                request: Request::Unsubscribe(channel),
                ..
            } => {
                if let Some(stay) = self.present(client, *channel) {
                    stay.open = false;
                }
            }
            Seen::Unsubscribed {
                client, channel, ..
            } => {
                // It may have asked before it was told that it was in.
                if let Some(stay) = self.present(client, channel) {
                    stay.open = false;
                }
                entry(&mut self.present, client).remove(&channel);
            }
            Seen::Broadcast {
                client,
                channel,
                number,
                ..
            } => {
                if let Some(stay) = self.present(client, channel) {
                    stay.got.push(number);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn at_rest(&mut self, world: &World<'_>) -> Verdict {
        let mut got: BTreeMap<usize, Vec<&Stay>> = BTreeMap::new();
        for stay in &self.stays {
            if stay.open && world.lives(stay.client) {
                demand_everything(stay, world)?;
            }
            if !stay.got.is_empty() {
                got.entry(stay.channel).or_default().push(stay);
            }
        }
        for stays in got.values_mut() {
            stays.sort_by_key(|stay| std::cmp::Reverse(stay.got.len()));
            for witness in stays.iter().take(WITNESSES) {
                let place: BTreeMap<usize, usize> = witness
                    .got
                    .iter()
                    .enumerate()
                    .map(|(place, &number)| (number, place))
                    .collect();
                for stay in stays.iter() {
                    demand_no_hole(stay, witness, &place, world)?;
                }
            }
        }
        // Stays that are over are never looked at again.
        let mut kept = Vec::new();
        for (old, mut stay) in std::mem::take(&mut self.stays).into_iter().enumerate() {
            let slot = self
                .present
                .get_mut(stay.client)
                .and_then(|present| present.get_mut(&stay.channel));
            if let Some(slot) = slot.filter(|slot| **slot == old) {
                *slot = kept.len();
                stay.got.clear();
                kept.push(stay);
            }
        }
        self.stays = kept;
        Ok(())
    }
}

fn demand_everything(stay: &Stay, world: &World<'_>) -> Verdict {
    let mut got = vec![false; world.publications.len() - world.settled];
    for number in &stay.got {
        if let Some(got) = number
            .checked_sub(world.settled)
            .and_then(|at| got.get_mut(at))
        {
            *got = true;
        }
    }
    for (at, publication) in world.publications[world.settled..].iter().enumerate() {
        if publication.channel != stay.channel
            || publication
                .handed_in
                .is_none_or(|moment| moment <= stay.told)
            || got[at]
        {
            continue;
        }
        let own = publication.excludes_publisher && publication.publisher == Some(stay.client);
        demand!(
            own || !(publication.taken || publication.seen),
            "client {} never got publication {} of channel {}, handed in after it was told that it is subscribed",
            stay.client,
            at + world.settled,
            stay.channel
        );
    }
    Ok(())
}

fn demand_no_hole(
    stay: &Stay,
    witness: &Stay,
    place: &BTreeMap<usize, usize>,
    world: &World<'_>,
) -> Verdict {
    let mut places = stay
        .got
        .iter()
        .filter_map(|number| place.get(number).copied());
    let (Some(first), Some(last)) = (places.next(), places.next_back()) else {
        return Ok(());
    };
    let mut have = vec![false; witness.got.len()];
    for place in stay.got.iter().filter_map(|number| place.get(number)) {
        have[*place] = true;
    }
    let between = witness.got.iter().zip(have).take(last).skip(first);
    for (number, have) in between {
        let own = world.publications.get(*number).is_some_and(|publication| {
            publication.excludes_publisher && publication.publisher == Some(stay.client)
        });
        demand!(
            have || own,
            "client {} has a hole in channel {}: not publication {number}, which client {} got between two that both got",
            stay.client,
            stay.channel,
            witness.client
        );
    }
    Ok(())
}
