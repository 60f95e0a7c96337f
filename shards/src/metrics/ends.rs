//! How connections ended, by a set of kinds that is known beforehand, so that it can be a label.

use std::ops::AddAssign;

use shardwire_protocol::codes::close::CLOSES;

use crate::vocabulary::CloseCause;

/// Who ended a connection, and with which code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EndKind {
    /// The peer sent the first close frame.
    Peer,
    /// The socket ended without a close frame.
    Lost,
    /// We sent the first close frame, with this code of `docs/reference/codes.md`.
    Us(u16),
    /// We sent the first close frame, with a code that is the embedding service's own.
    UsOther,
}

const CODES: usize = CLOSES.len();

/// Every kind there is, in the order of [`EndCounts::counts`].
pub static END_KINDS: [EndKind; CODES + 3] = {
    let mut kinds = [EndKind::UsOther; CODES + 3];
    kinds[0] = EndKind::Peer;
    kinds[1] = EndKind::Lost;
    let mut at = 0;
    while at < CODES {
        kinds[at + 2] = EndKind::Us(CLOSES[at].number);
        at += 1;
    }
    kinds
};

/// Ended connections by kind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EndCounts([u64; CODES + 3]);

impl Default for EndCounts {
    fn default() -> Self {
        Self([0; CODES + 3])
    }
}

impl EndCounts {
    pub(crate) fn count(&mut self, cause: CloseCause) {
        let at = match cause {
            CloseCause::Peer(_) => 0,
            CloseCause::Lost => 1,
            CloseCause::Us(code) => CLOSES
                .iter()
                .position(|row| row.number == code)
                .map_or(CODES + 2, |at| at + 2),
        };
        self.0[at] += 1;
    }

    /// How many ended in each way.
    pub fn counts(&self) -> impl Iterator<Item = (EndKind, u64)> + '_ {
        END_KINDS.iter().copied().zip(self.0.iter().copied())
    }
}

impl AddAssign<&Self> for EndCounts {
    fn add_assign(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine += theirs;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_one_kind() {
        let mut counts = EndCounts::default();
        for cause in [
            CloseCause::Peer(1000),
            CloseCause::Peer(4999),
            CloseCause::Lost,
            CloseCause::Us(4200),
            CloseCause::Us(4321),
        ] {
            counts.count(cause);
        }
        let counted: Vec<_> = counts.counts().filter(|(_, count)| *count > 0).collect();
        assert_eq!(
            counted,
            [
                (EndKind::Peer, 2),
                (EndKind::Lost, 1),
                (EndKind::Us(4200), 1),
                (EndKind::UsOther, 1)
            ]
        );
        let mut sum = counts.clone();
        sum += &counts;
        assert_eq!(sum.counts().map(|(_, count)| count).sum::<u64>(), 10);
    }
}
