//! What must not be shown: keys and passwords.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Deserializer;
use serde::{Deserialize, Serialize, Serializer};

/// What stands in place of a secret wherever a configuration is shown.
pub(in crate::config) const HIDDEN: &str = "(hidden)";

thread_local! {
    /// Whether secrets are written out on this thread at the moment.
    static EXPOSED: Cell<bool> = const { Cell::new(false) };
}

/// Serialises with the secrets as they are, for whoever compares configurations or puts them together. Nothing that `f` makes may be shown.
pub(in crate::config) fn with_secrets<T>(f: impl FnOnce() -> T) -> T {
    struct Hide;
    impl Drop for Hide {
        fn drop(&mut self) {
            EXPOSED.with(|exposed| exposed.set(false));
        }
    }
    let _hide = Hide;
    EXPOSED.with(|exposed| exposed.set(true));
    f()
}

/// A text that is never shown: not by `Debug`, not in a fault, not when a configuration is written out.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(HIDDEN)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let exposed = EXPOSED.with(Cell::get);
        serializer.serialize_str(if exposed { &self.0 } else { HIDDEN })
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
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
    fn a_secret_is_never_shown() {
        let secret = Secret::new("open sesame");
        assert_eq!(format!("{secret:?}"), "(hidden)");
        let told = with_secrets(|| serde_json::to_string(&secret).unwrap());
        assert_eq!(told, "\"open sesame\"");
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"(hidden)\"");
        assert_eq!(secret.expose(), "open sesame");
    }
}
