//! How deep JSON is nested.

/// How deep a message may be nested, its own object included. serde_json limits the values it builds to this, but not
/// those it only passes over, and a message is passed on to parsers that recurse.
pub const MAX_DEPTH: usize = 128;

/// Whether `json` (valid JSON) has more than `limit` arrays and objects inside each other.
#[must_use]
pub fn is_deeper_than(json: &str, limit: usize) -> bool {
    // Nearly every value has fewer brackets than the limit, in strings or not; counting bytes is much faster than looking at
    // each.
    let brackets = json.bytes().filter(|byte| byte | 0x20 == b'{').count();
    brackets > limit && scan(json.as_bytes(), limit)
}

fn scan(json: &[u8], limit: usize) -> bool {
    let mut depth = 0usize;
    let mut in_string = false;
    let mut escaped = false;
    for byte in json {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => {
                depth += 1;
                if depth > limit {
                    return true;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_is_inside_each_other_only() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(!is_deeper_than(&nested(127), 127));
        assert!(is_deeper_than(&nested(128), 127));
        let flat = format!("[{}]", vec!["{}"; 1000].join(","));
        assert!(!is_deeper_than(&flat, 2));
        assert!(is_deeper_than(&flat, 1));
        let quoted = format!(r#"["{}\"{{{{{{","\\"]"#, "[".repeat(200));
        assert!(!is_deeper_than(&quoted, 1));
    }
}
