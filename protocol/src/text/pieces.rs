//! Taking an operation apart from its front.

use super::operation::{Component, Kind};

/// What is left of an operation. Behind its end it skips for ever.
pub(super) struct Pieces<'a, I> {
    front: Option<Component<'a>>,
    rest: I,
}

impl<'a, I: Iterator<Item = Component<'a>>> Pieces<'a, I> {
    pub(super) fn new(mut rest: I) -> Self {
        Self {
            front: rest.next(),
            rest,
        }
    }

    /// What the next piece does; nothing behind the end.
    pub(super) fn peek(&self) -> Option<Kind> {
        self.front.map(|front| front.kind)
    }

    /// At most `most` characters of the next component; all of it if it is of kind `whole`.
    pub(super) fn take(&mut self, most: u32, whole: Kind) -> Component<'a> {
        match self.front {
            None => Component::skip(most),
            Some(front) if front.kind == whole || front.length <= most => {
                self.front = self.rest.next();
                front
            }
            Some(front) => {
                let (head, tail) = front.split_at(most);
                self.front = Some(tail);
                head
            }
        }
    }

    /// All that is left of the next component; none behind the end.
    pub(super) fn take_all(&mut self) -> Option<Component<'a>> {
        std::mem::replace(&mut self.front, self.rest.next())
    }
}
