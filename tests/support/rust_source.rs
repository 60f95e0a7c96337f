//! Reads Rust source well enough to say which names it uses.
//!
//! Lives here: comments and literals taken out, tokens with their lines, `use` trees written out in full, test code left
//! out. Not here: which names are allowed where (`tests/tidy.rs`), and no real parser: macros are seen as plain tokens.
//! Called by `tests/tidy.rs` only; its tests are at the end of this file.

/// One token: a name, a literal's placeholder or one punctuation mark (`::` counts as one).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub text: String,
    /// Counted from 1.
    pub line: usize,
}

/// A path as written or imported: `["std", "net", "TcpStream"]`. A single name is a path of one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub segments: Vec<String>,
    pub line: usize,
}

/// The tokens of `source` without comments, with literals replaced by `""`, and without items under `#[cfg(test)]`.
pub fn product_tokens(source: &str) -> Vec<Token> {
    without_tests(tokens(source))
}

/// Every path the tokens name; `use a::{b, c as d}` gives `a::b` and `a::c`.
pub fn names(tokens: &[Token]) -> Vec<Named> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at].text == "use" {
            at = use_tree(tokens, at + 1, &mut Vec::new(), &mut found);
        } else if is_name(&tokens[at].text) {
            let line = tokens[at].line;
            let mut segments = vec![tokens[at].text.clone()];
            at += 1;
            while at + 1 < tokens.len() && tokens[at].text == "::" && is_name(&tokens[at + 1].text)
            {
                segments.push(tokens[at + 1].text.clone());
                at += 2;
            }
            found.push(Named { segments, line });
        } else {
            at += 1;
        }
    }
    found
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c == '_' || c.is_alphabetic())
}

/// Walks one branch of a `use` tree; returns where it ended (at `,`, `}` or `;`).
fn use_tree(
    tokens: &[Token],
    mut at: usize,
    prefix: &mut Vec<String>,
    found: &mut Vec<Named>,
) -> usize {
    let depth = prefix.len();
    while at < tokens.len() {
        match tokens[at].text.as_str() {
            "::" => at += 1,
            "{" => {
                at += 1;
                while at < tokens.len() && tokens[at].text != "}" {
                    at = use_tree(tokens, at, prefix, found);
                    if at < tokens.len() && tokens[at].text == "," {
                        at += 1;
                    } else if at < tokens.len() && tokens[at].text != "}" {
                        break; // not a use tree after all (macro input): leave it
                    }
                }
                prefix.truncate(depth);
                return (at + 1).min(tokens.len());
            }
            "as" => at += 2,
            text if is_name(text) || text == "*" => {
                prefix.push(text.to_owned());
                let ends = tokens.get(at + 1).is_none_or(|next| next.text != "::");
                if ends {
                    found.push(Named {
                        segments: prefix.clone(),
                        line: tokens[at].line,
                    });
                }
                at += 1;
            }
            _ => break,
        }
    }
    prefix.truncate(depth);
    at
}

