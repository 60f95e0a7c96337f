//! Publications of one turn, put behind each other for an audience: its members get them as one frame, whose bytes all of them share.
//!
//! What reaches members one by one costs each of them a copy or a slice of its own; behind each other they cost as much as one. What is
//! gathered is given to the members before anything else is said to one of them, and at the latest when the turn's effects begin, so
//! nobody sees another order or another moment.
//!
//! A huge audience is written to over several turns (`connections/row`). What is published to one meanwhile is held for it until all that was
//! to be written is written, so that a shard with much to write has few, long writes, as it would without slices. It is given before its
//! members change, and behind nothing else of its channel; between channels, and between a channel and answers, nothing is promised.

use bytes::{Bytes, BytesMut};

use super::audience::{Audience, AudienceKey, Interest};
use crate::bounds::{GATHERED_BYTES_MAX, GATHERED_MEMBERS_MIN};
use crate::connections::cost;
use crate::history::SlowPolicy;
use crate::shard::Shard;
use crate::vocabulary::{ConnectionId, SharedFrame};

/// What one audience has still to be given.
#[derive(Debug, Default)]
pub(crate) struct Gathering {
    audience: Option<AudienceKey>,
    /// The first, as it came.
    first: Bytes,
    /// All of them, once there are two.
    behind: Vec<u8>,
    publications: u64,
}

impl Gathering {
    #[inline]
    pub(super) fn has_any(&self) -> bool {
        self.audience.is_some()
    }

    fn begin(&mut self, key: AudienceKey, frame: Bytes) {
        self.audience = Some(key);
        self.first = frame;
        self.publications = 1;
    }

    /// False: it is of another audience, or too long.
    fn add(&mut self, key: AudienceKey, frame: &[u8]) -> bool {
        let len = self.first.len().max(self.behind.len());
        if self.audience != Some(key) || len + frame.len() > GATHERED_BYTES_MAX {
            return false;
        }
        if self.behind.is_empty() {
            self.behind.extend_from_slice(&self.first);
        }
        self.behind.extend_from_slice(frame);
        self.publications += 1;
        true
    }

    /// All as one, and how many there are. `chunk`: storage that small ones are cut from.
    fn take(&mut self, chunk: &mut BytesMut) -> Option<(AudienceKey, Bytes, u64)> {
        let key = self.audience.take()?;
        let first = std::mem::take(&mut self.first);
        let frame = if self.behind.is_empty() {
            first
        } else {
            super::publish::shared_bytes(chunk, &self.behind)
        };
        self.behind.clear();
        Some((key, frame, std::mem::take(&mut self.publications)))
    }
}

impl Shard {
    /// Takes a publication for an audience whose members can be given several as one. None: it was taken. A huge audience is never in the
    /// other place: it becomes one, or ceases to be one, when nothing is gathered for it.
    pub(super) fn gather(
        &mut self,
        key: AudienceKey,
        frame: SharedFrame,
        exclude: &[ConnectionId],
    ) -> Option<SharedFrame> {
        let audience = self.channels.audiences.get(key);
        let alike = audience.is_some_and(is_alike)
            && exclude.is_empty()
            && frame.deflated.is_none()
            && frame.plain.len() < GATHERED_BYTES_MAX
            && !self.codec.keeps_contexts();
        if !alike {
            return Some(frame);
        }
        let members = audience.map_or(0, |audience| audience.members.len());
        let huge = self.row.is_for(members);
        if self.channels.gathering_of(huge).add(key, &frame.plain) {
            self.work += members as u64 * cost::GATHERED_DELIVERY;
        } else {
            if huge {
                self.scatter_held();
            } else {
                self.scatter();
            }
            self.channels.gathering_of(huge).begin(key, frame.plain);
            self.work += members as u64 * cost::DELIVERY;
        }
        None
    }

    /// Gives the members what was gathered for them in this turn. To be called before anything else reaches one of them.
    pub(crate) fn scatter(&mut self) {
        if let Some((key, frame, publications)) = self.channels.gathering.take(&mut self.chunk) {
            self.give_members(key, frame.into(), &[], None, publications);
        }
    }

    /// Gives the members of a huge audience what is held for them. To be called when all that waited to be written is written.
    pub(crate) fn scatter_held(&mut self) {
        if let Some((key, frame, publications)) = self.channels.held.take(&mut self.chunk) {
            self.give_members(key, frame.into(), &[], None, publications);
        }
    }

    /// Gives everything that was gathered for this audience. To be called before something else of its channel reaches a member, or
    /// who they are changes.
    pub(super) fn scatter_all_of(&mut self, key: AudienceKey) {
        self.scatter();
        if self.channels.held.audience == Some(key) {
            self.scatter_held();
        }
    }

    /// Gives what was gathered in this turn, if the connection is one of those who wait for it.
    pub(crate) fn scatter_for(&mut self, id: ConnectionId) {
        if self.is_in(id, self.channels.gathering.audience) {
            self.scatter();
        }
    }

    /// The same with what is held, too: it is leaving.
    pub(crate) fn scatter_all_for(&mut self, id: ConnectionId) {
        self.scatter_for(id);
        if self.is_in(id, self.channels.held.audience) {
            self.scatter_held();
        }
    }

    #[inline]
    fn is_in(&self, id: ConnectionId, audience: Option<AudienceKey>) -> bool {
        let Some(key) = audience else {
            return false;
        };
        self.registry.get(id).is_some_and(|connection| {
            let mut memberships = connection.memberships.iter();
            memberships.any(|membership| membership.audience == key)
        })
    }
}

/// Whether its members get the same bytes, whatever waits for them: nobody lags, and none falls behind. Few are served faster directly.
fn is_alike(audience: &Audience) -> bool {
    audience.members.len() >= GATHERED_MEMBERS_MIN
        && audience.laggards.is_empty()
        && audience.slow == SlowPolicy::Disconnect
        && audience.place.is_none()
        && audience.interest == Interest::Noted
}
