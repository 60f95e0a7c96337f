//! Text that several people edit at once: operations, and what they mean to each other (operational transform).
//!
//! **What lives here.** An [`Operation`] is one edit of a whole text: skip so many characters, insert these, delete those.
//! Two operations made at the same time on the same text are brought behind each other by [`Operation::transform`], two that
//! follow each other become one by [`Operation::compose`]; [`Content`] is the text itself.
//!
//! **What does not.** Versions, who may edit, which operation came first: the server's documents decide that (`shards`), and
//! the client's replica.
//!
//! **Meaning.** Wire form and every result are those of npm `ot-text-unicode` 4.0.0 (ShareDB's text type), so a browser can
//! use that. A *character* is a Unicode scalar value: no operation can cut one in two. Where two insert at one place, the
//! left [`Side`] stands first. Stricter than `ot-text-unicode` in three points: lengths are whole numbers that a `u32` holds and so are their sums;
//! an operation that deletes more than there is does not apply; inserts or deletes next to each other become one when read.
//!
//! **Invariants.**
//! * An [`Operation`] is canonical: nothing empty, nothing next to its own kind, no skip at the end. Its two lengths fit a `u32`.
//! * For operations `a`, `b` of one text: `a`, then `b.transform(&a, Right)` gives the same text as `b`, then
//!   `a.transform(&b, Left)` (TP1); `a.compose(&b)` does what `a`, then `b` does.
//! * The work of a call is bounded by the components and bytes given to it, never by the lengths they name.
//!
//! **Who calls in.** `shards/collaboration`, clients. Calls nobody; the rope is `ropey`'s. **Tests**: laws and attacks beside the
//! code; `tests/text_oracle.rs` against npm `ot-text-unicode` and `ot-fuzzer`.

mod combine;
mod content;
mod invert;
#[cfg(test)]
mod laws;
mod operation;
mod pair;
mod pieces;
mod position;
#[cfg(test)]
mod samples;
mod split;
mod wire;

pub use combine::Side;
pub use content::Content;
pub use operation::{Component, Kind, Operation};
pub use pair::OperationalTransform;
pub use position::transform_position;
pub use wire::MAX_COMPONENTS;

/// Why an operation cannot be, or cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// Somebody's operation was read, and is not one. Its author has to send a better one.
    #[error("an operation skips, inserts and deletes at least one character at a time")]
    Empty,
    /// As above.
    #[error("two skips next to each other are one")]
    AdjacentSkips,
    /// As above.
    #[error("an operation does not end with a skip")]
    TrailingSkip,
    /// As above.
    #[error("an operation has at most {MAX_COMPONENTS} components")]
    TooManyComponents,
    /// A sum of lengths does not fit a `u32`. The operations are refused; none of them is changed.
    #[error("an operation is longer than any text")]
    TooLong,
    /// The operation was not made for this content, which stays as it is.
    #[error("the operation needs {needed} characters, the text has {length}")]
    DoesNotFit {
        /// Characters the operation goes over.
        needed: u32,
        /// Characters there are.
        length: u32,
    },
    /// Some delete does not say which text it takes away; see [`Operation::make_invertible`].
    #[error("the operation does not say what it deletes")]
    NotInvertible,
}
