//! What the forwarding table costs: `cargo bench --bench table`.
//!
//! A decision for a known host among many, alone and with another thread that decides and one that learns; memory; a member
//! that sends a million MACs, and what others notice of it. Times are of the thread's own clock, since there may be fewer
//! cores than threads; each is the median of several runs with the smallest and the largest.

#[path = "../support/simulator.rs"]
mod simulator;

#[path = "../support/frames.rs"]
mod frames;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration as Wall;

use l2vpn::place::{PeerId, Place, PortId};
use l2vpn::switch::decide::Switch;
use l2vpn::switch::layout::{Layout, LinkLocal, Member, Port};
use l2vpn::switch::port::PortRule;
use l2vpn::switch::storm::StormLimits;
use l2vpn::switch::table::{ForwardingTable, Home, Key, Limits};
use l2vpn::time::Instant;
use l2vpn::wire::ethernet::{Frame, Mac};
use l2vpn::wire::service::Services;
use l2vpn::wire::vlan::VlanClass;
use l2vpn::wire::vlans::VlanSet;
use simulator::segment;

const RUNS: usize = 7;
const DECISIONS: u64 = 2_000_000;
const NOW: Instant = Instant::from_micros(5_000_000);
const OWN: Mac = Mac([2, 0xff, 0, 0, 0, 1]);

fn main() {
    // `cargo test --all-targets` starts this too, without wanting figures.
    if !std::env::args().any(|a| a == "--bench") {
        return;
    }
    println!("a decision, ns of the thread's time: median (smallest-largest) of {RUNS} runs\n");
    for (entries, hosts) in [
        (100, 100),
        (10_000, 10_000),
        (100_000, 1000),
        (100_000, 100_000),
    ] {
        let switch = Arc::new(full(entries, (2 * entries, 2 * entries)));
        let alone = spread(|| decisions(&switch, hosts));
        let with = spread(|| beside(&switch, hosts));
        let looked = spread(|| look_ups(&switch.table, hosts));
        println!(
            "{entries:>7} entries, {hosts:>6} of them in turn: {alone}; with another reader and a writer {with}; \
             the look-up alone {looked}"
        );
    }
    memory();
    flood();
}

fn spread(mut run: impl FnMut() -> f64) -> String {
    let mut all: Vec<f64> = (0..RUNS).map(|_| run()).collect();
    all.sort_by(f64::total_cmp);
    format!("{:.0} ({:.0}-{:.0})", all[RUNS / 2], all[0], all[RUNS - 1])
}

fn mac(n: u64) -> Mac {
    Mac::from_u64(0x0200_0000_0000 | n)
}

fn key(n: u64) -> Key {
    Key::new(segment(1), VlanClass::UNTAGGED, mac(n))
}

/// A switch with one port, two peers, and so many hosts behind the first.
fn full(entries: u64, (total, per_place): (u64, u64)) -> Switch {
    let limits = Limits {
        total: total as usize,
        per_place: per_place as usize,
        ..Limits::default()
    };
    let port = Port {
        id: PortId(0),
        segment: segment(1),
        rule: PortRule::TRANSPARENT,
        mac: OWN,
        link_local: LinkLocal::Transparent,
        roles: Services::NONE,
        is_isolated: false,
        guards_loops: false,
        is_blocked: false,
    };
    let mut layout = Layout::new(vec![port]);
    let member = |n| Member {
        peer: PeerId(n),
        vlans: VlanSet::everything().into(),
        tells: true,
    };
    layout.set_peers(segment(1), vec![member(1), member(2)], Vec::new(), &[]);
    let table = ForwardingTable::new(limits, (1, 2), &[]);
    for n in 0..entries {
        let _ = table.learn(key(n), Home::heard(Place::Peer(PeerId(1))), NOW);
    }
    Switch::new(table, StormLimits::default(), layout)
}

/// A thread's own time, for each of so many.
fn timed(count: u64, work: impl FnOnce()) -> f64 {
    let before = spent();
    work();
    (spent() - before) as f64 / count as f64
}

/// Nanoseconds that this thread has run.
fn spent() -> u64 {
    let all = std::fs::read_to_string("/proc/thread-self/schedstat").expect("the kernel counts");
    let first = all.split(' ').next();
    first.and_then(|n| n.parse().ok()).expect("a number")
}

/// Bytes of memory in use.
fn resident() -> u64 {
    let all = std::fs::read_to_string("/proc/self/statm").expect("the kernel counts");
    let pages = all.split(' ').nth(1);
    4096 * pages.and_then(|n| n.parse::<u64>().ok()).expect("a number")
}

fn look_ups(table: &ForwardingTable, hosts: u64) -> f64 {
    timed(DECISIONS, || {
        let mut n = 0;
        for _ in 0..DECISIONS {
            n = (n + 7919) % hosts;
            assert!(std::hint::black_box(table.look_up(key(n), NOW)).is_some());
        }
    })
}

