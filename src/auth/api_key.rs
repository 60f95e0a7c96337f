//! API keys (contract M10): known by their SHA-256, compared without telling by time how near one was.

use aws_lc_rs::digest::{SHA256, digest};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::{Attempt, Denied, Identity, Verification, Verifier};
use crate::config::ApiKeySettings;

/// The SHA-256 of a key.
struct Digest([u8; 32]);

impl Digest {
    fn of(key: &str) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, key.as_bytes()).as_ref());
        Self(bytes)
    }
}

impl ConstantTimeEq for Digest {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0[..].ct_eq(&other.0[..])
    }
}

/// The keys of the configuration.
pub(super) struct ApiKeys {
    digests: Vec<Digest>,
    /// In the same order.
    identities: Vec<Identity>,
}

impl ApiKeys {
    pub(super) fn new(settings: &[ApiKeySettings]) -> Self {
        let identity = |key: &ApiKeySettings| {
            let identity = Identity::new(key.user.as_str())
                .with_permissions(key.permissions.iter().map(String::as_str));
            match &key.name {
                Some(name) => identity.named(name.as_str()),
                None => identity,
            }
        };
        Self {
            digests: settings.iter().map(|key| Digest(key.sha256)).collect(),
            identities: settings.iter().map(identity).collect(),
        }
    }

    fn find(&self, key: &str) -> Result<Identity, Denied> {
        let found = position(&self.digests, &Digest::of(key)).ok_or(Denied::Wrong)?;
        self.identities.get(found).cloned().ok_or(Denied::Wrong)
    }
}

/// Which of them equals `wanted`. Looks at every byte of every one, whether and wherever one fits: the time depends only on how
/// many there are.
fn position<T: ConstantTimeEq>(known: &[T], wanted: &T) -> Option<usize> {
    const NONE: u64 = u64::MAX;
    let mut found = NONE;
    for (index, candidate) in known.iter().enumerate() {
        let equal: Choice = candidate.ct_eq(wanted);
        found = u64::conditional_select(&found, &(index as u64), equal);
    }
    usize::try_from(found).ok().filter(|_| found != NONE)
}

impl Verifier for ApiKeys {
    fn verify(&self, attempt: Attempt) -> Verification {
        let verdict = match attempt.token() {
            Some(key) => self.find(key),
            None => Err(Denied::Missing),
        };
        Box::pin(std::future::ready(verdict))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    fn key(text: &str, user: &str) -> ApiKeySettings {
        ApiKeySettings {
            sha256: Digest::of(text).0,
            user: user.to_owned(),
            name: Some("Service".to_owned()),
            permissions: vec!["publish".to_owned()],
        }
    }

    #[test]
    fn contract_m10_a_known_key_is_its_user_and_any_other_is_nobody() {
        let keys = ApiKeys::new(&[key("first-key", "a"), key("second-key", "b")]);
        let found = keys.find("second-key").unwrap();
        assert_eq!((&**found.user(), found.name()), ("b", Some("Service")));
        assert!(found.may("publish"));
        for wrong in ["", "first-ke", "first-key ", "FIRST-KEY", "third-key", "\0"] {
            assert_eq!(keys.find(wrong), Err(Denied::Wrong), "{wrong:?}");
        }
        assert_eq!(ApiKeys::new(&[]).find("x"), Err(Denied::Wrong));
    }

    /// Counts the comparisons it takes part in.
    struct Counted(Digest, Rc<Cell<usize>>);

    impl ConstantTimeEq for Counted {
        fn ct_eq(&self, other: &Self) -> Choice {
            self.1.set(self.1.get() + 1);
            self.0.ct_eq(&other.0)
        }
    }

    /// What a wrong key costs does not depend on how much of it is right: keys are compared by digests, in which a common beginning
    /// of the keys is not to be seen, by a comparison that takes constant time, with every known key, whichever fits.
    #[test]
    fn the_comparison_does_not_depend_on_the_matching_prefix() {
        let count = Rc::new(Cell::new(0));
        let counted = |digest: [u8; 32]| Counted(Digest(digest), Rc::clone(&count));
        let known: Vec<Counted> = (0..100_u8).map(|n| counted([n; 32])).collect();
        // Fits the first, the last, none at all, or all but the last byte of one.
        let mut nearly = [7; 32];
        nearly[31] = 8;
        for (shown, expected) in [
            ([0; 32], Some(0)),
            ([99; 32], Some(99)),
            ([200; 32], None),
            (nearly, None),
        ] {
            count.set(0);
            assert_eq!(position(&known, &counted(shown)), expected);
            assert_eq!(count.get(), known.len());
        }
        // Keys that differ in their last letter only have nothing in common that a comparison could follow.
        let one = Digest::of("sk_live_0123456789abcdefA");
        let other = Digest::of("sk_live_0123456789abcdefB");
        let same = one.0.iter().zip(&other.0);
        assert!(same.filter(|(a, b)| a == b).count() < 8);
    }
}
