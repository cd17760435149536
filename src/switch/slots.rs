//! A map of a fixed size that any number of threads read without a lock while one writes.
//!
//! # Why
//! MACs come as fast as anybody likes to send them, so learning must not allocate, and what is full stays full: all
//! slots are there from the start. A key may lie in either of two buckets of four, which are chosen by a keyed hash, so
//! nobody can aim at one. With half as many slots again as entries, most lie in their first; where both are full, others
//! move out of the way (cuckoo hashing with buckets: Dietzfelbinger and Weidling, 2007). A bucket is two cache lines, which a
//! look-up fetches together: what many threads share comes from far, and each line costs. A reader compares four words and
//! takes what it found only if the slot's version is the same before and after (a sequence lock for each slot).
//!
//! Memory: 32 bytes for each slot. `tests/loom.rs` runs every interleaving of a writer and readers.

use crate::sync::{AtomicU64, Ordering, WAYS, fence, fetch};

/// The part of a key that the second word holds.
const HIGH_BITS: u32 = 21;
const HIGH_MASK: u64 = (1 << HIGH_BITS) - 1;
/// Whether the slot holds something.
const TAKEN: u64 = 1 << 63;
/// So many moves make room for a key.
pub const MOST_MOVES: usize = 2;
/// One more version.
const VERSION: u64 = 1 << HIGH_BITS;

/// Four slots: a cache line of their keys and one of what is kept for these.
#[repr(align(128))]
struct Bucket {
    low: [AtomicU64; WAYS],
    /// Taken, version, and the rest of the key.
    high: [AtomicU64; WAYS],
    value: [AtomicU64; WAYS],
    seen: [AtomicU64; WAYS],
}

/// What a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Which slot.
    pub slot: usize,
    /// What is kept for the key.
    pub value: u64,
    /// When it was refreshed, in microseconds.
    pub seen: u64,
}

/// The map. Keys have 85 bits.
pub struct Slots(Vec<Bucket>);

impl Bucket {
    fn new() -> Bucket {
        let words = || std::array::from_fn(|_| AtomicU64::new(0));
        Bucket {
            low: words(),
            high: words(),
            value: words(),
            seen: words(),
        }
    }
}

const fn split(key: u128) -> (u64, u64) {
    (key as u64, (key >> 64) as u64 & HIGH_MASK)
}

impl Slots {
    /// A map for so many entries.
    pub fn new(entries: usize) -> Slots {
        let buckets = (entries + entries / 2).div_ceil(WAYS).max(2);
        Slots((0..buckets).map(|_| Bucket::new()).collect())
    }

    /// How many slots there are.
    pub fn slots(&self) -> usize {
        self.0.len() * WAYS
    }

    /// The two buckets of a hash, which may be one.
    fn buckets_of(&self, hash: u64) -> [usize; 2] {
        let scale = |half: u64| (((half & 0xffff_ffff) * self.0.len() as u64) >> 32) as usize;
        [scale(hash), scale(hash >> 32)]
    }

    /// Brings near what a look-up with this hash will want first.
    pub fn approach(&self, hash: u64) {
        let [first, _] = self.buckets_of(hash);
        if let Some(bucket) = self.0.get(first) {
            fetch([&bucket.low[0], &bucket.value[0]]);
        }
    }

    /// What is kept for a key with this hash.
    pub fn find(&self, key: u128, hash: u64) -> Option<Found> {
        let (low, high) = split(key);
        for index in self.buckets_of(hash) {
            let Some(bucket) = self.0.get(index) else {
                continue;
            };
            // All are compared before any is looked at: where the key is, nobody can predict. And what will be needed of
            // it is fetched meanwhile, wherever it is in its line.
            fetch([&bucket.value[0]]);
            let mut same = 0u32;
            for (way, word) in bucket.low.iter().enumerate() {
                same |= u32::from(word.load(Ordering::Relaxed) == low) << way;
            }
            while same != 0 {
                let way = same.trailing_zeros() as usize;
                if let Some((value, seen)) = bucket.read(way, (low, high)) {
                    let slot = index * WAYS + way;
                    return Some(Found { slot, value, seen });
                }
                same &= same - 1;
            }
        }
        None
    }

    /// What is in a slot: its key and what is kept for it.
    pub fn at(&self, slot: usize) -> Option<(u128, Found)> {
        let (bucket, way) = (self.0.get(slot / WAYS)?, slot % WAYS);
        let high = bucket.high[way].load(Ordering::Acquire);
        let low = bucket.low[way].load(Ordering::Relaxed);
        let (value, seen) = bucket.read(way, (low, high & HIGH_MASK))?;
        let key = u128::from(high & HIGH_MASK) << 64 | u128::from(low);
        Some((key, Found { slot, value, seen }))
    }

