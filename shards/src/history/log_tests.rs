#![allow(clippy::unwrap_used)]

use super::*;
use bytes::Bytes;
use proptest::prelude::*;

const ALL: ReadLimit = ReadLimit {
    records: usize::MAX,
    bytes: usize::MAX,
};

fn log(max_messages: usize, max_age_ms: u64) -> Log {
    let rule = HistoryRule {
        max_messages,
        max_age_ms,
        max_bytes: usize::MAX,
        durable: false,
    };
    let start = Position {
        epoch: Epoch(7),
        offset: 0,
    };
    Log::new(rule, start, 0)
}

fn publish(log: &mut Log, now_ms: u64, lifetime_ms: Option<u64>) -> u64 {
    let offset = log.give_offset();
    let record = Record {
        offset,
        frame: Bytes::from(offset.to_string()).into(),
        exclude: SmallVec::new(),
        expires: log.expiry(now_ms, lifetime_ms),
    };
    log.append(now_ms, record);
    log.trim(now_ms);
    offset
}

/// Offsets as they were read; gaps as ranges.
fn read(
    log: &Log,
    now_ms: u64,
    from: u64,
    through: u64,
    limit: ReadLimit,
) -> (Vec<(u64, u64, bool)>, u64) {
    let part = log.read(now_ms, from, through, limit);
    let items = part.items.into_iter().map(|item| match item {
        Kept::Record { offset, frame, .. } => {
            assert_eq!(frame.plain, offset.to_string());
            (offset, offset, true)
        }
        Kept::Gone { from, to } => (from, to, false),
    });
    (items.collect(), part.next)
}

#[test]
fn what_is_too_much_goes_and_is_named() {
    let mut log = log(3, 1000);
    for _ in 0..5 {
        publish(&mut log, 0, None);
    }
    assert_eq!(
        read(&log, 0, 1, 5, ALL),
        (
            vec![(1, 2, false), (3, 3, true), (4, 4, true), (5, 5, true)],
            6
        )
    );
    assert!(!log.is_whole(0, 2, 5) && log.is_whole(0, 3, 5));
    assert_eq!(
        read(&log, 0, 6, 5, ALL),
        (vec![], 6),
        "there is nothing more"
    );
    assert_eq!(read(&log, 0, 1, 1, ALL), (vec![(1, 1, false)], 2));
}

#[test]
fn what_is_too_old_goes() {
    let mut log = log(100, 1000);
    publish(&mut log, 0, None);
    publish(&mut log, 500, None);
    assert_eq!(read(&log, 999, 1, 2, ALL).0.len(), 2);
    assert_eq!(
        read(&log, 1000, 1, 2, ALL).0,
        [(1, 1, false), (2, 2, true)],
        "to the millisecond, whether or not somebody has tidied up"
    );
    log.trim(1499);
    assert_eq!(log.len(), 1);
    log.trim(1500);
    assert_eq!(
        (log.len(), log.position().offset),
        (0, 2),
        "the place stays"
    );
    assert_eq!(log.bytes(), LOG_BYTES);
}

#[test]
fn a_lifetime_of_its_own_makes_a_hole_that_is_named() {
    let mut log = log(100, 1000);
    publish(&mut log, 0, None);
    publish(&mut log, 0, Some(10));
    publish(&mut log, 0, Some(10));
    publish(&mut log, 0, Some(5000));
    let holed = vec![(1, 1, true), (2, 3, false), (4, 4, true)];
    assert_eq!(read(&log, 10, 1, 4, ALL).0, holed);
    let before = log.bytes();
    log.trim(10);
    assert!(log.bytes() < before, "their frames are let go of");
    assert_eq!(read(&log, 10, 1, 4, ALL).0, holed);
    assert_eq!(log.len(), 2);
    assert!(!log.is_whole(10, 1, 4) && log.is_whole(10, 4, 4));
    log.trim(1000);
    assert_eq!(log.len(), 0, "no longer than the rule allows");
    assert_eq!(log.bytes(), LOG_BYTES);
}

