//! What happened in a run, line by line: always hashed, kept only when somebody is going to read it.

use std::collections::VecDeque;
use std::fmt::{self, Write};

/// Two runs that did the same have the same [`hash`](Self::hash); the lines are kept for the turns before a failure.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    text: String,
    keep: usize,
    lines: VecDeque<String>,
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;

impl Trace {
    /// Keeps the last `keep` lines; 0 for the hash alone.
    #[must_use]
    pub fn new(keep: usize) -> Self {
        Self {
            hash: FNV_OFFSET,
            text: String::new(),
            keep,
            lines: VecDeque::new(),
        }
    }

    /// One thing happened at `ms`.
    pub fn line(&mut self, ms: u64, what: fmt::Arguments<'_>) {
        self.text.clear();
        // Writing to a String cannot fail.
        let _ = write!(self.text, "{ms:>7} ms  {what}");
        for &byte in self.text.as_bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME);
        }
        if self.keep > 0 {
            if self.lines.len() == self.keep {
                self.lines.pop_front();
            }
            self.lines.push_back(self.text.clone());
        }
    }

    /// Bytes that moved, without a line of their own.
    pub fn bytes(&mut self, bytes: impl IntoIterator<Item = u8>) {
        for byte in bytes {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME);
        }
    }

    /// All lines so far, in one number.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The lines kept.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }
}
