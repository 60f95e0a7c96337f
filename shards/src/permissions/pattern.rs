//! Patterns of channel names: `room:*`, `inbox:{user}`.

use std::str::FromStr;

use crate::bounds::CHANNEL_NAME_BYTES_MAX;

/// Which channels a rule speaks of. `*` stands for any text, none included; `{user}` for the verified user's id, so that it
/// matches nothing where there is none; everything else for itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pattern {
    /// What stands between the stars: one more than there are stars.
    chunks: Box<[Chunk]>,
}

/// Text with places for the user's id between its parts: `inbox:{user}` is `["inbox:", ""]`.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Chunk(Box<[Box<str>]>);

/// Why a text is no pattern.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PatternError {
    /// Nothing, or longer than any channel's name.
    #[error("a pattern has 1 to 255 bytes")]
    Length,
    /// Control characters are in no channel's name.
    #[error("a pattern has no control characters")]
    Control,
    /// Names that begin with `$` belong to the server.
    #[error("names that begin with \"$\" belong to the server; no rule opens them")]
    Reserved,
    /// A brace that is not part of `{user}`.
    #[error("braces only occur as \"{{user}}\"")]
    Brace,
}

const USER: &str = "{user}";

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() || text.len() > CHANNEL_NAME_BYTES_MAX {
            return Err(PatternError::Length);
        }
        if text.chars().any(char::is_control) {
            return Err(PatternError::Control);
        }
        if text.starts_with('$') {
            return Err(PatternError::Reserved);
        }
        let chunk = |text: &str| {
            let parts: Box<[Box<str>]> = text.split(USER).map(Into::into).collect();
            match parts.iter().any(|part| part.contains(['{', '}'])) {
                true => Err(PatternError::Brace),
                false => Ok(Chunk(parts)),
            }
        };
        Ok(Self {
            chunks: text.split('*').map(chunk).collect::<Result<_, _>>()?,
        })
    }
}

impl Pattern {
    /// Whether this is one of its channels, for this verified user. Takes time in proportion to name and pattern.
    #[must_use]
    pub fn matches(&self, channel: &str, user: Option<&str>) -> bool {
        let [first, between @ .., last] = &*self.chunks else {
            return match &*self.chunks {
                [whole] => whole.strip_prefix(channel, user) == Some(""),
                _ => false,
            };
        };
        let Some(mut rest) = first.strip_prefix(channel, user) else {
            return false;
        };
        for chunk in between {
            // The leftmost place leaves most for what follows, so no other has to be tried.
            let places = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
            let found = places
                .filter_map(|at| chunk.strip_prefix(&rest[at..], user))
                .next();
            match found {
                Some(behind) => rest = behind,
                None => return false,
            }
        }
        last.is_suffix(rest, user)
    }
}

impl Chunk {
    /// What follows the chunk at the front of `text`; none if it is not there.
    fn strip_prefix<'t>(&self, text: &'t str, user: Option<&str>) -> Option<&'t str> {
        let (first, others) = self.0.split_first()?;
        let mut rest = text.strip_prefix(&**first)?;
        for part in others {
            rest = rest.strip_prefix(user?)?.strip_prefix(&**part)?;
        }
        Some(rest)
    }

    fn is_suffix(&self, text: &str, user: Option<&str>) -> bool {
        let Some((last, others)) = self.0.split_last() else {
            return false;
        };
        let Some(mut rest) = text.strip_suffix(&**last) else {
            return false;
        };
        for part in others.iter().rev() {
            let before = user
                .and_then(|user| rest.strip_suffix(user))
                .and_then(|rest| rest.strip_suffix(&**part));
            match before {
                Some(before) => rest = before,
                None => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, channel: &str, user: Option<&str>) -> bool {
        pattern.parse::<Pattern>().unwrap().matches(channel, user)
    }

    #[test]
    fn stars_and_users() {
        for (pattern, channel, user, expected) in [
            ("news", "news", None, true),
            ("news", "news2", None, false),
            ("room:*", "room:", None, true),
            ("room:*", "room:a:b", None, true),
            ("room:*", "rooms", None, false),
            ("*", "anything", None, true),
            ("a*b*c", "abc", None, true),
            ("a*b*c", "aXbYbc", None, true),
            ("a*b*c", "ac", None, false),
            ("*:staff", "room:staff", None, true),
            ("*:staff", "room:staff2", None, false),
            ("ab*ba", "aba", None, false),
            ("inbox:{user}", "inbox:ann", Some("ann"), true),
            ("inbox:{user}", "inbox:bob", Some("ann"), false),
            ("inbox:{user}", "inbox:", None, false),
            ("{user}:*", "ann:files", Some("ann"), true),
            ("*:{user}", "room:ann", Some("ann"), true),
            ("*:{user}:*", "dm:ann:bob", Some("ann"), true),
            ("*{user}", "dm:annX", Some("ann"), false),
            ("größe:*ß", "größe:aß", None, true),
        ] {
            assert_eq!(
                matches(pattern, channel, user),
                expected,
                "{pattern} {channel}"
            );
        }
    }

    #[test]
    fn what_is_no_pattern() {
        let refused = |text: &str| text.parse::<Pattern>().unwrap_err();
        assert_eq!(refused(""), PatternError::Length);
        assert_eq!(refused(&"x".repeat(256)), PatternError::Length);
        assert_eq!(refused("a\n"), PatternError::Control);
        assert_eq!(refused("$shards"), PatternError::Reserved);
        for text in ["{", "room:{id}", "{user", "a}b", "{use*r}"] {
            assert_eq!(refused(text), PatternError::Brace, "{text}");
        }
    }

    /// What `*` means, without cleverness.
    fn simple(pattern: &[char], name: &[char]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some(('*', rest)) => (0..=name.len()).any(|at| simple(rest, &name[at..])),
            Some((first, rest)) => name.first() == Some(first) && simple(rest, &name[1..]),
        }
    }

    proptest! {
        #[test]
        fn equals_the_definition(pattern in "[ab*]{1,8}", name in "[ab]{0,10}") {
            let expected = simple(
                &pattern.chars().collect::<Vec<_>>(),
                &name.chars().collect::<Vec<_>>(),
            );
            prop_assert_eq!(matches(&pattern, &name, None), expected);
        }
    }
}
