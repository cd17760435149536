//! How much a relay carries for somebody, and how much it may.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::time::Instant;

/// A rate in bytes a second, with what may come at once: a tenth of a second's worth, and 64 KiB at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(u64);

impl Rate {
    /// A rate of so many million bits a second; `None` for 0, which no rate is.
    pub fn of_megabits(megabits: u32) -> Option<Rate> {
        let bytes = u64::from(megabits) * 125_000;
        (bytes > 0).then_some(Rate(bytes))
    }

    fn nanos(self, bytes: u64) -> u64 {
        bytes.saturating_mul(1_000_000_000).div_ceil(self.0)
    }

    fn burst(self) -> u64 {
        self.nanos((self.0 / 10).max(64 << 10))
    }
}

/// What was carried, and what was not because it was too much. Workers write it together.
#[derive(Debug, Default)]
pub struct Meter {
    packets: AtomicU64,
    bytes: AtomicU64,
    over: AtomicU64,
    /// When everything that has passed would have passed at the rate (the cell rate algorithm of ITU-T I.371), in nanoseconds.
    arrival: AtomicU64,
}

impl Meter {
    /// Whether so many bytes may pass now; counts them.
    pub fn admit(&self, bytes: usize, rate: Option<Rate>, now: Instant) -> bool {
        if let Some(rate) = rate
            && !self.keeps_to(bytes as u64, rate, now)
        {
            self.over.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        self.packets.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        true
    }

    fn keeps_to(&self, bytes: u64, rate: Rate, now: Instant) -> bool {
        let now = now.as_micros().saturating_mul(1000);
        let (cost, latest) = (rate.nanos(bytes), now.saturating_add(rate.burst()));
        let charge = |arrival: u64| {
            let arrival = arrival.max(now);
            (arrival <= latest).then(|| arrival.saturating_add(cost))
        };
        let charged = self
            .arrival
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, charge);
        charged.is_ok()
    }

    /// Counts a datagram that was too much for all together.
    pub fn refuse(&self) {
        self.over.fetch_add(1, Ordering::Relaxed);
    }

    /// Packets and bytes that passed, and packets that did not.
    pub fn get(&self) -> (u64, u64, u64) {
        let all = [&self.packets, &self.bytes, &self.over];
        let [packets, bytes, over] = all.map(|n| n.load(Ordering::Relaxed));
        (packets, bytes, over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_kept_and_a_burst_allowed() {
        let (meter, rate) = (Meter::default(), Rate::of_megabits(8));
        let at = |ms: u64| Instant::from_micros(5_000_000 + ms * 1000);
        let passed = |ms| {
            (0..1000)
                .filter(|_| meter.admit(1000, rate, at(ms)))
                .count()
        };
        let first = passed(0);
        assert!((100..=102).contains(&first), "{first}");
        assert_eq!(passed(0), 0);
        let second = passed(50);
        assert!(
            (49..=51).contains(&second),
            "1000 bytes a millisecond: {second}"
        );
        let (packets, bytes, over) = meter.get();
        assert_eq!(
            (packets, bytes),
            ((first + second) as u64, (first + second) as u64 * 1000)
        );
        assert_eq!(over, 3000 - packets);
        assert!(meter.admit(1 << 20, None, at(50)), "no rate is no limit");
        assert_eq!(Rate::of_megabits(0), None);
        // Small packets at a high rate cost something, too.
        let (meter, rate) = (Meter::default(), Rate::of_megabits(1000));
        let passed = (0..400_000)
            .filter(|_| meter.admit(100, rate, at(0)))
            .count();
        assert!((125_000..126_000).contains(&passed), "{passed}");
    }
}
