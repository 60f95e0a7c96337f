//! Instructions per message of the hot paths, counted by `valgrind --tool=callgrind` and held against
//! `baseline.toml`: a count hardly moves with the machine or its load, so it can gate where a time cannot.
//!
//! - `cargo bench --bench instructions`: counts every path; fails if one needs over a tenth more than its baseline.
//! - `UPDATE_BASELINE=1 cargo bench --bench instructions`: writes the baseline anew, to be committed with the reason.
//! - `cargo bench --bench instructions -- --profile "echo 64 B"`: one path, with its most expensive functions.
//!
//! The program runs itself under valgrind, once per path. Only what happens inside [`paths::counted`] is counted, so
//! building the fixture costs nothing.

#[path = "../support/mod.rs"]
mod support;

mod paths;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use paths::{PATHS, Path as HotPath};

/// How much more than its baseline a path may need.
const TOLERANCE: f64 = 0.10;

type Counts = BTreeMap<String, u64>;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["--run", name] => {
            let path = find(name);
            (path.run)();
            ExitCode::SUCCESS
        }
        ["--profile", name, ..] => {
            profile(find(name));
            ExitCode::SUCCESS
        }
        words if words.contains(&"--bench") => gate(),
        _ => {
            println!("counts instructions only by `cargo bench --bench instructions`");
            ExitCode::SUCCESS
        }
    }
}

fn find(name: &str) -> &'static HotPath {
    PATHS
        .iter()
        .find(|path| path.name == name)
        .unwrap_or_else(|| {
            let names: Vec<_> = PATHS.iter().map(|path| path.name).collect();
            panic!("no path {name:?}; there are: {names:?}")
        })
}

/// Counts all paths and compares; the last line is that of a test run.
fn gate() -> ExitCode {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/instructions/baseline.toml");
    let update = env::var_os("UPDATE_BASELINE").is_some();
    let baseline: Counts = match fs::read_to_string(&file) {
        Ok(text) => toml::from_str(&text).expect("a baseline of names and counts"),
        Err(_) if update => Counts::new(),
        Err(error) => panic!("{}: {error}", file.display()),
    };
    println!(
        "{:32} {:>12} {:>12} {:>8}",
        "path", "baseline", "now", "change"
    );
    let mut counts = Counts::new();
    let mut failed = 0;
    for path in PATHS {
        let now = count(path);
        counts.insert(path.name.to_owned(), now);
        let before = baseline.get(path.name).copied();
        let change = before.map(|before| now as f64 / before as f64 - 1.0);
        let verdict = match change {
            None => "  has no baseline",
            Some(change) if change > TOLERANCE => "  GREW",
            Some(change) if change < -TOLERANCE => "  shrank: write the baseline anew",
            Some(_) => "",
        };
        failed += usize::from(change.is_none_or(|change| change > TOLERANCE));
        println!(
            "{:32} {:>12} {now:>12} {:>8}{verdict}",
            path.name,
            before.map_or("-".to_owned(), |before| before.to_string()),
            change.map_or("-".to_owned(), |change| format!("{:+.1} %", change * 100.0)),
        );
    }
    if update {
        let text = toml::to_string(&counts).expect("names and counts");
        let head = "# Instructions per message (or what the path's name says), counted on x86-64; written by\n\
                    # UPDATE_BASELINE=1 cargo bench --bench instructions\n";
        fs::write(&file, format!("{head}{text}")).expect("the baseline can be written");
        println!("written: {}", file.display());
        return ExitCode::SUCCESS;
    }
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "test result: {word}. {} passed; {failed} failed",
        PATHS.len() - failed
    );
    ExitCode::from(u8::from(failed > 0))
}

/// Instructions of one message on this path.
fn count(path: &HotPath) -> u64 {
    let (total, _) = callgrind(path);
    total / path.messages
}

/// Shows where a path's instructions go.
fn profile(path: &HotPath) {
    let (total, out) = callgrind(path);
    println!(
        "{}: {} instructions per message",
        path.name,
        total / path.messages
    );
    let status = Command::new("callgrind_annotate").arg(&out).status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "callgrind_annotate failed"
    );
}

/// Runs this program under callgrind: all instructions inside `counted`, and the file with their distribution.
fn callgrind(path: &HotPath) -> (u64, PathBuf) {
    let this = env::current_exe().expect("this program has a path");
    let out =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("callgrind.{}", path.file_name()));
    let output = Command::new("valgrind")
        // Copies by vector loops on every machine: `rep movsb`, which some choose, counts one instruction per byte.
        .env(
            "GLIBC_TUNABLES",
            "glibc.cpu.x86_rep_movsb_threshold=0x7fffffffffff",
        )
        .args(["--tool=callgrind", "--toggle-collect=*counted*"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(this)
        .args(["--run", path.name])
        .output()
        .expect("valgrind is installed (apt-get install valgrind)");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", path.name);
    let total = said
        .lines()
        .find_map(|line| line.split_once("Collected : "))
        .and_then(|(_, count)| count.trim().parse().ok())
        .unwrap_or_else(|| panic!("{}: no count in {said}", path.name));
    assert!(total > 0, "{}: nothing was counted", path.name);
    (total, out)
}
