//! The lock-free replay window under a model checker: every interleaving of a few threads.
//!
//! The window's own source is compiled here with loom's atomics in the place of `crate::sync`.

#![allow(dead_code)]

mod sync {
    pub use loom::sync::atomic::{AtomicU64, Ordering};
}

#[path = "../src/noise/replay.rs"]
mod replay;

use loom::sync::Arc;
use loom::thread;
use replay::{Mark, ReplayWindow, WINDOW};

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
