//! No delivery to a non-subscriber, nor to a sender that excluded itself.

use shardwire_protocol::codes::ErrorCode;

use super::{Check, Seen, Verdict, demand};
use crate::World;

/// Membership is what the client was told of it: from `subscribed` to `unsubscribed`. Broadcasts may come only between the two.
#[derive(Debug, Default)]
pub struct Strays;

impl Check for Strays {
    fn name(&self) -> &'static str {
        "no delivery to a non-subscriber"
    }

    fn see(&mut self, seen: &Seen<'_>, world: &World<'_>) -> Verdict {
        match *seen {
            Seen::Broadcast {
                client,
                channel,
                number,
                ..
            } => {
                demand!(
                    world.clients[client].channels.contains(&channel),
                    "client {client} got publication {number} of channel {channel} without being subscribed"
                );
                let Some(publication) = world.publications.get(number) else {
                    return Err(format!(
                        "client {client} got publication {number}, which nobody made"
                    ));
                };
                demand!(
                    publication.channel == channel,
                    "client {client} got publication {number} of channel {} on channel {channel}",
                    publication.channel
                );
                demand!(
                    !(publication.excludes_publisher && publication.publisher == Some(client)),
                    "client {client} got its own publication {number} though it excluded itself"
                );
                demand!(
                    !publication.refused,
                    "client {client} got publication {number}, which its publisher was told was not taken"
                );
            }
            Seen::Counts {
                client,
                channel,
                counts,
            } => {
                demand!(
                    world.clients[client].channels.contains(&channel),
                    "client {client} got the counts without being subscribed"
                );
                demand!(
                    counts.len() == world.hosts.len() && channel == world.scenario.shard_counts(),
                    "client {client} got counts {counts:?} on channel {channel}"
                );
            }
            Seen::Error {
                client,
                code,
                id: Some(id),
            } if REFUSALS.contains(&code) => {
                // A refusal after somebody got it would be as wrong as a delivery after the refusal.
                if let Some(number) = world.publication_of(client, id) {
                    demand!(
                        !world.publications[number].seen,
                        "publication {number} was refused to client {client} after somebody got it"
                    );
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// What a publisher is told when its publication was not taken.
const REFUSALS: [u16; 3] = [
    ErrorCode::Overloaded as u16,
    ErrorCode::StorageFull as u16,
    ErrorCode::StorageFailed as u16,
];
