//! The atomics that lock-free structures are made of, by a name of our own: a model checker puts its own in their place. And
//! lanes: numbers by which threads that count keep out of each other's cache lines.

pub use std::sync::atomic::{AtomicU64, Ordering, fence};

/// Slots of a bucket of [`crate::switch::slots`]: a cache line of keys. A model checker takes fewer.
pub const WAYS: usize = 4;

/// Brings the cache lines of some words near, whatever is in them. For a model checker there is nothing to see here.
pub fn fetch<const N: usize>(words: [&AtomicU64; N]) {
    let all = words.map(|word| word.load(Ordering::Relaxed));
    std::hint::black_box(all.iter().fold(0, |sum, word| sum | word));
}

/// Lanes that one thread each has for itself.
pub const LANES: usize = 16;

/// A bit for each lane that some thread has.
static LANES_TAKEN: AtomicU64 = AtomicU64::new(0);

/// The lane of a thread, which is free again when the thread ends.
struct Lane(Option<usize>);

impl Lane {
    /// The first that is free. Who had it before has done all that it did there before this.
    fn take() -> Lane {
        let free = |taken: u64| {
            let first = (!taken).trailing_zeros() as usize;
            (first < LANES).then_some(taken | 1 << first)
        };
        let before = LANES_TAKEN.try_update(Ordering::Acquire, Ordering::Relaxed, free);
        Lane(before.ok().map(|taken| (!taken).trailing_zeros() as usize))
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        if let Some(lane) = self.0 {
            LANES_TAKEN.fetch_and(!(1 << lane), Ordering::Release);
        }
    }
}

thread_local! {
    static LANE: Lane = Lane::take();
}

/// The lane of this thread, which no other thread has while this one lives; when [`LANES`] threads have one, others have
/// none.
pub fn lane() -> Option<usize> {
    LANE.try_with(|lane| lane.0).ok().flatten()
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
