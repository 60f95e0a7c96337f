//! What one message costs, and what becomes of a client that cannot pay.

use shardwire_protocol::codes::{ErrorCode, close};
use shardwire_protocol::envelope;

use super::{Bucket, SharedBuckets};
use crate::shard::Shard;
use crate::vocabulary::{ConnectionId, LimitedKey, Now};

/// The buckets of one connection; made when it first sends something while there are limits.
#[derive(Debug, Default)]
pub(crate) struct Buckets {
    messages: Bucket,
    bytes: Bucket,
    refused: Bucket,
}

impl Shard {
    /// The rates have changed. What is owed is counted in time, which means nothing under another rate: who has used up a slow rate
    /// for an hour would be refused for that hour under a fast one. So everybody begins anew.
    pub(crate) fn fill_all_buckets(&mut self) {
        let ids: Vec<ConnectionId> = self.registry.ids().collect();
        for id in ids {
            if let Some(connection) = self.registry.get_mut(id) {
                connection.buckets = None;
            }
        }
        self.shared_buckets = SharedBuckets::default();
        self.node_count.fill_bucket();
    }

    /// Takes what a message of so many payload bytes costs from every bucket it is limited by. False: one of them is empty.
    pub(crate) fn pay_for_message(&mut self, now: Now, id: ConnectionId, bytes: usize) -> bool {
        let rates = self.settings.rates;
        if !rates.limit_messages() {
            return true;
        }
        let Some(connection) = self.registry.get_mut(id) else {
            return false;
        };
        let buckets = connection.buckets.get_or_insert_default();
        let mut paid = true;
        if let Some(rate) = &rates.connection_messages {
            paid &= buckets.messages.take(now.ms, rate, 1).is_ok();
        }
        if let Some(rate) = &rates.connection_bytes {
            paid = paid && buckets.bytes.take(now.ms, rate, bytes as u64).is_ok();
        }
        if !paid {
            return false;
        }
        let user = rates.user_messages.zip(connection.user.clone());
        let address = rates.ip_messages.map(|rate| (rate, connection.address));
        if let Some((rate, user)) = user
            && !self.pay_shared(now, LimitedKey::User(user), &rate)
        {
            return false;
        }
        if let Some((rate, address)) = address
            && !self.pay_shared(
                now,
                LimitedKey::Address(crate::users::limited_address(address)),
                &rate,
            )
        {
            return false;
        }
        true
    }

    /// Tells a client that its message came too fast (contract W6), or, if it does not listen to that, goodbye. `text`: the
    /// message, for its `id`.
    pub(crate) fn refuse_for_rate(&mut self, now: Now, id: ConnectionId, text: Option<&str>) {
        self.counters.messages_refused += 1;
        let rate = self.settings.rates.refused;
        let Some(connection) = self.registry.get_mut(id) else {
            return;
        };
        let buckets = connection.buckets.get_or_insert_default();
        if buckets.refused.take(now.ms, &rate, 1).is_err() {
            self.close(now, id, close::TOO_MANY_MESSAGES, "too many messages");
            return;
        }
        let inbound = text.and_then(|text| envelope::parse(text).ok());
        let reply = inbound.and_then(|inbound| inbound.id);
        self.answer_error(id, ErrorCode::RateLimitExceeded, reply);
    }
}
