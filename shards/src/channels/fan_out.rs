//! From one frame to the outboxes of a local audience.

use smallvec::SmallVec;

use super::audience::{Audience, AudienceKey, Interest};
use super::lag::{Cursor, Lag, Queue, Queued};
use crate::connections::{Flags, cost};
use crate::history::SlowPolicy;
use crate::shard::Shard;
use crate::vocabulary::{ConnectionId, Position, SharedFrame};

impl Shard {
    /// Puts the frame into every member's outbox but the excluded ones': a reference each, no copy of the payload.
    ///
    /// What arrives while the home has still to answer was meant for an audience that has left since: the new one has not been
    /// told `subscribed`, and there may be a hole behind this frame.
    pub(crate) fn fan_out(
        &mut self,
        channel: &str,
        frame: SharedFrame,
        exclude: &[ConnectionId],
        place: Option<Position>,
    ) {
        let audiences = &self.channels.audiences;
        let Some(key) = audiences.find(channel) else {
            return;
        };
        let noted = |audience: &Audience| audience.interest == Interest::Noted;
        if !audiences.get(key).is_some_and(noted) {
            return;
        }
        let Some(frame) = self.gather(key, frame, exclude) else {
            return;
        };
        self.scatter_all_of(key);
        let deliveries = self.give_members(key, frame, exclude, place, 1);
        self.work += deliveries * cost::DELIVERY;
    }

    /// Puts a frame that holds so many publications into the outbox of every member; how many members that were.
    pub(super) fn give_members(
        &mut self,
        key: AudienceKey,
        frame: SharedFrame,
        exclude: &[ConnectionId],
        place: Option<Position>,
        publications: u64,
    ) -> u64 {
        let Some(audience) = self.channels.audiences.get_mut(key) else {
            return 0;
        };
        if let Some(place) = place {
            debug_assert!(
                audience
                    .place
                    .is_some_and(|last| last.offset < place.offset)
            );
            audience.place = Some(place);
        }
        // Without a policy of the channel's own, what waits in the outbox decides, when it is judged.
        let patient = audience.slow != SlowPolicy::Disconnect;
        let lagging = !audience.laggards.is_empty();
        let kept = (patient || lagging).then(|| frame.clone());
        let mut slow: SmallVec<[ConnectionId; 8]> = SmallVec::new();
        let forms = self.frames.insert_shared(frame);
        let in_row = self.row.is_for(audience.members.len());
        if in_row {
            self.row.begin();
        }
        let mut deliveries = 0;
        for &id in &audience.members {
            if !exclude.is_empty() && exclude.contains(&id) {
                continue;
            }
            let Some(connection) = self.registry.get_mut(id) else {
                continue;
            };
            if patient
                && connection.flags.has(Flags::BLOCKED)
                && connection.outbox.len() > self.settings.outbox_soft_limit
            {
                slow.push(id);
                continue;
            }
            #[cfg(feature = "planted-faults")]
            {
                use crate::planted::Fault;
                if self.planted.strikes(Fault::SkipDelivery) {
                    continue;
                }
                if self.planted.strikes(Fault::DoubleDelivery) {
                    connection.push_shared(
                        id,
                        &forms,
                        &mut self.frames,
                        &mut self.pool,
                        &mut self.codec,
                    );
                }
            }
            connection.push_shared(
                id,
                &forms,
                &mut self.frames,
                &mut self.pool,
                &mut self.codec,
            );
            if in_row {
                self.row.enter(&mut self.stuck, id, connection);
            } else {
                Self::ask_flush(&mut self.effects, &mut self.stuck, id, connection);
            }
            deliveries += 1;
        }
        let policy = audience.slow;
        self.frames.release_shared(&forms);
        self.counters.deliveries += deliveries * publications;
        self.counters.messages_sent += deliveries * publications;
        if let Some(frame) = kept {
            if lagging {
                self.queue_for_laggards(key, &Queued::Frame(frame.clone(), place), exclude);
            }
            for id in slow {
                self.fall_behind(key, id, policy, &frame, place);
            }
        }
        deliveries
    }

    /// Publications did not come here, and are not kept any more: everybody is told.
    pub(crate) fn skip(&mut self, channel: &str, from: u64, to: Position) {
        let audiences = &mut self.channels.audiences;
        let Some(key) = audiences.find(channel) else {
            return;
        };
        let Some(audience) = audiences.get_mut(key) else {
            return;
        };
        if audience.interest != Interest::Noted {
            return;
        }
        audience.place = Some(to);
        let members = audience.members.clone();
        for id in members {
            self.tell_evicted(id, channel, from, to);
        }
        self.queue_for_laggards(key, &Queued::Gap { from, to }, &[]);
    }

    /// A member reads too slowly: it gets nothing directly until it has caught up.
    fn fall_behind(
        &mut self,
        key: AudienceKey,
        id: ConnectionId,
        policy: SlowPolicy,
        frame: &SharedFrame,
        place: Option<Position>,
    ) {
        self.counters.fallen_behind += 1;
        let lag = match (policy, place) {
            (SlowPolicy::CatchUp, Some(place)) => Lag::Log(Cursor {
                next: place.offset,
                ..Cursor::default()
            }),
            (SlowPolicy::CatchUp, None) => {
                // A volatile one, of which there is no other copy: that is what volatile means.
                self.counters.fallen_behind -= 1;
                self.counters.volatile_dropped += 1;
                return;
            }
            (policy, _) => Lag::Queue(Queue::new(policy == SlowPolicy::KeepLatest)),
        };
        let queues = matches!(lag, Lag::Queue(_));
        self.set_lagging(key, id, lag);
        if queues {
            self.queue_for(key, id, Queued::Frame(frame.clone(), place));
        }
    }
}
