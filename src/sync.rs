//! The atomics that lock-free structures are made of, by a name of our own: a model checker puts its own in their place.

pub use std::sync::atomic::{AtomicU64, Ordering, fence};

/// Slots of a bucket of [`crate::switch::slots`]: a cache line of words each. A model checker takes fewer.
pub const WAYS: usize = 8;
