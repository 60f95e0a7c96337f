//! A file system that is soon full. Also read by the tests of `src/storage`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, thread};

use tempfile::TempDir;

/// Set by whoever cannot mount anything and wants the other tests: these are then left out.
const WITHOUT: &str = "SHARDWIRE_TESTS_WITHOUT_SMALL_DISK";
/// Set for a test that is run once more where its user is root.
const INSIDE: &str = "SHARDWIRE_TESTS_INSIDE_NAMESPACE";

/// 16 MiB, and not a byte more.
pub struct SmallDisk {
    directory: TempDir,
}

impl SmallDisk {
    /// None: the calling test is over. It was run in name spaces of its own, where every user may mount, and passed; or whoever runs
    /// the tests has left it out.
    ///
    /// # Panics
    /// It failed there, or cannot be run there either: a test that proves nothing must not pass.
    pub fn mount() -> Option<Self> {
        if env::var_os(WITHOUT).is_some() {
            eprintln!("LEFT OUT: a full disk is not tried, because {WITHOUT} is set");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=16m", "shardwire-test"])
            .arg(directory.path())
            .output();
        match mounted {
            Ok(output) if output.status.success() => return Some(Self { directory }),
            _ if env::var_os(INSIDE).is_none() => {}
            other => panic!("mounting as root of a user name space: {other:?}"),
        }
        let ran = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount"])
            .arg(env::current_exe().unwrap())
            .args(["--exact", &this_test(), "--nocapture"])
            .env(INSIDE, "1")
            .output();
        match ran {
            Ok(output) if output.status.success() && ran_one(&output.stdout) => None,
            other => panic!(
                "a small file system can be mounted neither by this user nor in a user name space, or the test failed there; run the tests as \
                 root, or leave these out by {WITHOUT}=1: {other:?}"
            ),
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

/// The name of the running test: of its thread, or of the one test that this process runs in its only thread.
fn this_test() -> String {
    let thread = thread::current();
    match thread.name() {
        Some(name) if name != "main" => name.to_owned(),
        _ => env::args()
            .skip_while(|argument| argument != "--exact")
            .nth(1)
            .expect("run by its name where it has no thread"),
    }
}

fn ran_one(stdout: &[u8]) -> bool {
    String::from_utf8_lossy(stdout).contains("test result: ok. 1 passed")
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path()).output();
    }
}