    /// Notes when a slot's key was heard. It may hold another key by now, which lives a little longer for it.
    pub fn refresh(&self, slot: usize, seen: u64) {
        if let Some(bucket) = self.0.get(slot / WAYS) {
            bucket.seen[slot % WAYS].store(seen, Ordering::Relaxed);
        }
    }

    /// Exchanges what is kept in a slot. Only the one writer calls this.
    pub fn set(&self, slot: usize, value: u64) {
        if let Some(bucket) = self.0.get(slot / WAYS) {
            bucket.value[slot % WAYS].store(value, Ordering::Release);
        }
    }

    /// Puts a key that is not there into a free slot of its buckets, of the second only when the first is full: most are
    /// found at the first look. Only the one writer calls this. `None` when both are full.
    pub fn insert(&self, (key, hash): (u128, u64), value: u64, seen: u64) -> Option<usize> {
        let (low, high) = split(key);
        let free = |index: &usize| {
            let bucket = self.0.get(*index)?;
            let is_free = |way: &usize| bucket.high[*way].load(Ordering::Relaxed) & TAKEN == 0;
            Some((*index, (0..WAYS).find(is_free)?))
        };
        let (index, way) = self.buckets_of(hash).iter().find_map(free)?;
        let bucket = self.0.get(index)?;
        let version = (bucket.high[way].load(Ordering::Relaxed) & !HIGH_MASK) + VERSION;
        let version = version & !TAKEN;
        bucket.high[way].store(version, Ordering::Relaxed);
        // Who sees any of what follows sees that the version is another one.
        fence(Ordering::Release);
        bucket.low[way].store(low, Ordering::Relaxed);
        bucket.value[way].store(value, Ordering::Relaxed);
        bucket.seen[way].store(seen, Ordering::Relaxed);
        bucket.high[way].store(TAKEN | version | high, Ordering::Release);
        Some(index * WAYS + way)
    }

    /// Moves an entry on the way to room for a hash whose buckets are full: one of these to its other bucket, or, where none
    /// has room there either, one of those that are in the way. Gives its old slot and its new one; after at most
    /// [`MOST_MOVES`] there is room. Only the one writer calls this. A reader that looks at the right moment does not find
    /// the entry.
    pub fn make_room(&self, hash: u64, hash_of: impl Fn(u128) -> u64) -> Option<(usize, usize)> {
        let full = self.buckets_of(hash);
        let moved = full.iter().find_map(|index| self.shift(*index, &hash_of));
        moved.or_else(|| {
            let slots = full
                .iter()
                .flat_map(|index| index * WAYS..(index + 1) * WAYS);
            let mut ways = slots.filter_map(|slot| self.other_bucket(slot, &hash_of));
            ways.find_map(|(_, half)| self.shift(self.buckets_of(half)[0], &hash_of))
        })
    }

    /// Moves an entry of a bucket to its other one.
    fn shift(&self, index: usize, hash_of: &impl Fn(u128) -> u64) -> Option<(usize, usize)> {
        let mut slots = index * WAYS..(index + 1) * WAYS;
        slots.find_map(|slot| {
            let ((key, found), half) = self.other_bucket(slot, hash_of)?;
            // Both halves the same make it go to the bucket that is not this one.
            let entry = (key, half << 32 | half);
            let to = self.insert(entry, found.value, found.seen)?;
            self.remove(slot);
            Some((slot, to))
        })
    }

    /// What is in a slot, and the half of its hash that leads to its other bucket, if it has one.
    fn other_bucket(
        &self,
        slot: usize,
        hash_of: &impl Fn(u128) -> u64,
    ) -> Option<((u128, Found), u64)> {
        let (key, found) = self.at(slot)?;
        let own = hash_of(key);
        let half = match self.buckets_of(own) {
            [first, second] if first == second => return None,
            [first, _] if first == slot / WAYS => own >> 32,
            _ => own & 0xffff_ffff,
        };
        Some(((key, found), half))
    }

    /// Empties a slot. Only the one writer calls this.
    pub fn remove(&self, slot: usize) {
        if let Some(bucket) = self.0.get(slot / WAYS) {
            let word = &bucket.high[slot % WAYS];
            let version = word.load(Ordering::Relaxed) & !TAKEN & !HIGH_MASK;
            word.store(version, Ordering::Release);
        }
    }
}

impl Bucket {
    /// Value and time of a slot, if it holds this key all the while.
    fn read(&self, way: usize, (low, high): (u64, u64)) -> Option<(u64, u64)> {
        loop {
            let before = self.high.get(way)?.load(Ordering::Acquire);
            if before & TAKEN == 0 || before & HIGH_MASK != high {
                return None;
            }
            let is_low = self.low.get(way)?.load(Ordering::Relaxed) == low;
            let value = self.value.get(way)?.load(Ordering::Acquire);
            let seen = self.seen.get(way)?.load(Ordering::Relaxed);
            fence(Ordering::Acquire);
            if self.high.get(way)?.load(Ordering::Relaxed) == before {
                return is_low.then_some((value, seen));
            }
        }
    }
}
