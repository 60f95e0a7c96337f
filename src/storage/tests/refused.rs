//! What was refused must not be there, also when it has reached the disk: its offset may be another record's meanwhile.

use super::*;

#[test]
fn records_of_a_failed_commit_are_taken_out_at_the_next_opening() {
    let directory = quick_directory();
    let (log, late) = (LogName::channel("news"), LogName::channel("late"));
    let (mut store, _) = open(directory.path()).unwrap();
    for offset in 1..=6 {
        // One commit each; some of them in tables already.
        store.commit(&[append(&log, 7, offset)]).unwrap();
        if offset == 5 {
            store.commit(&[append(&late, 9, 1)]).unwrap();
            store.flush_tables();
        }
    }
    // Seven commits; those of offsets 5 and 6, and that of the other log, came out as failed.
    store.fail_after(4);
    let (mut store, logs) = open(directory.path()).unwrap();
    let offsets = |saved: &SavedLog| -> Vec<u64> {
        saved.records.iter().map(|record| record.offset).collect()
    };
    assert_eq!(offsets(&logs[&log]), [1, 2, 3, 4]);
    assert!(
        logs[&log].head >= 4,
        "offsets may be left out, but not given twice to what was seen"
    );
    assert!(offsets(&logs[&late]).is_empty());
    // Their offsets may be used again, and nothing is missing then.
    store
        .commit(&[append(&log, 7, 5), append(&late, 9, 1)])
        .unwrap();
    drop(store);
    let (store, logs) = open(directory.path()).unwrap();
    assert_eq!(offsets(&logs[&log]), [1, 2, 3, 4, 5]);
    assert_eq!(offsets(&logs[&late]), [1]);
    drop(store);
    // There is no doubt any more: what is stored from now on stays.
    let (_, again) = open(directory.path()).unwrap();
    assert_eq!(again, logs);
}

#[test]
fn a_commit_that_was_synced_and_not_answered_stays() {
    let directory = quick_directory();
    let log = LogName::channel("news");
    let (mut store, _) = open(directory.path()).unwrap();
    store.commit(&[append(&log, 7, 1)]).unwrap();
    let witness = std::fs::read(directory.path().join("witness")).unwrap();
    store.commit(&[append(&log, 7, 2)]).unwrap();
    drop(store);
    // As if killed between the sync and the witness; or as if power was lost, and the witness was not written.
    std::fs::write(directory.path().join("witness"), witness).unwrap();
    let (_, logs) = open(directory.path()).unwrap();
    assert_eq!(logs[&log].records.len(), 2);
}
