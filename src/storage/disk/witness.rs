//! A witness beside the database: a small file that says up to which commit all was synced, and whether something may stand in the
//! database that was refused.
//!
//! A database repairs itself when it is opened: what is not whole at its end is cut, because a commit was under way. Damage at the
//! end looks the same. The witness knows better: it is told after every sync, so what it names was acknowledged. It is not synced
//! itself (after a loss of power it may be behind, and then knows less, but never something wrong); the page cache keeps it through
//! the death of the process.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use twox_hash::XxHash3_64;

const MAGIC: [u8; 4] = *b"swW1";
const LEN: usize = 24;

/// What the witness says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Testimony {
    /// This commit, and all before it, were synced.
    pub(super) commit: u64,
    /// A later commit failed, and its records may be in the database although they were refused.
    pub(super) unsure: bool,
}

/// The open file.
#[derive(Debug)]
pub(super) struct Witness {
    file: File,
    said: Testimony,
}

impl Witness {
    /// A new one, synced.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)?;
        let said = Testimony {
            commit: 0,
            unsure: false,
        };
        file.write_all_at(&encode(said), 0)?;
        file.sync_all()?;
        Ok(Self { file, said })
    }

    /// The one that is there; none when what it says cannot be read.
    pub(super) fn open(path: &Path) -> io::Result<Option<Self>> {
        let mut file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut bytes = Vec::with_capacity(LEN + 1);
        file.by_ref().take(LEN as u64 + 1).read_to_end(&mut bytes)?;
        Ok(decode(&bytes).map(|said| Self { file, said }))
    }

    pub(super) fn said(&self) -> Testimony {
        self.said
    }

    /// All up to this commit was synced.
    pub(super) fn tell(&mut self, commit: u64) -> io::Result<()> {
        self.write(Testimony {
            commit,
            unsure: false,
        })
    }

    /// What came after the last commit was refused, and may be there all the same.
    pub(super) fn doubt(&mut self) -> io::Result<()> {
        self.write(Testimony {
            unsure: true,
            ..self.said
        })?;
        // Not only for this process: the doubt must not be lost with the power. (It is rare.)
        self.file.sync_data()
    }

    /// At the end, when nothing follows.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&mut self, said: Testimony) -> io::Result<()> {
        self.file.write_all_at(&encode(said), 0)?;
        self.said = said;
        Ok(())
    }
}

fn encode(said: Testimony) -> [u8; LEN] {
    let mut bytes = [0; LEN];
    bytes[..4].copy_from_slice(&MAGIC);
    bytes[4..8].copy_from_slice(&u32::from(said.unsure).to_le_bytes());
    bytes[8..16].copy_from_slice(&said.commit.to_le_bytes());
    let hash = XxHash3_64::oneshot(&bytes[..16]);
    bytes[16..].copy_from_slice(&hash.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<Testimony> {
    let bytes: &[u8; LEN] = bytes.try_into().ok()?;
    let unsure = bytes[4] == 1;
    let commit = u64::from_le_bytes(*bytes[8..].first_chunk()?);
    let said = Testimony { commit, unsure };
    (encode(said) == *bytes).then_some(said)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn it_says_again_what_it_was_told_and_nothing_when_damaged() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("witness");
        let mut witness = Witness::create(&path).unwrap();
        witness.tell(41).unwrap();
        witness.doubt().unwrap();
        let said = Witness::open(&path).unwrap().unwrap().said();
        let expected = Testimony {
            commit: 41,
            unsure: true,
        };
        assert_eq!(said, expected);
        let bytes = std::fs::read(&path).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, damaged).unwrap();
            assert!(Witness::open(&path).unwrap().is_none(), "bit {bit}");
        }
        std::fs::write(&path, &bytes[..LEN - 1]).unwrap();
        assert!(Witness::open(&path).unwrap().is_none());
    }
}
