//! Writes the reference page of the configuration: an introduction by hand, then every key as the structs declare it. Only tests call
//! it, so that the page in `docs/` cannot differ from the code.

use std::fmt::Write;

use super::Config;
use super::keys::{Key, Keys};

/// The whole page, in Markdown.
pub(super) fn page() -> String {
    let keys = Keys::of_config();
    let defaults = toml::Table::try_from(Config::default())
        .expect("a configuration can be written as TOML: it only holds plain values");
    let mut page = include_str!("reference/introduction.md").to_owned();
    for section in &keys.sections {
        let inside = |key: &&Key| {
            key.path
                .rsplit_once('.')
                .is_some_and(|(path, _)| path == section.path)
        };
        write!(page, "\n## [{}]\n\n{}\n", section.path, section.about)
            .expect("writing into a String cannot fail");
        for key in keys.keys.iter().filter(inside) {
            page.push_str(&entry(key, &defaults));
        }
    }
    page
}

fn entry(key: &Key, defaults: &toml::Table) -> String {
    let Key {
        path,
        about,
        allowed,
        ..
    } = key;
    let written = path
        .split('.')
        .try_fold(None, |table: Option<&toml::Value>, name| {
            let value = table.map_or_else(|| defaults.get(name), |table| table.get(name));
            value.map(Some)
        });
    let default = match (&key.default, written.flatten()) {
        (Some(words), _) => words.clone(),
        (None, Some(value)) => format!("`{value}`"),
        (None, None) => panic!("{path} has no default value: say in x-default what holds instead"),
    };
    let variable = key.variable();
    let reload = match key.live {
        true => "on SIGHUP",
        false => "needs a restart",
    };
    format!(
        "\n### {path}\n\n{about}\n\n- Default: {default}\n- Allowed: {allowed}\n- Variable: `{variable}`\n- Change: {reload}\n"
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::Path;

    use super::page;
    use crate::config::{Environment, Layers};

    #[test]
    fn the_page_in_docs_is_what_the_code_says() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/config.md");
        let page = page();
        if std::env::var_os("UPDATE_REFERENCE").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &page).unwrap();
        }
        let stored = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            stored == page,
            "docs/reference/config.md is out of step: UPDATE_REFERENCE=1 cargo test -p shardwire --lib reference"
        );
    }

    #[test]
    fn the_configurations_of_the_guide_are_valid() {
        let guide = include_str!("../../docs/guides/authentication.md");
        let blocks: Vec<&str> = guide
            .split("```toml\n")
            .skip(1)
            .filter_map(|block| block.split("```").next())
            .collect();
        assert!(blocks.len() >= 6, "{}", blocks.len());
        for text in blocks {
            let loaded = Layers::new().toml("guide", text).load(&Environment {
                cores: 4,
                open_file_limit: 65_536,
            });
            if let Err(faults) = loaded {
                panic!("{text}\n{faults}");
            }
        }
    }

    #[test]
    fn the_example_on_the_page_is_valid() {
        let page = page();
        let (_, from) = page.split_once("```toml\n").unwrap();
        let (example, _) = from.split_once("```").unwrap();
        let loaded = Layers::new().toml("example", example).load(&Environment {
            cores: 4,
            open_file_limit: 65_536,
        });
        let loaded = loaded.unwrap_or_else(|faults| panic!("{faults}"));
        assert_eq!(loaded.settings.shards.count, 4);
    }
}
