//! Whose datagrams the kernel lets into a queue that would run over.
//!
//! # Why
//! Turns within a batch ([`super::fairness`]) are of no use to one whose datagrams never get into a batch: when somebody sends
//! more than this machine can take, the kernel's queue is full, and what is lost is lost by chance, most of it of whoever asked
//! for least. So each queue is watched: while it fills, those that have more than an equal part of it lose some of what they
//! send before it gets in, which costs the kernel's time only ([`crate::io::sieve`]). The more the queue is filled, the more;
//! when it is empty again, less. One that sends alone loses nothing this way.
//!
//! Sources are told apart by the address that is written on their datagrams. Somebody who writes the address of another on a
//! flood harms that one; without this, everybody.

use std::net::{IpAddr, SocketAddr};

use crate::time::{Duration, Instant};

/// What [`Kept::share`] is a part of.
pub const WHOLE: u32 = 1024;
/// As many are held back at a time.
pub const MOST_KEPT: usize = 8;
/// How often a queue is looked at.
const TICK: Duration = Duration::from_millis(20);
/// Sources that are told apart in a tick; the heavier one of two stays in a slot (Boyer and Moore's majority vote).
const SLOTS: usize = 64;
/// How full a queue is when it is about to run over, and when it has room again, in percent. The kernel may count up to a
/// quarter of its limit as filled that was read already.
const FILLS: u32 = 60;
const OVERFLOWS: u32 = 90;
const HAS_ROOM: u32 = 30;
/// The least that is let in of anybody, of [`WHOLE`].
const LEAST: u32 = 8;
/// What is added a tick to what is let in, as a divisor.
const RISE: u32 = 20;

/// A source that is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Whose datagrams.
    pub from: SocketAddr,
    /// How many of them are let in, of [`WHOLE`].
    pub share: u32,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    from: Option<SocketAddr>,
    bytes: u64,
}

/// Who brought how much to one queue, and who is held back.
pub struct Shares {
    slots: [Slot; SLOTS],
    kept: Vec<Kept>,
    looked: Instant,
}

impl Shares {
    /// Nobody is held back.
    pub fn new(now: Instant) -> Shares {
        Shares {
            slots: [Slot::default(); SLOTS],
            kept: Vec::with_capacity(MOST_KEPT),
            looked: now,
        }
    }

    /// Notes so many bytes that came.
    pub fn note(&mut self, from: SocketAddr, bytes: usize) {
        let bytes = bytes as u64;
        let Some(slot) = self.slots.get_mut(slot_of(&from)) else {
            return;
        };
        match slot.from == Some(from) {
            true => slot.bytes += bytes,
            false if slot.bytes > bytes => slot.bytes -= bytes,
            false => {
                *slot = Slot {
                    from: Some(from),
                    bytes,
                }
            }
        }
    }

    /// Whether the queue is to be looked at again.
    pub fn is_due(&self, now: Instant) -> bool {
        now.since(self.looked) >= TICK
    }

    /// Those that are held back.
    pub fn kept(&self) -> &[Kept] {
        &self.kept
    }

    /// Decides anew, by how full the queue is in percent; gives whether anything has changed.
    pub fn look(&mut self, fill: u32, now: Instant) -> bool {
        let ticks = now.since(self.looked).div_duration_f32(TICK) as u64;
        self.looked = now;
        let changed = match fill {
            FILLS.. => self.hold_back(fill),
            HAS_ROOM.. => false,
            _ => self.let_go(ticks.clamp(1, 200)),
        };
        self.slots = [Slot::default(); SLOTS];
        changed
    }

    fn hold_back(&mut self, fill: u32) -> bool {
        let used = || self.slots.iter().filter(|s| s.bytes > 0);
        let (total, sources) = (used().map(|s| s.bytes).sum::<u64>(), used().count() as u64);
        let equal = total / sources.max(1);
        // By chance one has a little more than the other.
        let too_much = |slot: &&Slot| slot.bytes > equal + equal / 4;
        let heavy: Vec<SocketAddr> = used().filter(too_much).filter_map(|s| s.from).collect();
        for from in &heavy {
            let at = self.kept.iter().position(|k| k.from == *from);
            let at = at.or_else(|| {
                let share = WHOLE;
                (self.kept.len() < MOST_KEPT)
                    .then(|| self.kept.push(Kept { from: *from, share }))?;
                Some(self.kept.len() - 1)
            });
            if let Some(kept) = at.and_then(|at| self.kept.get_mut(at)) {
                let less = match fill {
                    OVERFLOWS.. => kept.share / 2,
                    _ => kept.share - kept.share / 10,
                };
                kept.share = less.max(LEAST);
            }
        }
        !heavy.is_empty()
    }

    fn let_go(&mut self, ticks: u64) -> bool {
        let before = self.kept.len();
        for kept in &mut self.kept {
            for _ in 0..ticks {
                kept.share = (kept.share + kept.share / RISE + 1).min(WHOLE);
            }
        }
        self.kept.retain(|k| k.share < WHOLE);
        before > 0
    }
}

