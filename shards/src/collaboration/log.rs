//! The last edits of a document.

use std::collections::VecDeque;
use std::sync::Arc;

use shardwire_protocol::text::{MAX_COMPONENTS, Operation, Side, transform_position};

use super::Entry;
use crate::bounds::{DOCUMENT_LOG_BYTES_MAX, DOCUMENT_LOG_EDITS_MAX, TRANSFORM_WORK_MAX};

/// The edits that made the versions `first()` to `last()`.
#[derive(Debug)]
pub(super) struct Log {
    /// Each with the length of the text before it.
    entries: VecDeque<(Arc<Entry>, u32)>,
    last: u64,
    bytes: usize,
    /// Work of bringing edits behind others since it was last asked for.
    work: usize,
}

/// Why an operation cannot be brought behind the log.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Behind {
    /// It goes over more text than there was, or makes it longer than any.
    DoesNotFit,
    /// It would cost too much, or become too long.
    TooFar,
}

impl Log {
    /// An empty log of a document at `version`.
    pub(super) fn new(version: u64) -> Self {
        Self {
            entries: VecDeque::new(),
            last: version,
            bytes: 0,
            work: 0,
        }
    }

    /// The first version made by an edit it holds; if it holds none, the next.
    pub(super) fn first(&self) -> u64 {
        self.last + 1 - self.entries.len() as u64
    }

    /// Whether it has everything since `version`.
    pub(super) fn reaches(&self, version: u64) -> bool {
        version <= self.last && version + 1 >= self.first()
    }

    /// The edits since `version`, which it reaches, each with the length of the text before it.
    fn since(&self, version: u64) -> impl Iterator<Item = &(Arc<Entry>, u32)> {
        debug_assert!(self.reaches(version));
        self.entries.range((version + 1 - self.first()) as usize..)
    }

    pub(super) fn entries_since(&self, version: u64) -> Vec<Arc<Entry>> {
        self.since(version)
            .map(|(entry, _)| entry.clone())
            .collect()
    }

    /// Memory of all of it, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Memory of the edits since `version`, which it reaches, about.
    pub(super) fn bytes_since(&self, version: u64) -> usize {
        self.since(version).map(|(entry, _)| size(entry)).sum()
    }

    /// Appends the edit of the next version, made on a text of `length` characters.
    pub(super) fn push(&mut self, entry: Arc<Entry>, length: u32) {
        debug_assert_eq!(entry.version, self.last + 1);
        self.last = entry.version;
        self.bytes += size(&entry);
        self.entries.push_back((entry, length));
    }

    /// Puts an edit in front of the others, made on a text of `length` characters. False: it is not the one before them, or there is no
    /// room; nothing has changed.
    pub(super) fn push_front(&mut self, entry: Arc<Entry>, length: u32) -> bool {
        let fits = entry.version + 1 == self.first()
            && self.entries.len() < DOCUMENT_LOG_EDITS_MAX
            && self.bytes + size(&entry) <= DOCUMENT_LOG_BYTES_MAX;
        if fits {
            self.bytes += size(&entry);
            self.entries.push_front((entry, length));
        }
        fits
    }

    /// Forgets the edits that made versions beyond this one.
    pub(super) fn truncate(&mut self, version: u64) {
        while self.last > version
            && let Some((entry, _)) = self.entries.pop_back()
        {
            self.bytes -= size(&entry);
            self.last = entry.version - 1;
        }
        self.last = self.last.min(version);
    }

    /// Forgets the oldest while there are more than may be.
    pub(super) fn shed(&mut self) {
        while self.entries.len() > DOCUMENT_LOG_EDITS_MAX || self.bytes > DOCUMENT_LOG_BYTES_MAX {
            let Some((entry, _)) = self.entries.pop_front() else {
                return;
            };
            self.bytes -= size(&entry);
        }
    }

