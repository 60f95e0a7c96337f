//! The client's half of the JSON messages: writing what a client sends, reading what a server answers.
//!
//! Ids are numbers here: a client of ours makes them itself, and a number costs no escaping.

mod presence;

pub use presence::PresenceTold;

use super::{RawValue, Text, outbound::write_text};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;

/// A server's message. Which fields it has depends on its `type`; unknown ones are ignored.
#[derive(Debug, Deserialize)]
pub struct Reply<'a> {
    /// `type`.
    #[serde(rename = "type", borrow)]
    pub kind: Text<'a>,
    /// `channel` of `subscribed`, `unsubscribed`, `broadcast`.
    #[serde(default, borrow)]
    pub channel: Option<Text<'a>>,
    /// `message` of `broadcast`: any JSON, `null` included, exactly as it was published.
    #[serde(default, borrow, deserialize_with = "present")]
    pub message: Option<&'a RawValue>,
    /// `data` of `echo`.
    #[serde(default, borrow, deserialize_with = "present")]
    pub data: Option<&'a RawValue>,
    /// Unix milliseconds of the server's clock.
    #[serde(default)]
    pub timestamp: Option<u64>,
    /// `error`: what went wrong, in words.
    #[serde(default, borrow)]
    pub error: Option<Text<'a>>,
    /// `code` of an `error`: a number of [`crate::codes::ERRORS`], or one that a newer server knows.
    #[serde(default)]
    pub code: Option<u16>,
    /// Whether the refused message may succeed later.
    #[serde(default)]
    pub temporary: Option<bool>,
    /// `id` of the message this one answers.
    #[serde(default, borrow)]
    id: Option<&'a RawValue>,
    // What messages about history have. As they came: an application's own messages may use the names otherwise.
    #[serde(default, borrow)]
    topic: Option<&'a RawValue>,
    #[serde(default, borrow)]
    offset: Option<&'a RawValue>,
    #[serde(default, borrow)]
    epoch: Option<&'a RawValue>,
    #[serde(default, borrow)]
    recovered: Option<&'a RawValue>,
    #[serde(default, borrow)]
    from: Option<&'a RawValue>,
    #[serde(default, borrow)]
    to: Option<&'a RawValue>,
    #[serde(default, borrow)]
    missed: Option<&'a RawValue>,
    #[serde(default, borrow)]
    reason: Option<&'a RawValue>,
}

/// A place in the history of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Grows with every message of one epoch.
    pub offset: u64,
    /// Which life of the history; means something to the server only.
    pub epoch: Box<str>,
}

/// What a subscriber will not get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// How many messages.
    pub missed: u64,
    /// With history, the place of the last one.
    pub to: Option<Place>,
    /// `evicted`, `slow`, or what a newer server says.
    pub reason: Box<str>,
}

fn number(raw: Option<&RawValue>) -> Option<u64> {
    raw?.get().parse().ok()
}

fn text(raw: Option<&RawValue>) -> Option<Box<str>> {
    serde_json::from_str(raw?.get()).ok()
}

/// A field that is there counts even when it is `null`.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl<'a> Reply<'a> {
    /// Reads one text message of a server.
    ///
    /// # Errors
    ///
    /// It is not an object with a textual `type`, or a known field has another shape than the server gives it: another
    /// program speaks there.
    pub fn read(text: &'a str) -> Result<Reply<'a>, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// The channel it is about: of a topic, the one behind it, `topic:…`.
    pub fn about(&self) -> Option<Cow<'_, str>> {
        match &self.channel {
            Some(channel) => Some(Cow::Borrowed(channel)),
            None => Some(Cow::Owned(format!("topic:{}", text(self.topic)?))),
        }
    }

    /// `offset` and `epoch`: only channels with history have them.
    pub fn place(&self) -> Option<Place> {
        self.place_at(self.offset)
    }

    fn place_at(&self, offset: Option<&RawValue>) -> Option<Place> {
        Some(Place {
            offset: number(offset)?,
            epoch: text(self.epoch)?,
        })
    }

    /// `recovered` of `subscribed`: whether everything since the place the client named comes.
    pub fn is_recovered(&self) -> bool {
        self.recovered.is_some_and(|raw| raw.get() == "true")
    }

    /// What a `gap` says.
    pub fn gap(&self) -> Option<Gap> {
        let to = self.place_at(self.to);
        let counted = || {
            Some(
                to.as_ref()?
                    .offset
                    .checked_sub(number(self.from)?)?
                    .saturating_add(1),
            )
        };
        Some(Gap {
            missed: number(self.missed).or_else(counted)?,
            reason: text(self.reason).unwrap_or_default(),
            to,
        })
    }

    /// The number this message answers, if it answers one.
    pub fn id(&self) -> Option<u64> {
        self.id?.get().parse().ok()
    }
}

