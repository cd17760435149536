//! See `path_states` in `tests/support/fuzzing_ways.rs`.
#![no_main]

#[path = "../../tests/support/frames.rs"]
mod frames;
#[path = "../../tests/support/fuzzing.rs"]
mod fuzzing;
#[path = "../../tests/support/simulator.rs"]
mod simulator;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzing::path_states(data));
