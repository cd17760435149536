//! The lock-free replay window and the forwarding table's map under a model checker: every interleaving of a few threads.
//!
//! Their own sources are compiled here with loom's atomics in the place of `crate::sync`.

#![allow(dead_code)]

mod sync {
    pub use loom::sync::atomic::{AtomicU64, Ordering, fence};

    /// With one slot in a bucket, each key has two slots, and all that a writer does happens in them.
    pub const WAYS: usize = 1;

    pub fn fetch<const N: usize>(_: [&AtomicU64; N]) {}
}

#[path = "../src/noise/replay.rs"]
mod replay;
// Of one slot in a bucket, its number is the remainder by one.
#[allow(clippy::modulo_one)]
#[path = "../src/switch/slots.rs"]
mod slots;

use loom::sync::Arc;
use loom::thread;
use replay::{Mark, ReplayWindow, WINDOW};
use slots::{Found, Slots};

fn model(threads: &'static [&'static [u64]], check: fn(&[Vec<Mark>])) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let window = Arc::new(ReplayWindow::default());
        let running: Vec<_> = threads
            .iter()
            .map(|counters| {
                let window = window.clone();
                thread::spawn(move || counters.iter().map(|c| window.mark(*c)).collect())
            })
            .collect();
        let marks: Vec<Vec<Mark>> = running.into_iter().map(|t| t.join().unwrap()).collect();
        check(&marks);
        let new = marks.iter().flatten().filter(|m| **m != Mark::Refused);
        assert_eq!(window.received().1, new.count() as u64);
    });
}

fn accepted(marks: &[Vec<Mark>]) -> usize {
    marks
        .iter()
        .flatten()
        .filter(|m| **m != Mark::Refused)
        .count()
}

#[test]
fn one_counter_passes_once() {
    model(&[&[5], &[5]], |marks| assert_eq!(accepted(marks), 1));
}

#[test]
fn neighbours_in_one_word_do_not_lose_each_other() {
    model(&[&[1, 2], &[3, 2]], |marks| assert_eq!(accepted(marks), 3));
}

/// While one thread slides the window over a word, another marks an old counter in it: that is refused or counted once,
/// and never opens the word to counters that were seen.
#[test]
fn a_sliding_window_lets_nothing_through_twice() {
    const LAP: u64 = WINDOW + 32;
    model(&[&[3, LAP + 3], &[3, LAP + 3]], |marks| {
        assert!(accepted(marks) <= 2);
        let newest = marks.iter().filter(|m| m[1] != Mark::Refused).count();
        assert_eq!(newest, 1);
    });
}

/// A key of more than 64 bits, so that it does not fit one word.
const A: u128 = 0x1_0000_0000_0000_000a;
/// One that differs in the upper part only.
const B: u128 = 0x2_0000_0000_0000_000a;
/// Both buckets: of a map of two, the halves choose the first and the second.
const HASH: u64 = 0xffff_ffff_0000_0000;
/// Only the first.
const FIRST: u64 = 0;

/// One thread writes while others read.
fn shared(before: fn(&Slots), write: fn(&Slots), read: fn(&Slots)) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let slots = Arc::new(Slots::new(1));
        assert_eq!(slots.slots(), 2);
        before(&slots);
        let other = slots.clone();
        let writer = thread::spawn(move || write(&other));
        read(&slots);
        writer.join().unwrap();
    });
}

fn value(found: Option<Found>) -> Option<u64> {
    found.map(|f| f.value)
}

/// A slot goes from one key to another.
fn replaced(read: fn(&Slots)) {
    shared(
        |slots| assert!(slots.insert((A, FIRST), 1, 100).is_some()),
        |slots| {
            slots.remove(0);
            slots.insert((B, FIRST), 2, 200);
            slots.remove(0);
            slots.insert((A, FIRST), 3, 300);
        },
        read,
    );
}

/// Who looks for a key never gets what belongs to the other.
#[test]
fn a_reader_never_sees_what_belongs_to_another_key() {
    replaced(|slots| {
        let found = slots.find(A, FIRST).map(|f| (f.value, f.seen));
        assert!([None, Some((1, 100)), Some((3, 300))].contains(&found));
    });
    replaced(|slots| {
        let found = slots.find(B, FIRST).map(|f| (f.value, f.seen));
        assert!([None, Some((2, 200))].contains(&found));
    });
}

/// What is kept for a key changes in its place: who looks finds the one or the other, and never the old after the new.
#[test]
fn a_value_that_is_set_is_seen_whole_and_in_order() {
    shared(
        |slots| assert!(slots.insert((A, FIRST), 1, 0).is_some()),
        |slots| {
            slots.set(0, 2);
            slots.set(0, 3);
        },
        |slots| {
            let [first, second] = [(); 2].map(|()| value(slots.find(A, FIRST)).unwrap());
            assert!(first <= second && (1..=3).contains(&first));
        },
    );
}

/// An entry moves to its other bucket and another takes its slot.
#[test]
fn an_entry_that_makes_room_is_found_as_itself_or_not_at_all() {
    shared(
        |slots| assert_eq!(slots.insert((A, FIRST), 1, 0), Some(0)),
        |slots| {
            let hash_of = |key| if key == A { HASH } else { FIRST };
            assert_eq!(slots.make_room(FIRST, hash_of), Some((0, 1)));
            assert_eq!(slots.insert((B, FIRST), 2, 0), Some(0));
        },
        |slots| {
            assert!([None, Some(1)].contains(&value(slots.find(A, HASH))));
            assert!([None, Some(2)].contains(&value(slots.find(B, FIRST))));
            for slot in 0..2 {
                if let Some((key, found)) = slots.at(slot) {
                    assert_eq!(found.value, if key == A { 1 } else { 2 });
                }
            }
        },
    );
}

/// Readers note when a key was heard while its slot goes to another: that one may live longer, and nothing else changes.
#[test]
fn a_refreshed_slot_keeps_its_new_key() {
    shared(
        |slots| assert!(slots.insert((A, FIRST), 1, 100).is_some()),
        |slots| {
            slots.remove(0);
            slots.insert((B, FIRST), 2, 200);
        },
        |slots| {
            if let Some(found) = slots.find(A, FIRST) {
                slots.refresh(found.slot, 150);
            }
            let found = slots.find(B, FIRST);
            assert!(
                [None, Some((2, 200)), Some((2, 150))].contains(&found.map(|f| (f.value, f.seen)))
            );
        },
    );
}
