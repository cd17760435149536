//! Stamps that always grow, even on a machine without a real-time clock.
//!
//! # Why
//! WireGuard's stamp is the wall clock, which locks out machines that boot in 1970. Here the stamp never goes below a
//! *mark* that was stored before: the mark lies up to an hour ahead of the stamps in use, so it is written once an hour,
//! and after a restart stamps begin at the mark. A receiver treats an old stamp as suspicious, not as forbidden.

use crate::time::{Duration, Instant};
use crate::wire::offer::{STAMP_LEN, Stamp};

/// How far ahead of the stamps the stored mark lies.
const AHEAD: u64 = 3600;

/// The wall clock at one instant, and the mark.
#[derive(Clone, Copy, Debug)]
pub struct WallClock {
    since_epoch: Duration,
    at: Instant,
    /// Seconds; stamps below need no new mark.
    marked: u64,
    last: Duration,
}

impl WallClock {
    /// A clock that showed `since_epoch` (since 1970) at `at`; `mark` is what was stored before, in seconds, or 0.
    pub fn new(since_epoch: Duration, at: Instant, mark: u64) -> Self {
        let floor = Duration::from_secs(mark);
        WallClock {
            since_epoch: since_epoch.max(floor),
            at,
            marked: mark,
            last: Duration::ZERO,
        }
    }

    /// Seconds since 1970.
    pub(super) fn seconds(&self, now: Instant) -> u64 {
        (self.since_epoch + now.since(self.at)).as_secs()
    }

    /// The next stamp, and the new mark when one has to be stored.
    pub(super) fn stamp(&mut self, now: Instant) -> (Stamp, Option<u64>) {
        let shown = self.since_epoch + now.since(self.at);
        self.last = shown.max(self.last + Duration::from_nanos(1));
        let seconds = self.last.as_secs();
        let mut stamp = [0u8; STAMP_LEN];
        let (high, low) = stamp.split_at_mut(8);
        high.copy_from_slice(&seconds.to_be_bytes());
        low.copy_from_slice(&self.last.subsec_nanos().to_be_bytes());
        if seconds < self.marked {
            return (stamp, None);
        }
        self.marked = seconds + AHEAD;
        (stamp, Some(self.marked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_grow_across_restarts_with_a_dead_clock() {
        let mut first = WallClock::new(Duration::from_secs(5), Instant::ZERO, 0);
        let (a, mark) = first.stamp(Instant::ZERO);
        let (b, none) = first.stamp(Instant::ZERO);
        assert!(b > a && none.is_none());
        let mark = mark.unwrap();
        assert_eq!(mark, 5 + AHEAD);
        let mut second = WallClock::new(Duration::from_secs(5), Instant::ZERO, mark);
        let (c, next) = second.stamp(Instant::ZERO);
        assert!(c > b);
        assert_eq!(next, Some(mark + AHEAD));
        let (d, none) = second.stamp(Instant::ZERO + Duration::from_secs(3599));
        assert!(d > c && none.is_none());
    }
}
