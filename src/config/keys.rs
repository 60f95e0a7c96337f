//! Every key there is, read from the schema of `Config`: for unknown keys, for texts that stand for numbers, and for the reference page.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::Config;
use super::text::HIDDEN;

/// All keys and sections, in alphabetical order.
pub(super) struct Keys {
    pub(super) sections: Vec<Section>,
    pub(super) keys: Vec<Key>,
}

/// A table of keys.
pub(super) struct Section {
    /// `shards`
    pub(super) path: String,
    /// What the section is about, from its type's doc comment.
    #[cfg_attr(
        not(test),
        expect(
            dead_code,
            reason = "only the reference page, which a test writes, tells it"
        )
    )]
    pub(super) about: String,
    /// What `section = true` and `section = false` are short for.
    pub(super) boolean: Option<ShortForm>,
    /// Whether something in it must not be shown.
    pub(super) secret: bool,
}

/// A boolean in place of a section.
pub(super) struct ShortForm {
    /// The key it sets, by its path.
    pub(super) key: String,
    /// Its value for `false`, and for `true`.
    words: [String; 2],
}

impl ShortForm {
    pub(super) fn value(&self, boolean: bool) -> toml::Value {
        toml::Value::String(self.words[usize::from(boolean)].clone())
    }
}

/// One key.
pub(super) struct Key {
    /// `shards.count`
    pub(super) path: String,
    /// What may be written, as the rest of "must be …".
    pub(super) allowed: String,
    /// Whether a whole number may be written.
    whole: bool,
    /// Whether `true` and `false` may be written.
    boolean: bool,
    /// Whether a list may be written.
    list: bool,
    /// What holds when nothing is written, where that is not one value.
    #[cfg_attr(
        not(test),
        expect(
            dead_code,
            reason = "only the reference page, which a test writes, tells it"
        )
    )]
    pub(super) default: Option<String>,
    /// Whether a running engine takes a new value over.
    pub(super) live: bool,
    /// Whether the value is nobody's business: it is never shown.
    pub(super) secret: bool,
    /// The field's doc comment.
    #[cfg_attr(
        not(test),
        expect(
            dead_code,
            reason = "only the reference page, which a test writes, tells it"
        )
    )]
    pub(super) about: String,
}

impl Keys {
    /// The keys of `Config`.
    pub(super) fn of_config() -> Self {
        let schema = schemars::schema_for!(Config).to_value();
        let mut keys = Self {
            sections: Vec::new(),
            keys: Vec::new(),
        };
        keys.gather(&schema, &schema, "");
        keys
    }

