//! `[3, "hi", 5, {"d": 8}]`.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeSeq, Serializer};

use super::TextError;
use super::operation::{Component, Kind, Operation};

/// Components an operation from outside may have. An edit by hand has three; a replica composes what is typed while its last edit
/// is under way, which makes some dozens. The bound keeps what one edit costs everybody else small.
pub const MAX_COMPONENTS: usize = 1000;

impl Serialize for Operation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut components = serializer.serialize_seq(Some(self.component_count()))?;
        for component in self.components() {
            match component.kind {
                Kind::Skip => components.serialize_element(&component.length)?,
                Kind::Insert => components.serialize_element(component.text)?,
                Kind::Delete => components.serialize_element(&Delete(component))?,
            }
        }
        components.end()
    }
}

/// `{"d": …}`
struct Delete<'a>(Component<'a>);

impl Serialize for Delete<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.text.is_empty() {
            serializer.collect_map([("d", self.0.length)])
        } else {
            serializer.collect_map([("d", self.0.text)])
        }
    }
}

impl<'de> Deserialize<'de> for Operation {
    /// Takes what `checkOp` of `ot-text-unicode` takes, as far as lengths are whole numbers that a `u32` holds and there are no
    /// more than [`MAX_COMPONENTS`]; stops at the first fault.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(OperationVisitor)
    }
}

struct OperationVisitor;

impl<'de> Visitor<'de> for OperationVisitor {
    type Value = Operation;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array of components")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Operation, A::Error> {
        let mut operation = Operation::new();
        let mut count = 0;
        while let Some(()) = sequence.next_element_seed(Next(&mut operation))? {
            count += 1;
            if count > MAX_COMPONENTS {
                return Err(de::Error::custom(TextError::TooManyComponents));
            }
        }
        if operation.ends_with_skip() {
            return Err(de::Error::custom(TextError::TrailingSkip));
        }
        Ok(operation)
    }
}

/// Reads one component and puts it behind the others.
struct Next<'o>(&'o mut Operation);

impl Next<'_> {
    fn push<E: de::Error>(self, component: Component<'_>) -> Result<(), E> {
        if component.length == 0 {
            return Err(E::custom(TextError::Empty));
        }
        if component.kind == Kind::Skip && self.0.ends_with_skip() {
            return Err(E::custom(TextError::AdjacentSkips));
        }
        self.0.push(component).map_err(E::custom)
    }
}

impl<'de> de::DeserializeSeed<'de> for Next<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Next<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(r#"a length to skip, a text to insert or {"d": …} to delete"#)
    }

    fn visit_u64<E: de::Error>(self, length: u64) -> Result<(), E> {
        let length = u32::try_from(length).map_err(|_| E::custom(TextError::TooLong))?;
        self.push(Component::skip(length))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        self.push(Component::insert(text))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some(Key::D) = map.next_key()? else {
            return Err(de::Error::missing_field("d"));
        };
        map.next_value_seed(Deleted(self))?;
        match map.next_key::<Key>()? {
            Some(Key::D) => Err(de::Error::duplicate_field("d")),
            None => Ok(()),
        }
    }
}

#[derive(serde::Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Key {
    D,
}

/// What stands behind `"d":`.
struct Deleted<'o>(Next<'o>);

