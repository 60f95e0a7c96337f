//! A connection has one call under way at a time, and its messages are handled in the order it sent them.

use super::{Check, Seen, Verdict, demand, entry};
use crate::World;

#[derive(Clone, Copy, Debug, Default)]
struct Calling {
    under_way: bool,
    /// The highest id of a message that was handled.
    last: Option<u64>,
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
