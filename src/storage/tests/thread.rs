//! The thread between shards and store: order, exactly one answer each, and what becomes of errors.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use shardwire_shards::vocabulary::{
    Epoch, LoadFailure, LoadTicket, Position, StoreOutcome, StoreRequest, StoreTicket, StoredRecord,
};

use super::super::link::Loaded;
use super::super::memory::MemoryStore;
use super::super::store::ReadError;
use super::super::{CommitError, Health, Storage, StorageLink};
use super::*;

/// A shard that asks and counts tickets.
pub(super) struct Shard {
    pub(super) link: StorageLink,
    next: u64,
    answered: u64,
}

impl Shard {
    pub(super) fn new(link: StorageLink) -> Self {
        Self {
            link,
            next: 0,
            answered: 0,
        }
    }

    pub(super) fn ask(&mut self, log: &LogName, epoch: u64, offset: u64) {
        let record = record(log, epoch, offset);
        let ticket = StoreTicket(self.next);
        self.next += 1;
        self.link.ask(StoreRequest::Append {
            ticket,
            log: log.clone(),
            epoch: Epoch(epoch),
            record: StoredRecord {
                offset,
                unix_ms: record.unix_ms,
                lifetime_ms: record.lifetime_ms,
                key: record.key,
                body: record.body,
            },
        });
    }

    /// The next answer, within a minute.
    pub(super) fn answer(&mut self) -> StoreOutcome {
        let begun = Instant::now();
        loop {
            if let Some((ticket, outcome)) = self.link.answer() {
                assert_eq!(
                    ticket.0, self.answered,
                    "answers come in the order of the tickets"
                );
                self.answered += 1;
                return outcome;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "no answer");
            std::thread::yield_now();
        }
    }

    /// Asks and waits.
    pub(super) fn append(&mut self, log: &LogName, epoch: u64, offset: u64) -> StoreOutcome {
        self.ask(log, epoch, offset);
        self.answer()
    }
}

/// The offsets of a log, whose records are checked on the way.
pub(super) fn appended(logs: &[SavedLog], log: &LogName) -> Vec<u64> {
    let Some(saved) = logs.iter().find(|saved| saved.log == *log) else {
        return Vec::new();
    };
    for found in &saved.records {
        assert_eq!(*found, record(log, saved.epoch, found.offset));
    }
    saved.records.iter().map(|record| record.offset).collect()
}

/// A store in memory whose disk does what it is told.
#[derive(Clone, Default)]
struct Faulty(Arc<Mutex<Disk>>);

#[derive(Default)]
struct Disk {
    store: MemoryStore,
    commits: usize,
    largest: usize,
    /// What happens to the commits from now on.
    fault: Option<Fault>,
    slow: bool,
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    Full,
    Broken,
    Panic,
}

impl Store for Faulty {
    fn load(&mut self, each: &mut dyn FnMut(SavedLog)) -> Result<(), StorageError> {
        self.0.lock().unwrap().store.load(each)
    }

    fn read(&mut self, log: &LogName, epoch: u64) -> Result<SavedLog, ReadError> {
        let fault = self.0.lock().unwrap().fault;
        match fault {
            Some(Fault::Full) => Err(ReadError::Full),
            Some(Fault::Broken) => Err(ReadError::Failed("EIO".into())),
            Some(Fault::Panic) => panic!("a bug in the store"),
            None => self.0.lock().unwrap().store.read(log, epoch),
        }
    }

    fn commit(&mut self, operations: &[Operation]) -> Result<(), CommitError> {
        let slow = self.0.lock().unwrap().slow;
        if slow {
            std::thread::sleep(Duration::from_millis(20));
        }
        let fault = self.0.lock().unwrap().fault;
        match fault {
            Some(Fault::Full) => return Err(CommitError::Full),
            Some(Fault::Broken) => return Err(CommitError::Failed("EIO".into())),
            Some(Fault::Panic) => panic!("a bug in the store"),
            None => {}
        }
        let mut disk = self.0.lock().unwrap();
        disk.commits += 1;
        disk.largest = disk.largest.max(operations.len());
        disk.store.commit(operations)
    }

    fn resume(&mut self) -> Result<(), CommitError> {
        match self.0.lock().unwrap().fault {
            None => Ok(()),
            Some(_) => Err(CommitError::Full),
        }
    }
}

impl Faulty {
    fn set(&self, fault: Option<Fault>) {
        self.0.lock().unwrap().fault = fault;
    }

    fn logs(&self) -> Vec<SavedLog> {
        load(&mut self.0.lock().unwrap().store).unwrap()
    }
}

