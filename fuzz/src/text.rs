//! Operations on text: two lines of JSON, and the text they are for.

use shardwire_protocol::text::{Content, MAX_COMPONENTS, Operation, Side, transform_position};

/// What is read is written; operations that fit one text come out as the same text in either order; composed they do what both do.
pub fn text(data: &[u8]) {
    let input = String::from_utf8_lossy(data);
    let mut lines = input.splitn(3, '\n');
    let operations = [lines.next(), lines.next()]
        .map(|line| serde_json::from_str::<Operation>(line.unwrap_or_default()));
    let content = Content::from(lines.next().unwrap_or_default());
    for operation in operations.iter().flatten() {
        read_again(operation);
        // What it says of the text it deletes may be wrong.
        let operation = operation.clone().strip_invertible();
        if let Ok(said) = operation.make_invertible(&content) {
            let undo = said.invert().expect("it says what it deletes");
            let there = applied(&content, &said).expect("it fits");
            assert_eq!(applied(&there, &undo).as_ref(), Some(&content));
            let end = transform_position(content.length(), &operation);
            assert!(end <= there.length(), "a place behind the end");
        }
    }
    let [Ok(a), Ok(b)] = &operations else {
        return;
    };
    if let Ok(both) = a.compose(b) {
        read_again(&both);
        if let Some(after_a) = applied(&content, a)
            && let Some(after_both) = applied(&after_a, b)
        {
            assert_eq!(applied(&content, &both), Some(after_both));
        }
    }
    let crossed = (a.transform(b, Side::Left), b.transform(a, Side::Right));
    if let (Ok(a_then), Ok(b_then)) = &crossed {
        read_again(a_then);
        read_again(b_then);
        if let (Some(after_a), Some(after_b)) = (applied(&content, a), applied(&content, b)) {
            let text = applied(&after_a, b_then);
            assert!(text.is_some(), "what was transformed does not fit");
            assert_eq!(text, applied(&after_b, a_then));
        }
    }
}

fn applied(content: &Content, operation: &Operation) -> Option<Content> {
    let mut content = content.clone();
    content.apply(operation).ok().map(|()| content)
}

/// A result is an operation like any other: canonical, and of lengths that add up.
fn read_again(operation: &Operation) {
    if operation.component_count() <= MAX_COMPONENTS {
        let json = serde_json::to_string(operation).expect("operations are JSON");
        let again: Operation = serde_json::from_str(&json).expect("it was written by us");
        assert_eq!(again, *operation);
        assert_eq!(again.base_length(), operation.base_length());
    }
}
