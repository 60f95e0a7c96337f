//! `docs/reference/codes.md` says what the tables of `codes` say.
#![allow(clippy::unwrap_used)]

use std::{env, fs, path::Path};

/// With `UPDATE_REFERENCE=1` in the environment the page is written instead of compared.
#[test]
fn the_codes_page_is_generated_from_the_tables() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/codes.md");
    let expected = shardwire_protocol::codes::reference_page();
    if env::var_os("UPDATE_REFERENCE").is_some_and(|value| value == "1") {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &expected).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "docs/reference/codes.md differs from the tables; run \
         UPDATE_REFERENCE=1 cargo test -p shardwire-protocol --test reference"
    );
}
