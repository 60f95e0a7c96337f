//! From one frame to the outboxes of a local audience.

use super::audience::Interest;
use crate::connections::cost;
use crate::shard::Shard;
use crate::vocabulary::{ConnectionId, SharedFrame};

impl Shard {
    /// Puts the frame into every member's outbox but the excluded ones': a reference each, no copy of the payload.
    ///
    /// What arrives while the home has still to answer was meant for an audience that has left since: the new one has not been
    /// told `subscribed`, and there may be a hole behind this frame.
    pub(crate) fn fan_out(&mut self, channel: &str, frame: SharedFrame, exclude: &[ConnectionId]) {
        let audiences = &self.channels.audiences;
        let Some(audience) = audiences.find(channel).and_then(|key| audiences.get(key)) else {
            return;
        };
        if audience.interest != Interest::Noted {
            return;
        }
        let forms = self.frames.insert_shared(frame);
        let mut deliveries = 0;
        for &id in &audience.members {
            if !exclude.is_empty() && exclude.contains(&id) {
                continue;
            }
            let Some(connection) = self.registry.get_mut(id) else {
                continue;
            };
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
            Self::ask_flush(&mut self.effects, &mut self.stuck, id, connection);
            deliveries += 1;
        }
        self.frames.release_shared(&forms);
        self.work += deliveries * cost::DELIVERY;
        self.counters.deliveries += deliveries;
        self.counters.messages_sent += deliveries;
    }
}
