//! What the benches share: a shard of its own in a world whose sockets take everything.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use shardwire_protocol::websocket::frame;
use shardwire_shards::mesh::MailboxEnds;
use shardwire_shards::placement::{Placement, Rule};
use shardwire_shards::vocabulary::{
    Command, ConnectionId, Effect, Input, Mode, Now, Opening, SocketToken,
};
use shardwire_shards::{NodeCount, Shard, ShardSettings};

/// When everything happens.
const NOW: Now = Now {
    ms: 1,
    unix_ms: 1_790_000_000_000,
};

/// One shard with open connections, of which no limit refuses one.
pub struct Bench {
    shard: Shard,
    /// Its connections, in the order in which they were opened.
    pub connections: Vec<ConnectionId>,
}

impl Bench {
    /// A shard with this many open connections.
    pub fn new(connections: usize, mode: Mode) -> Self {
        let settings = ShardSettings {
            max_connections: usize::MAX,
            max_connections_per_user: None,
            max_connections_per_ip: None,
            ..ShardSettings::default()
        };
        let mut shard = Shard::new(
            Arc::new(settings),
            Placement::new(Rule::Accept, 1),
            MailboxEnds::connect(1).remove(0),
            NodeCount::default(),
            1,
        );
        let mut ids = Vec::with_capacity(connections);
        for socket in 0..connections as u64 {
            assert!(shard.admit());
            let opening = Opening::new(SocketToken(socket), mode, IpAddr::from([127, 0, 0, 1]));
            shard.handle(NOW, Input::Opened(opening));
            while let Some(effect) = shard.poll_effect() {
                if let Effect::Opened { connection, .. } = effect {
                    ids.push(connection);
                }
            }
        }
        assert_eq!(ids.len(), connections);
        Self {
            shard,
            connections: ids,
        }
    }

    /// The same, with every connection subscribed to the channel `c`.
    pub fn subscribed(connections: usize) -> Self {
        let mut bench = Self::new(connections, Mode::Json);
        for connection in bench.connections.clone() {
            let mut wire = masked(frame::Kind::Text, br#"{"type":"subscribe","channel":"c"}"#);
            bench.receive(connection, &mut wire);
            assert!(bench.write_everything() > 0, "no answer to subscribe");
        }
        bench
    }

    /// Bytes from one connection's socket.
    pub fn receive(&mut self, connection: ConnectionId, bytes: &mut [u8]) {
        self.shard.handle(NOW, Input::Bytes { connection, bytes });
    }

    /// Somebody outside publishes to `c`.
    pub fn publish(&mut self, message: &Bytes) {
        let command = Command::Publish {
            channel: "c".into(),
            message: message.clone(),
            exclude: Vec::new(),
            options: None,
            answer: None,
        };
        self.shard.handle(NOW, Input::Command(command));
    }

    /// The next turn, if the shard wants one at once: it has more to write than it writes in one. False: it wants none.
    #[allow(dead_code, reason = "not every bench has an audience so large")]
    pub fn go_on(&mut self) -> bool {
        let wants = self.shard.next_deadline(NOW) == Some(NOW.ms);
        if wants {
            self.shard.handle(NOW, Input::Deadline);
        }
        wants
    }

    /// Ends the turn; the sockets take everything. How many bytes that was.
    pub fn write_everything(&mut self) -> usize {
        let mut written = 0;
        while let Some(effect) = self.shard.poll_effect() {
            if let Effect::Flush { connection, .. } = effect {
                let waiting = self.shard.pending(connection).map(<[u8]>::len).sum();
                self.shard.sent(NOW, connection, waiting, false);
                written += waiting;
            }
        }
        written
    }
}

/// One frame as a client sends it.
pub fn masked(kind: frame::Kind, payload: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    frame::write_client(&mut wire, kind, payload, [1, 2, 3, 4]);
    wire
}
