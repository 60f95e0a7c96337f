//! The world faked: shards with their drivers, sockets, clients, and one clock.
//!
//! **Lives here:** what an engine, its application, a kernel and a network do, as chance wants it (`host.rs` with
//! `arrivals.rs` and `effects.rs`, `application.rs`, `socket.rs`, `network.rs`), what clients do (`deeds.rs`, `documents.rs`, `inboxes.rs`), the storm and the
//! calm (`storm.rs`, `calm.rs`), the disk (`disk.rs`), the end and the next start of the node (`restart.rs`). **Does not:** judging what is
//! seen; every observation goes to `checks/`.
//! **Invariants:** whatever differs between two runs comes from the seed; a shard that sleeps runs only for a completion,
//! the bell or its deadline; bytes of one direction of one socket keep their order; nothing happens twice.
//! **Called by:** `run.rs`. **Calls:** the real shards, `clients/`, `checks/`. **Tests:** `tests/`.

mod application;
mod arrivals;
mod calm;
mod deeds;
mod disk;
mod documents;
mod effects;
mod host;
mod inboxes;
mod network;
mod restart;
mod socket;
mod storm;

use application::Call;
pub use disk::Disk;
pub use host::{Completion, Host, Outside};
pub use inboxes::Notified;
pub use socket::Socket;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use shardwire_shards::mesh::{MailboxEnds, Sleepers};
use shardwire_shards::planted::Fault;
use shardwire_shards::vocabulary::ConnectionId;
use shardwire_shards::{NodeCount, Shard};

use crate::checks::{Checks, Seen};
use crate::clients::{Client, Copy};
use crate::{Failure, Random, Scenario, Trace};

/// What clocks on the wall show when a run begins.
pub(crate) const UNIX_EPOCH_MS: u64 = 1_700_000_000_000;

/// One publication of the run; its number is its index.
#[derive(Debug)]
pub struct Publication {
    /// Where to.
    pub channel: usize,
    /// Who; none: a command from outside.
    pub publisher: Option<usize>,
    /// Its publisher shall not get it.
    pub excludes_publisher: bool,
    /// It is not to be kept.
    pub volatile: bool,
    /// When the last byte of it was handed in to its publisher's shard, or the command put in; see [`World::moment`].
    pub handed_in: Option<u64>,
    /// The same by the clock, in milliseconds.
    pub handed_in_ms: u64,
    /// How long it is of use after that, if its publisher said so, in milliseconds.
    pub lifetime_ms: Option<u64>,
    /// Its publisher was told that it was not taken.
    pub refused: bool,
    /// Somebody got it, so its channel's home has taken it.
    pub seen: bool,
    /// Its channel's home has surely taken it: its publisher was still there when all had been said and handed in.
    pub taken: bool,
}

/// Everything of one run. Client, socket and [`SocketToken`](shardwire_shards::vocabulary::SocketToken) of one
/// connection attempt have the same number.
#[derive(Debug)]
pub struct World<'t> {
    /// The clock, in milliseconds.
    pub ms: u64,
    /// Counts observations, so that "after" has a meaning within one millisecond.
    pub moment: u64,
    /// The moment at which what is being heard was written.
    pub written_at: u64,
    /// Turns taken by all shards.
    pub turns: u64,
    /// What this seed is about.
    pub scenario: Scenario,
    /// The shards, each with its driver.
    pub hosts: Vec<Host>,
    /// By number.
    pub sockets: Vec<Socket>,
    /// By number.
    pub clients: Vec<Client>,
    /// Clients' copies of documents, by number.
    pub copies: Vec<Copy>,
    /// By number.
    pub publications: Vec<Publication>,
    /// Publications up to here were settled when the world last rested.
    pub settled: usize,
    /// What users were notified of, by number.
    pub notices: Vec<Notified>,
    /// How far the clock on the wall is ahead of where it began, besides the time that has passed, in milliseconds.
    pub wall_ms: i64,
    /// Its steps since the beginning, forwards and backwards, added up.
    pub wall_stepped_ms: u64,
    /// It has stepped back since the world last rested.
    pub wall_went_back: bool,
    /// Where logs are that outlive the node.
    pub disk: Disk,
    /// The connection count all shards share.
    pub node_count: NodeCount,
    /// The first thing found wrong.
    pub failure: Option<Failure>,
    pub(crate) random: Random,
    pub(crate) trace: &'t mut Trace,
    pub(crate) client_of: BTreeMap<ConnectionId, usize>,
    pub(crate) sleepers: Sleepers,
    /// Handlers that run, as chance makes them end.
    pub(crate) calls: Vec<Call>,
    /// No more trouble: everything that can go right does.
    pub(crate) calm: bool,
    /// Nothing is under way: answers are exact.
    pub(crate) resting: bool,
    /// Somebody leaves and comes back, and nothing else happens.
    pub flapping: bool,
    /// Which publication a client asked for under which id.
    pub(crate) asked_as: BTreeMap<(usize, u64), usize>,
    /// Messages said in chat rooms so far.
    pub(crate) said: usize,
    /// Wishes to be in a chat room, by whom and under which id.
    pub(crate) joins: BTreeSet<(usize, u64)>,
    checks: Checks,
}

