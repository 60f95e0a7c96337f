//! A seed is the whole of a run: what it did, it does again, in this process and in any other.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::process::Command;

use simulator::{Fault, Options, run};

fn options(seed: u64) -> Options {
    Options {
        seed,
        steps: 1_000,
        shards: None,
        plant: None,
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let mut hashes = BTreeSet::new();
    for seed in 0..12 {
        let (first, second) = (run(&options(seed), 0), run(&options(seed), 500));
        assert_eq!(first.hash, second.hash, "seed {seed}");
        assert_eq!(first.deliveries, second.deliveries, "seed {seed}");
        hashes.insert(first.hash);
    }
    assert_eq!(hashes.len(), 12, "and another seed gives another");
}

#[test]
fn a_failing_seed_fails_again_in_the_same_way() {
    let fails = |seed| Options {
        plant: Some(Fault::DoubleDelivery),
        ..options(seed)
    };
    let seed = (0..100)
        .find(|&seed| run(&fails(seed), 0).failure.is_some())
        .unwrap();
    let (first, second) = (run(&fails(seed), 0), run(&fails(seed), 20));
    assert_eq!(first.failure, second.failure);
    assert_eq!(first.hash, second.hash);
    let what = first.failure.unwrap().what;
    assert!(second.last.iter().any(|line| line.contains(&what)));
}

/// Hash maps of the engine are seeded anew in every process; nothing may depend on their order.
#[test]
fn another_process_runs_it_alike() {
    let told = |seed: u64| {
        let output = Command::new(env!("CARGO_BIN_EXE_simulator"))
            .args(["--steps", "1000", "--seed", &seed.to_string()])
            .output()
            .unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    for seed in 0..12 {
        let hash = format!("{:016x}", run(&options(seed), 0).hash);
        let told = told(seed);
        assert!(
            told.contains(&hash),
            "seed {seed}: {hash} here, there {told}"
        );
    }
}

#[test]
fn the_number_of_shards_can_be_given() {
    for shards in [1, 2, 16] {
        let options = Options {
            shards: Some(shards),
            ..options(7)
        };
        let outcome = run(&options, 0);
        assert_eq!(outcome.shards, usize::from(shards));
        assert_eq!(outcome.failure, None);
    }
}
