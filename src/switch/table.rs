//! The forwarding table: which place a MAC lives behind, per segment and VLAN.
//!
//! # Why
//! MACs are chosen by whoever sends, so the table assumes an enemy: the hash is keyed (SipHash-1-3 with a random key),
//! the number of entries is capped in all and per place, and when a place exceeds its share only **its own** oldest
//! entries go. Readers take no lock; a frame from a known place writes nothing, or one relaxed store a second. Only a
//! new or moved MAC takes the writers' mutex. Ageing is lazy: an old entry is no answer, and a sweep frees it later.
//!
//! Memory: at most [`Limits::total`] entries of about 100 bytes with their bookkeeping.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use siphasher::sip::SipHasher13;

use super::moves::{Moves, Verdict};
use crate::place::Place;
use crate::time::{Duration, Instant};
use crate::wire::ethernet::Mac;
use crate::wire::segment::SegmentId;
use crate::wire::vlan::VlanClass;

/// How much the table holds and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Entries in all.
    pub total: usize,
    /// Entries for each peer and each port.
    pub per_place: usize,
    /// How long an entry stays without a frame from its MAC.
    pub age: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            total: 8192,
            per_place: 1024,
            age: Duration::from_secs(300),
        }
    }
}

/// What the table is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(u128);

impl Key {
    /// The key of a MAC in a VLAN of a segment.
    pub const fn new(segment: SegmentId, class: VlanClass, mac: Mac) -> Key {
        Key((segment.get() as u128) << 61 | (class.bits() as u128) << 48 | mac.to_u64() as u128)
    }

    /// The segment's number.
    pub const fn segment(self) -> u32 {
        (self.0 >> 61) as u32
    }

    /// The VLAN.
    pub const fn class(self) -> VlanClass {
        VlanClass::from_bits((self.0 >> 48) as u16)
    }

    /// The MAC.
    pub const fn mac(self) -> Mac {
        Mac::from_u64(self.0 as u64 & 0xffff_ffff_ffff)
    }
}

/// One learned MAC, for display.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Learned {
    /// Segment, VLAN and MAC.
    pub key: Key,
    /// Where it lives.
    pub place: Place,
    /// How long ago it was last heard, to the second.
    pub idle: Duration,
    /// How often it has moved between places.
    pub moves: u32,
    /// Whether it is held where it is, because it moved too often.
    pub is_held: bool,
}

/// A MAC that has been heard in two places too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frozen {
    /// Segment, VLAN and MAC.
    pub key: Key,
    /// Where it is held.
    pub held: Place,
    /// Where else it was heard.
    pub other: Place,
}

struct Entry {
    place: AtomicU64,
    /// The number of the last move, by which the keeper of the books tells its current line from older ones.
    turn: AtomicU64,
    /// Microseconds since boot.
    seen: AtomicU64,
    moves: Moves,
}

#[derive(Clone)]
struct KeyedHash(u64, u64);

impl BuildHasher for KeyedHash {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.0, self.1)
    }
}

/// What writers keep beside the map.
#[derive(Default)]
struct Owners {
    total: usize,
    /// Counts entries and moves.
    turns: u64,
    places: HashMap<u64, Owner>,
}

#[derive(Default)]
struct Owner {
    count: usize,
    /// Keys in the order in which they came, each with the turn of its coming; some may have moved since.
    order: VecDeque<(Key, u64)>,
}

type Entries = papaya::HashMap<Key, Entry, KeyedHash>;
type Pinned<'m> = papaya::HashMapRef<'m, Key, Entry, KeyedHash, papaya::LocalGuard<'m>>;

/// The most MACs that wait to be told as held.
const MAX_FROZEN: usize = 64;

/// A refreshed entry is written at most this often.
const REFRESH: u64 = 1_000_000;

/// The table.
pub struct ForwardingTable {
    limits: Limits,
    map: Entries,
    owners: Mutex<Owners>,
    moves: AtomicU64,
    evictions: AtomicU64,
    /// What nobody has been told yet.
    frozen: Mutex<VecDeque<Frozen>>,
}

impl ForwardingTable {
    /// An empty table; `seed` is random.
    pub fn new(limits: Limits, seed: (u64, u64)) -> Self {
        ForwardingTable {
            limits,
            map: papaya::HashMap::with_hasher(KeyedHash(seed.0, seed.1)),
            owners: Mutex::default(),
            moves: AtomicU64::new(0),
            evictions: AtomicU64::new(0),
            frozen: Mutex::default(),
        }
    }

