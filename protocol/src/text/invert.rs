//! Undoing: operations that say what they delete.

use super::operation::{Component, Kind, Operation};
use super::{Content, TextError};

impl Operation {
    /// Whether every delete says which text it takes away.
    #[must_use]
    pub fn is_invertible(&self) -> bool {
        (self.components())
            .all(|component| component.kind != Kind::Delete || !component.text.is_empty())
    }

    /// The operation that takes this one back.
    ///
    /// # Errors
    ///
    /// [`TextError::NotInvertible`].
    pub fn invert(&self) -> Result<Operation, TextError> {
        if !self.is_invertible() {
            return Err(TextError::NotInvertible);
        }
        Self::from_components(self.components().map(|component| match component.kind {
            Kind::Skip => component,
            Kind::Insert => Component {
                kind: Kind::Delete,
                ..component
            },
            Kind::Delete => Component {
                kind: Kind::Insert,
                ..component
            },
        }))
    }

    /// The same, with deletes that say which text of `content` they take away. What an operation says already, it goes on saying.
    ///
    /// # Errors
    ///
    /// [`TextError::DoesNotFit`]: it was not made for `content`.
    pub fn make_invertible(&self, content: &Content) -> Result<Operation, TextError> {
        content.check(self)?;
        let mut result = Operation::new();
        let mut at = 0;
        for component in self.components() {
            if component.kind == Kind::Delete && component.text.is_empty() {
                let text = content.slice(at, component.length);
                result.push(Component {
                    text: &text,
                    ..component
                })?;
            } else {
                result.push(component)?;
            }
            if component.kind != Kind::Insert {
                at += component.length;
            }
        }
        Ok(result)
    }

    /// The same, with deletes that say only how much they take away.
    #[must_use]
    pub fn strip_invertible(mut self) -> Operation {
        if self.names_deleted_text() {
            let stripped = self.components().map(|component| match component.kind {
                Kind::Delete => Component::delete(component.length),
                _ => component,
            });
            self = Self::from_components(stripped).expect("lengths are as before");
        }
        self
    }

    fn names_deleted_text(&self) -> bool {
        (self.components())
            .any(|component| component.kind == Kind::Delete && !component.text.is_empty())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_was_deleted_must_be_said_before_it_can_be_brought_back() {
        let operation: Operation = serde_json::from_str(r#"["X",1,{"d":2},1,{"d":"e"}]"#).unwrap();
        assert_eq!(operation.invert(), Err(TextError::NotInvertible));
        let content = Content::from("a😭cde");
        let said = operation.make_invertible(&content).unwrap();
        assert_eq!(format!("{said:?}"), r#"["X",1,{"d":"😭c"},1,{"d":"e"}]"#);
        let mut changed = content.clone();
        changed.apply(&said).unwrap();
        changed.apply(&said.invert().unwrap()).unwrap();
        assert_eq!(changed, content);
        assert_eq!(
            format!("{:?}", said.strip_invertible()),
            r#"["X",1,{"d":2},1,{"d":1}]"#
        );
        assert_eq!(
            operation.make_invertible(&Content::from("a")),
            Err(TextError::DoesNotFit {
                needed: 5,
                length: 1
            })
        );
    }
}
