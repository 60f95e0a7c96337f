//! What waits for a peer that does not read is bounded.

use super::{Check, Seen, Verdict, demand};
use crate::World;

/// The hard limit is looked at after whole messages, so one may stand out over it, and a close frame.
#[derive(Debug, Default)]
pub struct Backlog;

/// Envelope, frame headers and a close frame around one message.
const ENVELOPE: usize = 600;

impl Check for Backlog {
    fn name(&self) -> &'static str {
        "bounded outboxes"
    }

    fn see(&mut self, seen: &Seen<'_>, world: &World<'_>) -> Verdict {
        if let Seen::Backlog { client, waiting } = *seen {
            let settings = &world.scenario.settings;
            let most = settings.outbox_hard_limit + settings.max_message_size + ENVELOPE;
            demand!(
                waiting <= most,
                "{waiting} bytes wait for client {client}, which does not read; {most} are allowed"
            );
        }
        Ok(())
    }
}