fn slot_of(from: &SocketAddr) -> usize {
    let ip = match from.ip() {
        IpAddr::V4(ip) => u64::from(ip.to_bits()),
        IpAddr::V6(ip) => (ip.to_bits() ^ ip.to_bits() >> 64) as u64,
    };
    let mixed = (ip << 16 ^ u64::from(from.port())).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 58) as usize % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the machine takes in a millisecond, and what its queue holds, in bytes.
    const TAKES: u64 = 500_000;
    const QUEUE: u64 = 8 << 20;

    fn address(n: usize) -> SocketAddr {
        ([192, 0, 2, n as u8], 40_000 + n as u16).into()
    }

    /// Lets sources send so many bytes a millisecond each; gives what part of each was taken, of those sent after a time.
    fn run(rates: &[u64], is_sieved: bool, (from, to): (u64, u64)) -> Vec<f64> {
        let mut shares = Shares::new(Instant::from_micros(0));
        let mut queue: Vec<f64> = vec![0.0; rates.len()];
        let (mut sent, mut got) = (vec![0.0; rates.len()], vec![0.0; rates.len()]);
        for ms in 0..to {
            let now = Instant::from_micros(ms * 1000);
            let share = |n: usize| {
                let kept = shares.kept().iter().find(|k| k.from == address(n));
                kept.map_or(1.0, |k| f64::from(k.share) / f64::from(WHOLE))
            };
            let come: Vec<f64> = (0..rates.len())
                .map(|n| rates[n] as f64 * share(n))
                .collect();
            let room = (QUEUE as f64 - queue.iter().sum::<f64>()).max(0.0);
            let fits = (room / come.iter().sum::<f64>().max(1.0)).min(1.0);
            let counts = if ms >= from { 1.0 } else { 0.0 };
            for n in 0..rates.len() {
                queue[n] += come[n] * fits;
                sent[n] += rates[n] as f64 * counts;
            }
            let all: f64 = queue.iter().sum();
            let taken = (TAKES as f64 / all.max(1.0)).min(1.0);
            for n in 0..rates.len() {
                let some = queue[n] * taken;
                queue[n] -= some;
                got[n] += some * counts;
                if is_sieved && some > 0.0 {
                    shares.note(address(n), some as usize);
                }
            }
            if shares.is_due(now) {
                let fill = queue.iter().sum::<f64>() / QUEUE as f64 * 100.0;
                shares.look(fill as u32, now);
            }
        }
        got.iter().zip(&sent).map(|(g, s)| g / s).collect()
    }

    #[test]
    fn one_that_floods_leaves_the_others_what_they_ask_for() {
        // Ten times what the machine takes, beside two that ask for little and for almost their part.
        let rates = [10 * TAKES, TAKES / 50, TAKES / 4];
        let without = run(&rates, false, (0, 5000));
        assert!(without[1] < 0.2, "nothing to be cured: {without:?}");
        let with = run(&rates, true, (0, 5000));
        assert!(with[1] > 0.95 && with[2] > 0.95, "from the first: {with:?}");
        let later = run(&rates, true, (500, 5000));
        assert!(later[1] > 0.995 && later[2] > 0.995, "{later:?}");
        // And the machine has work all the time: the rest is the flood's.
        let flood = later[0] * 10.0 + later[1] / 50.0 + later[2] / 4.0;
        assert!(flood > 0.9, "{flood}");
    }

    #[test]
    fn those_that_flood_alike_get_alike_and_one_alone_gets_all() {
        let got = run(&[4 * TAKES, 4 * TAKES, TAKES / 10], true, (500, 5000));
        assert!(got[2] > 0.99, "{got:?}");
        assert!((0.8..1.25).contains(&(got[0] / got[1])), "{got:?}");
        let alone = run(&[4 * TAKES], true, (0, 3000));
        assert!(alone[0] > 0.24, "{alone:?}");
    }

    #[test]
    fn who_has_stopped_is_let_go_even_while_nothing_comes() {
        let at = |ms: u64| Instant::from_micros(ms * 1000);
        let mut shares = Shares::new(at(0));
        for tick in 1..12 {
            shares.note(address(1), 1_000_000);
            shares.note(address(2), 1000);
            assert!(shares.look(95, at(tick * 20)));
        }
        assert_eq!(
            shares.kept(),
            [Kept {
                from: address(1),
                share: LEAST
            }]
        );
        assert!(!shares.look(45, at(260)), "in between nothing changes");
        assert!(shares.look(0, at(5000)));
        assert!(shares.kept().is_empty());
        assert!(!shares.look(0, at(6000)));
    }

    #[test]
    fn never_more_than_so_many_are_held_back() {
        let mut shares = Shares::new(Instant::from_micros(0));
        (0..40).for_each(|n| shares.note(address(n), n * n * 1000));
        shares.look(95, Instant::from_micros(20_000));
        assert_eq!(shares.kept().len(), MOST_KEPT);
    }
}