/// What `hello` says about this connection. Times are in milliseconds.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hello<'a> {
    /// The connection's id, as the server's logs write it.
    #[serde(borrow)]
    pub connection: Text<'a>,
    /// Who it is; `None` if nobody has verified that.
    #[serde(default, borrow)]
    pub user: Option<Text<'a>>,
    /// The user's name, where the credentials have one.
    #[serde(default, borrow)]
    pub name: Option<Text<'a>>,
    /// What the server takes of it.
    pub limits: Limits,
    /// When the server looks after it.
    pub heartbeat: Heartbeat,
    /// The server's clock, in Unix milliseconds.
    pub server_time: u64,
    /// When the credentials expire, in Unix milliseconds; `None`: they do not.
    #[serde(default)]
    pub expires: Option<u64>,
}

/// `limits` of [`Hello`].
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Longest message, in bytes.
    pub max_message_size: usize,
    /// Most channels at once.
    pub max_channels: usize,
    /// Most messages in a second, where that is limited.
    #[serde(default)]
    pub messages_per_second: Option<f64>,
}

/// `heartbeat` of [`Hello`].
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Heartbeat {
    /// Silence after which the server pings.
    pub interval: u64,
    /// How long it then waits.
    pub timeout: u64,
    /// Silence after which a client says something, if only `ping`, lest its user be taken for offline (contract R1). 0: the server does not ask.
    #[serde(default)]
    pub presence: u64,
}