/// What a frame of a full segment from our port costs the switch.
fn decisions(switch: &Switch, hosts: u64) -> f64 {
    decide(switch, hosts, DECISIONS)
}

fn decide(switch: &Switch, hosts: u64, count: u64) -> f64 {
    // What was written just now reads slowly; frames lie there for longer.
    let mut ring = vec![simulator::frame(mac(0), mac(1 << 30), None, &[0x5a; 100]); 64];
    let layout = switch.layout();
    let port = layout.port(PortId(0)).unwrap();
    timed(count, || {
        let mut n = 0;
        for at in 0..count as usize {
            n = (n + 7919) % hosts;
            ring[(at + 32) % 64][..6].copy_from_slice(&mac(n).0);
            let frame = Frame::parse(&ring[at % 64]).expect("a frame");
            let forward = switch.from_port((&layout, port), (&frame, 1), NOW);
            assert!(std::hint::black_box(forward).is_ok());
        }
    })
}

/// The same while another thread decides and one learns and forgets 20,000 MACs a second.
fn beside(switch: &Arc<Switch>, hosts: u64) -> f64 {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                decisions(switch, hosts);
            }
        });
        scope.spawn(|| {
            let home = Home::heard(Place::Peer(PeerId(2)));
            for round in 0u64.. {
                for n in 0..20 {
                    let n = (1 << 24) + (round * 20 + n) % 1000;
                    let _ = switch.table.learn(key(n), home, NOW);
                    switch
                        .table
                        .untell(key((1 << 24) + (n + 500) % 1000), PeerId(2));
                }
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                std::thread::sleep(Wall::from_millis(1));
            }
        });
        let took = decisions(switch, hosts);
        is_over.store(true, Ordering::Relaxed);
        took
    })
}

fn memory() {
    const ENTRIES: u64 = 1_000_000;
    let before = resident();
    let switch = full(ENTRIES, (ENTRIES, ENTRIES));
    let grown = resident().saturating_sub(before) as f64;
    assert_eq!(switch.table.len() as u64, ENTRIES);
    println!(
        "\nmemory of a table of {ENTRIES} entries: {:.1} bytes for each, its key of 11 bytes among them",
        grown / ENTRIES as f64
    );
}

/// A peer sends a million frames, of one MAC and then each of another, while a port sends to hosts behind the other peer.
fn flood() {
    const FLOOD: u64 = 1_000_000;
    let switch = Arc::new(full(1000, (8192, 1024)));
    let throughput = |random: bool| {
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let flooding = scope.spawn(|| {
                let layout = switch.layout();
                let mut bytes = simulator::frame(OWN, mac(0), None, b"flood");
                let mut dice = simulator::Dice(9);
                timed(FLOOD, || {
                    for n in 0..FLOOD {
                        let n = if random {
                            1 << 32 | dice.next() >> 32
                        } else {
                            n >> 63
                        };
                        bytes[6..12].copy_from_slice(&mac(n + (1 << 31)).0);
                        let frame = Frame::parse(&bytes).expect("a frame");
                        let from = (&**layout, PeerId(2));
                        let _ = switch.from_peer(from, segment(1), (&frame, 1), NOW);
                    }
                    is_over.store(true, Ordering::Relaxed);
                })
            });
            let others = scope.spawn(|| {
                let (mut spent, mut rounds) = (0.0, 0.0);
                while !is_over.load(Ordering::Relaxed) {
                    spent += decide(&switch, 1000, 200_000);
                    rounds += 1.0;
                }
                spent / rounds
            });
            let cost = flooding.join().expect("it ends");
            (others.join().expect("it ends"), cost)
        })
    };
    let before = resident();
    let mut all: Vec<[(f64, f64); 2]> = (0..RUNS)
        .map(|_| [throughput(false), throughput(true)])
        .collect();
    let grown = resident().saturating_sub(before);
    all.sort_by(|a, b| (a[0].0 / a[1].0).total_cmp(&(b[0].0 / b[1].0)));
    let [(calm, known), (wild, new)] = all[RUNS / 2];
    let kept = (0..1000)
        .filter(|n| switch.table.look_up(key(*n), NOW).is_some())
        .count();
    println!(
        "a member sends {FLOOD} MACs: memory grows by {} KiB, {kept} of 1000 hosts of the other are known still;\n\
         a decision for these costs {calm:.0} ns beside a flood of one MAC and {wild:.0} ns beside that: {:.0} % of the speed\n\
         the flood itself costs {known:.0} ns a frame with one MAC, {new:.0} ns with a new one each time",
        grown >> 10,
        100.0 * calm / wild
    );
}
