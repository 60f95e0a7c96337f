//! Rates as text: `"100/s"`, `"1000/10s burst 5000"`, `"1MiB/s"`, `"unlimited"`.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize, Serializer};

use super::{ByteSize, TextDuration};

/// The one word that switches a rate off.
const UNLIMITED: &str = "unlimited";

/// What a rate counts: things (`"100/s"`), or bytes (`"1MiB/s"`).
pub trait Amount: Clone + Copy + fmt::Debug + PartialEq + Eq {
    /// Reads an amount.
    fn read(text: &str) -> Option<u64>;
    /// Writes one, so that it reads back.
    fn write(amount: u64, formatter: &mut fmt::Formatter<'_>) -> fmt::Result;
    /// What to write, as the rest of a sentence.
    const ADVICE: &'static str;
}

/// Things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count;

impl Amount for Count {
    fn read(text: &str) -> Option<u64> {
        text.parse().ok()
    }

    fn write(amount: u64, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{amount}")
    }

    const ADVICE: &'static str =
        "a rate is a number per time, such as \"100/s\", \"600/m\" or \"100/s burst 500\"";
}

/// Bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes;

impl Amount for Bytes {
    fn read(text: &str) -> Option<u64> {
        text.parse::<ByteSize>().ok().map(ByteSize::get)
    }

    fn write(amount: u64, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", ByteSize::bytes(amount))
    }

    const ADVICE: &'static str =
        "a rate of bytes is a size per time, such as \"64KiB/s\" or \"1MiB/s burst 4MiB\"";
}

/// At most so much per time, or the word `"unlimited"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rate<A: Amount> {
    /// No limit; written `"unlimited"`.
    Unlimited,
    /// At most this.
    AtMost {
        /// So much …
        amount: u64,
        /// … in this time, in the long run.
        period: TextDuration,
        /// So much at once after a silence. Unwritten, it is `amount`.
        burst: u64,
        /// What is counted.
        counted: PhantomData<A>,
    },
}

impl<A: Amount> Rate<A> {
    /// `amount` per `period`, and no more than that at once.
    pub const fn per(amount: u64, period: TextDuration) -> Self {
        Self::AtMost {
            amount,
            period,
            burst: amount,
            counted: PhantomData,
        }
    }
}

impl<A: Amount> fmt::Display for Rate<A> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::AtMost {
            amount,
            period,
            burst,
            ..
        } = self
        else {
            return formatter.write_str(UNLIMITED);
        };
        A::write(*amount, formatter)?;
        match period.as_millis() {
            1_000 => formatter.write_str("/s")?,
            60_000 => formatter.write_str("/m")?,
            3_600_000 => formatter.write_str("/h")?,
            _ => write!(formatter, "/{period}")?,
        }
        if burst != amount {
            formatter.write_str(" burst ")?;
            A::write(*burst, formatter)?;
        }
        Ok(())
    }
}

impl<A: Amount> FromStr for Rate<A> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text == UNLIMITED {
            return Ok(Self::Unlimited);
        }
        let read = || {
            let (rate, burst) = match text.split_once("burst") {
                Some((rate, burst)) => (rate, Some(A::read(burst.trim())?)),
                None => (text, None),
            };
            let (amount, period) = rate.split_once('/')?;
            let amount = A::read(amount.trim())?;
            let period = match period.trim() {
                unit @ ("s" | "m" | "h") => format!("1{unit}").parse().ok()?,
                duration => duration.parse::<TextDuration>().ok()?,
            };
            let burst = burst.unwrap_or(amount);
            let nothing = amount == 0 || burst == 0 || period.as_millis() == 0;
            (!nothing).then_some(Self::AtMost {
                amount,
                period,
                burst,
                counted: PhantomData,
            })
        };
        read().ok_or_else(|| format!("{}, or \"{UNLIMITED}\"", A::ADVICE))
    }
}

impl<A: Amount> Serialize for Rate<A> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, A: Amount> Deserialize<'de> for Rate<A> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl<A: Amount> JsonSchema for Rate<A> {
    fn schema_name() -> Cow<'static, str> {
        "Rate".into()
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
        for text in [
            "unlimited",
            "100/s",
            "600/m",
            "5/h",
            "100/10s",
            "100/s burst 500",
            "1/1m 30s burst 2",
        ] {
            assert_eq!(text.parse::<Rate<Count>>().unwrap().to_string(), text);
        }
        for text in ["64KiB/s", "1MiB/s burst 4MiB"] {
            assert_eq!(text.parse::<Rate<Bytes>>().unwrap().to_string(), text);
        }
        assert_eq!(
            "7/s".parse::<Rate<Count>>().unwrap(),
            Rate::per(7, TextDuration::from_secs(1))
        );
    }

    #[test]
    fn nonsense_is_told_the_form() {
        for text in [
            "",
            "100",
            "100/",
            "/s",
            "100/x",
            "-1/s",
            "0/s",
            "1/0s",
            "1/s burst",
            "1/s burst 0",
            "1KiB/s",
        ] {
            let reason = text.parse::<Rate<Count>>().unwrap_err();
            assert!(reason.contains("\"100/s\""), "{text}: {reason}");
        }
        let reason = "100/s".parse::<Rate<Bytes>>().unwrap_err();
        assert!(reason.contains("\"64KiB/s\""), "{reason}");
    }
}
