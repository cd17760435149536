//! The window that lets each counter through once (RFC 6479), for any number of threads and without a lock.
//!
//! # Why
//! RFC 6479 keeps a ring of words and clears the words that the window slides over. Clearing and marking are two steps,
//! which is a race between threads that open packets of one session. Here each 64-bit word carries 32 bits of the bitmap
//! **and the number of the lap that they belong to**, so one compare-and-swap clears and marks at once. A word of a
//! later lap means "too old", one of an earlier lap means "all clear".

use crate::sync::{AtomicU64, Ordering};

/// How many counters below the highest are still accepted.
pub const WINDOW: u64 = 8192;
const BITS: u64 = 32;
/// One word more than the window covers, so that a counter inside it never shares a word with one of the next lap.
const WORDS: u64 = WINDOW / BITS + 1;
/// The first counter that no lap number fits; sessions end long before.
pub const COUNTER_LIMIT: u64 = 1 << 44;

/// The counters of one session that were seen.
#[derive(Debug)]
pub struct ReplayWindow {
    /// One more than the highest counter seen; 0 while there was none.
    next: AtomicU64,
    /// How many counters were marked.
    count: AtomicU64,
    words: Box<[AtomicU64]>,
}

impl Default for ReplayWindow {
    fn default() -> Self {
        ReplayWindow {
            next: AtomicU64::new(0),
            count: AtomicU64::new(0),
            words: (0..WORDS).map(|_| AtomicU64::new(0)).collect(),
        }
    }
}

/// What marking a counter did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Seen for the first time, and it is the highest so far.
    Newest,
    /// Seen for the first time, behind others.
    Late,
    /// Seen before, or too old to tell.
    Refused,
}

impl ReplayWindow {
    /// Whether the counter can be refused without looking at the packet.
    pub fn is_stale(&self, counter: u64) -> bool {
        counter >= COUNTER_LIMIT || counter + WINDOW < self.next.load(Ordering::Relaxed)
    }

    /// One more than the highest counter seen, and how many were seen.
    pub fn received(&self) -> (u64, u64) {
        let count = self.count.load(Ordering::Relaxed);
        (self.next.load(Ordering::Relaxed), count)
    }

    /// Marks a counter as seen. Call it only after the packet has been authenticated.
    pub fn mark(&self, counter: u64) -> Mark {
        if self.is_stale(counter) {
            return Mark::Refused;
        }
        let block = counter / BITS;
        // Lap numbers start at 1 so that an untouched word is older than all laps.
        let lap = block / WORDS + 1;
        let bit = 1u64 << (counter % BITS);
        let Some(word) = self.words.get((block % WORDS) as usize) else {
            return Mark::Refused;
        };
        let mut seen = word.load(Ordering::Relaxed);
        loop {
            let fresh = match (seen >> BITS).cmp(&lap) {
                std::cmp::Ordering::Less => (lap << BITS) | bit,
                std::cmp::Ordering::Equal if seen & bit == 0 => seen | bit,
                _ => return Mark::Refused,
            };
            match word.compare_exchange_weak(seen, fresh, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => seen = now,
            }
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        if self.next.fetch_max(counter + 1, Ordering::Relaxed) <= counter {
            Mark::Newest
        } else {
            Mark::Late
        }
    }
}
