//! Who works on a document sees the same text as everybody else and its home, once nothing is under way.

use super::{Check, Seen, Verdict, demand};
use crate::World;
use crate::clients::Copy;

/// Keeps nothing: copies are the clients'.
#[derive(Debug, Default)]
pub struct Documents;

/// Copies whose clients live, and have come in.
pub(super) fn at_work<'w>(world: &'w World<'_>) -> impl Iterator<Item = &'w Copy> {
    world.copies.iter().filter(|copy| {
        !copy.dropped && copy.joined && copy.holder.is_some_and(|holder| world.lives(holder))
    })
}

impl Check for Documents {
    fn name(&self) -> &'static str {
        "documents converge"
    }

    fn see(&mut self, seen: &Seen<'_>, world: &World<'_>) -> Verdict {
        match seen {
            Seen::Misled { client, what } => Err(format!("client {client}: {what}")),
            Seen::DocumentText { document, text } => {
                for copy in at_work(world).filter(|copy| copy.document == *document) {
                    demand!(
                        copy.under_way.is_none(),
                        "copy {} waits for an acknowledgement",
                        copy.number
                    );
                    let shown = copy.text.to_string();
                    demand!(
                        (copy.version, &shown) == (text.version, &text.content),
                        "copy {} has version {} {shown:?}, its home {text:?}",
                        copy.number,
                        copy.version
                    );
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn at_rest(&mut self, world: &World<'_>) -> Verdict {
        for copy in &world.copies {
            let waits = !copy.dropped
                && !copy.joined
                && copy.holder.is_some_and(|holder| world.lives(holder));
            demand!(!waits, "copy {} was never let in", copy.number);
        }
        Ok(())
    }
}
