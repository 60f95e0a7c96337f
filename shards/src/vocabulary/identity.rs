//! Who a connection is, and why somebody is nobody.

use std::fmt;
use std::sync::Arc;

use super::UserId;
use crate::bounds::{TOKEN_BYTES_MAX, USER_BYTES_MAX};

/// Who is at the other end, as a verifier found out (contract M11). Cheap to clone.
///
/// ```
/// use shardwire_shards::vocabulary::Identity;
///
/// let ann = Identity::new("ann").named("Ann").with_permissions(["room.read", "room.write"]);
/// assert!(ann.may("room.read") && !ann.may("admin"));
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    user: UserId,
    name: Option<Arc<str>>,
    permissions: Arc<[Box<str>]>,
    expires_unix_ms: Option<u64>,
}

impl Identity {
    /// An identity without name and permissions that never expires. `user` is the key under which the user's connections are
    /// counted and found: 1 to 128 bytes without control characters, or the identity is refused.
    #[must_use]
    pub fn new(user: impl Into<UserId>) -> Self {
        Self {
            user: user.into(),
            name: None,
            permissions: Arc::new([]),
            expires_unix_ms: None,
        }
    }

    /// With a name for others to read.
    #[must_use]
    pub fn named(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// With these permissions instead of those it had; the rules of `[permissions]` speak of them.
    #[must_use]
    pub fn with_permissions<P: Into<Box<str>>>(
        mut self,
        permissions: impl IntoIterator<Item = P>,
    ) -> Self {
        self.permissions = permissions.into_iter().map(Into::into).collect();
        self
    }

    /// Valid until then, in Unix milliseconds; the connection is closed a grace period after it unless it is refreshed.
    #[must_use]
    pub fn expiring_at(mut self, unix_ms: u64) -> Self {
        self.expires_unix_ms = Some(unix_ms);
        self
    }

    /// The user.
    #[must_use]
    pub fn user(&self) -> &UserId {
        &self.user
    }

    /// The name for others to read.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// All permissions, in the order they were given.
    #[must_use]
    pub fn permissions(&self) -> &[Box<str>] {
        &self.permissions
    }

    /// Whether it has this permission, word for word.
    #[must_use]
    pub fn may(&self, permission: &str) -> bool {
        self.permissions.iter().any(|own| **own == *permission)
    }

    /// Until when it is valid, in Unix milliseconds; none: for ever.
    #[must_use]
    pub fn expires_unix_ms(&self) -> Option<u64> {
        self.expires_unix_ms
    }

    /// Whether the user can be a key of the directory.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        is_valid_user(&self.user)
    }
}

/// Whether `user` can be a key of the directory: 1 to 128 bytes, no control characters.
#[must_use]
pub fn is_valid_user(user: &str) -> bool {
    !user.is_empty() && user.len() <= USER_BYTES_MAX && !user.chars().any(char::is_control)
}

/// Why somebody was not let in. What a client sees of it is one answer of three, never more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Denied {
    /// There are no credentials where this verifier looks for them. They may still come in the first frame.
    Missing,
    /// The credentials are wrong: unknown key, bad signature, another audience, … The same will be wrong again.
    Wrong,
    /// They were right once: the client needs a new token.
    Expired,
    /// Nobody can tell for now: a verifier failed, is overloaded or did not answer in time. Try again later.
    Unavailable,
}

/// What a verifier says.
pub type Verdict = Result<Identity, Denied>;

/// What a client shows to be let in. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Box<str>);

impl Token {
    /// None for a token that is longer than any may be.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        (text.len() <= TOKEN_BYTES_MAX).then(|| Self(text.into()))
    }

    /// The token itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn users_are_bounded_and_printable() {
        assert!(Identity::new("auth0|5f-größe").is_valid());
        for user in ["", "a\nb", "\u{7f}", &"x".repeat(129)] {
            assert!(!Identity::new(user).is_valid(), "{user:?}");
        }
    }

    #[test]
    fn a_token_is_bounded_and_never_printed() {
        let token = Token::new("secret").unwrap();
        assert_eq!(format!("{token:?}"), "Token(hidden)");
        assert_eq!(token.expose(), "secret");
        assert!(Token::new(&"x".repeat(8 << 10)).is_some());
        assert!(Token::new(&"x".repeat((8 << 10) + 1)).is_none());
    }
}
