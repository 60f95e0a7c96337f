//! Who may name what: the last column of the table of crates in `docs/architecture.md`, as a test.
//!
//! Cargo enforces which crate may use which; this file enforces what Cargo cannot see: that `protocol` knows no time and
//! `shards` no clock and no socket, that the runtime's crates stay in their room, that `unsafe` stays where it has a reason.
//! It also looks for two kinds of leftover. No taste: neither sizes nor line lengths nor style.
//! Every rule has a planted line in `every_rule_fires_on_its_planted_line`.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

#[path = "support/rust_source.rs"]
mod rust_source;

use rust_source::{Named, Token};

/// Files outside `src/runtime` that may say `unsafe`, each with its reason.
const UNSAFE_WITH_A_REASON: &[(&str, &str)] = &[];

/// A rule about product code: what the files under `rooms` (and not under `except`) may not name.
struct Rule {
    /// What to tell the person who broke it.
    says: &'static str,
    rooms: &'static [&'static str],
    except: &'static [&'static str],
    /// Does this path break the rule?
    path: fn(&Named) -> bool,
    /// Do the tokens from here on break the rule?
    tokens: fn(&[Token]) -> bool,
    /// A line that must fire, for the self-test.
    planted: &'static [&'static str],
    /// Lines that look alike and must not fire.
    harmless: &'static [&'static str],
}

const RULES: &[Rule] = &[
    Rule {
        says: "protocol parses: it knows no threads, no time, no sockets, no runtime",
        rooms: &["protocol/src"],
        except: &[],
        path: |named| {
            [["std", "thread"], ["std", "time"], ["core", "time"]]
                .iter()
                .any(|path| contains(named, path))
                || names_more_of_net_than_addresses(named)
                || has_any(
                    named,
                    &["glommio", "tokio", "mio", "libc", "io_uring", "socket2"],
                )
        },
        tokens: |_| false,
        planted: &[
            "use std::{fmt, time::Duration};",
            "fn f() { std::thread::yield_now() }",
            "fn f(a: std::net::TcpStream) {}",
            "use std::net;",
            "use core::net::*;",
            "use std::net::{IpAddr, ToSocketAddrs};",
            "use glommio::Task;",
        ],
        harmless: &[
            "use std::net::{IpAddr, SocketAddr};",
            "// std::time",
            "fn f() { g(\"std::net\") }",
            "use std::fmt;",
            "fn time(net: u8) {}",
        ],
    },
    Rule {
        says: "shards decide: no runtime, no socket, no clock, no thread of their own; time is an argument",
        rooms: &["shards/src"],
        except: &[],
        path: |named| {
            has_any(
                named,
                &[
                    "glommio",
                    "tokio",
                    "mio",
                    "libc",
                    "io_uring",
                    "socket2",
                    "SystemTime",
                    "UdpSocket",
                    "UnixStream",
                    "UnixListener",
                ],
            ) || named
                .segments
                .iter()
                .any(|segment| segment.starts_with("Tcp"))
                || [
                    ["Instant", "now"],
                    ["thread", "spawn"],
                    ["thread", "Builder"],
                    ["thread", "scope"],
                    ["net", "*"],
                    ["thread", "*"],
                    ["time", "*"],
                ]
                .iter()
                .any(|path| contains(named, path))
        },
        tokens: |_| false,
        planted: &[
            "use std::net::{IpAddr, TcpStream};",
            "let now = std::time::Instant::now();",
            "let f = Instant::now;",
            "let now = SystemTime::UNIX_EPOCH;",
            "use std::thread::{self, spawn};",
            "thread::spawn(|| ());",
            "use std::net::*;",
            "use glommio as g;",
        ],
        harmless: &[
            "use std::net::{IpAddr, SocketAddr};",
            "use std::time::{Duration, Instant};",
            "/// Not `Instant::now`.",
            "#[cfg(test)] mod tests { fn f() { std::thread::spawn(|| ()); } }",
        ],
    },
    Rule {
        says: "shards decide: nothing in them waits, so no `async`",
        rooms: &["shards/src"],
        except: &[],
        path: |_| false,
        tokens: |tokens| tokens[0].text == "async",
        planted: &["pub async fn f() {}", "let f = async move {};"],
        harmless: &["// async fn", "fn asynchronous() {}"],
    },
    Rule {
        says: "only src/runtime names the runtime and the kernel (glommio, io_uring, libc)",
        rooms: &["src"],
        except: &["src/runtime"],
        path: |named| has_any(named, &["glommio", "io_uring", "libc"]),
        tokens: |_| false,
        planted: &[
            "use glommio::LocalExecutor;",
            "let n = libc::EMFILE;",
            "use io_uring::{opcode, IoUring};",
        ],
        harmless: &["/// One glommio executor.", "use crate::runtime::Driver;"],
    },
    Rule {
        says: "`unsafe` stays in src/runtime, or in a file listed in tests/tidy.rs with its reason",
        rooms: &[
            "src",
            "protocol/src",
            "shards/src",
            "loadtest/src",
            "simulator/src",
            "clients/rust/src",
            "examples",
        ],
        except: &["src/runtime"],
        path: |_| false,
        tokens: |tokens| tokens[0].text == "unsafe",
        planted: &["unsafe { f() }", "unsafe impl Send for X {}"],
        harmless: &["// unsafe", "#![deny(unsafe_code)]"],
    },
    Rule {
        says: "the simulator fakes exactly what the engine does: it never names the engine",
        rooms: &["simulator/src"],
        except: &[],
        path: |named| named.segments[0] == "shardwire" || has_any(named, &["glommio", "io_uring"]),
        tokens: |_| false,
        planted: &["use shardwire::Engine;"],
        harmless: &["use shardwire_shards::Shard;"],
    },
    Rule {
        says: "the load test knows only the wire: it names neither the engine nor the shards",
        rooms: &["loadtest/src"],
        except: &[],
        path: |named| has_any(named, &["shardwire", "shardwire_shards", "glommio"]),
        tokens: |_| false,
        planted: &["use shardwire::Engine;", "use shardwire_shards::placement;"],
        harmless: &[
            "use shardwire_protocol::websocket;",
            "let name = \"shardwire\";",
        ],
    },
    Rule {
        says: "the client knows only the wire: it names neither the engine nor the shards",
        rooms: &["clients/rust/src"],
        except: &[],
        path: |named| {
            has_any(
                named,
                &[
                    "shardwire",
                    "shardwire_shards",
                    "glommio",
                    "io_uring",
                    "libc",
                ],
            )
        },
        tokens: |_| false,
        planted: &["use shardwire::Engine;", "use shardwire_shards::bounds;"],
        harmless: &[
            "use shardwire_protocol::codes::close;",
            "/// A shardwire server.",
        ],
    },
    Rule {
        says: "the client's pool decides in `core`: no clock, no task, nothing that waits; time is an argument",
        rooms: &["clients/rust/src/pool/core"],
        except: &[],
        path: |named| {
            has_any(named, &["spawn", "sleep", "sleep_until", "timeout"])
                || contains(named, &["Instant", "now"])
        },
        tokens: |tokens| tokens[0].text == "async",
        planted: &[
            "let now = Instant::now();",
            "tokio::spawn(f());",
            "use tokio::time::sleep;",
            "pub async fn f() {}",
        ],
        harmless: &[
            "use tokio::time::Instant;",
            "let checked = SystemTime::now();",
            "#[cfg(test)] mod tests { fn f() { Instant::now(); } }",
        ],
    },
];

