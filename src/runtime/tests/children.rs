//! Tests that count or limit something of the whole process run in a process of their own.

use std::process::Command;

const MARK: &str = "SHARDWIRE_TEST_CHILD";

/// True in the child. In the parent: runs the test called `path` alone in a child, fails if that
/// fails, and returns false.
pub(super) fn in_a_child(path: &str) -> bool {
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", path, "--test-threads=1", "--nocapture"])
        .env(MARK, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{path} failed in its own process:\n{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    false
}
