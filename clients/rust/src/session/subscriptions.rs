//! Who listens to which channel.

use super::{
    Refusal, SessionError,
    presence::{Roster, Window},
};
use futures_core::Stream;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use shardwire_protocol::envelope::{
    PRESENCE_PREFIX,
    client::{Gap, Place},
};
use std::{
    collections::BTreeMap,
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};

/// A message of a channel.
#[derive(Clone, Debug)]
pub struct Publication {
    /// The channel.
    pub channel: Arc<str>,
    /// The message, exactly as it was published.
    pub message: Arc<RawValue>,
    /// When the server took it, in Unix milliseconds of its clock.
    pub timestamp: u64,
    /// Its place in the channel's history, if the channel has one.
    pub offset: Option<u64>,
}

impl Publication {
    /// The message as a type of one's own.
    ///
    /// # Errors
    ///
    /// It has another shape.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.message.get())
    }
}

/// Why messages may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GapReason {
    /// The connection was lost for that long, and the channel has no history, or it does not reach back to the last message that
    /// came. What was published meanwhile has not been received. (A channel with history gives it, and there is no gap.)
    Reconnected(Duration),
    /// The server left out so many messages: the history did not reach far enough back, or the connection was too slow.
    LeftOut(u64),
    /// So many messages were dropped because the subscription was not read fast enough.
    Overflowed(u64),
}

/// What a subscription gives.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SubscriptionEvent {
    /// A message.
    Message(Publication),
    /// Here messages may be missing.
    Gap(GapReason),
    /// The server refused the subscription for good after a reconnection, or has ended it; nothing follows.
    Refused(Refusal),
}

/// Messages of one channel, until it is dropped. A `Stream`; ends with the session.
pub struct Subscription {
    channel: Arc<str>,
    listener: u64,
    events: mpsc::Receiver<SubscriptionEvent>,
    missed: Arc<AtomicU64>,
    left: mpsc::UnboundedSender<(Arc<str>, u64)>,
    /// Of a channel in which it is told who is in another one.
    window: Option<Window>,
}

impl Subscription {
    /// The channel.
    pub fn channel(&self) -> &str {
        &self.channel
    }

    pub(super) fn take_window(&mut self) -> Option<Window> {
        self.window.take()
    }

    /// The next event; `None` when the session has ended. Cancel-safe.
    pub async fn next(&mut self) -> Option<SubscriptionEvent> {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<SubscriptionEvent>> {
        let polled = self.events.poll_recv(cx);
        if !matches!(polled, Poll::Ready(Some(_))) {
            // All that was kept has been read: what was dropped came next.
            let missed = self.missed.swap(0, Ordering::AcqRel);
            if missed > 0 {
                return Poll::Ready(Some(SubscriptionEvent::Gap(GapReason::Overflowed(missed))));
            }
        }
        polled
    }
}

impl Stream for Subscription {
    type Item = SubscriptionEvent;

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<SubscriptionEvent>> {
        self.poll_event(cx)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let _ = self.left.send((self.channel.clone(), self.listener));
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Subscription")
            .field("channel", &self.channel)
            .finish_non_exhaustive()
    }
}

struct Listener {
    number: u64,
    events: mpsc::Sender<SubscriptionEvent>,
    missed: Arc<AtomicU64>,
}

impl Listener {
    fn tell(&self, event: SubscriptionEvent) {
        let missed = self.missed.swap(0, Ordering::AcqRel);
        if missed > 0 {
            let gap = SubscriptionEvent::Gap(GapReason::Overflowed(missed));
            if self.events.try_send(gap).is_err() {
                self.miss(missed + 1);
                return;
            }
        }
        if self.events.try_send(event).is_err() {
            self.miss(1);
        }
    }

    fn miss(&self, count: u64) {
        self.missed.fetch_add(count, Ordering::AcqRel);
        metrics::counter!("shardwire_client_session_missed_total").increment(1);
    }
}

type Asking = oneshot::Sender<Result<Subscription, SessionError>>;

/// One channel that somebody wants.
struct Channel {
    name: Arc<str>,
    listeners: Vec<Listener>,
    /// Who waits for the server's word.
    asking: Vec<Asking>,
    /// Id of the subscribe under way.
    request: Option<u64>,
    subscribed: bool,
    /// The last message that came, or where the subscription began: from where to resume.
    place: Option<Place>,
    /// Who is in another channel, if that is told here.
    roster: Option<Roster>,
}

/// All channels.
pub(super) struct Channels {
    channels: BTreeMap<Arc<str>, Channel>,
    queue: usize,
    numbers: u64,
    left: mpsc::UnboundedSender<(Arc<str>, u64)>,
}

impl Channels {
    pub(super) fn new(queue: usize, left: mpsc::UnboundedSender<(Arc<str>, u64)>) -> Channels {
        Channels {
            channels: BTreeMap::new(),
            queue: queue.max(1),
            numbers: 0,
            left,
        }
    }

