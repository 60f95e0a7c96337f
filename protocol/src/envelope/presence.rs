//! Messages about presence (contract R4 to R6, decision D7): what a client says of itself, and what it is told of others.
//!
//! As in [`super::outbound`], each function appends the JSON text of one message (no frame) to `out`.

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use std::fmt;

use super::outbound::{begin, end, write_number, write_text};
use super::{MAX_DEPTH, RawValue, Text, is_deeper_than};
use crate::codes::ErrorCode;

/// What is to become of one field (decision D7): fields that were not written stay as they are, `null` removes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Change<T> {
    /// Not written.
    #[default]
    Keep,
    /// `null`.
    Remove,
    /// Anything else.
    Set(T),
}

impl<T> Change<T> {
    /// The same change of something else.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Change<U> {
        match self {
            Self::Keep => Change::Keep,
            Self::Remove => Change::Remove,
            Self::Set(value) => Change::Set(f(value)),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Change<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Option::<T>::deserialize(deserializer)?;
        Ok(value.map_or(Self::Remove, Self::Set))
    }
}

/// Changes of a user's presence as they were written: `{"status":…,"username":…,"currentRoom":…,"metadata":{…}}`. All fields are
/// optional, unknown ones are ignored.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
pub struct PresenceChanges<'a> {
    /// `status`.
    #[serde(borrow)]
    pub status: Change<Text<'a>>,
    /// `username`.
    #[serde(borrow)]
    pub username: Change<Text<'a>>,
    /// `currentRoom`.
    #[serde(borrow, rename = "currentRoom")]
    pub current_room: Change<Text<'a>>,
    /// `metadata`, merged key by key, too.
    #[serde(borrow)]
    pub metadata: Change<Metadata<'a>>,
}

/// Keys of `metadata` in the order they were written, each with any JSON; none: `null`, which removes the key.
#[derive(Clone, Debug, Default)]
pub struct Metadata<'a>(pub Vec<(Text<'a>, Option<&'a RawValue>)>);

impl<'de: 'a, 'a> Deserialize<'de> for Metadata<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MetadataVisitor)
    }
}

struct MetadataVisitor;

impl<'de> Visitor<'de> for MetadataVisitor {
    type Value = Metadata<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Text<'de>>()? {
            let value: &RawValue = map.next_value()?;
            entries.push((key, (value.get() != "null").then_some(value)));
        }
        Ok(Metadata(entries))
    }
}

impl<'a> PresenceChanges<'a> {
    /// Reads the changes from one JSON object.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidMessage`]: not an object, a field twice or of a wrong shape, or so deep that what others are told would be
    /// nested deeper than [`MAX_DEPTH`].
    pub fn read(json: &'a str) -> Result<Self, ErrorCode> {
        // A struct would be read from an array, too.
        let object = json.trim_start().starts_with('{');
        if !object || is_deeper_than(json, MAX_DEPTH - 2) {
            return Err(ErrorCode::InvalidMessage);
        }
        serde_json::from_str(json).map_err(|_| ErrorCode::InvalidMessage)
    }
}

/// The users a client asks for: reads a list of texts.
///
/// # Errors
/// [`ErrorCode::InvalidMessage`]: something else.
pub fn read_ids(json: &str) -> Result<Vec<Text<'_>>, ErrorCode> {
    struct Ids<'a>(Vec<Text<'a>>);

    impl<'de: 'a, 'a> Deserialize<'de> for Ids<'a> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            Vec::<Text<'de>>::deserialize(deserializer).map(Ids)
        }
    }
    let ids: Ids<'_> = serde_json::from_str(json).map_err(|_| ErrorCode::InvalidMessage)?;
    Ok(ids.0)
}

/// A user's presence as clients read it: `{"status":…,"lastSeen":…,"username":…,"currentRoom":…,"metadata":{…}}`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shown<'a> {
    /// `status`.
    pub status: &'a str,
    /// `lastSeen`, in Unix milliseconds.
    pub last_seen: Option<u64>,
    /// `username`.
    pub username: Option<&'a str>,
    /// `currentRoom`.
    pub current_room: Option<&'a str>,
    /// `metadata`: keys, and values that are JSON already.
    pub metadata: &'a [(Box<str>, Box<str>)],
}

impl Shown<'_> {
    /// Appends the JSON object.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"status":"#);
        write_text(out, self.status);
        if let Some(last_seen) = self.last_seen {
            out.extend_from_slice(br#","lastSeen":"#);
            write_number(out, last_seen);
        }
        let texts: [(&[u8], _); 2] = [
            (br#","username":"#, self.username),
            (br#","currentRoom":"#, self.current_room),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                out.extend_from_slice(name);
                write_text(out, text);
            }
        }
        if !self.metadata.is_empty() {
            out.extend_from_slice(br#","metadata":"#);
            for (index, (key, value)) in self.metadata.iter().enumerate() {
                out.push(if index == 0 { b'{' } else { b',' });
                write_text(out, key);
                out.push(b':');
                out.extend_from_slice(value.as_bytes());
            }
            out.push(b'}');
        }
        out.push(b'}');
    }
}

/// `{"type":"presence-update","presence":{USER:{…},…}}` (contract R6).
pub fn update<'s>(
    out: &mut Vec<u8>,
    users: impl IntoIterator<Item = (&'s str, Shown<'s>)>,
    id: Option<&RawValue>,
) {
    begin(out, "presence-update");
    out.extend_from_slice(br#","presence":{"#);
    for (index, (user, shown)) in users.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_text(out, user);
        out.push(b':');
        shown.write(out);
    }
    out.push(b'}');
    end(out, id);
}

