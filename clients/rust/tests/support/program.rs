//! Programs of others that a test needs: where they are, and that they are ended.
#![allow(clippy::unwrap_used, dead_code)]

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What installs everything that is not there.
pub const INSTALL: &str = "install it with: scripts/test foreign";

pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

/// A file of the repository that an installation makes.
pub fn installed(path: &str) -> PathBuf {
    let found = repository().join(path);
    assert!(found.exists(), "{} is missing; {INSTALL}", found.display());
    found
}

/// A port nobody listens on at this moment.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// A running program; killed at the end of the test.
pub struct Program {
    child: Child,
    what: String,
}

impl Program {
    pub fn start(command: &mut Command) -> Program {
        let what = format!("{command:?}");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Program {
            child: command
                .spawn()
                .unwrap_or_else(|error| panic!("{what}: {error}")),
            what,
        }
    }

    /// Waits until it listens.
    pub fn listening(mut self, port: u16) -> Program {
        let begin = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("{} ended with {status}", self.what);
            }
            assert!(
                begin.elapsed() < Duration::from_secs(30),
                "{} does not listen",
                self.what
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        self
    }

    /// Sends a signal by its name, such as `STOP`.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let status = Command::new("kill")
            .args([&format!("-{name}"), &id])
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}
