//! Comma-separated lists in header values (RFC 9110 section 5.6.1).

fn is_blank(character: char) -> bool {
    character == ' ' || character == '\t'
}

/// The items of a list of tokens. Empty items are skipped, spaces and tabs around items removed.
pub(super) fn tokens(value: &str) -> impl Iterator<Item = &str> {
    value
        .split(',')
        .map(|item| item.trim_matches(is_blank))
        .filter(|item| !item.is_empty())
}

/// Whether one of several lines lists `token`, in any case.
pub(super) fn any_lists<'b>(mut lines: impl Iterator<Item = &'b str>, token: &str) -> bool {
    lines.any(|line| tokens(line).any(|item| item.eq_ignore_ascii_case(token)))
}

/// The items of a list whose items may hold quoted strings with commas, as `Sec-WebSocket-Extensions` has. An unclosed quote
/// reaches to the end of the line.
pub(super) fn quoted_items(value: &str) -> impl Iterator<Item = &str> {
    let mut in_quotes = false;
    let mut escaped = false;
    value
        .split(move |character| {
            match character {
                _ if escaped => escaped = false,
                '\\' if in_quotes => escaped = true,
                '"' => in_quotes = !in_quotes,
                ',' => return !in_quotes,
                _ => {}
            }
            false
        })
        .map(|item| item.trim_matches(is_blank))
        .filter(|item| !item.is_empty())
}

/// Whether `text` is one token (RFC 9110 section 5.6.2).
pub(super) fn is_token(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_odd_lists() {
        let items = |value| tokens(value).collect::<Vec<_>>();
        assert_eq!(items("keep-alive, Upgrade"), ["keep-alive", "Upgrade"]);
        assert_eq!(items("a,\tb\t,,  ,c"), ["a", "b", "c"]);
        assert_eq!(items(""), [""; 0]);
        assert!(any_lists(["x", "h2c,\tWebSocket"].into_iter(), "websocket"));
        assert!(!any_lists(
            ["websockets", "web socket"].into_iter(),
            "websocket"
        ));
    }

    #[test]
    fn commas_inside_quotes_do_not_split() {
        let items = |value| quoted_items(value).collect::<Vec<_>>();
        assert_eq!(items("a; x=\"1,2\", b"), ["a; x=\"1,2\"", "b"]);
        assert_eq!(items("a; x=\"\\\",\", b"), ["a; x=\"\\\",\"", "b"]);
        assert_eq!(items("a; x=\"1, b"), ["a; x=\"1, b"]);
        assert_eq!(items(", ,"), [""; 0]);
    }

    #[test]
    fn what_a_token_is() {
        assert!(is_token("chat") && is_token("bearer.a-b_c.d"));
        assert!(!is_token("") && !is_token("a b") && !is_token("a,b") && !is_token("a\r\n"));
    }
}
