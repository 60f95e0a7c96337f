//! Starting a run: in this process, or in several that this one conducts.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use anyhow::{Context, Result, bail};
use rand::RngExt;

use super::conductor::Conductor;
use super::link::{Link, LocalLink, ProcessLink};
use super::messages::{FromWorker, ToWorker};
use super::worker::work;
use crate::args::ScenarioArguments;
use crate::measure::clock;
use crate::scenarios::Identity;

/// Runs everything in this process.
///
/// # Errors
/// See [`work`].
pub fn run_here(
    arguments: &ScenarioArguments,
    conductor: Conductor,
    interrupted: &AtomicBool,
) -> Result<Conductor> {
    let identity = new_identity(1);
    Ok(work(arguments, identity, LocalLink::new(conductor), interrupted)?.into_conductor())
}

/// Runs as one of several processes.
///
/// # Errors
/// The conductor is gone; everything else it is told.
pub fn run_as_worker(
    arguments: &ScenarioArguments,
    index: u32,
    interrupted: &AtomicBool,
) -> Result<()> {
    let common = arguments.common();
    let [run, base] = common.worker_run.as_slice() else {
        bail!("--worker is set by the program itself");
    };
    let identity = Identity {
        run: *run as u32,
        base: *base,
        index,
        processes: common.processes,
    };
    let link = ProcessLink::from_stdin()?;
    if let Err(error) = work(arguments, identity, link, interrupted) {
        ProcessLink::from_stdin()?.tell(FromWorker::Failed(format!("{error:#}")))?;
    }
    Ok(())
}

fn new_identity(processes: u32) -> Identity {
    Identity {
        run: rand::rng().random::<u32>() >> 8,
        base: clock::now(),
        index: 0,
        processes,
    }
}

/// Starts this program again, so many times, and conducts.
///
/// # Errors
/// A process could not be started, gave up or ended early.
pub fn run_processes(processes: u32, mut conductor: Conductor) -> Result<Conductor> {
    let identity = new_identity(processes);
    let (sender, heard) = mpsc::channel();
    let mut workers = Workers(Vec::new());
    for index in 0..processes {
        let worker = Worker::start(index, identity, sender.clone())
            .context("cannot start another process")?;
        workers.0.push(worker);
    }
    drop(sender);
    conduct(&mut conductor, &mut workers, &heard)?;
    workers.wait();
    Ok(conductor)
}

fn conduct(
    conductor: &mut Conductor,
    workers: &mut Workers,
    heard: &Receiver<(usize, Heard)>,
) -> Result<()> {
    // Ends: every worker bounds its own run, and its end is heard.
    while !conductor.is_done() {
        let (worker, message) = heard.recv().context("all processes ended early")?;
        let message = match message {
            Heard::Message(message) => *message,
            Heard::Nonsense(line) => bail!("process {worker} said {line:?}"),
            Heard::End if workers.0[worker].done => continue,
            Heard::End => bail!("process {worker} ended early"),
        };
        workers.0[worker].done |= matches!(message, FromWorker::Done(_));
        if let Some(order) = conductor.hear(worker, message)? {
            workers.tell_all(&order)?;
        }
    }
    Ok(())
}

/// What a reading thread got from a worker.
enum Heard {
    Message(Box<FromWorker>),
    Nonsense(String),
    End,
}

struct Worker {
    child: Child,
    orders: UnixStream,
    done: bool,
}

impl Worker {
    fn start(index: u32, identity: Identity, heard: Sender<(usize, Heard)>) -> Result<Self> {
        let (orders, theirs) = UnixStream::pair()?;
        let mut child = Command::new(std::env::current_exe()?)
            .args(std::env::args_os().skip(1))
            .arg("--worker")
            .arg(index.to_string())
            .arg("--worker-run")
            .arg(identity.run.to_string())
            .arg(identity.base.to_string())
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child
            .stdout
            .take()
            .context("the child has no standard output")?;
        thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(move || {
                let mut reader = BufReader::new(stdout);
                let mut line = String::new();
                loop {
                    line.clear();
                    let message = match reader.read_line(&mut line) {
                        Ok(0) | Err(_) => Heard::End,
                        Ok(_) => match serde_json::from_str(&line) {
                            Ok(message) => Heard::Message(Box::new(message)),
                            Err(_) => Heard::Nonsense(line.chars().take(200).collect()),
                        },
                    };
                    let is_end = matches!(message, Heard::End);
                    if heard.send((index as usize, message)).is_err() || is_end {
                        return;
                    }
                }
            })?;
        Ok(Self {
            child,
            orders,
            done: false,
        })
    }
}

/// All started processes; none outlives this.
struct Workers(Vec<Worker>);

impl Workers {
    fn tell_all(&mut self, order: &ToWorker) -> Result<()> {
        let mut line = serde_json::to_vec(order)?;
        line.push(b'\n');
        for worker in &mut self.0 {
            worker
                .orders
                .write_all(&line)
                .context("a process ended early")?;
        }
        Ok(())
    }

    /// All have handed in their result and are ending.
    fn wait(mut self) {
        for worker in self.0.drain(..) {
            let Worker {
                mut child, orders, ..
            } = worker;
            drop(orders);
            // Its result is here; how it exits does not matter.
            let _ = child.wait();
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        for worker in &mut self.0 {
            // It may have ended already.
            let _ = worker.child.kill();
            let _ = worker.child.wait();
        }
    }
}
