//! The atomics that lock-free structures are made of, by a name of our own: a model checker puts its own in their place.

pub use std::sync::atomic::{AtomicU64, Ordering, fence};
