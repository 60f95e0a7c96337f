//! Asking an engine: who is there, what is held, how the shards do.

use std::time::Duration;

use shardwire_shards::search::{
    ChannelInfo, ChannelSearch, ConnectionFilter, ConnectionInfo, ConnectionOrder,
    ConnectionSearch, DocumentInfo, DocumentSearch, NameFilter, Search, UserInfo, UserSearch,
};
use shardwire_shards::vocabulary::{Command, ConnectionId, ShardId};

use super::handle::EngineHandle;
use super::inbox::{Item, SearchErrand, Waiting};
use super::pending::{Pending, PerShard};
use crate::telemetry::ShardReport;
use crate::telemetry::metrics::{ShardStatus, Snapshot};

impl EngineHandle {
    /// The connections of a user, on whichever shard they are (contract M23).
    pub fn user_connections(&self, user: &str) -> Pending<Vec<ConnectionId>> {
        let (waiting, connections) = oneshot::channel();
        let home = self.inner.placement.home_of_user(user);
        let command = |answer| Command::ConnectionsOfUser {
            user: user.into(),
            answer,
        };
        // A refused question drops its sender, and the receiver then says so.
        let _ = self
            .inner
            .inboxes
            .ask(home, Waiting::Connections(waiting), command);
        Pending(connections)
    }

    /// Connections that a filter lets through, the first `limit` of each shard in this order. Shards look in slices between
    /// their turns, so that a large one takes a while to answer, but keeps nobody waiting.
    /// [`ConnectionSearch::arrange`] puts the answers of all shards together.
    pub fn connections(
        &self,
        filter: &ConnectionFilter,
        order: ConnectionOrder,
        limit: usize,
    ) -> PerShard<Vec<ConnectionInfo>> {
        self.search(|| ConnectionSearch::new(filter.clone(), order, limit))
    }

    /// Channels with an audience, by name: the first `limit` of each shard, with the subscribers on that shard.
    pub fn channels(&self, filter: &NameFilter) -> PerShard<Vec<ChannelInfo>> {
        self.search(|| ChannelSearch::new(filter.clone()))
    }

    /// Users with connections, by name: the first `limit` of each shard, with the connections on that shard.
    pub fn users(&self, filter: &NameFilter) -> PerShard<Vec<UserInfo>> {
        self.search(|| UserSearch::new(filter.clone()))
    }

    /// Documents by name, those that are in the store only included: the first `limit` of each shard, of those it is home of.
    pub fn documents(&self, filter: &NameFilter) -> PerShard<Vec<DocumentInfo>> {
        self.search(|| DocumentSearch::new(filter.clone()))
    }

    /// Which shard orders a channel.
    #[must_use]
    pub fn channel_home(&self, channel: &str) -> u16 {
        self.home_of_channel(channel).0
    }

    /// Every shard's numbers.
    pub fn reports(&self) -> PerShard<ShardReport> {
        self.ask_each(Item::Report)
    }

    /// All numbers of the engine, as they are told to Prometheus. A shard that does not answer within `limit` is told as down.
    #[must_use]
    pub fn snapshot(&self, limit: Duration) -> Snapshot {
        self.snapshot_of(self.reports().wait(limit))
    }

    pub(crate) fn snapshot_of(&self, reports: Vec<Option<ShardReport>>) -> Snapshot {
        let status = |(shard, report)| ShardStatus {
            report,
            stalled: self.inner.watch.is_stalled(shard),
        };
        Snapshot {
            shards: reports.into_iter().enumerate().map(status).collect(),
            phase: self.phase(),
            uptime: self.inner.clock.elapsed(),
            connections: self.active_connections(),
            max_connections: self.live(|live| live.max_connections()),
            storage: self.storage_health().zip(self.storage_counts()),
        }
    }

    fn search<S: Search>(&self, mut search: impl FnMut() -> S) -> PerShard<S::Found> {
        self.ask_each(|answer| Item::Search(Box::new(SearchErrand::new(search(), answer))))
    }

    fn ask_each<T>(&self, mut item: impl FnMut(oneshot::Sender<T>) -> Item) -> PerShard<T> {
        let ask = |shard: ShardId| {
            let (answer, receiver) = oneshot::channel();
            let sent = self.inner.inboxes.send(shard, item(answer));
            sent.is_ok().then_some(receiver)
        };
        PerShard(self.inner.placement.all().map(ask).collect())
    }
}
