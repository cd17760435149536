//! What all targets drive, compiled once for all of them.

#[path = "../../tests/support/frames.rs"]
mod frames;
#[path = "../../tests/support/fuzzing.rs"]
pub mod fuzzing;
#[path = "../../tests/support/simulator.rs"]
mod simulator;
