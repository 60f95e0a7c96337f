//! The server's messages. Each function appends the JSON text of one message (no frame) to `out`.
//!
//! Parameters called `raw` or of type [`RawValue`] are JSON already and go in as they are: they must be one valid JSON value
//! each, which holds for what [`super::parse`] gave. Channels and other text are escaped. Timestamps are Unix
//! milliseconds. An `id` is that of the message this one answers.

pub mod documents;

use super::{RawValue, TOPIC_PREFIX};
use crate::codes::ErrorCode;

/// A place in a channel's log, as clients read it: `"offset":…,"epoch":"…"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Grows with every message of one epoch; 0 is before the first.
    pub offset: u64,
    /// Which life of the log; 16 hexadecimal digits on the wire.
    pub epoch: u64,
}

/// Why a subscriber has not got something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapReason {
    /// It did not read as fast as was published.
    Slow,
    /// The channel's history does not reach that far back any more.
    Evicted,
}

impl GapReason {
    fn text(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::Evicted => "evicted",
        }
    }
}

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

/// `{"type":"subscribed","channel":…}` (contract B5). With history: `"offset":…,"epoch":…`: what is behind that place comes. If the
/// client said where it had been: `"recovered":…`, whether it gets everything from there on.
pub fn subscribed(
    out: &mut Vec<u8>,
    channel: &str,
    place: Option<Place>,
    recovered: Option<bool>,
    id: Option<&RawValue>,
) {
    begin_about(out, "subscribed", channel);
    if let Some(place) = place {
        write_place(out, place);
    }
    match recovered {
        Some(true) => out.extend_from_slice(br#","recovered":true"#),
        Some(false) => out.extend_from_slice(br#","recovered":false"#),
        None => {}
    }
    end(out, id);
}

/// `{"type":"unsubscribed","channel":…}` (contract B6).
pub fn unsubscribed(out: &mut Vec<u8>, channel: &str, id: Option<&RawValue>) {
    begin_about(out, "unsubscribed", channel);
    end(out, id);
}

/// `{"type":"broadcast","channel":…,"message":…,"timestamp":…}` (contract B7); of a topic
/// `{"type":"topic-message","topic":…,"message":…,"timestamp":…}` (contract Q7). With history: `"offset":…,"epoch":…`.
pub fn broadcast(
    out: &mut Vec<u8>,
    channel: &str,
    message_raw: &str,
    timestamp: u64,
    place: Option<Place>,
) {
    match channel.strip_prefix(TOPIC_PREFIX) {
        None => {
            out.extend_from_slice(br#"{"type":"broadcast","channel":"#);
            write_text(out, channel);
        }
        Some(topic) => {
            out.extend_from_slice(br#"{"type":"topic-message","topic":"#);
            write_text(out, topic);
        }
    }
    out.extend_from_slice(br#","message":"#);
    out.extend_from_slice(message_raw.as_bytes());
    write_timestamp(out, timestamp);
    if let Some(place) = place {
        write_place(out, place);
    }
    end(out, None);
}

/// `{"type":"reconnect","delay":…}`: this node is being emptied; come back `delay` milliseconds from now, not before.
pub fn reconnect(out: &mut Vec<u8>, delay_ms: u64) {
    out.extend_from_slice(br#"{"type":"reconnect","delay":"#);
    write_number(out, delay_ms);
    end(out, None);
}

/// `{"type":"published","channel":…,"offset":…,"epoch":…}`: it is stored as the channel's rule says, there.
pub fn published(out: &mut Vec<u8>, channel: &str, place: Place, id: Option<&RawValue>) {
    begin_about(out, "published", channel);
    write_place(out, place);
    end(out, id);
}

/// `{"type":"gap","channel":…,"from":…,"to":…,"epoch":…,"reason":…}`: these offsets, both ends included, do not come.
pub fn gap(out: &mut Vec<u8>, channel: &str, from: u64, to: Place, reason: GapReason) {
    begin_about(out, "gap", channel);
    out.extend_from_slice(br#","from":"#);
    write_number(out, from);
    out.extend_from_slice(br#","to":"#);
    write_number(out, to.offset);
    write_epoch(out, to.epoch);
    write_reason(out, reason);
    end(out, None);
}

/// `{"type":"gap","channel":…,"missed":…,"reason":…}`: so many messages of a channel without history do not come.
pub fn gap_without_history(out: &mut Vec<u8>, channel: &str, missed: u64, reason: GapReason) {
    begin_about(out, "gap", channel);
    out.extend_from_slice(br#","missed":"#);
    write_number(out, missed);
    write_reason(out, reason);
    end(out, None);
}

/// `{"type":"history","channel":…,"offset":…,"epoch":…,"messages":[…],"more":…}`: the messages as subscribers get them, and whether
/// there are more in that direction. `place` is where the log stands.
pub fn history<'m>(
    out: &mut Vec<u8>,
    channel: &str,
    place: Place,
    messages: impl IntoIterator<Item = &'m [u8]>,
    more: bool,
    id: Option<&RawValue>,
) {
    begin_about(out, "history", channel);
    write_place(out, place);
    out.extend_from_slice(br#","messages":["#);
    for (index, message) in messages.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(message);
    }
    out.extend_from_slice(match more {
        true => br#"],"more":true"#,
        false => br#"],"more":false"#,
    });
    end(out, id);
}

/// The end of an event that is written without its closing brace: `"offset":…,"epoch":…` with history, and the brace.
pub fn end_event(out: &mut Vec<u8>, place: Option<Place>) {
    if let Some(place) = place {
        write_place(out, place);
    }
    end(out, None);
}

/// `{"type":…,"channel":…`, or for a topic `{"type":…,"topic":…`.
fn begin_about(out: &mut Vec<u8>, kind: &str, channel: &str) {
    begin(out, kind);
    match channel.strip_prefix(TOPIC_PREFIX) {
        None => {
            out.extend_from_slice(br#","channel":"#);
            write_text(out, channel);
        }
        Some(topic) => {
            out.extend_from_slice(br#","topic":"#);
            write_text(out, topic);
        }
    }
}

/// `{"type":…`.
pub(super) fn begin(out: &mut Vec<u8>, kind: &str) {
    out.extend_from_slice(br#"{"type":"#);
    write_text(out, kind);
}

fn write_place(out: &mut Vec<u8>, place: Place) {
    out.extend_from_slice(br#","offset":"#);
    write_number(out, place.offset);
    write_epoch(out, place.epoch);
}

fn write_epoch(out: &mut Vec<u8>, epoch: u64) {
    out.extend_from_slice(br#","epoch":""#);
    for shift in (0..16).rev() {
        out.push(b"0123456789abcdef"[(epoch >> (shift * 4)) as usize & 15]);
    }
    out.push(b'"');
}

fn write_reason(out: &mut Vec<u8>, reason: GapReason) {
    out.extend_from_slice(br#","reason":"#);
    write_text(out, reason.text());
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
    /// Silence of the client itself after which it should send something, in milliseconds (contract R1).
    pub presence_interval_ms: u64,
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
    out.extend_from_slice(br#","presence":"#);
    write_number(out, hello.presence_interval_ms);
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
    begin_about(out, "unsubscribed", channel);
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

pub(super) fn write_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

pub(super) fn write_timestamp(out: &mut Vec<u8>, timestamp: u64) {
    out.extend_from_slice(br#","timestamp":"#);
    write_number(out, timestamp);
}

pub(super) fn end(out: &mut Vec<u8>, id: Option<&RawValue>) {
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
    use crate::envelope::written;
    use proptest::prelude::*;
    use serde_json::{Value, json};

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
            written(|out| subscribed(out, "a\"b", None, None, id)),
            r#"{"type":"subscribed","channel":"a\"b","id":"a"}"#
        );
        assert_eq!(
            written(|out| unsubscribed(out, "c", None)),
            r#"{"type":"unsubscribed","channel":"c"}"#
        );
        assert_eq!(
            written(|out| broadcast(out, "c", "null", 0, None)),
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
            presence_interval_ms: 45_000,
            server_time: 17,
            expires: Some(99),
        };
        assert_eq!(
            written(|out| hello(out, &everything, None)),
            concat!(
                r#"{"type":"hello","connection":"3:7.9","user":"ann\"x","name":"Ann","limits":{"maxMessageSize":65536,"#,
                r#""maxChannels":128,"messagesPerSecond":0.5},"heartbeat":{"interval":30000,"timeout":10000,"presence":45000},"#,
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
                r#""heartbeat":{"interval":30000,"timeout":10000,"presence":45000},"serverTime":17,"id":4}"#
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

    #[test]
    fn the_words_about_history() {
        let place = Place {
            offset: 7,
            epoch: 0x0123_4567_89ab_cdef,
        };
        assert_eq!(
            written(|out| subscribed(out, "c", Some(place), Some(false), None)),
            r#"{"type":"subscribed","channel":"c","offset":7,"epoch":"0123456789abcdef","recovered":false}"#
        );
        assert_eq!(
            written(|out| broadcast(out, "topic:t", "1", 5, Some(place))),
            r#"{"type":"topic-message","topic":"t","message":1,"timestamp":5,"offset":7,"epoch":"0123456789abcdef"}"#
        );
        let id = RawValue::from_string("4".into()).unwrap();
        assert_eq!(
            written(|out| published(out, "topic:t", place, Some(&id))),
            r#"{"type":"published","topic":"t","offset":7,"epoch":"0123456789abcdef","id":4}"#
        );
        assert_eq!(
            written(|out| gap(out, "c", 3, place, GapReason::Evicted)),
            r#"{"type":"gap","channel":"c","from":3,"to":7,"epoch":"0123456789abcdef","reason":"evicted"}"#
        );
        assert_eq!(
            written(|out| gap_without_history(out, "c", 3, GapReason::Slow)),
            r#"{"type":"gap","channel":"c","missed":3,"reason":"slow"}"#
        );
        let messages: [&[u8]; 2] = [b"{}", b"{\"a\":1}"];
        assert_eq!(
            written(|out| history(out, "c", place, messages, true, None)),
            r#"{"type":"history","channel":"c","offset":7,"epoch":"0123456789abcdef","messages":[{},{"a":1}],"more":true}"#
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_channel_and_message_survive(channel in any::<String>(), message in any::<String>()) {
            let raw = serde_json::to_string(&json!({ "m": message })).unwrap();
            let text = written(|out| broadcast(out, &channel, &raw, 5, None));
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
