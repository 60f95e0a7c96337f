//! `shardwire_fuzz::compressed_frames` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| shardwire_fuzz::compressed_frames(data));
