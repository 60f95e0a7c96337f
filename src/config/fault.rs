//! What is wrong with a configuration: every fault names its key, where it was written, what was found, and what is allowed.

use std::fmt;

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Origin {
    /// In a file; line and column count from 1, columns in characters. Both are 0 where the file could not be read at all.
    File {
        /// As it was given on the command line.
        name: String,
        /// Line of the value, or of the key when the key is the fault.
        line: usize,
        /// Column of the same.
        column: usize,
    },
    /// In an environment variable of this name.
    Variable(String),
    /// In this command line option, such as `--listen`.
    Flag(String),
    /// In the program that embeds the engine, or nowhere: a default.
    Program,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { name, line: 0, .. } => formatter.write_str(name),
            Self::File { name, line, column } => write!(formatter, "{name}:{line}:{column}"),
            Self::Variable(name) => write!(formatter, "environment variable {name}"),
            Self::Flag(flag) => write!(formatter, "option {flag}"),
            Self::Program => formatter.write_str("configuration"),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// Where it was written.
    pub origin: Origin,
    /// The key by its path (`shards.count`); empty when the text is not a configuration at all.
    pub key: String,
    /// What stands there, as it was written; empty when nothing does.
    pub found: String,
    /// What is wrong with it and what is allowed, as the rest of a sentence.
    pub problem: String,
    /// Other keys the fault depends on: mending one of them mends it too.
    pub(super) others: &'static [&'static str],
}

impl Fault {
    pub(super) fn new(
        origin: Origin,
        key: impl Into<String>,
        found: impl fmt::Display,
        problem: impl Into<String>,
    ) -> Self {
        Self {
            origin,
            key: shortened(&key.into()),
            found: shortened(&found.to_string()),
            problem: problem.into(),
            others: &[],
        }
    }
}

impl fmt::Display for Fault {
    /// One line: `shardwire.toml:4:9: shards.count = 0: must be a whole number from 1 to 256`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: ", self.origin)?;
        match (self.key.is_empty(), self.found.is_empty()) {
            (true, true) => {}
            (true, false) => write!(formatter, "{}: ", self.found)?,
            (false, true) => write!(formatter, "{}: ", self.key)?,
            (false, false) => write!(formatter, "{} = {}: ", self.key, self.found)?,
        }
        formatter.write_str(&self.problem)
    }
}

/// At most this many characters of what was written are repeated in a message.
const FOUND_CHARACTERS: usize = 80;

/// `written` on one line and not longer than a message bears.
fn shortened(written: &str) -> String {
    let mut line: String = written
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(FOUND_CHARACTERS)
        .collect();
    if written.chars().nth(FOUND_CHARACTERS).is_some() {
        line.push('…');
    }
    line
}

/// Everything that is wrong with a configuration: never empty. The operator mends the text; nothing is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// `None` when nothing is wrong.
    pub(super) fn from_list(faults: Vec<Fault>) -> Option<Self> {
        (!faults.is_empty()).then_some(Self(faults))
    }

    /// `faults` is not empty: who has nothing to complain of has no `Faults`.
    pub(super) fn of(faults: Vec<Fault>) -> Self {
        debug_assert!(!faults.is_empty());
        Self(faults)
    }

    pub(super) fn and(mut self, more: Self) -> Self {
        self.0.extend(more.0);
        self
    }

    /// Each of them, in the order of the layers they were written in.
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.0.iter()
    }

    pub(super) fn into_list(self) -> Vec<Fault> {
        self.0
    }
}

impl fmt::Display for Faults {
    /// One fault per line.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n")?;
            }
            fault.fmt(formatter)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_one_short_line() {
        let origin = Origin::File {
            name: "s.toml".to_owned(),
            line: 4,
            column: 9,
        };
        let fault = Fault::new(
            origin,
            "a.b",
            format!("\"x\n{}\"", "y".repeat(1_000)),
            "is wrong",
        );
        let line = fault.to_string();
        assert!(
            line.starts_with("s.toml:4:9: a.b = \"x yyy") && line.ends_with("…: is wrong"),
            "{line}"
        );
        assert!(!line.contains('\n') && line.chars().count() < 120);
    }
}
