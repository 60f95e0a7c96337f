//! A client's message.

use super::presence::{PresenceChanges, read_ids};
use super::{MAX_DEPTH, Text, depth::is_deeper_than};
use crate::codes::ErrorCode;
use crate::text::Operation;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// Longest `id`, in bytes of JSON (the quotes of a string included).
pub const MAX_ID_BYTES: usize = 64;

/// Longest `idempotencyKey`, in bytes: a UUID or a hash in any usual spelling.
pub const MAX_KEY_BYTES: usize = 64;

/// Most `notificationIds` in one message: all that a user has, unless the operator lets it have very many.
pub const MAX_NOTIFICATION_IDS: usize = 1000;

/// The fields any message may have; which of them it needs depends on its `type`. All borrowed from the text of the
/// frame. Unknown fields were checked as JSON and ignored.
#[derive(Clone, Debug)]
pub struct Inbound<'a> {
    /// `type`.
    pub kind: Text<'a>,
    /// `channel`; `null` counts as missing.
    pub channel: Option<Text<'a>>,
    /// `message`: any JSON, `null` included.
    pub message: Option<&'a RawValue>,
    /// `data`: any JSON, `null` included.
    pub data: Option<&'a RawValue>,
    /// `exclude`; `null` counts as missing.
    pub exclude: Option<Text<'a>>,
    /// `token` of `auth` and `refresh`; `null` counts as missing. A secret: never to be logged.
    pub token: Option<Text<'a>>,
    /// `id`: a string or number of at most [`MAX_ID_BYTES`], given back in the answer.
    pub id: Option<&'a RawValue>,
    /// What only messages about history and topics have. Any JSON, so that an application's own messages may use the names otherwise;
    /// see the methods of [`Inbound`].
    pub more: More<'a>,
}

/// Fields that few messages have, as they came.
#[derive(Clone, Copy, Debug, Default)]
pub struct More<'a> {
    topic: Option<&'a RawValue>,
    since: Option<&'a RawValue>,
    from: Option<&'a RawValue>,
    limit: Option<&'a RawValue>,
    direction: Option<&'a RawValue>,
    key: Option<&'a RawValue>,
    ttl: Option<&'a RawValue>,
    volatile: Option<&'a RawValue>,
    room: Option<&'a RawValue>,
    content: Option<&'a RawValue>,
    document: Option<&'a RawValue>,
    operation: Option<&'a RawValue>,
    version: Option<&'a RawValue>,
    sequence: Option<&'a RawValue>,
    position: Option<&'a RawValue>,
    replica: Option<&'a RawValue>,
    offset: Option<&'a RawValue>,
    cursor: Option<&'a RawValue>,
    notification_ids: Option<&'a RawValue>,
    presence: Option<&'a RawValue>,
    ids: Option<&'a RawValue>,
}

/// Where a replica has been in a document: `{"version":…,"epoch":"…"}`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DocumentSince {
    /// The version it has.
    pub version: u64,
    /// Of which life of the document; none: a text that is no epoch of ours, so that it names no life of any document.
    pub epoch: Option<u64>,
}

/// Where a client has been in a channel's log: `{"offset":…,"epoch":"…"}`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Since {
    /// The last offset it has got.
    pub offset: u64,
    /// Of which life of the log; none: a text that is no epoch of ours, so that it names no life of any log.
    pub epoch: Option<u64>,
}

