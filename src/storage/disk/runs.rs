//! Which offsets of a log have a record, as rows without a hole: one pair of numbers for most logs, whatever their length.

use std::collections::VecDeque;

/// Offsets in ascending order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Runs {
    /// First and last of each row.
    rows: VecDeque<(u64, u64)>,
}

impl Runs {
    /// Adds an offset higher than all before it.
    pub(super) fn push(&mut self, offset: u64) {
        match self.rows.back_mut() {
            Some((_, last)) if last.checked_add(1) == Some(offset) => *last = offset,
            _ => self.rows.push_back((offset, offset)),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Takes out all up to this offset.
    pub(super) fn take_through(&mut self, through: u64) -> Self {
        let mut taken = Self::default();
        while let Some((first, last)) = self.rows.front().copied() {
            if first > through {
                break;
            }
            self.rows.pop_front();
            taken.rows.push_back((first, last.min(through)));
            if last > through {
                self.rows.push_front((through + 1, last));
            }
        }
        taken
    }

    /// Takes out the lowest.
    pub(super) fn pop(&mut self) -> Option<u64> {
        let (first, last) = self.rows.front_mut()?;
        let offset = *first;
        if first == last {
            self.rows.pop_front();
        } else {
            *first += 1;
        }
        Some(offset)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn runs_are_a_set(steps in prop::collection::vec((1..4_u64, 0..3_u8), 0..60)) {
            let (mut runs, mut model, mut next) = (Runs::default(), BTreeSet::new(), 0);
            for (step, what) in steps {
                match what {
                    0 => {
                        let through = next / step;
                        let mut taken = runs.take_through(through);
                        let rest = model.split_off(&(through + 1));
                        let mut offsets = Vec::new();
                        while let Some(offset) = taken.pop() {
                            offsets.push(offset);
                        }
                        prop_assert_eq!(offsets, model.into_iter().collect::<Vec<_>>());
                        model = rest;
                    }
                    1 => prop_assert_eq!(runs.pop(), model.pop_first()),
                    _ => {
                        next += step;
                        runs.push(next);
                        model.insert(next);
                    }
                }
                prop_assert_eq!(runs.is_empty(), model.is_empty());
            }
        }
    }
}
