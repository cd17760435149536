//! What the writers of the forwarding table keep beside its slots: who has how many, in which order they came, which moved.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::Range;
use std::sync::atomic::AtomicU64;

use super::mac::{Frozen, Key, Moved, News};
use super::moves::Moves;
use crate::place::Place;
use crate::time::Instant;

/// The most MACs that wait to be told as held, and as moved.
const MAX_FROZEN: usize = 64;
/// The most keys of which somebody is told by name, and the most that are claimed in vain.
const MAX_NEWS: usize = 4096;
const NONE: u32 = u32::MAX;

/// A slot's neighbours in the list of its place, and the number of its claim.
#[derive(Clone, Copy)]
struct Line {
    before: u32,
    after: u32,
    seq: u32,
}

/// A slot in nobody's list.
const UNLINKED: Line = Line {
    before: NONE,
    after: NONE,
    seq: 0,
};

/// The entries of one place, oldest first.
struct Owner {
    count: usize,
    first: u32,
    last: u32,
}

/// How often things happened.
#[derive(Default)]
pub(super) struct Tallies {
    pub(super) moves: AtomicU64,
    pub(super) evictions: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) unadvertised: AtomicU64,
}

/// Keys of which there is news, each once for as long as there are few.
#[derive(Default)]
pub(super) struct NewsBox {
    keys: Vec<Key>,
    overflowed: bool,
}

impl NewsBox {
    /// Gives whether it is the first since somebody took them.
    pub(super) fn push(&mut self, key: Key) -> bool {
        let is_first = self.keys.is_empty();
        if self.keys.last() == Some(&key) {
            return false;
        }
        match self.keys.len() < MAX_NEWS {
            true => self.keys.push(key),
            false => self.overflowed = true,
        }
        is_first
    }

    pub(super) fn take(&mut self) -> News {
        let keys = std::mem::take(&mut self.keys);
        match std::mem::take(&mut self.overflowed) {
            true => News::Everything,
            false => News::Some(keys),
        }
    }
}

/// The books.
pub(super) struct Books {
    lines: Vec<Line>,
    places: HashMap<u64, Owner>,
    /// Places of which more or fewer are remembered than of others.
    shares: HashMap<u64, usize>,
    total: usize,
    swept: usize,
    frozen: VecDeque<Frozen>,
    moved: VecDeque<Moved>,
    /// The moves of those that have moved.
    pub(super) moves: HashMap<Key, Moves>,
    /// Those that a member claims in vain.
    pub(super) refused: HashSet<Key>,
    pub(super) news: NewsBox,
}

impl Books {
    pub(super) fn new(slots: usize) -> Books {
        Books {
            lines: vec![UNLINKED; slots],
            places: HashMap::new(),
            shares: HashMap::new(),
            total: 0,
            swept: 0,
            frozen: VecDeque::new(),
            moved: VecDeque::new(),
            moves: HashMap::new(),
            refused: HashSet::new(),
            news: NewsBox::default(),
        }
    }

    /// Entries in all.
    pub(super) fn total(&self) -> usize {
        self.total
    }

    /// How many MACs of a place are remembered, where that is not the same as for others.
    pub(super) fn share(&self, place: Place) -> Option<usize> {
        self.shares.get(&place.to_bits()).copied()
    }

    pub(super) fn set_share(&mut self, place: Place, most: Option<usize>) {
        match most {
            Some(most) => self.shares.insert(place.to_bits(), most),
            None => self.shares.remove(&place.to_bits()),
        };
    }

    pub(super) fn count(&self, place: Place) -> usize {
        self.places.get(&place.to_bits()).map_or(0, |o| o.count)
    }

    /// The slot of the oldest entry of a place.
    pub(super) fn oldest(&self, place: Place) -> Option<usize> {
        let first = self.places.get(&place.to_bits())?.first;
        (first != NONE).then_some(first as usize)
    }

    pub(super) fn seq(&self, slot: usize) -> u32 {
        self.lines.get(slot).map_or(0, |l| l.seq)
    }

    pub(super) fn set_seq(&mut self, slot: usize, seq: u32) {
        if let Some(line) = self.lines.get_mut(slot) {
            line.seq = seq;
        }
    }

    /// A slot's entry is the newest of a place now.
    pub(super) fn enter(&mut self, slot: usize, place: Place, seq: u32) {
        let own = u32::try_from(slot).unwrap_or(NONE);
        let owner = self.places.entry(place.to_bits()).or_insert(Owner {
            count: 0,
            first: NONE,
            last: NONE,
        });
        let before = std::mem::replace(&mut owner.last, own);
        if owner.first == NONE {
            owner.first = own;
        }
        owner.count += 1;
        self.total += 1;
        if let Some(line) = self.lines.get_mut(before as usize) {
            line.after = own;
        }
        if let Some(line) = self.lines.get_mut(slot) {
            let after = NONE;
            *line = Line { before, after, seq };
        }
    }

