//! kill -9, again and again, while records are acknowledged: none of those acknowledged is missing or changed afterwards.
//!
//! The child is this very test program, which runs one ignored test that never ends. What it has acknowledged it writes to standard
//! output; a pipe outlives the process at its other end.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use shardwire_shards::vocabulary::{Epoch, Position, StoreOutcome, StoreRequest};

use super::super::Storage;
use super::super::link::restored;
use super::thread::Shard;
use super::*;

const DIRECTORY: &str = "SHARDWIRE_KILL_TEST_DIRECTORY";
const SHARDS: usize = 2;
/// Logs of one shard.
const LOGS: usize = 8;
/// Records that a log keeps.
const KEPT: u64 = 400;
/// Appends that wait for their answer, per shard.
const UNANSWERED: usize = 64;

fn log_of(shard: usize, log: usize) -> LogName {
    LogName::channel(format!("log {shard}.{log}"))
}

#[test]
#[ignore = "it is the child of the tests below, and never ends"]
fn child() {
    let directory = std::env::var_os(DIRECTORY).expect("started by the tests below");
    let (store, logs) = open(Path::new(&directory)).unwrap();
    let (_storage, links) = Storage::start(Box::new(store), SHARDS as u16, |_| {}).unwrap();
    let heads: HashMap<_, _> = logs
        .into_values()
        .map(|saved| (saved.log, saved.head))
        .collect();
    // More, now and then, than a table in memory holds, so that tables are written and merged while it is killed.
    let shards: Vec<_> = links
        .into_iter()
        .enumerate()
        .map(|(index, link)| {
            let heads: Vec<_> = (0..LOGS)
                .map(|log| heads.get(&log_of(index, log)).copied().unwrap_or(0))
                .collect();
            std::thread::spawn(move || publish(index, Shard::new(link), heads))
        })
        .collect();
    for shard in shards {
        shard.join().unwrap();
    }
}

fn publish(index: usize, mut shard: Shard, mut heads: Vec<u64>) {
    let logs: Vec<_> = (0..LOGS).map(|log| log_of(index, log)).collect();
    let mut random = StdRng::seed_from_u64(u64::from(std::process::id()));
    let mut waiting = std::collections::VecDeque::new();
    let mut lines = String::new();
    loop {
        while waiting.len() < UNANSWERED {
            let log = random.random_range(0..LOGS);
            heads[log] += 1;
            shard.ask(&logs[log], 7, heads[log]);
            waiting.push_back((log, heads[log]));
            if heads[log] > KEPT && heads[log].is_multiple_of(50) {
                shard.link.ask(StoreRequest::Trim {
                    log: logs[log].clone(),
                    through: Position {
                        epoch: Epoch(7),
                        offset: heads[log] - KEPT,
                    },
                });
            }
        }
        lines.clear();
        loop {
            assert_eq!(shard.answer(), StoreOutcome::Stored);
            let (log, offset) = waiting.pop_front().unwrap();
            use std::fmt::Write;
            writeln!(lines, "\nack {index} {log} {offset}").unwrap();
            if !shard.link.has_answers() || waiting.is_empty() {
                break;
            }
        }
        // One write, so that lines of two threads do not mix; the pipe keeps it.
        std::io::stdout()
            .lock()
            .write_all(lines.as_bytes())
            .unwrap();
    }
}

/// What was acknowledged by all children so far: the highest offset of each log.
type Acknowledged = HashMap<LogName, u64>;

