//! Which ids of the contract have a test, and whether `docs/reference/contract.md` says so.
//!
//! A test names the ids it holds the product to at the beginning of its own name: `contract_m8_m11_…`, `contract_m22_to_m25_…`,
//! and in `clients/rust`, whose tests are of the pool only, `p7_…`. So `cargo test -- --list` lists them.
//! Not here: the tests. Called by `tests/contract.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Rooms with tests.
const ROOMS: [&str; 6] = [
    "src",
    "shards",
    "protocol",
    "tests",
    "clients/rust",
    "simulator",
];

/// Names of tests, by the ids they name (`M17`).
pub type Tests = BTreeMap<String, BTreeSet<String>>;

/// The ids of the contract's sections 1 to 4 and 7 to 10, and of those of section 11 that concern the server's handlers.
pub fn ids() -> Vec<String> {
    let numbered =
        |letter: char, last: u32| (1..=last).map(move |number| format!("{letter}{number}"));
    numbered('M', 30)
        .chain(numbered('W', 9))
        .chain(["K10".to_owned(), "K11".to_owned()])
        .chain(numbered('P', 25))
        .chain(numbered('R', 7))
        .chain(numbered('L', 8))
        .chain(numbered('C', 11))
        .chain(numbered('N', 13))
        .collect()
}

/// Every test of the workspace that names ids.
pub fn tests_by_id(root: &Path) -> Tests {
    let mut tests = Tests::new();
    for room in ROOMS {
        gather(&root.join(room), &mut tests);
    }
    tests
}

fn gather(directory: &Path, tests: &mut Tests) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            gather(&path, tests);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = fs::read_to_string(&path).unwrap();
            for name in test_names(&source) {
                for id in ids_of(&name) {
                    tests.entry(id).or_default().insert(name.clone());
                }
            }
        }
    }
}

/// The functions that stand directly below an attribute `test`.
fn test_names(source: &str) -> Vec<String> {
    let (mut names, mut is_test) = (Vec::new(), false);
    for line in source.lines().map(str::trim) {
        let function = line.strip_prefix("async ").unwrap_or(line);
        if line == "#[test]" || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if let Some(rest) = function.strip_prefix("fn ") {
            if is_test {
                names.extend(rest.split('(').next().map(str::to_owned));
            }
            is_test = false;
        }
    }
    names
}

/// The ids a test's name begins with.
fn ids_of(name: &str) -> Vec<String> {
    let (words, of_the_pool) = match name.strip_prefix("contract_") {
        Some(rest) => (rest, false),
        None => (name, true),
    };
    let (mut ids, mut until) = (Vec::<(char, u32)>::new(), false);
    for word in words.split('_') {
        if word == "to" && !ids.is_empty() {
            until = true;
            continue;
        }
        let Some(id) = id_of(word).filter(|(letter, _)| !of_the_pool || *letter == 'P') else {
            break;
        };
        if let Some((letter, first)) = ids.last().copied().filter(|_| until) {
            ids.extend((first + 1..id.1).map(|number| (letter, number)));
        }
        until = false;
        ids.push(id);
    }
    ids.into_iter()
        .map(|(letter, number)| format!("{letter}{number}"))
        .collect()
}

fn id_of(word: &str) -> Option<(char, u32)> {
    let letter = word.chars().next()?.to_ascii_uppercase();
    let number = word.get(1..)?.parse().ok()?;
    letter.is_ascii_uppercase().then_some((letter, number))
}

/// What is wrong with the page: ids without a row or without a test, rows that name tests which do not exist or do not name the id.
pub fn faults(page: &str, tests: &Tests) -> Vec<String> {
    let mut rows: BTreeMap<&str, &str> = BTreeMap::new();
    let mut faults = Vec::new();
    for line in page.lines().filter(|line| line.starts_with("| ")) {
        let id = line[2..].split(' ').next().unwrap_or_default();
        if id_of(id).is_some() && rows.insert(id, line).is_some() {
            faults.push(format!("{id} has two rows"));
        }
    }
    for id in ids() {
        let none = BTreeSet::new();
        let named = tests.get(&id).unwrap_or(&none);
        if named.is_empty() {
            faults.push(format!("{id}: no test names it"));
        }
        let Some(row) = rows.get(id.as_str()) else {
            faults.push(format!("{id}: docs/reference/contract.md has no row"));
            continue;
        };
        let told = row.rsplit('|').nth(1).unwrap_or_default();
        let told: Vec<&str> = told.split('`').skip(1).step_by(2).collect();
        if told.is_empty() {
            faults.push(format!("{id}: the row names no test"));
        }
        for test in told {
            if !named.contains(test) {
                faults.push(format!(
                    "{id}: no test named {test} names it; there are {named:?}"
                ));
            }
        }
    }
    faults
}

#[test]
fn ids_stand_at_the_beginning_of_a_name() {
    for (name, ids) in [
        ("contract_m8_m11_a_verifier", &["M8", "M11"][..]),
        (
            "contract_m22_to_m25_the_handle",
            &["M22", "M23", "M24", "M25"],
        ),
        ("contract_k11_d21_errors", &["K11", "D21"]),
        ("p7_backends", &["P7"]),
        ("contract_errors_w8", &[]),
        ("m7_is_not_of_the_pool", &[]),
        ("how_p7_is_kept", &[]),
    ] {
        assert_eq!(ids_of(name), ids, "{name}");
    }
}

#[test]
fn a_page_with_faults_is_told_all_of_them() {
    let source = "#[test]\nfn contract_m1_one() {}\nfn contract_m2_no_test() {}\n#[tokio::test(start_paused = true)]\nasync fn p1_two() {}";
    let mut tests = Tests::new();
    for name in test_names(source) {
        for id in ids_of(&name) {
            tests.entry(id).or_default().insert(name.clone());
        }
    }
    let page = "| M1 | a | `b` | `contract_m1_one` |\n| M1 | twice | | `x` |\n| P1 | a | `b` | `p1_gone` |\n";
    let faults = faults(page, &tests);
    for told in [
        "M1 has two rows",
        "M1: no test named x names it; there are {\"contract_m1_one\"}",
        "M2: no test names it",
        "M2: docs/reference/contract.md has no row",
        "P1: no test named p1_gone names it; there are {\"p1_two\"}",
    ] {
        assert!(
            faults.iter().any(|fault| fault == told),
            "{told}: {faults:?}"
        );
    }
}