    /// Where a MAC lives, unless its entry is too old.
    pub fn look_up(&self, key: Key, now: Instant) -> Option<Place> {
        let map = self.map.pin();
        let entry = map.get(&key)?;
        let seen = Instant::from_micros(entry.seen.load(Ordering::Relaxed));
        if now.since(seen) >= self.limits.age {
            return None;
        }
        Some(Place::from_bits(entry.place.load(Ordering::Relaxed)))
    }

    /// Notes that a frame with this source came from a place.
    pub fn learn(&self, key: Key, place: Place, now: Instant) {
        let map = self.map.pin();
        if let Some(entry) = map.get(&key) {
            let seen = entry.seen.load(Ordering::Relaxed);
            if entry.place.load(Ordering::Relaxed) == place.to_bits() {
                if now.as_micros().saturating_sub(seen) >= REFRESH {
                    entry.seen.store(now.as_micros(), Ordering::Relaxed);
                }
                return;
            }
            if entry.moves.is_held(now) && !self.is_old(entry, now) {
                return;
            }
        }
        drop(map);
        self.write(key, place, now);
    }

    /// The slow path of learning: a new MAC or a moved one.
    fn write(&self, key: Key, place: Place, now: Instant) {
        let Ok(mut owners) = self.owners.lock() else {
            return;
        };
        let map = self.map.pin();
        let bits = place.to_bits();
        owners.turns += 1;
        let turn = owners.turns;
        if let Some(entry) = map.get(&key) {
            let old = entry.place.load(Ordering::Relaxed);
            let expired = self.is_old(entry, now);
            if old != bits && !expired && !self.follow(entry, (key, place), now) {
                return;
            }
            entry.place.store(bits, Ordering::Relaxed);
            entry.seen.store(now.as_micros(), Ordering::Relaxed);
            if old == bits {
                return;
            }
            if expired {
                entry.moves.reset();
            }
            entry.turn.store(turn, Ordering::Relaxed);
            owners.leave(old);
        } else {
            let entry = Entry {
                place: AtomicU64::new(bits),
                turn: AtomicU64::new(turn),
                seen: AtomicU64::new(now.as_micros()),
                moves: Moves::default(),
            };
            map.insert(key, entry);
            owners.total += 1;
        }
        let owner = owners.places.entry(bits).or_default();
        owner.count += 1;
        owner.order.push_back((key, turn));
        if owner.order.len() > 2 * self.limits.per_place + 16 {
            owner.order.retain(|line| is_current(&map, line));
        }
        let over_share = owner.count > self.limits.per_place;
        drop(map);
        if over_share {
            self.evict_from(&mut owners, bits);
        } else if owners.total > self.limits.total {
            let victim = owners.largest(bits);
            self.evict_from(&mut owners, victim);
        }
    }

    /// Whether a MAC that was heard elsewhere moves there.
    fn follow(&self, entry: &Entry, (key, to): (Key, Place), now: Instant) -> bool {
        if entry.moves.is_held(now) {
            return false;
        }
        let from = Place::from_bits(entry.place.load(Ordering::Relaxed));
        let verdict = entry.moves.judge((from, to), now);
        if verdict != Verdict::Hold {
            self.moves.fetch_add(1, Ordering::Relaxed);
        }
        let (held, other) = match verdict {
            Verdict::Follow => return true,
            Verdict::Return => (to, from),
            Verdict::Hold => (from, to),
        };
        if let Ok(mut frozen) = self.frozen.lock()
            && frozen.len() < MAX_FROZEN
        {
            frozen.push_back(Frozen { key, held, other });
        }
        verdict == Verdict::Return
    }

    /// The next MAC that is held since somebody asked last; see [`super::moves`].
    pub fn next_frozen(&self) -> Option<Frozen> {
        self.frozen.lock().ok()?.pop_front()
    }

