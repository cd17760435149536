//! See `port_rules` in `tests/support/fuzzing_lan.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| l2vpn_fuzz::fuzzing::port_rules(data));
