//! `shardwire_fuzz::shard` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| shardwire_fuzz::shard(data));
