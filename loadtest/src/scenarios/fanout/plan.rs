//! What a fan-out run does, and whether it can be done.

use anyhow::{Result, bail};

use super::super::Identity;
use super::super::pace::Load;
use crate::correctness::stamp::NAMES;

/// Most pairs of a publisher and a channel, and of a subscriber and a publisher.
const MAX_PAIRS: u64 = 1 << 26;
/// What a fan-out run does. Numbers of publishers and channels are those of the whole run.
#[derive(Debug, Clone)]
pub struct FanoutPlan {
    /// Publishers of all processes.
    pub publishers: u32,
    /// Subscribers of this process.
    pub subscribers: u32,
    pub channels: u32,
    /// Subscribers of this process, the first ones, that stop reading once they are subscribed; nothing is expected of them.
    pub stopped: u32,
    /// Length of the message body.
    pub size: usize,
    pub channel_name: String,
    pub subscribe_template: String,
    pub publish_template: String,
    /// A message holding this confirms a subscription; empty: nothing is waited for.
    pub subscribed_match: String,
    /// A message holding this is an error of the server; empty: none is.
    pub error_match: String,
    /// How long a confirmation may take after the last connection opened, in nanoseconds.
    pub subscribe_timeout: u64,
    /// Rate or in flight of this process.
    pub load: Load,
    /// Messages to publish in this process.
    pub count: Option<u64>,
}

impl FanoutPlan {
    /// # Errors
    /// Numbers that stamps or memory do not bear; in flight without a subscriber for every channel in this process.
    pub fn check(&self, identity: Identity) -> Result<()> {
        if self.publishers >= NAMES || self.channels >= NAMES {
            bail!("at most {} publishers and as many channels", NAMES - 1);
        }
        if self.stopped > self.subscribers {
            bail!("more subscribers are to stop reading than there are");
        }
        let pairs = u64::from(self.publishers) * u64::from(self.channels.max(self.subscribers));
        if pairs > MAX_PAIRS {
            bail!(
                "too many publishers for so many channels or subscribers: at most {MAX_PAIRS} pairs"
            );
        }
        if matches!(self.load, Load::InFlight(_))
            && identity.index < self.publishers
            && self.subscribers < self.channels
        {
            bail!(
                "in flight needs a subscriber for every channel in every process: use fewer channels or processes, or a rate"
            );
        }
        Ok(())
    }
}
