//! A file system that is soon full. Also read by the tests of `src/storage`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// 16 MiB, and not a byte more.
pub struct SmallDisk {
    directory: TempDir,
}

impl SmallDisk {
    /// None where this process may not mount; the test then proves nothing, and says so.
    pub fn mount() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=16m", "shardwire-test"])
            .arg(directory.path())
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self { directory }),
            other => {
                eprintln!(
                    "SKIPPED: a full disk cannot be tried, because mounting a small file system needs root: {other:?}"
                );
                None
            }
        }
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A directory for a store, not made yet.
    pub fn store(&self) -> PathBuf {
        self.path().join("store")
    }

    /// Fills the disk until only this much is free.
    pub fn fill(&self, free: u64) {
        let stat = rustix::fs::statvfs(self.path()).unwrap();
        let now = stat.f_bavail * stat.f_frsize;
        fs::write(self.ballast(), vec![0; now.saturating_sub(free) as usize]).unwrap();
    }

    /// Makes room again.
    pub fn empty(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path()).output();
    }
}
