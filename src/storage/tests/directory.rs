//! Whose the directory is.

use std::fs;

use super::*;

#[test]
fn one_process_has_a_directory() {
    let directory = quick_directory();
    let (store, _) = open(directory.path()).unwrap();
    let error = open(directory.path()).unwrap_err();
    assert!(matches!(error, StorageError::Busy { .. }), "{error}");
    assert!(
        error.to_string().contains("another process uses it"),
        "{error}"
    );
    drop(store);
    open(directory.path()).unwrap();
}

#[test]
fn files_of_something_else_are_left_alone() {
    let directory = quick_directory();
    fs::write(directory.path().join("thesis.txt"), "years of work").unwrap();
    let error = open(directory.path()).unwrap_err();
    assert!(matches!(error, StorageError::NotOurs { .. }), "{error}");
    assert!(error.to_string().contains("thesis.txt"), "{error}");
    fs::remove_file(directory.path().join("thesis.txt")).unwrap();
    fs::create_dir(directory.path().join("database")).unwrap();
    assert!(matches!(
        open(directory.path()).unwrap_err(),
        StorageError::NotOurs { .. }
    ));
}

#[test]
fn another_format_is_refused() {
    let directory = quick_directory();
    drop(open(directory.path()).unwrap());
    fs::write(directory.path().join("format"), "shardwire storage 2\n").unwrap();
    let error = open(directory.path()).unwrap_err();
    assert!(matches!(error, StorageError::Format { .. }), "{error}");
    let told = error.to_string();
    assert!(
        told.contains("storage 2") && told.contains("storage 1"),
        "{told}"
    );
}

#[test]
fn a_store_that_was_not_made_to_its_end_is_made_again() {
    let whole = quick_directory();
    drop(open(whole.path()).unwrap());
    // As if killed between any two of the steps that make one.
    for (left, moved) in [
        (&["lock"][..], false),
        (&["lock", "witness"], false),
        (&["lock", "witness", "database"], true),
        (&["lock", "witness", "database"], false),
    ] {
        let directory = quick_directory();
        for name in left {
            let (from, to) = (whole.path().join(name), directory.path().join(name));
            if from.is_dir() {
                let to = match moved {
                    true => directory.path().join("database.new"),
                    false => to,
                };
                fs::create_dir(&to).unwrap();
                fs::copy(from.join("version"), to.join("version")).unwrap();
            } else {
                fs::copy(from, to).unwrap();
            }
        }
        let (mut store, logs) = open(directory.path()).unwrap();
        assert!(logs.is_empty());
        store
            .commit(&[append(&LogName::channel("a"), 1, 1)])
            .unwrap();
    }
}
