//! What is said of users, and what is answered.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// What is to become of the presence of a user. Empty: nothing.
///
/// ```
/// use shardwire_client::PresenceChange;
///
/// let change = PresenceChange::new().status("busy").username(None).metadata("device", "phone")?;
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PresenceChange {
    // The inner `None` removes.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Option<Box<str>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<Option<Box<str>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    current_room: Option<Option<Box<str>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Option<BTreeMap<Box<str>, Box<RawValue>>>>,
}

impl PresenceChange {
    /// Nothing changes.
    pub fn new() -> PresenceChange {
        PresenceChange::default()
    }

    /// A word of the user's own; `None`: `online`, as when nothing was said.
    #[must_use]
    pub fn status<'a>(mut self, status: impl Into<Option<&'a str>>) -> PresenceChange {
        self.status = Some(status.into().map(Box::from));
        self
    }

    /// The name shown; `None` removes it.
    #[must_use]
    pub fn username<'a>(mut self, username: impl Into<Option<&'a str>>) -> PresenceChange {
        self.username = Some(username.into().map(Box::from));
        self
    }

    /// The room the user is in; `None` removes it.
    #[must_use]
    pub fn current_room<'a>(mut self, room: impl Into<Option<&'a str>>) -> PresenceChange {
        self.current_room = Some(room.into().map(Box::from));
        self
    }

    /// Anything else, by its key; what becomes `null`, such as `None`, removes the key.
    ///
    /// # Errors
    ///
    /// The value has no JSON form.
    pub fn metadata(
        mut self,
        key: &str,
        value: impl Serialize,
    ) -> Result<PresenceChange, serde_json::Error> {
        let value = serde_json::value::to_raw_value(&value)?;
        let metadata = self.metadata.get_or_insert_default();
        metadata.get_or_insert_default().insert(key.into(), value);
        Ok(self)
    }

    /// Removes all keys of the metadata, in place of what was said of them here before.
    #[must_use]
    pub fn without_metadata(mut self) -> PresenceChange {
        self.metadata = Some(None);
        self
    }

    /// This change, and then the other one.
    pub(in crate::session) fn and(&mut self, later: PresenceChange) {
        let put = |field: &mut Option<Option<Box<str>>>, later| {
            if let Some(later) = later {
                *field = Some(later);
            }
        };
        put(&mut self.status, later.status);
        put(&mut self.username, later.username);
        put(&mut self.current_room, later.current_room);
        match later.metadata {
            Some(Some(keys)) => {
                let metadata = self.metadata.get_or_insert_default();
                metadata.get_or_insert_default().extend(keys);
            }
            Some(None) => self.metadata = Some(None),
            None => {}
        }
    }
}

/// What is known of a user.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct UserPresence {
    /// `online`, `offline`, or a word of the user's own.
    pub status: String,
    /// When it was there last, if it is not now, in Unix milliseconds of the server's clock.
    #[serde(default)]
    pub last_seen: Option<u64>,
    /// The name shown.
    #[serde(default)]
    pub username: Option<String>,
    /// The room it is in.
    #[serde(default)]
    pub current_room: Option<String>,
    /// Anything else.
    #[serde(default)]
    pub metadata: BTreeMap<String, serde_json::Value>,
}

/// Who is in a channel, as of one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Members {
    /// By name, in no order; `None`: they are too many.
    #[serde(default)]
    pub members: Option<Vec<String>>,
    /// How many.
    pub count: u64,
}

/// The server's `presence-update`.
#[derive(Deserialize)]
pub(super) struct Update {
    pub(super) presence: BTreeMap<String, UserPresence>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn json(change: &PresenceChange) -> String {
        serde_json::to_string(change).unwrap()
    }

    #[test]
    fn a_field_is_kept_removed_or_set() {
        assert_eq!(json(&PresenceChange::new()), "{}");
        let mut change = PresenceChange::new()
            .status("busy")
            .username(None)
            .metadata("device", "phone")
            .unwrap()
            .metadata("gone", None::<u8>)
            .unwrap();
        assert_eq!(
            json(&change),
            r#"{"status":"busy","username":null,"metadata":{"device":"phone","gone":null}}"#
        );
        change.and(
            PresenceChange::new()
                .current_room("team:1")
                .username("Ann")
                .metadata("device", 7)
                .unwrap(),
        );
        assert_eq!(
            json(&change),
            r#"{"status":"busy","username":"Ann","currentRoom":"team:1","metadata":{"device":7,"gone":null}}"#
        );
        change.and(PresenceChange::new().status(None).without_metadata());
        assert_eq!(
            json(&change),
            r#"{"status":null,"username":"Ann","currentRoom":"team:1","metadata":null}"#
        );
        change.and(PresenceChange::new().metadata("n", 1).unwrap());
        assert!(json(&change).ends_with(r#""metadata":{"n":1}}"#));
    }
}