    /// The key of exactly this path.
    pub(super) fn get(&self, path: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.path == path)
    }

    /// Whether this path is a section.
    pub(super) fn is_section(&self, path: &str) -> bool {
        self.sections.iter().any(|section| section.path == path)
    }

    /// What a boolean in place of this section is short for.
    pub(super) fn short_form(&self, path: &str) -> Option<&ShortForm> {
        let section = self.sections.iter().find(|section| section.path == path)?;
        section.boolean.as_ref()
    }

    /// What may be shown of a value that was written at `path`: nothing of a secret, nor of what may be a misspelt one.
    pub(super) fn shown<'f>(&self, path: &str, found: &'f str) -> &'f str {
        if found.is_empty() {
            return found;
        }
        let hidden = match self.get(path) {
            Some(key) => key.secret,
            None => self
                .sections
                .iter()
                .any(|section| section.secret && path.starts_with(&section.path)),
        };
        if hidden { HIDDEN } else { found }
    }

    /// What somebody who wrote `path` most likely meant: the same name in another section, or the key or section whose spelling is
    /// nearest, if it is near.
    pub(super) fn nearest(&self, path: &str) -> Option<&str> {
        let name = |path: &str| path.rsplit('.').next().map(str::to_owned);
        if let Some(key) = self.keys.iter().find(|key| name(&key.path) == name(path)) {
            return Some(&key.path);
        }
        let sections = self.sections.iter().map(|section| section.path.as_str());
        let keys = self.keys.iter().map(|key| key.path.as_str());
        let near = 1 + path.chars().count() / 5;
        sections
            .chain(keys)
            .map(|candidate| (distance(candidate, path), candidate))
            .filter(|(distance, _)| *distance <= near)
            .min()
            .map(|(_, candidate)| candidate)
    }

    /// The names directly in the section `path` (empty: at the top), for an operator to choose from.
    pub(super) fn names_in(&self, path: &str) -> Vec<&str> {
        let sections = self.sections.iter().map(|section| section.path.as_str());
        let keys = self.keys.iter().map(|key| key.path.as_str());
        sections
            .chain(keys)
            .filter_map(|candidate| {
                if path.is_empty() {
                    Some(candidate)
                } else {
                    candidate.strip_prefix(path)?.strip_prefix('.')
                }
            })
            .filter(|name| !name.contains('.'))
            .collect()
    }

    fn gather(&mut self, root: &Value, schema: &Value, path: &str) {
        for (name, property) in properties(schema) {
            let path = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}.{name}")
            };
            let target = resolved(root, property);
            let about = |schema: &Value| {
                schema["description"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned()
            };
            if target["properties"].is_object() {
                let words = |index: usize| target["x-boolean"][index].as_str();
                let boolean = words(0).zip(words(1).zip(words(2)));
                let secret = properties(target).any(|(_, inner)| inner["x-secret"] == true);
                self.sections.push(Section {
                    path: path.clone(),
                    about: about(target),
                    boolean: boolean.map(|(key, (no, yes))| ShortForm {
                        key: format!("{path}.{key}"),
                        words: [no.to_owned(), yes.to_owned()],
                    }),
                    secret,
                });
                self.gather(root, target, &path);
                continue;
            }
            let (mut forms, mut words) = (BTreeSet::new(), Vec::new());
            gather_forms(root, property, &mut forms, &mut words);
            let boolean = forms.contains("boolean");
            let allowed = match property["x-allowed"].as_str() {
                Some(allowed) => allowed.to_owned(),
                None if boolean => "true or false".to_owned(),
                None => either(&words),
            };
            self.keys.push(Key {
                allowed,
                whole: forms.contains("integer"),
                boolean,
                list: forms.contains("array"),
                live: property["x-live"] == true,
                secret: property["x-secret"] == true,
                default: property["x-default"].as_str().map(str::to_owned),
                about: about(property),
                path,
            });
        }
    }
}

impl Key {
    /// The environment variable of this key: `SHARDWIRE_SHARDS__COUNT`.
    pub(super) fn variable(&self) -> String {
        variable_of(&self.path)
    }

    /// What a text from an environment variable or an option stands for. A text that fits no other form of the key stays text, so that
    /// the fault shows it as it was written.
    pub(super) fn read_text(&self, text: &str) -> toml::Value {
        if self.boolean
            && let Ok(boolean) = text.parse::<bool>()
        {
            return toml::Value::Boolean(boolean);
        }
        if self.whole
            && let Ok(number) = text.parse::<i64>()
        {
            return toml::Value::Integer(number);
        }
        if self.list && text.trim_start().starts_with('[') {
            // As in a file. What is none must not become an item with brackets.
            return match text.trim().parse() {
                Ok(toml::Value::Array(items)) if items.iter().all(toml::Value::is_str) => {
                    toml::Value::Array(items)
                }
                _ => toml::Value::String(text.to_owned()),
            };
        }
        if self.list {
            let items = text
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty());
            return toml::Value::Array(
                items
                    .map(|item| toml::Value::String(item.to_owned()))
                    .collect(),
            );
        }
        toml::Value::String(text.to_owned())
    }
}

/// The environment variable of a key or section: dots become two underscores, because names of keys contain single ones.
pub(super) fn variable_of(path: &str) -> String {
    format!("SHARDWIRE_{}", path.replace('.', "__").to_uppercase())
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema["properties"]
        .as_object()
        .into_iter()
        .flat_map(Map::iter)
}

/// The schema behind `{"$ref": "#/$defs/Name"}`, or the schema itself.
fn resolved<'s>(root: &'s Value, schema: &'s Value) -> &'s Value {
    schema["$ref"]
        .as_str()
        .and_then(|reference| root.pointer(reference.strip_prefix('#')?))
        .unwrap_or(schema)
}

