//! Who is there: what users say of themselves, and who is in a channel.
//!
//! **What lives here.** `said`: [`PresenceChange`], [`UserPresence`], [`Members`], what is said and what is answered. `watch`: [`PresenceWatch`], who is
//! in a channel as it changes. What a [`Session`] is asked about both.
//!
//! **What does not.** Who counts as there (the server decides: `docs/concepts/presence.md`); heartbeats, and saying it again on the next connection
//! (`task/presence.rs`); subscribing (`subscriptions`).
//!
//! **Invariants.**
//! * A watch has one moment's list and every change since, or says that it has not: `Stale` or `Count`.
//! * It holds one list, however slowly it is read: what happened meanwhile is told together.
//!
//! **Who calls in.** Users; `subscriptions`, with what the server tells. **Tests**: beside `watch`, `tests/presence.rs`; against the real server
//! the root crate's `tests/client_presence.rs`.

mod said;
mod watch;

pub use said::{Members, PresenceChange, UserPresence};
pub use watch::{PresenceEvent, PresenceWatch};

pub(super) use watch::{Roster, Window};

use super::{Session, SessionError};
use serde_json::json;
use shardwire_protocol::envelope::PRESENCE_PREFIX;
use std::collections::BTreeMap;

impl Session {
    /// Says something of the session's user: fields that are not named stay as they are. Returns the user's presence as it is then.
    ///
    /// What was said is said again on every new connection ([`SessionOptions::presence_again`](super::SessionOptions::presence_again)), since the
    /// server forgets users that were away for long, and all of them when it restarts. Where another session of the same user has changed the same
    /// field meanwhile, that change is lost. If the connection is cut before the answer came, the message is sent again: it means the same the
    /// second time.
    ///
    /// # Errors
    ///
    /// [`SessionError::Refused`]: with code 115 for a connection without a user, 106 for more than the server keeps of one. Else
    /// [`SessionError::QueueFull`], [`SessionError::TimedOut`], [`SessionError::Ended`].
    pub async fn set_presence(&self, change: PresenceChange) -> Result<UserPresence, SessionError> {
        let fields = serde_json::value::to_raw_value(&BTreeMap::from([("presence", &change)]))?;
        let answer = self.ask_with("set-presence", &fields, true, Some(change));
        let told: said::Update = answer.await?.decode()?;
        told.presence
            .into_values()
            .next()
            .ok_or_else(|| SessionError::Json(serde::de::Error::custom("nobody's presence")))
    }

    /// The presence of users, at most 100, as of the moment it was asked. Nobody is told when it changes. Those who are not there are in it,
    /// with the status `offline`.
    ///
    /// # Errors
    ///
    /// [`SessionError::Refused`]: with code 115 if one of them may not be asked for, 106 for too many. Else as [`Session::request`], but that a cut
    /// connection only takes time: it is asked again.
    pub async fn presence(
        &self,
        users: &[&str],
    ) -> Result<BTreeMap<String, UserPresence>, SessionError> {
        let fields = json!({"ids": users});
        let answer = self.ask_with("get-presence", &fields, true, None).await?;
        let told: said::Update = answer.decode()?;
        Ok(told.presence)
    }

    /// Who is in a channel at this moment. For who comes and goes: [`Session::watch_presence`].
    ///
    /// # Errors
    ///
    /// [`SessionError::Refused`]: with code 125 if the server does not know who is in that channel, 115 if it may not be asked. Else as
    /// [`Session::presence`].
    pub async fn members(&self, channel: &str) -> Result<Members, SessionError> {
        let fields = json!({"channel": channel});
        let answer = self.ask_with("get-presence", &fields, true, None).await?;
        Ok(answer.decode()?)
    }

    /// Watches who is in a channel; one need not be in it oneself. Returns when the server has granted it; the list follows as the first event. It
    /// is made anew on every new connection, until it is dropped. Several watches of one channel are one for the server.
    ///
    /// # Errors
    ///
    /// [`SessionError::Refused`]: with code 111 if the server does not know who is in that channel, 115 if it may not be asked. Else as
    /// [`Session::subscribe`].
    pub async fn watch_presence(&self, channel: &str) -> Result<PresenceWatch, SessionError> {
        let subscription = self
            .subscribe_to_any(&format!("{PRESENCE_PREFIX}{channel}"))
            .await?;
        Ok(PresenceWatch::new(subscription))
    }
}