impl<'a> Inbound<'a> {
    /// `topic`, of a message about one.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidChannel`]: it is there and is not text.
    pub fn topic(&self) -> Result<Option<Text<'a>>, ErrorCode> {
        read(self.more.topic).map_err(|_| ErrorCode::InvalidChannel)
    }

    /// `since` of `subscribe`.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidMessage`]: it is there and is not an object of `offset` and `epoch`.
    pub fn since(&self) -> Result<Option<Since>, ErrorCode> {
        #[derive(serde::Deserialize)]
        struct Written<'a> {
            offset: u64,
            #[serde(borrow)]
            epoch: Text<'a>,
        }
        let written: Option<Written<'_>> = read(self.more.since)?;
        Ok(written.map(|written| Since {
            offset: written.offset,
            epoch: read_epoch(&written.epoch),
        }))
    }

    /// `from` of `history`: an offset.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidMessage`]: it is there and is no offset. Likewise for the other fields.
    pub fn from(&self) -> Result<Option<u64>, ErrorCode> {
        read(self.more.from)
    }

    /// `limit` of `history`.
    #[allow(clippy::missing_errors_doc)]
    pub fn limit(&self) -> Result<Option<u64>, ErrorCode> {
        read(self.more.limit)
    }

    /// `direction` of `history`: whether it is `"backward"` instead of `"forward"`.
    #[allow(clippy::missing_errors_doc)]
    pub fn backward(&self) -> Result<bool, ErrorCode> {
        let direction: Option<Text<'_>> = read(self.more.direction)?;
        match direction.as_deref() {
            None | Some("forward") => Ok(false),
            Some("backward") => Ok(true),
            Some(_) => Err(ErrorCode::InvalidMessage),
        }
    }

    /// `idempotencyKey` of `publish`: 1 to [`MAX_KEY_BYTES`] bytes of text.
    #[allow(clippy::missing_errors_doc)]
    pub fn idempotency_key(&self) -> Result<Option<Text<'a>>, ErrorCode> {
        let key: Option<Text<'a>> = read(self.more.key)?;
        match key {
            Some(key) if key.is_empty() || key.len() > MAX_KEY_BYTES => {
                Err(ErrorCode::InvalidMessage)
            }
            key => Ok(key),
        }
    }

    /// `ttl` of `publish`, in milliseconds.
    #[allow(clippy::missing_errors_doc)]
    pub fn ttl(&self) -> Result<Option<u64>, ErrorCode> {
        read(self.more.ttl)
    }

    /// `volatile` of `publish`.
    #[allow(clippy::missing_errors_doc)]
    pub fn volatile(&self) -> Result<bool, ErrorCode> {
        Ok(read(self.more.volatile)?.unwrap_or(false))
    }

    /// `documentId` of the messages about documents.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidMessage`]: it is missing or is not text.
    pub fn document(&self) -> Result<Text<'a>, ErrorCode> {
        read(self.more.document)?.ok_or(ErrorCode::InvalidMessage)
    }

    /// `operation` of `edit`.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidOperation`]: it is missing or is no operation (see [`crate::text`]).
    pub fn operation(&self) -> Result<Operation, ErrorCode> {
        let operation = read(self.more.operation).map_err(|_| ErrorCode::InvalidOperation)?;
        operation.ok_or(ErrorCode::InvalidOperation)
    }

    /// `version` of `edit` and `cursor-move`.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidMessage`]: it is there and is no whole number. Likewise for the following.
    pub fn version(&self) -> Result<Option<u64>, ErrorCode> {
        read(self.more.version)
    }

    /// `sequence`: of `edit` its number among its replica's edits, of `join-document` that of the last acknowledged one.
    #[allow(clippy::missing_errors_doc)]
    pub fn sequence(&self) -> Result<Option<u64>, ErrorCode> {
        read(self.more.sequence)
    }

    /// `position` of `cursor-move`, in characters.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidMessage`]: it is missing or is none.
    pub fn position(&self) -> Result<u32, ErrorCode> {
        read(self.more.position)?.ok_or(ErrorCode::InvalidMessage)
    }

    /// `replica` of `join-document`: what the client calls its copy.
    #[allow(clippy::missing_errors_doc)]
    pub fn replica(&self) -> Result<Option<Text<'a>>, ErrorCode> {
        read(self.more.replica)
    }

    /// `since` of `join-document`: what the replica has.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidMessage`]: it is there and is not an object of `version` and `epoch`.
    pub fn document_since(&self) -> Result<Option<DocumentSince>, ErrorCode> {
        #[derive(serde::Deserialize)]
        struct Written<'a> {
            version: u64,
            #[serde(borrow)]
            epoch: Text<'a>,
        }
        let written: Option<Written<'_>> = read(self.more.since)?;
        Ok(written.map(|written| DocumentSince {
            version: written.version,
            epoch: read_epoch(&written.epoch),
        }))
    }

    /// `roomId` of `join-room`.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidMessage`]: it is missing or is not text.
    pub fn room(&self) -> Result<Text<'a>, ErrorCode> {
        read(self.more.room)?.ok_or(ErrorCode::InvalidMessage)
    }

    /// `content` of `send-message`: as it was written, and what it says.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidMessage`]: it is missing or is not text.
    pub fn content(&self) -> Result<(&'a RawValue, Text<'a>), ErrorCode> {
        let raw = self.more.content.ok_or(ErrorCode::InvalidMessage)?;
        let text: Option<Text<'a>> = read(Some(raw))?;
        Ok((raw, text.ok_or(ErrorCode::InvalidMessage)?))
    }

    /// `offset` of `get-notifications`: how many of the newest to pass over.
    #[allow(clippy::missing_errors_doc)]
    pub fn offset(&self) -> Result<Option<u64>, ErrorCode> {
        read(self.more.offset)
    }

    /// `cursor` of `get-notifications`: where the last answer ended.
    #[allow(clippy::missing_errors_doc)]
    pub fn cursor(&self) -> Result<Option<Text<'a>>, ErrorCode> {
        read(self.more.cursor)
    }

    /// `notificationIds` of `mark-read` and `ack-notification` (contract N11): at most [`MAX_NOTIFICATION_IDS`] texts.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidMessage`]: it is missing, not a list of texts, or too long.
    pub fn notification_ids(&self) -> Result<Vec<Text<'a>>, ErrorCode> {
        let ids: Option<Vec<Text<'a>>> = read(self.more.notification_ids)?;
        ids.filter(|ids| ids.len() <= MAX_NOTIFICATION_IDS)
            .ok_or(ErrorCode::InvalidMessage)
    }

    /// `presence` of `set-presence`.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidMessage`]: it is missing, or see [`PresenceChanges::read`].
    pub fn presence(&self) -> Result<PresenceChanges<'a>, ErrorCode> {
        let written = self.more.presence.ok_or(ErrorCode::InvalidMessage)?;
        PresenceChanges::read(written.get())
    }

    /// `ids` of `get-presence`: users; none: the message is not about users.
    #[allow(clippy::missing_errors_doc)]
    pub fn ids(&self) -> Result<Option<Vec<Text<'a>>>, ErrorCode> {
        let written = self.more.ids.filter(|written| written.get() != "null");
        written.map(|written| read_ids(written.get())).transpose()
    }

    /// Whether any of `idempotencyKey`, `ttl` and `volatile` is there.
    #[must_use]
    pub fn has_publish_options(&self) -> bool {
        self.more.key.is_some() || self.more.ttl.is_some() || self.more.volatile.is_some()
    }
}

