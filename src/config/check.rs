//! Collects faults and notes while the sections are checked.

use std::fmt::Display;
use std::time::Duration;

use super::bounds::Range;
use super::fault::{Fault, Faults, Origin};
use super::text::{ByteSize, Limit, TextDuration};

/// What a check of the whole configuration found so far. A value that is refused is handed on all the same (or as the nearest native
/// value), so that every other check still runs; nobody sees it, because `finish` then gives only the faults.
#[derive(Debug, Default)]
pub(super) struct Checker {
    faults: Vec<Fault>,
    notes: Vec<String>,
}

impl Checker {
    /// A count within `range`, in the type the reader wants; the range must fit that type.
    pub(super) fn whole<T: TryFrom<usize> + Default>(
        &mut self,
        key: &'static str,
        value: usize,
        range: &Range<usize>,
    ) -> T {
        self.within(key, &value, range);
        T::try_from(value).unwrap_or_default()
    }

    /// A count within `range`, or `None` for unlimited.
    pub(super) fn limit(
        &mut self,
        key: &'static str,
        value: Limit,
        range: &Range<usize>,
    ) -> Option<u32> {
        let Limit::AtMost(count) = value else {
            return None;
        };
        if !range.allows(&count) {
            self.refuse(key, count, format!("must be {range}, or \"unlimited\""));
        }
        Some(u32::try_from(count).unwrap_or(u32::MAX))
    }

    /// A duration within `range`.
    pub(super) fn duration(
        &mut self,
        key: &'static str,
        value: TextDuration,
        range: &Range<TextDuration>,
    ) -> Duration {
        self.within_text(key, &value, range);
        value.get()
    }

    /// A duration within `range`, in whole milliseconds.
    pub(super) fn milliseconds(
        &mut self,
        key: &'static str,
        value: TextDuration,
        range: &Range<TextDuration>,
    ) -> u64 {
        self.within_text(key, &value, range);
        value.as_millis()
    }

    /// A size within `range`, in bytes.
    pub(super) fn bytes(
        &mut self,
        key: &'static str,
        value: ByteSize,
        range: &Range<ByteSize>,
    ) -> usize {
        self.within_text(key, &value, range);
        usize::try_from(value.get()).unwrap_or(usize::MAX)
    }

    /// A fault of one key.
    pub(super) fn refuse(&mut self, key: &'static str, found: impl Display, problem: String) {
        self.faults
            .push(Fault::new(Origin::Program, key, found, problem));
    }

    /// A fault of several keys together, told at `key`. Passed over when one of them is already at fault by itself: mending that one
    /// may mend this too.
    pub(super) fn refuse_relation(
        &mut self,
        key: &'static str,
        others: &'static [&'static str],
        found: impl Display,
        problem: String,
    ) {
        if !self
            .faults
            .iter()
            .any(|fault| fault.key == key || others.contains(&fault.key.as_str()))
        {
            self.faults.push(Fault {
                others,
                ..Fault::new(Origin::Program, key, found, problem)
            });
        }
    }

    /// Something the operator should read at start-up, although nothing is wrong.
    pub(super) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// The notes, or all faults.
    pub(super) fn finish(self) -> Result<Vec<String>, Faults> {
        match Faults::from_list(self.faults) {
            Some(faults) => Err(faults),
            None => Ok(self.notes),
        }
    }

    fn within(&mut self, key: &'static str, value: &usize, range: &Range<usize>) {
        if !range.allows(value) {
            self.refuse(key, value, format!("must be {range}"));
        }
    }

    /// As `within`, for values that are written as text and therefore shown in quotes.
    fn within_text<T: PartialOrd + Display>(
        &mut self,
        key: &'static str,
        value: &T,
        range: &Range<T>,
    ) {
        if !range.allows(value) {
            self.refuse(key, format!("\"{value}\""), format!("must be {range}"));
        }
    }
}
