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

/// Some seed finds the fault, and only by these checks.
fn is_found(fault: Fault, checks: &[&str]) {
    let found = found_by(fault);
    assert!(!found.is_empty());
    assert!(
        found.iter().all(|(_, check)| checks.contains(check)),
        "{found:?}"
    );
}

/// Looks at channels in which it is told who is in another one.
const PRESENCE: &str = "who is there is known";

/// Looks at channels with a history; the older checks look at the others.
const HISTORY: &str = "once, in order, or told";

/// Looks at what devices know of their user's inbox.
const INBOXES: &str = "every device knows the inbox";

/// Looks at what those have who work on a document.
const DOCUMENTS: &str = "documents converge";

/// Looks at what members of chat rooms are told.
const ROOMS: &str = "everybody is in the room it is in";

#[test]
fn a_delivery_left_out_is_found() {
    is_found(
        Fault::SkipDelivery,
        &["no loss", HISTORY, ROOMS, PRESENCE, DOCUMENTS],
    );
}

#[test]
fn a_delivery_made_twice_is_found() {
    is_found(
        Fault::DoubleDelivery,
        &["no duplicate", HISTORY, ROOMS, DOCUMENTS],
    );
}

#[test]
fn a_deregistration_that_is_forgotten_is_found() {
    let checks = ["limits are exact", "registries hold what is there"];
    is_found(Fault::ForgetDeregistration, &checks);
}

#[test]
fn a_seam_that_is_one_record_off_is_found() {
    is_found(Fault::EarlySeam, &[HISTORY]);
}

#[test]
fn a_full_lane_that_is_forgotten_is_found() {
    is_found(Fault::ForgetOverflow, &[HISTORY]);
}

#[test]
fn an_epoch_that_outlives_its_log_is_found() {
    is_found(Fault::KeepEpoch, &[HISTORY]);
}

#[test]
fn a_number_of_unread_notifications_that_is_not_told_is_found() {
    is_found(Fault::ForgetCount, &[INBOXES]);
}

#[test]
fn a_seat_that_is_kept_when_its_member_has_left_is_found() {
    let checks = [
        ROOMS,
        "registries hold what is there",
        // Where it comes back into the same room.
        "nothing panics",
    ];
    is_found(Fault::KeepSeat, &checks);
}

#[test]
fn somebody_who_is_kept_in_a_channel_is_found() {
    is_found(
        Fault::ForgetLeave,
        &[PRESENCE, "registries hold what is there"],
    );
}