#[test]
fn reading_stops_at_its_limits_and_goes_on() {
    let mut log = log(100, 1000);
    for _ in 0..12 {
        publish(&mut log, 0, None);
    }
    let two = ReadLimit {
        records: 2,
        bytes: usize::MAX,
    };
    assert_eq!(
        read(&log, 0, 4, 12, two),
        (vec![(4, 4, true), (5, 5, true)], 6)
    );
    let few = ReadLimit {
        records: 100,
        bytes: 3,
    };
    // "9", then "10" would be the third byte.
    assert_eq!(
        read(&log, 0, 9, 12, few),
        (vec![(9, 9, true), (10, 10, true)], 11)
    );
    let nothing = ReadLimit {
        records: 100,
        bytes: 0,
    };
    assert_eq!(read(&log, 0, 11, 12, nothing).1, 12, "one at least");
}

#[test]
fn offsets_that_nothing_came_of_are_no_gap() {
    let mut log = log(100, 1000);
    publish(&mut log, 0, None);
    log.give_offset();
    publish(&mut log, 0, None);
    assert_eq!(
        read(&log, 0, 1, 3, ALL),
        (vec![(1, 1, true), (3, 3, true)], 4)
    );
    assert!(log.is_whole(0, 1, 3));
}

#[test]
fn a_restored_log_goes_on_behind_its_head() {
    let rule = log(100, 1000).rule;
    let head = Position {
        epoch: Epoch(9),
        offset: 12,
    };
    let mut log = Log::new(rule, head, 0);
    for offset in [7, 9] {
        log.restore(
            0,
            Record {
                offset,
                frame: Bytes::from(offset.to_string()).into(),
                exclude: SmallVec::new(),
                expires: 500,
            },
        );
    }
    assert_eq!(log.position(), head);
    assert_eq!(publish(&mut log, 0, None), 13);
    assert_eq!(
        read(&log, 0, 5, 13, ALL).0,
        [(5, 6, false), (7, 7, true), (9, 9, true), (13, 13, true)]
    );
    let mut empty = Log::new(rule, head, 0);
    assert_eq!(publish(&mut empty, 0, None), 13);
    assert_eq!(
        read(&empty, 0, 12, 13, ALL).0,
        [(12, 12, false), (13, 13, true)]
    );
}

proptest! {
    /// Whatever is published, expires and is read in whatever pieces: each offset is read once, in order, with its frame or in a gap,
    /// and a record is in a gap only if it had to go.
    #[test]
    fn every_offset_is_accounted_for_once(
        steps in prop::collection::vec((0_u64..40, prop::option::of(0_u64..200)), 1..60),
        max_messages in 1_usize..20,
        records in 1_usize..8,
        from in 1_u64..30,
    ) {
        let mut log = log(max_messages, 150);
        let (mut now, mut expiries) = (0, vec![u64::MAX]);
        for (pause, lifetime) in steps {
            now += pause;
            expiries.push(log.expiry(now, lifetime));
            publish(&mut log, now, lifetime);
        }
        let head = log.position().offset;
        let limit = ReadLimit { records, bytes: usize::MAX };
        let (mut next, mut seen) = (from.min(head + 1), Vec::new());
        while next <= head {
            let (items, on) = read(&log, now, next, head, limit);
            prop_assert!(on > next, "reading goes on");
            next = on;
            for (first, last, there) in items {
                seen.extend((first..=last).map(|offset| (offset, there)));
            }
        }
        let expected: Vec<u64> = (from..=head).collect();
        prop_assert_eq!(seen.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), expected);
        for (offset, there) in seen {
            let too_old = expiries[offset as usize] <= now;
            if there {
                prop_assert!(!too_old, "{} is too old", offset);
            } else {
                let newer = head - offset;
                prop_assert!(too_old || newer >= max_messages as u64, "{} had not to go", offset);
            }
        }
    }
}
