//! Tests of the replay window, apart from it: a model checker compiles its source without them.

use std::sync::atomic::{AtomicU64, Ordering};

use super::replay::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// What RFC 6479 says, with a set instead of a ring.
#[derive(Default)]
struct Model {
    seen: BTreeSet<u64>,
    next: u64,
}

impl Model {
    fn mark(&mut self, counter: u64) -> bool {
        if counter >= COUNTER_LIMIT || counter + WINDOW < self.next {
            return false;
        }
        let fresh = self.seen.insert(counter);
        if fresh {
            self.next = self.next.max(counter + 1);
        }
        fresh
    }
}

fn step() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..100u64,
        (0..20u64).prop_map(|n| n * 32 + 31),
        8100..8300u64,
        16_300..16_700u64,
        0..40_000u64,
        (0..300u64).prop_map(|n| COUNTER_LIMIT - 150 + n),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn the_window_equals_the_model(
        base in prop_oneof![Just(0u64), 0..1u64 << 30, Just(COUNTER_LIMIT - 50_000)],
        steps in prop::collection::vec(step(), 1..400),
    ) {
        let window = ReplayWindow::default();
        let mut model = Model::default();
        for step in steps {
            let counter = if step >= 1 << 40 { step } else { base + step };
            prop_assert_eq!(window.mark(counter) != Mark::Refused, model.mark(counter), "{}", counter);
        }
    }
}

/// The bulk cases of the Linux kernel's selftest/counter.c, in our window's size.
#[test]
fn bulk_cases() {
    let w = ReplayWindow::default();
    let refused = |c| w.mark(c) == Mark::Refused;
    assert!(!refused(0) && !refused(1) && refused(1) && !refused(9) && !refused(8));
    assert!(!refused(7) && refused(7) && !refused(WINDOW) && !refused(WINDOW - 1));
    assert!(refused(WINDOW - 1) && !refused(WINDOW - 2) && !refused(2) && refused(2));
    assert!(!refused(WINDOW + 16) && refused(3) && refused(WINDOW + 16));
    assert!(!refused(WINDOW * 4) && refused(WINDOW * 4 - (WINDOW + 1)));
    assert!(!refused(WINDOW * 4 - WINDOW + 1) && refused(10));
    assert!(refused(COUNTER_LIMIT) && !refused(COUNTER_LIMIT - 1) && refused(u64::MAX));
    let up = ReplayWindow::default();
    assert!((1..WINDOW).all(|c| up.mark(c) == Mark::Newest));
    assert_eq!(up.mark(0), Mark::Late);
    assert_eq!(up.mark(0), Mark::Refused);
    let down = ReplayWindow::default();
    assert!(
        (2..=WINDOW + 1)
            .rev()
            .all(|c| down.mark(c) != Mark::Refused)
    );
    assert_eq!(down.mark(0), Mark::Refused);
}

#[test]
fn threads_that_race_for_the_same_counters_win_each_once() {
    let window = ReplayWindow::default();
    let wins = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for t in 0..4u64 {
            let (window, wins) = (&window, &wins);
            scope.spawn(move || {
                for i in 0..40_000u64 {
                    // Each thread jitters around the same slowly rising counters.
                    let counter = i ^ ((i * (t + 3)) % 61);
                    if window.mark(counter) != Mark::Refused {
                        wins.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert!(wins.load(Ordering::Relaxed) <= 40_064);
}
