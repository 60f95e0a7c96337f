//! `[notifications]`: an inbox for every user.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shardwire_shards::notifications::NotificationSettings;

use super::channels::Persistence;
use crate::config::bounds;
use crate::config::check::Checker;
use crate::config::text::{ByteSize, TextDuration};

/// Inboxes: what a service tells its users, kept until they have got it. `docs/guides/notifications.md` shows all of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Notifications {
    /// Whether users have inboxes. While this is off, messages about notifications are unknown (error 103). On a public address it is off
    /// unless switched on.
    #[schemars(extend("x-default" = "`true` when listening on loopback only, else `false`"))]
    pub enabled: Option<bool>,

    /// Notifications kept of one user (contract N2). Beyond it the oldest goes, read or not; so does it beyond 512 KiB of one user.
    #[schemars(extend("x-allowed" = bounds::NOTIFICATIONS_PER_USER.to_string()))]
    pub max_notifications: usize,

    /// Bytes of what one notification says: title, body, type and data, as JSON.
    #[schemars(extend("x-allowed" = bounds::NOTIFICATION_SIZE.to_string()))]
    pub max_size: ByteSize,

    /// Memory that the inboxes homed on one shard may take. Beyond it further notifications are refused (error 110) until old ones have gone.
    #[schemars(extend("x-allowed" = bounds::NOTIFICATION_MEMORY.to_string()))]
    pub memory: ByteSize,

    /// Where they are kept (contract N1): in `"memory"`, or on `"disk"`, too, so that they outlive the server (see `[storage]`).
    pub persistence: Persistence,

    /// How long a notification is kept (contract N3). One of its own may be shorter.
    #[schemars(extend("x-allowed" = bounds::NOTIFICATION_AGE.to_string()))]
    pub ttl: TextDuration,
}

impl Default for Notifications {
    fn default() -> Self {
        Self {
            enabled: None,
            max_notifications: 100,
            max_size: ByteSize::kib(8),
            memory: ByteSize::mib(256),
            persistence: Persistence::Memory,
            ttl: TextDuration::from_secs(7 * 24 * 3_600),
        }
    }
}

impl Notifications {
    /// What is in use; none while users have no inboxes.
    pub(in crate::config) fn check(
        &self,
        on_loopback: bool,
        checker: &mut Checker,
    ) -> Option<NotificationSettings> {
        let settings = NotificationSettings {
            max_per_user: checker.whole(
                "notifications.max_notifications",
                self.max_notifications,
                &bounds::NOTIFICATIONS_PER_USER,
            ),
            ttl_ms: checker.milliseconds("notifications.ttl", self.ttl, &bounds::NOTIFICATION_AGE),
            max_size: checker.bytes(
                "notifications.max_size",
                self.max_size,
                &bounds::NOTIFICATION_SIZE,
            ),
            memory: checker.bytes(
                "notifications.memory",
                self.memory,
                &bounds::NOTIFICATION_MEMORY,
            ),
            durable: self.persistence == Persistence::Disk,
        };
        self.enabled.unwrap_or(on_loopback).then_some(settings)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn contract_n1_to_n3_have_the_defaults_of_the_contract() {
        let on = Notifications {
            enabled: Some(true),
            ..Notifications::default()
        };
        let mut checker = Checker::default();
        let settings = on.check(false, &mut checker).unwrap();
        checker.finish().unwrap();
        assert_eq!(settings, NotificationSettings::default());
        assert_eq!((settings.max_per_user, settings.ttl_ms), (100, 604_800_000));
    }

    #[test]
    fn off_is_nothing_and_what_is_out_of_range_is_told_all_the_same() {
        let mut checker = Checker::default();
        let off = Notifications {
            max_notifications: 0,
            ..Notifications::default()
        };
        assert_eq!(off.check(false, &mut checker), None);
        assert!(off.check(true, &mut Checker::default()).is_some());
        let faults = checker.finish().unwrap_err().to_string();
        assert!(
            faults.contains("notifications.max_notifications"),
            "{faults}"
        );
    }
}
