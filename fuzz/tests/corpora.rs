//! Every target over its corpus and over seeded mutations of it, with nothing but Cargo.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use shardwire_fuzz::mutation::mutated;
use shardwire_fuzz::{INPUT_BYTES_MAX, TARGETS, Target};

/// Mutated inputs per target: seconds for all of them, unoptimised.
const MUTATIONS: u64 = 1_500;

fn room(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// File names and contents, in the order of the names.
fn corpus(target: &Target) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(room("corpus").join(target.name))
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, fs::read(path).unwrap())
        })
        .collect();
    files.sort();
    files
}

/// Runs the target; a panic ends the test with the input, ready to become a file of the corpus.
fn run(target: &Target, input: &[u8], what: &str) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (target.run)(input))) {
        let says = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or(panic.downcast_ref::<&str>().copied())
            .unwrap_or("a panic");
        panic!(
            "{}, {what}: {says}\ninput: b\"{}\"",
            target.name,
            input.escape_ascii()
        );
    }
}

fn replay_and_mutate(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let corpus = corpus(target);
    assert!(!corpus.is_empty(), "no corpus");
    for (file, input) in &corpus {
        assert!(input.len() <= INPUT_BYTES_MAX, "{file} is too long");
        run(target, input, file);
    }
    let inputs: Vec<_> = corpus.into_iter().map(|(_, input)| input).collect();
    for seed in 0..MUTATIONS {
        run(target, &mutated(&inputs, seed), &format!("seed {seed}"));
    }
}

macro_rules! targets {
    ($($name:ident),+) => {
        $(#[test]
        fn $name() {
            replay_and_mutate(stringify!($name));
        })+

        #[test]
        fn every_target_is_run_here_and_by_libfuzzer() {
            let all: BTreeSet<_> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
            assert_eq!(all, BTreeSet::from([$(stringify!($name).to_owned()),+]));
            let stems = |folder: &str| -> BTreeSet<String> {
                fs::read_dir(room(folder))
                    .unwrap()
                    .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
                    .collect()
            };
            assert_eq!(stems("fuzz_targets"), all);
            assert_eq!(stems("corpus"), all);
            assert!(stems("dictionaries").is_subset(&all));
        }
    };
}

targets!(
    handshake,
    frames,
    compressed_frames,
    inflate,
    deflate,
    envelope,
    proxy,
    shard,
    text
);

#[test]
fn a_seed_gives_the_same_input_always() {
    let inputs = [b"one".to_vec(), b"another".to_vec()];
    let made: BTreeSet<_> = (0..100).map(|seed| mutated(&inputs, seed)).collect();
    assert_eq!(mutated(&inputs, 7), mutated(&inputs, 7));
    assert!(made.len() > 50, "mutations that change nothing");
}

#[test]
fn a_target_that_panics_is_caught_with_its_input() {
    let broken = Target {
        name: "broken",
        run: |data| assert!(!data.contains(&b'!'), "an exclamation mark"),
    };
    run(&broken, b"fine", "a");
    let caught = catch_unwind(|| run(&broken, b"oh!", "seed 3")).unwrap_err();
    let says = caught.downcast_ref::<String>().unwrap();
    assert!(says.contains("broken, seed 3: an exclamation mark") && says.contains("b\"oh!\""));
}
