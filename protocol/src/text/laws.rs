//! What must hold for all operations.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::samples::{operations, pairs};
use super::{Content, Kind, Operation, Side, transform_position};

fn after(text: &Content, operation: &Operation) -> Content {
    let mut content = text.clone();
    content.apply(operation).unwrap();
    content
}

/// `a` and `b` brought behind each other.
fn crossed(a: &Operation, b: &Operation) -> (Operation, Operation) {
    (
        a.transform(b, Side::Left).unwrap(),
        b.transform(a, Side::Right).unwrap(),
    )
}

fn assert_canonical(operation: &Operation) {
    let kinds: Vec<Kind> = operation.components().map(|c| c.kind).collect();
    assert!(
        kinds.windows(2).all(|pair| pair[0] != pair[1]),
        "{operation:?}"
    );
    assert_ne!(kinds.last(), Some(&Kind::Skip), "{operation:?}");
    let (mut base, mut target) = (0, 0);
    for component in operation.components() {
        assert!(component.length > 0, "{operation:?}");
        if component.kind == Kind::Insert || !component.text.is_empty() {
            assert_eq!(component.text.chars().count() as u32, component.length);
        }
        base += if component.kind == Kind::Insert {
            0
        } else {
            component.length
        };
        target += if component.kind == Kind::Delete {
            0
        } else {
            component.length
        };
    }
    assert_eq!(operation.base_length(), base);
    assert_eq!(operation.length_after(base), Some(target));
    let read: Operation = serde_json::from_str(&format!("{operation:?}")).unwrap();
    assert_eq!(read, *operation);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn both_orders_give_one_text((text, a, b) in pairs()) {
        let text = Content::from(text.as_str());
        let (a_then, b_then) = crossed(&a, &b);
        prop_assert_eq!(after(&after(&text, &a), &b_then), after(&after(&text, &b), &a_then));
        for operation in [&a, &b, &a_then, &b_then] {
            assert_canonical(operation);
        }
    }

    #[test]
    fn composed_does_what_both_do(
        (text, a, b) in pairs().prop_flat_map(|(text, a, _)| {
            let changed = after(&Content::from(text.as_str()), &a).to_string();
            (Just(text), Just(a), operations(changed))
        }),
    ) {
        let text = Content::from(text.as_str());
        let both = a.compose(&b).unwrap();
        assert_canonical(&both);
        prop_assert_eq!(after(&text, &both), after(&after(&text, &a), &b));
        prop_assert_eq!(a.compose(&Operation::new()).unwrap(), a.clone());
        prop_assert_eq!(Operation::new().compose(&b).unwrap(), b);
    }

    #[test]
    fn inverted_it_takes_itself_back((text, a, _) in pairs()) {
        let text = Content::from(text.as_str());
        let said = a.make_invertible(&text).unwrap();
        assert_canonical(&said);
        prop_assert_eq!(&after(&after(&text, &said), &said.invert().unwrap()), &text);
        let stripped = said.strip_invertible();
        assert_canonical(&stripped);
        prop_assert_eq!(after(&text, &stripped), after(&text, &a));
    }

    #[test]
    fn a_place_stays_in_the_text((text, a, _) in pairs(), position in 0..30u32) {
        let text = Content::from(text.as_str());
        let position = position.min(text.length());
        prop_assert!(transform_position(position, &a) <= after(&text, &a).length());
    }

    #[test]
    fn the_difference_leads_there((old, _, _) in pairs(), (new, _, _) in pairs()) {
        let (old, new) = (Content::from(old.as_str()), Content::from(new.as_str()));
        let difference = old.difference(&new).unwrap();
        assert_canonical(&difference);
        prop_assert_eq!(after(&old, &difference), new);
    }
}
