//! Faults that were put into a shard on purpose are found, each by the check that is there for it.

use simulator::{Fault, Options, run};

/// Seeds of the first hundred that find the fault, and by which check.
fn found_by(fault: Fault) -> Vec<(u64, &'static str)> {
    (0..100)
        .filter_map(|seed| {
            let options = Options {
                seed,
                steps: 1_500,
                shards: None,
                plant: Some(fault),
            };
            Some((seed, run(&options, 0).failure?.check))
        })
        .collect()
}

#[test]
fn a_delivery_left_out_is_found() {
    let found = found_by(Fault::SkipDelivery);
    assert!(!found.is_empty());
    // The second looks at channels with a history, the first at the others.
    let checks = ["no loss", "once, in order, or told"];
    assert!(
        found.iter().all(|(_, check)| checks.contains(check)),
        "{found:?}"
    );
}

#[test]
fn a_delivery_made_twice_is_found() {
    let found = found_by(Fault::DoubleDelivery);
    assert!(!found.is_empty());
    let checks = ["no duplicate", "once, in order, or told"];
    assert!(
        found.iter().all(|(_, check)| checks.contains(check)),
        "{found:?}"
    );
}

#[test]
fn a_deregistration_that_is_forgotten_is_found() {
    let found = found_by(Fault::ForgetDeregistration);
    assert!(!found.is_empty());
    let checks = ["limits are exact", "registries hold what is there"];
    assert!(
        found.iter().all(|(_, check)| checks.contains(check)),
        "{found:?}"
    );
}

#[test]
fn a_seam_that_is_one_record_off_is_found() {
    let found = found_by(Fault::EarlySeam);
    assert!(!found.is_empty());
    assert!(
        found
            .iter()
            .all(|(_, check)| *check == "once, in order, or told"),
        "{found:?}"
    );
}

#[test]
fn a_full_lane_that_is_forgotten_is_found() {
    let found = found_by(Fault::ForgetOverflow);
    assert!(!found.is_empty());
    assert!(
        found
            .iter()
            .all(|(_, check)| *check == "once, in order, or told"),
        "{found:?}"
    );
}

#[test]
fn an_epoch_that_outlives_its_log_is_found() {
    let found = found_by(Fault::KeepEpoch);
    assert!(!found.is_empty());
    assert!(
        found
            .iter()
            .all(|(_, check)| *check == "once, in order, or told"),
        "{found:?}"
    );
}
