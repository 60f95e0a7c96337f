//! A disk that is full, and has room again: a small file system of its own, filled with ballast.

#[path = "../../../tests/support/small_disk.rs"]
mod small_disk;

use std::path::Path;
use std::time::{Duration, Instant};

use shardwire_shards::vocabulary::StoreOutcome;

use super::super::{Health, Storage};
use super::thread::{Shard, appended};
use super::*;
use small_disk::SmallDisk;

fn start(directory: &Path, keep_free: u64) -> (Storage, Shard, Vec<SavedLog>) {
    let mut store = DiskStore::open(&DiskOptions {
        directory: directory.to_owned(),
        keep_free,
    })
    .unwrap();
    let logs = load(&mut store).unwrap();
    let (storage, mut links) = Storage::start(Box::new(store), 1, |_| {}).unwrap();
    (storage, Shard::new(links.pop().unwrap()), logs)
}

/// Publishes until the disk is full, gives it room, publishes on; what was acknowledged is there, and nothing else.
fn fills_up_and_recovers(keep_free: u64, left: u64) {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let log = LogName::channel("news");
    let (storage, mut shard, _) = start(&disk.store(), keep_free);
    let mut stored = Vec::new();
    let mut offset = 0;
    let mut publish = |shard: &mut Shard, stored: &mut Vec<u64>| {
        offset += 1;
        let begun = Instant::now();
        let outcome = shard.append(&log, 7, offset);
        if outcome == StoreOutcome::Stored {
            stored.push(offset);
        } else {
            assert!(
                begun.elapsed() < Duration::from_secs(1),
                "refused after {:?}",
                begun.elapsed()
            );
        }
        outcome
    };
    for _ in 0..200 {
        assert_eq!(publish(&mut shard, &mut stored), StoreOutcome::Stored);
    }
    disk.fill(left);
    let mut refused = 0;
    for _ in 0..40_000 {
        match publish(&mut shard, &mut stored) {
            StoreOutcome::Stored => {}
            StoreOutcome::Full => refused += 1,
            StoreOutcome::Failed => panic!("a full disk is taken for a broken one"),
        }
        if refused == 100 {
            break;
        }
    }
    assert_eq!(refused, 100, "the disk never became full");
    assert_eq!(storage.health(), Health::Full);
    // Killed or stopped while the disk is full, it opens all the same.
    storage.stop();
    let (storage, restarted, logs) = start(&disk.store(), 0);
    shard = restarted;
    assert_eq!(appended(&logs, &log), stored, "opened on a full disk");
    for _ in 0..3000 {
        publish(&mut shard, &mut stored);
    }
    disk.empty();
    let emptied = Instant::now();
    while publish(&mut shard, &mut stored) != StoreOutcome::Stored {
        assert!(
            emptied.elapsed() < Duration::from_secs(5),
            "not back after 5 seconds"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(storage.health(), Health::Working);
    for _ in 0..100 {
        assert_eq!(publish(&mut shard, &mut stored), StoreOutcome::Stored);
    }
    storage.stop();
    let (storage, _, logs) = start(&disk.store(), 0);
    assert_eq!(appended(&logs, &log), stored);
    storage.stop();
}

#[test]
fn publishers_are_refused_while_less_is_free_than_is_to_be_left() {
    fills_up_and_recovers(4 * 1024 * 1024, 5 * 1024 * 1024);
}

#[test]
fn a_disk_full_to_the_last_byte_loses_nothing_and_comes_back() {
    fills_up_and_recovers(0, 256 * 1024);
}
