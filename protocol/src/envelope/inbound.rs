//! A client's message.

use super::{MAX_DEPTH, Text, depth::is_deeper_than};
use crate::codes::ErrorCode;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// Longest `id`, in bytes of JSON (the quotes of a string included).
pub const MAX_ID_BYTES: usize = 64;

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
        let mut seen = 0u16;
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
