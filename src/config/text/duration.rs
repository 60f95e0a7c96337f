//! Durations as text: `"30s"`, `"500ms"`, `"1m 30s"`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// A duration an operator writes as a number with its unit: `"500ms"`, `"30s"`, `"1m 30s"`, `"2h"`.
///
/// A bare number is refused, because nobody can tell seconds from milliseconds by looking at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TextDuration(Duration);

impl TextDuration {
    /// This many milliseconds.
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(Duration::from_millis(milliseconds))
    }

    /// This many seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// The same span as the standard library's type.
    pub const fn get(self) -> Duration {
        self.0
    }

    /// Whole milliseconds; a span beyond 584 million years becomes `u64::MAX`.
    pub fn as_millis(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }
}

impl From<Duration> for TextDuration {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

impl fmt::Display for TextDuration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(formatter)
    }
}

impl FromStr for TextDuration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        humantime::parse_duration(text).map(Self).map_err(|_| {
            let digits = text.trim();
            if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
                format!("a duration needs a unit: \"{digits}s\" or \"{digits}ms\"")
            } else {
                "a duration is a number with its unit, such as \"500ms\", \"30s\" or \"1m 30s\""
                    .to_owned()
            }
        })
    }
}

impl Serialize for TextDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TextDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl Visitor<'_> for TextVisitor {
            type Value = TextDuration;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a duration such as \"30s\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<TextDuration, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<TextDuration, E> {
                Err(E::custom(format!(
                    "a duration needs a unit, as text: \"{number}s\" or \"{number}ms\""
                )))
            }
        }

        deserializer.deserialize_str(TextVisitor)
    }
}

impl JsonSchema for TextDuration {
    fn schema_name() -> Cow<'static, str> {
        "TextDuration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for milliseconds in [0, 1, 999, 1_000, 30_000, 90_000, 3_600_000, 86_400_123] {
            let duration = TextDuration::from_millis(milliseconds);
            assert_eq!(
                duration.to_string().parse::<TextDuration>().unwrap(),
                duration
            );
        }
        assert_eq!(TextDuration::from_secs(30).to_string(), "30s");
    }

    #[test]
    fn a_bare_number_is_told_to_take_a_unit() {
        let reason = "30".parse::<TextDuration>().unwrap_err();
        assert!(reason.contains("\"30s\" or \"30ms\""), "{reason}");
    }

    #[test]
    fn nonsense_is_told_the_form() {
        for text in ["", "abc", "-1s", "1x", "1s2", "999999999999999999999s"] {
            let reason = text.parse::<TextDuration>().unwrap_err();
            assert!(reason.contains("30s"), "{text}: {reason}");
        }
    }
}