impl<'t> World<'t> {
    /// A world before its first step.
    pub(crate) fn new(
        scenario: Scenario,
        mut random: Random,
        trace: &'t mut Trace,
        checks: Checks,
    ) -> Self {
        let settings = Arc::new(scenario.settings.clone());
        let node_count = NodeCount::default();
        let ends = MailboxEnds::connect_bounded(scenario.placement.shards(), scenario.lanes);
        let sleepers = ends[0].sleepers();
        let disk = Disk::new(ends.len());
        let hosts = ends
            .into_iter()
            .map(|ends| {
                Host::new(Shard::new(
                    Arc::clone(&settings),
                    scenario.placement,
                    ends,
                    node_count.clone(),
                    random.bits(),
                ))
            })
            .collect();
        Self {
            ms: 0,
            moment: 0,
            written_at: 0,
            turns: 0,
            scenario,
            hosts,
            sockets: Vec::new(),
            clients: Vec::new(),
            copies: Vec::new(),
            publications: Vec::new(),
            settled: 0,
            notices: Vec::new(),
            wall_ms: 0,
            wall_stepped_ms: 0,
            wall_went_back: false,
            disk,
            node_count,
            failure: None,
            random,
            trace,
            client_of: BTreeMap::new(),
            sleepers,
            calls: Vec::new(),
            calm: false,
            resting: false,
            flapping: false,
            asked_as: BTreeMap::new(),
            said: 0,
            joins: BTreeSet::new(),
            checks,
        }
    }

    /// Plants a fault in one of the shards.
    pub(crate) fn plant(&mut self, shard: usize, fault: Fault) {
        self.trace
            .line(self.ms, format_args!("planted in shard {shard}: {fault:?}"));
        self.hosts[shard].shard.plant(fault);
    }

    /// Shows the checks what was seen.
    pub(crate) fn see(&mut self, seen: Seen<'_>) {
        self.moment += 1;
        let mut checks = std::mem::take(&mut self.checks);
        let verdict = checks.see(&seen, self);
        self.checks = checks;
        self.note(verdict);
    }

    pub(crate) fn judge(&mut self, judge: impl FnOnce(&mut Checks, &Self) -> Result<(), Failure>) {
        let mut checks = std::mem::take(&mut self.checks);
        let verdict = judge(&mut checks, self);
        self.checks = checks;
        self.note(verdict);
    }

    fn note(&mut self, verdict: Result<(), Failure>) {
        if let Err(failure) = verdict
            && self.failure.is_none()
        {
            self.trace.line(
                self.ms,
                format_args!("FOUND by {}: {}", failure.check, failure.what),
            );
            self.failure = Some(failure);
        }
    }

    /// Which publication a client's request was, if it was one.
    #[must_use]
    pub fn publication_of(&self, client: usize, id: u64) -> Option<usize> {
        self.asked_as.get(&(client, id)).copied()
    }

    /// What others read a client's user as.
    #[must_use]
    pub fn shown(&self, client: usize) -> String {
        let who = &self.clients[client];
        match (who.user, who.connection) {
            (Some(user), _) => self.scenario.users[user].clone(),
            (None, Some(connection)) => format!("guest:{connection}"),
            (None, None) => String::new(),
        }
    }

    /// The shard a connection lives on, if the server has one for this client.
    #[must_use]
    pub fn shard_of(&self, client: usize) -> Option<usize> {
        self.sockets[client]
            .connection
            .and(self.sockets[client].shard)
    }

    /// Everybody the server has as an open connection and who does nothing against it.
    pub fn living(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.clients.len()).filter(|&client| self.lives(client))
    }

    /// Whether this client is one of the [`living`](Self::living).
    #[must_use]
    pub fn lives(&self, client: usize) -> bool {
        let socket = &self.sockets[client];
        self.clients[client].lives() && !socket.cut && !socket.lost && !socket.closed
    }
}

/// The JSON of publication `number` with so many bytes of filler.
pub(crate) fn message(number: usize, filler: usize) -> String {
    format!("{{\"n\":{number},\"filler\":\"{:x<filler$}\"}}", "")
}
