//! Subscribers that are not level get what they lack, as fast as their sockets take it and others leave room.
//!
//! Whoever lags waits in a row and is given a slice at a time, into an outbox that is at most half full; when its socket has
//! taken that, it waits in the row again. What is read in another shard's log comes in the delivery lane: everything that was
//! sent here for all is before it, everything that will be is behind it. So whoever has read up to the place of the others is level
//! with them at that moment, and neither misses anything at the seam nor gets it twice.

use smallvec::SmallVec;

use shardwire_protocol::envelope::outbound::{self, GapReason};

use super::audience::AudienceKey;
use super::lag::{Dropped, Lag, Queued};
use super::place_on_the_wire;
use crate::bounds::{CATCH_UP_RECORDS, FETCHES_MAX, POSTPONED_WORK_MAX};
use crate::connections::{Flags, cost};
use crate::mesh::Lane;
use crate::shard::Shard;
use crate::vocabulary::{ConnectionId, Kept, Now, Position, ShardMessage, SharedFrame};

impl Shard {
    /// Whether somebody can go on catching up.
    pub(crate) fn has_catching_up(&self) -> bool {
        !self.channels.catching_up.is_empty()
    }

    /// Puts somebody who lags into the row, if it is not in it.
    pub(crate) fn queue_catching_up(&mut self, id: ConnectionId) {
        if let Some(connection) = self.registry.get_mut(id)
            && connection.flags.has(Flags::LAGGING)
            && !connection.flags.has(Flags::CATCHING_UP)
        {
            connection.flags.set(Flags::CATCHING_UP, true);
            self.channels.catching_up.push_back(id);
        }
    }

    /// Its socket has taken something: there may be room again.
    pub(crate) fn has_drained(&mut self, id: ConnectionId) {
        if self.has_room_for_more(id) {
            self.queue_catching_up(id);
        }
    }

    /// Those that waited for a question of another to be answered may ask.
    pub(crate) fn go_on_asking(&mut self) {
        for id in std::mem::take(&mut self.channels.parked) {
            self.queue_catching_up(id);
        }
    }

    fn has_room_for_more(&self, id: ConnectionId) -> bool {
        self.registry.get(id).is_some_and(|connection| {
            connection.is_reachable()
                && connection.outbox.len() <= self.settings.outbox_soft_limit / 2
        })
    }

    /// A slice for each of those in the row, as many as fit into a turn.
    pub(crate) fn catch_up(&mut self, now: Now) {
        let begun = self.work();
        for _ in 0..self.channels.catching_up.len() {
            if self.work() - begun > POSTPONED_WORK_MAX {
                break;
            }
            let Some(id) = self.channels.catching_up.pop_front() else {
                break;
            };
            let Some(connection) = self.registry.get_mut(id) else {
                continue;
            };
            connection.flags.set(Flags::CATCHING_UP, false);
            let lagging: SmallVec<[AudienceKey; 4]> = connection
                .memberships
                .iter()
                .filter(|it| it.lags)
                .map(|it| it.audience)
                .collect();
            for key in lagging {
                if !self.has_room_for_more(id) {
                    break;
                }
                self.catch_up_in(now, key, id);
            }
        }
    }

    fn catch_up_in(&mut self, now: Now, key: AudienceKey, id: ConnectionId) {
        match self.lag_mut(key, id) {
            Some(Lag::Log(cursor)) if cursor.asked.is_none() => {
                let next = cursor.next;
                self.read_on_in_log(now, key, id, next);
            }
            Some(Lag::Queue(_)) => self.empty_queue(key, id),
            _ => {}
        }
    }

    fn read_on_in_log(&mut self, now: Now, key: AudienceKey, id: ConnectionId, next: u64) {
        let bytes = self.settings.outbox_soft_limit / 2;
        let Some(audience) = self.channels.audiences.get(key) else {
            return;
        };
        let (Some(place), channel) = (audience.place, audience.name.clone()) else {
            return;
        };
        let since = Position {
            offset: next - 1,
            ..place
        };
        let home = self.placement.home_of_channel(&channel);
        if home == self.id {
            let (whole, part) = self.read_since(now, &channel, self.id, since, bytes);
            return self.give(key, id, whole, part.items, part.next);
        }
        let asking = &mut self.channels.asking[home.index()];
        if *asking >= FETCHES_MAX {
            return self.channels.parked.push(id);
        }
        let ask = self.channels.audiences.next_ask();
        let message = ShardMessage::Fetch {
            channel,
            shard: self.id,
            reader: id,
            ask,
            since,
            bytes,
        };
        if self.ends.send(home, Lane::Control, message).is_err() {
            // What is held back is tried again soon, and those parked with it.
            return self.channels.parked.push(id);
        }
        self.channels.asking[home.index()] += 1;
        if let Some(Lag::Log(cursor)) = self.lag_mut(key, id) {
            cursor.asked = Some(ask);
        }
    }

