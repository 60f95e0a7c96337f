//! What may be a channel's name.

use crate::bounds::{CHANNEL_NAME_BYTES_MAX, DOCUMENT_ID_BYTES_MAX};

/// The channel that tells how many connections each shard has, about once a second while somebody listens.
pub(crate) const SHARD_COUNTS: &str = "$shards";

/// What the names of the channels begin with that members of documents listen to: the document `plan` is `$document:plan`. Behind the
/// `$` is the name that rules about it speak of.
pub(crate) const DOCUMENT_PREFIX: &str = "$document:";

/// Whether members of a document listen there. Its home knows them one by one, so nobody announces interest.
pub(crate) fn is_document_channel(name: &str) -> bool {
    name.starts_with(DOCUMENT_PREFIX)
}

/// The name of the channel that members of this document listen to, by which its home is found. None: that is no name of a document: 1 to 200
/// bytes, no control characters.
#[must_use]
pub fn document_channel(id: &str) -> Option<String> {
    let fits = (1..=DOCUMENT_ID_BYTES_MAX).contains(&id.len());
    (fits && !id.chars().any(char::is_control)).then(|| format!("{DOCUMENT_PREFIX}{id}"))
}

/// Whether `name` may name a channel: 1 to 255 bytes, no control characters.
#[must_use]
pub fn is_valid_channel_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= CHANNEL_NAME_BYTES_MAX && !name.chars().any(char::is_control)
}

/// Names the server speaks on (decision D5): clients may not publish there.
pub(crate) fn is_reserved(name: &str) -> bool {
    name.starts_with('$')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_and_printable() {
        assert!(is_valid_channel_name("room:42 – größer"));
        assert!(!is_valid_channel_name(""));
        assert!(!is_valid_channel_name("a\nb"));
        assert!(is_valid_channel_name(&"x".repeat(255)));
        assert!(!is_valid_channel_name(&"x".repeat(256)));
        assert!(is_reserved("$shards"));
    }
}
