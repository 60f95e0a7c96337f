//! What waits for a peer that does not read is bounded.

use shardwire_shards::bounds::{HISTORY_BYTES_MAX, NOTIFICATIONS_LISTED_BYTES_MAX};

use super::{Check, Seen, Verdict, demand};
use crate::World;

/// No more than the hard limit, and a close frame behind it; for whoever was given up because more waited, the rest of the one frame that
/// was half written, instead.
#[derive(Debug, Default)]
pub struct Backlog;

/// The longest close frame.
const CLOSE_FRAME: usize = 2 + 125;

/// Around one message: its envelope and its frame's header.
const ENVELOPE: usize = 600;

impl Check for Backlog {
    fn name(&self) -> &'static str {
        "bounded outboxes"
    }

    fn see(&mut self, seen: &Seen<'_>, world: &World<'_>) -> Verdict {
        let Seen::Backlog {
            client,
            waiting,
            given_up,
        } = *seen
        else {
            return Ok(());
        };
        let settings = &world.scenario.settings;
        let most = if given_up {
            // The longest frames are answers with many messages, one of them apart.
            let messages = HISTORY_BYTES_MAX.max(NOTIFICATIONS_LISTED_BYTES_MAX);
            messages + settings.max_message_size + ENVELOPE
        } else {
            settings.outbox_hard_limit
        };
        let most = most + CLOSE_FRAME;
        demand!(
            waiting <= most,
            "{waiting} bytes wait for client {client}, which does not read; {most} are allowed"
        );
        Ok(())
    }
}
