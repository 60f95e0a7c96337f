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
    write_error(out, code.text(), code, id);
}

/// The same in an application's own words, such as "Invalid chat message" (contract K10), under the code of
/// [`ErrorCode::InvalidMessage`].
pub fn refusal(out: &mut Vec<u8>, text: &str) {
    write_error(out, text, ErrorCode::InvalidMessage, None);
}

fn write_error(out: &mut Vec<u8>, text: &str, code: ErrorCode, id: Option<&RawValue>) {
    out.extend_from_slice(br#"{"type":"error","error":"#);
    write_text(out, text);
    out.extend_from_slice(br#","code":"#);
    write_number(out, u64::from(code.number()));
    out.extend_from_slice(match code.is_temporary() {
        true => br#","temporary":true"#,
        false => br#","temporary":false"#,
    });
    end(out, id);
}

/// What a client is told first, once it is known who it is.
#[derive(Clone, Copy, Debug)]
pub struct Hello<'a> {
    /// The connection's id, as logs and the HTTP surface write it.
    pub connection: &'a str,
    /// The verified user; none: nobody in particular.
    pub user: Option<&'a str>,
    /// The user's name for others to read.
    pub name: Option<&'a str>,
    /// Largest message a client may send, in bytes.
    pub max_message_size: u64,
    /// Channels one connection may be subscribed to.
    pub max_channels: u64,
    /// Messages a client may send per second in the long run; none: as many as it likes.
    pub messages_per_second: Option<f64>,
    /// Silence after which the client is pinged, in milliseconds.
    pub heartbeat_interval_ms: u64,
    /// Time a pinged client has to answer, in milliseconds.
    pub heartbeat_timeout_ms: u64,
    /// The server's clock, in Unix milliseconds.
    pub server_time: u64,
    /// When the credentials expire, in Unix milliseconds; none: never.
    pub expires: Option<u64>,
}

/// `{"type":"hello","connection":…,"user":…,"limits":{…},"heartbeat":{…},"serverTime":…}`. `id` is that of an `auth` message.
pub fn hello(out: &mut Vec<u8>, hello: &Hello<'_>, id: Option<&RawValue>) {
    out.extend_from_slice(br#"{"type":"hello","connection":"#);
    write_text(out, hello.connection);
    out.extend_from_slice(br#","user":"#);
    match hello.user {
        Some(user) => write_text(out, user),
        None => out.extend_from_slice(b"null"),
    }
    if let Some(name) = hello.name {
        out.extend_from_slice(br#","name":"#);
        write_text(out, name);
    }
    out.extend_from_slice(br#","limits":{"maxMessageSize":"#);
    write_number(out, hello.max_message_size);
    out.extend_from_slice(br#","maxChannels":"#);
    write_number(out, hello.max_channels);
    if let Some(rate) = hello.messages_per_second {
        out.extend_from_slice(br#","messagesPerSecond":"#);
        serde_json::to_writer(&mut *out, &rate).expect("a number always has a JSON form");
    }
    out.extend_from_slice(br#"},"heartbeat":{"interval":"#);
    write_number(out, hello.heartbeat_interval_ms);
    out.extend_from_slice(br#","timeout":"#);
    write_number(out, hello.heartbeat_timeout_ms);
    out.extend_from_slice(br#"},"serverTime":"#);
    write_number(out, hello.server_time);
    write_expires(out, hello.expires);
    end(out, id);
}

/// `{"type":"token-expiring","expires":…}`: time for a `refresh`. In Unix milliseconds.
pub fn token_expiring(out: &mut Vec<u8>, expires: u64) {
    out.extend_from_slice(br#"{"type":"token-expiring""#);
    write_expires(out, Some(expires));
    end(out, None);
}

/// `{"type":"refreshed","expires":…}`: the new token holds, until then in Unix milliseconds; for ever without `expires`.
pub fn refreshed(out: &mut Vec<u8>, expires: Option<u64>, id: Option<&RawValue>) {
    out.extend_from_slice(br#"{"type":"refreshed""#);
    write_expires(out, expires);
    end(out, id);
}

/// `{"type":"unsubscribed","channel":…,"error":…,"code":…}`: taken out of a channel by the server, and why.
pub fn taken_out(out: &mut Vec<u8>, channel: &str, code: ErrorCode) {
    out.extend_from_slice(br#"{"type":"unsubscribed","channel":"#);
    write_text(out, channel);
    out.extend_from_slice(br#","error":"#);
    write_text(out, code.text());
    out.extend_from_slice(br#","code":"#);
    write_number(out, u64::from(code.number()));
    end(out, None);
}

fn write_expires(out: &mut Vec<u8>, expires: Option<u64>) {
    if let Some(expires) = expires {
        out.extend_from_slice(br#","expires":"#);
        write_number(out, expires);
    }
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

    #[test]
    fn the_words_about_who_one_is() {
        let everything = Hello {
            connection: "3:7.9",
            user: Some("ann\"x"),
            name: Some("Ann"),
            max_message_size: 65_536,
            max_channels: 128,
            messages_per_second: Some(0.5),
            heartbeat_interval_ms: 30_000,
            heartbeat_timeout_ms: 10_000,
            server_time: 17,
            expires: Some(99),
        };
        assert_eq!(
            written(|out| hello(out, &everything, None)),
            concat!(
                r#"{"type":"hello","connection":"3:7.9","user":"ann\"x","name":"Ann","limits":{"maxMessageSize":65536,"#,
                r#""maxChannels":128,"messagesPerSecond":0.5},"heartbeat":{"interval":30000,"timeout":10000},"#,
                r#""serverTime":17,"expires":99}"#
            )
        );
        let nobody = Hello {
            user: None,
            name: None,
            messages_per_second: None,
            expires: None,
            ..everything
        };
        assert_eq!(
            written(|out| hello(
                out,
                &nobody,
                Some(&RawValue::from_string("4".into()).unwrap())
            )),
            concat!(
                r#"{"type":"hello","connection":"3:7.9","user":null,"limits":{"maxMessageSize":65536,"maxChannels":128},"#,
                r#""heartbeat":{"interval":30000,"timeout":10000},"serverTime":17,"id":4}"#
            )
        );
        assert_eq!(
            written(|out| token_expiring(out, 5)),
            r#"{"type":"token-expiring","expires":5}"#
        );
        assert_eq!(
            written(|out| refreshed(out, Some(5), None)),
            r#"{"type":"refreshed","expires":5}"#
        );
        assert_eq!(
            written(|out| taken_out(out, "c", ErrorCode::NotPermitted)),
            r#"{"type":"unsubscribed","channel":"c","error":"Not permitted","code":115}"#
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
