//! Sizes as text: `"125B"`, `"64KiB"`, `"1MiB"`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// The units an operator may write, largest first, each with its bytes.
///
/// Only binary units: `KB` means 1000 bytes to some and 1024 to others, so it is refused with the unambiguous spelling.
const UNITS: [(&str, u64); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

/// A number of bytes an operator writes with its unit: `"125B"`, `"64KiB"`, `"1MiB"`, `"2GiB"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(u64);

impl ByteSize {
    /// This many bytes.
    pub const fn bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// This many times 1,024 bytes.
    pub const fn kib(kibibytes: u64) -> Self {
        Self(kibibytes << 10)
    }

    /// This many times 1,048,576 bytes.
    pub const fn mib(mebibytes: u64) -> Self {
        Self(mebibytes << 20)
    }

    /// In bytes.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ByteSize {
    /// The largest unit that divides the size, so that what is written reads back as the same number.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = UNITS
            .into_iter()
            .find(|(_, factor)| self.0 != 0 && self.0.is_multiple_of(*factor))
            .unwrap_or(("B", 1));
        write!(formatter, "{}{unit}", self.0 / factor)
    }
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let end_of_number = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let (digits, unit) = (&text[..end_of_number], text[end_of_number..].trim());
        if digits.is_empty() || unit.starts_with(['.', ',']) {
            return Err(
                "a size is a whole number with its unit, such as \"125B\", \"64KiB\" or \"1MiB\""
                    .to_owned(),
            );
        }
        if unit.is_empty() {
            return Err(format!(
                "a size needs a unit: \"{digits}B\", \"{digits}KiB\" or \"{digits}MiB\""
            ));
        }
        let Some((_, factor)) = UNITS.into_iter().find(|(name, _)| *name == unit) else {
            let meant = UNITS
                .into_iter()
                .find(|(name, _)| name[..1].eq_ignore_ascii_case(&first_letter(unit)));
            return Err(match meant {
                Some((name, _)) => format!("\"{unit}\" is not a unit: write \"{digits}{name}\""),
                None => format!("\"{unit}\" is not a unit: B, KiB, MiB and GiB are"),
            });
        };
        digits
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(factor))
            .map(Self)
            .ok_or_else(|| "the size does not fit into 64 bits".to_owned())
    }
}

/// The first letter of what stands where a unit should; empty when it is no single byte.
fn first_letter(unit: &str) -> String {
    unit.chars()
        .next()
        .filter(char::is_ascii)
        .map(String::from)
        .unwrap_or_default()
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl Visitor<'_> for TextVisitor {
            type Value = ByteSize;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a size such as \"64KiB\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteSize, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<ByteSize, E> {
                Err(E::custom(format!(
                    "a size needs a unit, as text: \"{number}B\""
                )))
            }
        }

        deserializer.deserialize_str(TextVisitor)
    }
}

impl JsonSchema for ByteSize {
    fn schema_name() -> Cow<'static, str> {
        "ByteSize".into()
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
        for bytes in [
            0,
            1,
            125,
            1_023,
            1_024,
            65_536,
            65_537,
            1 << 20,
            3 << 30,
            u64::MAX,
        ] {
            let size = ByteSize::bytes(bytes);
            assert_eq!(size.to_string().parse::<ByteSize>().unwrap(), size);
        }
        assert_eq!(ByteSize::kib(64).to_string(), "64KiB");
        assert_eq!(ByteSize::kib(1_024).to_string(), "1MiB");
        assert_eq!(
            "64 KiB".parse::<ByteSize>().unwrap(),
            ByteSize::bytes(65_536)
        );
    }

    #[test]
    fn an_ambiguous_unit_is_answered_with_the_clear_one() {
        assert_eq!(
            "64KB".parse::<ByteSize>().unwrap_err(),
            "\"KB\" is not a unit: write \"64KiB\""
        );
        assert_eq!(
            "1m".parse::<ByteSize>().unwrap_err(),
            "\"m\" is not a unit: write \"1MiB\""
        );
    }

    #[test]
    fn nonsense_is_told_the_form() {
        assert!(
            "65536"
                .parse::<ByteSize>()
                .unwrap_err()
                .contains("\"65536B\"")
        );
        for text in [
            "",
            "KiB",
            "-1KiB",
            "1.5MiB",
            "64ä",
            "64 parsecs",
            "99999999999999999999B",
            "18446744073709551615KiB",
        ] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }
}
