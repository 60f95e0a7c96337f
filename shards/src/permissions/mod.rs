//! Who may do what in which channel (decision D5): the one place that is asked.
//!
//! **Lives here:** [`Permissions`], the rules per channel pattern, the application's own check behind them
//! ([`AuthorizeHook`]), and `Shard::authorize`, which every room asks before it
//! acts for a client: `channels/` for subscribe and publish, `chat/` for join, and each further room for its own [`Action`].
//! **Does not:** who somebody is (a verifier says that), what the embedding service does itself (it may do everything).
//! **Invariants:** names that begin with `$` are the server's and no rule opens them; the first rule that matches the channel
//! and speaks of the action decides, the default only where none does; the name of a user that nobody verified counts for nothing
//! in rules; the application's check is asked for what the rules allow and can only refuse; while there are chat rooms, nobody does
//! anything in the channel of one without the permission to join it.
//! **Called by:** `channels/`, `chat/`, `connections/` (after a refresh). Calls nobody.
//! **Tests:** below and in `pattern.rs`; on whole shards in `tests/permissions.rs`.

mod hook;
mod pattern;

use shardwire_protocol::codes::ErrorCode;
use shardwire_protocol::envelope::chat::ROOM_PREFIX;

pub use hook::{Access, AuthorizeHook};
pub use pattern::{Pattern, PatternError};

use crate::channels::{SHARD_COUNTS, is_reserved, is_valid_channel_name};
use crate::connections::Connection;
use crate::presence::told_about;
use crate::shard::Shard;
use crate::vocabulary::{ConnectionId, Identity};

/// What a client asks to do in a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Hear what is published.
    Subscribe,
    /// Publish.
    Publish,
    /// Edit a document: its rules are those of the channel name `document:…`. Whoever may subscribe there may join it and read.
    Edit,
    /// Come into the chat room of this channel.
    Join,
    /// See who is there: who is in a channel, or, of a user by the name `@` and its id, what is known of it.
    Presence,
}

const ACTIONS: usize = 5;

/// Whom a rule lets in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Grant {
    /// Everybody, also connections without a user (`"*"`).
    Anyone,
    /// Every verified user (`"@user"`).
    AnyUser,
    /// Whoever has this permission.
    Holder(Box<str>),
}

impl Grant {
    /// From how the configuration writes it.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        match text {
            "*" => Self::Anyone,
            "@user" => Self::AnyUser,
            permission => Self::Holder(permission.into()),
        }
    }

    fn admits(&self, identity: Option<&Identity>) -> bool {
        match self {
            Self::Anyone => true,
            Self::AnyUser => identity.is_some(),
            Self::Holder(permission) => identity.is_some_and(|who| who.may(permission)),
        }
    }
}

/// One rule: which channels it speaks of, and whom it lets do what there. It says nothing about actions without a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    channels: Pattern,
    grants: [Option<Box<[Grant]>>; ACTIONS],
}

impl Rule {
    /// A rule about these channels that does not say anything yet.
    #[must_use]
    pub fn about(channels: Pattern) -> Self {
        Self {
            channels,
            grants: Default::default(),
        }
    }

    /// Lets these, and nobody else, do `action`. An empty list lets nobody.
    #[must_use]
    pub fn allow(mut self, action: Action, grants: impl IntoIterator<Item = Grant>) -> Self {
        self.grants[action as usize] = Some(grants.into_iter().collect());
        self
    }

    /// Whom it lets do that; none: it does not speak of it. Where a rule says who may hear a room and not who may join, those may.
    fn grants_for(&self, action: Action) -> Option<&[Grant]> {
        let own = self.grants[action as usize].as_deref();
        match action {
            Action::Join => own.or(self.grants[Action::Subscribe as usize].as_deref()),
            Action::Subscribe | Action::Publish | Action::Edit | Action::Presence => own,
        }
    }
}

/// All rules, in the order in which they are asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Permissions {
    rules: Box<[Rule]>,
    otherwise: bool,
}

impl Default for Permissions {
    /// Everybody may do everything.
    fn default() -> Self {
        Self::new([], true)
    }
}

impl Permissions {
    /// `otherwise`: what holds where no rule decides.
    #[must_use]
    pub fn new(rules: impl IntoIterator<Item = Rule>, otherwise: bool) -> Self {
        Self {
            rules: rules.into_iter().collect(),
            otherwise,
        }
    }

    /// Whether this identity (none: nobody in particular) may do that in this channel.
    #[must_use]
    pub fn allow(&self, action: Action, channel: &str, identity: Option<&Identity>) -> bool {
        let (action, channel) = meant(action, channel);
        let user = identity.map(|identity| &**identity.user());
        self.rules
            .iter()
            .filter_map(|rule| Some((rule, rule.grants_for(action)?)))
            .find(|(rule, _)| rule.channels.matches(channel, user))
            .map_or(self.otherwise, |(_, grants)| {
                grants.iter().any(|grant| grant.admits(identity))
            })
    }
}