/// An epoch as it is written: exactly 16 hexadecimal digits.
fn read_epoch(text: &str) -> Option<u64> {
    let ours = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    ours.then(|| u64::from_str_radix(text, 16).ok()).flatten()
}

/// A field in its proper shape; `null` counts as missing.
fn read<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>) -> Result<Option<T>, ErrorCode> {
    match raw {
        None => Ok(None),
        Some(raw) => serde_json::from_str(raw.get()).map_err(|_| ErrorCode::InvalidMessage),
    }
}

/// Reads one message.
///
/// # Errors
///
/// * [`ErrorCode::InvalidFormat`]: not JSON, not an object, a known field twice or of a wrong shape, too deeply nested
///   (contract W8).
/// * [`ErrorCode::MissingType`]: no `type`, or `null` (contract W5).
/// * [`ErrorCode::InvalidType`]: `type` is anything else that is not text (contract K10).
///
/// The connection stays open; the client gets an `error` message, without an `id`.
pub fn parse(text: &str) -> Result<Inbound<'_>, ErrorCode> {
    let Fields {
        kind,
        channel,
        message,
        data,
        exclude,
        token,
        id,
        more,
    } = serde_json::from_str(text).map_err(|_| ErrorCode::InvalidFormat)?;
    let inbound = Inbound {
        kind: match kind {
            Kind::Text(kind) => kind,
            Kind::Missing => return Err(ErrorCode::MissingType),
            Kind::Other => return Err(ErrorCode::InvalidType),
        },
        channel,
        message,
        data,
        exclude,
        token,
        id,
        more,
    };
    if inbound.id.is_some_and(|id| !is_id(id.get())) {
        return Err(ErrorCode::InvalidFormat);
    }
    for value in [inbound.message, inbound.data].into_iter().flatten() {
        if is_deeper_than(value.get(), MAX_DEPTH - 1) {
            return Err(ErrorCode::InvalidFormat);
        }
    }
    Ok(inbound)
}