impl<'a> Hello<'a> {
    /// Reads a message whose `type` is `hello`.
    ///
    /// # Errors
    ///
    /// It has another shape: another program speaks there.
    pub fn read(text: &'a str) -> Result<Hello<'a>, serde_json::Error> {
        serde_json::from_str(text)
    }
}

/// `{"type":"refresh","token":…,"id":…}`.
pub fn refresh(out: &mut Vec<u8>, token: &str, id: u64) {
    begin(out, "refresh");
    text_field(out, "token", token);
    end(out, Some(id));
}

/// `{"type":"subscribe","channel":…,"id":…}`; with `since`, to get what came behind that place.
pub fn subscribe(out: &mut Vec<u8>, channel: &str, since: Option<&Place>, id: u64) {
    begin(out, "subscribe");
    text_field(out, "channel", channel);
    if let Some(since) = since {
        out.extend_from_slice(br#","since":{"offset":"#);
        out.extend_from_slice(itoa::Buffer::new().format(since.offset).as_bytes());
        text_field(out, "epoch", &since.epoch);
        out.push(b'}');
    }
    end(out, Some(id));
}

/// `{"type":"unsubscribe","channel":…,"id":…}`.
pub fn unsubscribe(out: &mut Vec<u8>, channel: &str, id: u64) {
    begin(out, "unsubscribe");
    text_field(out, "channel", channel);
    end(out, Some(id));
}

/// `{"type":"publish","channel":…,"message":…,"id":…}`; `message_raw` is one JSON value. Publications with the same `key`
/// (1 to 64 bytes) are one; only channels with history take one.
pub fn publish(
    out: &mut Vec<u8>,
    channel: &str,
    message_raw: &str,
    exclude_self: bool,
    key: Option<&str>,
    id: u64,
) {
    begin(out, "publish");
    text_field(out, "channel", channel);
    raw_field(out, "message", message_raw);
    if exclude_self {
        text_field(out, "exclude", "self");
    }
    if let Some(key) = key {
        text_field(out, "idempotencyKey", key);
    }
    end(out, Some(id));
}

/// A message of any type: `fields` are names and JSON values. `type` and `id` are not among them.
pub fn message<'f>(
    out: &mut Vec<u8>,
    kind: &str,
    fields: impl IntoIterator<Item = (&'f str, &'f RawValue)>,
    id: Option<u64>,
) {
    begin(out, kind);
    for (name, value) in fields {
        raw_field(out, name, value.get());
    }
    end(out, id);
}

fn begin(out: &mut Vec<u8>, kind: &str) {
    out.extend_from_slice(br#"{"type":"#);
    write_text(out, kind);
}

fn text_field(out: &mut Vec<u8>, name: &str, value: &str) {
    out.push(b',');
    write_text(out, name);
    out.push(b':');
    write_text(out, value);
}

fn raw_field(out: &mut Vec<u8>, name: &str, value: &str) {
    out.push(b',');
    write_text(out, name);
    out.push(b':');
    out.extend_from_slice(value.as_bytes());
}

fn end(out: &mut Vec<u8>, id: Option<u64>) {
    if let Some(id) = id {
        out.extend_from_slice(br#","id":"#);
        out.extend_from_slice(itoa::Buffer::new().format(id).as_bytes());
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::envelope::written;
    use crate::{codes::ErrorCode, envelope};

    #[test]
    fn what_is_written_is_what_the_server_reads() {
        let text = written(|out| publish(out, "a\"b", r#"{"x": 1}"#, true, None, 7));
        assert_eq!(
            text,
            r#"{"type":"publish","channel":"a\"b","message":{"x": 1},"exclude":"self","id":7}"#
        );
        let inbound = envelope::parse(&text).unwrap();
        assert_eq!(&*inbound.channel.unwrap(), "a\"b");
        assert_eq!(inbound.message.unwrap().get(), r#"{"x": 1}"#);
        assert_eq!(inbound.id.unwrap().get(), "7");
        assert_eq!(
            written(|out| subscribe(out, "c", None, 1)),
            r#"{"type":"subscribe","channel":"c","id":1}"#
        );
        assert_eq!(
            written(|out| unsubscribe(out, "c", u64::MAX)),
            r#"{"type":"unsubscribe","channel":"c","id":18446744073709551615}"#
        );
        let data = RawValue::from_string("[null]".into()).unwrap();
        assert_eq!(
            written(|out| message(out, "echo", [("data", &*data)], None)),
            r#"{"type":"echo","data":[null]}"#
        );
    }

    #[test]
    fn what_the_server_writes_is_read() {
        let id = RawValue::from_string("9".into()).unwrap();
        let text = written(|out| envelope::outbound::error(out, ErrorCode::Overloaded, Some(&id)));
        let reply = Reply::read(&text).unwrap();
        assert_eq!((&*reply.kind, reply.id()), ("error", Some(9)));
        assert_eq!((reply.code, reply.temporary), (Some(110), Some(true)));
        let text = written(|out| envelope::outbound::broadcast(out, "news", "null", 5, None));
        let reply = Reply::read(&text).unwrap();
        assert_eq!(reply.message.unwrap().get(), "null");
        assert_eq!((reply.timestamp, reply.id()), (Some(5), None));
    }

    #[test]
    fn what_is_said_about_history_is_read() {
        let reply = Reply::read(
            r#"{"type":"subscribed","topic":"a\u0062","offset":7,"epoch":"00ff","recovered":true}"#,
        )
        .unwrap();
        let place = Place {
            offset: 7,
            epoch: "00ff".into(),
        };
        assert_eq!(reply.about().as_deref(), Some("topic:ab"));
        assert_eq!(
            (reply.place(), reply.is_recovered()),
            (Some(place.clone()), true)
        );
        let gap = |text| Reply::read(text).unwrap().gap();
        assert_eq!(
            gap(
                r#"{"type":"gap","channel":"c","from":5,"to":7,"epoch":"00ff","reason":"evicted"}"#
            ),
            Some(Gap {
                missed: 3,
                to: Some(place.clone()),
                reason: "evicted".into()
            })
        );
        let missed = gap(r#"{"type":"gap","channel":"c","missed":12,"reason":"slow"}"#).unwrap();
        assert_eq!((missed.missed, missed.to), (12, None));
        // An application's own message with the same names, and nonsense.
        let own =
            Reply::read(r#"{"type":"x","from":"ann","to":[],"offset":-1,"epoch":1}"#).unwrap();
        assert_eq!(
            (own.place(), own.gap(), own.is_recovered()),
            (None, None, false)
        );
        assert_eq!(gap(r#"{"type":"gap","from":9,"to":7,"epoch":"e"}"#), None);
        assert_eq!(
            written(|out| subscribe(out, "c", Some(&place), 1)),
            r#"{"type":"subscribe","channel":"c","since":{"offset":7,"epoch":"00ff"},"id":1}"#
        );
        assert_eq!(
            written(|out| publish(out, "c", "1", false, Some("k"), 2)),
            r#"{"type":"publish","channel":"c","message":1,"idempotencyKey":"k","id":2}"#
        );
    }

    #[test]
    fn the_servers_hello_is_read() {
        let hello = envelope::outbound::Hello {
            connection: "3:7.9",
            user: Some("ann\"x"),
            name: None,
            max_message_size: 65536,
            max_channels: 128,
            messages_per_second: Some(2.5),
            heartbeat_interval_ms: 30_000,
            heartbeat_timeout_ms: 10_000,
            presence_interval_ms: 45_000,
            server_time: 7,
            expires: Some(9),
        };
        let text = written(|out| envelope::outbound::hello(out, &hello, None));
        let read = Hello::read(&text).unwrap();
        assert_eq!((&*read.connection, read.name.is_none()), ("3:7.9", true));
        assert_eq!(&*read.user.unwrap(), "ann\"x");
        assert_eq!(read.limits.max_message_size, 65536);
        assert_eq!(read.limits.messages_per_second, Some(2.5));
        assert_eq!(
            (read.heartbeat.interval, read.heartbeat.timeout),
            (30_000, 10_000)
        );
        assert_eq!(read.heartbeat.presence, 45_000);
        assert_eq!((read.server_time, read.expires), (7, Some(9)));
        assert_eq!(
            written(|out| refresh(out, "a.b", 4)),
            r#"{"type":"refresh","token":"a.b","id":4}"#
        );
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for text in [
            "",
            "[]",
            "{}",
            r#"{"type":7}"#,
            r#"{"type":"a","code":"b"}"#,
        ] {
            assert!(Reply::read(text).is_err(), "{text}");
        }
    }
}
