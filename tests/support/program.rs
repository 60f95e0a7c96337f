//! The program itself, with settings from the environment; killed at the end of the test if it still runs.
#![allow(clippy::unwrap_used, dead_code)]

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longest wait for the program to end.
const END: Duration = Duration::from_secs(60);

pub struct Program {
    child: Child,
    pub address: SocketAddr,
    /// Where its admin port is, if it says so.
    pub admin: Option<SocketAddr>,
    said: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Program {
    /// On a free port, with these variables (without `SHARDWIRE_`) and none other of ours.
    pub fn start(settings: &[(&str, &str)]) -> Self {
        Self::start_with(settings, &[])
    }

    pub fn start_with(settings: &[(&str, &str)], arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shardwire"));
        command.args(arguments);
        Self::spawn(command, settings)
    }

    /// As one that may have so many files open, and cannot raise that.
    pub fn start_under(open_files: usize, settings: &[(&str, &str)]) -> Self {
        Self::spawn(limited(open_files), settings)
    }

    /// What it says when it does not start because of its limit of open files.
    pub fn refused_under(open_files: usize, settings: &[(&str, &str)]) -> String {
        let mut command = limited(open_files);
        set(&mut command, settings);
        let output = command.output().unwrap();
        assert!(!output.status.success(), "it starts");
        String::from_utf8(output.stderr).unwrap()
    }

    fn spawn(mut command: Command, settings: &[(&str, &str)]) -> Self {
        set(&mut command, settings);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        let reader = keep(child.stderr.take().unwrap(), Arc::clone(&said));
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut program = Self {
            child,
            address: "127.0.0.1:0".parse().unwrap(),
            admin: None,
            said,
            reader: Some(reader),
        };
        let mut next = |program: &Self, begin: &str| -> SocketAddr {
            let line = lines.next().and_then(Result::ok).unwrap_or_default();
            let address = line.strip_prefix(begin);
            let address = address.unwrap_or_else(|| panic!("{line:?}\n{}", program.said()));
            address.parse().unwrap()
        };
        program.address = next(&program, "shardwire listening on ");
        let admin = |name: &str| name == "SHARDWIRE_ADMIN__ADDRESS";
        if command
            .get_envs()
            .any(|(name, value)| admin(&name.to_string_lossy()) && value.is_some())
        {
            program.admin = Some(next(&program, "shardwire admin on "));
        }
        program
    }

    /// `TERM`, `HUP`, …
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill")
            .args(["-s", name, &pid])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    /// How many files it may have open.
    pub fn open_file_limit(&self) -> usize {
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", self.child.id())).unwrap();
        let line = limits
            .lines()
            .find(|line| line.starts_with("Max open files"));
        line.unwrap()
            .split_whitespace()
            .nth(3)
            .unwrap()
            .parse()
            .unwrap()
    }

    /// How many files it has open.
    pub fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id()))
            .unwrap()
            .count()
    }

    /// Its exit code, once it ends by itself.
    pub fn wait(&mut self) -> i32 {
        let until = Instant::now() + END;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                if let Some(reader) = self.reader.take() {
                    reader.join().unwrap();
                }
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < until, "it does not end\n{}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// All it wrote to standard error so far.
    pub fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }
}

/// The program behind a shell that lowers its limit of open files for good.
fn limited(open_files: usize) -> Command {
    let mut command = Command::new("sh");
    let script = format!("ulimit -n {open_files}; exec \"$0\"");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_shardwire")]);
    command
}

fn set(command: &mut Command, settings: &[(&str, &str)]) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SHARDWIRE_") {
            command.env_remove(name);
        }
    }
    let settings = settings
        .iter()
        .map(|(name, value)| (format!("SHARDWIRE_{name}"), value));
    command
        .env("SHARDWIRE_LISTEN__ADDRESS", "127.0.0.1:0")
        .env_remove("RUST_LOG")
        .envs(settings);
}

fn keep(mut stderr: ChildStderr, said: Arc<Mutex<String>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(read) = stderr.read(&mut bytes) {
            if read == 0 {
                return;
            }
            let text = String::from_utf8_lossy(&bytes[..read]).into_owned();
            said.lock().unwrap().push_str(&text);
        }
    })
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
