//! `[permissions]`: who may do what in which channel.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shardwire_shards::permissions::{
    Action, Grant, Pattern, Permissions as ShardPermissions, Rule,
};

use crate::config::bounds;
use crate::config::check::Checker;

/// Who may do what in which channel (contract D5). The rules are asked in order: the first one whose pattern matches the channel and
/// that speaks of the action decides. What the embedding program does itself is not asked for. Changed in a running engine, they decide
/// over what comes; nobody is unsubscribed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Permissions {
    /// What holds where no rule decides.
    #[schemars(extend("x-live" = true, "x-default" = "`\"allow\"` without rules, `\"deny\"` with rules"))]
    pub default: Option<PermissionDefault>,

    /// The rules, as `[[permissions.rules]]`. `channel` is a pattern: `*` stands for any text, `{user}` for the id of the verified user.
    /// `subscribe`, `publish`, `edit`, `join` and `presence` each list whom the rule lets do that: permissions of an identity, `"@user"` for
    /// every verified user, `"*"` for everybody; an empty list lets nobody. A rule says nothing about an action it does not list. The
    /// document `plan` goes by the name `document:plan`: who may subscribe there may join it, who may edit may edit it. `join` is about the
    /// chat room whose channel that is, and what is said there: see the guide to chat. Who may see `presence` is told who is in the channel;
    /// what is known of the user `ann` is asked for by the name `@ann`.
    #[schemars(extend("x-live" = true, "x-allowed" = "tables with channel, and with one or more of subscribe, publish, edit, join, presence"))]
    pub rules: Vec<PermissionRule>,
}

/// One rule.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PermissionRule {
    /// Which channels it speaks of: `"room:*"`, `"inbox:{user}"`.
    pub channel: String,
    /// Who may subscribe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscribe: Option<Vec<String>>,
    /// Who may publish.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publish: Option<Vec<String>>,
    /// Who may edit a document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edit: Option<Vec<String>>,
    /// Who may join the chat room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join: Option<Vec<String>>,
    /// Who may see who is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub presence: Option<Vec<String>>,
}

/// What holds where no rule decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum PermissionDefault {
    /// Everybody may.
    Allow,
    /// Nobody may.
    Deny,
}

impl Permissions {
    /// The rules in the form the shards ask.
    pub(in crate::config) fn check(
        &self,
        verifies: bool,
        checker: &mut Checker,
    ) -> ShardPermissions {
        const KEY: &str = "permissions.rules";
        if self.rules.len() > bounds::PERMISSION_RULES {
            checker.refuse(
                KEY,
                format!("{} rules", self.rules.len()),
                format!("at most {} rules are allowed", bounds::PERMISSION_RULES),
            );
        }
        let mut rules = Vec::with_capacity(self.rules.len());
        let mut needs_somebody = false;
        for written in &self.rules {
            let pattern: Pattern = match written.channel.parse() {
                Ok(pattern) => pattern,
                Err(error) => {
                    checker.refuse(
                        KEY,
                        format!("channel = {:?}", written.channel),
                        format!("{error}"),
                    );
                    continue;
                }
            };
            let actions = [
                (Action::Subscribe, &written.subscribe),
                (Action::Publish, &written.publish),
                (Action::Edit, &written.edit),
                (Action::Join, &written.join),
                (Action::Presence, &written.presence),
            ];
            if actions.iter().all(|(_, words)| words.is_none()) {
                checker.refuse(
                    KEY,
                    format!("channel = {:?}", written.channel),
                    "a rule lists who may subscribe, publish, edit, join or see presence"
                        .to_owned(),
                );
            }
            let mut rule = Rule::about(pattern);
            for (action, words) in actions {
                let Some(words) = words else { continue };
                needs_somebody |= words.iter().any(|word| word != "*");
                rule = rule.allow(action, words.iter().map(|word| Grant::from_text(word)));
            }
            rules.push(rule);
        }
        if needs_somebody && !verifies {
            checker.note(
                "permissions.rules speak of users and permissions, but without authentication nobody has any".to_owned(),
            );
        }
        let otherwise = match self.default {
            Some(default) => default == PermissionDefault::Allow,
            None => self.rules.is_empty(),
        };
        ShardPermissions::new(rules, otherwise)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::Config;
    use shardwire_shards::vocabulary::Identity;

    fn check(toml: &str) -> Result<(ShardPermissions, Vec<String>), String> {
        let config = Config::from_toml(toml).map_err(|faults| faults.to_string())?;
        let mut checker = Checker::default();
        let permissions = config.permissions.check(false, &mut checker);
        match checker.finish() {
            Ok(notes) => Ok((permissions, notes)),
            Err(faults) => Err(faults.to_string()),
        }
    }

    #[test]
    fn rules_come_from_tables_and_close_what_they_do_not_open() {
        let (permissions, notes) = check(
            "[[permissions.rules]]\nchannel = \"room:*\"\nsubscribe = [\"room.read\"]\npublish = []\n\
             [[permissions.rules]]\nchannel = \"news\"\nsubscribe = [\"*\"]",
        )
        .unwrap();
        let ann = Identity::new("ann").with_permissions(["room.read"]);
        assert!(permissions.allow(Action::Subscribe, "room:1", Some(&ann)));
        assert!(!permissions.allow(Action::Publish, "room:1", Some(&ann)));
        assert!(permissions.allow(Action::Subscribe, "news", None));
        assert!(!permissions.allow(Action::Subscribe, "elsewhere", None));
        assert!(notes[0].contains("without authentication"), "{notes:?}");
        let (rooms, _) = check(
            "[[permissions.rules]]\nchannel = \"room:*\"\nsubscribe = [\"*\"]\njoin = [\"member\"]",
        )
        .unwrap();
        let bob = Identity::new("bob").with_permissions(["member"]);
        assert!(rooms.allow(Action::Join, "room:1", Some(&bob)));
        assert!(!rooms.allow(Action::Join, "room:1", Some(&ann)));
        let (open, _) = check("").unwrap();
        assert!(open.allow(Action::Publish, "anything", None));
        let (closed, _) = check("[permissions]\ndefault = \"deny\"").unwrap();
        assert!(!closed.allow(Action::Publish, "anything", None));
    }

    #[test]
    fn faults_of_rules_are_told() {
        for (rule, told) in [
            ("channel = \"room:{id}\"\nsubscribe = []", "{user}"),
            ("channel = \"$x\"\nsubscribe = []", "belong to the server"),
            ("channel = \"room:*\"", "a rule lists"),
            ("channel = \"a\"\nsubcribe = []", "unknown field"),
            ("subscribe = []", "missing field"),
        ] {
            let faults = check(&format!("[[permissions.rules]]\n{rule}")).unwrap_err();
            assert!(
                faults.contains("permissions.rules") && faults.contains(told),
                "{rule}: {faults}"
            );
        }
    }
}
