//! Who on this shard listens to what.

use ahash::AHashMap;

use super::lag::{Lag, Laggard};
use crate::history::SlowPolicy;
use crate::presence::Role;
use crate::vocabulary::{ChannelName, ConnectionId, Position};

/// Place of a channel in [`Audiences`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct AudienceKey(u32);

/// A connection's side of a subscription: which audience, and where in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Membership {
    pub(crate) audience: AudienceKey,
    pub(crate) position: u32,
    /// Among those that are not level, instead of among the others.
    pub(crate) lags: bool,
}

/// Whether the channel's home knows of this audience.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Interest {
    /// Asked under this number; `subscribed` waits for the answer.
    Asked(u32),
    /// Known: whatever the home accepts comes here.
    Noted,
}

/// Somebody who is told `subscribed` once the home knows.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) id: ConnectionId,
    /// The `id` of its request.
    pub(crate) reply: Option<Box<str>>,
    /// Where it has been, if it said so.
    pub(crate) since: Option<SinceAsked>,
}

/// Where a client says it has been; without an epoch: nowhere in any log of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SinceAsked(pub(crate) Option<Position>);

/// The local audience of one channel.
#[derive(Debug)]
pub(crate) struct Audience {
    pub(crate) name: ChannelName,
    /// Those that get publications as they come.
    pub(crate) members: Vec<ConnectionId>,
    /// Those that are not level with them.
    pub(crate) laggards: Vec<Laggard>,
    /// How many of all take compressed broadcasts.
    pub(crate) deflating: u32,
    pub(crate) interest: Interest,
    /// Who is told `subscribed` once the home knows.
    pub(crate) waiting: Vec<Waiting>,
    /// Where the channel's log stood with the last publication that came here; none: it has no history.
    pub(crate) place: Option<Position>,
    pub(crate) slow: SlowPolicy,
    /// What subscribing to it has to do with presence.
    pub(crate) role: Role,
}

impl Audience {
    /// Everybody in it.
    pub(crate) fn len(&self) -> usize {
        self.members.len() + self.laggards.len()
    }

    pub(crate) fn lag_mut(&mut self, membership: Membership) -> Option<&mut Lag> {
        let at = membership.position as usize;
        let laggard = membership.lags.then(|| self.laggards.get_mut(at))?;
        laggard.map(|laggard| &mut laggard.lag)
    }
}

/// All local audiences.
#[derive(Debug, Default)]
pub(crate) struct Audiences {
    by_name: AHashMap<ChannelName, AudienceKey>,
    entries: Vec<Option<Audience>>,
    free: Vec<AudienceKey>,
    asks: u32,
}

impl Audiences {
    pub(crate) fn find(&self, name: &str) -> Option<AudienceKey> {
        self.by_name.get(name).copied()
    }

    pub(crate) fn get(&self, key: AudienceKey) -> Option<&Audience> {
        self.entries[key.0 as usize].as_ref()
    }

    pub(crate) fn get_mut(&mut self, key: AudienceKey) -> Option<&mut Audience> {
        self.entries[key.0 as usize].as_mut()
    }

    /// A number no other open question carries.
    pub(crate) fn next_ask(&mut self) -> u32 {
        self.asks = self.asks.wrapping_add(1);
        self.asks
    }

    pub(crate) fn create(
        &mut self,
        name: ChannelName,
        interest: Interest,
        place: Option<Position>,
        slow: SlowPolicy,
        role: Role,
    ) -> AudienceKey {
        let audience = Audience {
            name: name.clone(),
            members: Vec::new(),
            laggards: Vec::new(),
            deflating: 0,
            interest,
            waiting: Vec::new(),
            place,
            slow,
            role,
        };
        let key = match self.free.pop() {
            Some(key) => {
                self.entries[key.0 as usize] = Some(audience);
                key
            }
            None => {
                let key = AudienceKey(
                    u32::try_from(self.entries.len())
                        .expect("fewer than 2^32 channels on one shard"),
                );
                self.entries.push(Some(audience));
                key
            }
        };
        self.by_name.insert(name, key);
        key
    }

    pub(crate) fn remove(&mut self, key: AudienceKey) -> Option<Audience> {
        let audience = self.entries[key.0 as usize].take()?;
        self.by_name.remove(&audience.name);
        self.free.push(key);
        Some(audience)
    }

    pub(crate) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// The audiences in at most `count` places from `from` on; none when there are no more places.
    pub(crate) fn slice(
        &self,
        from: usize,
        count: usize,
    ) -> Option<impl Iterator<Item = &Audience>> {
        let places = self.entries.get(from..).filter(|rest| !rest.is_empty())?;
        Some(places.iter().take(count).flatten())
    }

    /// Subscribers that are not level with the others of their audience.
    pub(crate) fn laggards(&self) -> usize {
        let audiences = self.entries.iter().flatten();
        audiences.map(|audience| audience.laggards.len()).sum()
    }
}
