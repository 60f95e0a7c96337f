//! One edit of a whole text.

use smallvec::SmallVec;

use super::TextError;

/// What a component does with the characters before which the operation stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// They stay.
    Skip,
    /// Others come before them.
    Insert,
    /// They go.
    Delete,
}

/// A step of an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Component<'a> {
    /// What it does.
    pub kind: Kind,
    /// To how many characters.
    pub length: u32,
    /// Insert: the characters. Delete: those that go, or nothing if the operation does not say which. Skip: nothing.
    pub text: &'a str,
}

impl<'a> Component<'a> {
    /// Goes over `length` characters.
    #[must_use]
    pub fn skip(length: u32) -> Self {
        Self {
            kind: Kind::Skip,
            length,
            text: "",
        }
    }

    /// Inserts `text`.
    #[must_use]
    pub fn insert(text: &'a str) -> Self {
        Self {
            kind: Kind::Insert,
            length: characters(text),
            text,
        }
    }

    /// Deletes `length` characters.
    #[must_use]
    pub fn delete(length: u32) -> Self {
        Self {
            kind: Kind::Delete,
            length,
            text: "",
        }
    }

    /// Deletes `text`, and says so: such an operation can be inverted.
    #[must_use]
    pub fn delete_text(text: &'a str) -> Self {
        Self {
            kind: Kind::Delete,
            length: characters(text),
            text,
        }
    }

    /// The first `length` characters of it, and the others. `length` is less than its own.
    pub(super) fn split_at(self, length: u32) -> (Self, Self) {
        debug_assert!(length < self.length);
        let bytes = (self.text.char_indices().nth(length as usize)).map_or(0, |(at, _)| at);
        let (head, tail) = self.text.split_at(bytes);
        let part = |length, text| Self {
            kind: self.kind,
            length,
            text,
        };
        (part(length, head), part(self.length - length, tail))
    }
}

/// Characters of a text; more than a `u32` holds count as the most it can hold, and [`Operation::push`] refuses them.
pub(super) fn characters(text: &str) -> u32 {
    u32::try_from(text.chars().count()).unwrap_or(u32::MAX)
}

/// A component as it is kept: its text stands in the operation's.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Part {
    kind: Kind,
    length: u32,
    /// Bytes of text; for a delete that does not say what it takes, none.
    bytes: u32,
}

/// One edit of a whole text: its components go over the text from its beginning; what they do not reach stays.
///
/// On the wire it is an array: `[3, "hi", 5, {"d": 8}]` skips 3 characters, inserts two, skips 5 and deletes 8. A delete may
/// name its text instead (`{"d": "old"}`).
///
/// ```
/// use shardwire_protocol::text::{Content, Operation, Side};
///
/// let ann: Operation = serde_json::from_str(r#"[5, " there"]"#).unwrap();
/// let bob: Operation = serde_json::from_str(r#"[{"d": 1}, "J", 4, "!"]"#).unwrap();
/// let mut content = Content::from("hello");
/// content.apply(&ann).unwrap();
/// content.apply(&bob.transform(&ann, Side::Right).unwrap()).unwrap();
/// assert_eq!(content.to_string(), "Jello there!");
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Operation {
    parts: SmallVec<[Part; 4]>,
    /// The texts of the parts, one behind the other.
    text: String,
    /// Characters skipped and deleted.
    base: u32,
    /// Characters skipped and inserted.
    target: u32,
}

impl Operation {
    /// The operation that does nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An operation of any components; made canonical, as `normalize` of `ot-text-unicode` does.
    ///
    /// # Errors
    ///
    /// [`TextError::TooLong`].
    pub fn from_components<'a>(
        components: impl IntoIterator<Item = Component<'a>>,
    ) -> Result<Self, TextError> {
        let mut operation = Self::new();
        for component in components {
            operation.push(component)?;
        }
        Ok(operation.trimmed())
    }

    /// Takes `deleted` characters away at `position` and puts `inserted` there.
    ///
    /// # Errors
    ///
    /// [`TextError::TooLong`].
    pub fn replacement(position: u32, deleted: u32, inserted: &str) -> Result<Self, TextError> {
        Self::from_components([
            Component::skip(position),
            Component::insert(inserted),
            Component::delete(deleted),
        ])
    }

    /// The components, in order.
    pub fn components(&self) -> impl Iterator<Item = Component<'_>> {
        let mut rest = self.text.as_str();
        self.parts.iter().map(move |part| {
            let (text, after) = rest.split_at(part.bytes as usize);
            rest = after;
            Component {
                kind: part.kind,
                length: part.length,
                text,
            }
        })
    }

    /// How many components it has.
    #[must_use]
    pub fn component_count(&self) -> usize {
        self.parts.len()
    }

    /// Bytes of inserted text, and of deleted text that is named.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        self.text.len()
    }

    /// Bytes it takes in memory.
    #[must_use]
    pub fn memory(&self) -> usize {
        let spilled = if self.parts.spilled() {
            self.parts.capacity() * size_of::<Part>()
        } else {
            0
        };
        size_of::<Self>() + spilled + self.text.capacity()
    }

    /// Whether it does nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Characters it goes over: a text must have as many.
    #[must_use]
    pub fn base_length(&self) -> u32 {
        self.base
    }

    /// Length of a text of `length` characters behind it; none if it does not fit, or a `u32` does not hold the new length.
    #[must_use]
    pub fn length_after(&self, length: u32) -> Option<u32> {
        length.checked_sub(self.base)?.checked_add(self.target)
    }

    /// Puts a component behind the others, merged with the last if that is of its kind; an empty one changes nothing.
    ///
    /// # Errors
    ///
    /// [`TextError::TooLong`]; the operation is as before.
    pub(super) fn push(&mut self, component: Component<'_>) -> Result<(), TextError> {
        let Component { kind, length, text } = component;
        if length == 0 {
            return Ok(());
        }
        let grown = |sum: u32, grows: bool| {
            let by = if grows { length } else { 0 };
            sum.checked_add(by).ok_or(TextError::TooLong)
        };
        let base = grown(self.base, kind != Kind::Insert)?;
        let target = grown(self.target, kind != Kind::Delete)?;
        // All bytes together, so that those of no part can be more.
        u32::try_from(self.text.len() + text.len()).map_err(|_| TextError::TooLong)?;
        let bytes = text.len() as u32;
        match self.parts.last_mut() {
            Some(last) if last.kind == kind => {
                last.length += length; // a part of `base` or `target`
                if kind == Kind::Delete && (last.bytes == 0 || bytes == 0) {
                    // Part of what goes is not known: then none of it.
                    let keep = self.text.len() - last.bytes as usize;
                    self.text.truncate(keep);
                    last.bytes = 0;
                } else {
                    last.bytes += bytes;
                    self.text.push_str(text);
                }
            }
            _ => {
                self.parts.push(Part {
                    kind,
                    length,
                    bytes,
                });
                self.text.push_str(text);
            }
        }
        self.base = base;
        self.target = target;
        Ok(())
    }

    /// Without a skip at its end.
    pub(super) fn trimmed(mut self) -> Self {
        if self.ends_with_skip() {
            let last = self.parts.pop().expect("it ends with a skip");
            self.base -= last.length;
            self.target -= last.length;
        }
        self
    }

    pub(super) fn ends_with_skip(&self) -> bool {
        (self.parts.last()).is_some_and(|last| last.kind == Kind::Skip)
    }
}

impl std::fmt::Debug for Operation {
    /// The wire form.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match serde_json::to_string(self) {
            Ok(json) => f.write_str(&json),
            Err(_) => Err(std::fmt::Error),
        }
    }
}