fn start(shards: u16) -> (Faulty, Storage, Vec<Shard>) {
    let disk = Faulty::default();
    let (storage, links) = Storage::start(Box::new(disk.clone()), shards, |_| {}).unwrap();
    (disk, storage, links.into_iter().map(Shard::new).collect())
}

/// Waits for a log that was asked for.
fn loaded(shard: &mut Shard) -> Loaded {
    let begun = Instant::now();
    loop {
        if let Some(loaded) = shard.link.loaded() {
            return loaded;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "no answer");
        std::thread::yield_now();
    }
}

#[test]
fn a_log_is_read_behind_what_was_written_before_and_refused_with_the_reason() {
    let (disk, storage, mut shards) = start(2);
    let log = LogName::document("plan");
    let load = |shard: &mut Shard, ticket, epoch| {
        let ticket = LoadTicket(ticket);
        let (log, epoch) = (log.clone(), Epoch(epoch));
        shard.link.ask(StoreRequest::Load { ticket, log, epoch });
    };
    for offset in 1..=500 {
        shards[0].ask(&log, 7, offset);
    }
    load(&mut shards[0], 1, 7);
    let (ticket, outcome) = loaded(&mut shards[0]);
    let read = outcome.unwrap();
    assert_eq!((ticket, read.log.clone()), (LoadTicket(1), log.clone()));
    assert_eq!(read.head.offset, 500);
    let offsets = read.records.iter().map(|record| record.offset);
    assert!(offsets.eq(1..=500));
    for _ in 0..500 {
        assert_eq!(shards[0].answer(), StoreOutcome::Stored);
    }
    load(&mut shards[0], 2, 8);
    let other_life = loaded(&mut shards[0]);
    assert_eq!(other_life, (LoadTicket(2), Err(LoadFailure::Failed)));
    for (fault, failure) in [
        (Some(Fault::Full), LoadFailure::Full),
        (Some(Fault::Broken), LoadFailure::Failed),
        (Some(Fault::Panic), LoadFailure::Failed),
    ] {
        disk.set(fault);
        load(&mut shards[1], 3, 7);
        assert_eq!(loaded(&mut shards[1]).1, Err(failure), "{fault:?}");
    }
    // That a log could not be read does not say that others cannot be written.
    disk.set(None);
    assert_eq!(storage.health(), Health::Working);
    load(&mut shards[1], 4, 7);
    assert!(loaded(&mut shards[1]).1.is_ok());
    storage.stop();
}

#[test]
fn what_waits_shares_a_sync() {
    let (disk, storage, mut shards) = start(3);
    disk.0.lock().unwrap().slow = true;
    let logs: Vec<_> = (0..3)
        .map(|shard| LogName::channel(format!("log {shard}")))
        .collect();
    for offset in 1..=1000 {
        for (shard, log) in shards.iter_mut().zip(&logs) {
            shard.ask(log, 7, offset);
        }
    }
    for shard in &mut shards {
        for _ in 0..1000 {
            assert_eq!(shard.answer(), StoreOutcome::Stored);
        }
    }
    storage.stop();
    let commits = disk.0.lock().unwrap().commits;
    assert!(
        commits < 30,
        "{commits} commits for 3,000 records that came at once"
    );
    for log in &logs {
        assert_eq!(appended(&disk.logs(), log), (1..=1000).collect::<Vec<_>>());
    }
    assert_eq!(storage.counts().records, 3000);
    assert_eq!(storage.counts().commits as usize, commits);
}

#[test]
fn a_commit_is_bounded() {
    let (disk, storage, mut shards) = start(1);
    disk.0.lock().unwrap().slow = true;
    let log = LogName::channel("news");
    for offset in 1..=10_000 {
        shards[0].ask(&log, 7, offset);
    }
    storage.stop();
    let disk = disk.0.lock().unwrap();
    assert!(
        (1000..=4096).contains(&disk.largest),
        "{} in one commit",
        disk.largest
    );
}

#[test]
fn stopping_stores_what_waits() {
    let (disk, storage, mut shards) = start(1);
    disk.0.lock().unwrap().slow = true;
    let log = LogName::channel("news");
    for offset in 1..=5000 {
        shards[0].ask(&log, 7, offset);
    }
    storage.stop();
    assert_eq!(appended(&disk.logs(), &log).len(), 5000);
    for _ in 0..5000 {
        assert_eq!(shards[0].answer(), StoreOutcome::Stored);
    }
}

