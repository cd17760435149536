//! A point on the boot-time clock, as plain data.
//!
//! The core never reads a clock: it is told what time it is. The clock meant is `CLOCK_BOOTTIME`, which goes on
//! during suspend, so that a session's age is true after a laptop wakes up; `std::time::Instant` stands still then.
//! [`crate::io::clock`] reads it; simulations make it up.

use std::ops::Add;
pub use std::time::Duration;

/// Microseconds since the machine booted (or since a simulation began).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The clock's origin.
    pub const ZERO: Instant = Instant(0);

    /// An instant from microseconds since boot.
    pub const fn from_micros(micros: u64) -> Self {
        Instant(micros)
    }

    /// Microseconds since boot.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// How long ago `earlier` was; zero when it lies in the future.
    pub const fn since(self, earlier: Instant) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, after: Duration) -> Instant {
        Instant(
            self.0
                .saturating_add(u64::try_from(after.as_micros()).unwrap_or(u64::MAX)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        assert_eq!(Instant::ZERO.since(Instant::from_micros(5)), Duration::ZERO);
        assert_eq!(
            Instant::from_micros(u64::MAX) + Duration::from_secs(1),
            Instant::from_micros(u64::MAX)
        );
        assert_eq!(
            (Instant::from_micros(7) + Duration::from_millis(1)).as_micros(),
            1007
        );
    }
}
