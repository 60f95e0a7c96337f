//! The two functions everything is made of, as the contract names them.

use super::{Content, Operation, Side, TextError};

/// Operational transform in two functions (contract L1, L2, K16).
///
/// ```
/// use shardwire_protocol::text::{Content, Operation, OperationalTransform};
///
/// let content = Content::from("abc");
/// let theirs = Operation::replacement(1, 0, "X")?;
/// let ours = Operation::replacement(2, 1, "")?;
/// let ours = OperationalTransform::transform(&ours, &[theirs.clone()])?;
/// let content = OperationalTransform::apply(&content, &theirs)?;
/// assert_eq!(OperationalTransform::apply(&content, &ours)?.to_string(), "aXb");
/// # Ok::<(), shardwire_protocol::text::TextError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OperationalTransform;

impl OperationalTransform {
    /// `operation` in terms of the text behind `pending`, which follow each other and of which the first was made on the same text as
    /// `operation`. Where two insert at one place, what is pending stands first.
    ///
    /// # Errors
    ///
    /// [`TextError::TooLong`].
    pub fn transform(operation: &Operation, pending: &[Operation]) -> Result<Operation, TextError> {
        let behind = |operation: Operation, other| operation.transform(other, Side::Right);
        pending.iter().try_fold(operation.clone(), behind)
    }

    /// What `operation` makes of `content`, which stays as it is.
    ///
    /// # Errors
    ///
    /// Those of [`Content::check`].
    pub fn apply(content: &Content, operation: &Operation) -> Result<Content, TextError> {
        let mut changed = content.clone();
        changed.apply(operation)?;
        Ok(changed)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn contract_l1_l2_operations_are_transformed_and_applied_by_public_functions() {
        let operation = |json| serde_json::from_str::<Operation>(json).unwrap();
        let pending = [operation(r#"["x"]"#), operation(r#"[2,{"d":1}]"#)];
        let ours = operation(r#"["o",2,"y"]"#);
        let behind = OperationalTransform::transform(&ours, &pending).unwrap();
        assert_eq!(behind, operation(r#"[1,"o",1,"y"]"#));
        let start = Content::from("abc");
        let theirs = pending
            .iter()
            .try_fold(start.clone(), |content, operation| {
                OperationalTransform::apply(&content, operation)
            });
        let both = OperationalTransform::apply(&theirs.unwrap(), &behind).unwrap();
        assert_eq!(
            (both.to_string().as_str(), start.to_string().as_str()),
            ("xoayc", "abc")
        );
        let too_long = operation(r#"[4,"x"]"#);
        let refused = OperationalTransform::apply(&start, &too_long);
        assert!(matches!(refused, Err(TextError::DoesNotFit { .. })));
    }
}
