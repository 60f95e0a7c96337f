//! Who is in a channel, as it changes.

use super::super::{Refusal, Subscription};
use futures_core::Stream;
use shardwire_protocol::envelope::{PRESENCE_PREFIX, client::PresenceTold};
use std::{
    collections::{BTreeSet, VecDeque},
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};
use tokio::sync::mpsc;

/// Names kept of one channel. A shardwire server names far fewer (`presence.budget`); beyond it only the number is known.
const MEMBERS_MAX: usize = 65_536;

/// What a [`PresenceWatch`] gives.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PresenceEvent {
    /// Who has come and gone since the last event of this kind; in the first one, everybody who is there has come. What happened while nobody
    /// looked, or while the connection was lost, is told together. Both are empty where the list stands again as it was.
    Members {
        /// Who has come.
        joins: Vec<Arc<str>>,
        /// Who has gone.
        leaves: Vec<Arc<str>>,
    },
    /// There are so many, too many to be told by name. When they are named again, `Members` tells the difference to the last list there was.
    Count(u64),
    /// The connection is lost: what is known is as of now, until `Members` or `Count` follow.
    Stale,
    /// The server does not tell it any more; nothing follows.
    Refused(Refusal),
}

/// What the server has told.
#[derive(Debug, Default)]
pub(in crate::session) struct Known {
    /// `None`: the number only.
    members: Option<BTreeSet<Arc<str>>>,
    count: u64,
    /// That of the last message; `None`: a state has to come first.
    version: Option<u64>,
    refused: Option<Refusal>,
}

/// One channel's members, for everybody who watches.
#[derive(Debug, Default)]
pub(in crate::session) struct Roster {
    known: Arc<Mutex<Known>>,
    /// One for each who watches: that there is something to look at.
    bells: Vec<mpsc::Sender<()>>,
    /// Id of a question for the whole list, under way.
    pub(in crate::session) request: Option<u64>,
}

/// What one who watches has of a [`Roster`].
pub(in crate::session) type Window = (Arc<Mutex<Known>>, mpsc::Receiver<()>);

