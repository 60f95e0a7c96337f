//! What a publication says, and how subscribers get to read it.

use shardwire_protocol::envelope::outbound;

use super::place_on_the_wire;
use crate::vocabulary::{Now, Position};

/// What a publication says.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Body<'a> {
    /// One valid JSON value; subscribers get it as the `message` of a `broadcast`.
    Message(&'a [u8]),
    /// A message of a type of its own, as a room of the engine writes it: the text of an object of at least one field without its
    /// closing brace. Subscribers get it with its place behind that, if it has one.
    Event(&'a [u8]),
}

impl Body<'_> {
    /// Appends the JSON text that every subscriber gets.
    pub(crate) fn write(self, out: &mut Vec<u8>, now: Now, channel: &str, place: Option<Position>) {
        let place = place.map(place_on_the_wire);
        match self {
            Self::Message(message) => {
                // Valid by construction: the parser or the embedding door checked it; a broken one becomes `null`, not a broken envelope.
                let message = std::str::from_utf8(message).unwrap_or("null");
                outbound::broadcast(out, channel, message, now.unix_ms, place);
            }
            Self::Event(head) => {
                out.extend_from_slice(head);
                outbound::end_event(out, place);
            }
        }
    }
}