    /// A slot's entry does not belong to a place any more.
    pub(super) fn leave(&mut self, slot: usize, place: Place) {
        let Some(owner) = self.places.get_mut(&place.to_bits()) else {
            return;
        };
        let Some(line) = self.lines.get_mut(slot) else {
            return;
        };
        // What is left behind would be taken for the neighbours of the next that lies here.
        let Line { before, after, .. } = std::mem::replace(line, UNLINKED);
        match self.lines.get_mut(before as usize) {
            Some(line) => line.after = after,
            None => owner.first = after,
        }
        match self.lines.get_mut(after as usize) {
            Some(line) => line.before = before,
            None => owner.last = before,
        }
        owner.count -= 1;
        self.total -= 1;
        if owner.count == 0 {
            self.places.remove(&place.to_bits());
        }
    }

    /// An entry lies in another slot now. A pinned one is in nobody's list, and only its line moves.
    pub(super) fn relocate(&mut self, from: usize, to: usize) {
        let Some(line) = self.lines.get_mut(from) else {
            return;
        };
        let line = std::mem::replace(line, UNLINKED);
        let [old, new] = [from, to].map(|s| u32::try_from(s).unwrap_or(NONE));
        for owner in self.places.values_mut() {
            for end in [&mut owner.first, &mut owner.last] {
                if *end == old {
                    *end = new;
                }
            }
        }
        if let Some(before) = self.lines.get_mut(line.before as usize) {
            before.after = new;
        }
        if let Some(after) = self.lines.get_mut(line.after as usize) {
            after.before = new;
        }
        if let Some(place) = self.lines.get_mut(to) {
            *place = line;
        }
    }

    /// How many entries a place's list leads through; it ends within twice the slots.
    #[cfg(test)]
    pub(super) fn listed(&self, place: Place) -> usize {
        let first = self.oldest(place);
        let next = |at: &usize| {
            let after = self.lines.get(*at)?.after;
            (after != NONE).then_some(after as usize)
        };
        let walk = std::iter::successors(first, next);
        walk.take(2 * self.lines.len()).count()
    }

    /// Who pays when the whole table is full: the place that wants more if it has its share of `total` already, else the
    /// one that has most.
    pub(super) fn payer(&self, wanting: Place, total: usize) -> Place {
        let share = total / self.places.len().max(1);
        if self.count(wanting) >= share.max(1) {
            return wanting;
        }
        let largest = self.places.iter().max_by_key(|(bits, o)| (o.count, **bits));
        largest.map_or(wanting, |(bits, _)| Place::from_bits(*bits))
    }

    /// Notes that a member claims a MAC in vain.
    pub(super) fn refuse(&mut self, key: Key) {
        if self.refused.len() < MAX_NEWS {
            self.refused.insert(key);
        }
    }

    pub(super) fn freeze(&mut self, frozen: Frozen) {
        if self.frozen.len() < MAX_FROZEN {
            self.frozen.push_back(frozen);
        }
    }

    pub(super) fn next_frozen(&mut self) -> Option<Frozen> {
        self.frozen.pop_front()
    }

    pub(super) fn note_move(&mut self, moved: Moved) {
        if self.moved.len() < MAX_FROZEN {
            self.moved.push_back(moved);
        }
    }

    pub(super) fn next_moved(&mut self) -> Option<Moved> {
        self.moved.pop_front()
    }

    /// The next slots to be looked at.
    pub(super) fn next_part(&mut self, most: usize, slots: usize) -> Range<usize> {
        let from = if self.swept >= slots { 0 } else { self.swept };
        let to = slots.min(from + most);
        self.swept = to;
        from..to
    }

    /// Those that need not be held any longer. Moves of long ago are forgotten with their MACs.
    pub(super) fn take_served(&mut self, now: Instant, is_known: impl Fn(Key) -> bool) -> Vec<Key> {
        let mut served = Vec::new();
        self.moves.retain(|key, moves| {
            if moves.has_served(now) {
                moves.held_until = None;
                served.push(*key);
            }
            !moves.is_over(now) || is_known(*key)
        });
        served
    }

    /// Keeps fewer moves than this: those of MACs that are known, which are fewer.
    pub(super) fn make_room_for_moves(&mut self, most: usize, is_known: impl Fn(Key) -> bool) {
        if self.moves.len() >= most {
            self.moves.retain(|key, _| is_known(*key));
        }
    }
}
