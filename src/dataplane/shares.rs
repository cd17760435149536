//! Whose datagrams the kernel lets into a queue that would run over.
//!
//! # Why
//! Turns within a batch ([`super::fairness`]) are of no use to one whose datagrams never get into a batch: when somebody sends
//! more than this machine can take, the kernel's queue is full, and what is lost is lost by chance, most of it of whoever asked
//! for least. So each queue is watched: while it stays full, hosts that have more than an equal part of it lose some of what they
//! send before it gets in, which costs the kernel's time only ([`crate::io::sieve`]). The more the queue is filled, the more;
//! when it is empty again, less. A host that sends alone loses nothing this way.
//!
//! A host is an address, or a /64 of IPv6. Where most of what it sends comes from one port, only that is held back: others may
//! be behind the same NAT. Where the heavy ones are not half of all, nobody is held back: a flood from addresses without number
//! is not seen here, and nobody else must pay for it. Somebody who writes the address of another on a flood harms that one;
//! without this, everybody.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::time::{Duration, Instant};

/// What [`Kept::share`] is a part of.
pub const WHOLE: u32 = 1024;
/// As many are held back at a time.
pub const MOST_KEPT: usize = 8;
/// How often a queue is looked at.
pub const TICK: Duration = Duration::from_millis(20);
/// Sources that are told apart in a tick; the heavier one of two stays in a slot (Boyer and Moore's majority vote).
const SLOTS: usize = 64;
/// How full a queue is when it is about to run over, and when it has room again, in percent. The kernel may count up to a
/// quarter of its limit as filled that was read already.
const FILLS: u32 = 60;
const OVERFLOWS: u32 = 90;
const HAS_ROOM: u32 = 30;
/// So many looks in a row have to find it full: a thread that had no CPU for a moment is no flood.
const IN_A_ROW: u32 = 2;
/// The least that is let in of anybody, of [`WHOLE`].
const LEAST: u32 = 8;
/// What is added a tick to what is let in, as a divisor.
const RISE: u32 = 20;

/// A source that is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Whose datagrams; with port 0, those of the whole host.
    pub from: SocketAddr,
    /// How many of them are let in, of [`WHOLE`].
    pub share: u32,
}

/// Bytes by source, of the heaviest.
struct Votes([(Option<SocketAddr>, u64); SLOTS]);

impl Votes {
    const NONE: Votes = Votes([(None, 0); SLOTS]);

    fn note(&mut self, from: SocketAddr, bytes: u64) {
        let Some((held, count)) = self.0.get_mut(slot_of(&from)) else {
            return;
        };
        match *held == Some(from) {
            true => *count += bytes,
            false if *count > bytes => *count -= bytes,
            false => (*held, *count) = (Some(from), bytes),
        }
    }

    /// Those that have more than an equal part of so many bytes, if together they have half of them.
    fn heavy(&self, total: u64) -> Vec<(SocketAddr, u64)> {
        let sum: u64 = self.used().map(|(_, bytes)| bytes).sum();
        // What another in the same slot took away is one source more.
        let sources = self.used().count() as u64 + u64::from(sum < total);
        let equal = total / sources.max(1);
        // By chance one has a little more than the other.
        let heavy = self.used().filter(|(_, bytes)| *bytes > equal + equal / 4);
        let heavy: Vec<(SocketAddr, u64)> = heavy.collect();
        let together: u64 = heavy.iter().map(|(_, bytes)| bytes).sum();
        match together >= total / 2 {
            true => heavy,
            false => Vec::new(),
        }
    }

    fn used(&self) -> impl Iterator<Item = (SocketAddr, u64)> + '_ {
        let used = self.0.iter().filter(|(_, bytes)| *bytes > 0);
        used.filter_map(|(from, bytes)| Some(((*from)?, *bytes)))
    }
}

/// Who brought how much to one queue, and who is held back.
pub struct Shares {
    hosts: Votes,
    ports: Votes,
    total: u64,
    kept: Vec<Kept>,
    looked: Instant,
    /// Looks in a row that found the queue full.
    full: u32,
}

impl Shares {
    /// Nobody is held back.
    pub fn new(now: Instant) -> Shares {
        Shares {
            hosts: Votes::NONE,
            ports: Votes::NONE,
            total: 0,
            kept: Vec::with_capacity(MOST_KEPT),
            looked: now,
            full: 0,
        }
    }

    /// Notes so many bytes that came.
    pub fn note(&mut self, from: SocketAddr, bytes: usize) {
        let bytes = bytes as u64;
        self.total += bytes;
        self.hosts.note(host_of(&from), bytes);
        self.ports.note(from, bytes);
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
        self.full = if fill >= FILLS { self.full + 1 } else { 0 };
        let changed = match fill {
            FILLS.. if self.full >= IN_A_ROW => self.hold_back(fill),
            HAS_ROOM.. => false,
            _ => self.let_go(ticks.clamp(1, 200)),
        };
        (self.hosts, self.ports, self.total) = (Votes::NONE, Votes::NONE, 0);
        changed
    }

