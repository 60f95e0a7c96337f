//! Moving subscribers between those that are level and those that are not, and what waits for the latter.

use super::audience::{AudienceKey, Membership};
use super::lag::{Lag, Laggard, Queued};
use crate::connections::Flags;
use crate::shard::Shard;
use crate::vocabulary::ConnectionId;

impl Shard {
    fn membership(&self, key: AudienceKey, id: ConnectionId) -> Option<Membership> {
        let memberships = &self.registry.get(id)?.memberships;
        memberships.iter().copied().find(|it| it.audience == key)
    }

    /// Where somebody is in its audience has changed.
    fn set_membership(&mut self, key: AudienceKey, id: ConnectionId, position: usize, lags: bool) {
        let membership = self.registry.get_mut(id).and_then(|connection| {
            let memberships = &mut connection.memberships;
            memberships.iter_mut().find(|it| it.audience == key)
        });
        if let Some(membership) = membership {
            membership.position =
                u32::try_from(position).expect("an audience is at most all connections of a shard");
            membership.lags = lags;
        }
    }

    /// Takes somebody out of its place; the last one moves there, and is told.
    pub(crate) fn take_place(&mut self, membership: Membership) -> Option<Lag> {
        let key = membership.audience;
        self.scatter_all_of(key);
        let at = membership.position as usize;
        let audience = self.channels.audiences.get_mut(key)?;
        let (moved, lag) = if membership.lags {
            let laggard = audience.laggards.swap_remove(at);
            (
                audience.laggards.get(at).map(|laggard| laggard.id),
                Some(laggard.lag),
            )
        } else {
            audience.members.swap_remove(at);
            (audience.members.get(at).copied(), None)
        };
        if let Some(moved) = moved {
            self.set_membership(key, moved, at, membership.lags);
        }
        if let Some(lag) = &lag {
            self.channels.queued_bytes -= lag.bytes();
        }
        lag
    }

    /// From the level ones to the others.
    pub(crate) fn set_lagging(&mut self, key: AudienceKey, id: ConnectionId, lag: Lag) {
        let Some(membership) = self.membership(key, id).filter(|it| !it.lags) else {
            return;
        };
        self.take_place(membership);
        let Some(audience) = self.channels.audiences.get_mut(key) else {
            return;
        };
        self.channels.queued_bytes += lag.bytes();
        audience.laggards.push(Laggard { id, lag });
        let position = audience.laggards.len() - 1;
        self.set_membership(key, id, position, true);
        if let Some(connection) = self.registry.get_mut(id) {
            connection.flags.set(Flags::LAGGING, true);
        }
    }

    /// It has caught up.
    pub(crate) fn set_level(&mut self, key: AudienceKey, id: ConnectionId) {
        let Some(membership) = self.membership(key, id).filter(|it| it.lags) else {
            return;
        };
        self.take_place(membership);
        let Some(audience) = self.channels.audiences.get_mut(key) else {
            return;
        };
        audience.members.push(id);
        let position = audience.members.len() - 1;
        self.set_membership(key, id, position, false);
        self.note_lagging(id);
    }

    /// Whether it lags anywhere may have changed.
    pub(crate) fn note_lagging(&mut self, id: ConnectionId) {
        if let Some(connection) = self.registry.get_mut(id) {
            let lags = connection.memberships.iter().any(|it| it.lags);
            connection.flags.set(Flags::LAGGING, lags);
        }
    }

    /// What it lags by in this audience.
    pub(crate) fn lag_mut(&mut self, key: AudienceKey, id: ConnectionId) -> Option<&mut Lag> {
        let membership = self.membership(key, id)?;
        self.channels.audiences.get_mut(key)?.lag_mut(membership)
    }

    /// Something for everybody for whom publications of this channel wait.
    pub(crate) fn queue_for_laggards(
        &mut self,
        key: AudienceKey,
        item: &Queued,
        exclude: &[ConnectionId],
    ) {
        let Some(audience) = self.channels.audiences.get(key) else {
            return;
        };
        for at in 0..audience.laggards.len() {
            let Some(laggard) = self
                .channels
                .audiences
                .get(key)
                .and_then(|audience| audience.laggards.get(at))
            else {
                return;
            };
            let id = laggard.id;
            if matches!(laggard.lag, Lag::Queue(_)) && !exclude.contains(&id) {
                self.queue_for(key, id, item.clone());
            }
        }
    }

    /// Something for one of them, inside the bounds of its connection and of the shard.
    pub(crate) fn queue_for(&mut self, key: AudienceKey, id: ConnectionId, item: Queued) {
        let Some(connection) = self.registry.get(id) else {
            return;
        };
        let elsewhere: usize = connection
            .memberships
            .iter()
            .filter(|it| it.lags && it.audience != key)
            .filter_map(|it| {
                let audience = self.channels.audiences.get(it.audience)?;
                audience.laggards.get(it.position as usize)
            })
            .map(|laggard| laggard.lag.bytes())
            .sum();
        let taken = connection.outbox.len() + elsewhere;
        let of_connection = self.settings.outbox_hard_limit.saturating_sub(taken);
        let before = self.lag_mut(key, id).map_or(0, |lag| lag.bytes());
        let others = self.channels.queued_bytes - before;
        let of_shard = self.settings.channels.slow_memory.saturating_sub(others);
        let Some(Lag::Queue(queue)) = self.lag_mut(key, id) else {
            return;
        };
        let dropped = queue.push(item, of_connection.min(of_shard));
        let after = queue.bytes();
        self.channels.queued_bytes = others + after;
        self.counters.messages_dropped += dropped;
    }
}
