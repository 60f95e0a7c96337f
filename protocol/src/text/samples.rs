//! Operations for the property tests.

use proptest::prelude::*;

use super::operation::{Component, Kind, Operation};

/// Texts with characters of every length in UTF-8, and with such as combine.
pub(super) fn texts(most: usize) -> impl Strategy<Value = String> {
    let character = prop::sample::select(vec![
        'a',
        'b',
        '\n',
        'é',
        '\u{301}',
        'ß',
        '漢',
        '😭',
        '\u{10ffff}',
    ]);
    prop::collection::vec(character, 0..=most).prop_map(String::from_iter)
}

/// An operation that fits a text of `length` characters. Its deletes say what they take away, or do not.
pub(super) fn operations(text: String) -> impl Strategy<Value = Operation> {
    let steps = prop::collection::vec((0..4u8, 1..6u32, texts(4)), 0..8);
    (steps, Just(text)).prop_map(|(steps, text)| {
        let mut rest = text.as_str();
        let components = steps.iter().map(|(what, length, inserted)| {
            if *what == 0 {
                return Component::insert(inserted);
            }
            let bytes = (rest.char_indices().nth(*length as usize)).map_or(rest.len(), |at| at.0);
            let (over, after) = rest.split_at(bytes);
            rest = after;
            match what {
                1 => Component::delete_text(over),
                2 => Component {
                    text: "",
                    ..Component::delete_text(over)
                },
                _ => Component {
                    kind: Kind::Skip,
                    text: "",
                    ..Component::delete_text(over)
                },
            }
        });
        Operation::from_components(components).expect("it is short")
    })
}

/// A text and two operations on it.
pub(super) fn pairs() -> impl Strategy<Value = (String, Operation, Operation)> {
    texts(24).prop_flat_map(|text| {
        (
            Just(text.clone()),
            operations(text.clone()),
            operations(text),
        )
    })
}
