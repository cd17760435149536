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

    /// An equal part of it for each of so many.
    #[must_use]
    pub fn part(self, of: u64) -> Rate {
        Rate((self.0 / of.max(1)).max(1))
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

    /// Notes bytes that pass in any case, so that fewer others do.
    pub fn charge(&self, bytes: usize, rate: Rate, now: Instant) {
        let (now, cost) = (
            now.as_micros().saturating_mul(1000),
            rate.nanos(bytes as u64),
        );
        let charge = |arrival: u64| Some(arrival.max(now).saturating_add(cost));
        let _ = self
            .arrival
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, charge);
    }

    /// Counts datagrams that did not pass for another reason.
    pub fn refuse(&self, datagrams: u64) {
        self.over.fetch_add(datagrams, Ordering::Relaxed);
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
    fn parts_are_sure_and_the_rest_is_for_whoever_comes() {
        // 80 Mbit/s for two: one sends ten times that, the other half of its part.
        let all = Rate::of_megabits(80).unwrap();
        let (total, parts) = (Meter::default(), [Meter::default(), Meter::default()]);
        let mut passed = [0u64; 2];
        for ms in 0..5000 {
            let now = Instant::from_micros(1_000_000 + ms * 1000);
            // The flood comes first, always.
            for (n, datagrams) in [(0, 100), (1, 3)] {
                for _ in 0..datagrams {
                    let fits = match parts[n].admit(1000, Some(all.part(2)), now) {
                        true => {
                            total.charge(1000, all, now);
                            true
                        }
                        false => total.admit(1000, Some(all), now),
                    };
                    passed[n] += u64::from(fits);
                }
            }
        }
        assert_eq!(passed[1], 15_000, "all that it sent");
        let together = (passed[0] + passed[1]) / 5;
        assert!(
            (9_500..10_600).contains(&together),
            "{together} a second of 10000"
        );
    }

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