impl<'de> de::DeserializeSeed<'de> for Deleted<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Deleted<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("how many characters, or which text, to delete")
    }

    fn visit_u64<E: de::Error>(self, length: u64) -> Result<(), E> {
        let length = u32::try_from(length).map_err(|_| E::custom(TextError::TooLong))?;
        self.0.push(Component::delete(length))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        self.0.push(Component::delete_text(text))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::{Duration, Instant};

    use super::*;
    use crate::text::{Content, Side};

    fn read(json: &str) -> Result<Operation, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn what_is_read_is_written() {
        for json in [
            "[]",
            r#"["hi"]"#,
            r#"[3,"hi",5,{"d":8}]"#,
            r#"[{"d":"old 😭"},"new",{"d":1}]"#,
            r#"["\"\\\n\u0000"]"#,
            "[4294967294,{\"d\":1}]",
        ] {
            assert_eq!(serde_json::to_string(&read(json).unwrap()).unwrap(), json);
        }
        let merged = read(r#"["a","b",{"d":1},{"d":"xy"}]"#).unwrap();
        assert_eq!(format!("{merged:?}"), r#"["ab",{"d":3}]"#);
    }

    #[test]
    fn what_is_not_an_operation_is_refused_with_a_reason() {
        for (json, reason) in [
            ("{}", "expected an array of components"),
            ("[3]", "does not end with a skip"),
            (r#"[1,2,"x"]"#, "two skips next to each other"),
            (r#"[0,"x"]"#, "at least one character"),
            (r#"[""]"#, "at least one character"),
            (r#"[{"d":0}]"#, "at least one character"),
            (r#"[{"d":""}]"#, "at least one character"),
            (r#"[-1,"x"]"#, "a length to skip, a text to insert"),
            (r#"[1.5,"x"]"#, "a length to skip, a text to insert"),
            (r#"[null]"#, "a length to skip, a text to insert"),
            (r#"[true]"#, "a length to skip, a text to insert"),
            (r#"[["x"]]"#, "a length to skip, a text to insert"),
            ("[{}]", "missing field `d`"),
            (r#"[{"i":1}]"#, "unknown field `i`"),
            (r#"[{"d":1,"d":1}]"#, "duplicate field `d`"),
            (r#"[{"d":-1}]"#, "how many characters"),
            (r#"[{"d":{}}]"#, "how many characters"),
            (r#"["\ud83d"]"#, "end of hex escape"),
        ] {
            let refused = read(json).unwrap_err().to_string();
            assert!(refused.contains(reason), "{json}: {refused}");
        }
    }

    /// The least time of several tries, so that other work on the machine does not count.
    fn least_time<T>(mut work: impl FnMut() -> T) -> (T, Duration) {
        let mut tries = (0..9).map(|_| {
            let begin = Instant::now();
            let result = work();
            (result, begin.elapsed())
        });
        let first = tries.next().unwrap();
        tries.fold(
            first,
            |best, next| if next.1 < best.1 { next } else { best },
        )
    }

    #[test]
    fn hostile_operations_are_refused_in_less_than_a_millisecond() {
        let components = |count: usize, one: &str| format!("[{}]", vec![one; count].join(","));
        let mut dearest = Duration::ZERO;
        for json in [
            "[-9223372036854775808,9223372036854775807,1,\"x\"]".to_owned(),
            "[18446744073709551615,\"abc\",2]".to_owned(),
            "[9007199254740991,\"abc\"]".to_owned(),
            "[1e300,\"x\"]".to_owned(),
            // Sums that would wrap.
            "[4294967295,\"x\"]".to_owned(),
            "[4294967295,{\"d\":1}]".to_owned(),
            "[{\"d\":4294967295},{\"d\":4294967295}]".to_owned(),
            components(10_000, r#"1,"x",{"d":1}"#),
            components(10_000, r#""x""#),
            components(10_000, r#"{"d":1}"#),
            components(60_000, "1"),
            "[".repeat(60_000),
            format!("[{{\"d\":{}", "[".repeat(60_000)),
        ] {
            let (result, time) = least_time(|| read(&json));
            let shown = &json[..json.len().min(60)];
            assert!(result.is_err(), "{shown} was taken");
            assert!(time < Duration::from_millis(1), "{shown}: {time:?}");
            dearest = dearest.max(time);
        }
        println!("the dearest of them took {dearest:?}");
    }

    #[test]
    fn the_longest_operations_cost_their_components_and_not_their_lengths() {
        let most = read("[4294967294,\"x\"]").unwrap();
        let all = read("[{\"d\":4294967295}]").unwrap();
        let long = read(&format!("[{}\"x\"]", "1,\"x\",".repeat(499))).unwrap();
        for (a, b) in [(&most, &all), (&all, &long), (&long, &long), (&most, &long)] {
            for side in [Side::Left, Side::Right] {
                let (_, time) = least_time(|| a.transform(b, side));
                assert!(time < Duration::from_millis(1), "{time:?}");
            }
            let (_, time) = least_time(|| a.compose(b));
            assert!(time < Duration::from_millis(1), "{time:?}");
            let (refused, time) = least_time(|| Content::from("x").apply(&most));
            assert!(refused.is_err() && time < Duration::from_millis(1));
        }
        let grown = most.transform(&read("[\"abc\"]").unwrap(), Side::Left);
        assert_eq!(grown, Err(TextError::TooLong));
        assert_eq!(all.compose(&all), Err(TextError::TooLong));
    }
}