/// Whoever subscribes to a channel in which it is told who is in another one asks for that one's presence.
fn meant(action: Action, channel: &str) -> (Action, &str) {
    match told_about(channel) {
        Some(about) if action == Action::Subscribe => (Action::Presence, about),
        _ => (action, channel),
    }
}

impl Shard {
    /// Whether this connection may do that in a channel of this name; the name is checked, too.
    ///
    /// # Errors
    /// What the client is to be told: `InvalidChannel`, `ReservedChannel` or `NotPermitted`.
    pub(crate) fn authorize(
        &self,
        id: ConnectionId,
        action: Action,
        channel: &str,
    ) -> Result<(), ErrorCode> {
        self.check_name(action, channel)?;
        let (action, channel) = meant(action, channel);
        if is_reserved(channel) {
            // One of the server's own that is for everybody.
            return Ok(());
        }
        if self.settings.chat.is_some() && channel.starts_with(ROOM_PREFIX) {
            // Past its door there is no other way into a room.
            self.allow(id, Action::Join, channel)?;
            if action == Action::Join {
                return Ok(());
            }
        }
        self.allow(id, action, channel)
    }

    /// What the rules and the application say.
    fn allow(&self, id: ConnectionId, action: Action, channel: &str) -> Result<(), ErrorCode> {
        let connection = self.registry.get(id);
        let identity = connection.and_then(Connection::identity);
        if !self.settings.permissions.allow(action, channel, identity) {
            return Err(ErrorCode::NotPermitted);
        }
        let (Some(hook), Some(connection)) = (&self.settings.routes.authorize, connection) else {
            return Ok(());
        };
        let allowed = hook.allows(&Access {
            action,
            channel,
            connection: id,
            address: connection.address,
            user: connection.user.as_deref(),
            identity,
            tags: self.tags.of(id),
        });
        if allowed {
            Ok(())
        } else {
            Err(ErrorCode::NotPermitted)
        }
    }

    /// Whether anybody at all may do that in a channel of this name.
    ///
    /// # Errors
    /// `InvalidChannel` or `ReservedChannel`.
    pub(crate) fn check_name(&self, action: Action, channel: &str) -> Result<(), ErrorCode> {
        if !is_valid_channel_name(channel) {
            return Err(ErrorCode::InvalidChannel);
        }
        if !is_reserved(channel) {
            return Ok(());
        }
        let told = match told_about(channel) {
            Some(about) => self.is_counted(about),
            None => channel == SHARD_COUNTS && self.settings.publish_shard_counts,
        };
        if !told || action != Action::Subscribe {
            return Err(ErrorCode::ReservedChannel);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pattern(text: &str) -> Pattern {
        text.parse().unwrap()
    }

    fn grants(words: &[&str]) -> Vec<Grant> {
        words.iter().map(|word| Grant::from_text(word)).collect()
    }

    fn permissions() -> Permissions {
        let rules = [
            Rule::about(pattern("room:staff*")).allow(Action::Subscribe, grants(&["staff"])),
            Rule::about(pattern("room:*"))
                .allow(Action::Subscribe, grants(&["@user"]))
                .allow(Action::Publish, grants(&["room.write", "staff"])),
            Rule::about(pattern("inbox:{user}"))
                .allow(Action::Subscribe, grants(&["*"]))
                .allow(Action::Publish, []),
            Rule::about(pattern("news")).allow(Action::Subscribe, grants(&["*"])),
        ];
        Permissions::new(rules, false)
    }

    #[test]
    fn contract_d5_the_first_rule_that_speaks_of_the_action_decides() {
        let permissions = permissions();
        let ann = Identity::new("ann").with_permissions(["room.write"]);
        let bob = Identity::new("bob").with_permissions(["staff"]);
        let cleo = Identity::new("cleo");
        let allowed = |action, channel, who| permissions.allow(action, channel, who);
        for (channel, who, subscribe, publish) in [
            ("room:1", Some(&ann), true, true),
            ("room:1", Some(&bob), true, true),
            ("room:1", Some(&cleo), true, false),
            ("room:1", None, false, false),
            // The first rule says nothing about publishing: the second one does.
            ("room:staff-only", Some(&ann), false, true),
            ("room:staff-only", Some(&bob), true, true),
            ("inbox:ann", Some(&ann), true, false),
            ("inbox:ann", Some(&bob), false, false),
            ("inbox:ann", None, false, false),
            ("news", None, true, false),
            ("elsewhere", Some(&bob), false, false),
        ] {
            assert_eq!(
                allowed(Action::Subscribe, channel, who),
                subscribe,
                "{channel}"
            );
            assert_eq!(allowed(Action::Publish, channel, who), publish, "{channel}");
        }
    }

    #[test]
    fn without_rules_the_default_decides() {
        assert!(Permissions::default().allow(Action::Publish, "anything", None));
        assert!(!Permissions::new([], false).allow(Action::Publish, "anything", None));
    }
}
