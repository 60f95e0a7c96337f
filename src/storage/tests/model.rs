//! Random operations, on disk and in the plain model at once: whenever the store is opened again, both hold the same.

use std::collections::HashMap;

use proptest::prelude::*;

use super::super::memory::MemoryStore;
use super::super::store::ReadError;
use super::*;

#[derive(Clone, Debug)]
enum Step {
    Append { log: u8, skip: u64 },
    Begin { log: u8 },
    Trim { log: u8, back: u64 },
    Forget { log: u8 },
    Commit,
    Tidy,
    Flush,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let log = 0..4_u8;
    prop_oneof![
        20 => (log.clone(), prop_oneof![9 => Just(1), 1 => 2..9_u64]).prop_map(|(log, skip)| Step::Append { log, skip }),
        1 => log.clone().prop_map(|log| Step::Begin { log }),
        3 => (log.clone(), 0..6_u64).prop_map(|(log, back)| Step::Trim { log, back }),
        1 => log.prop_map(|log| Step::Forget { log }),
        8 => Just(Step::Commit),
        1 => Just(Step::Tidy),
        1 => Just(Step::Flush),
        2 => Just(Step::Reopen),
    ]
}

/// What a shard knows: the epoch and the highest offset of each log.
#[derive(Default)]
struct Shard {
    logs: HashMap<u8, (u64, u64)>,
    lives: u64,
}

impl Shard {
    fn operation(&mut self, step: &Step) -> Option<Operation> {
        // One name for all: logs of several kinds must not be taken for each other.
        let name = |log: u8| LogName {
            kind: LogKind::ALL[usize::from(log) % LogKind::ALL.len()],
            name: format!("log {}", usize::from(log) / LogKind::ALL.len()).into(),
        };
        match *step {
            Step::Append { log, skip } => {
                let (epoch, head) = self.life(log);
                *head += skip;
                Some(append(&name(log), epoch, *head))
            }
            Step::Begin { log } => {
                self.logs.remove(&log);
                let (epoch, head) = self.life(log);
                Some(Operation::Head {
                    log: name(log),
                    epoch,
                    offset: *head,
                })
            }
            Step::Trim { log, back } => {
                let (epoch, head) = *self.logs.get(&log)?;
                Some(Operation::Trim {
                    log: name(log),
                    epoch,
                    through: head.saturating_sub(back),
                })
            }
            Step::Forget { log } => {
                let (epoch, _) = self.logs.remove(&log)?;
                Some(Operation::Forget {
                    log: name(log),
                    epoch,
                })
            }
            _ => None,
        }
    }

    fn life(&mut self, log: u8) -> (u64, &mut u64) {
        let lives = &mut self.lives;
        let (epoch, head) = self.logs.entry(log).or_insert_with(|| {
            *lives += 1;
            // Not in ascending order, as epochs are random.
            (lives.wrapping_mul(0x9E37_79B9_7F4A_7C15), 0)
        });
        (*epoch, head)
    }
}

fn run(steps: &[Step]) {
    let directory = quick_directory();
    let mut model = MemoryStore::default();
    let mut shard = Shard::default();
    let mut waiting = Vec::new();
    let (mut store, _) = open(directory.path()).unwrap();
    for step in steps {
        waiting.extend(shard.operation(step));
        match step {
            Step::Commit | Step::Reopen => {
                store.commit(&waiting).unwrap();
                model.commit(&waiting).unwrap();
                waiting.clear();
            }
            Step::Tidy => drop(store.tidy().unwrap()),
            Step::Flush => {
                store.flush_tables();
                for saved in load(&mut model).unwrap() {
                    let read = store.read(&saved.log, saved.epoch);
                    assert_eq!(read.as_ref(), Ok(&saved), "one log alone");
                    let other = store.read(&saved.log, saved.epoch ^ 1);
                    assert_eq!(other, Err(ReadError::Missing));
                }
            }
            _ => {}
        }
        if matches!(step, Step::Reopen) {
            drop(store);
            let (opened, logs) = open(directory.path()).unwrap();
            assert_eq!(logs, by_name(load(&mut model).unwrap()));
            store = opened;
        }
    }
    drop(store);
    let (_, logs) = open(directory.path()).unwrap();
    assert_eq!(
        logs,
        by_name(load(&mut model).unwrap()),
        "at the end, without what was never committed"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_store_holds_what_the_model_holds(steps in prop::collection::vec(step(), 1..120)) {
        run(&steps);
    }
}

#[test]
fn an_offset_never_restarts_after_trimming_has_emptied_a_log() {
    let directory = quick_directory();
    let log = LogName::channel("news");
    let (mut store, _) = open(directory.path()).unwrap();
    let appends: Vec<_> = (1..=40).map(|offset| append(&log, 7, offset)).collect();
    store.commit(&appends).unwrap();
    let trim = Operation::Trim {
        log: log.clone(),
        epoch: 7,
        through: 40,
    };
    store.commit(&[trim]).unwrap();
    while store.tidy().unwrap() {}
    drop(store);
    let (mut store, logs) = open(directory.path()).unwrap();
    assert_eq!((logs[&log].epoch, logs[&log].head), (7, 40));
    assert_eq!(logs[&log].records, []);
    let again = store.commit(&[append(&log, 7, 40)]);
    assert!(again.unwrap_err().to_string().contains("twice"));
}

#[test]
fn what_was_trimmed_leaves_the_disk() {
    let directory = quick_directory();
    let log = LogName::channel("news");
    let (mut store, _) = open(directory.path()).unwrap();
    let mut offset = 0;
    for _ in 0..10 {
        let mut batch: Vec<_> = (0..3000)
            .map(|_| {
                offset += 1;
                append(&log, 7, offset)
            })
            .collect();
        batch.push(Operation::Trim {
            log: log.clone(),
            epoch: 7,
            through: offset - 1000,
        });
        store.commit(&batch).unwrap();
        store.tidy().unwrap();
    }
    while store.tidy().unwrap() {}
    drop(store);
    let (store, logs) = open(directory.path()).unwrap();
    assert_eq!(logs[&log].records.len(), 1000);
    // At once what otherwise happens by and by.
    store.merge_tables();
    let bytes = store.disk_space();
    // 30,000 records of about 190 bytes went through: 6 MB.
    assert!(bytes < 600_000, "{bytes} bytes for 1,000 records");
}
