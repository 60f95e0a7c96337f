//! Operations that are too long to send at once.

use super::operation::{Component, Kind, Operation};

impl Operation {
    /// Two operations that do, one after the other, what this one does; the first has at most `components` (2 or more) components
    /// and inserts at most `text` (4 or more) bytes. None if that is true of this one.
    #[must_use]
    pub fn split(&self, components: usize, text: usize) -> Option<(Operation, Operation)> {
        const SHORTER: &str = "parts are no longer than the whole";
        let (components, text) = (components.max(2), text.max(4));
        let (mut head, mut tail) = (Operation::new(), Operation::new());
        // Characters the head leaves behind it, and bytes it may still insert.
        let (mut behind, mut room) = (0, text);
        for component in self.components() {
            let mut rest = Some(component);
            if tail.is_empty() && head.component_count() < components {
                let fits = match component.kind {
                    Kind::Insert => component.text.floor_char_boundary(room),
                    _ => component.text.len(),
                };
                let (now, later) = component.text.split_at(fits);
                let now = match component.kind {
                    Kind::Insert => Component::insert(now),
                    _ => component,
                };
                head.push(now).expect(SHORTER);
                match component.kind {
                    Kind::Insert => {
                        behind += now.length;
                        room -= now.text.len();
                    }
                    Kind::Skip => behind += now.length,
                    Kind::Delete => {}
                }
                rest = (!later.is_empty()).then(|| Component::insert(later));
            }
            if let Some(rest) = rest {
                if tail.is_empty() {
                    tail.push(Component::skip(behind)).expect(SHORTER);
                }
                tail.push(rest).expect(SHORTER);
            }
        }
        (!tail.is_empty()).then(|| (head.trimmed(), tail))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::text::Content;
    use crate::text::samples::pairs;

    #[test]
    fn an_insert_is_cut_between_characters() {
        let operation: Operation = serde_json::from_str(r#"[2,"a😭😭b",{"d":1}]"#).unwrap();
        let (head, tail) = operation.split(9, 6).unwrap();
        assert_eq!(
            format!("{head:?} {tail:?}"),
            r#"[2,"a😭"] [4,"😭b",{"d":1}]"#
        );
        assert!(tail.split(9, 6).is_none());
        let (head, tail) = operation.split(2, 99).unwrap();
        assert_eq!(format!("{head:?} {tail:?}"), r#"[2,"a😭😭b"] [6,{"d":1}]"#);
    }

    proptest! {
        #[test]
        fn the_parts_do_what_the_whole_does((text_before, operation, _) in pairs(), components in 2..5usize, text in 4..9usize) {
            let mut parts = vec![operation.clone()];
            while let Some((head, tail)) = parts.last().unwrap().split(components, text) {
                prop_assert!(!head.is_empty() && head.component_count() <= components);
                parts.pop();
                parts.extend([head, tail]);
                prop_assert!(parts.len() < 50);
            }
            let whole = parts.iter().skip(1).fold(parts[0].clone(), |all, next| all.compose(next).unwrap());
            // By what they do: composing may write an insertion and a deletion at one place in the other order.
            let after = |operation: &Operation| {
                let mut content = Content::from(text_before.as_str());
                content.apply(operation).unwrap();
                content.to_string()
            };
            prop_assert_eq!(after(&whole), after(&operation));
            prop_assert_eq!(parts.iter().fold(Content::from(text_before.as_str()), |mut content, part| {
                content.apply(part).unwrap();
                content
            }).to_string(), after(&operation));
        }
    }
}