    /// Somebody wants a channel. Whether the server must be asked.
    pub(super) fn want(&mut self, name: Arc<str>, asking: Asking) -> bool {
        let channel = self
            .channels
            .entry(name.clone())
            .or_insert_with(|| Channel {
                roster: name.starts_with(PRESENCE_PREFIX).then(Roster::default),
                name,
                listeners: Vec::new(),
                asking: Vec::new(),
                request: None,
                subscribed: false,
                place: None,
            });
        let ask = !channel.subscribed && channel.request.is_none();
        channel.asking.push(asking);
        if channel.subscribed {
            self.grant_all_asking();
        }
        ask
    }

    fn grant_all_asking(&mut self) {
        for channel in self
            .channels
            .values_mut()
            .filter(|channel| channel.subscribed)
        {
            for asking in std::mem::take(&mut channel.asking) {
                self.numbers += 1;
                let (sender, events) = mpsc::channel(self.queue);
                let missed = Arc::new(AtomicU64::new(0));
                channel.listeners.push(Listener {
                    number: self.numbers,
                    events: sender,
                    missed: missed.clone(),
                });
                // Whoever asks no longer drops it, and that is told by `left`.
                let _ = asking.send(Ok(Subscription {
                    channel: channel.name.clone(),
                    listener: self.numbers,
                    events,
                    missed,
                    left: self.left.clone(),
                    window: channel.roster.as_mut().map(Roster::window),
                }));
            }
        }
    }

    /// A subscribe with this id is under way.
    pub(super) fn asked(&mut self, name: &str, request: u64) {
        if let Some(channel) = self.channels.get_mut(name) {
            channel.request = Some(request);
        }
    }

    /// The channel whose subscribe has this id.
    fn by_request(&mut self, request: u64) -> Option<&mut Channel> {
        let mut channels = self.channels.values_mut();
        channels.find(|channel| channel.request == Some(request))
    }

    /// From where a channel is to be resumed.
    pub(super) fn place(&self, name: &str) -> Option<&Place> {
        self.channels.get(name)?.place.as_ref()
    }

    /// The server granted it, from `place` on. `away`: how long the connection was lost; unless everything of that time has been
    /// `recovered`, whoever listened before learns of the gap. Whether there was such a request.
    pub(super) fn granted(
        &mut self,
        request: u64,
        place: Option<Place>,
        recovered: bool,
        away: Option<Duration>,
    ) -> bool {
        let Some(channel) = self.by_request(request) else {
            return false;
        };
        channel.request = None;
        channel.subscribed = true;
        channel.place = place;
        // A roster begins anew, and says by itself what has changed.
        let gap = away.filter(|_| !recovered && channel.roster.is_none());
        if let Some(away) = gap {
            for listener in &channel.listeners {
                listener.tell(SubscriptionEvent::Gap(GapReason::Reconnected(away)));
            }
        }
        self.grant_all_asking();
        true
    }

    /// The server refused it. `None`: there was no such request; else the channel if it should be asked for again later.
    pub(super) fn refused(&mut self, request: u64, refusal: &Refusal) -> Option<Option<Arc<str>>> {
        let channel = self.by_request(request)?;
        channel.request = None;
        for asking in channel.asking.drain(..) {
            let _ = asking.send(Err(SessionError::Refused(refusal.clone())));
        }
        let name = channel.name.clone();
        if refusal.temporary && !channel.listeners.is_empty() {
            return Some(Some(name));
        }
        self.end(&name, refusal);
        Some(None)
    }

    /// The server has ended a subscription, such as when the permissions of a newer token do not allow it.
    pub(super) fn ended(&mut self, name: &str, refusal: &Refusal) {
        let channel = self.channels.get(name);
        // Else it speaks of one that was given up already.
        if channel.is_some_and(|channel| channel.subscribed) {
            self.end(name, refusal);
        }
    }

