//! A head in any pieces reads as it does in one.

use super::request_with;
use crate::handshake::server::{Progress, RequestLimits, read_request};
use proptest::prelude::*;

const LIMITS: RequestLimits = RequestLimits {
    max_head_bytes: 300,
    max_headers: 8,
};

/// What came of a head, as text, and how many bytes had arrived.
fn outcome(bytes: &[u8], ends: &[usize]) -> Option<String> {
    let mut scanned = 0;
    for &end in ends {
        match read_request(&bytes[..end], scanned, &LIMITS) {
            Ok(Progress::Incomplete { scanned: now }) => {
                assert!(now >= scanned && now <= end);
                scanned = now;
            }
            Ok(Progress::Complete { request, head_len }) => {
                let query = request.query();
                return Some(format!("{request:?} {query:?} {head_len}"));
            }
            Err(refusal) => return Some(refusal.to_string()),
        }
    }
    None
}

fn head() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        Just(("X", "y".to_owned())),
        Just(("Host", "again".to_owned())),
        "[ -~]{0,40}".prop_map(|value| ("X-Long", value)),
        ".{0,10}".prop_map(|value| ("X-Odd", value)),
    ];
    let valid = prop::collection::vec(line, 0..8).prop_map(|lines| {
        let lines: Vec<_> = lines
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        request_with(&lines)
    });
    // One byte of a good head changed, and bytes behind it.
    (
        valid,
        any::<prop::sample::Index>(),
        prop::option::of(any::<u8>()),
        any::<[u8; 3]>(),
    )
        .prop_map(|(mut head, at, byte, behind)| {
            if let Some(byte) = byte {
                let at = at.index(head.len());
                head[at] = byte;
            }
            head.extend_from_slice(&behind);
            head
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_split_equals_one_piece(
        head in head(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(head.len() + 1)).collect();
        ends.push(head.len());
        ends.sort_unstable();
        let whole = outcome(&head, &[head.len()]);
        prop_assert_eq!(&outcome(&head, &ends), &whole);
        let bytewise: Vec<_> = (0..=head.len()).collect();
        prop_assert_eq!(&outcome(&head, &bytewise), &whole);
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[A-Z]{1,4} .{0,30} HTTP/1.1\r\n.{0,90}\r\n\r\n") {
        let _ = outcome(&bytes, &[bytes.len()]);
        let _ = outcome(text.as_bytes(), &[text.len()]);
    }
}
