//! A server of this project that a scenario starts, kills and starts again, with histories on disk.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

/// How long the first start may take.
const START: Duration = Duration::from_secs(30);
/// How much of what it said is shown when it has ended.
const LOG_SHOWN: usize = 2_000;

/// The server, and the directory of its histories. Both are gone when this is dropped.
#[derive(Debug)]
pub struct Served {
    program: PathBuf,
    directory: TempDir,
    address: SocketAddr,
    child: Child,
}

impl Served {
    /// Starts the server at this address (port 0: a free one), keeping the channels that the pattern names on disk, in a temporary
    /// directory. Returns when it accepts connections.
    ///
    /// # Errors
    /// It cannot be started, or does not say where it listens.
    pub fn start(program: &Path, address: SocketAddr, channels: &str) -> Result<Self> {
        let directory = tempfile::tempdir().context("no temporary directory")?;
        write_configuration(directory.path(), address, channels)?;
        let mut child = spawn(program, directory.path())?;
        let said = child
            .stdout
            .take()
            .context("the server has no standard output")?;
        let mut served = Self {
            program: program.to_owned(),
            directory,
            address,
            child,
        };
        served.address = served.hear_address(said)?;
        write_configuration(served.directory.path(), served.address, channels)?;
        Ok(served)
    }

    /// Where it listens, also after it was killed.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Kills it (SIGKILL) and starts it again. Returns at once: it accepts connections a little later.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn kill_and_start(&mut self) -> Result<()> {
        self.child.kill().context("cannot kill the server")?;
        self.child.wait().context("the server does not end")?;
        self.child = spawn(&self.program, self.directory.path())?;
        // Nobody reads the address again, which is known.
        self.child.stdout = None;
        Ok(())
    }

    /// Why it has ended by itself, if it has.
    pub fn ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok()??;
        Some(format!("the server has ended ({status}): {}", self.log()))
    }

    fn hear_address(&mut self, said: ChildStdout) -> Result<SocketAddr> {
        let (sender, heard) = mpsc::channel();
        thread::Builder::new()
            .name("server-output".to_owned())
            .spawn(move || {
                for line in BufReader::new(said).lines().map_while(Result::ok) {
                    // Read to the end, so that the server never waits for a reader.
                    let _ = sender.send(line);
                }
            })?;
        let Ok(line) = heard.recv_timeout(START) else {
            bail!("the server did not say where it listens: {}", self.log());
        };
        line.rsplit(' ')
            .next()
            .and_then(|address| address.parse().ok())
            .with_context(|| format!("the server did not say where it listens, but {line:?}"))
    }

    /// The end of what it logged.
    fn log(&self) -> String {
        let log = fs::read_to_string(log_file(self.directory.path())).unwrap_or_default();
        let from = log.len().saturating_sub(LOG_SHOWN);
        let from = (from..log.len()).find(|at| log.is_char_boundary(*at));
        log[from.unwrap_or(0)..].trim().to_owned()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn log_file(directory: &Path) -> PathBuf {
    directory.join("server.log")
}

fn configuration_file(directory: &Path) -> PathBuf {
    directory.join("server.toml")
}

fn write_configuration(directory: &Path, address: SocketAddr, channels: &str) -> Result<()> {
    // Without quotes and escapes in it, Rust's text is TOML's.
    let text = format!(
        "[listen]\naddress = \"{address}\"\n\
         [shards]\npin = false\n\
         [storage]\ndirectory = {:?}\nkeep_free = \"0B\"\n\
         [[channels.rules]]\nchannel = {channels:?}\nmax_messages = 2000\nmax_age = \"1h\"\nmax_bytes = \"16MiB\"\npersistence = \"disk\"\n",
        directory.join("store").display().to_string(),
    );
    fs::write(configuration_file(directory), text).context("cannot write the configuration")
}

fn spawn(program: &Path, directory: &Path) -> Result<Child> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(log_file(directory))?;
    Command::new(program)
        .arg("--config")
        .arg(configuration_file(directory))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))
}
