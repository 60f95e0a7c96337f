//! The end of a node that nobody announced, and its next start.

use std::sync::Arc;

use shardwire_shards::mesh::MailboxEnds;
use shardwire_shards::vocabulary::LogKind;
use shardwire_shards::{NodeCount, Shard};

use super::{Host, World};
use crate::checks::Seen;
use crate::clients::Stage;

impl World<'_> {
    /// The node is killed, as by `kill -9`, and started again with what is on its disk: every connection is cut, and what was under
    /// way anywhere is gone.
    pub(crate) fn restart(&mut self) {
        self.trace.line(
            self.ms,
            format_args!("the node is killed and started again"),
        );
        for client in 0..self.clients.len() {
            if self.clients[client].stage != Stage::Gone {
                self.cut(client);
            }
            // Its id may be given again.
            self.clients[client].connection = None;
            let socket = &mut self.sockets[client];
            (socket.closed, socket.shard, socket.connection) = (true, None, None);
            socket.publications.clear();
        }
        self.client_of.clear();
        self.calls.clear();
        self.disk.lose_power();
        self.node_count = NodeCount::default();
        let settings = Arc::new(self.scenario.settings.clone());
        let ends =
            MailboxEnds::connect_bounded(self.scenario.placement.shards(), self.scenario.lanes);
        self.sleepers = ends[0].sleepers();
        self.hosts.clear();
        for ends in ends {
            let shard = Shard::new(
                Arc::clone(&settings),
                self.scenario.placement,
                ends,
                self.node_count.clone(),
                self.random.bits(),
            );
            self.hosts.push(Host::new(shard));
        }
        let now = self.now_of_shards();
        for log in self.disk.load() {
            let placement = &self.scenario.placement;
            let home = match log.log.kind {
                LogKind::Inbox => placement.home_of_user(&log.log.name),
                LogKind::Channel | LogKind::Document => placement.home_of_channel(&log.log.name),
            };
            self.hosts[home.index()].shard.restore(now, log);
        }
        self.see(Seen::Restarted);
    }
}
