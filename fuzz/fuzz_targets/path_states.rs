//! See `path_states` in `tests/support/fuzzing_ways.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| l2vpn_fuzz::fuzzing::path_states(data));
