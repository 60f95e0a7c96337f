//! The first seeds find nothing wrong. (Thousands are run with `cargo run --release -p simulator -- --seeds 0..1000`.)

use simulator::{Options, run};

#[test]
fn the_first_seeds_find_nothing_wrong() {
    for seed in 0..60 {
        let options = Options {
            seed,
            steps: 2_000,
            shards: None,
            plant: None,
        };
        let outcome = run(&options, 40);
        assert_eq!(
            outcome.failure,
            None,
            "seed {seed}:\n{}",
            outcome.last.join("\n")
        );
    }
}