#[test]
fn a_full_disk_refuses_and_comes_back_by_itself() {
    let (disk, storage, mut shards) = start(1);
    let (log, over) = (LogName::channel("news"), LogName::channel("over"));
    assert_eq!(shards[0].append(&over, 7, 1), StoreOutcome::Stored);
    assert_eq!(shards[0].append(&log, 7, 1), StoreOutcome::Stored);
    disk.set(Some(Fault::Full));
    for offset in 2..=50 {
        assert_eq!(shards[0].append(&log, 7, offset), StoreOutcome::Full);
    }
    assert_eq!(storage.health(), Health::Full);
    // A log that ends while nothing can be stored stays ended.
    shards[0].link.ask(StoreRequest::Forget {
        log: over.clone(),
        epoch: Epoch(7),
    });
    disk.set(None);
    let mut offset = 51;
    let begun = Instant::now();
    while shards[0].append(&log, 7, offset) != StoreOutcome::Stored {
        assert!(begun.elapsed() < Duration::from_secs(5));
        std::thread::sleep(Duration::from_millis(20));
        offset += 1;
    }
    assert_eq!(storage.health(), Health::Working);
    storage.stop();
    assert_eq!(appended(&disk.logs(), &log), [1, offset]);
    assert!(appended(&disk.logs(), &over).is_empty());
}

#[test]
fn after_an_error_of_the_disk_nothing_is_acknowledged_ever() {
    for fault in [Fault::Broken, Fault::Panic] {
        let (disk, storage, mut shards) = start(2);
        let log = LogName::channel("news");
        assert_eq!(shards[0].append(&log, 7, 1), StoreOutcome::Stored);
        disk.set(Some(fault));
        assert_eq!(shards[0].append(&log, 7, 2), StoreOutcome::Failed);
        assert_eq!(storage.health(), Health::Failed);
        // The disk pretends to be well again; nobody believes it.
        disk.set(None);
        for offset in 3..200 {
            assert_eq!(shards[1].append(&log, 7, offset), StoreOutcome::Failed);
        }
        storage.stop();
        assert_eq!(appended(&disk.logs(), &log), [1], "{fault:?}");
        assert_eq!(storage.counts().refused_failed, 198);
    }
}

#[test]
fn a_shard_that_sends_more_than_the_disk_takes_is_refused_in_order() {
    let (disk, storage, mut shards) = start(1);
    disk.0.lock().unwrap().slow = true;
    let log = LogName::channel("x".repeat(4000));
    // Records of about 40 KB on average: 32 MiB hold some hundreds of them.
    for offset in 1..=4000 {
        shards[0].ask(&log, 7, offset);
    }
    let outcomes: Vec<_> = (0..4000).map(|_| shards[0].answer()).collect();
    let stored = outcomes
        .iter()
        .filter(|outcome| **outcome == StoreOutcome::Stored)
        .count();
    assert!(stored > 100 && stored < 4000, "{stored} stored");
    assert!(
        outcomes
            .iter()
            .all(|outcome| *outcome != StoreOutcome::Failed)
    );
    storage.stop();
    let expected: Vec<_> = (1..)
        .zip(&outcomes)
        .filter(|(_, outcome)| **outcome == StoreOutcome::Stored)
        .map(|(offset, _)| offset)
        .collect();
    assert_eq!(appended(&disk.logs(), &log), expected);
    assert_eq!(storage.health(), Health::Working);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Faults come and go while three shards ask: every append is answered once, and what is there is what was acknowledged.
    #[test]
    fn every_append_is_answered_and_kept_or_not(
        steps in prop::collection::vec((0..3_usize, 1..20_u64, 0..10_u8), 1..60)
    ) {
        let (disk, storage, mut shards) = start(3);
        let logs: Vec<_> = (0..3).map(|shard| LogName::channel(format!("log {shard}"))).collect();
        let mut offsets = [0; 3];
        let mut stored: [Vec<u64>; 3] = Default::default();
        for (shard, count, fault) in steps {
            disk.set((fault < 3).then_some(Fault::Full));
            let first = offsets[shard] + 1;
            for _ in 0..count {
                offsets[shard] += 1;
                shards[shard].ask(&logs[shard], 7, offsets[shard]);
            }
            shards[shard].link.ask(StoreRequest::Trim {
                log: logs[shard].clone(),
                through: Position { epoch: Epoch(7), offset: 0 },
            });
            for offset in first..=offsets[shard] {
                match shards[shard].answer() {
                    StoreOutcome::Stored => stored[shard].push(offset),
                    outcome => prop_assert_eq!(outcome, StoreOutcome::Full),
                }
            }
        }
        storage.stop();
        for (log, stored) in logs.iter().zip(&stored) {
            prop_assert_eq!(&appended(&disk.logs(), log), stored);
        }
    }
}
