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
    use std::path::{Path, PathBuf};

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

    fn documents(folder: &Path, into: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => documents(&path, into),
                false if path.extension().is_some_and(|it| it == "md") => into.push(path),
                false => {}
            }
        }
    }

    #[test]
    fn every_configuration_in_the_documents_is_valid() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut files = vec![root.join("README.md")];
        documents(&root.join("docs"), &mut files);
        let mut blocks = 0;
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            let written = text.split("```toml\n").skip(1);
            let written = written.filter_map(|block| block.split("```").next());
            // The others are of a program's Cargo.toml.
            for block in written.filter(|block| !block.contains("dependencies]")) {
                blocks += 1;
                let loaded = Layers::new().toml("block", block).load(&Environment {
                    cores: 4,
                    open_file_limit: 65_536,
                });
                let faults = loaded.err().map(|faults| faults.to_string());
                // The files are those of whoever writes such a configuration.
                let known = |fault: &str| fault.contains("cannot be read (No such file");
                let faults = faults.iter().flat_map(|faults| faults.lines());
                let faults: Vec<&str> = faults.filter(|fault| !known(fault)).collect();
                assert!(faults.is_empty(), "{}: {block}{faults:?}", file.display());
            }
        }
        assert!(blocks >= 15, "{blocks}");
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
