//! `[chat]`: chat rooms.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shardwire_shards::ChatSettings;

use crate::config::bounds;
use crate::config::check::Checker;
use crate::config::text::{ByteSize, TextDuration};

/// Chat rooms (contract C1 to C11): `join-room`, `send-message`, who is there and who types. The room `42` is the channel `room:42`:
/// rules of `[channels]` give it history, `join` and `publish` of `[permissions]` say who may come in and speak. See the guide to chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Chat {
    /// Whether there are rooms. Without them their messages are unknown, and channels called `room:…` are like all others.
    #[schemars(extend("x-default" = "`true` when listening on loopback only, else `false`"))]
    pub enabled: Option<bool>,

    /// Publications of before that somebody who joins is given, as far as the room's channel has history. `0`: none.
    #[schemars(extend("x-allowed" = bounds::ROOM_HISTORY.to_string()))]
    pub history: usize,

    /// Bytes of the content of one message.
    #[schemars(extend("x-allowed" = bounds::ROOM_CONTENT.to_string()))]
    pub max_content: ByteSize,

    /// Connections in one room. One more is answered "Too many members".
    #[schemars(extend("x-allowed" = bounds::ROOM_MEMBERS.to_string()))]
    pub max_members: usize,

    /// Whether a user's presence shows the room it is in, as `currentRoom`.
    pub presence: bool,

    /// How long somebody is shown as typing who does not say so again.
    #[schemars(extend("x-allowed" = bounds::TYPING_TIMEOUT.to_string()))]
    pub typing_timeout: TextDuration,
}

impl Default for Chat {
    fn default() -> Self {
        Self {
            enabled: None,
            history: 50,
            max_content: ByteSize::kib(4),
            max_members: 1_000,
            presence: true,
            typing_timeout: TextDuration::from_secs(6),
        }
    }
}

impl Chat {
    /// What the shards read; none: no rooms.
    pub(in crate::config) fn check(
        &self,
        on_loopback: bool,
        checker: &mut Checker,
    ) -> Option<ChatSettings> {
        let settings = ChatSettings {
            max_members: checker.whole("chat.max_members", self.max_members, &bounds::ROOM_MEMBERS),
            max_content: checker.bytes("chat.max_content", self.max_content, &bounds::ROOM_CONTENT),
            typing_ms: checker.milliseconds(
                "chat.typing_timeout",
                self.typing_timeout,
                &bounds::TYPING_TIMEOUT,
            ),
            history: checker.whole("chat.history", self.history, &bounds::ROOM_HISTORY),
            presence: self.presence,
        };
        self.enabled.unwrap_or(on_loopback).then_some(settings)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn rooms_are_there_on_loopback_or_when_they_are_wanted() {
        let mut checker = Checker::default();
        let mut chat = Chat::default();
        assert_eq!(
            chat.check(true, &mut checker),
            Some(ChatSettings::default())
        );
        assert_eq!(chat.check(false, &mut checker), None);
        chat.enabled = Some(true);
        assert!(chat.check(false, &mut checker).is_some());
        checker.finish().unwrap();
    }
}
