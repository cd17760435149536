//! How much a path loses, as the peer reports it, and whether super-frames should travel in pieces that stand for themselves.
//!
//! # Why
//! Whole pieces are the fastest form, and a lost one costs its neighbours little; aligned pieces cost nobody but
//! themselves, for some per cent of speed. A path begins as clean. One loss in two thousand packets makes it lossy, and
//! ten seconds with less than one in ten thousand clean again: the gap keeps a path at the border from swinging.

use crate::time::{Duration, Instant};
use crate::wire::control::Received;

/// Above one lost packet in this many a path is lossy.
const LOSSY: u64 = 2000;
/// Below one lost packet in this many it counts as clean.
const CLEAN: u64 = 10_000;
/// How long it has to be clean.
const CLEAN_FOR: Duration = Duration::from_secs(10);
/// Fewer packets than this say nothing.
const ENOUGH: u64 = 256;

/// The loss towards one peer.
#[derive(Debug, Default)]
pub struct LossMeter {
    last: Received,
    /// What was missing at the last report, and the lesser of the last two: packets on their way are missing, too, and
    /// come before the next report.
    missing: u64,
    floor: u64,
    is_lossy: bool,
    clean_since: Option<Instant>,
    /// Lost packets in a million, of the last report.
    ppm: u64,
}

impl LossMeter {
    /// Takes a report on the session that we send on; gives whether the judgement has changed.
    pub fn report(&mut self, report: Received, now: Instant) -> bool {
        if report.index != self.last.index {
            self.last = Received {
                index: report.index,
                ..Received::default()
            };
            (self.missing, self.floor) = (0, 0);
        }
        let sent = report.next.saturating_sub(self.last.next);
        if sent < ENOUGH || report.count > report.next {
            return false;
        }
        let missing = report.next - report.count;
        let floor = missing.min(self.missing).max(self.floor);
        let lost = floor - self.floor;
        (self.last, self.missing, self.floor) = (report, missing, floor);
        self.ppm = lost.saturating_mul(1_000_000) / sent;
        let was = self.is_lossy;
        // A single loss is no rate.
        if lost > 1 && lost.saturating_mul(LOSSY) >= sent {
            self.is_lossy = true;
        }
        if lost.saturating_mul(CLEAN) > sent {
            self.clean_since = None;
        } else {
            let since = *self.clean_since.get_or_insert(now);
            self.is_lossy &= now.since(since) < CLEAN_FOR;
        }
        self.is_lossy != was
    }

    /// Whether the path is lossy.
    pub fn is_lossy(&self) -> bool {
        self.is_lossy
    }

    /// Lost packets in a million, by the last report.
    pub fn ppm(&self) -> u64 {
        self.ppm
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    fn report(next: u64, count: u64) -> Received {
        Received {
            index: 1,
            next,
            count,
        }
    }

    #[test]
    fn losses_make_a_path_lossy_and_time_heals_it() {
        let mut meter = LossMeter::default();
        assert!(!meter.report(report(10_000, 10_000), at(1)));
        assert!(!meter.report(report(12_000, 11_999), at(2)), "one loss");
        assert!(
            !meter.report(report(14_000, 13_990), at(3)),
            "or on their way"
        );
        assert!(!meter.report(report(16_000, 15_999), at(4)), "they came");
        assert!(!meter.report(report(18_000, 17_990), at(5)));
        assert!(meter.report(report(20_000, 19_980), at(6)), "they did not");
        assert!(meter.is_lossy());
        assert_eq!(meter.ppm(), 4500);
        assert!(!meter.report(report(40_000, 39_980), at(7)));
        assert!(!meter.report(report(60_000, 59_980), at(8)));
        assert!(!meter.report(report(80_000, 79_980), at(17)));
        assert!(
            meter.report(report(99_000, 98_980), at(18)),
            "clean for 10 s"
        );
        assert!(!meter.is_lossy());
    }

    #[test]
    fn few_packets_late_arrivals_and_lies_say_nothing() {
        let mut meter = LossMeter::default();
        assert!(!meter.report(report(200, 0), at(1)));
        assert!(
            !meter.report(report(1000, 5000), at(1)),
            "more than were sent"
        );
        assert!(!meter.report(report(1000, 1000), at(1)));
        assert!(!meter.report(report(900, 800), at(2)), "backwards");
        let next_session = Received {
            index: 2,
            ..report(1000, 1000)
        };
        assert!(!meter.report(next_session, at(3)));
        assert!(!meter.report(report(u64::MAX, 0), at(4)));
    }
}