    /// Another shard has read in its log for one of ours.
    pub(crate) fn fetched(
        &mut self,
        channel: &str,
        reader: ConnectionId,
        ask: u32,
        whole: bool,
        items: Vec<Kept>,
        next: u64,
    ) {
        let home = self.placement.home_of_channel(channel);
        self.channels.asking[home.index()] -= 1;
        self.go_on_asking();
        let Some(key) = self.channels.audiences.find(channel) else {
            return;
        };
        match self.lag_mut(key, reader) {
            Some(Lag::Log(cursor)) if cursor.asked == Some(ask) => cursor.asked = None,
            // It has left, or left and come back, meanwhile.
            _ => return,
        }
        self.give(key, reader, whole, items, next);
    }

    /// Gives somebody what the log has for it, and takes it for level when that was all.
    fn give(
        &mut self,
        key: AudienceKey,
        id: ConnectionId,
        whole: bool,
        items: Vec<Kept>,
        next: u64,
    ) {
        let Some(audience) = self.channels.audiences.get(key) else {
            return;
        };
        let (Some(place), channel) = (audience.place, audience.name.clone()) else {
            return;
        };
        self.tell_recovered(key, id, &channel, place, whole);
        for item in items {
            match item {
                Kept::Record { frame, exclude, .. } => {
                    if !exclude.contains(&id) {
                        self.counters.history_deliveries += 1;
                        self.push_to(id, frame);
                    }
                }
                Kept::Gone { from, to } => {
                    let to = Position {
                        offset: to,
                        ..place
                    };
                    self.tell_evicted(id, &channel, from, to);
                }
            }
        }
        if let Some(Lag::Log(cursor)) = self.lag_mut(key, id) {
            cursor.next = next;
        }
        let level = next > place.offset;
        #[cfg(feature = "planted-faults")]
        let level = level
            || (next == place.offset && self.planted.strikes(crate::planted::Fault::EarlySeam));
        if level {
            self.set_level(key, id);
        }
        // For the rest of it, and for its other channels.
        self.has_drained(id);
    }

    fn tell_recovered(
        &mut self,
        key: AudienceKey,
        id: ConnectionId,
        channel: &str,
        place: Position,
        whole: bool,
    ) {
        let Some(Lag::Log(cursor)) = self.lag_mut(key, id) else {
            return;
        };
        let untold = std::mem::take(&mut cursor.untold);
        if untold.is_empty() {
            return;
        }
        // Where it is, not where the others are: if its connection ends before the rest has come, it can come back with this.
        let reached = Position {
            offset: cursor.next - 1,
            ..place
        };
        let counted = if whole {
            &mut self.counters.recoveries
        } else {
            &mut self.counters.recoveries_incomplete
        };
        *counted += 1;
        for reply in untold {
            self.tell_subscribed(id, channel, Some(reached), Some(whole), reply);
        }
    }

    /// A slice of what waits for a slow reader, the news of what does not first.
    fn empty_queue(&mut self, key: AudienceKey, id: ConnectionId) {
        let Some(audience) = self.channels.audiences.get(key) else {
            return;
        };
        let channel = audience.name.clone();
        for _ in 0..CATCH_UP_RECORDS {
            let Some(Lag::Queue(queue)) = self.lag_mut(key, id) else {
                return;
            };
            let before = queue.bytes();
            let (dropped, item) = (queue.take_dropped(), queue.pop());
            let after = queue.bytes();
            self.channels.queued_bytes -= before - after;
            if let Some(dropped) = dropped {
                self.tell_dropped(id, &channel, dropped);
            }
            match item {
                None => return self.set_level(key, id),
                Some(Queued::Frame(frame, _)) => self.push_to(id, frame),
                Some(Queued::Gap { from, to }) => self.tell_evicted(id, &channel, from, to),
            }
            if !self.has_room_for_more(id) {
                return;
            }
        }
        self.queue_catching_up(id);
    }

    /// One publication into one outbox.
    fn push_to(&mut self, id: ConnectionId, frame: SharedFrame) {
        self.scatter_for(id);
        let Some(connection) = self.registry.get_mut(id) else {
            return;
        };
        let len = frame.plain.len() as u64;
        let forms = self.frames.insert_shared(frame);
        connection.push_shared(
            id,
            &forms,
            &mut self.frames,
            &mut self.pool,
            &mut self.codec,
        );
        Self::ask_flush(&mut self.effects, &mut self.stuck, id, connection);
        self.frames.release_shared(&forms);
        self.work += cost::DELIVERY + len / cost::BYTES_PER_NANOSECOND;
        self.counters.deliveries += 1;
        self.counters.messages_sent += 1;
    }

    /// Tells somebody what it does not get because it is not kept any more.
    pub(crate) fn tell_evicted(
        &mut self,
        id: ConnectionId,
        channel: &str,
        from: u64,
        to: Position,
    ) {
        self.counters.gaps_told += 1;
        let to = place_on_the_wire(to);
        self.answer(id, |out| {
            outbound::gap(out, channel, from, to, GapReason::Evicted);
        });
    }

    fn tell_dropped(&mut self, id: ConnectionId, channel: &str, dropped: Dropped) {
        self.counters.gaps_told += 1;
        self.answer(id, |out| match dropped.range {
            Some((from, to)) => {
                let to = place_on_the_wire(to);
                outbound::gap(out, channel, from, to, GapReason::Slow);
            }
            None => {
                outbound::gap_without_history(out, channel, dropped.count, GapReason::Slow);
            }
        });
    }
}
