//! How often a MAC moves, and when it is held where it is (RFC 7432 section 15.1).
//!
//! # Why
//! A MAC that is heard from two places in turn is one that two hosts have, or a loop. Following it costs every member a
//! change for each frame, and either host is lost half of the time. So after [`MOST`] moves within [`WINDOW`] it stays where
//! it is for that long again, and somebody is told.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::table::Key;
use crate::place::Place;
use crate::time::{Duration, Instant};

/// In what time moves count.
pub const WINDOW: Duration = Duration::from_secs(180);
/// So many moves in this time are followed.
pub const MOST: u32 = 5;

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

/// The moves of one MAC. Written by those who hold the table's lock, read by anybody.
#[derive(Default)]
pub(super) struct Moves {
    total: AtomicU32,
    recent: AtomicU32,
    /// When the first of the recent ones was, in microseconds.
    since: AtomicU64,
    /// Until when it is held, in microseconds.
    held_until: AtomicU64,
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

    /// Whether one more move shall be followed; otherwise the MAC is held from now on.
    pub(super) fn follow(&self, now: Instant) -> bool {
        let since = Instant::from_micros(self.since.load(Ordering::Relaxed));
        if self.recent.load(Ordering::Relaxed) == 0 || now.since(since) > WINDOW {
            self.since.store(now.as_micros(), Ordering::Relaxed);
            self.recent.store(0, Ordering::Relaxed);
        }
        if self.recent.load(Ordering::Relaxed) >= MOST {
            let until = now + WINDOW;
            self.held_until.store(until.as_micros(), Ordering::Relaxed);
            self.recent.store(0, Ordering::Relaxed);
            return false;
        }
        self.recent.fetch_add(1, Ordering::Relaxed);
        self.total.fetch_add(1, Ordering::Relaxed);
        true
    }
}
