//! The forwarding table: which place a MAC lives behind, per segment and VLAN.
//!
//! # Why
//! MACs are chosen by whoever sends, so the table assumes an enemy: the hash is keyed (SipHash-1-3 with a random key),
//! the number of entries is capped in all and per place, and when a place exceeds its share only **its own** oldest
//! entries go. Readers take no lock; a frame from a known place writes nothing, or one relaxed store a second. Only a
//! new or moved MAC takes the writers' mutex. Ageing is lazy: an old entry is no answer, and a sweep frees it later.
//!
//! # Heard, told, pinned
//! A MAC is *heard* when a frame of it comes, and ages. It is *told* when a member advertises it, and stays until that
//! member takes it back or leaves. It is *pinned* by the configuration, and stays for ever. A heard MAC of our ports that
//! comes, moves or goes is *news*, which the control side tells the others ([`ForwardingTable::take_news`]). Claims of
//! several members to one MAC are ordered by a sequence number that each new claim raises (RFC 7432 section 15), compared in
//! a circle (RFC 1982): there is always a higher one, so nobody can take the last.
//!
//! Memory: 66 bytes for each of [`Limits::total`] entries, from the start, its key of 11 bytes among them; and about 100
//! for each MAC that has moved lately.

use std::cell::Cell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use siphasher::sip::SipHasher13;

use super::books::{Books, Tallies};
pub use super::limits::{Learning, Limits};
pub use super::mac::{Approach, Frozen, Home, Key, Learned, Moved, News};
use super::moves::{self, Moves, Verdict};
use super::slots::{Found, MOST_MOVES, Slots};
use crate::drops::DropReason;
use crate::place::{PeerId, Place};
use crate::sync::Apart;
use crate::time::Instant;

/// What a member claims of a MAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The number of the claim.
    pub seq: u32,
    /// Whether it is behind an isolated port.
    pub is_isolated: bool,
    /// Whether this claim wins against another of the same number.
    pub outranks: bool,
}

/// A refreshed entry is written at most this often, in microseconds.
const REFRESH: u64 = 1_000_000;
/// The fewest and the most slots that one sweep looks at; between them it is an eighth of the table.
const SWEEP: (usize, usize) = (2048, 16_384);

thread_local! {
    /// The slot of the MAC that this thread heard last. Whatever is in it now, in whichever table, says itself what it is.
    static HEARD_LAST: Cell<usize> = const { Cell::new(0) };
}

/// The table.
pub struct ForwardingTable {
    limits: Limits,
    seed: (u64, u64),
    slots: Slots,
    books: Apart<Mutex<Books>>,
    has_news: AtomicBool,
    tallies: Apart<Tallies>,
}

impl ForwardingTable {
    /// A table of nothing but what is pinned; `seed` is random.
    pub fn new(limits: Limits, seed: (u64, u64), pinned: &[(Key, Home)]) -> Self {
        let slots = Slots::new(limits.total.saturating_add(pinned.len()));
        let table = ForwardingTable {
            limits,
            seed,
            books: Apart(Mutex::new(Books::new(slots.slots()))),
            slots,
            has_news: AtomicBool::new(false),
            tallies: Apart::default(),
        };
        for (key, home) in pinned {
            let hash = table.hash(*key);
            if table.slots.find(key.bits(), hash).is_none() {
                let mut books = table.lock();
                // The table is larger by what is pinned; for one in very many there is no room all the same.
                if table
                    .put(&mut books, *key, home.pinned(), Instant::ZERO)
                    .is_none()
                {
                    table.tallies.lost.fetch_add(1, Ordering::Relaxed);
                }
                drop(books);
                table.tell_news(&mut table.lock(), *key, home.place());
            }
        }
        table
    }

