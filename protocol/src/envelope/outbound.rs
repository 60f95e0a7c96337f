//! The server's messages. Each function appends the JSON text of one message (no frame) to `out`.
//!
//! Parameters called `raw` or of type [`RawValue`] are JSON already and go in as they are: they must be one valid JSON value
//! each, which holds for what [`super::parse`] gave. Channels and other text are escaped. Timestamps are Unix
//! milliseconds. An `id` is that of the message this one answers.

use super::RawValue;
use crate::codes::ErrorCode;

/// `{"type":"echo","data":…,"timestamp":…}` (contract W1).
pub fn echo(out: &mut Vec<u8>, data_raw: &str, timestamp: u64, id: Option<&RawValue>) {
    out.extend_from_slice(br#"{"type":"echo","data":"#);
    out.extend_from_slice(data_raw.as_bytes());
    write_timestamp(out, timestamp);
    end(out, id);
}

/// `{"type":"pong","timestamp":…}` (contract W4).
pub fn pong(out: &mut Vec<u8>, timestamp: u64, id: Option<&RawValue>) {
    out.extend_from_slice(br#"{"type":"pong""#);
    write_timestamp(out, timestamp);
    end(out, id);
}

/// `{"type":"subscribed","channel":…}` (contract B5).
pub fn subscribed(out: &mut Vec<u8>, channel: &str, id: Option<&RawValue>) {
    out.extend_from_slice(br#"{"type":"subscribed","channel":"#);
    write_text(out, channel);
    end(out, id);
}

/// `{"type":"unsubscribed","channel":…}` (contract B6).
pub fn unsubscribed(out: &mut Vec<u8>, channel: &str, id: Option<&RawValue>) {
    out.extend_from_slice(br#"{"type":"unsubscribed","channel":"#);
    write_text(out, channel);
    end(out, id);
}

/// `{"type":"broadcast","channel":…,"message":…,"timestamp":…}` (contract B7).
pub fn broadcast(out: &mut Vec<u8>, channel: &str, message_raw: &str, timestamp: u64) {
    out.extend_from_slice(br#"{"type":"broadcast","channel":"#);
    write_text(out, channel);
    out.extend_from_slice(br#","message":"#);
    out.extend_from_slice(message_raw.as_bytes());
    write_timestamp(out, timestamp);
    end(out, None);
}

/// `{"type":"reconnect","delay":…}`: this node is being emptied; come back `delay` milliseconds from now, not before.
pub fn reconnect(out: &mut Vec<u8>, delay_ms: u64) {
    out.extend_from_slice(br#"{"type":"reconnect","delay":"#);
    write_number(out, delay_ms);
    end(out, None);
}

/// `{"type":"error","error":…,"code":…,"temporary":…}` (contract W5 to W9).
pub fn error(out: &mut Vec<u8>, code: ErrorCode, id: Option<&RawValue>) {
    out.extend_from_slice(br#"{"type":"error","error":"#);
    write_text(out, code.text());
    out.extend_from_slice(br#","code":"#);
    write_number(out, u64::from(code.number()));
    out.extend_from_slice(match code.is_temporary() {
        true => br#","temporary":true"#,
        false => br#","temporary":false"#,
    });
    end(out, id);
}

/// Appends `text` as a JSON string, quotes included.
pub fn write_text(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a string always has a JSON form and a Vec takes it");
}

fn write_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn write_timestamp(out: &mut Vec<u8>, timestamp: u64) {
    out.extend_from_slice(br#","timestamp":"#);
    write_number(out, timestamp);
}

fn end(out: &mut Vec<u8>, id: Option<&RawValue>) {
    if let Some(id) = id {
        out.extend_from_slice(br#","id":"#);
        out.extend_from_slice(id.get().as_bytes());
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_words_on_the_wire() {
        let id = RawValue::from_string("\"a\"".into()).unwrap();
        let id = Some(&*id);
        assert_eq!(
            written(|out| echo(out, r#"{"x": 1}"#, 17, None)),
            r#"{"type":"echo","data":{"x": 1},"timestamp":17}"#
        );
        assert_eq!(
            written(|out| pong(out, u64::MAX, id)),
            r#"{"type":"pong","timestamp":18446744073709551615,"id":"a"}"#
        );
        assert_eq!(
            written(|out| subscribed(out, "a\"b", id)),
            r#"{"type":"subscribed","channel":"a\"b","id":"a"}"#
        );
        assert_eq!(
            written(|out| unsubscribed(out, "c", None)),
            r#"{"type":"unsubscribed","channel":"c"}"#
        );
        assert_eq!(
            written(|out| broadcast(out, "c", "null", 0)),
            r#"{"type":"broadcast","channel":"c","message":null,"timestamp":0}"#
        );
        assert_eq!(
            written(|out| reconnect(out, 1500)),
            r#"{"type":"reconnect","delay":1500}"#
        );
        assert_eq!(
            written(|out| error(out, ErrorCode::UnknownType, id)),
            r#"{"type":"error","error":"Unknown message type","code":103,"temporary":false,"id":"a"}"#
        );
        assert_eq!(
            written(|out| error(out, ErrorCode::RateLimitExceeded, None)),
            r#"{"type":"error","error":"Rate limit exceeded","code":102,"temporary":true}"#
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_channel_and_message_survive(channel in any::<String>(), message in any::<String>()) {
            let raw = serde_json::to_string(&json!({ "m": message })).unwrap();
            let text = written(|out| broadcast(out, &channel, &raw, 5));
            let value: Value = serde_json::from_str(&text).unwrap();
            let expected = json!({
                "type": "broadcast", "channel": channel, "message": { "m": message }, "timestamp": 5,
            });
            prop_assert_eq!(value, expected);
            // And they come back through the reader.
            let inbound = crate::envelope::parse(&text).unwrap();
            prop_assert_eq!(&*inbound.channel.unwrap(), channel);
            prop_assert_eq!(inbound.message.unwrap().get(), raw);
        }
    }
}
