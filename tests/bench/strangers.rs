//! What a member that invents MACs costs the others: `cargo bench --bench strangers`.
//!
//! Three members in namespaces. One sends small frames to a host of the second, from one MAC, and in the next turn the same
//! number from a new MAC each, while the third sends a TCP stream to the second. The ratio of the stream's rates is what
//! the new MACs cost; that frames cost something at all is another matter, and shown by the rate without any.

#[path = "../support/isolated.rs"]
mod isolated;
#[path = "../support/world.rs"]
mod world;

use std::process::ExitCode;

use l2vpn::lab::orders::{Babble, Order, Report, Stream};
use world::*;

const ROUNDS: usize = 7;
const MILLIS: u64 = 4000;
/// A million MACs in all rounds, and as many frames of one.
const RATE: u64 = 1_000_000 * 1000 / (ROUNDS as u64 * MILLIS);

fn main() -> ExitCode {
    isolated::bench("L2VPN_STRANGERS", strangers)
}

/// A stream from member 0 to member 1, in Mbit/s, while member 2 speaks with so many voices; and how many frames those were.
fn rate(world: &mut World, voices: u64) -> Result<(f64, u64), String> {
    let to = match world.ask(1, &Order::Mac(TAP.into()))? {
        Report::Mac(Some(mac)) => mac,
        other => return Err(format!("{other:?}")),
    };
    let sink = (v4(1), 5001).into();
    world.ask(1, &Order::Sink(sink, 1))?;
    let babble = Order::Babble(Babble {
        interface: TAP.into(),
        to,
        voices,
        rate: if voices == 0 { 1 } else { RATE },
        millis: MILLIS,
    });
    world.network.hosts[2]
        .tell(&babble)
        .map_err(|e| e.to_string())?;
    let stream = Order::Stream(Stream {
        to: sink,
        streams: 1,
        millis: MILLIS,
        control: None,
    });
    world.ask(0, &stream)?;
    world.ask(0, &Order::StreamResult)?;
    let sent = match world.network.hosts[2].report() {
        Ok(Report::Packets(sent, _)) => sent,
        other => return Err(format!("{other:?}")),
    };
    match world.ask(1, &Order::SinkResult)? {
        Report::Traffic(traffic) => Ok((traffic.megabits(), sent)),
        other => Err(format!("{other:?}")),
    }
}

fn memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmRSS"));
    let kib = line.and_then(|l| l.split_whitespace().nth(1)?.parse().ok());
    kib.unwrap_or(0)
}

fn median(mut rates: Vec<f64>) -> (f64, f64, f64) {
    rates.sort_by(f64::total_cmp);
    (rates[0], rates[rates.len() / 2], rates[rates.len() - 1])
}

fn strangers() -> Result<(), String> {
    let mut world = World::mesh()?;
    world.write()?;
    world.start_all()?;
    world.all_connected()?;
    world.reach(0, v4(1))?;
    world.reach(2, v4(1))?;
    let pid = world.show(1)?.pid;
    rate(&mut world, 1)?;
    let before = memory(pid);
    let (mut quiet, mut one, mut many, mut sent) = (vec![], vec![], vec![], (0, 0));
    for _ in 0..ROUNDS {
        quiet.push(rate(&mut world, 0)?.0);
        let (got, frames) = rate(&mut world, 1)?;
        one.push(got);
        sent.0 += frames;
        let (got, frames) = rate(&mut world, u64::MAX)?;
        many.push(got);
        sent.1 += frames;
    }
    let grown = memory(pid).saturating_sub(before);
    let shown = world.show(1)?;
    println!(
        "a TCP stream past a member that sends small frames, Mbit/s: median (smallest-largest) of {ROUNDS} runs"
    );
    let line = |what: &str, rates: Vec<f64>| {
        let (low, middle, high) = median(rates);
        println!("{what:<40} {middle:>7.0} ({low:.0}-{high:.0})");
        middle
    };
    line("no frames beside it", quiet);
    let one = line(&format!("{} frames of one MAC", sent.0), one);
    let many = line(&format!("{} frames of a new MAC each", sent.1), many);
    println!(
        "{:.0} % of the rate; memory of the member that both send to grew by {grown} KiB;",
        100.0 * many / one
    );
    println!(
        "{} MACs are known there of at most {}, {} entries were evicted",
        shown.table.entries, shown.table.limit, shown.table.evictions
    );
    let mac = match world.ask(0, &Order::Mac(TAP.into()))? {
        Report::Mac(Some(mac)) => l2vpn::wire::ethernet::Mac(mac).to_string(),
        other => return Err(format!("{other:?}")),
    };
    let (_, macs, _) = world.cli(1, &["macs", "--peer", NAMES[0]])?;
    expect(macs.contains(&mac), || {
        format!("the other member's MAC was lost: {macs}")
    })
}
