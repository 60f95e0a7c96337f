//! Buckets of keys that have connections on several shards: the one at the key's home, and the copies of it elsewhere.

use ahash::AHashMap;
use smallvec::SmallVec;

use super::{Bucket, Rate, Rates};
use crate::mesh::Lane;
use crate::shard::Shard;
use crate::timers::{Tick, Wheel, tick_at};
use crate::vocabulary::{LimitedKey, Now, ShardId, ShardMessage};

#[derive(Debug, Default)]
struct Shared {
    bucket: Bucket,
    /// Taken from a copy and not yet told to the home.
    unreported: u32,
    /// At home: shards that keep a copy, because they have taken from it since it was full.
    copies: SmallVec<[ShardId; 2]>,
    /// At home: what they know at least, as the moment at which it will be full.
    told_ns: u64,
}

/// The buckets of users and addresses that are not full.
#[derive(Debug, Default)]
pub(crate) struct SharedBuckets {
    buckets: AHashMap<LimitedKey, Shared>,
    /// Keys with something unreported.
    dirty: Vec<LimitedKey>,
    /// When to look whether a bucket is full again, once for every bucket. Made with the first bucket.
    refills: Option<Box<Wheel<LimitedKey>>>,
    due: Vec<LimitedKey>,
}

impl SharedBuckets {
    /// The bucket of a key; one that was not held is full, and is looked at again when it may be.
    fn get(&mut self, now: Now, key: &LimitedKey) -> &mut Shared {
        if !self.buckets.contains_key(key) {
            // Whatever is taken now, half a second later is soon enough to look.
            let at = tick_at(now.ms + 500);
            self.refills.get_or_insert_default().arm(at, key.clone());
            self.buckets.insert(key.clone(), Shared::default());
        }
        self.buckets.get_mut(key).expect("inserted just above")
    }

    pub(crate) fn next_tick(&self) -> Option<Tick> {
        self.refills.as_ref()?.next_tick()
    }

    /// Forgets buckets that are full again.
    pub(crate) fn sweep(&mut self, now: Now, tick: Tick) {
        let Some(refills) = &mut self.refills else {
            return;
        };
        refills.advance(tick, |key| self.due.push(key));
        for key in self.due.drain(..) {
            let Some(shared) = self.buckets.get(&key) else {
                continue;
            };
            let full_at_ms = shared.bucket.full_at_ms();
            if full_at_ms <= now.ms && shared.unreported == 0 {
                self.buckets.remove(&key);
            } else {
                refills.arm(tick_at(full_at_ms), key);
            }
        }
    }

    /// Buckets held.
    pub(crate) fn held(&self) -> usize {
        self.buckets.len()
    }
}

impl Rates {
    fn of(&self, key: &LimitedKey) -> Option<Rate> {
        match key {
            LimitedKey::User(_) => self.user_messages,
            LimitedKey::Address(_) => self.ip_messages,
        }
    }
}

impl Shard {
    /// Takes one token of a user or an address.
    pub(super) fn pay_shared(&mut self, now: Now, key: LimitedKey, rate: &Rate) -> bool {
        let at_home = self.home_of(&key) == self.id;
        let shared = self.shared_buckets.get(now, &key);
        if shared.bucket.take(now.ms, rate, 1).is_err() {
            return false;
        }
        if at_home {
            self.tell_copies(now, &key, rate, None);
        } else {
            shared.unreported += 1;
            if shared.unreported == 1 {
                self.shared_buckets.dirty.push(key);
            }
        }
        true
    }

    /// After every input: tells the homes what was taken. What finds its lane full is told with the next one, which the
    /// lane's own retry brings.
    pub(crate) fn report_spending(&mut self) {
        if self.shared_buckets.dirty.is_empty() {
            return;
        }
        let mut dirty = std::mem::take(&mut self.shared_buckets.dirty);
        dirty.retain(|key| {
            let home = self.home_of(key);
            let Some(shared) = self.shared_buckets.buckets.get_mut(key) else {
                return false;
            };
            if self.ends.is_full(home, Lane::Control) {
                return true;
            }
            let spent = ShardMessage::Spent {
                key: key.clone(),
                shard: self.id,
                tokens: std::mem::take(&mut shared.unreported),
                full_at_ns: shared.bucket.full_at_ns(),
            };
            self.ends.post(home, Lane::Control, spent);
            false
        });
        self.shared_buckets.dirty = dirty;
    }

    /// At home: another shard let messages through. It is told if it believes there is more left than there is.
    pub(crate) fn charge_spending(
        &mut self,
        now: Now,
        key: LimitedKey,
        shard: ShardId,
        tokens: u32,
        full_at_ns: u64,
    ) {
        let Some(rate) = self.settings.rates.of(&key) else {
            return;
        };
        let shared = self.shared_buckets.get(now, &key);
        shared.bucket.charge(now.ms, &rate, u64::from(tokens));
        if !shared.copies.contains(&shard) {
            shared.copies.push(shard);
        }
        let owed = shared.bucket.full_at_ns();
        // A token more or less is the time the mail took.
        if owed > full_at_ns.saturating_add(rate.time_of(1)) {
            let message = ShardMessage::Owed {
                key: key.clone(),
                full_at_ns: owed,
            };
            self.ends.post(shard, Lane::Control, message);
        }
        self.tell_copies(now, &key, &rate, Some(shard));
    }

    /// At home: whenever a quarter of the burst was taken, or the last token, every copy hears of it, but the one that knows.
    fn tell_copies(&mut self, now: Now, key: &LimitedKey, rate: &Rate, knows: Option<ShardId>) {
        let Some(shared) = self.shared_buckets.buckets.get_mut(key) else {
            return;
        };
        let owed = shared.bucket.full_at_ns();
        let news = owed > shared.told_ns.saturating_add(rate.quarter());
        let last = owed > shared.told_ns && shared.bucket.is_empty(now.ms, rate);
        if !news && !last {
            return;
        }
        shared.told_ns = owed;
        for shard in shared.copies.iter().filter(|shard| Some(**shard) != knows) {
            let message = ShardMessage::Owed {
                key: key.clone(),
                full_at_ns: owed,
            };
            self.ends.post(*shard, Lane::Control, message);
        }
    }

    /// Elsewhere: the home knows of more that was taken than this shard did. No more can be owed than one burst for every shard;
    /// a home that has not heard yet of a new rate may say so.
    pub(crate) fn note_owed(&mut self, now: Now, key: &LimitedKey, full_at_ns: u64) {
        let Some(rate) = self.settings.rates.of(key) else {
            return;
        };
        let bursts = u64::from(self.placement.shards()) + 1;
        let latest = now
            .ms
            .saturating_mul(1_000_000)
            .saturating_add(rate.depth().saturating_mul(bursts));
        let full_at_ns = full_at_ns.min(latest);
        let shared = self.shared_buckets.get(now, key);
        let later = shared.bucket.full_at_ns().max(full_at_ns);
        shared.bucket = Bucket::full_at(later);
    }
}