/// One child, killed so long after its first acknowledgement, or after its start. How many appends it has acknowledged.
fn round(
    directory: &Path,
    alive: Duration,
    from_the_start: bool,
    acknowledged: &mut Acknowledged,
) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "storage::tests::kill::child",
            "--ignored",
            "--nocapture",
        ])
        .env(DIRECTORY, directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let (first, began) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let (mut count, mut last) = (0, HashMap::new());
        for line in output.split(b'\n') {
            let Ok(line) = line else { break };
            // The last line may be cut in two.
            let line = String::from_utf8(line).unwrap();
            let Some(rest) = line.strip_prefix("ack ") else {
                continue;
            };
            let numbers: Vec<u64> = rest
                .split(' ')
                .filter_map(|word| word.parse().ok())
                .collect();
            if let [shard, log, offset] = numbers[..] {
                if count == 0 {
                    let _ = first.send(());
                }
                count += 1;
                let highest = last
                    .entry(log_of(shard as usize, log as usize))
                    .or_insert(0);
                // An offset cut in two is lower than the one before it; it is no loss to miss one.
                *highest = offset.max(*highest);
            }
        }
        (count, last)
    });
    if !from_the_start {
        // None comes from a child that ends by itself, which is found next.
        let _ = began.recv_timeout(Duration::from_secs(60));
    }
    std::thread::sleep(alive);
    let ended = child.try_wait().unwrap();
    child.kill().unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        ended.is_none(),
        "the child ended by itself: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let (count, last) = reader.join().unwrap();
    for (log, offset) in last {
        let highest = acknowledged.entry(log).or_insert(0);
        *highest = offset.max(*highest);
    }
    count
}

/// Opens what a killed child has left, and looks at everything. How long the opening took, and how many records there were.
fn check(directory: &Path, acknowledged: &Acknowledged) -> (Duration, usize) {
    let begun = Instant::now();
    let (store, logs) = open(directory).unwrap();
    let took = begun.elapsed();
    let mut records = 0;
    for (log, highest) in acknowledged {
        let saved = &logs[log];
        assert!(
            saved.head >= *highest,
            "{log:?} ends at {}, and {highest} was acknowledged",
            saved.head
        );
        let first = saved.records.first().unwrap().offset;
        assert!(
            first <= saved.head.saturating_sub(KEPT).max(1) + 1,
            "{log:?} begins at {first} only"
        );
        for (expected, found) in (first..).zip(&saved.records) {
            assert_eq!(*found, record(log, 7, expected), "{log:?}");
        }
        let last = saved.records.last().unwrap().offset;
        assert_eq!(last, saved.head, "{log:?}");
        records += saved.records.len();
        assert_eq!(restored(saved.clone()).records.len(), saved.records.len());
    }
    drop(store);
    (took, records)
}

/// So many kills at least, and more until so many appends were acknowledged.
fn rounds(kills: usize, appends: u64, directory: &Path) {
    let mut random = StdRng::seed_from_u64(kills as u64);
    let mut acknowledged = HashMap::new();
    let (mut done, mut total, mut slowest, mut records) = (0, 0, Duration::ZERO, 0);
    while done < kills || total < appends {
        assert!(
            done < kills * 4,
            "only {total} appends were acknowledged in {done} rounds"
        );
        // One in four while it opens, or soon after.
        let from_the_start = done % 4 == 3;
        let alive = Duration::from_millis(random.random_range(1..250));
        total += round(directory, alive, from_the_start, &mut acknowledged);
        let (took, found) = check(directory, &acknowledged);
        slowest = slowest.max(took);
        records = found;
        done += 1;
    }
    println!(
        "{done} kills, {total} appends acknowledged, none missing; {records} records at the end, slowest opening {slowest:?}"
    );
}

#[test]
fn nothing_acknowledged_is_missing_after_twenty_kills() {
    // On a disk, because that is what the time of a sync, and so the moment of the kill, depends on.
    let directory = tempfile::tempdir().unwrap();
    rounds(20, 10_000, directory.path());
}

#[test]
#[ignore = "an hour on a slow disk"]
fn nothing_acknowledged_is_missing_after_a_thousand_kills() {
    let count = std::env::var("STORAGE_KILLS").map_or(1000, |count| count.parse().unwrap());
    for series in 0..count / 20 {
        let directory = match series % 2 {
            0 => tempfile::tempdir().unwrap(),
            _ => quick_directory(),
        };
        rounds(20, 10_000, directory.path());
    }
}
