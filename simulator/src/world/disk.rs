//! A disk: a store that lags behind, has no room for a while, or fails; and that a kill finds with only what it has synced.

use std::collections::VecDeque;

use shardwire_shards::StoreModel;
use shardwire_shards::vocabulary::{RestoredLog, StoreOutcome, StoreRequest};

use super::{Completion, World};

/// How it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum DiskState {
    /// It stores.
    #[default]
    Working,
    /// It refuses for want of room, until there is room again.
    Full,
    /// It has failed, and refuses until the node is started afresh.
    Failed,
}

/// One node's disk.
#[derive(Debug, Default)]
pub struct Disk {
    /// How it is.
    state: DiskState,
    /// By shard: what was asked and is not carried out. A kill takes it along.
    asked: Vec<VecDeque<StoreRequest>>,
    /// What is synced.
    synced: StoreModel,
    /// It has not kept everything that it was asked to keep.
    pub has_refused: bool,
    /// Ends of logs that came while there was no room.
    forgotten: Vec<StoreRequest>,
}

impl Disk {
    pub(super) fn new(shards: usize) -> Self {
        Self {
            asked: vec![VecDeque::new(); shards],
            ..Self::default()
        }
    }

    /// Whether some shard waits for it.
    pub fn has_work(&self) -> bool {
        self.asked.iter().any(|asked| !asked.is_empty())
    }

    /// Carries out the oldest request of a shard. The answer, if it is one that is answered.
    fn work(&mut self, shard: usize) -> Option<Completion> {
        let request = self.asked[shard].pop_front()?;
        let outcome = match self.state {
            DiskState::Working => StoreOutcome::Stored,
            DiskState::Full => StoreOutcome::Full,
            DiskState::Failed => StoreOutcome::Failed,
        };
        let stores = self.state == DiskState::Working;
        let mut ticket = None;
        match &request {
            StoreRequest::Append { ticket: asked, .. } => {
                self.has_refused |= !stores;
                ticket = Some(*asked);
            }
            StoreRequest::Forget { .. } if !stores => self.forgotten.push(request.clone()),
            StoreRequest::Load { .. } => {
                unreachable!("only documents are read, and those are in memory")
            }
            _ => {}
        }
        self.synced.carry_out(request, outcome);
        ticket.map(|ticket| Completion::Stored(ticket, outcome))
    }

    /// There is room (again).
    fn make_room(&mut self) {
        self.state = DiskState::Working;
        for request in std::mem::take(&mut self.forgotten) {
            self.synced.carry_out(request, StoreOutcome::Stored);
        }
    }

    /// The process is gone: what it had not synced is, too.
    pub(super) fn lose_power(&mut self) {
        self.asked.iter_mut().for_each(VecDeque::clear);
        self.forgotten.clear();
        self.state = DiskState::Working;
    }

    /// All logs, for the next start.
    pub(super) fn load(&self) -> Vec<RestoredLog> {
        self.synced.logs().cloned().collect()
    }
}

impl World<'_> {
    pub(super) fn ask_disk(&mut self, shard: usize, request: StoreRequest) {
        self.trace
            .line(self.ms, format_args!("shard {shard} asks for {request:?}"));
        self.disk.asked[shard].push_back(request);
    }

    /// The disk carries out some of what one shard has asked.
    pub(super) fn work_on_disk(&mut self, shard: usize, requests: usize) {
        for _ in 0..requests {
            let Some(answer) = self.disk.work(shard) else {
                continue;
            };
            self.trace.line(
                self.ms,
                format_args!("the disk answers shard {shard}: {answer:?}"),
            );
            self.hosts[shard].completions.push_back(answer);
        }
    }

    /// The disk carries out everything. False: there was nothing.
    pub(super) fn settle_disk(&mut self) -> bool {
        if self.disk.state == DiskState::Full {
            self.disk.make_room();
        }
        let had_work = self.disk.has_work();
        for shard in 0..self.hosts.len() {
            while !self.disk.asked[shard].is_empty() {
                self.work_on_disk(shard, 1);
            }
        }
        had_work
    }

    /// It is full, or has room again; now and then it fails for good.
    pub(super) fn trouble_disk(&mut self) {
        let next = match self.disk.state {
            DiskState::Working if self.random.chance(6) => DiskState::Failed,
            DiskState::Working => DiskState::Full,
            DiskState::Full => DiskState::Working,
            DiskState::Failed => return,
        };
        self.trace
            .line(self.ms, format_args!("the disk is {next:?}"));
        match next {
            DiskState::Working => self.disk.make_room(),
            other => self.disk.state = other,
        }
    }
}
