//! What a recovery run does.

use anyhow::{Result, bail};

use crate::correctness::stamp::NAMES;

/// Most deliveries that one run may have to remember: eight bytes each.
const MAX_REMEMBERED: f64 = 1e8;

/// What a recovery run does.
#[derive(Debug, Clone)]
pub struct RecoverPlan {
    pub subscribers: u32,
    pub channels: u32,
    pub publishers: u32,
    /// Publications per second of all publishers.
    pub rate: f64,
    /// Length of the message body.
    pub size: usize,
    pub channel_name: String,
    /// Mean time between two cuts of one connection, in nanoseconds; none: nothing is cut.
    pub cut_every: Option<u64>,
    /// From the start until the server is killed, if it is one that was started for this, in nanoseconds.
    pub kill_after: u64,
    /// Of the whole run, in nanoseconds.
    pub duration: u64,
}

impl RecoverPlan {
    /// # Errors
    /// Numbers that stamps or memory do not bear.
    pub fn check(&self) -> Result<()> {
        if self.publishers >= NAMES || self.channels >= NAMES {
            bail!("at most {} publishers and as many channels", NAMES - 1);
        }
        let audience = f64::from(self.subscribers) / f64::from(self.channels);
        let deliveries = self.rate * self.duration as f64 / 1e9 * audience;
        if deliveries > MAX_REMEMBERED {
            bail!(
                "too many deliveries to remember each: {deliveries:.0}, at most {MAX_REMEMBERED:.0}"
            );
        }
        Ok(())
    }
}
