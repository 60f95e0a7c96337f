//! Reads a configuration from its layers: file, then environment variables, then options of the command line; each goes before the one
//! before it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use super::fault::{Fault, Faults, Origin};
use super::keys::{Keys, variable_of};
use super::layer::{Layer, Place};
use super::{Config, Environment, Settings};

/// The layers a configuration is read from, weakest first: a file, environment variables, options. None is necessary.
///
/// ```
/// use shardwire::config::{Environment, Layers};
///
/// let loaded = Layers::new()
///     .toml("shardwire.toml", "[shards]\ncount = 2")
///     .variables([("SHARDWIRE_SHARDS__COUNT".into(), "3".into())])
///     .option("--set", "shards.placement", "accept")
///     .load(&Environment { cores: 4, open_file_limit: 20_000 })?;
/// assert_eq!(loaded.settings.shards.count, 3);
/// # Ok::<(), shardwire::config::Faults>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Layers {
    /// Name and text, or why it could not be read.
    file: Option<(String, Result<String, String>)>,
    variables: Vec<(String, Option<String>)>,
    options: Vec<(String, String, String)>,
}

/// A configuration without fault: as it was written, all layers together, and as the rooms read it.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// For the engine's builder.
    pub config: Config,
    /// For whoever must know before the engine starts: the log, and the start-up notes.
    pub settings: Settings,
    /// Where each key that was written was written.
    pub(super) origins: BTreeMap<String, Origin>,
}

/// The prefix of every environment variable that is ours.
const PREFIX: &str = "SHARDWIRE_";

impl Layers {
    /// No layer at all: the defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads this file as the file layer. One that cannot be read becomes a fault of `load`, beside all others.
    #[must_use]
    pub fn file(mut self, path: &Path) -> Self {
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string());
        self.file = Some((path.display().to_string(), text));
        self
    }

    /// Takes this TOML text as the file layer; `name` stands for it in faults.
    #[must_use]
    pub fn toml(mut self, name: &str, text: &str) -> Self {
        self.file = Some((name.to_owned(), Ok(text.to_owned())));
        self
    }

    /// Takes from these environment variables (`std::env::vars_os()`) every one that begins with `SHARDWIRE_`. The ones Kubernetes sets
    /// for a service named `shardwire` are passed over.
    #[must_use]
    pub fn variables(mut self, variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let ours = variables.into_iter().filter_map(|(name, value)| {
            let name = name
                .into_string()
                .ok()
                .filter(|name| name.starts_with(PREFIX) && !is_service_link(name))?;
            Some((name, value.into_string().ok()))
        });
        self.variables.extend(ours);
        // The order of an environment means nothing; faults come in the same order every time.
        self.variables.sort();
        self
    }

    /// Takes a key from the command line; `option` (`--listen`, `--set`) stands for it in faults. The last one of a key holds.
    #[must_use]
    pub fn option(mut self, option: &str, key: &str, value: &str) -> Self {
        self.options
            .push((option.to_owned(), key.to_owned(), value.to_owned()));
        self
    }

    /// The configuration that all layers together give, or all faults of all layers, in the order of the layers and, within a file, of
    /// its lines.
    pub fn load(&self, environment: &Environment) -> Result<Loaded, Faults> {
        let mut read = self.read();
        match read.config.check_with_files(environment) {
            Ok(settings) if read.faults.is_empty() => {
                return Ok(Loaded {
                    config: read.config,
                    settings,
                    origins: read.merged.origins(),
                });
            }
            Ok(_) => {}
            Err(faults) => read.add(faults),
        }
        Err(read.into_faults())
    }

    /// The configuration as written, not yet checked for what its values mean.
    pub(super) fn config(&self) -> Result<Config, Faults> {
        let read = self.read();
        if read.faults.is_empty() {
            Ok(read.config)
        } else {
            Err(read.into_faults())
        }
    }

    fn read(&self) -> Read {
        let keys = Keys::of_config();
        let mut faults = Vec::new();
        let mut merged = Layer::default();
        let mut whole = true;
        match self.file_layer() {
            Ok(mut file) => {
                faults.extend(file.drop_faults(&keys));
                merged.overlay(file);
            }
            Err(unreadable) => {
                whole = false;
                faults.extend(unreadable);
            }
        }
        for mut layer in [
            self.variable_layer(&keys, &mut faults),
            self.option_layer(&keys, &mut faults),
        ] {
            faults.extend(layer.drop_faults(&keys));
            merged.overlay(layer);
        }
        let config = merged.config().unwrap_or_else(|(path, reason)| {
            // Layers without faults merge into one without; if that ever fails, it is told and not papered over.
            faults.push(Fault::new(Origin::Program, path, "", reason));
            Config::default()
        });
        Read {
            config,
            merged,
            faults,
            whole,
        }
    }

    fn file_layer(&self) -> Result<Layer, Vec<Fault>> {
        match &self.file {
            None => Ok(Layer::default()),
            Some((name, Ok(text))) => Layer::from_toml(name, text),
            Some((name, Err(reason))) => {
                let origin = Origin::File {
                    name: name.clone(),
                    line: 0,
                    column: 0,
                };
                Err(vec![Fault::new(
                    origin,
                    "",
                    "",
                    format!("cannot read this file: {reason}"),
                )])
            }
        }
    }

    fn variable_layer(&self, keys: &Keys, faults: &mut Vec<Fault>) -> Layer {
        let mut layer = Layer::default();
        for (name, value) in &self.variables {
            let origin = Origin::Variable(name.clone());
            let short = keys
                .sections
                .iter()
                .find(|section| section.boolean.is_some() && variable_of(&section.path) == *name);
            if let (Some(section), Some(text)) = (short, value) {
                set_section(&mut layer, keys, &section.path, text, origin, faults);
                continue;
            }
            let Some(key) = keys.keys.iter().find(|key| key.variable() == *name) else {
                let path = name[PREFIX.len()..].to_lowercase().replace("__", ".");
                faults.push(Fault::new(
                    origin,
                    "",
                    "",
                    format!("there is no such key; {}", advice_on_variable(keys, &path)),
                ));
                continue;
            };
            let Some(text) = value else {
                faults.push(Fault::new(origin, &key.path, "", "its value is not UTF-8"));
                continue;
            };
            layer.set(
                &key.path,
                key.read_text(text),
                Place {
                    origin,
                    found: format!("{text:?}"),
                },
            );
        }
        layer
    }

    fn option_layer(&self, keys: &Keys, faults: &mut Vec<Fault>) -> Layer {
        let mut layer = Layer::default();
        for (option, path, text) in &self.options {
            let origin = Origin::Flag(option.clone());
            if keys.short_form(path).is_some() {
                set_section(&mut layer, keys, path, text, origin, faults);
                continue;
            }
            let Some(key) = keys.get(path) else {
                let advice = match keys.nearest(path) {
                    Some(meant) => format!("did you mean {meant}?"),
                    None => format!("the sections are {}", keys.names_in("").join(", ")),
                };
                faults.push(Fault::new(
                    origin,
                    path,
                    keys.shown(path, &format!("{text:?}")),
                    format!("there is no such key; {advice}"),
                ));
                continue;
            };
            layer.set(
                path,
                key.read_text(text),
                Place {
                    origin,
                    found: format!("{text:?}"),
                },
            );
        }
        layer
    }
}

