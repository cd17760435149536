//! How often a MAC moves, and when it is held where it is (RFC 7432 section 15.1).
//!
//! # Why
//! A MAC that is heard from two places in turn is one that two hosts have, or a loop. Following it costs every member a
//! change for each frame, and either host is lost half of the time. So after [`MOST`] moves within [`WINDOW`] it stays where
//! it is for that long again, and somebody is told.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::place::Place;
use crate::time::{Duration, Instant};

/// In what time moves count.
pub const WINDOW: Duration = Duration::from_secs(180);
/// So many moves in this time are followed.
pub const MOST: u32 = 5;

/// The moves of one MAC. Written by those who hold the table's lock, read by anybody.
#[derive(Default)]
pub(super) struct Moves {
    total: AtomicU32,
    recent: AtomicU32,
    /// When the first of the recent ones was, in microseconds.
    since: AtomicU64,
    /// Where it was before that.
    home: AtomicU64,
    /// Until when it is held, in microseconds.
    held_until: AtomicU64,
}

/// What becomes of a MAC that was heard elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It moves there.
    Follow,
    /// It moves there, which is where it was before it began to move, and is held.
    Return,
    /// It stays, and is held.
    Hold,
}

impl Moves {
    /// How often it has moved.
    pub(super) fn total(&self) -> u32 {
        self.total.load(Ordering::Relaxed)
    }

    /// Whether it stays where it is, whoever claims it.
    pub(super) fn is_held(&self, now: Instant) -> bool {
        self.held_until.load(Ordering::Relaxed) > now.as_micros()
    }

    /// Forgets everything: the MAC was silent for so long that it begins anew.
    pub(super) fn reset(&self) {
        self.recent.store(0, Ordering::Relaxed);
        self.held_until.store(0, Ordering::Relaxed);
    }

    /// Decides about a move. Whoever claims another's MAC cannot choose where it is held: that is where it was before the
    /// moves began, as soon as it is heard or found there.
    pub(super) fn judge(&self, (from, to): (Place, Place), now: Instant) -> Verdict {
        let since = Instant::from_micros(self.since.load(Ordering::Relaxed));
        if self.recent.load(Ordering::Relaxed) == 0 || now.since(since) > WINDOW {
            self.since.store(now.as_micros(), Ordering::Relaxed);
            self.home.store(from.to_bits(), Ordering::Relaxed);
            self.recent.store(0, Ordering::Relaxed);
        }
        let home = self.home.load(Ordering::Relaxed);
        let verdict = match self.recent.load(Ordering::Relaxed) < MOST {
            true => Verdict::Follow,
            false if home == to.to_bits() => Verdict::Return,
            false => Verdict::Hold,
        };
        if verdict == Verdict::Follow {
            self.recent.fetch_add(1, Ordering::Relaxed);
        } else {
            let until = now + WINDOW;
            self.held_until.store(until.as_micros(), Ordering::Relaxed);
            self.recent.store(0, Ordering::Relaxed);
        }
        if verdict != Verdict::Hold {
            self.total.fetch_add(1, Ordering::Relaxed);
        }
        verdict
    }
}
