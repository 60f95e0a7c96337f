//! One layer of a configuration: a table of keys, and for each key where it was written.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::Deserialize;
use serde_path_to_error::Segment;
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::Config;
use super::fault::{Fault, Origin};
use super::keys::Keys;

/// Where a key was written, and what stands there.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) origin: Origin,
    /// As it was written.
    pub(super) found: String,
}

/// What one file, all environment variables, or all options say. After `drop_faults` it holds only known keys with values of the right
/// type.
#[derive(Debug, Default)]
pub(super) struct Layer {
    table: Table,
    /// By the key's path; sections have a place as well.
    places: BTreeMap<String, Place>,
}

impl Layer {
    /// A file's text. A text that is not TOML gives its syntax errors and nothing else: a parser that guesses on after an error finds
    /// keys in the wrong sections.
    pub(super) fn from_toml(name: &str, text: &str) -> Result<Self, Vec<Fault>> {
        let (table, errors) = DeTable::parse_recoverable(text);
        let reader = TomlReader { name, text };
        if !errors.is_empty() {
            let mut faults: Vec<Fault> = Vec::new();
            for error in &errors {
                let origin = reader.origin(error.span().unwrap_or(0..0));
                // What else a line is blamed for follows from its first error.
                if !faults
                    .last()
                    .is_some_and(|last| same_line(&last.origin, &origin))
                {
                    faults.push(Fault::new(
                        origin,
                        "",
                        "",
                        format!("not TOML: {}", error.message()),
                    ));
                }
            }
            return Err(faults);
        }
        let mut layer = Self::default();
        layer.table = reader.table(table.get_ref(), "", &mut layer.places);
        Ok(layer)
    }

    /// Adds a known key, or replaces what it was.
    pub(super) fn set(&mut self, path: &str, value: Value, place: Place) {
        let mut table = &mut self.table;
        let mut names = path.split('.').peekable();
        while let Some(name) = names.next() {
            if names.peek().is_none() {
                table.insert(name.to_owned(), value);
                break;
            }
            let inner = table
                .entry(name)
                .or_insert_with(|| Value::Table(Table::new()));
            let Value::Table(inner) = inner else { break };
            table = inner;
        }
        self.places.insert(path.to_owned(), place);
    }

    /// Lays `other` over this layer: what `other` says, holds.
    pub(super) fn overlay(&mut self, other: Self) {
        overlay(&mut self.table, other.table);
        self.places.extend(other.places);
    }

    /// Where everything was written.
    pub(super) fn origins(&self) -> BTreeMap<String, Origin> {
        let origin = |(path, place): (&String, &Place)| (path.clone(), place.origin.clone());
        self.places.iter().map(origin).collect()
    }

    pub(super) fn place(&self, path: &str) -> Option<&Place> {
        self.places.get(path)
    }

    /// Takes out what is not a known key of the right type, with a fault for each.
    pub(super) fn drop_faults(&mut self, keys: &Keys) -> Vec<Fault> {
        let mut faults = Vec::new();
        self.write_out_booleans(keys);
        for (path, place) in &mut self.places {
            place.found = keys.shown(path, &place.found).to_owned();
        }
        self.drop_unknown(keys, &mut faults);
        self.drop_mistyped(keys, &mut faults);
        faults
    }

    /// Replaces a boolean in place of a section by what it is short for.
    fn write_out_booleans(&mut self, keys: &Keys) {
        for section in &keys.sections {
            let path = &section.path;
            let (Some(short), Some(&Value::Boolean(boolean))) =
                (keys.short_form(path), self.table.get(path))
            else {
                continue;
            };
            self.table.remove(path);
            if let Some(place) = self.places.remove(path) {
                self.set(&short.key, short.value(boolean), place);
            }
        }
    }

    /// The configuration of a layer without faults; otherwise the path of the first fault and its reason.
    pub(super) fn config(&self) -> Result<Config, (String, String)> {
        let mut track = serde_path_to_error::Track::new();
        let deserializer =
            serde_path_to_error::Deserializer::new(Value::Table(self.table.clone()), &mut track);
        Config::deserialize(deserializer).map_err(|error| {
            let path = track.path();
            let names = path.iter().map_while(|segment| match segment {
                Segment::Map { key } => Some(key.as_str()),
                _ => None,
            });
            (
                names.collect::<Vec<_>>().join("."),
                error.message().to_owned(),
            )
        })
    }

    fn drop_unknown(&mut self, keys: &Keys, faults: &mut Vec<Fault>) {
        let mut unknown = Vec::new();
        take_unknown(&mut self.table, keys, "", &mut unknown);
        for (path, problem) in unknown {
            faults.push(self.fault(&path, problem));
            self.places.remove(&path);
        }
    }

    fn drop_mistyped(&mut self, keys: &Keys, faults: &mut Vec<Fault>) {
        // Every round removes one key, so that there are at most as many rounds as keys.
        for _ in 0..=keys.keys.len() {
            let Err((path, reason)) = self.config() else {
                return;
            };
            let allowed = keys
                .get(&path)
                .map(|key| key.allowed.as_str())
                .unwrap_or_default();
            // What serde says of a wrong type repeats what is allowed in worse words; what our own types say is advice.
            let stock = [
                "invalid type",
                "invalid value",
                "unknown variant",
                "out of range",
            ];
            let problem = match stock.iter().any(|words| reason.starts_with(words)) {
                true => format!("must be {allowed}"),
                false => format!("must be {allowed} ({reason})"),
            };
            faults.push(self.fault(&path, problem));
            if !self.remove(&path) {
                // Cannot happen while schema and types agree; starting from nothing is right, since there is a fault.
                self.table.clear();
            }
        }
    }

