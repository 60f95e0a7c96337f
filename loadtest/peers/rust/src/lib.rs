//! What the peers have in common: where they listen, and the messages they understand.
//!
//! `/echo` echoes; any other path speaks `{"type":"subscribe","channel":…}` and `{"type":"publish","channel":…,"message":…}`.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::value::RawValue;

/// The longest message a peer takes, as the others do.
pub const MESSAGE_MAX: usize = 16 << 20;

/// What a client sent, as far as a peer understands it.
pub enum Inbound<'a> {
    /// It wants to hear a channel; this is what it is answered.
    Subscribe(&'a str, String),
    /// It says something in a channel; this is what everybody there is told.
    Publish(&'a str, String),
    Other,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    r#type: &'a str,
    channel: &'a str,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
}

/// The first argument, or the default: where to listen.
pub fn address() -> String {
    std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:8081".to_owned())
}

/// One parse, and the answer that everybody gets.
pub fn understand(text: &str) -> Inbound<'_> {
    let Ok(envelope) = serde_json::from_str::<Envelope<'_>>(text) else {
        return Inbound::Other;
    };
    let channel = envelope.channel;
    match (envelope.r#type, envelope.message) {
        ("subscribe", _) => Inbound::Subscribe(
            channel,
            format!(r#"{{"type":"subscribed","channel":"{channel}"}}"#),
        ),
        ("publish", Some(body)) => {
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |time| time.as_millis());
            let body = body.get();
            Inbound::Publish(
                channel,
                format!(
                    r#"{{"type":"broadcast","channel":"{channel}","message":{body},"timestamp":{now}}}"#
                ),
            )
        }
        _ => Inbound::Other,
    }
}
