//! An engine without threads, sockets and clock: its shards and their handlers, for `testing/` to drive by hand.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use crossbeam_channel::Receiver;
use shardwire_shards::mesh::MailboxEnds;
use shardwire_shards::placement::Placement;
use shardwire_shards::vocabulary::ShardId;
use shardwire_shards::{NodeCount, Shard};

use super::EngineHandle;
use super::builder::{rule, shard_settings};
use super::ending::{EndGuard, Endings};
use super::handle::Inner;
use super::inbox::{Inboxes, Item, Questions};
use super::lifecycle::Threads;
use super::live::Live;
use super::phase::{Phase, PhaseFlag};
use crate::config::{Config, Environment, Faults};
use crate::handlers::{HandlersBuilder, Tasks};
use crate::runtime::Clock;
use crate::telemetry::Watch;

/// What is told of the machine: the same everywhere, so that a test does not depend on where it runs.
const MACHINE: Environment = Environment {
    cores: 1,
    open_file_limit: 1 << 20,
};

/// See the module.
pub(crate) struct Simulated {
    pub(crate) handle: EngineHandle,
    pub(crate) placement: Placement,
    pub(crate) shards: Vec<SimulatedShard>,
}

/// One shard with what its loop would hold.
pub(crate) struct SimulatedShard {
    pub(crate) shard: Shard,
    pub(crate) tasks: Tasks,
    pub(crate) inbox: Receiver<Item>,
    pub(crate) questions: Questions,
    /// Whoever waits for the engine's end hears of it when the simulation is dropped.
    _ending: EndGuard,
}

impl Simulated {
    pub(crate) fn new(config: Config, handlers: HandlersBuilder) -> Result<Self, Faults> {
        let handlers = handlers.build();
        let settings = config.check(&MACHINE)?;
        let count = settings.shards.count;
        let shards = u16::try_from(count).expect("the configuration allows at most 256 shards");
        let placement = Placement::new(rule(settings.shards.placement), shards);
        let ends = MailboxEnds::connect(shards);
        let (inboxes, receivers) = Inboxes::new(shards, ends[0].sleepers());
        let (node_count, endings) = (NodeCount::default(), Endings::default());
        let routes = handlers.application_routes();
        let shard_settings = Arc::new(shard_settings(&settings, routes.clone(), false));
        let timeout_ms = settings.handlers.timeout_ms;
        let phase = PhaseFlag::default();
        phase.advance(Phase::Running);
        let inner = Inner {
            address: settings.listen.address,
            admin_address: None,
            placement,
            inboxes: inboxes.clone(),
            node_count: node_count.clone(),
            clock: Clock::start(),
            phase,
            watch: Watch::new(shards),
            notifications: settings.notifications,
            max_outgoing: AtomicUsize::new(settings.connections.max_outgoing_message_size),
            live: Mutex::new(Live::new(config, settings, routes, false)),
            threads: Mutex::new(Threads::default()),
            endings: endings.clone(),
            certificates: None,
            storage: None,
        };
        let handle = EngineHandle {
            inner: Arc::new(inner),
        };
        let shards = ends.into_iter().zip(receivers).enumerate();
        let shards = shards.map(|(index, (ends, inbox))| SimulatedShard {
            shard: Shard::new(
                Arc::clone(&shard_settings),
                placement,
                ends,
                node_count.clone(),
                // The same every time, another one for every shard.
                1 + index as u64,
            ),
            tasks: Tasks::new(
                handlers.clone(),
                handle.clone(),
                ShardId(index as u16),
                inboxes.clone(),
                timeout_ms,
            ),
            inbox,
            questions: Questions::default(),
            _ending: endings.guard(),
        });
        Ok(Self {
            shards: shards.collect(),
            placement,
            handle,
        })
    }
}