    fn end(&mut self, name: &str, refusal: &Refusal) {
        let Some(mut channel) = self.channels.remove(name) else {
            return;
        };
        for listener in &channel.listeners {
            listener.tell(SubscriptionEvent::Refused(refusal.clone()));
        }
        if let Some(roster) = &mut channel.roster {
            roster.refused(refusal);
        }
    }

    /// Who is in another channel, as it is told in this one.
    pub(super) fn roster(&mut self, name: &str) -> Option<&mut Roster> {
        self.channels.get_mut(name)?.roster.as_mut()
    }

    /// The one for which the whole list was asked with this id.
    pub(super) fn roster_asked(&mut self, request: u64) -> Option<&mut Roster> {
        let rosters = self.channels.values_mut();
        let mut rosters = rosters.filter_map(|channel| channel.roster.as_mut());
        rosters.find(|roster| roster.request == Some(request))
    }

    /// The connection is lost: everything must be asked for again.
    pub(super) fn lost(&mut self) {
        for channel in self.channels.values_mut() {
            channel.subscribed = false;
            channel.request = None;
            if let Some(roster) = &mut channel.roster {
                roster.lost();
            }
        }
    }

    /// Those nobody has asked the server for on this connection.
    pub(super) fn missing(&self) -> Vec<Arc<str>> {
        let channels = self.channels.values();
        channels
            .filter(|channel| !channel.subscribed && channel.request.is_none())
            .map(|channel| channel.name.clone())
            .collect()
    }

    pub(super) fn is_missing(&self, name: &str) -> bool {
        let channel = self.channels.get(name);
        channel.is_some_and(|channel| !channel.subscribed && channel.request.is_none())
    }

    /// A listener left. Whether the server should be told, because it was the last one.
    pub(super) fn left(&mut self, name: &str, number: u64) -> bool {
        let Some(channel) = self.channels.get_mut(name) else {
            return false;
        };
        channel
            .listeners
            .retain(|listener| listener.number != number);
        channel.asking.retain(|asking| !asking.is_closed());
        if !channel.listeners.is_empty() || !channel.asking.is_empty() {
            return false;
        }
        let told = channel.subscribed || channel.request.is_some();
        self.channels.remove(name);
        told
    }

    /// The server left out messages of a channel.
    pub(super) fn left_out(&mut self, name: &str, gap: Gap) {
        let Some(channel) = self.channels.get_mut(name) else {
            return;
        };
        tracing::debug!(channel = name, ?gap, "messages left out");
        if gap.to.is_some() {
            channel.place = gap.to;
        }
        for listener in &channel.listeners {
            listener.tell(SubscriptionEvent::Gap(GapReason::LeftOut(gap.missed)));
        }
    }

    pub(super) fn deliver(
        &mut self,
        name: &str,
        message: &RawValue,
        timestamp: u64,
        place: Option<Place>,
    ) {
        let Some(channel) = self.channels.get_mut(name) else {
            return;
        };
        let offset = place.as_ref().map(|place| place.offset);
        if place.is_some() {
            channel.place = place;
        }
        let publication = Publication {
            channel: channel.name.clone(),
            message: Arc::from(message.to_owned()),
            timestamp,
            offset,
        };
        for listener in &channel.listeners {
            listener.tell(SubscriptionEvent::Message(publication.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_subscription_that_the_server_ends_says_so() {
        let (left, _) = mpsc::unbounded_channel();
        let mut channels = Channels::new(4, left);
        let (asking, mut asked) = oneshot::channel();
        channels.want("news".into(), asking);
        channels.asked("news", 1);
        let refusal = Refusal {
            code: 115,
            error: "Not permitted".into(),
            temporary: false,
        };
        // Of one before it: this one is still asked for.
        channels.ended("news", &refusal);
        assert!(channels.granted(1, None, false, None));
        let mut news = asked.try_recv().unwrap().unwrap();
        channels.ended("news", &refusal);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(matches!(
            Pin::new(&mut news).poll_next(&mut cx),
            Poll::Ready(Some(SubscriptionEvent::Refused(refusal))) if refusal.code == 115
        ));
        assert!(matches!(
            Pin::new(&mut news).poll_next(&mut cx),
            Poll::Ready(None)
        ));
        assert!(channels.missing().is_empty());
    }
}