fn look(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    // Nothing panics while it is held.
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

fn names(told: &[impl std::ops::Deref<Target = str>]) -> impl Iterator<Item = Arc<str>> {
    told.iter().map(|name| Arc::from(&**name))
}

impl Roster {
    pub(in crate::session) fn window(&mut self) -> Window {
        let (bell, rung) = mpsc::channel(1);
        // There may be a list already.
        let _ = bell.try_send(());
        self.bells.retain(|bell| !bell.is_closed());
        self.bells.push(bell);
        (self.known.clone(), rung)
    }

    fn change(&mut self, change: impl FnOnce(&mut Known)) {
        change(&mut look(&self.known));
        self.bells.retain(|bell| match bell.try_send(()) {
            Ok(()) | Err(mpsc::error::TrySendError::Full(())) => true,
            Err(mpsc::error::TrySendError::Closed(())) => false,
        });
    }

    /// The connection is lost.
    pub(in crate::session) fn lost(&mut self) {
        self.request = None;
        self.change(|known| known.version = None);
    }

    pub(in crate::session) fn refused(&mut self, refusal: &Refusal) {
        self.change(|known| known.refused = Some(refusal.clone()));
    }

    /// A `presence-state`: it replaces what was known.
    pub(in crate::session) fn state(&mut self, told: &PresenceTold<'_>) {
        let members = told.members.as_deref();
        let members = members.filter(|members| members.len() <= MEMBERS_MAX);
        self.change(|known| {
            known.members = members.map(|members| names(members).collect());
            known.count = told.count;
            known.version = Some(told.version);
        });
    }

    /// A `presence-diff`. False: one before it is missing, and the whole list has to be asked for.
    pub(in crate::session) fn diff(&mut self, told: &PresenceTold<'_>) -> bool {
        let version = look(&self.known).version;
        let Some(version) = version else {
            // Ahead of the state, which has it already.
            return true;
        };
        if told.version <= version {
            return true;
        }
        if told.version - version > 1 {
            self.change(|known| known.version = None);
            return false;
        }
        self.change(|known| {
            known.count = told.count;
            known.version = Some(told.version);
            let changes = told.joins.as_deref().zip(told.leaves.as_deref());
            let Some((members, (joins, leaves))) = known.members.as_mut().zip(changes) else {
                known.members = None;
                return;
            };
            members.extend(names(joins));
            for name in leaves {
                members.remove(&**name);
            }
            if members.len() > MEMBERS_MAX {
                known.members = None;
            }
        });
        true
    }
}

/// Who is in a channel, until it is dropped. A `Stream`; ends with the session.
///
/// It is a state, not a queue: read slowly, it tells together what has happened, and holds no more than one list.
///
/// ```no_run
/// # async fn example(session: shardwire_client::Session) -> Result<(), Box<dyn std::error::Error>> {
/// use shardwire_client::PresenceEvent;
///
/// let mut room = session.watch_presence("room:1").await?;
/// while let Some(event) = room.next().await {
///     match event {
///         PresenceEvent::Members { joins, leaves } => println!("{joins:?} came, {leaves:?} went"),
///         PresenceEvent::Count(count) => println!("{count} are there"),
///         PresenceEvent::Stale => println!("as it was when the connection was lost"),
///         other => println!("{other:?}"),
///     }
/// }
/// # Ok(()) }
/// ```
pub struct PresenceWatch {
    // Leaves when it is dropped.
    subscription: Subscription,
    known: Arc<Mutex<Known>>,
    rung: mpsc::Receiver<()>,
    events: VecDeque<PresenceEvent>,
    /// What the events so far have told.
    members: BTreeSet<Arc<str>>,
    named: bool,
    count: u64,
    live: bool,
}

impl PresenceWatch {
    pub(super) fn new(mut subscription: Subscription) -> PresenceWatch {
        let window = subscription.take_window();
        let (known, rung) = window.expect("who subscribes to a channel of presence has one");
        PresenceWatch {
            subscription,
            known,
            rung,
            events: VecDeque::new(),
            members: BTreeSet::new(),
            named: false,
            count: 0,
            live: false,
        }
    }

    /// The channel whose members these are.
    pub fn channel(&self) -> &str {
        let channel = self.subscription.channel();
        channel.strip_prefix(PRESENCE_PREFIX).unwrap_or(channel)
    }

    /// Who is there by name, in order, as of the last event; `None` before the first list, and while there are too many.
    pub fn members(&self) -> Option<impl Iterator<Item = &str>> {
        self.named.then(|| self.members.iter().map(|name| &**name))
    }

    /// How many are there, as of the last event; 0 before the first.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Whether that is as the server has it, as of the last event: false before the first, and after `Stale`.
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// The next event; `None` when the session has ended. Cancel-safe.
    pub async fn next(&mut self) -> Option<PresenceEvent> {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<PresenceEvent>> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Poll::Ready(Some(event));
            }
            if ready!(self.rung.poll_recv(cx)).is_none() {
                return Poll::Ready(None);
            }
            self.look();
        }
    }

    /// What has become otherwise.
    fn look(&mut self) {
        let known = look(&self.known);
        let was_live = std::mem::replace(&mut self.live, known.version.is_some());
        if self.live {
            let counted = std::mem::replace(&mut self.count, known.count);
            match &known.members {
                Some(members) => {
                    let joins: Vec<_> = members.difference(&self.members).cloned().collect();
                    let leaves: Vec<_> = self.members.difference(members).cloned().collect();
                    for name in &leaves {
                        self.members.remove(name);
                    }
                    self.members.extend(joins.iter().cloned());
                    let was_named = std::mem::replace(&mut self.named, true);
                    if !was_live || !was_named || !joins.is_empty() || !leaves.is_empty() {
                        self.events
                            .push_back(PresenceEvent::Members { joins, leaves });
                    }
                }
                None => {
                    let was_named = std::mem::replace(&mut self.named, false);
                    if !was_live || was_named || counted != self.count {
                        self.events.push_back(PresenceEvent::Count(self.count));
                    }
                }
            }
        } else if was_live {
            self.events.push_back(PresenceEvent::Stale);
        }
        // Told once: nothing changes after it, so nobody rings again.
        if let Some(refusal) = &known.refused {
            self.events
                .push_back(PresenceEvent::Refused(refusal.clone()));
        }
    }
}

