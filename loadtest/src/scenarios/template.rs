//! Message templates: how this server wants to be spoken to.
//!
//! Replaced are exactly `{channel}` (the channel's name), `{message}` (the message body as a JSON string, with its quotes) and
//! `{text}` (the same without quotes). Every other brace stays, so JSON needs no escaping.

use std::fmt::Display;

use anyhow::{Result, bail};

use crate::correctness::stamp::{STAMP_LEN, Stamp, append_body};

/// Placeholder for the message body as a JSON string.
const MESSAGE: &str = "{message}";
/// Placeholder for the message body as bare text.
const TEXT: &str = "{text}";
/// Placeholder for the channel's name.
const CHANNEL: &str = "{channel}";
/// Placeholder for the channel's number, in channel names.
const NUMBER: &str = "{n}";

/// Checks that a template carries the message body exactly once.
///
/// # Errors
/// With a text for the user.
pub fn check_body(template: &str) -> Result<()> {
    let bodies = template.matches(MESSAGE).count() + template.matches(TEXT).count();
    if bodies != 1 {
        bail!(
            "the template {template:?} must hold {MESSAGE} or {TEXT} once, it holds them {bodies} times"
        );
    }
    Ok(())
}

/// The name of channel `number`; `{n}` in the pattern is the number, and without one it is appended.
pub fn channel_name(pattern: &str, number: impl Display) -> String {
    if pattern.contains(NUMBER) {
        pattern.replace(NUMBER, &number.to_string())
    } else {
        format!("{pattern}{number}")
    }
}

/// A template without a body, such as the subscribe message.
pub fn with_channel(template: &str, channel: &str) -> String {
    template.replace(CHANNEL, channel)
}

/// A message ready to be sent again and again: only its stamp changes.
#[derive(Debug, Clone)]
pub struct StampedMessage {
    bytes: Vec<u8>,
    stamp_at: usize,
}

impl StampedMessage {
    /// The body alone, as a raw echo server takes it; `size` is its length and at least [`STAMP_LEN`].
    pub fn raw(size: usize) -> Self {
        let mut bytes = Vec::with_capacity(size);
        append_body(&mut bytes, size);
        Self { bytes, stamp_at: 0 }
    }

    /// A body of `size` characters within a template that [`check_body`] accepted.
    pub fn from_template(template: &str, channel: &str, size: usize) -> Self {
        let (before, after, quote) = match (template.split_once(MESSAGE), template.split_once(TEXT))
        {
            (Some((before, after)), _) => (before, after, "\""),
            (None, Some((before, after))) => (before, after, ""),
            (None, None) => (template, "", ""),
        };
        let mut bytes = with_channel(before, channel).into_bytes();
        bytes.extend(quote.as_bytes());
        let stamp_at = bytes.len();
        append_body(&mut bytes, size);
        bytes.extend(quote.as_bytes());
        bytes.extend(with_channel(after, channel).as_bytes());
        Self { bytes, stamp_at }
    }

    /// The whole message with this stamp.
    pub fn stamped(&mut self, stamp: &Stamp) -> &[u8] {
        stamp.write(&mut self.bytes[self.stamp_at..self.stamp_at + STAMP_LEN]);
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const STAMP: Stamp = Stamp {
        run: 1,
        source: 2,
        channel: 3,
        sequence: 4,
        time: 5,
    };

    #[test]
    fn only_the_placeholders_are_replaced() {
        let template = r#"{"type":"publish","channel":"{channel}","message":{message},"x":{}}"#;
        check_body(template).unwrap();
        let mut message = StampedMessage::from_template(template, "room-1", 64);
        let text = std::str::from_utf8(message.stamped(&STAMP)).unwrap();
        let value: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(value["channel"], "room-1");
        assert_eq!(value["message"].as_str().unwrap().len(), 64);
        assert_eq!(
            Stamp::read(value["message"].as_str().unwrap().as_bytes()),
            Some(STAMP)
        );
        assert_eq!(
            with_channel(r#"{"type":"subscribe","channel":"{channel}"}"#, "a"),
            r#"{"type":"subscribe","channel":"a"}"#
        );
    }

    #[test]
    fn bare_text_has_no_quotes() {
        let mut message = StampedMessage::from_template("PUB {channel} {text}\r\n", "c", 30);
        let text = std::str::from_utf8(message.stamped(&STAMP)).unwrap();
        assert!(
            text.starts_with("PUB c lt.:") && text.ends_with("\r\n"),
            "{text}"
        );
    }

    #[test]
    fn a_template_without_or_with_two_bodies_is_refused() {
        assert!(
            check_body("{}")
                .unwrap_err()
                .to_string()
                .contains("0 times")
        );
        assert!(
            check_body("{message}{text}")
                .unwrap_err()
                .to_string()
                .contains("2 times")
        );
    }

    #[test]
    fn channel_names_are_numbered() {
        assert_eq!(channel_name("room-{n}-x", 7), "room-7-x");
        assert_eq!(channel_name("room-", 7), "room-7");
    }
}
