//! What older kernels get: the same behaviour from rings with fewer flags.

use super::echo::echo_clients;
use super::pause::pause_and_resume;
use super::starvation::drain;
use super::*;
use crate::runtime::uring::{TaskWork, Uring};

fn ring_of(kind: TaskWork, options: DriverOptions) -> Uring {
    Uring::with_first_of(&[kind], &options).unwrap()
}

#[test]
fn every_kind_of_ring_echoes_pauses_and_starves_alike() {
    let small = DriverOptions {
        buffer_count: 16,
        buffer_size: 2048,
        ..DriverOptions::default()
    };
    let tiny = DriverOptions {
        buffer_size: 64,
        buffer_count: 64,
        submission_entries: 2,
        completion_entries: 4,
        ..DriverOptions::default()
    };
    for kind in TaskWork::BEST_FIRST {
        echo_clients(ring_of(kind, small), 4);
        pause_and_resume(ring_of(kind, small), 1 << 20);
        drain(&mut ring_of(kind, tiny), 50, 2_000);
    }
}

#[test]
fn every_kind_of_ring_hears_its_bell_and_keeps_its_time() {
    for kind in TaskWork::BEST_FIRST {
        let mut driver = ring_of(kind, DriverOptions::default());
        let mut completions = Vec::new();
        let start = Instant::now();
        driver
            .wait(Some(Duration::from_millis(30)), &mut completions)
            .unwrap();
        assert!(start.elapsed() >= Duration::from_millis(30));
        let bell = driver.bell();
        let ringer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            bell.ring();
        });
        driver.wait(Some(PATIENCE), &mut completions).unwrap();
        assert!(
            matches!(completions[..], [Completion::Bell]),
            "{kind:?}: {completions:?}"
        );
        ringer.join().unwrap();
        driver.bell().ring();
        completions.clear();
        driver.wait(Some(Duration::ZERO), &mut completions).unwrap();
        assert!(
            matches!(completions[..], [Completion::Bell]),
            "{kind:?}: {completions:?}"
        );
    }
}