/// Leaves out each item behind an attribute `cfg` that names `test` (but not `not(test)`).
fn without_tests(tokens: Vec<Token>) -> Vec<Token> {
    let mut kept = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at].text == "#" && tokens.get(at + 1).is_some_and(|token| token.text == "[") {
            let end = matching(&tokens, at + 1, "[", "]");
            let attribute = &tokens[at..end];
            let says = |word: &str| attribute.iter().any(|token| token.text == word);
            if says("cfg") && says("test") && !says("not") {
                at = item_end(&tokens, end);
                continue;
            }
            kept.extend_from_slice(attribute);
            at = end;
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

/// One past the item that starts at `at`: its closing brace, or its `;`.
fn item_end(tokens: &[Token], mut at: usize) -> usize {
    while at < tokens.len() {
        match tokens[at].text.as_str() {
            "{" => return matching(tokens, at, "{", "}"),
            "[" => at = matching(tokens, at, "[", "]"),
            "(" => at = matching(tokens, at, "(", ")"),
            ";" => return at + 1,
            _ => at += 1,
        }
    }
    at
}

/// One past the bracket that closes the one at `at`.
fn matching(tokens: &[Token], at: usize, open: &str, close: &str) -> usize {
    let mut depth = 0usize;
    for (index, token) in tokens.iter().enumerate().skip(at) {
        if token.text == open {
            depth += 1;
        } else if token.text == close {
            depth -= 1;
            if depth == 0 {
                return index + 1;
            }
        }
    }
    tokens.len()
}

fn tokens(source: &str) -> Vec<Token> {
    let text: Vec<char> = source.chars().collect();
    let mut found = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < text.len() {
        let start = at;
        let c = text[at];
        let next = text.get(at + 1).copied();
        if c == '/' && next == Some('/') {
            while at < text.len() && text[at] != '\n' {
                at += 1;
            }
        } else if c == '/' && next == Some('*') {
            at = block_comment_end(&text, at);
        } else if let Some(end) = literal_end(&text, at) {
            at = end;
            found.push(Token {
                text: "\"\"".to_owned(),
                line,
            });
        } else if c == '_' || c.is_alphanumeric() {
            while at < text.len() && (text[at] == '_' || text[at].is_alphanumeric()) {
                at += 1;
            }
            found.push(Token {
                text: text[start..at].iter().collect(),
                line,
            });
        } else if c == ':' && next == Some(':') {
            at += 2;
            found.push(Token {
                text: "::".to_owned(),
                line,
            });
        } else {
            at += 1;
            if !c.is_whitespace() {
                found.push(Token {
                    text: c.to_string(),
                    line,
                });
            }
        }
        line += text[start..at].iter().filter(|c| **c == '\n').count();
    }
    found
}

fn block_comment_end(text: &[char], mut at: usize) -> usize {
    let mut depth = 0usize;
    while at + 1 < text.len() {
        match (text[at], text[at + 1]) {
            ('/', '*') => (depth, at) = (depth + 1, at + 2),
            ('*', '/') => {
                (depth, at) = (depth - 1, at + 2);
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    text.len()
}

/// Where a text, byte, C, raw or character literal that starts at `at` ends; `None` if none starts there.
fn literal_end(text: &[char], at: usize) -> Option<usize> {
    let mut quote = at;
    while quote < text.len() && quote - at < 2 && matches!(text[quote], 'b' | 'c' | 'r') {
        quote += 1;
    }
    let raw = quote > at && text[quote - 1] == 'r';
    if raw {
        let hashes = text[quote..].iter().take_while(|c| **c == '#').count();
        if text.get(quote + hashes) == Some(&'"') {
            let mut end = quote + hashes + 1;
            while end < text.len() {
                if text[end] == '"'
                    && text[end + 1..].iter().take_while(|c| **c == '#').count() >= hashes
                {
                    return Some(end + 1 + hashes);
                }
                end += 1;
            }
            return Some(text.len());
        }
        return None;
    }
    match text.get(quote)? {
        '"' => Some(closing(text, quote, '"')),
        '\'' => {
            // A lifetime has a name and no closing quote right behind its first character.
            let character =
                text.get(quote + 1) == Some(&'\\') || text.get(quote + 2) == Some(&'\'');
            character.then(|| closing(text, quote, '\''))
        }
        _ => None,
    }
}

/// One past the quote that closes the one at `open`; a backslash takes the next character with it.
fn closing(text: &[char], open: usize, quote: char) -> usize {
    let mut at = open + 1;
    while at < text.len() {
        match text[at] {
            '\\' => at += 2,
            c if c == quote => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

mod tests {
    use super::{names, product_tokens};

    fn paths(source: &str) -> Vec<String> {
        names(&product_tokens(source))
            .iter()
            .map(|named| named.segments.join("::"))
            .collect()
    }

    #[test]
    fn comments_and_literals_name_nothing() {
        let source = "// std::net\n/* a /* std::net */ std::net */ f(\"std::net\", r#\"std::\"net\"#, b\"x\\\"y\", '\"', 'a', b'\\'');";
        assert_eq!(paths(source), ["f"]);
    }

    #[test]
    fn a_lifetime_is_not_a_literal() {
        assert_eq!(
            paths("fn f<'a>(x: &'a Y) { 'outer: loop { z() } }"),
            ["fn", "f", "a", "x", "a", "Y", "outer", "loop", "z"]
        );
    }

    #[test]
    fn use_trees_are_written_out() {
        let source = "use std::{net::{TcpStream, UdpSocket as U}, time::*, io::{self, Read}};\nuse ::a as b;";
        let expected = [
            "std::net::TcpStream",
            "std::net::UdpSocket",
            "std::time::*",
            "std::io::self",
            "std::io::Read",
            "a",
        ];
        assert_eq!(paths(source), expected);
    }

    #[test]
    fn code_behind_cfg_test_is_left_out_and_the_rest_kept() {
        let source = "#[cfg(test)]\nmod tests { use std::net; fn f() { g() } }\n#[cfg(all(test, unix))] mod more;\n#[cfg(not(test))] fn k() { m::n() }";
        assert_eq!(paths(source), ["cfg", "not", "test", "fn", "k", "m::n"]);
    }

    #[test]
    fn lines_are_counted_through_comments_and_texts() {
        let source = "/* a\nb */ \"c\nd\"\nfound";
        assert_eq!(names(&product_tokens(source))[0].line, 4);
    }
}
