//! A disk: a store that lags behind, has no room for a while, or fails; and that a kill finds with only what it has synced.

use std::collections::{BTreeMap, VecDeque};

use shardwire_shards::vocabulary::{
    Epoch, LogName, Position, RestoredLog, StoreOutcome, StoreRequest, StoredRecord,
};

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
    logs: BTreeMap<LogName, Kept>,
    /// It has not kept everything that it was asked to keep.
    pub has_refused: bool,
    /// Ends of logs that came while there was no room.
    forgotten: Vec<(LogName, Epoch)>,
}

/// One log as it is on the disk.
#[derive(Clone, Debug)]
struct Kept {
    head: Position,
    records: Vec<StoredRecord>,
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
        match request {
            StoreRequest::Append {
                ticket,
                log,
                epoch,
                record,
            } => {
                if stores {
                    let kept = self.life(log, epoch);
                    kept.head.offset = kept.head.offset.max(record.offset);
                    kept.records.push(record);
                }
                self.has_refused |= !stores;
                return Some(Completion::Stored(ticket, outcome));
            }
            StoreRequest::Begin { log, position } if stores => {
                let kept = self.life(log, position.epoch);
                kept.head.offset = kept.head.offset.max(position.offset);
            }
            StoreRequest::Trim { log, through } if stores => {
                let kept = self.logs.get_mut(&log);
                if let Some(kept) = kept.filter(|kept| kept.head.epoch == through.epoch) {
                    kept.records.retain(|record| record.offset > through.offset);
                }
            }
            StoreRequest::Forget { log, epoch } if stores => self.forget(&log, epoch),
            StoreRequest::Forget { log, epoch } => self.forgotten.push((log, epoch)),
            StoreRequest::Begin { .. } | StoreRequest::Trim { .. } => {}
            StoreRequest::Load { .. } => {
                unreachable!("only documents are read, and those are in memory")
            }
        }
        None
    }

    fn life(&mut self, log: LogName, epoch: Epoch) -> &mut Kept {
        let begun = Kept {
            head: Position { epoch, offset: 0 },
            records: Vec::new(),
        };
        let kept = self.logs.entry(log).or_insert_with(|| begun.clone());
        if kept.head.epoch != epoch {
            *kept = begun;
        }
        kept
    }

    fn forget(&mut self, log: &LogName, epoch: Epoch) {
        if self
            .logs
            .get(log)
            .is_some_and(|kept| kept.head.epoch == epoch)
        {
            self.logs.remove(log);
        }
    }

    /// There is room (again).
    fn make_room(&mut self) {
        self.state = DiskState::Working;
        for (log, epoch) in std::mem::take(&mut self.forgotten) {
            self.forget(&log, epoch);
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
        let restored = |(log, kept): (&LogName, &Kept)| RestoredLog {
            log: log.clone(),
            head: kept.head,
            records: kept.records.clone(),
        };
        self.logs.iter().map(restored).collect()
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
