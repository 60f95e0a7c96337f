//! Hostile input by the million: one target per parser and per state machine.
//!
//! **Lives here:** the targets, each a function of bytes that panics when something is wrong; what they compare with
//! ([`frames()`] with tungstenite, [`inflate()`] with miniz_oxide, [`envelope()`] with serde_json, [`shard()`] with what its documentation
//! promises); small mutations ([`mutation`]) for the tests. `fuzz_targets/` hands the functions to libFuzzer, `corpus/` holds
//! inputs that between them reach what is known to be reachable, `dictionaries/` words that chance would not find.
//! **Does not:** TLS (rustls's, which fuzzes itself) and anything that waits.
//! **Invariants:** a target is a pure function of its input; it takes any bytes; it ends soon. Every find becomes a file of its
//! corpus, and a test beside the code at fault.
//! **Called by:** libFuzzer (`scripts/fuzz`, where every machine with a C++ compiler has coverage feedback on stable Rust); the
//! tests here, which replay all corpora and mutate them under a seed, with nothing installed. **Calls:** `protocol`, `shards`.
//! **Tests:** `tests/corpora.rs`.

mod deflate;
mod envelope;
mod frames;
mod handshake;
pub mod mutation;
mod proxy;
mod reading;
mod shard;
mod text;

pub use deflate::{deflate, inflate};
pub use envelope::envelope;
pub use frames::{compressed_frames, frames};
pub use handshake::handshake;
pub use proxy::proxy;
pub use shard::shard;
pub use text::text;

/// One target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name of its program in `fuzz_targets/`, and of its folder in `corpus/`.
    pub name: &'static str,
    /// Takes any bytes; panics when something is wrong.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: &[Target] = &[
    target("handshake", handshake),
    target("frames", frames),
    target("compressed_frames", compressed_frames),
    target("inflate", inflate),
    target("deflate", deflate),
    target("envelope", envelope),
    target("proxy", proxy),
    target("shard", shard),
    target("text", text),
];

/// Longest input that is tried, in bytes: what the limits of the targets are chosen for.
pub const INPUT_BYTES_MAX: usize = 4096;

const fn target(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, run }
}