    /// Removes the oldest entry of one place.
    fn evict_from(&self, owners: &mut Owners, bits: u64) {
        let map = self.map.pin();
        let next = |owners: &mut Owners| owners.places.get_mut(&bits)?.order.pop_front();
        while let Some(line) = next(owners) {
            let (key, own) = (line.0, is_current(&map, &line));
            if own {
                map.remove(&key);
                owners.leave(bits);
                owners.total -= 1;
                self.evictions.fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
    }

    fn is_old(&self, entry: &Entry, now: Instant) -> bool {
        let seen = Instant::from_micros(entry.seen.load(Ordering::Relaxed));
        now.since(seen) >= self.limits.age
    }

    /// Frees entries that are too old.
    pub fn sweep(&self, now: Instant) {
        self.remove_where(|entry| self.is_old(entry, now));
    }

    /// Forgets everything behind a place: a peer that left, a port that closed.
    pub fn forget(&self, place: Place) {
        let bits = place.to_bits();
        self.remove_where(|entry| entry.place.load(Ordering::Relaxed) == bits);
    }

    fn remove_where(&self, doomed: impl Fn(&Entry) -> bool) {
        let Ok(mut owners) = self.owners.lock() else {
            return;
        };
        let map = self.map.pin();
        for (key, entry) in &map {
            if doomed(entry) {
                owners.leave(entry.place.load(Ordering::Relaxed));
                map.remove(key);
                owners.total -= 1;
            }
        }
        for owner in owners.places.values_mut() {
            owner.order.retain(|line| is_current(&map, line));
        }
        owners.places.retain(|_, owner| !owner.order.is_empty());
    }

    /// Every entry that is not too old, sorted by segment, VLAN and MAC.
    pub fn entries(&self, now: Instant) -> Vec<Learned> {
        let map = self.map.pin();
        let mut all: Vec<Learned> = map
            .iter()
            .filter(|(_, entry)| !self.is_old(entry, now))
            .map(|(key, entry)| Learned {
                key: *key,
                place: Place::from_bits(entry.place.load(Ordering::Relaxed)),
                idle: now.since(Instant::from_micros(entry.seen.load(Ordering::Relaxed))),
                moves: entry.moves.total(),
                is_held: entry.moves.is_held(now),
            })
            .collect();
        all.sort_by_key(|l| l.key);
        all
    }

    /// How many entries there are, old ones included.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether nothing was learned.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How often a MAC has moved, and how often an entry was evicted because its place had too many.
    pub fn moves_and_evictions(&self) -> (u64, u64) {
        (
            self.moves.load(Ordering::Relaxed),
            self.evictions.load(Ordering::Relaxed),
        )
    }
}

/// Whether a line in the books is the one that stands for its key now. There is exactly one for each entry, so the
/// books are never longer than the table and what moved since they were last tidied.
fn is_current(map: &Pinned<'_>, (key, turn): &(Key, u64)) -> bool {
    map.get(key)
        .is_some_and(|e| e.turn.load(Ordering::Relaxed) == *turn)
}

impl Owners {
    fn leave(&mut self, bits: u64) {
        if let Some(owner) = self.places.get_mut(&bits) {
            owner.count = owner.count.saturating_sub(1);
        }
    }

    /// Who pays when the whole table is full: the place that wants more, unless it has only this one entry.
    fn largest(&self, wanting: u64) -> u64 {
        let has_more = self.places.get(&wanting).is_some_and(|o| o.count > 1);
        if has_more {
            return wanting;
        }
        self.places
            .iter()
            .max_by_key(|(bits, owner)| (owner.count, **bits))
            .map_or(wanting, |(bits, _)| *bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::{PeerId, PortId};

    fn key(n: u64) -> Key {
        let segment = SegmentId::new(1).unwrap();
        Key::new(segment, VlanClass::UNTAGGED, Mac::from_u64(n * 2))
    }

    fn table(total: usize, per_place: usize) -> ForwardingTable {
        let limits = Limits {
            total,
            per_place,
            ..Limits::default()
        };
        ForwardingTable::new(limits, (1, 2))
    }

    const A: Place = Place::Peer(PeerId(1));
    const B: Place = Place::Peer(PeerId(2));
    const PORT: Place = Place::Port(PortId(0));

    fn at(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn keys_keep_their_parts() {
        let vid = crate::wire::vlan::Vid::new(4094).unwrap();
        let mac: Mac = "fe:dc:ba:98:76:54".parse().unwrap();
        let key = Key::new(
            SegmentId::new(0xff_ffff).unwrap(),
            VlanClass::customer(vid),
            mac,
        );
        assert_eq!(
            (key.segment(), key.class(), key.mac()),
            (0xff_ffff, VlanClass::customer(vid), mac)
        );
    }

    #[test]
    fn entries_age_refresh_and_move() {
        let t = table(100, 100);
        t.learn(key(1), A, at(0));
        assert_eq!(t.look_up(key(1), at(299)), Some(A));
        assert_eq!(t.look_up(key(1), at(300)), None);
        t.learn(key(1), A, at(200));
        assert_eq!(t.look_up(key(1), at(450)), Some(A));
        t.learn(key(1), B, at(451));
        assert_eq!(t.look_up(key(1), at(452)), Some(B));
        assert_eq!(t.moves_and_evictions(), (1, 0));
        t.learn(key(1), A, at(2000));
        assert_eq!(
            t.moves_and_evictions(),
            (1, 0),
            "an old entry does not move"
        );
        t.sweep(at(2300));
        assert!(t.is_empty());
    }

    #[test]
    fn only_the_offender_loses_entries() {
        let t = table(100, 20);
        (0..10).for_each(|n| t.learn(key(n), A, at(1)));
        (1000..101_000).for_each(|n| t.learn(key(n), B, at(2)));
        assert!((0..10).all(|n| t.look_up(key(n), at(3)) == Some(A)));
        assert_eq!(t.len(), 30);
        assert_eq!(t.look_up(key(100_999), at(3)), Some(B));
        assert!(t.owners.lock().unwrap().places[&B.to_bits()].order.len() <= 56);
    }

    #[test]
    fn when_the_whole_table_is_full_the_largest_pays() {
        let t = table(20, 20);
        (0..20).for_each(|n| t.learn(key(n), B, at(1)));
        t.learn(key(500), PORT, at(2));
        assert_eq!(t.look_up(key(500), at(2)), Some(PORT));
        assert_eq!(t.len(), 20);
    }

    #[test]
    fn moves_to_and_fro_keep_the_books_right() {
        let t = table(50, 5);
        for round in 0..2000u64 {
            let place = if round % 2 == 0 { A } else { B };
            // Far enough apart that each move is followed.
            t.learn(key(round % 7), place, at(1 + round * 60));
        }
        let owners = t.owners.lock().unwrap();
        let counted: usize = owners.places.values().map(|o| o.count).sum();
        assert_eq!(counted, owners.total);
        assert_eq!(owners.total, t.map.len());
        assert!(owners.places.values().all(|o| o.order.len() <= 27));
    }

    #[test]
    fn a_flapping_mac_costs_no_more_than_a_quiet_one() {
        let t = table(8192, 1024);
        for round in 0..200_000u64 {
            t.learn(key(1), if round % 2 == 0 { A } else { B }, at(1));
        }
        let owners = t.owners.lock().unwrap();
        assert!(owners.places.values().all(|o| o.order.len() <= 2064));
        assert_eq!((owners.total, t.len()), (1, 1));
    }

    #[test]
    fn a_mac_that_moves_too_often_is_held_and_told_once() {
        let t = table(100, 50);
        let hear =
            |n: u64, second| t.learn(key(1), if n.is_multiple_of(2) { A } else { B }, at(second));
        for n in 0..1000 {
            hear(n, 1 + n / 100);
        }
        let entry = t.entries(at(11))[0];
        // Five moves later it is at B, and with the sixth it is held where it was at first.
        assert_eq!((entry.place, entry.moves, entry.is_held), (A, 6, true));
        let told = Frozen {
            key: key(1),
            held: A,
            other: B,
        };
        assert_eq!(t.next_frozen(), Some(told));
        assert_eq!(t.next_frozen(), None);
        // Where it is held, it is refreshed as ever; elsewhere it is not learned.
        hear(1, 100);
        assert_eq!(t.entries(at(100))[0].idle, Duration::from_secs(90));
        hear(0, 100);
        assert_eq!(t.entries(at(100))[0].idle, Duration::ZERO);
        // After that time it may move again.
        hear(1, 182);
        let entry = t.entries(at(182))[0];
        assert_eq!((entry.place, entry.moves, entry.is_held), (B, 7, false));
    }

    #[test]
    fn a_claimant_cannot_choose_where_a_mac_is_held() {
        // However many frames the claimant B sends, and whenever: the MAC is held at A, where it was.
        for claims in 1..12u64 {
            let t = table(100, 50);
            t.learn(key(1), A, at(1));
            for second in 2..40 {
                for _ in 0..claims {
                    t.learn(key(1), B, at(second));
                }
                t.learn(key(1), A, at(second));
            }
            let entry = t.entries(at(40))[0];
            assert_eq!((entry.place, entry.is_held), (A, true), "{claims}");
        }
    }

    #[test]
    fn moves_that_take_their_time_are_followed() {
        let t = table(100, 50);
        for n in 0..50 {
            t.learn(key(1), if n % 2 == 0 { A } else { B }, at(1 + n * 60));
        }
        assert_eq!(t.entries(at(2942))[0].moves, 49);
        assert_eq!(t.next_frozen(), None);
    }

    #[test]
    fn a_held_mac_is_free_when_its_place_is_gone() {
        let t = table(100, 50);
        for n in 0..10 {
            t.learn(key(1), if n % 2 == 0 { A } else { B }, at(1));
        }
        t.forget(B);
        t.learn(key(1), A, at(2));
        assert_eq!(t.look_up(key(1), at(2)), Some(A));
    }

    #[test]
    fn a_leaving_peer_takes_its_entries_along() {
        let t = table(100, 50);
        (0..10).for_each(|n| t.learn(key(n), A, at(1)));
        (10..20).for_each(|n| t.learn(key(n), B, at(1)));
        t.forget(A);
        assert_eq!(t.len(), 10);
        assert_eq!(t.entries(at(2)).len(), 10);
        assert!(t.entries(at(2)).iter().all(|l| l.place == B));
    }
}
