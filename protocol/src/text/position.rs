//! A place in the text, such as a cursor.

use super::operation::{Kind, Operation};

/// Where a place `position` characters from the beginning is after `operation`. An insert at the very place comes behind it, as
/// in `ot-text-unicode`. A place behind the end of the text stays as far behind it; positions beyond a `u32` end at its largest.
#[must_use]
pub fn transform_position(position: u32, operation: &Operation) -> u32 {
    let mut position = position;
    let mut at = 0u32;
    for component in operation.components() {
        if position <= at {
            break;
        }
        match component.kind {
            Kind::Skip => at = at.saturating_add(component.length),
            Kind::Insert => {
                at = at.saturating_add(component.length);
                position = position.saturating_add(component.length);
            }
            Kind::Delete => position -= component.length.min(position - at),
        }
    }
    position
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_cursor_stays_between_the_same_characters() {
        let operation = |json: &str| serde_json::from_str::<Operation>(json).unwrap();
        assert_eq!(transform_position(3, &operation(r#"["ab"]"#)), 5);
        assert_eq!(transform_position(3, &operation(r#"[3,"ab"]"#)), 3);
        assert_eq!(transform_position(3, &operation(r#"[1,{"d":1}]"#)), 2);
        assert_eq!(transform_position(3, &operation(r#"[1,{"d":9}]"#)), 1);
        assert_eq!(transform_position(0, &operation(r#"[{"d":9}]"#)), 0);
        assert_eq!(
            transform_position(u32::MAX, &operation(r#"["😭"]"#)),
            u32::MAX
        );
    }
}
