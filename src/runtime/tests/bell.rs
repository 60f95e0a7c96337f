//! Waiting ends by the bell or in time.

use super::*;
use std::thread;

#[test]
fn a_ring_from_another_thread_wakes_the_wait() {
    let mut driver = driver();
    let bell = driver.bell();
    let ringer = thread::spawn(move || {
        thread::sleep(Duration::from_millis(50));
        bell.ring();
        Instant::now()
    });
    let mut completions = Vec::new();
    let start = Instant::now();
    driver.wait(Some(PATIENCE), &mut completions).unwrap();
    let woken = Instant::now();
    assert!(
        matches!(completions[..], [Completion::Bell]),
        "{completions:?}"
    );
    assert!(start.elapsed() >= Duration::from_millis(40));
    let rung = ringer.join().unwrap();
    assert!(woken.saturating_duration_since(rung) < Duration::from_secs(1));
}

#[test]
fn rings_before_a_wait_are_one_completion_and_later_ones_come_too() {
    let mut driver = driver();
    let mut completions = Vec::new();
    for _ in 0..100 {
        let bell = driver.bell();
        bell.ring();
        bell.ring();
        bell.ring();
        driver.wait(Some(PATIENCE), &mut completions).unwrap();
        assert!(
            matches!(completions[..], [Completion::Bell]),
            "{completions:?}"
        );
        completions.clear();
        driver.wait(Some(Duration::ZERO), &mut completions).unwrap();
        assert!(
            completions.is_empty(),
            "rung once, heard twice: {completions:?}"
        );
    }
}

#[test]
fn a_wait_takes_as_long_as_it_may_and_no_longer() {
    let mut driver = driver();
    let mut completions = Vec::new();
    driver.wait(Some(Duration::ZERO), &mut completions).unwrap();
    for wanted in [Duration::from_millis(1), Duration::from_millis(60)] {
        let start = Instant::now();
        driver.wait(Some(wanted), &mut completions).unwrap();
        let waited = start.elapsed();
        assert!(
            waited >= wanted && waited < wanted + Duration::from_secs(1),
            "waited {waited:?} instead of {wanted:?}"
        );
    }
    let start = Instant::now();
    for _ in 0..1_000 {
        driver.wait(Some(Duration::ZERO), &mut completions).unwrap();
    }
    assert!(
        start.elapsed() < Duration::from_millis(500),
        "looking is not waiting: {:?}",
        start.elapsed()
    );
    assert!(completions.is_empty(), "{completions:?}");
}

#[test]
fn a_bell_outlives_its_driver() {
    let bell = driver().bell();
    bell.ring();
}