    fn fault(&self, path: &str, problem: String) -> Fault {
        match self.place(path) {
            Some(place) => Fault::new(place.origin.clone(), path, &place.found, problem),
            None => Fault::new(Origin::Program, path, "", problem),
        }
    }

    /// Whether there was something to remove.
    fn remove(&mut self, path: &str) -> bool {
        self.places.remove(path);
        let (section, name) = path.rsplit_once('.').unwrap_or(("", path));
        let mut table = &mut self.table;
        for name in section.split('.').filter(|name| !name.is_empty()) {
            let Some(Value::Table(inner)) = table.get_mut(name) else {
                return false;
            };
            table = inner;
        }
        table.remove(name).is_some()
    }
}

fn overlay(base: &mut Table, top: Table) {
    for (name, value) in top {
        match (base.get_mut(&name), value) {
            (Some(Value::Table(base)), Value::Table(top)) => overlay(base, top),
            (_, value) => {
                base.insert(name, value);
            }
        }
    }
}

/// Takes every unknown key out of `table`; `unknown` gets its path and what is wrong with it.
fn take_unknown(
    table: &mut Table,
    keys: &Keys,
    section: &str,
    unknown: &mut Vec<(String, String)>,
) {
    table.retain(|name, value| {
        let path = joined(section, name);
        // A quoted name may contain dots; it is still one name, and no key has such a one.
        let single = !name.contains('.');
        let problem = match value {
            _ if single && keys.get(&path).is_some() => return true,
            Value::Table(inner) if single && keys.is_section(&path) => {
                take_unknown(inner, keys, &path, unknown);
                return true;
            }
            _ if single && keys.is_section(&path) => {
                format!(
                    "is a section: write [{path}] and below it its keys: {}",
                    keys.names_in(&path).join(", ")
                )
            }
            _ => match (keys.nearest(&path), section) {
                (Some(meant), _) => format!("there is no such key; did you mean {meant}?"),
                (None, "") => format!(
                    "there is no such key; the sections are {}",
                    keys.names_in("").join(", ")
                ),
                (None, section) => format!(
                    "there is no such key; [{section}] has {}",
                    keys.names_in(section).join(", ")
                ),
            },
        };
        unknown.push((path, problem));
        false
    });
}

fn same_line(left: &Origin, right: &Origin) -> bool {
    matches!((left, right), (Origin::File { line: left, .. }, Origin::File { line: right, .. }) if left == right)
}

fn joined(section: &str, name: &str) -> String {
    if section.is_empty() {
        name.to_owned()
    } else {
        format!("{section}.{name}")
    }
}

/// Reads a parsed file into a plain table, and notes where everything stood.
struct TomlReader<'t> {
    name: &'t str,
    text: &'t str,
}

impl TomlReader<'_> {
    fn origin(&self, at: Range<usize>) -> Origin {
        let before = self.text.get(..at.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |index| index + 1);
        Origin::File {
            name: self.name.to_owned(),
            line: 1 + before.matches('\n').count(),
            column: 1 + before[line_start..].chars().count(),
        }
    }

    fn table(
        &self,
        table: &DeTable<'_>,
        section: &str,
        places: &mut BTreeMap<String, Place>,
    ) -> Table {
        let mut plain = Table::new();
        for (name, value) in table {
            let path = joined(section, name.get_ref());
            let inner = matches!(value.get_ref(), DeValue::Table(_));
            // A section is found by its name; what stands "in" it would be the whole section.
            let (at, found) = if inner {
                (name.span(), "")
            } else {
                (
                    value.span(),
                    self.text.get(value.span()).unwrap_or_default(),
                )
            };
            places.insert(
                path.clone(),
                Place {
                    origin: self.origin(at),
                    found: found.to_owned(),
                },
            );
            plain.insert(name.get_ref().to_string(), self.value(value, &path, places));
        }
        plain
    }

    fn value(
        &self,
        value: &Spanned<DeValue<'_>>,
        path: &str,
        places: &mut BTreeMap<String, Place>,
    ) -> Value {
        let as_written =
            || Value::String(self.text.get(value.span()).unwrap_or_default().to_owned());
        match value.get_ref() {
            DeValue::String(text) => Value::String(text.to_string()),
            // A number that fits no type is kept as its text, which no key for numbers takes: the fault then says what it takes.
            DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
                .map_or_else(|_| as_written(), Value::Integer),
            DeValue::Float(float) => float
                .as_str()
                .parse()
                .map_or_else(|_| as_written(), Value::Float),
            DeValue::Boolean(boolean) => Value::Boolean(*boolean),
            DeValue::Datetime(datetime) => Value::Datetime(*datetime),
            DeValue::Array(array) => Value::Array(
                array
                    .iter()
                    .map(|item| self.value(item, path, places))
                    .collect(),
            ),
            DeValue::Table(table) => Value::Table(self.table(table, path, places)),
        }
    }
}
