//! Whoever answers pings is left alone; whoever answers none is found out.

use shardwire_protocol::codes::close;

use super::{Check, Seen, Verdict, demand, entry};
use crate::World;

/// When each client was last pinged, and whether it was calm then.
#[derive(Debug, Default)]
pub struct Heartbeat {
    pinged: Vec<Option<(u64, bool)>>,
}

/// Ticks, rounded up a few times.
const ROUNDING_MS: u64 = 100;

impl Check for Heartbeat {
    fn name(&self) -> &'static str {
        "heartbeat"
    }

    fn see(&mut self, seen: &Seen<'_>, world: &World<'_>) -> Verdict {
        match *seen {
            Seen::Pinged { client } => {
                *entry(&mut self.pinged, client) = Some((world.ms, world.calm));
            }
            Seen::CloseFrame {
                client,
                code: close::HEARTBEAT_TIMEOUT,
            } => {
                let Some((at, calm)) = *entry(&mut self.pinged, client) else {
                    return Err(format!("client {client} was given up without a ping"));
                };
                // In the calm an answer to a ping arrives before the clock moves.
                demand!(
                    !calm || world.clients[client].mute || at == world.ms,
                    "client {client} answered the ping of {at} ms and was given up"
                );
            }
            _ => {}
        }
        Ok(())
    }

    fn at_rest(&mut self, world: &World<'_>) -> Verdict {
        let settings = &world.scenario.settings;
        let most = settings.heartbeat_interval_ms + settings.heartbeat_timeout_ms + ROUNDING_MS;
        // A shard that stood still judges nobody by that time.
        let stood_still = world.hosts.iter().map(|host| host.stood_still_until).max();
        for client in world.living() {
            let heard = world.clients[client].heard_at;
            let silence = world.ms - heard.max(stood_still.unwrap_or(0));
            demand!(
                silence <= most,
                "client {client} has been silent for {silence} ms and is still there"
            );
        }
        Ok(())
    }
}
