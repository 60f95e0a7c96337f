//! The JSON messages of the wire: `{"type": …}` in both directions.
//!
//! **What lives here.** [`parse`], which borrows the fields every message may have from the text of a frame, and
//! [`outbound`], [`presence`], [`chat`] and [`notifications`], which write the answers.
//!
//! **What does not.** What a `type` means, which channel names are allowed, who may do what: `shards` decides.
//!
//! **Invariants.**
//! * What a client sent travels on only as JSON that was parsed as a whole: nobody can break the message another one gets.
//! * It is nested at most [`MAX_DEPTH`] deep, so that a subscriber's parser is safe, too.
//! * One pass over the text; nothing is copied unless `type`, `channel` or `exclude` contain escapes.
//!
//! **Who calls in.** `shards`, clients, load test; calls [`crate::codes`], [`crate::text`]. **Tests**: beside the code.

pub mod chat;
pub mod client;
mod depth;
mod inbound;
pub mod notifications;
pub mod outbound;
pub mod presence;
mod text;

/// What the names of topics (contract Q4 to Q7) begin with: the topic `news` is the channel `topic:news`. What is said about such a
/// channel names the topic, in `topic` instead of `channel`, and its messages are `topic-message`.
pub const TOPIC_PREFIX: &str = "topic:";

/// What the names of channels begin with in which it is told who is in another one: `$presence:room:1` tells it of `room:1`.
pub const PRESENCE_PREFIX: &str = "$presence:";

pub use depth::{MAX_DEPTH, is_deeper_than};
pub use inbound::{
    DocumentSince, Inbound, MAX_ID_BYTES, MAX_KEY_BYTES, MAX_NOTIFICATION_IDS, More, Since, parse,
};
pub use serde_json::value::RawValue;
pub use text::Text;

/// What a function that appends a message has written.
#[cfg(test)]
fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).expect("messages are text")
}
