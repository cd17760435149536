//! How often a MAC moves, and when it is held where it is (RFC 7432 section 15.1).
//!
//! # Why
//! A MAC that is heard from two places in turn is one that two hosts have, or a loop. Following it costs every member a
//! change for each frame, and either host is lost half of the time. So after [`MOST`] moves within [`WINDOW`] it stays where
//! it is for that long again, and somebody is told.

use crate::place::Place;
use crate::time::{Duration, Instant};

/// In what time moves count.
pub const WINDOW: Duration = Duration::from_secs(180);
/// So many moves in this time are followed.
pub const MOST: u32 = 5;

/// A MAC that was not heard for so long where it is held is held there no more: the other host or the loop is gone.
pub const QUIET: Duration = Duration::from_secs(5);

/// The moves of one MAC.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moves {
    /// How often it has moved.
    pub(super) total: u32,
    /// Until when it is held.
    pub(super) held_until: Option<Instant>,
    recent: u32,
    /// When the first of the recent ones was.
    since: Instant,
    /// When it was claimed by another place last, or may be again.
    contested: Instant,
    /// Where it was before all that.
    home: Place,
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
    /// The moves of a MAC that has been in one place so far.
    pub(super) fn from(home: Place) -> Moves {
        Moves {
            total: 0,
            held_until: None,
            recent: 0,
            since: Instant::ZERO,
            contested: Instant::ZERO,
            home,
        }
    }

    /// Whether it was held until now; asked when it may be free again.
    pub(super) fn has_served(&self, now: Instant) -> bool {
        self.held_until.is_some_and(|until| until <= now)
    }

    /// Whether the last was so long ago that it does not matter any more.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        now.since(self.contested) > WINDOW
    }

    /// Decides about a move. Whoever claims another's MAC cannot choose where it is held: that is where it was before the
    /// moves began, as soon as it is heard or found there.
    pub(super) fn judge(&mut self, (from, to): (Place, Place), now: Instant) -> Verdict {
        // Asked while it is held, it has left that place.
        self.held_until = None;
        if self.recent == 0 || now.since(self.since) > WINDOW {
            self.since = now;
            self.recent = 0;
            // A place is its home when nobody has contested that for so long.
            if self.is_over(now) {
                self.home = from;
            }
        }
        self.contested = now;
        let verdict = match self.recent < MOST {
            true => Verdict::Follow,
            false if self.home == to => Verdict::Return,
            false => Verdict::Hold,
        };
        if verdict == Verdict::Follow {
            self.recent += 1;
        } else {
            self.held_until = Some(now + WINDOW);
            self.contested = now + WINDOW;
            self.recent = 0;
        }
        self.total += u32::from(verdict != Verdict::Hold);
        verdict
    }
}
