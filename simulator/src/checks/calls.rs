//! A connection has one call under way at a time, and its messages are handled in the order it sent them; all that came before its socket
//! ended.

use shardwire_shards::bounds::LAST_WORDS_MS;
use shardwire_shards::vocabulary::CloseCause;

use super::{Check, Seen, Verdict, demand, entry};
use crate::World;
use crate::clients::Request;

#[derive(Clone, Copy, Debug, Default)]
struct Calling {
    under_way: bool,
    /// The highest id of a message that was handled.
    last: Option<u64>,
    /// The id of the last message that it sent for a handler.
    asked: Option<u64>,
    /// When its shard was told that its socket ended.
    ended_ms: u64,
}

/// By client.
#[derive(Debug, Default)]
pub struct Calls {
    calling: Vec<Calling>,
}

impl Check for Calls {
    fn name(&self) -> &'static str {
        "one call at a time"
    }

    fn see(&mut self, seen: &Seen<'_>, world: &World<'_>) -> Verdict {
        match *seen {
            Seen::Called { client, message } => {
                let calling = entry(&mut self.calling, client);
                demand!(
                    !calling.under_way && world.clients[client].connected,
                    "a handler was called for client {client} out of turn: {message}"
                );
                calling.under_way = true;
                if let Some(id) = id_of(message) {
                    demand!(
                        calling.last.is_none_or(|last| last < id),
                        "client {client} had message {id} handled after {:?}",
                        calling.last
                    );
                    calling.last = Some(id);
                }
            }
            Seen::Asked {
                client,
                id: Some(id),
                request: Request::Work,
            } => entry(&mut self.calling, client).asked = Some(id),
            Seen::EndTold { client } => entry(&mut self.calling, client).ended_ms = world.ms,
            Seen::Disconnected {
                client,
                cause: CloseCause::Lost,
            } => {
                let calling = entry(&mut self.calling, client);
                let socket = &world.sockets[client];
                let routes = &world.scenario.settings.routes;
                demand!(
                    calling.asked <= calling.last
                        || routes.types.is_empty() && !routes.every_message
                        || !socket.finished
                        || socket.handed_in < socket.said
                        || world.ms >= calling.ended_ms + LAST_WORDS_MS,
                    "client {client} went, and what it had said before was not handled: {calling:?}"
                );
            }
            Seen::Restarted => self.calling.clear(),
            Seen::Returned { client } => entry(&mut self.calling, client).under_way = false,
            _ => {}
        }
        Ok(())
    }

    fn at_rest(&mut self, world: &World<'_>) -> Verdict {
        for client in world.living() {
            demand!(
                !entry(&mut self.calling, client).under_way,
                "a handler still runs for client {client}"
            );
        }
        Ok(())
    }
}

fn id_of(message: &str) -> Option<u64> {
    let value: serde_json::Value = serde_json::from_str(message).ok()?;
    value["id"].as_u64()
}
