//! The atomics that lock-free structures are made of, by a name of our own: a model checker puts its own in their place. And
//! lanes: numbers by which threads that count keep out of each other's cache lines.

pub use std::sync::atomic::{AtomicU64, Ordering, fence};

/// Slots of a bucket of [`crate::switch::slots`]: a cache line of words each. A model checker takes fewer.
pub const WAYS: usize = 8;

/// Brings the cache lines of some words near, whatever is in them. For a model checker there is nothing to see here.
pub fn fetch<const N: usize>(words: [&AtomicU64; N]) {
    let all = words.map(|word| word.load(Ordering::Relaxed));
    std::hint::black_box(all.iter().fold(0, |sum, word| sum | word));
}

/// Lanes that one thread each has for itself.
pub const LANES: usize = 16;

static NEXT_LANE: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static LANE: Option<usize> = {
        let lane = NEXT_LANE.fetch_add(1, Ordering::Relaxed);
        usize::try_from(lane).ok().filter(|lane| *lane < LANES)
    };
}

/// The lane of this thread, which no other thread ever has; those that come after the first [`LANES`] have none.
pub fn lane() -> Option<usize> {
    LANE.with(|lane| *lane)
}

/// Something that is written often, in cache lines of its own: what lies beside it is read by everybody for each frame.
#[derive(Default)]
#[repr(align(128))]
pub struct Apart<T>(pub T);

impl<T> std::ops::Deref for Apart<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
