//! See `records` in `tests/support/fuzzing.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| l2vpn_fuzz::fuzzing::records(data));
