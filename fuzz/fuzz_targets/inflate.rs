//! `shardwire_fuzz::inflate` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| shardwire_fuzz::inflate(data));
