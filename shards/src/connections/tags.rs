//! Words that the application puts on connections, to reach them by (contract M24).

use ahash::AHashMap;

use crate::bounds::{TAG_BYTES_MAX, TAGS_MAX};
use crate::vocabulary::ConnectionId;

/// The tags of one shard's connections. Beside the slots, so that connections without one do not pay for it.
#[derive(Debug, Default)]
pub(crate) struct Tags(AHashMap<ConnectionId, Vec<Box<str>>>);

/// Whether a tag can be this: 1 to 128 bytes.
#[must_use]
pub fn is_valid_tag(tag: &str) -> bool {
    !tag.is_empty() && tag.len() <= TAG_BYTES_MAX
}

impl Tags {
    /// Puts a tag on or takes it off. One that cannot be a tag, or is one too many, is passed over: the door has told whoever
    /// asked.
    pub(crate) fn set(&mut self, id: ConnectionId, tag: Box<str>, on: bool) {
        if on {
            let tags = self.0.entry(id).or_default();
            if is_valid_tag(&tag) && tags.len() < TAGS_MAX && !tags.contains(&tag) {
                tags.push(tag);
            }
        } else if let Some(tags) = self.0.get_mut(&id) {
            tags.retain(|known| *known != tag);
        }
        if self.of(id).is_empty() {
            self.forget(id);
        }
    }

    pub(crate) fn of(&self, id: ConnectionId) -> &[Box<str>] {
        self.0.get(&id).map_or(&[], |tags| tags)
    }

    /// The connection is gone.
    pub(crate) fn forget(&mut self, id: ConnectionId) {
        if !self.0.is_empty() {
            self.0.remove(&id);
        }
    }

    /// Connections that have any.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::ShardId;

    #[test]
    fn tags_are_bounded_and_leave_nothing_behind() {
        let (mut tags, id) = (Tags::default(), ConnectionId::new(ShardId(0), 1, 0));
        tags.set(id, "".into(), true);
        tags.set(id, "x".repeat(TAG_BYTES_MAX + 1).into(), true);
        assert_eq!((tags.of(id), tags.len()), (&[][..], 0));
        for n in 0..2 * TAGS_MAX {
            tags.set(id, format!("t{n}").into(), true);
            tags.set(id, "t0".into(), true);
        }
        assert_eq!(tags.of(id).len(), TAGS_MAX);
        for n in 0..TAGS_MAX {
            assert_eq!(tags.len(), 1);
            tags.set(id, format!("t{n}").into(), false);
        }
        assert_eq!(tags.len(), 0);
        tags.set(id, "t".into(), true);
        tags.forget(id);
        assert_eq!(tags.len(), 0);
    }
}
