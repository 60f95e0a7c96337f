//! One run: a fresh server on its core, the load test on another, its report.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use serde_json::Value;

use super::cases::Case;
use super::certificate::Certificate;
use super::peers::{Peer, Start};
use crate::args::CompareArguments;

/// A server must listen after so long, and end after so long.
const SERVER_PATIENCE: Duration = Duration::from_secs(15);
/// Listening, it may still start workers.
const SETTLE: Duration = Duration::from_millis(150);
/// Beyond the measured time a run needs so long at most: opening, waiting for the last answers, closing.
const RUN_PATIENCE: Duration = Duration::from_secs(90);

/// A directory of its own that goes with it.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// # Errors
    /// No room for temporary files.
    pub fn new() -> Result<Self> {
        let path =
            std::env::temp_dir().join(format!("loadtest-compare-{:016x}", rand::random::<u64>()));
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left of temporary files harms nobody.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A process that ends with this.
struct Running(Child);

impl Running {
    fn end(&mut self) {
        if let Ok(pid) = i32::try_from(self.0.id())
            && let Some(pid) = Pid::from_raw(pid)
            && matches!(self.0.try_wait(), Ok(None))
        {
            // Gone already is as good.
            let _ = kill_process(pid, Signal::TERM);
        }
        let until = Instant::now() + SERVER_PATIENCE;
        while matches!(self.0.try_wait(), Ok(None)) && Instant::now() < until {
            thread::sleep(Duration::from_millis(5));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// Ten thousand connections need as many files, in the servers that inherit the limit, too.
pub fn raise_open_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    // Refused, the runs that need it will say so.
    let _ = setrlimit(Resource::Nofile, raised);
}

/// The report of one run.
///
/// # Errors
/// The server does not start, or the load test says nothing.
pub fn run(
    peer: &Peer,
    case: &Case,
    certificate: Option<&Certificate>,
    root: &Path,
    arguments: &CompareArguments,
) -> Result<Value> {
    let folder = Folder::new()?;
    let port = free_port()?;
    let certificate = certificate.filter(|_| case.secure);
    let start = peer.start(root, port, folder.path(), certificate)?;
    let said = fs::File::create(folder.path().join("server.log"))?;
    let mut command = on_core(arguments.server_core, arguments.nice, &start);
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(said)
        .spawn()
        .with_context(|| format!("cannot start {}", start.program.display()))?;
    let mut server = Running(child);
    prefer(&server.0, arguments.nice);
    if let Err(error) = wait_until_it_listens(&mut server.0, port) {
        let said = fs::read_to_string(folder.path().join("server.log")).unwrap_or_default();
        bail!("{error:#}: {}", said.trim());
    }
    thread::sleep(SETTLE);
    let pids: Vec<String> = family(server.0.id()).iter().map(u32::to_string).collect();
    let scheme = if case.secure { "wss" } else { "ws" };
    let mut load = Start {
        program: std::env::current_exe().context("this program has no path")?,
        ..Start::default()
    };
    let url = format!("{scheme}://127.0.0.1:{port}{}", peer.path(case));
    let duration = format!("{}ms", arguments.duration.as_millis());
    let warmup = format!("{}ms", arguments.warmup.as_millis());
    let mut words: Vec<&str> = vec![case.scenario, "--url", &url, "--json", "--quiet"];
    let pids = pids.join(",");
    words.extend(["--pid", &pids, "--duration", &duration, "--warmup", &warmup]);
    let authority = certificate.map(Certificate::certificate);
    if let Some(authority) = &authority {
        words.extend(["--ca", authority]);
    }
    words.extend(case.arguments);
    words.extend(peer.dialect(case));
    load.arguments = words.into_iter().map(str::to_owned).collect();
    let report = folder.path().join("report.json");
    let complaints = folder.path().join("client.log");
    let child = on_core(arguments.client_core, arguments.nice, &load)
        .stdin(Stdio::null())
        .stdout(fs::File::create(&report)?)
        .stderr(fs::File::create(&complaints)?)
        .spawn()
        .context("cannot start the load test")?;
    let mut client = Running(child);
    prefer(&client.0, arguments.nice);
    let until = Instant::now() + arguments.duration + arguments.warmup + RUN_PATIENCE;
    while client.0.try_wait()?.is_none() {
        if Instant::now() > until {
            bail!("the load test does not end");
        }
        thread::sleep(Duration::from_millis(10));
    }
    server.end();
    let text = fs::read_to_string(&report)?;
    serde_json::from_str(&text).with_context(|| {
        let complaint = fs::read_to_string(&complaints).unwrap_or_default();
        format!("the load test says {:?}", complaint.trim())
    })
}

/// The command on one core, in a session of its own, with this priority.
fn on_core(core: usize, nice: i32, start: &Start) -> Command {
    let mut command = Command::new("setsid");
    command
        .args([
            "taskset",
            "-c",
            &core.to_string(),
            "nice",
            "-n",
            &nice.to_string(),
        ])
        .arg(&start.program)
        .args(&start.arguments)
        .envs(start.environment.iter().cloned());
    command
}

/// Linux weighs sessions first (sched(7), autogroup): within its own session a niceness alone means nothing.
fn prefer(child: &Child, nice: i32) {
    if nice == 0 {
        return;
    }
    // `setsid` may not have begun the session yet; where sessions are not weighed there is no such file.
    let path = format!("/proc/{}/autogroup", child.id());
    thread::sleep(Duration::from_millis(20));
    let _ = fs::write(path, nice.to_string());
}

fn free_port() -> Result<u16> {
    let probe = TcpListener::bind(("127.0.0.1", 0)).context("there is no free port")?;
    Ok(probe.local_addr()?.port())
}

fn wait_until_it_listens(server: &mut Child, port: u16) -> Result<()> {
    let until = Instant::now() + SERVER_PATIENCE;
    loop {
        if let Some(status) = server.try_wait()? {
            bail!("it ended with {status}");
        }
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Ok(());
        }
        if Instant::now() > until {
            bail!("it does not listen");
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// A process and all that it has started.
fn family(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut at = 0;
    while let Some(&parent) = all.get(at) {
        at += 1;
        let Ok(tasks) = fs::read_dir(format!("/proc/{parent}/task")) else {
            continue;
        };
        for task in tasks.flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            all.extend(
                children
                    .split_whitespace()
                    .filter_map(|word| word.parse::<u32>().ok()),
            );
        }
    }
    all
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_family_is_found_whole() {
        let shell = Command::new("sh")
            .args(["-c", "sleep 30 & wait"])
            .spawn()
            .unwrap();
        let shell = Running(shell);
        let until = Instant::now() + Duration::from_secs(20);
        let mut found = family(shell.0.id());
        while found.len() < 2 && Instant::now() < until {
            thread::sleep(Duration::from_millis(5));
            found = family(shell.0.id());
        }
        assert_eq!(found.len(), 2, "{found:?}");
        let sleep = Pid::from_raw(found[1] as i32).unwrap();
        kill_process(sleep, Signal::KILL).unwrap();
    }
}
