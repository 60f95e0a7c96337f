//! `$shards`: connections per shard, about once a second, while somebody listens.

use crate::bounds::SHARD_COUNT_INTERVAL_MS;
use crate::channels::{Body, SHARD_COUNTS};
use crate::history::Origin;
use crate::mesh::Lane;
use crate::shard::Shard;
use crate::vocabulary::{Now, ShardId, ShardMessage};

/// One round of asking every shard; runs on the home of `$shards` only.
#[derive(Debug, Default)]
pub(crate) struct CountRound {
    next: Option<u64>,
    number: u32,
    counts: Vec<u64>,
    missing: usize,
}

impl CountRound {
    /// Somebody (or nobody any more) listens.
    pub(crate) fn wanted(&mut self, now: Now, on: bool) {
        if !on {
            self.next = None;
        } else if self.next.is_none() {
            self.next = Some(now.ms);
        }
    }

    pub(crate) fn deadline(&self) -> Option<u64> {
        self.next
    }
}

impl Shard {
    /// Begins a round if one is due. A round in which a shard did not answer in time is given up for the next.
    pub(crate) fn count_shards(&mut self, now: Now) {
        if self.count_round.next.is_none_or(|next| next > now.ms) {
            return;
        }
        self.count_round.next = Some(now.ms + SHARD_COUNT_INTERVAL_MS);
        let shards = usize::from(self.placement.shards());
        self.count_round.number = self.count_round.number.wrapping_add(1);
        let round = self.count_round.number;
        self.count_round.counts.clear();
        self.count_round.counts.resize(shards, 0);
        self.count_round.missing = shards;
        for shard in self.placement.all() {
            if shard == self.id {
                self.note_count(now, shard, round, self.registry.len() as u64);
            } else if self
                .ends
                .send(
                    shard,
                    Lane::Control,
                    ShardMessage::CountQuery {
                        shard: self.id,
                        round,
                    },
                )
                .is_err()
            {
                // A shard whose way is full is not asked; the round stays incomplete and nothing is published.
                continue;
            }
        }
    }

    pub(crate) fn answer_count(&mut self, shard: ShardId, round: u32) {
        let count = ShardMessage::Count {
            shard: self.id,
            round,
            connections: self.registry.len() as u64,
        };
        self.ends.post(shard, Lane::Control, count);
    }

    pub(crate) fn note_count(&mut self, now: Now, shard: ShardId, number: u32, connections: u64) {
        let round = &mut self.count_round;
        if round.missing == 0 || round.number != number {
            return;
        }
        round.counts[shard.index()] = connections;
        round.missing -= 1;
        if round.missing == 0 {
            let list: Vec<String> = round.counts.iter().map(u64::to_string).collect();
            let message = format!("{{\"shards\":[{}]}}", list.join(","));
            let origin = Origin::default();
            let body = Body::Message(message.as_bytes());
            self.publish_at_home(now, SHARD_COUNTS, body, &[], origin);
        }
    }
}
