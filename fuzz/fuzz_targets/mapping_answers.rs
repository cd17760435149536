//! See `mapping_answers` in `tests/support/fuzzing_ways.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| l2vpn_fuzz::fuzzing::mapping_answers(data));