/// A boolean, as text, in place of a section.
fn set_section(
    layer: &mut Layer,
    keys: &Keys,
    path: &str,
    text: &str,
    origin: Origin,
    faults: &mut Vec<Fault>,
) {
    let found = format!("{text:?}");
    match (keys.short_form(path), text.parse::<bool>()) {
        (Some(short), Ok(boolean)) => {
            layer.set(&short.key, short.value(boolean), Place { origin, found });
        }
        _ => faults.push(Fault::new(
            origin,
            path,
            keys.shown(path, &found),
            "is a section: only true or false may stand for it; its keys are set one by one",
        )),
    }
}

/// What reading all layers gave.
struct Read {
    /// Of everything without fault.
    config: Config,
    merged: Layer,
    faults: Vec<Fault>,
    /// Whether every layer could be read at all.
    whole: bool,
}

impl Read {
    /// Adds the faults that `Config::check` found, with the places their keys were written at. Leaves out what may only follow from
    /// another fault: a relation with a key that could not be read has the default in its place.
    fn add(&mut self, checked: Faults) {
        for mut fault in checked.into_list() {
            let keys: Vec<&str> = std::iter::once(fault.key.as_str())
                .chain(fault.others.iter().copied())
                .collect();
            let unreadable = |key: &&str| {
                self.merged.place(key).is_none()
                    && self.faults.iter().any(|other| other.key == **key)
            };
            if keys.iter().any(unreadable) || (!self.whole && keys.len() > 1) {
                continue;
            }
            // A relation is told where one of its keys was written; the first of them that was.
            if let Some(place) = keys.iter().find_map(|key| self.merged.place(key)) {
                fault.origin = place.origin.clone();
            }
            self.faults.push(fault);
        }
    }

    fn into_faults(mut self) -> Faults {
        self.faults
            .sort_by(|left, right| left.origin.cmp(&right.origin));
        Faults::from_list(self.faults).expect(
            "only called when there is a fault, and faults that are left out follow from others",
        )
    }
}

fn advice_on_variable(keys: &Keys, path: &str) -> String {
    // One underscore where two are needed is the usual slip: compare without telling them apart.
    let flat = |path: &str| path.replace(['.', '_'], "");
    let same = keys
        .keys
        .iter()
        .find(|key| flat(&key.path) == flat(path))
        .map(|key| key.path.as_str());
    match same.or_else(|| keys.nearest(path)) {
        Some(meant) if !keys.is_section(meant) => format!("did you mean {}?", variable_of(meant)),
        _ => "SHARDWIRE_<SECTION>__<KEY> is the form, such as SHARDWIRE_SHARDS__COUNT".to_owned(),
    }
}

/// Whether Kubernetes (or Docker's links) sets this variable for a service whose name begins with `shardwire`. Such a name says nothing
/// about keys: `SHARDWIRE_SERVICE_HOST`, `SHARDWIRE_PORT`, `SHARDWIRE_PORT_8080_TCP_ADDR`, `SHARDWIRE_ADMIN_SERVICE_PORT_HTTP`.
fn is_service_link(name: &str) -> bool {
    let numbered_port = |(_, rest): (&str, &str)| {
        let mut parts = rest.split('_');
        let number = parts.next().is_some_and(|part| part.parse::<u16>().is_ok());
        number
            && parts
                .next()
                .is_some_and(|part| ["TCP", "UDP", "SCTP"].contains(&part))
    };
    !name.contains("__")
        && (name.ends_with("_SERVICE_HOST")
            || name.ends_with("_SERVICE_PORT")
            || name.contains("_SERVICE_PORT_")
            || name.ends_with("_PORT")
            || name.split_once("_PORT_").is_some_and(numbered_port))
}

#[cfg(test)]
mod tests;