impl Stream for PresenceWatch {
    type Item = PresenceEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<PresenceEvent>> {
        self.poll_event(cx)
    }
}

impl fmt::Debug for PresenceWatch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PresenceWatch")
            .field("channel", &self.channel())
            .field("count", &self.count)
            .field("live", &self.live)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::session::subscriptions::Channels;
    use tokio::sync::oneshot;

    /// The channels of a session, and somebody who watches `room`.
    struct Watching {
        channels: Channels,
        watch: PresenceWatch,
    }

    impl Watching {
        fn begin() -> Watching {
            let (left, _) = mpsc::unbounded_channel();
            let mut channels = Channels::new(4, left);
            let (asking, mut asked) = oneshot::channel();
            assert!(channels.want("$presence:room".into(), asking));
            channels.asked("$presence:room", 1);
            assert!(channels.granted(1, None, false, None));
            let watch = PresenceWatch::new(asked.try_recv().unwrap().unwrap());
            Watching { channels, watch }
        }

        fn roster(&mut self) -> &mut Roster {
            self.channels.roster("$presence:room").unwrap()
        }

        fn state(&mut self, version: u64, members: &[&str]) {
            let members = serde_json::to_string(members).unwrap();
            let count = members.matches(',').count() + usize::from(members != "[]");
            let text = format!(
                r#"{{"channel":"room","members":{members},"count":{count},"version":{version}}}"#
            );
            self.roster().state(&PresenceTold::read(&text).unwrap());
        }

        fn diff(&mut self, version: u64, joins: &[&str], leaves: &[&str], count: u64) -> bool {
            let text = serde_json::json!({"channel": "room", "joins": joins, "leaves": leaves, "count": count, "version": version});
            let text = text.to_string();
            self.roster().diff(&PresenceTold::read(&text).unwrap())
        }

        fn number(&mut self, version: u64, count: u64) -> bool {
            let text = format!(r#"{{"channel":"room","count":{count},"version":{version}}}"#);
            self.roster().diff(&PresenceTold::read(&text).unwrap())
        }

        /// What there is to read.
        fn told(&mut self) -> Vec<PresenceEvent> {
            let mut cx = Context::from_waker(std::task::Waker::noop());
            let mut told = Vec::new();
            while let Poll::Ready(Some(event)) = self.watch.poll_event(&mut cx) {
                told.push(event);
            }
            told
        }

        fn members(&self) -> Option<Vec<&str>> {
            self.watch.members().map(Iterator::collect)
        }
    }

    fn members(joins: &[&str], leaves: &[&str]) -> PresenceEvent {
        let owned = |names: &[&str]| names.iter().map(|name| Arc::from(*name)).collect();
        PresenceEvent::Members {
            joins: owned(joins),
            leaves: owned(leaves),
        }
    }

    #[test]
    fn a_state_then_every_change_in_order() {
        let mut room = Watching::begin();
        assert_eq!(room.told(), []);
        assert!(!room.watch.is_live() && room.members().is_none());
        // Ahead of the state, which has it already.
        assert!(room.diff(5, &["ann"], &[], 1));
        assert_eq!(room.told(), []);
        room.state(5, &["ann", "bob"]);
        assert_eq!(room.told(), [members(&["ann", "bob"], &[])]);
        assert!(room.diff(6, &["eve"], &["ann"], 2));
        assert_eq!(room.told(), [members(&["eve"], &["ann"])]);
        assert!(room.watch.is_live());
        assert_eq!(
            (room.members(), room.watch.count()),
            (Some(vec!["bob", "eve"]), 2)
        );
        // Known already.
        assert!(room.diff(6, &["ann"], &[], 3));
        assert_eq!(room.told(), []);
        // Who is there comes, and who is not goes: nothing changes.
        assert!(room.diff(7, &["eve"], &["nobody"], 2));
        assert_eq!(room.told(), []);
        assert_eq!(room.watch.channel(), "room");
    }

    #[test]
    fn what_happens_while_nobody_looks_is_told_together() {
        let mut room = Watching::begin();
        room.state(0, &["ann"]);
        for version in 1..=100 {
            let joins = format!("user-{version}");
            let leaves = format!("user-{}", version - 1);
            assert!(room.diff(version, &[&joins], &[&leaves], 2));
        }
        assert_eq!(room.told(), [members(&["ann", "user-100"], &[])]);
    }

    #[test]
    fn numbers_when_they_are_many_and_names_again() {
        let mut room = Watching::begin();
        room.state(0, &["ann", "bob"]);
        room.told();
        assert!(room.number(1, 3_000));
        assert_eq!(room.told(), [PresenceEvent::Count(3_000)]);
        assert_eq!(room.members(), None);
        assert!(room.number(2, 3_000));
        assert_eq!(room.told(), []);
        // Names of changes alone make no list.
        assert!(room.diff(3, &["eve"], &[], 3_001));
        assert_eq!(room.told(), [PresenceEvent::Count(3_001)]);
        room.state(4, &["bob", "eve"]);
        assert_eq!(room.told(), [members(&["eve"], &["ann"])]);
        assert_eq!(room.members(), Some(vec!["bob", "eve"]));
    }

    #[test]
    fn a_cut_makes_it_stale_until_a_state_comes() {
        let mut room = Watching::begin();
        room.state(7, &["ann", "bob"]);
        room.told();
        room.channels.lost();
        assert_eq!(room.told(), [PresenceEvent::Stale]);
        assert_eq!(
            (room.members(), room.watch.is_live()),
            (Some(vec!["ann", "bob"]), false)
        );
        // The server has begun anew, with lower versions.
        room.state(0, &["bob", "eve"]);
        assert_eq!(room.told(), [members(&["eve"], &["ann"])]);
        // The same list as before is live again, too.
        room.channels.lost();
        room.told();
        room.state(0, &["bob", "eve"]);
        assert_eq!(room.told(), [members(&[], &[])]);
        // Lost and back before anybody looked: only what changed.
        room.channels.lost();
        room.state(3, &["bob"]);
        assert_eq!(room.told(), [members(&[], &["eve"])]);
    }

    #[test]
    fn a_change_that_is_missing_is_noticed() {
        let mut room = Watching::begin();
        room.state(1, &["ann"]);
        room.told();
        assert!(!room.diff(3, &["eve"], &[], 3));
        assert_eq!(room.told(), [PresenceEvent::Stale]);
        assert!(room.diff(4, &["joe"], &[], 4), "asked for once");
        room.state(4, &["ann", "bob", "eve", "joe"]);
        assert_eq!(room.told(), [members(&["bob", "eve", "joe"], &[])]);
    }

    #[test]
    fn more_names_than_are_kept_are_a_number() {
        let mut room = Watching::begin();
        let many: Vec<String> = (0..MEMBERS_MAX).map(|n| n.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        room.state(0, &many);
        assert_eq!(room.told().len(), 1);
        assert_eq!(room.members().unwrap().len(), MEMBERS_MAX);
        assert!(room.diff(1, &["one more"], &[], 65_537));
        assert_eq!(room.told(), [PresenceEvent::Count(65_537)]);
    }

    #[test]
    fn a_refusal_is_the_end_and_a_second_watch_begins_with_the_list() {
        let mut room = Watching::begin();
        room.state(1, &["ann"]);
        room.told();
        let (asking, mut asked) = oneshot::channel();
        assert!(!room.channels.want("$presence:room".into(), asking));
        let mut second = PresenceWatch::new(asked.try_recv().unwrap().unwrap());
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert_eq!(
            second.poll_event(&mut cx),
            Poll::Ready(Some(members(&["ann"], &[])))
        );
        let refusal = Refusal {
            code: 115,
            error: "Not permitted".into(),
            temporary: false,
        };
        room.channels.ended("$presence:room", &refusal);
        for watch in [&mut room.watch, &mut second] {
            let refused = PresenceEvent::Refused(refusal.clone());
            assert_eq!(watch.poll_event(&mut cx), Poll::Ready(Some(refused)));
            assert_eq!(watch.poll_event(&mut cx), Poll::Ready(None));
        }
        assert!(room.channels.roster("$presence:room").is_none());
    }
}
