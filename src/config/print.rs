//! The configuration in force as text: `shardwire config print`.

use std::fmt::Write;

use super::keys::Keys;
use super::live::{get, table};
use super::text::{HIDDEN, Limit};
use super::{Config, Loaded, Settings};

impl Loaded {
    /// Every key with the value that holds, and where it comes from, as TOML that reads back as the same configuration; but for
    /// secrets, which are not shown.
    pub fn effective(&self) -> String {
        let keys = Keys::of_config();
        let values = table(&filled(&self.config, &self.settings));
        let mut page = String::new();
        for section in &keys.sections {
            let inside: Vec<_> = keys
                .keys
                .iter()
                .filter(|key| {
                    key.path
                        .rsplit_once('.')
                        .is_some_and(|(path, _)| path == section.path)
                })
                .collect();
            if inside.is_empty() {
                continue;
            }
            let blank = if page.is_empty() { "" } else { "\n" };
            // A section that may be left out is not there unless something is in it.
            let empty = inside.iter().all(|key| get(&values, &key.path).is_none());
            let mark = if empty { "# " } else { "" };
            write(&mut page, format_args!("{blank}{mark}[{}]\n", section.path));
            for key in inside {
                let name = key.path.rsplit('.').next().unwrap_or(&key.path);
                let origin = match self.origins.get(&key.path) {
                    Some(origin) => origin.to_string(),
                    None => "default".to_owned(),
                };
                match get(&values, &key.path) {
                    Some(_) if key.secret => {
                        write(
                            &mut page,
                            format_args!("# {name} = {}  # {origin}\n", HIDDEN),
                        );
                    }
                    Some(value) => write(&mut page, format_args!("{name} = {value}  # {origin}\n")),
                    None => write(&mut page, format_args!("# {name} is not set\n")),
                }
            }
        }
        page
    }
}

fn write(page: &mut String, text: std::fmt::Arguments<'_>) {
    page.write_fmt(text)
        .expect("writing into a String cannot fail");
}

/// The configuration with what follows from the machine, or from another key, written out.
fn filled(config: &Config, settings: &Settings) -> Config {
    let mut filled = config.clone();
    let limit = |checked: Option<u32>| match checked {
        Some(count) => Limit::AtMost(count as usize),
        None => Limit::Unlimited,
    };
    let connections = &settings.connections;
    filled.connections.max_connections = Some(connections.max_connections);
    filled.connections.max_connections_per_ip = Some(limit(connections.max_connections_per_ip));
    filled.connections.max_connections_per_user = Some(limit(connections.max_connections_per_user));
    filled.chat.enabled = Some(settings.chat.is_some());
    filled.collaboration.enabled = Some(settings.collaboration.is_some());
    filled.echo.enabled = Some(settings.echo.enabled);
    filled.page.enabled = Some(settings.page.enabled);
    filled.shards.count = Some(settings.shards.count);
    filled.shards.pin = Some(settings.shards.pin);
    filled
        .shutdown
        .drain_window
        .get_or_insert(super::TextDuration::from_millis(
            settings.shutdown.drain_window.as_millis() as u64,
        ));
    filled
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crate::config::{Config, Environment, Layers};

    const MACHINE: Environment = Environment {
        cores: 3,
        open_file_limit: 20_000,
    };

    #[test]
    fn what_is_printed_says_where_it_comes_from_and_hides_secrets() {
        let loaded = Layers::new()
            .toml(
                "s.toml",
                "[log]\nlevel = \"warn\"\n[admin]\naddress = \"127.0.0.1:9090\"",
            )
            .variables([("SHARDWIRE_ADMIN__KEY".into(), "0123456789abcdef".into())])
            .option("--set", "shards.pin", "false")
            .load(&MACHINE)
            .unwrap();
        let page = loaded.effective();
        for line in [
            "level = \"warn\"  # s.toml:2:9",
            "# key = (hidden)  # environment variable SHARDWIRE_ADMIN__KEY",
            "pin = false  # option --set",
            "count = 3  # default",
            "max_connections_per_ip = \"unlimited\"  # default",
            "drain_window = \"5s\"  # default",
            "format = \"text\"  # default",
        ] {
            assert!(
                page.lines().any(|printed| printed == line),
                "{line}\n{page}"
            );
        }
        assert!(!page.contains("0123"), "{page}");
    }

    #[test]
    fn what_is_printed_reads_back_as_the_same_settings() {
        let loaded = Layers::new()
            .toml(
                "s.toml",
                "[listen]\naddress = \"0.0.0.0:80\"\n[connections]\nprotocols = [\"chat\"]",
            )
            .load(&MACHINE)
            .unwrap();
        let again = Config::from_toml(&loaded.effective()).unwrap();
        let mut settings = again.check(&MACHINE).unwrap();
        // Only the notes differ: what was a default is now written out.
        settings.notes.clone_from(&loaded.settings.notes);
        assert_eq!(settings, loaded.settings);
    }
}
