//! Plain counters and gauges of one shard, their sum, and the count of connections per shard that `$shards` tells.
//!
//! **Lives here:** numbers, owned by one shard, folded by `+`; for each its name and what it counts. **Does not:** text formats,
//! clocks, atomics.
//! **Invariants:** counters only grow; nobody counts shards while nobody listens; reading the numbers does not depend on how
//! many connections there are.
//! **Called by:** every room (counting), the world (reading). **Calls:** `channels/` (publishing the counts).
//! **Tests:** below, `tests/channels.rs` and `tests/gauges.rs`; the list in `docs/reference/metrics.md` is made from the
//! tables here.
//!
//! Who adds a number adds one line to a table below, with its meaning and its name, and runs the tests of the engine with
//! `UPDATE_REFERENCE=1`.

mod ends;
mod shard_counts;

pub use ends::{END_KINDS, EndCounts, EndKind};
pub(crate) use shard_counts::CountRound;

use std::ops::AddAssign;

use crate::shard::Shard;

/// One number of a table: what it is called, what it means, and where it stands.
#[derive(Clone, Copy, Debug)]
pub struct Number<T> {
    /// `<room>_<noun>_<unit>`, without the product's name before it.
    pub name: &'static str,
    /// What it tells, one sentence.
    pub help: &'static str,
    /// Takes it out.
    pub value: fn(&T) -> u64,
}