/// What a crate may not depend on: the arrows of the architecture, which Cargo only keeps if nobody adds a line.
const FORBIDDEN_DEPENDENCIES: &[(&str, &[&str])] = &[
    (
        "protocol",
        &[
            "shardwire",
            "shardwire-shards",
            "glommio",
            "io-uring",
            "tokio",
            "mio",
            "socket2",
            "libc",
        ],
    ),
    (
        "shards",
        &[
            "shardwire",
            "glommio",
            "io-uring",
            "tokio",
            "mio",
            "socket2",
            "libc",
        ],
    ),
    (
        "simulator",
        &["shardwire", "glommio", "io-uring", "tokio", "mio"],
    ),
    ("loadtest", &["shardwire", "shardwire-shards", "glommio"]),
    (
        "fuzz",
        &["shardwire", "glommio", "io-uring", "tokio", "mio"],
    ),
    (
        "clients/rust",
        &["shardwire", "shardwire-shards", "glommio", "io-uring"],
    ),
];

fn has_any(named: &Named, words: &[&str]) -> bool {
    named
        .segments
        .iter()
        .any(|segment| words.contains(&segment.as_str()))
}

/// An address is a value that can be parsed; everything else in `std::net` reaches the network.
fn names_more_of_net_than_addresses(named: &Named) -> bool {
    const ADDRESSES: [&str; 4] = ["IpAddr", "Ipv4Addr", "Ipv6Addr", "SocketAddr"];
    let segments: Vec<&str> = named.segments.iter().map(|segment| &**segment).collect();
    segments.windows(2).enumerate().any(|(at, pair)| {
        matches!(pair, ["std" | "core", "net"])
            && !segments
                .get(at + 2)
                .is_some_and(|name| ADDRESSES.contains(name))
    })
}

