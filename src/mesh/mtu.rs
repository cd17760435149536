//! How large a packet one way carries: asked for by packets of that size, believed when they are answered (RFC 8899).
//!
//! # Why
//! What the kernel says of a route is a hope: tunnels, relays and firewalls further on swallow what is too large and say
//! nothing. So a way begins with the size that every way has, and the largest that the route allows is tried at once: one
//! round trip later it is in use. Where it is not answered, sizes between are, each three times. While bulk goes out, the
//! size in use is asked for again each second: five silences in a row and the way is taken for a black hole, the smallest
//! size is used at once and the search begins below. Every size is that of an IP packet on our end of the way, in bytes.

use crate::time::{Duration, Instant};

/// Sizes that ways have in practice, tried between one that works and one that does not.
const LIKELY: [u16; 22] = [
    1200, 1220, 1240, 1280, 1300, 1320, 1340, 1360, 1380, 1400, 1420, 1440, 1460, 1472, 1480, 1492,
    1500, 2000, 4000, 8000, 8900, 9000,
];
/// Packets of one size that have to go unanswered before it is given up: when it was never answered,
const TRIES: usize = 3;
/// and when it was.
const CONFIRMATIONS: usize = 5;
/// A size that failed is tried again so much later at first, twice as late each time,
const RAISE_FIRST: Duration = Duration::from_secs(30);
/// up to this (PMTU_RAISE_TIMER of RFC 8899 section 5.1.1).
const RAISE_MOST: Duration = Duration::from_secs(600);
/// A size in use is asked for again when so many packets' worth of bytes went out since.
const CONFIRM_AFTER: u64 = 2;

/// Packets of one size on their way.
#[derive(Debug)]
struct Probe {
    size: u16,
    sent: Vec<([u8; 8], Instant)>,
    next_at: Instant,
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Wait,
    /// Ask with a packet of this size; the token is used up.
    Ask(u16),
    /// The way carries less than it did: the smallest size is in use.
    Shrunk,
}

/// The size of packets on one way.
#[derive(Debug, Default)]
pub struct MtuSearch {
    /// What every way of this kind carries.
    base: u16,
    /// What the route allows.
    ceiling: u16,
    /// What was answered.
    proven: u16,
    /// What was not.
    failed: Option<u16>,
    probe: Option<Probe>,
    /// The last one that went unanswered: its answer may be late.
    late: Option<Probe>,
    /// When to look for a larger size.
    search_at: Option<Instant>,
    pause: Duration,
    /// Bytes that had gone out when the size in use was asked for last.
    confirmed_at: u64,
}

impl MtuSearch {
    /// Begins anew on another way, with what every such way carries.
    pub fn restart(&mut self, base: u16) {
        *self = MtuSearch {
            base,
            ceiling: base,
            proven: base,
            ..MtuSearch::default()
        };
    }

    /// The size in use.
    pub fn get(&self) -> u16 {
        self.proven
    }

    /// Takes what the route allows; gives whether the size in use changes.
    pub fn set_ceiling(&mut self, ceiling: u16, now: Instant) -> bool {
        let before = (self.proven, self.ceiling);
        if ceiling == before.1 {
            return false;
        }
        self.ceiling = ceiling;
        // A route may be smaller than what every way carries, and become whole again.
        self.proven = match ceiling > before.1 {
            true => self.proven.max(self.base.min(ceiling)),
            false => self.proven.min(ceiling),
        };
        self.failed = None;
        (self.probe, self.late) = (None, None);
        self.search_at = (self.ceiling > self.proven).then_some(now);
        self.proven != before.0
    }