macro_rules! numbers {
    ($(#[$about:meta])* $table:ident { $($(#[doc = $doc:literal])+ $name:ident: $metric:literal),* $(,)? }) => {
        $(#[$about])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        pub struct $table { $($(#[doc = $doc])+ pub $name: u64),* }

        impl $table {
            /// Every number of this table, in the order it is declared in.
            pub const ALL: &[Number<Self>] = &[$(Number {
                name: $metric,
                help: concat!($($doc),+),
                value: |table| table.$name,
            }),*];
        }

        impl AddAssign for $table {
            fn add_assign(&mut self, other: Self) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

numbers! {
    /// What one shard has counted since it started.
    Counters {
        /// Sockets that became connections.
        connections_opened: "connections_opened_total",
        /// Connections that are gone.
        connections_closed: "connections_closed_total",
        /// Connections that went to another shard when their user was known; they were opened here and are opened there again.
        connections_handed_off: "connections_handed_off_total",
        /// Sockets refused for a limit.
        connections_refused: "connections_refused_total",
        /// Connections closed because the peer broke the protocol.
        connections_failed: "connections_failed_total",
        /// Pings sent to silent peers.
        pings_sent: "connections_pings_sent_total",
        /// Connections closed because a pinged peer stayed silent.
        heartbeat_timeouts: "connections_heartbeat_timeouts_total",
        /// Connections closed because the peer did not read.
        slow_consumers: "connections_slow_consumers_total",
        /// Messages from clients.
        messages_received: "connections_messages_received_total",
        /// Messages refused for their rate.
        messages_refused: "rate_limits_messages_refused_total",
        /// Messages to clients.
        messages_sent: "connections_messages_sent_total",
        /// Bytes from sockets.
        bytes_received: "connections_received_bytes_total",
        /// Bytes taken by sockets.
        bytes_sent: "connections_sent_bytes_total",
        /// Answers of type `error`.
        errors_answered: "routing_errors_answered_total",
        /// Application handlers called.
        calls: "handlers_calls_total",
        /// Application handlers that gave an error, panicked or took too long.
        calls_failed: "handlers_calls_failed_total",
        /// Publications that entered here.
        publications: "channels_publications_total",
        /// Publications refused because a way was full.
        publications_refused: "channels_publications_refused_total",
        /// Messages put into outboxes by fan-out, and out of logs and queues.
        deliveries: "channels_deliveries_total",
        /// Times a subscriber fell behind the others of its channel because it read too slowly.
        fallen_behind: "channels_fallen_behind_total",
        /// Publications that slow subscribers were told they would not get.
        messages_dropped: "channels_dropped_messages_total",
        /// Gaps told to subscribers.
        gaps_told: "channels_gaps_total",
        /// Times a shard's lane was full for a channel with history; what it missed followed.
        lanes_overflowed: "channels_lanes_overflowed_total",
        /// Volatile publications that did not reach a shard or subscriber.
        volatile_dropped: "channels_volatile_dropped_total",
        /// Subscriptions that got everything from where they had been.
        recoveries: "channels_recoveries_total",
        /// Subscriptions that did not.
        recoveries_incomplete: "channels_recoveries_incomplete_total",
        /// Records put into logs.
        history_records: "history_records_total",
        /// Records that had to go before their time because the logs of the shard took too much.
        history_evicted: "history_evicted_total",
        /// Publications given to subscribers out of a log.
        history_deliveries: "history_deliveries_total",
        /// Publications known for repetitions by their idempotency key.
        publications_repeated: "history_repeated_total",
        /// Connections that came into chat rooms homed here.
        rooms_joined: "chat_joined_total",
        /// Messages said in chat rooms homed here.
        room_messages: "chat_messages_total",
        /// Publications refused because they could not be stored.
        publications_unstored: "history_unstored_total",
        /// Edits that took their place in a document homed here.
        document_edits: "collaboration_edits_total",
        /// Edits that had been carried out before, and were acknowledged again.
        document_edits_repeated: "collaboration_edits_repeated_total",
        /// Edits that were refused.
        document_edits_refused: "collaboration_edits_refused_total",
        /// Edits made on a version too far back, whose authors were sent the whole document instead.
        document_edits_resent: "collaboration_edits_resent_total",
        /// Times the store refused to keep something of a document homed here; the edits were undone, and their authors told.
        documents_unstored: "collaboration_unstored_total",
        /// Times a connection joined a document homed here, or joined it again.
        document_joins: "collaboration_joins_total",
        /// Documents read from the store because somebody wanted them.
        document_loads: "collaboration_loads_total",
        /// Times the store could not read a document.
        document_loads_failed: "collaboration_loads_failed_total",
        /// Cursor positions told to the members of documents homed here.
        document_cursors: "collaboration_cursors_total",
        /// Notifications put into inboxes.
        notifications_put: "notifications_put_total",
        /// Notifications written to a socket of their user.
        notifications_delivered: "notifications_delivered_total",
        /// Notifications that reached no connection when they were sent.
        notifications_unreached: "notifications_unreached_total",
        /// Notifications that had to go before their time because their inbox was full.
        notifications_dropped: "notifications_dropped_total",
        /// Notifications whose time has passed.
        notifications_expired: "notifications_expired_total",
        /// Notifications that were not taken: too large, no room, or they could not be stored.
        notifications_refused: "notifications_refused_total",
        /// Changes of users' presence.
        presence_changes: "presence_changes_total",
        /// Messages to all who watch who is in a channel: changes, numbers, lists.
        presence_messages: "presence_messages_total",
        /// Such messages that had to wait because a way was full.
        presence_refused: "presence_refused_total",
        /// States given to those who begin to watch.
        presence_states: "presence_states_total",
    }
}

numbers! {
    /// What one shard holds at the moment.
    Gauges {
        /// Connections, those being opened or closed included.
        connections: "connections_held",
        /// Bytes that wait in outboxes for their sockets.
        waiting_bytes: "connections_waiting_bytes",
        /// Frames that several outboxes wait to send, each counted once.
        shared_frames: "connections_shared_frames",
        /// Channels with an audience on the shard.
        local_channels: "channels_local",
        /// Channels whose home the shard is and that have an audience on some shard.
        homed_channels: "channels_homed",
        /// Subscriptions of the shard's connections.
        subscriptions: "channels_subscriptions",
        /// Users with connections whose home the shard is.
        users: "users_homed",
        /// Addresses whose connections the shard counts.
        addresses: "users_addresses",
        /// Users homed here of whom something is known.
        presence_records: "presence_records",
        /// Members of the channels whose presence is told from here.
        presence_members: "presence_members",
        /// Those channels.
        presence_channels: "presence_channels",
        /// Buckets of rates of users and addresses.
        buckets: "rate_limits_buckets",
        /// Bytes of memory promised to connections that compress with a context.
        promised_bytes: "connections_promised_bytes",
        /// Messages for other shards that wait because a lane is full.
        held_mail: "mesh_held_messages",
        /// Logs of channels homed here.
        logs: "history_logs",
        /// Bytes they take.
        log_bytes: "history_bytes",
        /// Subscribers that are not level with the others of their channel: they recover, or read too slowly.
        laggards: "channels_laggards",
        /// Bytes that wait for slow subscribers besides their outboxes.
        queued_bytes: "channels_queued_bytes",
        /// Documents held in memory by their home.
        documents: "collaboration_documents",
        /// Documents that are in the store only.
        documents_unloaded: "collaboration_unloaded_documents",
        /// Members of those.
        document_members: "collaboration_members",
        /// Bytes of memory those take.
        document_bytes: "collaboration_bytes",
        /// Chat rooms homed here with anybody in them.
        rooms: "chat_rooms",
        /// Connections in chat rooms, or on their way in.
        room_members: "chat_members",
        /// Inboxes homed here.
        inboxes: "notifications_inboxes",
        /// Notifications in them.
        notifications: "notifications_held",
        /// Bytes they take.
        inbox_bytes: "notifications_bytes",
        /// Timers that have not fired.
        timers: "timers_armed",
    }
}

impl Shard {
    /// What has been counted so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// How connections ended so far.
    #[must_use]
    pub fn ends(&self) -> &EndCounts {
        &self.end_counts
    }

    /// What is held now. Cheap however many connections there are.
    #[must_use]
    pub fn gauges(&self) -> Gauges {
        let residue = self.residue();
        Gauges {
            connections: residue.connections as u64,
            waiting_bytes: self.pool.waiting() as u64,
            shared_frames: residue.frames as u64,
            local_channels: residue.local_channels as u64,
            homed_channels: residue.homed_channels as u64,
            subscriptions: self.channels.memberships as u64,
            users: residue.counted_users as u64,
            addresses: residue.counted_addresses as u64,
            presence_records: residue.presence_records as u64,
            presence_members: residue.presence_members as u64,
            presence_channels: residue.presence_channels as u64,
            buckets: residue.buckets as u64,
            promised_bytes: residue.promised_bytes as u64,
            held_mail: residue.held_mail as u64,
            logs: residue.logs as u64,
            log_bytes: residue.log_bytes as u64,
            laggards: residue.laggards as u64,
            queued_bytes: residue.queued_bytes as u64,
            documents: self.documents.len() as u64,
            documents_unloaded: self.documents.unloaded() as u64,
            document_members: self.documents.members() as u64,
            document_bytes: self.documents.bytes() as u64,
            rooms: residue.rooms as u64,
            room_members: residue.seats as u64,
            inboxes: residue.inboxes as u64,
            notifications: self.notifications.held() as u64,
            inbox_bytes: residue.inbox_bytes as u64,
            timers: self.wheel.armed() as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_is_the_sum_of_the_shards() {
        let mut sum = Counters {
            deliveries: 3,
            ..Counters::default()
        };
        sum += Counters {
            deliveries: 4,
            pings_sent: 1,
            ..Counters::default()
        };
        assert_eq!(
            sum,
            Counters {
                deliveries: 7,
                pings_sent: 1,
                ..Counters::default()
            }
        );
    }

    #[test]
    fn a_table_names_every_number_once_and_says_what_it_means() {
        let counters = Counters {
            deliveries: 7,
            ..Counters::default()
        };
        let told: Vec<u64> = Counters::ALL
            .iter()
            .filter(|number| number.name == "channels_deliveries_total")
            .map(|number| (number.value)(&counters))
            .collect();
        assert_eq!(told, [7]);
        let names = Counters::ALL
            .iter()
            .map(|number| (number.name, number.help));
        let gauges = Gauges::ALL.iter().map(|number| (number.name, number.help));
        let all: Vec<_> = names.chain(gauges).collect();
        for (at, (name, help)) in all.iter().enumerate() {
            assert!(help.trim().ends_with('.'), "{name}: {help}");
            assert!(
                all[at + 1..].iter().all(|(other, _)| other != name),
                "{name} is there twice"
            );
        }
        for number in Counters::ALL {
            assert!(number.name.ends_with("_total"), "{}", number.name);
        }
    }
}