fn contains(named: &Named, path: &[&str]) -> bool {
    named
        .segments
        .windows(path.len())
        .any(|window| window.iter().zip(path).all(|(have, want)| have == want))
}

impl Rule {
    fn covers(&self, file: &str) -> bool {
        let under = |room: &str| {
            file.strip_prefix(room)
                .is_some_and(|rest| rest.starts_with('/'))
        };
        let listed = self.says.starts_with("`unsafe`")
            && UNSAFE_WITH_A_REASON.iter().any(|(path, _)| *path == file);
        self.rooms.iter().any(|room| under(room))
            && !self.except.iter().any(|room| under(room))
            && !listed
    }

    /// The lines of `source` that break this rule.
    fn broken_at(&self, source: &str) -> Vec<usize> {
        let tokens = rust_source::product_tokens(source);
        let by_path = rust_source::names(&tokens)
            .into_iter()
            .filter(|named| (self.path)(named))
            .map(|named| named.line);
        let by_tokens = (0..tokens.len())
            .filter(|at| (self.tokens)(&tokens[*at..]))
            .map(|at| tokens[at].line);
        by_path.chain(by_tokens).collect()
    }
}

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every file of the repository, relative to its root with `/`; what is built or installed is left out.
fn files() -> Vec<String> {
    fn walk(root: &Path, folder: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if ![
                    "target",
                    ".git",
                    "node_modules",
                    ".venv",
                    "__pycache__",
                    ".pytest_cache",
                ]
                .contains(&name.as_str())
                {
                    walk(root, &path, found);
                }
            } else {
                found.push(
                    path.strip_prefix(root)
                        .unwrap()
                        .to_string_lossy()
                        .replace('\\', "/"),
                );
            }
        }
    }
    let mut found = Vec::new();
    walk(&repository(), &repository(), &mut found);
    found.sort();
    found
}

/// Test code may start threads and read clocks: it is not what the rules are about.
fn is_test_code(file: &str) -> bool {
    let stem = Path::new(file)
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    stem == "tests"
        || stem.ends_with("_tests")
        || file
            .split('/')
            .any(|part| part == "tests" || part == "benches")
}