    /// Those that have too much: hosts, by port where one is most of it; and where no host has, ports.
    fn heavy(&self) -> Vec<SocketAddr> {
        let most_of = |(host, bytes): (SocketAddr, u64)| {
            let is_it =
                |(from, some): &(SocketAddr, u64)| host_of(from) == host && some * 4 >= bytes * 3;
            self.ports.used().find(is_it).map_or(host, |(from, _)| from)
        };
        let hosts = self.hosts.heavy(self.total).into_iter();
        let hosts: Vec<SocketAddr> = hosts.map(most_of).collect();
        if !hosts.is_empty() {
            return hosts;
        }
        let ports = self.ports.heavy(self.total).into_iter();
        ports.map(|(from, _)| from).collect()
    }

    fn hold_back(&mut self, fill: u32) -> bool {
        let heavy = self.heavy();
        for from in &heavy {
            if let Some(kept) = self.entry(*from, &heavy) {
                let less = match fill {
                    OVERFLOWS.. => kept.share / 2,
                    _ => kept.share - kept.share / 10,
                };
                kept.share = less.max(LEAST);
            }
        }
        !heavy.is_empty()
    }

    /// The entry of a source, a new one if need be: in the place of one that is not heavy any more, where there is no other.
    fn entry(&mut self, from: SocketAddr, heavy: &[SocketAddr]) -> Option<&mut Kept> {
        let fresh = Kept { from, share: WHOLE };
        let known = self.kept.iter().position(|k| k.from == from);
        let at = match known {
            Some(at) => at,
            None if self.kept.len() < MOST_KEPT => {
                self.kept.push(fresh);
                self.kept.len() - 1
            }
            None => {
                let at = self.kept.iter().position(|k| !heavy.contains(&k.from))?;
                *self.kept.get_mut(at)? = fresh;
                at
            }
        };
        self.kept.get_mut(at)
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

/// The host of an address, with port 0: an IPv4 address, or the first half of an IPv6 one.
fn host_of(from: &SocketAddr) -> SocketAddr {
    let ip = match from.ip().to_canonical() {
        IpAddr::V4(ip) => IpAddr::V4(ip),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
    };
    SocketAddr::new(ip, 0)
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

    #[test]
    fn behind_one_nat_the_port_that_floods_is_held_back() {
        let port = |n: u16| SocketAddr::from(([192, 0, 2, 9], n));
        let mut shares = Shares::new(Instant::from_micros(0));
        for tick in 1..4 {
            shares.note(port(1), 1_000_000);
            (2..5).for_each(|n| shares.note(port(n), 30_000));
            shares.look(95, Instant::from_micros(tick * 20_000));
        }
        let kept: Vec<_> = shares.kept().iter().map(|k| k.from).collect();
        assert_eq!(kept, [port(1)]);
        // Two that share a slot are two.
        let other = (2..9999)
            .map(port)
            .find(|p| slot_of(p) == slot_of(&port(1)));
        let mut shares = Shares::new(Instant::from_micros(0));
        for tick in 1..4 {
            shares.note(port(1), 1_000_000);
            shares.note(other.unwrap(), 30_000);
            shares.look(95, Instant::from_micros(tick * 20_000));
        }
        let kept: Vec<_> = shares.kept().iter().map(|k| k.from).collect();
        assert_eq!(kept, [port(1)]);
    }

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
            assert_eq!(shares.look(95, at(tick * 20)), tick > 1, "not by chance");
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
        for tick in 1..5 {
            // Others each time: who is not heavy any more makes room.
            (0..40).for_each(|n| shares.note(address(n + tick * 40), n * n * 1000));
            shares.look(95, Instant::from_micros(20_000 * tick as u64));
        }
        assert_eq!(shares.kept().len(), MOST_KEPT);
        assert!(
            shares
                .kept()
                .iter()
                .all(|k| k.from == address(usize::from(k.from.port() - 40_000))
                    && k.from.port() >= 40_160)
        );
    }

    #[test]
    fn a_host_with_ports_without_number_is_one_and_hosts_without_number_harm_nobody_else() {
        let run = |source: fn(u64) -> SocketAddr| {
            let mut shares = Shares::new(Instant::from_micros(0));
            for tick in 1..8 {
                for n in 0..2000 {
                    shares.note(source(tick * 2000 + n), 1000);
                }
                // One that is heavy, and not the flood.
                shares.note(address(1), 100_000);
                shares.look(95, Instant::from_micros(tick * 20_000));
            }
            shares.kept().iter().map(|k| k.from).collect::<Vec<_>>()
        };
        let one = run(|n| ([198, 51, 100, 9], 1024 + (n % 60_000) as u16).into());
        assert_eq!(one, ["198.51.100.9:0".parse().unwrap()]);
        let v6 = run(|n| ([0x2001, 0xdb8, 0, 1, 0, 0, 0, n as u16], 7).into());
        assert_eq!(v6, ["[2001:db8:0:1::]:0".parse().unwrap()]);
        let many = run(|n| {
            let [.., a, b, c] = (n * 7919).to_be_bytes();
            ([100, a, b, c], 7).into()
        });
        assert_eq!(many, []);
    }
}
