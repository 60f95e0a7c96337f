//! Small changes to inputs, under a seed: what libFuzzer does without looking at coverage, for machines that have nothing else.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::INPUT_BYTES_MAX;

/// Bytes that parsers care about.
const BYTES: &[u8] = b"\0\x01\x7d\x7e\x7f\x80\x81\x82\x88\xc1\xff\r\n \t\",:;=/{}[]\\09aA";

/// One input made of those given. The same seed gives the same.
pub fn mutated(inputs: &[Vec<u8>], seed: u64) -> Vec<u8> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut input = match inputs.len() {
        0 => Vec::new(),
        count => inputs[random.random_range(0..count)].clone(),
    };
    for _ in 0..random.random_range(1..=6) {
        let at = random.random_range(0..=input.len());
        match random.random_range(0..7) {
            0 if at < input.len() => input[at] ^= 1 << random.random_range(0..8),
            1 if at < input.len() => input[at] = BYTES[random.random_range(0..BYTES.len())],
            2 => input.insert(at, BYTES[random.random_range(0..BYTES.len())]),
            3 => input.insert(at, random.random()),
            4 => {
                let end = (at + random.random_range(0..16)).min(input.len());
                input.drain(at..end);
            }
            5 => input.truncate(at.max(1)),
            _ if !inputs.is_empty() => {
                let other = &inputs[random.random_range(0..inputs.len())];
                let from = random.random_range(0..=other.len());
                let end = (from + random.random_range(0..64)).min(other.len());
                input.splice(at..at, other[from..end].iter().copied());
            }
            _ => {}
        }
    }
    input.truncate(INPUT_BYTES_MAX);
    input
}
