//! Which part of a new configuration a running engine takes over.

use serde::Deserialize;
use toml::{Table, Value};

use super::Config;
use super::keys::Keys;
use super::text::with_secrets;

impl Config {
    /// This configuration with the values of `new` for every key that can change in a running engine; then the paths of the keys
    /// that changed, and of those that differ and would need a restart.
    pub(crate) fn with_live_keys_of(&self, new: &Self) -> (Self, Vec<String>, Vec<String>) {
        let (mut merged, new) = with_secrets(|| (table(self), table(new)));
        let (mut applied, mut needs_restart) = (Vec::new(), Vec::new());
        for key in Keys::of_config().keys {
            let value = get(&new, &key.path);
            if get(&merged, &key.path) == value {
                continue;
            }
            if key.live {
                let value = value.cloned();
                set(&mut merged, &key.path, value);
                applied.push(key.path);
            } else {
                needs_restart.push(key.path);
            }
        }
        let merged = Self::deserialize(Value::Table(merged))
            .expect("every value comes from a configuration and stands at its own key");
        (merged, applied, needs_restart)
    }
}

/// The configuration as a table; a key that is not set is not in it.
pub(super) fn table(config: &Config) -> Table {
    Table::try_from(config)
        .expect("a configuration can be written as TOML: it only holds plain values")
}

/// What stands at a key's path.
pub(super) fn get<'t>(table: &'t Table, path: &str) -> Option<&'t Value> {
    let (section, name) = path.rsplit_once('.').unwrap_or(("", path));
    let mut table = table;
    for name in section.split('.').filter(|name| !name.is_empty()) {
        table = table.get(name)?.as_table()?;
    }
    table.get(name)
}

fn set(table: &mut Table, path: &str, value: Option<Value>) {
    let (section, name) = path.rsplit_once('.').unwrap_or(("", path));
    let mut table = table;
    for name in section.split('.').filter(|name| !name.is_empty()) {
        let inner = table
            .entry(name)
            .or_insert_with(|| Value::Table(Table::new()));
        let Value::Table(inner) = inner else { return };
        table = inner;
    }
    match value {
        Some(value) => {
            table.insert(name.to_owned(), value);
        }
        None => {
            table.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::LogLevel;

    #[test]
    fn live_keys_are_taken_over_and_the_others_told() {
        let old = Config::from_toml("[connections]\nmax_connections_per_ip = 7").unwrap();
        let new = Config::from_toml(
            "[shards]\ncount = 3\n[connections]\nmax_channels = 9\nheartbeat_interval = \"40s\"\n[log]\nlevel = \"debug\"\n[admin]\nkey = \"0123456789abcdef\"\n[rates]\nconnection_messages = \"5/s\"\n[[permissions.rules]]\nchannel = \"a:*\"\nsubscribe = [\"*\"]",
        )
        .unwrap();
        let (merged, applied, needs_restart) = old.with_live_keys_of(&new);
        assert_eq!(
            applied,
            [
                "admin.key",
                "connections.heartbeat_interval",
                "connections.max_channels",
                "connections.max_connections_per_ip",
                "log.level",
                "permissions.rules",
                "rates.connection_messages"
            ]
        );
        assert_eq!(needs_restart, ["shards.count"]);
        assert_eq!(merged.connections, new.connections);
        assert_eq!(merged.log.level, LogLevel::Debug);
        assert_eq!(merged.shards.count, None);
        assert_eq!(merged.admin.key, new.admin.key);
        assert_eq!(merged.permissions, new.permissions);
        // Nothing differs any more but what needs a restart.
        let (_, applied, needs_restart) = merged.with_live_keys_of(&new);
        assert_eq!((applied.len(), needs_restart.len()), (0, 1));
    }
}