    /// The limits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    fn hash(&self, key: Key) -> u64 {
        SipHasher13::new_with_keys(self.seed.0, self.seed.1).hash(&key.bits().to_le_bytes())
    }

    /// Nothing is left half done under this lock, so a thread that died with it has spoilt nothing.
    fn lock(&self) -> std::sync::MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn find(&self, key: Key) -> Option<Found> {
        self.slots.find(key.bits(), self.hash(key))
    }

    /// The same for who speaks: mostly the one that this thread heard last, so its slot is looked at first.
    fn find_again(&self, key: Key) -> Option<Found> {
        HEARD_LAST.with(|last| {
            let again = self.slots.at(last.get());
            if let Some((_, found)) = again.filter(|(bits, _)| *bits == key.bits()) {
                return Some(found);
            }
            let found = self.find(key)?;
            last.set(found.slot);
            Some(found)
        })
    }

    /// Begins to look a MAC up: what the table has of it comes near while something else is done.
    pub fn approach(&self, key: Key) -> Approach {
        let hash = self.hash(key);
        self.slots.approach(hash);
        Approach { key, hash }
    }

    /// Ends what [`ForwardingTable::approach`] began.
    pub fn arrive(&self, at: Approach, now: Instant) -> Option<Home> {
        let found = self.slots.find(at.key.bits(), at.hash)?;
        (!self.is_old(&found, now)).then_some(Home::from_bits(found.value))
    }

    /// Where a MAC lives, unless its entry is too old.
    pub fn look_up(&self, key: Key, now: Instant) -> Option<Home> {
        let found = self.find(key)?;
        (!self.is_old(&found, now)).then_some(Home::from_bits(found.value))
    }

    fn is_old(&self, found: &Found, now: Instant) -> bool {
        let home = Home::from_bits(found.value);
        let stays = home.is_pinned() || home.is_told();
        !stays && now.since(Instant::from_micros(found.seen)) >= self.limits.age
    }

    /// Notes that a frame with this source came from a place; gives whether it is known to be behind an isolated port.
    ///
    /// # Errors
    /// [`DropReason::SourcePinned`] when the configuration puts it elsewhere, [`DropReason::SourceElsewhere`] when
    /// another member has advertised it and only that counts.
    pub fn learn(&self, key: Key, home: Home, now: Instant) -> Result<Home, DropReason> {
        let from_peer = matches!(home.place(), Place::Peer(_));
        let told_only = from_peer && self.limits.learning == Learning::Advertised;
        if let Some(found) = self.find_again(key) {
            let known = Home::from_bits(found.value);
            if known.is_beside(home) {
                if now.as_micros().saturating_sub(found.seen) >= REFRESH {
                    self.slots.refresh(found.slot, now.as_micros());
                }
                return Ok(known);
            }
            if known.is_pinned() {
                return Err(DropReason::SourcePinned);
            }
            let is_old = self.is_old(&found, now);
            if told_only && !is_old {
                return Err(DropReason::SourceElsewhere);
            }
            if known.is_held() && !is_old && !has_left(&found, now) {
                // Others take it for what is known of it there: by another's MAC nobody gets out of isolation.
                return match home.is_isolated() && !known.is_isolated() {
                    true => Err(DropReason::SourceElsewhere),
                    false => Ok(home),
                };
            }
        }
        if told_only {
            self.tallies.unadvertised.fetch_add(1, Ordering::Relaxed);
        } else {
            self.hear(key, home, now);
        }
        Ok(home)
    }

    /// The slow path of learning: a new MAC or a moved one.
    fn hear(&self, key: Key, home: Home, now: Instant) {
        let mut books = self.lock();
        let place = home.place();
        let Some(found) = self.find(key) else {
            self.insert(&mut books, key, (home, 0), now);
            return;
        };
        let known = Home::from_bits(found.value);
        if known.place() == place || known.is_pinned() {
            return;
        }
        let is_old = self.is_old(&found, now);
        if !is_old && !self.follow(&mut books, (key, &found), place, now) {
            return;
        }
        // A claim of ours is above all that were before; what a peer's frame shows, it will number itself.
        let seq = books.seq(found.slot);
        let seq = match place {
            Place::Port(_) => seq.wrapping_add(1),
            Place::Peer(_) => seq,
        };
        if is_old {
            books.moves.remove(&key);
        }
        self.settle(&mut books, (key, &found), (home, seq), now);
    }

    /// Moves an entry.
    fn settle(
        &self,
        books: &mut Books,
        (key, found): (Key, &Found),
        (home, seq): (Home, u32),
        now: Instant,
    ) {
        let known = Home::from_bits(found.value);
        let from = known.place();
        if books.refused.remove(&key) {
            // Another's claim to it may count now.
            self.tallies.lost.fetch_add(1, Ordering::Relaxed);
        } else if known.is_told() && !home.is_told() {
            // What its member told counts no more, and would if it came back.
            books.refuse(key);
        }
        let is_held = books
            .moves
            .get(&key)
            .is_some_and(|m| m.held_until.is_some());
        self.slots.set(found.slot, home.held(is_held).bits());
        self.slots.refresh(found.slot, now.as_micros());
        books.leave(found.slot, from);
        books.enter(found.slot, home.place(), seq);
        self.tell_news(books, key, from);
        self.tell_news(books, key, home.place());
        self.keep_to_share(books, home.place());
    }

    fn insert(&self, books: &mut Books, key: Key, (home, seq): (Home, u32), now: Instant) {
        if books.total() >= self.limits.total {
            let victim = books.payer(home.place(), self.limits.total);
            self.evict_from(books, victim);
        }
        let slot = self.put(books, key, home, now);
        // Where it could go is full, and so is where all could go that are there.
        let Some(slot) = slot else {
            self.tallies.evictions.fetch_add(1, Ordering::Relaxed);
            self.tallies.lost.fetch_add(1, Ordering::Relaxed);
            return;
        };
        books.enter(slot, home.place(), seq);
        self.tell_news(books, key, home.place());
        self.keep_to_share(books, home.place());
    }

    /// Puts an entry into a free slot, and others out of its way.
    fn put(&self, books: &mut Books, key: Key, home: Home, now: Instant) -> Option<usize> {
        let entry = (key.bits(), self.hash(key));
        let insert = || self.slots.insert(entry, home.bits(), now.as_micros());
        let hash_of = |key| self.hash(Key::from_bits(key));
        let mut slot = insert();
        for _ in 0..MOST_MOVES {
            if slot.is_none()
                && let Some((from, to)) = self.slots.make_room(entry.1, hash_of)
            {
                books.relocate(from, to);
                slot = insert();
            }
        }
        slot
    }

    fn keep_to_share(&self, books: &mut Books, place: Place) {
        if books.count(place) > books.share(place).unwrap_or(self.limits.per_place) {
            self.evict_from(books, place);
        }
    }

    /// So many MACs of a place are remembered, instead of as many as of every other; those that are known already stay until
    /// others come.
    pub fn set_share(&self, place: Place, most: Option<usize>) {
        self.lock().set_share(place, most);
    }

    /// Removes the oldest entry of one place.
    fn evict_from(&self, books: &mut Books, place: Place) {
        if let Some(slot) = books.oldest(place) {
            let is_told = |found: Found| Home::from_bits(found.value).is_told();
            let was_told = self.slots.at(slot).is_some_and(|(_, f)| is_told(f));
            self.tallies
                .lost
                .fetch_add(u64::from(was_told), Ordering::Relaxed);
            self.remove(books, slot);
            self.tallies.evictions.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn remove(&self, books: &mut Books, slot: usize) {
        let Some((key, found)) = self.slots.at(slot) else {
            return;
        };
        let key = Key::from_bits(key);
        let place = Home::from_bits(found.value).place();
        self.slots.remove(slot);
        books.leave(slot, place);
        if books.refused.remove(&key) {
            // Another's claim to it may count now.
            self.tallies.lost.fetch_add(1, Ordering::Relaxed);
        }
        self.tell_news(books, key, place);
    }

    fn tell_news(&self, books: &mut Books, key: Key, place: Place) {
        if matches!(place, Place::Port(_)) && self.limits.learning != Learning::Data {
            // Who was told of the first finds the others as well.
            if books.news.push(key) {
                self.has_news.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Whether a MAC that was heard elsewhere moves there.
    fn follow(
        &self,
        books: &mut Books,
        (key, found): (Key, &Found),
        to: Place,
        now: Instant,
    ) -> bool {
        let known = Home::from_bits(found.value);
        if known.is_held() && !has_left(found, now) {
            return false;
        }
        let from = known.place();
        books.make_room_for_moves(self.slots.slots(), |key| self.find(key).is_some());
        let moves = books.moves.entry(key).or_insert_with(|| Moves::from(from));
        let verdict = moves.judge((from, to), now);
        if verdict != Verdict::Hold {
            self.tallies.moves.fetch_add(1, Ordering::Relaxed);
            books.note_move(Moved { key, from, to });
        }
        let (held, other) = match verdict {
            Verdict::Follow => return true,
            Verdict::Return => (to, from),
            Verdict::Hold => (from, to),
        };
        self.slots.set(found.slot, known.held(true).bits());
        books.freeze(Frozen { key, held, other });
        verdict == Verdict::Return
    }

    /// Takes what a member advertises of a MAC; gives whether it is taken to live there now.
    pub fn tell(&self, key: Key, peer: PeerId, claim: Claim, now: Instant) -> bool {
        let mut books = self.lock();
        let place = Place::Peer(peer);
        let home = Home::heard(place).told().isolated(claim.is_isolated);
        let Some(found) = self.find(key) else {
            self.insert(&mut books, key, (home, claim.seq), now);
            return true;
        };
        let known = Home::from_bits(found.value);
        if known.is_pinned() {
            let is_there = known.place() == place;
            if is_there {
                let home = known.isolated(claim.is_isolated);
                self.slots.set(found.slot, home.bits());
            }
            return is_there;
        }
        if known.place() == place {
            self.slots
                .set(found.slot, home.held(known.is_held()).bits());
            books.set_seq(found.slot, claim.seq);
            books.refused.remove(&key);
            return true;
        }
        let seq = books.seq(found.slot);
        let is_ours_or_told = known.is_told() || matches!(known.place(), Place::Port(_));
        let is_newer = claim.seq.wrapping_sub(seq).cast_signed() > 0;
        let wins = is_newer || claim.seq == seq && claim.outranks && is_ours_or_told;
        let is_old = self.is_old(&found, now);
        let moves = is_old || wins && self.follow(&mut books, (key, &found), place, now);
        if !moves {
            books.refuse(key);
            return false;
        }
        self.settle(&mut books, (key, &found), (home, claim.seq), now);
        true
    }

    /// Forgets a MAC that a member has taken back, if it is taken to live there.
    pub fn untell(&self, key: Key, peer: PeerId) {
        let mut books = self.lock();
        if let Some(found) = self.find(key) {
            let known = Home::from_bits(found.value);
            if known.place() == Place::Peer(peer) && !known.is_pinned() {
                self.remove(&mut books, found.slot);
            }
        }
    }

    /// The next MAC that is held since somebody asked last; see [`super::moves`].
    pub fn next_frozen(&self) -> Option<Frozen> {
        self.lock().next_frozen()
    }

    /// The next MAC that has moved since somebody asked last; of many at once, the first.
    pub fn next_moved(&self) -> Option<Moved> {
        self.lock().next_moved()
    }

    /// Whether there is news of MACs behind our ports; cheap enough for every frame.
    pub fn has_news(&self) -> bool {
        self.has_news.load(Ordering::Relaxed)
    }

    /// Says that somebody has been told that there is news; gives whether that was necessary.
    pub fn announce_news(&self) -> bool {
        self.has_news() && self.has_news.swap(false, Ordering::Relaxed)
    }

    /// Says that nobody could be told.
    pub fn renew_news(&self) {
        self.has_news.store(true, Ordering::Relaxed);
    }

    /// What changed of the MACs behind our ports since somebody asked last.
    pub fn take_news(&self) -> News {
        self.has_news.store(false, Ordering::Relaxed);
        self.lock().news.take()
    }

    /// Frees entries that are too old, and MACs that were held for long enough. A sweep looks at a part of the table.
    pub fn sweep(&self, now: Instant) {
        let mut books = self.lock();
        let slots = self.slots.slots();
        let most = (slots / 8).clamp(SWEEP.0, SWEEP.1);
        let part = match books.total() {
            0 => 0..0,
            _ => books.next_part(most, slots),
        };
        for slot in part {
            if let Some((_, found)) = self.slots.at(slot)
                && self.is_old(&found, now)
            {
                self.remove_for_good(&mut books, slot);
            }
        }
        let is_known = |key| self.find(key).is_some();
        for key in books.take_served(now, is_known) {
            if let Some(found) = self.find(key) {
                let home = Home::from_bits(found.value).held(false);
                self.slots.set(found.slot, home.bits());
            }
        }
    }

    /// Forgets everything behind a place: a peer that left, a port that closed.
    pub fn forget(&self, place: Place) {
        let mut books = self.lock();
        while let Some(slot) = books.oldest(place) {
            self.remove_for_good(&mut books, slot);
        }
    }

    /// Removes an entry and what is known of its moves.
    fn remove_for_good(&self, books: &mut Books, slot: usize) {
        if let Some((key, _)) = self.slots.at(slot) {
            books.moves.remove(&Key::from_bits(key));
        }
        self.remove(books, slot);
    }

    /// Forgets what somebody wants forgotten; gives how many MACs that were. What is pinned stays.
    pub fn flush(&self, is_meant: impl Fn(Key, Place) -> bool) -> usize {
        let mut books = self.lock();
        let mut count = 0;
        for slot in 0..self.slots.slots() {
            if let Some((key, found)) = self.slots.at(slot) {
                let home = Home::from_bits(found.value);
                if !home.is_pinned() && is_meant(Key::from_bits(key), home.place()) {
                    self.remove_for_good(&mut books, slot);
                    count += 1;
                }
            }
        }
        count
    }

    /// How many MACs live behind a place, but for pinned ones.
    pub fn count(&self, place: Place) -> usize {
        self.lock().count(place)
    }

    /// What is known of a MAC, unless that is too old.
    pub fn get(&self, key: Key, now: Instant) -> Option<Learned> {
        let books = self.lock();
        self.find(key)
            .and_then(|found| self.learned(&books, key, &found, now))
    }

    fn learned(&self, books: &Books, key: Key, found: &Found, now: Instant) -> Option<Learned> {
        let home = Home::from_bits(found.value);
        (!self.is_old(found, now)).then(|| Learned {
            key,
            place: home.place(),
            home,
            idle: now.since(Instant::from_micros(found.seen)),
            moves: books.moves.get(&key).map_or(0, |m| m.total),
            seq: books.seq(found.slot),
        })
    }

    /// Every entry that is not too old, sorted by segment, VLAN and MAC.
    pub fn entries(&self, now: Instant) -> Vec<Learned> {
        let books = self.lock();
        let each = |slot| {
            let (key, found) = self.slots.at(slot)?;
            self.learned(&books, Key::from_bits(key), &found, now)
        };
        let mut all: Vec<Learned> = (0..self.slots.slots()).filter_map(each).collect();
        all.sort_by_key(|l| l.key);
        all
    }

    /// How many entries there are, old ones included and pinned ones not.
    pub fn len(&self) -> usize {
        self.lock().total()
    }

    /// Whether nothing was learned.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How often a MAC has moved, and how often an entry was evicted because its place had too many.
    pub fn moves_and_evictions(&self) -> (u64, u64) {
        (
            self.tallies.moves.load(Ordering::Relaxed),
            self.tallies.evictions.load(Ordering::Relaxed),
        )
    }

    /// How often something that members told was forgotten or not taken, and may be so: it has to be read again.
    pub fn lost(&self) -> u64 {
        self.tallies.lost.load(Ordering::Relaxed)
    }

    /// Frames whose source no member has advertised, where only advertised ones are learned.
    pub fn unadvertised(&self) -> u64 {
        self.tallies.unadvertised.load(Ordering::Relaxed)
    }
}

/// Whether a MAC that is held in a place was not heard there for a while.
fn has_left(found: &Found, now: Instant) -> bool {
    now.since(Instant::from_micros(found.seen)) >= moves::QUIET
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::PortId;
    use crate::time::Duration;
    use crate::wire::ethernet::Mac;
    use crate::wire::segment::SegmentId;
    use crate::wire::vlan::VlanClass;

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
        ForwardingTable::new(limits, (1, 2), &[])
    }

    fn hear(t: &ForwardingTable, key: Key, place: Place, now: Instant) {
        assert!(t.learn(key, Home::heard(place), now).is_ok());
    }

    fn place(t: &ForwardingTable, key: Key, now: Instant) -> Option<Place> {
        t.look_up(key, now).map(Home::place)
    }

    /// What the books say fits what the slots hold.
    fn audit(t: &ForwardingTable) {
        let books = t.lock();
        let mut counts: std::collections::HashMap<Place, usize> = Default::default();
        for slot in 0..t.slots.slots() {
            if let Some((_, found)) = t.slots.at(slot) {
                *counts
                    .entry(Home::from_bits(found.value).place())
                    .or_default() += 1;
            }
        }
        assert_eq!(books.total(), counts.values().sum::<usize>());
        for (place, count) in counts {
            assert_eq!(books.count(place), count, "{place:?}");
        }
    }

    const A: Place = Place::Peer(PeerId(1));
    const B: Place = Place::Peer(PeerId(2));
    const PORT: Place = Place::Port(PortId(0));

    fn at(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn entries_age_refresh_and_move() {
        let t = table(100, 100);
        hear(&t, key(1), A, at(0));
        assert_eq!(place(&t, key(1), at(299)), Some(A));
        assert_eq!(place(&t, key(1), at(300)), None);
        hear(&t, key(1), A, at(200));
        assert_eq!(place(&t, key(1), at(450)), Some(A));
        hear(&t, key(1), B, at(451));
        assert_eq!(place(&t, key(1), at(452)), Some(B));
        assert_eq!(t.moves_and_evictions(), (1, 0));
        hear(&t, key(1), A, at(2000));
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
        (0..10).for_each(|n| hear(&t, key(n), A, at(1)));
        (1000..101_000).for_each(|n| hear(&t, key(n), B, at(2)));
        assert!((0..10).all(|n| place(&t, key(n), at(3)) == Some(A)));
        assert_eq!(t.len(), 30);
        assert_eq!(place(&t, key(100_999), at(3)), Some(B));
        audit(&t);
    }

    #[test]
    fn when_the_whole_table_is_full_the_largest_pays() {
        let t = table(20, 20);
        (0..20).for_each(|n| hear(&t, key(n), B, at(1)));
        hear(&t, key(500), PORT, at(2));
        assert_eq!(place(&t, key(500), at(2)), Some(PORT));
        assert_eq!(t.len(), 20);
    }

    #[test]
    fn moves_to_and_fro_keep_the_books_right() {
        let t = table(50, 5);
        for round in 0..2000u64 {
            let there = if round % 2 == 0 { A } else { B };
            // Far enough apart that each move is followed.
            hear(&t, key(round % 7), there, at(1 + round * 60));
        }
        audit(&t);
    }

    #[test]
    fn a_flapping_mac_costs_no_more_than_a_quiet_one() {
        let t = table(8192, 1024);
        for round in 0..200_000u64 {
            hear(&t, key(1), if round % 2 == 0 { A } else { B }, at(1));
        }
        audit(&t);
        assert_eq!((t.len(), t.lock().moves.len()), (1, 1));
    }

    #[test]
    fn a_mac_that_moves_too_often_is_held_and_told_once() {
        let t = table(100, 50);
        let flap = |n: u64, second| {
            hear(
                &t,
                key(1),
                if n.is_multiple_of(2) { A } else { B },
                at(second),
            )
        };
        for n in 0..1000 {
            flap(n, 1 + n / 100);
        }
        let entry = t.entries(at(11))[0];
        // Five moves later it is at B, and with the sixth it is held where it was at first.
        assert_eq!(
            (entry.place, entry.moves, entry.home.is_held()),
            (A, 6, true)
        );
        let told = Frozen {
            key: key(1),
            held: A,
            other: B,
        };
        assert_eq!(t.next_frozen(), Some(told));
        assert_eq!(t.next_frozen(), None);
        // Where it is held, it is refreshed as ever; elsewhere it is not learned.
        for second in 12..=181 {
            flap(0, second);
            flap(1, second);
        }
        let entry = t.entries(at(181))[0];
        assert_eq!((entry.place, entry.idle), (A, Duration::ZERO));
        // After that time it may move again.
        t.sweep(at(182));
        flap(1, 182);
        let entry = t.entries(at(182))[0];
        assert_eq!(
            (entry.place, entry.moves, entry.home.is_held()),
            (B, 7, false)
        );
    }

    #[test]
    fn a_held_mac_is_free_when_it_is_silent_there() {
        let t = table(100, 50);
        for n in 0..20 {
            hear(&t, key(1), if n % 2 == 0 { A } else { B }, at(1));
        }
        let held = place(&t, key(1), at(1)).unwrap();
        let other = if held == A { B } else { A };
        hear(&t, key(1), other, at(5));
        assert_eq!(place(&t, key(1), at(5)), Some(held));
        // The loop is gone: it is heard in its own place only.
        hear(&t, key(1), other, at(6));
        let entry = t.entries(at(6))[0];
        assert_eq!((entry.place, entry.home.is_held()), (other, false));
    }

    #[test]
    fn a_claimant_cannot_choose_where_a_mac_is_held() {
        // However many frames the claimant B sends, and whenever: the MAC is held at A, where it was.
        for claims in 1..12u64 {
            let t = table(100, 50);
            hear(&t, key(1), A, at(1));
            for second in 2..40 {
                for _ in 0..claims {
                    hear(&t, key(1), B, at(second));
                }
                hear(&t, key(1), A, at(second));
            }
            let entry = t.entries(at(40))[0];
            assert_eq!((entry.place, entry.home.is_held()), (A, true), "{claims}");
        }
    }

    #[test]
    fn moves_that_take_their_time_are_followed() {
        let t = table(100, 50);
        for n in 0..50 {
            hear(&t, key(1), if n % 2 == 0 { A } else { B }, at(1 + n * 60));
        }
        assert_eq!(t.entries(at(2942))[0].moves, 49);
        assert_eq!(t.next_frozen(), None);
    }

    #[test]
    fn a_held_mac_is_free_when_its_place_is_gone() {
        let t = table(100, 50);
        for n in 0..10 {
            hear(&t, key(1), if n % 2 == 0 { A } else { B }, at(1));
        }
        t.forget(B);
        hear(&t, key(1), A, at(2));
        assert_eq!(place(&t, key(1), at(2)), Some(A));
    }

    #[test]
    fn a_leaving_peer_takes_its_entries_along() {
        let t = table(100, 50);
        (0..10).for_each(|n| hear(&t, key(n), A, at(1)));
        (10..20).for_each(|n| hear(&t, key(n), B, at(1)));
        t.forget(A);
        assert_eq!(t.len(), 10);
        assert_eq!(t.entries(at(2)).len(), 10);
        assert!(t.entries(at(2)).iter().all(|l| l.place == B));
    }

    fn claim(seq: u32, outranks: bool) -> Claim {
        Claim {
            seq,
            is_isolated: false,
            outranks,
        }
    }

    #[test]
    fn what_is_told_stays_until_it_is_taken_back() {
        let t = table(100, 50);
        assert!(t.tell(key(1), PeerId(1), claim(3, false), at(0)));
        assert_eq!(place(&t, key(1), at(100_000)), Some(A));
        t.untell(key(1), PeerId(2));
        assert_eq!(
            place(&t, key(1), at(1)),
            Some(A),
            "another cannot take it back"
        );
        t.untell(key(1), PeerId(1));
        assert_eq!(place(&t, key(1), at(1)), None);
    }

    #[test]
    fn the_newest_claim_wins_and_equal_ones_by_rank() {
        let t = table(100, 50);
        hear(&t, key(1), PORT, at(1));
        assert_eq!(t.take_news(), News::Some(vec![key(1)]));
        assert!(!t.tell(key(1), PeerId(1), claim(0, false), at(2)));
        assert!(t.tell(key(1), PeerId(1), claim(0, true), at(2)));
        assert_eq!(t.take_news(), News::Some(vec![key(1)]), "ours is withdrawn");
        // Heard here again, our claim is above.
        hear(&t, key(1), PORT, at(3));
        assert_eq!(t.get(key(1), at(3)).map(|l| l.seq), Some(1));
        assert!(!t.tell(key(1), PeerId(1), claim(0, true), at(4)));
        assert!(t.tell(key(1), PeerId(2), claim(2, false), at(4)));
        assert_eq!(place(&t, key(1), at(4)), Some(B));
        audit(&t);
    }

    #[test]
    fn a_repeated_old_claim_does_not_undo_a_move() {
        let t = table(100, 50);
        assert!(t.tell(key(1), PeerId(1), claim(4, true), at(1)));
        hear(&t, key(1), B, at(2));
        assert!(!t.tell(key(1), PeerId(1), claim(4, true), at(3)));
        assert_eq!(place(&t, key(1), at(3)), Some(B));
        assert!(t.tell(key(1), PeerId(2), claim(5, false), at(3)));
        assert_eq!(place(&t, key(1), at(100_000)), Some(B));
    }

    #[test]
    fn what_was_claimed_in_vain_or_overwritten_has_to_be_read_again() {
        let t = table(100, 50);
        let tell = |n, seq| t.tell(key(1), PeerId(n), claim(seq, false), at(1));
        assert!(tell(1, 5));
        assert_eq!(t.lost(), 0);
        // An old claim, and then the winner takes its own back.
        assert!(!tell(2, 4));
        assert_eq!(t.lost(), 0);
        t.untell(key(1), PeerId(1));
        assert_eq!(t.lost(), 1);
        // A frame says that it is elsewhere, what a member told says nothing of.
        assert!(tell(2, 4));
        hear(&t, key(1), Place::Peer(PeerId(3)), at(2));
        assert_eq!(t.lost(), 1, "that may be a move, and will be told");
        hear(&t, key(1), Place::Peer(PeerId(2)), at(3));
        assert_eq!(
            t.lost(),
            2,
            "it is back, and its member has nothing new to tell"
        );
    }

    #[test]
    fn moves_of_evicted_macs_cost_no_memory_for_long() {
        let t = table(60, 30);
        let places = [Place::Peer(PeerId(1)), Place::Peer(PeerId(2))];
        for n in 0..2000 {
            for k in 0..8 {
                hear(&t, key(n), places[k % 2], at(1));
            }
        }
        assert!(t.lock().moves.len() <= t.slots.slots());
        audit(&t);
    }

    #[test]
    fn a_host_that_roams_makes_nobody_read_again() {
        let t = table(100, 50);
        for n in 1..20 {
            let (peer, now) = (PeerId(n % 2 + 1), at(u64::from(n) * 60));
            hear(&t, key(1), Place::Peer(peer), now);
            assert!(t.tell(key(1), peer, claim(n, false), now));
        }
        assert_eq!(t.lost(), 0);
    }

    #[test]
    fn there_is_always_a_higher_number() {
        let t = table(100, 50);
        let tell = |n, seq| t.tell(key(1), PeerId(n), claim(seq, false), at(1));
        assert!(tell(1, u32::MAX));
        assert!(tell(2, 0), "the next in the circle");
        assert!(!tell(1, u32::MAX));
    }

    #[test]
    fn to_take_a_mac_back_each_time_is_no_way_round_the_hold() {
        let t = table(100, 50);
        let (victim, thief) = (Place::Port(PortId(0)), Place::Peer(PeerId(1)));
        for n in 0..10 {
            hear(&t, key(1), victim, at(n));
            t.tell(key(1), PeerId(1), claim(1000 + n as u32, false), at(n));
            t.untell(key(1), PeerId(1));
        }
        hear(&t, key(1), victim, at(10));
        t.tell(key(1), PeerId(1), claim(2000, false), at(10));
        assert_eq!(place(&t, key(1), at(10)), Some(victim));
        assert_ne!(place(&t, key(1), at(10)), Some(thief));
    }

    #[test]
    fn a_small_place_is_not_made_to_pay_for_the_large_ones() {
        let t = table(80, 40);
        for n in 0..40 {
            hear(&t, key(n), Place::Peer(PeerId(1)), at(0));
            hear(&t, key(100 + n), Place::Peer(PeerId(2)), at(0));
        }
        for n in 0..10 {
            hear(&t, key(200 + n), Place::Peer(PeerId(3)), at(1));
        }
        assert_eq!(t.count(Place::Peer(PeerId(3))), 10);
        assert_eq!(t.len(), 80);
        audit(&t);
    }

    #[test]
    fn all_that_is_pinned_has_room() {
        for seed in 0..20 {
            let pins: Vec<_> = (0..1024).map(|n| (key(n), Home::heard(A))).collect();
            let limits = Limits {
                total: 256,
                ..Limits::default()
            };
            let t = ForwardingTable::new(limits, (seed, 2), &pins);
            let there = |n: &u64| place(&t, key(*n), at(1)) == Some(A);
            assert_eq!((0..1024).filter(there).count(), 1024);
        }
    }

    #[test]
    fn pinned_macs_always_win() {
        let pins = [(key(1), Home::heard(PORT)), (key(2), Home::heard(A))];
        let t = ForwardingTable::new(Limits::default(), (1, 2), &pins);
        assert_eq!(t.take_news(), News::Some(vec![key(1)]));
        let pinned = Err(DropReason::SourcePinned);
        assert_eq!(t.learn(key(1), Home::heard(A), at(1)), pinned);
        assert_eq!(t.learn(key(2), Home::heard(B), at(1)), pinned);
        assert!(!t.tell(key(1), PeerId(1), claim(9, true), at(1)));
        assert!(t.tell(key(2), PeerId(1), claim(9, true), at(1)));
        t.untell(key(2), PeerId(1));
        t.forget(A);
        assert_eq!(t.flush(|_, _| true), 0);
        t.sweep(at(100_000));
        assert_eq!(place(&t, key(1), at(100_000)), Some(PORT));
        assert_eq!(place(&t, key(2), at(100_000)), Some(A));
    }

    #[test]
    fn where_only_what_is_advertised_counts_frames_teach_nothing() {
        let limits = Limits {
            learning: Learning::Advertised,
            ..Limits::default()
        };
        let t = ForwardingTable::new(limits, (1, 2), &[]);
        assert!(t.learn(key(1), Home::heard(A), at(1)).is_ok());
        assert_eq!((place(&t, key(1), at(1)), t.unadvertised()), (None, 1));
        assert!(t.tell(key(1), PeerId(1), claim(0, true), at(1)));
        let forged = t.learn(key(1), Home::heard(B), at(1));
        assert_eq!(forged, Err(DropReason::SourceElsewhere));
        hear(&t, key(1), PORT, at(2));
        assert_eq!(
            place(&t, key(1), at(2)),
            Some(PORT),
            "our own ports are seen"
        );
    }

    #[test]
    fn news_are_of_our_ports_only_and_bounded() {
        let t = table(8192, 8192);
        hear(&t, key(1), A, at(1));
        assert!(!t.has_news());
        (0..5000).for_each(|n| hear(&t, key(n + 10), PORT, at(1)));
        assert!(t.announce_news() && !t.announce_news());
        assert_eq!(t.take_news(), News::Everything);
        hear(&t, key(12), A, at(2));
        assert_eq!(t.take_news(), News::Some(vec![key(12)]));
        (0..8).for_each(|_| t.sweep(at(400)));
        assert!(t.is_empty());
        assert_eq!(t.take_news(), News::Everything);
    }

    #[test]
    fn a_full_table_with_pinned_macs_keeps_its_lists_right() {
        let pins: Vec<_> = (0..200)
            .map(|n| (key(100_000 + n), Home::heard(A)))
            .collect();
        let limits = Limits {
            total: 1000,
            per_place: 400,
            ..Limits::default()
        };
        let t = ForwardingTable::new(limits, (3, 4), &pins);
        let mut dice = 9u64;
        for n in 0..40_000u64 {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let there = [A, B, PORT, Place::Peer(PeerId(9))][(dice >> 33) as usize % 4];
            hear(&t, key(dice >> 50), there, at(1 + n / 10));
            if n % 997 == 0 {
                t.forget(there);
            }
        }
        let books = t.lock();
        let mut listed = 0;
        for there in [A, B, PORT, Place::Peer(PeerId(9))] {
            listed += books.listed(there);
        }
        assert_eq!(listed, books.total());
        drop(books);
        assert!(pins.iter().all(|(k, _)| place(&t, *k, at(9999)) == Some(A)));
    }
}
