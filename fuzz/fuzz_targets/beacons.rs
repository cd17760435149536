//! See `beacons` in `tests/support/fuzzing_paths.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| l2vpn_fuzz::fuzzing::beacons(data));