/// The JSON types a value may have and the words it may be, through every alternative.
fn gather_forms(
    root: &Value,
    schema: &Value,
    forms: &mut BTreeSet<String>,
    words: &mut Vec<String>,
) {
    let schema = resolved(root, schema);
    let listed = |value: &Value| match value {
        Value::Array(values) => values.clone(),
        Value::Null => Vec::new(),
        one => vec![one.clone()],
    };
    forms.extend(
        listed(&schema["type"])
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned),
    );
    words.extend(
        listed(&schema["enum"])
            .iter()
            .chain(&listed(&schema["const"]))
            .filter_map(Value::as_str)
            .map(str::to_owned),
    );
    for alternative in listed(&schema["anyOf"])
        .iter()
        .chain(&listed(&schema["oneOf"]))
    {
        gather_forms(root, alternative, forms, words);
    }
}

/// `"a", "b" or "c"`
fn either(words: &[String]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

/// Levenshtein's distance: letters to insert, remove or change until `left` is `right`.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, l) in left.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], line + 1);
        for (column, r) in right.iter().enumerate() {
            let changed = diagonal + usize::from(l != *r);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_key_says_what_it_is_and_what_is_allowed() {
        let keys = Keys::of_config();
        assert!(keys.keys.len() >= 20, "{}", keys.keys.len());
        for key in &keys.keys {
            assert!(
                !key.about.is_empty() && !key.allowed.is_empty(),
                "{} lacks a doc comment or what is allowed",
                key.path
            );
        }
        for section in &keys.sections {
            assert!(
                !section.about.is_empty(),
                "[{}] lacks a doc comment",
                section.path
            );
        }
        assert_eq!(
            keys.get("shards.placement").unwrap().allowed,
            "\"accept\", \"ip-hash\" or \"user-hash\""
        );
        assert_eq!(
            keys.get("shards.count").unwrap().variable(),
            "SHARDWIRE_SHARDS__COUNT"
        );
    }

    #[test]
    fn texts_become_what_the_key_takes() {
        let keys = Keys::of_config();
        let read = |path: &str, text: &str| keys.get(path).unwrap().read_text(text);
        let word = |text: &str| toml::Value::String(text.to_owned());
        assert_eq!(read("shards.count", "4"), toml::Value::Integer(4));
        assert_eq!(read("shards.count", "four"), word("four"));
        assert_eq!(read("shards.pin", "false"), toml::Value::Boolean(false));
        assert_eq!(
            read("connections.max_connections_per_ip", "unlimited"),
            word("unlimited")
        );
        assert_eq!(
            read("connections.max_connections_per_ip", "7"),
            toml::Value::Integer(7)
        );
        assert_eq!(read("connections.max_message_size", "1MiB"), word("1MiB"));
        assert_eq!(
            read("connections.protocols", "chat, stream"),
            toml::Value::Array(vec![word("chat"), word("stream")])
        );
        assert_eq!(
            read("connections.protocols", ""),
            toml::Value::Array(Vec::new())
        );
    }

    #[test]
    fn the_nearest_key_is_found() {
        let keys = Keys::of_config();
        assert_eq!(keys.nearest("shards.cuont"), Some("shards.count"));
        assert_eq!(
            keys.nearest("max_connections"),
            Some("connections.max_connections")
        );
        assert_eq!(
            keys.nearest("listen.max_channels"),
            Some("connections.max_channels")
        );
        assert_eq!(keys.nearest("shard"), Some("shards"));
        assert_eq!(
            keys.nearest("connections.heartbeat_intervall"),
            Some("connections.heartbeat_interval")
        );
        assert_eq!(
            keys.nearest("tls.certificate"),
            Some("listen.tls.certificate")
        );
        assert_eq!(keys.nearest("quic.versions"), None);
        assert!(
            keys.names_in("shards").contains(&"count") && keys.names_in("").contains(&"shards")
        );
    }

    #[test]
    fn distances_are_levenshteins() {
        for (left, right, expected) in [
            ("", "", 0),
            ("a", "", 1),
            ("", "abc", 3),
            ("kitten", "sitting", 3),
            ("flaw", "lawn", 2),
        ] {
            assert_eq!(distance(left, right), expected, "{left} {right}");
        }
    }
}