/// `{"type":"presence-state","channel":…,"members":[…],"count":…,"version":…}`: who is in a channel, as of that version; without
/// `members` where there are too many to be told one by one.
pub fn state<'m>(
    out: &mut Vec<u8>,
    channel: &str,
    members: Option<impl IntoIterator<Item = &'m str>>,
    count: u64,
    version: u64,
    id: Option<&RawValue>,
) {
    begin_of_channel(out, "presence-state", channel);
    if let Some(members) = members {
        write_users(out, b"members", members);
    }
    end_of_channel(out, count, version, id);
}

/// `{"type":"presence-diff","channel":…,"joins":[…],"leaves":[…],"count":…,"version":…}`: who has come and gone since the version
/// before; without `joins` and `leaves` while only the number is told.
pub fn diff<'m, I: IntoIterator<Item = &'m str>>(
    out: &mut Vec<u8>,
    channel: &str,
    changes: Option<[I; 2]>,
    count: u64,
    version: u64,
) {
    begin_of_channel(out, "presence-diff", channel);
    if let Some([joins, leaves]) = changes {
        write_users(out, b"joins", joins);
        write_users(out, b"leaves", leaves);
    }
    end_of_channel(out, count, version, None);
}

fn begin_of_channel(out: &mut Vec<u8>, kind: &str, channel: &str) {
    begin(out, kind);
    out.extend_from_slice(br#","channel":"#);
    write_text(out, channel);
}

fn write_users<'m>(out: &mut Vec<u8>, name: &[u8], users: impl IntoIterator<Item = &'m str>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name);
    out.extend_from_slice(b"\":[");
    for (index, user) in users.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_text(out, user);
    }
    out.push(b']');
}

fn end_of_channel(out: &mut Vec<u8>, count: u64, version: u64, id: Option<&RawValue>) {
    out.extend_from_slice(br#","count":"#);
    write_number(out, count);
    out.extend_from_slice(br#","version":"#);
    write_number(out, version);
    end(out, id);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::envelope::written;

    #[test]
    fn contract_d7_a_field_is_kept_removed_or_set() {
        let json = r#" {"status":"busy","username":null,"metadata":{"device":"phone","a\"b":[1, 2],"gone":null},"other":{}}"#;
        let changes = PresenceChanges::read(json).unwrap();
        assert_eq!(changes.status, Change::Set("busy".into()));
        assert_eq!(changes.username, Change::Remove);
        assert_eq!(changes.current_room, Change::Keep);
        let Change::Set(Metadata(entries)) = changes.metadata else {
            panic!("metadata was set");
        };
        let entries: Vec<_> = entries
            .iter()
            .map(|(key, value)| (&**key, value.map(RawValue::get)))
            .collect();
        assert_eq!(
            entries,
            [
                ("device", Some("\"phone\"")),
                ("a\"b", Some("[1, 2]")),
                ("gone", None)
            ]
        );
    }

    #[test]
    fn what_is_no_change_is_refused() {
        let deep = format!(
            "{{\"metadata\":{{\"a\":{}1{}}}}}",
            "[".repeat(MAX_DEPTH),
            "]".repeat(MAX_DEPTH)
        );
        for json in [
            "null",
            "[]",
            r#"["busy"]"#,
            r#""online""#,
            r#"{"status":1}"#,
            r#"{"status":"a","status":"b"}"#,
            r#"{"metadata":[]}"#,
            &deep,
        ] {
            let refused = PresenceChanges::read(json).map(|_| ());
            assert_eq!(refused, Err(ErrorCode::InvalidMessage), "{json}");
        }
        assert!(read_ids(r#"["a",1]"#).is_err() && read_ids("{}").is_err());
        let ids = read_ids(r#"["a","b\"c"]"#).unwrap();
        assert_eq!(
            ids.iter().map(|id| &**id).collect::<Vec<_>>(),
            ["a", "b\"c"]
        );
    }

    #[test]
    fn contract_r6_the_words_about_presence() {
        let id = RawValue::from_string("4".into()).unwrap();
        let metadata = [
            ("device".into(), "\"phone\"".into()),
            ("n".into(), "1".into()),
        ];
        let ann = Shown {
            status: "busy",
            username: Some("Ann"),
            current_room: Some("lobby"),
            metadata: &metadata,
            ..Shown::default()
        };
        let bob = Shown {
            status: "offline",
            last_seen: Some(5),
            ..Shown::default()
        };
        assert_eq!(
            written(|out| update(out, [("a\"n", ann), ("bob", bob)], Some(&id))),
            concat!(
                r#"{"type":"presence-update","presence":{"a\"n":{"status":"busy","username":"Ann","currentRoom":"lobby","#,
                r#""metadata":{"device":"phone","n":1}},"bob":{"status":"offline","lastSeen":5}},"id":4}"#
            )
        );
        assert_eq!(
            written(|out| state(out, "c", Some(["a", "b"]), 2, 7, None)),
            r#"{"type":"presence-state","channel":"c","members":["a","b"],"count":2,"version":7}"#
        );
        assert_eq!(
            written(|out| state(out, "c", None::<[&str; 0]>, 9, 7, Some(&id))),
            r#"{"type":"presence-state","channel":"c","count":9,"version":7,"id":4}"#
        );
        assert_eq!(
            written(|out| diff(out, "c", Some([vec!["a"], vec![]]), 2, 8)),
            r#"{"type":"presence-diff","channel":"c","joins":["a"],"leaves":[],"count":2,"version":8}"#
        );
        assert_eq!(
            written(|out| diff(out, "c", None::<[[&str; 0]; 2]>, 2, 9)),
            r#"{"type":"presence-diff","channel":"c","count":2,"version":9}"#
        );
    }
}
