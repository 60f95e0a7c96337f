//! Limits that can be switched off: `5` or `"unlimited"`.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// The one word that switches a limit off. Not `0`, which reads as "none at all" just as well.
const UNLIMITED: &str = "unlimited";

/// A count that may not be exceeded, or the word `"unlimited"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// No limit; written `"unlimited"`.
    Unlimited,
    /// At most this many; written as a number.
    AtMost(usize),
}

impl fmt::Display for Limit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlimited => write!(formatter, "\"{UNLIMITED}\""),
            Self::AtMost(count) => count.fmt(formatter),
        }
    }
}

impl Serialize for Limit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Unlimited => serializer.serialize_str(UNLIMITED),
            Self::AtMost(count) => count.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LimitVisitor;

        impl Visitor<'_> for LimitVisitor {
            type Value = Limit;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "a whole number or \"{UNLIMITED}\"")
            }

            fn visit_u64<E: de::Error>(self, count: u64) -> Result<Limit, E> {
                usize::try_from(count)
                    .map(Limit::AtMost)
                    .map_err(|_| E::invalid_value(de::Unexpected::Unsigned(count), &self))
            }

            fn visit_i64<E: de::Error>(self, count: i64) -> Result<Limit, E> {
                usize::try_from(count)
                    .map(Limit::AtMost)
                    .map_err(|_| E::invalid_value(de::Unexpected::Signed(count), &self))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Limit, E> {
                if text == UNLIMITED {
                    Ok(Limit::Unlimited)
                } else {
                    Err(E::invalid_value(de::Unexpected::Str(text), &self))
                }
            }
        }

        deserializer.deserialize_any(LimitVisitor)
    }
}

impl JsonSchema for Limit {
    fn schema_name() -> Cow<'static, str> {
        "Limit".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "integer" }, { "type": "string" }] })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Section {
        limit: Limit,
    }

    #[test]
    fn reads_what_it_writes() {
        for limit in [Limit::Unlimited, Limit::AtMost(0), Limit::AtMost(5)] {
            let text = toml::to_string(&Section { limit }).unwrap();
            assert_eq!(toml::from_str::<Section>(&text).unwrap(), Section { limit });
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for value in ["-1", "\"none\"", "true", "1.5", "\"5\""] {
            assert!(
                toml::from_str::<Section>(&format!("limit = {value}")).is_err(),
                "{value}"
            );
        }
    }
}