    /// When [`MtuSearch::step`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        let probe = self.probe.as_ref().map(|p| p.next_at);
        probe.or(self.search_at)
    }

    /// What to do now; `patience` is how long an answer may take, `token` what the next question is told from others by.
    pub fn step(&mut self, token: [u8; 8], patience: Duration, now: Instant) -> Step {
        let mut is_shrunk = false;
        if let Some(probe) = &mut self.probe {
            let is_proven = probe.size <= self.proven;
            let most = if is_proven { CONFIRMATIONS } else { TRIES };
            if now < probe.next_at {
                return Step::Wait;
            }
            if probe.sent.len() < most {
                probe.sent.push((token, now));
                probe.next_at = now + patience;
                return Step::Ask(probe.size);
            }
            self.failed = Some(probe.size);
            self.late = self.probe.take();
            self.search_at = Some(now);
            if is_proven {
                self.proven = self.base.min(self.ceiling);
                is_shrunk = true;
            }
        }
        if is_shrunk {
            return Step::Shrunk;
        }
        if self.search_at.is_none_or(|at| now < at) {
            return Step::Wait;
        }
        match self.target() {
            Some(size) => {
                self.search_at = None;
                self.ask(size, token, patience, now)
            }
            None => {
                self.rest(now);
                Step::Wait
            }
        }
    }

    fn ask(&mut self, size: u16, token: [u8; 8], patience: Duration, now: Instant) -> Step {
        self.probe = Some(Probe {
            size,
            sent: vec![(token, now)],
            next_at: now + patience,
        });
        Step::Ask(size)
    }

    /// The size to be tried next, if any is worth it.
    fn target(&self) -> Option<u16> {
        let Some(failed) = self.failed else {
            return Some(self.ceiling).filter(|c| *c > self.proven);
        };
        let between = |size: &u16| *size > self.proven && *size < failed.min(self.ceiling);
        let sizes: Vec<u16> = LIKELY.into_iter().filter(between).collect();
        sizes.get(sizes.len() / 2).copied()
    }

    /// The search ends. What failed is asked for again after a pause, since ways become wider, too (PMTU_RAISE_TIMER).
    fn rest(&mut self, now: Instant) {
        self.search_at = (self.proven < self.ceiling).then(|| {
            self.pause = (self.pause * 2).clamp(RAISE_FIRST, RAISE_MOST);
            now + self.pause
        });
        self.failed = None;
    }

    /// So many bytes have gone out in all; the size in use is asked for again when that is worth it. Call it about once a
    /// second.
    pub fn confirm(&mut self, sent: u64, now: Instant) {
        let worth = CONFIRM_AFTER * u64::from(self.proven);
        let is_idle = sent.saturating_sub(self.confirmed_at) < worth;
        if self.probe.is_some() || self.proven <= self.base || is_idle {
            return;
        }
        self.confirmed_at = sent;
        self.probe = Some(Probe {
            size: self.proven,
            sent: Vec::new(),
            next_at: now,
        });
    }

    /// Takes an answer: gives how long it took and whether the size in use has grown; `None` when nothing like it was asked.
    pub fn answered(&mut self, token: [u8; 8], now: Instant) -> Option<(Duration, bool)> {
        let sent = |probe: &Option<Probe>| {
            let probe = probe.as_ref()?;
            let (_, at) = probe.sent.iter().find(|(t, _)| *t == token)?;
            Some((*at, probe.size))
        };
        let (at, size) = sent(&self.probe).or_else(|| sent(&self.late))?;
        let took = now.since(at);
        let has_grown = size > self.proven && size <= self.ceiling;
        if self.probe.as_ref().is_none_or(|p| p.size <= size) {
            self.probe = None;
        }
        self.late = None;
        if has_grown {
            self.proven = size;
            self.failed = self.failed.filter(|failed| *failed > size);
            self.search_at = Some(now);
        }
        if self.proven == self.ceiling {
            self.pause = Duration::ZERO;
        }
        Some((took, has_grown))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(200);

    /// A way that carries so much, answered at once; gives when all was known, in ms, and how many packets it took.
    fn settle(search: &mut MtuSearch, carries: u16, now: &mut Instant) -> (u64, usize) {
        let (began, mut asked) = (*now, 0u64);
        loop {
            match search.step(asked.to_le_bytes(), PATIENCE, *now) {
                Step::Ask(size) => {
                    if size <= carries {
                        search.answered(asked.to_le_bytes(), *now).unwrap();
                    }
                    asked += 1;
                }
                Step::Shrunk => {}
                Step::Wait => match search.deadline() {
                    Some(at) if at.since(*now) <= PATIENCE => *now = at,
                    _ => return (now.since(began).as_millis() as u64, asked as usize),
                },
            }
        }
    }

    fn on_route(ceiling: u16) -> (MtuSearch, Instant) {
        let (mut search, now) = (MtuSearch::default(), Instant::from_micros(1_000_000));
        search.restart(1280);
        search.set_ceiling(ceiling, now);
        (search, now)
    }

    #[test]
    fn a_way_that_carries_all_that_its_route_allows_is_known_after_one_answer() {
        for ceiling in [1280, 1400, 1500, 9000] {
            let (mut search, mut now) = on_route(ceiling);
            let (_, asked) = settle(&mut search, ceiling, &mut now);
            assert_eq!(
                (search.get(), asked),
                (ceiling, usize::from(ceiling > 1280))
            );
            assert_eq!(search.deadline(), None);
        }
    }

    #[test]
    fn the_largest_likely_size_is_found_and_tried_again_later() {
        for (carries, expect) in [(1280, 1280), (1399, 1380), (1400, 1400), (1499, 1492)] {
            let (mut search, mut now) = on_route(1500);
            let (ms, _) = settle(&mut search, carries, &mut now);
            assert_eq!(search.get(), expect);
            assert!(ms <= 4000, "{ms}");
            let next = search.deadline().unwrap();
            assert_eq!(next.since(now), RAISE_FIRST);
            now = next;
            settle(&mut search, 1500, &mut now);
            assert_eq!(search.get(), 1500);
        }
    }

    #[test]
    fn a_way_that_shrinks_is_noticed_when_bulk_goes_out() {
        let (mut search, mut now) = on_route(1500);
        settle(&mut search, 1500, &mut now);
        search.confirm(2000, now);
        assert_eq!(search.deadline(), None, "hardly anything went out");
        search.confirm(1_000_000, now);
        settle(&mut search, 1500, &mut now);
        assert_eq!(search.get(), 1500);
        search.confirm(2_000_000, now);
        let (ms, _) = settle(&mut search, 1420, &mut now);
        assert_eq!(search.get(), 1420);
        assert!(ms <= 4000, "{ms}");
    }

    #[test]
    fn routes_limit_and_raise_what_is_tried() {
        let (mut search, mut now) = on_route(1500);
        settle(&mut search, 1500, &mut now);
        assert!(search.set_ceiling(900, now));
        assert_eq!((search.get(), search.deadline()), (900, None));
        assert!(search.set_ceiling(1500, now));
        assert_eq!(search.get(), 1280);
        settle(&mut search, 1500, &mut now);
        assert_eq!(search.get(), 1500);
    }

    #[test]
    fn answers_to_nothing_change_nothing() {
        let (mut search, now) = on_route(1500);
        assert_eq!(search.answered([1; 8], now), None);
        assert_eq!(search.step([1; 8], PATIENCE, now), Step::Ask(1500));
        assert_eq!(search.answered([2; 8], now), None);
        let later = now + Duration::from_millis(30);
        assert_eq!(search.step([3; 8], PATIENCE, later), Step::Wait);
        let took = Some((Duration::from_millis(30), true));
        assert_eq!(search.answered([1; 8], later), took);
        assert_eq!(search.answered([1; 8], later), None);
    }
}
