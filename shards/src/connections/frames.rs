//! Frames that several outboxes wait to send: held once, counted without atomics.

use bytes::Bytes;

use crate::vocabulary::SharedFrame;

/// Place of a frame in [`Frames`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FrameKey(u32);

/// A [`SharedFrame`] taken in; to be released once it is in all outboxes.
#[derive(Debug)]
pub(crate) struct Forms {
    pub(crate) plain: FrameKey,
    pub(crate) deflated: Option<FrameKey>,
}

#[derive(Debug)]
struct Entry {
    bytes: Bytes,
    references: u32,
}

/// Shared frames of one shard. One broadcast is one entry, whatever the number of its receivers.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    entries: Vec<Entry>,
    free: Vec<FrameKey>,
}

impl Frames {
    /// Takes a frame in, with one reference: the caller's.
    pub(crate) fn insert(&mut self, bytes: Bytes) -> FrameKey {
        let entry = Entry {
            bytes,
            references: 1,
        };
        if let Some(key) = self.free.pop() {
            self.entries[key.0 as usize] = entry;
            return key;
        }
        let key = FrameKey(
            u32::try_from(self.entries.len()).expect("fewer than 2^32 frames wait on one shard"),
        );
        self.entries.push(entry);
        key
    }

    /// Takes all forms of a frame in, with one reference each: the caller's.
    pub(crate) fn insert_shared(&mut self, frame: SharedFrame) -> Forms {
        Forms {
            plain: self.insert(frame.plain),
            deflated: frame.deflated.map(|bytes| self.insert(bytes)),
        }
    }

    pub(crate) fn release_shared(&mut self, forms: &Forms) {
        self.release(forms.plain);
        if let Some(deflated) = forms.deflated {
            self.release(deflated);
        }
    }

    pub(crate) fn retain(&mut self, key: FrameKey) {
        self.entries[key.0 as usize].references += 1;
    }

    /// Gives a reference back; the last one lets the bytes go.
    pub(crate) fn release(&mut self, key: FrameKey) {
        let entry = &mut self.entries[key.0 as usize];
        entry.references -= 1;
        if entry.references == 0 {
            entry.bytes = Bytes::new();
            self.free.push(key);
        }
    }

    pub(crate) fn get(&self, key: FrameKey) -> &[u8] {
        &self.entries[key.0 as usize].bytes
    }

    /// Frames somebody still waits for.
    pub(crate) fn held(&self) -> usize {
        self.entries.len() - self.free.len()
    }
}