fn is_id(json: &str) -> bool {
    json.len() <= MAX_ID_BYTES && matches!(json.as_bytes()[0], b'"' | b'-' | b'0'..=b'9')
}

#[derive(Default)]
struct Fields<'a> {
    kind: Kind<'a>,
    channel: Option<Text<'a>>,
    message: Option<&'a RawValue>,
    data: Option<&'a RawValue>,
    exclude: Option<Text<'a>>,
    token: Option<Text<'a>>,
    id: Option<&'a RawValue>,
    more: More<'a>,
}

#[derive(Clone, Copy, serde::Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Name {
    Type,
    Channel,
    Message,
    Data,
    Exclude,
    Token,
    Id,
    Topic,
    Since,
    From,
    Limit,
    Direction,
    #[serde(rename = "idempotencyKey")]
    Key,
    Ttl,
    Volatile,
    #[serde(rename = "documentId")]
    Document,
    Operation,
    Version,
    Sequence,
    Position,
    Replica,
    #[serde(rename = "roomId")]
    Room,
    Content,
    Offset,
    Cursor,
    #[serde(rename = "notificationIds")]
    NotificationIds,
    Presence,
    Ids,
    #[serde(other)]
    Other,
}

// By hand, since a derived struct would also take an array for an object, and `null` for a missing `message`.
impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Fields::default();
        let mut seen = 0u32;
        while let Some(name) = map.next_key::<Name>()? {
            if !matches!(name, Name::Other) {
                let bit = 1 << name as u16;
                if seen & bit != 0 {
                    return Err(A::Error::custom("a field occurs twice"));
                }
                seen |= bit;
            }
            match name {
                Name::Type => fields.kind = map.next_value()?,
                Name::Channel => fields.channel = map.next_value()?,
                Name::Message => fields.message = Some(map.next_value()?),
                Name::Data => fields.data = Some(map.next_value()?),
                Name::Exclude => fields.exclude = map.next_value()?,
                Name::Token => fields.token = map.next_value()?,
                Name::Id => fields.id = Some(map.next_value()?),
                Name::Topic => fields.more.topic = Some(map.next_value()?),
                Name::Since => fields.more.since = Some(map.next_value()?),
                Name::From => fields.more.from = Some(map.next_value()?),
                Name::Limit => fields.more.limit = Some(map.next_value()?),
                Name::Direction => fields.more.direction = Some(map.next_value()?),
                Name::Key => fields.more.key = Some(map.next_value()?),
                Name::Ttl => fields.more.ttl = Some(map.next_value()?),
                Name::Volatile => fields.more.volatile = Some(map.next_value()?),
                Name::Document => fields.more.document = Some(map.next_value()?),
                Name::Operation => fields.more.operation = Some(map.next_value()?),
                Name::Version => fields.more.version = Some(map.next_value()?),
                Name::Sequence => fields.more.sequence = Some(map.next_value()?),
                Name::Position => fields.more.position = Some(map.next_value()?),
                Name::Replica => fields.more.replica = Some(map.next_value()?),
                Name::Room => fields.more.room = Some(map.next_value()?),
                Name::Content => fields.more.content = Some(map.next_value()?),
                Name::Offset => fields.more.offset = Some(map.next_value()?),
                Name::Cursor => fields.more.cursor = Some(map.next_value()?),
                Name::NotificationIds => {
                    fields.more.notification_ids = Some(map.next_value()?);
                }
                Name::Presence => fields.more.presence = Some(map.next_value()?),
                Name::Ids => fields.more.ids = Some(map.next_value()?),
                Name::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(fields)
    }
}

/// `type`, whatever it is.
#[derive(Default)]
enum Kind<'a> {
    #[default]
    Missing,
    Text(Text<'a>),
    Other,
}

impl<'de: 'a, 'a> Deserialize<'de> for Kind<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KindVisitor)
    }
}

struct KindVisitor;

impl<'de> Visitor<'de> for KindVisitor {
    type Value = Kind<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("text")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Kind::Text(text.into()))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Kind::Text(text.to_owned().into()))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Kind::Missing)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Kind::Other)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Kind::Other)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Kind::Other)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Kind::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Kind::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Kind::Other)
    }
}

#[cfg(test)]
#[path = "inbound_tests.rs"]
mod tests;