    /// An operation made on `version`, which the log reaches, brought behind everything since. `length` is that of the text as it
    /// is now.
    pub(super) fn bring_behind(
        &mut self,
        mut operation: Operation,
        version: u64,
        length: u32,
    ) -> Result<Operation, Behind> {
        let first = self.since(version).next();
        let length = first.map_or(length, |(_, length)| *length);
        if operation.length_after(length).is_none() {
            return Err(Behind::DoesNotFit);
        }
        let mut work = 0;
        let brought = self.since(version).try_for_each(|(entry, _)| {
            work += operation.component_count()
                + operation.text_bytes() / 64
                + entry.operation.component_count();
            if work > TRANSFORM_WORK_MAX {
                return Err(Behind::TooFar);
            }
            operation = operation
                .transform(&entry.operation, Side::Right)
                .map_err(|_| Behind::DoesNotFit)?;
            Ok(())
        });
        self.work += work;
        brought?;
        if operation.component_count() > MAX_COMPONENTS {
            return Err(Behind::TooFar);
        }
        Ok(operation)
    }

    /// The work of [`bring_behind`](Self::bring_behind) since this was last asked, in units of [`TRANSFORM_WORK_MAX`].
    pub(super) fn take_work(&mut self) -> usize {
        std::mem::take(&mut self.work)
    }

    /// A position in `version`, which the log reaches, as it is now.
    pub(super) fn bring_position(&self, position: u32, version: u64) -> u32 {
        self.since(version).fold(position, |position, (entry, _)| {
            transform_position(position, &entry.operation)
        })
    }
}

/// Memory of an entry, about.
fn size(entry: &Entry) -> usize {
    size_of::<Entry>() + entry.operation.memory()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::collaboration::Author;

    fn entry(version: u64, operation: &str) -> Arc<Entry> {
        Arc::new(Entry {
            version,
            author: Author {
                user: "ann".into(),
                replica: "1".into(),
            },
            number: version,
            operation: serde_json::from_str(operation).unwrap(),
        })
    }

    #[test]
    fn it_holds_so_many_edits_and_so_many_bytes() {
        let mut log = Log::new(5);
        assert!(log.reaches(5) && !log.reaches(4) && !log.reaches(6));
        for version in 6..=2005 {
            log.push(entry(version, r#"["x"]"#), version as u32 - 6);
            log.shed();
        }
        assert_eq!(log.first(), 2006 - DOCUMENT_LOG_EDITS_MAX as u64);
        assert_eq!(log.entries_since(2003).len(), 2);
        let large = format!("[\"{}\"]", "x".repeat(DOCUMENT_LOG_BYTES_MAX / 4));
        for version in 2006..=2010 {
            log.push(entry(version, &large), 2000);
            log.shed();
        }
        assert_eq!(log.first(), 2008);
        assert!(log.bytes <= DOCUMENT_LOG_BYTES_MAX);
    }

    #[test]
    fn an_edit_that_would_cost_too_much_is_not_transformed() {
        let mut log = Log::new(0);
        // Every edit is 500 inserts apart from each other: a delete over all of it falls into as many pieces.
        let scattered = format!("[{}\"y\"]", "\"y\",1,".repeat(499));
        let mut length = 10_000;
        for version in 1..=200 {
            log.push(entry(version, &scattered), length);
            length += 500;
        }
        let delete = Operation::replacement(0, 10_000, "").unwrap();
        let begin = std::time::Instant::now();
        let refused = log.bring_behind(delete.clone(), 0, length);
        assert_eq!(refused, Err(Behind::TooFar));
        assert!(begin.elapsed() < std::time::Duration::from_millis(500)); // unoptimised, beside other tests
        let late = log.bring_behind(delete.clone(), 199, length).unwrap();
        assert_eq!(late.component_count(), 1000);
        let too_long = Operation::replacement(0, 10_001, "").unwrap();
        assert_eq!(
            log.bring_behind(too_long, 0, length),
            Err(Behind::DoesNotFit)
        );
        // One piece more than others would read.
        let pieces = format!("[{}]", vec!["1,\"y\""; 500].join(","));
        log.push(entry(201, &pieces), length);
        assert_eq!(log.bring_behind(delete, 200, length), Err(Behind::TooFar));
    }
}
