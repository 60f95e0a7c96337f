//! How a worker reaches the conductor: a queue in the same process, or the two ends of its standard input and output.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result, bail};

use super::conductor::Conductor;
use super::messages::{FromWorker, ToWorker};

/// A worker's way to the conductor. Neither direction waits for long.
pub trait Link {
    /// Tells the conductor.
    ///
    /// # Errors
    /// The conductor is gone.
    fn tell(&mut self, message: FromWorker) -> Result<()>;

    /// What the conductor said, if anything.
    ///
    /// # Errors
    /// The conductor is gone or speaks nonsense.
    fn hear(&mut self) -> Result<Option<ToWorker>>;
}

/// Conductor and only worker in one process.
pub struct LocalLink {
    conductor: Conductor,
    said: VecDeque<ToWorker>,
}

impl LocalLink {
    /// `conductor` must expect one worker.
    pub fn new(conductor: Conductor) -> Self {
        Self {
            conductor,
            said: VecDeque::new(),
        }
    }

    /// The conductor, when the worker is through.
    pub fn into_conductor(self) -> Conductor {
        self.conductor
    }
}

impl Link for LocalLink {
    fn tell(&mut self, message: FromWorker) -> Result<()> {
        self.said.extend(self.conductor.hear(0, message)?);
        Ok(())
    }

    fn hear(&mut self) -> Result<Option<ToWorker>> {
        Ok(self.said.pop_front())
    }
}

/// A worker process: orders come in over a socket that is its standard input, reports go to its standard output.
pub struct ProcessLink {
    orders: UnixStream,
    received: Vec<u8>,
}

impl ProcessLink {
    /// Takes over this process' standard input.
    ///
    /// # Errors
    /// It is not the socket that the conductor's process puts there.
    pub fn from_stdin() -> Result<Self> {
        let stdin = io::stdin().as_fd().try_clone_to_owned()?;
        let orders = UnixStream::from(stdin);
        orders.set_nonblocking(true)?;
        Ok(Self {
            orders,
            received: Vec::new(),
        })
    }
}

impl Link for ProcessLink {
    fn tell(&mut self, message: FromWorker) -> Result<()> {
        let mut line = serde_json::to_vec(&message)?;
        line.push(b'\n');
        let mut stdout = io::stdout().lock();
        stdout
            .write_all(&line)
            .and_then(|()| stdout.flush())
            .context("the conductor is gone")
    }

    fn hear(&mut self) -> Result<Option<ToWorker>> {
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                return Ok(Some(
                    serde_json::from_slice(&line).context("the conductor speaks nonsense")?,
                ));
            }
            let mut chunk = [0; 64 * 1024];
            match self.orders.read(&mut chunk) {
                Ok(0) => bail!("the conductor is gone"),
                Ok(count) => self.received.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("the conductor is gone"),
            }
        }
    }
}
