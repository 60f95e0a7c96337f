//! What two operations are to each other: one behind the other, or both in one.
//!
//! Step by step what `ot-text-unicode` does, since "the same text" is not enough: where a client's result has another order of
//! insert and delete than the server's, the next operation may be put elsewhere.

use super::TextError;
use super::operation::{Component, Kind, Operation};
use super::pieces::Pieces;

/// Whose insert stands first where both insert at one place. Of the two operations, each has its own side; with a server, what
/// it has committed is left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// Mine stands first.
    Left,
    /// Mine stands behind.
    Right,
}

impl Operation {
    /// This operation, made on the same text as `other`, as it is after `other`. `side` is this operation's.
    ///
    /// # Errors
    ///
    /// [`TextError::TooLong`].
    pub fn transform(&self, other: &Operation, side: Side) -> Result<Operation, TextError> {
        let mut result = Operation::new();
        let mut own = Pieces::new(self.components());
        for theirs in other.components() {
            match theirs.kind {
                Kind::Insert => {
                    if side == Side::Left && own.peek() == Some(Kind::Insert) {
                        result.push(own.take(0, Kind::Insert))?;
                    }
                    result.push(Component::skip(theirs.length))?;
                }
                Kind::Skip | Kind::Delete => {
                    let mut left = theirs.length;
                    while left > 0 {
                        let mine = own.take(left, Kind::Insert);
                        // What is inserted before their characters stands; what is done to characters they took away is done.
                        if mine.kind == Kind::Insert || theirs.kind == Kind::Skip {
                            result.push(mine)?;
                        }
                        if mine.kind != Kind::Insert {
                            left -= mine.length;
                        }
                    }
                }
            }
        }
        finish(result, own)
    }

    /// This operation and `next`, which was made after it, as one.
    ///
    /// # Errors
    ///
    /// [`TextError::TooLong`].
    pub fn compose(&self, next: &Operation) -> Result<Operation, TextError> {
        let mut result = Operation::new();
        let mut first = Pieces::new(self.components());
        for then in next.components() {
            if then.kind == Kind::Insert {
                result.push(then)?;
                continue;
            }
            // What `then` still has to go over; with it the text of a delete, if it names one.
            let mut left = then;
            while left.length > 0 {
                let piece = first.take(left.length, Kind::Delete);
                if piece.kind == Kind::Delete {
                    result.push(piece)?;
                    continue;
                }
                let over;
                (over, left) = if piece.length < left.length {
                    left.split_at(piece.length)
                } else {
                    (left, Component { length: 0, ..left })
                };
                match (then.kind, piece.kind) {
                    (Kind::Skip, _) => result.push(piece)?,
                    // It was inserted and is deleted again.
                    (_, Kind::Insert) => {}
                    (_, _) => result.push(over)?,
                }
            }
        }
        finish(result, first)
    }
}

fn finish<'a>(
    mut result: Operation,
    mut rest: Pieces<'a, impl Iterator<Item = Component<'a>>>,
) -> Result<Operation, TextError> {
    while let Some(component) = rest.take_all() {
        result.push(component)?;
    }
    Ok(result.trimmed())
}
