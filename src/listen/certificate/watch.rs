//! Sees when the files of a pair have changed.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Two files, and what they looked like last.
#[derive(Debug)]
pub(crate) struct Watch {
    certificate: PathBuf,
    key: PathBuf,
    seen: [Stamp; 2],
}

/// What changes when a file is written, replaced, or reached by another link; or why it cannot be looked at.
type Stamp = Result<(u64, u64, u64, i64, i64), io::ErrorKind>;

impl Watch {
    /// Begins with the files as they are now. To be called before they are read, so that no change falls between.
    pub(crate) fn new(certificate: &Path, key: &Path) -> Self {
        Self {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            seen: [stamp(certificate), stamp(key)],
        }
    }

    /// Whether either file has changed since the last look. Each change is told once, so a faulty pair is complained of once.
    pub(crate) fn has_changed(&mut self) -> bool {
        let now = [stamp(&self.certificate), stamp(&self.key)];
        std::mem::replace(&mut self.seen, now) != self.seen
    }

    /// The file of the chain.
    pub(crate) fn certificate(&self) -> &Path {
        &self.certificate
    }

    /// The file of the private key.
    pub(crate) fn key(&self) -> &Path {
        &self.key
    }
}

fn stamp(path: &Path) -> Stamp {
    let file = std::fs::metadata(path).map_err(|error| error.kind())?;
    Ok((
        file.dev(),
        file.ino(),
        file.len(),
        file.mtime(),
        file.mtime_nsec(),
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_way_to_change_a_file_is_seen_once() {
        let folder = std::env::temp_dir().join(format!("shardwire-watch-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("old")).unwrap();
        std::fs::create_dir_all(folder.join("new")).unwrap();
        let file = |name: &str| folder.join(name);
        for name in ["chain", "old/key", "new/key"] {
            std::fs::write(file(name), "1").unwrap();
        }
        let link = |target: &str| {
            let _ = std::fs::remove_file(file("key"));
            std::os::unix::fs::symlink(file(target), file("key")).unwrap();
        };
        link("old/key");
        let mut watch = Watch::new(&file("chain"), &file("key"));
        let mut changed_once = |how: &str| {
            assert!(watch.has_changed(), "{how}");
            assert!(!watch.has_changed(), "{how}, told twice");
        };
        std::fs::write(file("chain"), "22").unwrap();
        changed_once("written to");
        link("new/key");
        changed_once("linked to another");
        std::fs::write(file("other"), "22").unwrap();
        std::fs::rename(file("other"), file("chain")).unwrap();
        changed_once("replaced by one of the same length");
        std::fs::remove_file(file("chain")).unwrap();
        changed_once("removed");
        std::fs::write(file("chain"), "22").unwrap();
        changed_once("back again");
    }
}
