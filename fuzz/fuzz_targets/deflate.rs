//! `shardwire_fuzz::deflate` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| shardwire_fuzz::deflate(data));
