//! At home: which shards have an audience, and of what kind; and the channel's log, if it has one.

use ahash::AHashMap;
use smallvec::SmallVec;

use crate::history::Log;
use crate::vocabulary::{ChannelName, ShardId};

/// A shard with an audience.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Interested {
    pub(crate) shard: ShardId,
    /// Whether some of that audience take compressed broadcasts. A moment old: who has just come gets the plain form until
    /// the home has heard of it.
    pub(crate) deflates: bool,
}

/// One channel homed on this shard.
#[derive(Debug, Default)]
pub(crate) struct Home {
    pub(crate) interested: SmallVec<[Interested; 8]>,
    pub(crate) log: Option<Box<Log>>,
}

/// The channels homed on this shard that anybody listens to, or that have a log.
#[derive(Debug, Default)]
pub(crate) struct Homes {
    by_name: AHashMap<ChannelName, Home>,
}

impl Homes {
    /// Notes that a shard has (or has no longer) an audience.
    pub(crate) fn note(&mut self, channel: ChannelName, shard: ShardId, on: bool) {
        if on {
            let shards = &mut self.by_name.entry(channel).or_default().interested;
            if !shards.iter().any(|interested| interested.shard == shard) {
                shards.push(Interested {
                    shard,
                    deflates: false,
                });
            }
        } else if let Some(home) = self.by_name.get_mut(&channel) {
            home.interested
                .retain(|interested| interested.shard != shard);
            if let Some(log) = home.log.as_deref_mut() {
                log.set_next_for(shard, None);
            } else if home.interested.is_empty() {
                self.by_name.remove(&channel);
            }
        }
    }

    /// Notes whether some of a shard's audience take compressed broadcasts.
    pub(crate) fn note_deflates(&mut self, channel: &str, shard: ShardId, on: bool) {
        let shards = self.by_name.get_mut(channel);
        if let Some(interested) = shards.and_then(|home| {
            home.interested
                .iter_mut()
                .find(|interested| interested.shard == shard)
        }) {
            interested.deflates = on;
        }
    }

    /// Shards with an audience.
    pub(crate) fn interested(&self, channel: &str) -> &[Interested] {
        self.get(channel)
            .map_or(&[], |home| home.interested.as_slice())
    }

    /// Whether somebody takes the channel's broadcasts compressed.
    pub(crate) fn deflates(&self, channel: &str) -> bool {
        self.interested(channel).iter().any(|at| at.deflates)
    }

    pub(crate) fn get(&self, channel: &str) -> Option<&Home> {
        self.by_name.get(channel)
    }

    pub(crate) fn get_mut(&mut self, channel: &str) -> Option<&mut Home> {
        self.by_name.get_mut(channel)
    }

    /// The channel with its name as it is shared by all.
    pub(crate) fn get_named(&self, channel: &str) -> Option<(&ChannelName, &Home)> {
        self.by_name.get_key_value(channel)
    }

    pub(crate) fn log(&self, channel: &str) -> Option<&Log> {
        self.get(channel).and_then(|home| home.log.as_deref())
    }

    pub(crate) fn log_mut(&mut self, channel: &str) -> Option<&mut Log> {
        self.get_mut(channel)
            .and_then(|home| home.log.as_deref_mut())
    }

    /// Gives a channel a log.
    pub(crate) fn install(&mut self, channel: ChannelName, log: Box<Log>) {
        self.by_name.entry(channel).or_default().log = Some(log);
    }

    /// Takes a channel's log away.
    pub(crate) fn take_log(&mut self, channel: &str) -> Option<Box<Log>> {
        let home = self.by_name.get_mut(channel)?;
        let log = home.log.take();
        if home.interested.is_empty() {
            self.by_name.remove(channel);
        }
        log
    }

    /// Channels that some shard is interested in. Counts them one by one.
    pub(crate) fn listened(&self) -> usize {
        self.by_name
            .values()
            .filter(|home| !home.interested.is_empty())
            .count()
    }
}