#[test]
fn nobody_names_what_is_not_theirs() {
    let mut faults = Vec::new();
    let mut read = 0;
    for file in files()
        .iter()
        .filter(|file| file.ends_with(".rs") && !is_test_code(file))
    {
        let rules: Vec<&Rule> = RULES.iter().filter(|rule| rule.covers(file)).collect();
        if rules.is_empty() {
            continue;
        }
        let source = fs::read_to_string(repository().join(file)).unwrap();
        read += 1;
        for rule in rules {
            faults.extend(
                rule.broken_at(&source)
                    .iter()
                    .map(|line| format!("{file}:{line}: {}", rule.says)),
            );
        }
    }
    assert!(read > 0, "no source was read: has the tree moved?");
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn every_rule_fires_on_its_planted_line() {
    for rule in RULES {
        for line in rule.planted {
            assert_eq!(
                rule.broken_at(&format!("\n{line}\n")).first(),
                Some(&2),
                "{}: silent on {line:?}",
                rule.says
            );
        }
        for line in rule.harmless {
            assert!(
                rule.broken_at(line).is_empty(),
                "{}: fires on {line:?}",
                rule.says
            );
        }
        let room = rule.rooms[0];
        assert!(
            rule.covers(&format!("{room}/any/file.rs")),
            "{}: does not cover its room",
            rule.says
        );
        assert!(
            !rule.covers(&format!("{room}_other/file.rs")),
            "{}: covers a neighbour",
            rule.says
        );
        for except in rule.except {
            assert!(
                !rule.covers(&format!("{except}/file.rs")),
                "{}: covers its exception",
                rule.says
            );
        }
    }
}

#[test]
fn files_listed_for_unsafe_exist_and_need_it() {
    for (file, reason) in UNSAFE_WITH_A_REASON {
        let source = fs::read_to_string(repository().join(file)).unwrap();
        let tokens = rust_source::product_tokens(&source);
        assert!(
            tokens.iter().any(|token| token.text == "unsafe"),
            "{file} is listed ({reason}) and has no `unsafe`"
        );
    }
}

fn forbidden_dependencies(manifest: &str, forbidden: &[&str]) -> Vec<String> {
    let table: toml::Table = manifest.parse().unwrap();
    ["dependencies", "dev-dependencies", "build-dependencies"]
        .iter()
        .filter_map(|section| table.get(*section)?.as_table())
        .flat_map(|section| {
            section
                .keys()
                .filter(|name| forbidden.contains(&name.as_str()))
                .cloned()
        })
        .collect()
}

#[test]
fn the_arrows_between_crates_point_one_way() {
    for (folder, forbidden) in FORBIDDEN_DEPENDENCIES {
        let manifest = fs::read_to_string(repository().join(folder).join("Cargo.toml")).unwrap();
        assert_eq!(
            forbidden_dependencies(&manifest, forbidden),
            Vec::<String>::new(),
            "{folder}/Cargo.toml"
        );
    }
    let planted = "[dependencies]\nserde = \"1\"\n[dev-dependencies]\nglommio.workspace = true\n";
    assert_eq!(forbidden_dependencies(planted, &["glommio"]), ["glommio"]);
}

/// Marks of unfinished work, and hosts of package registries (a build must work with any mirror). Put together from
/// pieces, so that this file is not its own first finding.
const LEFTOVERS: &[(&str, &str)] = &[
    (
        concat!("TO", "DO"),
        "unfinished work does not stay in the tree",
    ),
    (
        concat!("FIX", "ME"),
        "unfinished work does not stay in the tree",
    ),
    (
        concat!("XX", "X:"),
        "unfinished work does not stay in the tree",
    ),
    (concat!("registry.npm", "js.org"), "name no registry host"),
    (concat!("py", "pi.org"), "name no registry host"),
    (concat!("python", "hosted.org"), "name no registry host"),
    (concat!("index.", "crates.io"), "name no registry host"),
    (concat!("static.", "crates.io"), "name no registry host"),
    (concat!("deb.", "debian.org"), "name no registry host"),
    (
        concat!("\"resol", "ved\":"),
        "a lock file names no download address",
    ),
];

fn leftovers(text: &str) -> Vec<(usize, &'static str)> {
    let in_line = |line: &str| {
        LEFTOVERS
            .iter()
            .find(|(mark, _)| line.contains(mark))
            .map(|(_, says)| *says)
    };
    text.lines()
        .enumerate()
        .filter_map(|(index, line)| Some((index + 1, in_line(line)?)))
        .collect()
}

#[test]
fn nothing_is_left_over() {
    let mut faults = Vec::new();
    for file in files() {
        // What is not text (pictures) cannot carry a mark.
        if let Ok(text) = fs::read_to_string(repository().join(&file)) {
            faults.extend(
                leftovers(&text)
                    .iter()
                    .map(|(line, says)| format!("{file}:{line}: {says}")),
            );
        }
    }
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
    for (mark, says) in LEFTOVERS {
        assert_eq!(
            leftovers(&format!("fine\n// {mark} later")),
            [(2, *says)],
            "silent on {mark}"
        );
    }
}

/// The files and tests that a line of the table of attacks names: "`file`: `test`, `test`; `file`: …".
fn named_tests(cell: &str) -> Vec<(&str, &str)> {
    cell.split("; ")
        .flat_map(|of_one_file| {
            let mut quoted = of_one_file.split('`').skip(1).step_by(2);
            let file = quoted.next().unwrap_or_default();
            quoted.map(move |test| (file, test))
        })
        .collect()
}

#[test]
fn every_attack_is_held_off_by_tests_that_exist() {
    let page = fs::read_to_string(repository().join("docs/reference/attacks.md")).unwrap();
    let rows: Vec<&str> = page
        .lines()
        .filter(|line| line.starts_with("| "))
        .skip(2)
        .collect();
    assert!(rows.len() >= 26, "{} rows", rows.len());
    for row in rows {
        let cell = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        let tests = named_tests(cell);
        assert!(!tests.is_empty(), "no test: {row}");
        for (file, test) in tests {
            let source = fs::read_to_string(repository().join(file))
                .unwrap_or_else(|error| panic!("{file}: {error}"));
            assert!(
                test.contains("attack_"),
                "{test} is not named after its row"
            );
            let found =
                source.contains(&format!("fn {test}(")) || source.contains(&format!("def {test}("));
            assert!(found, "{file} has no test {test}");
        }
    }
    assert_eq!(
        named_tests("`a`: `b`, `c`; `d`: `e`"),
        [("a", "b"), ("a", "c"), ("d", "e")]
    );
}
