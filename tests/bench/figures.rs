//! The figures that the README quotes: `cargo bench --bench figures`.
//!
//! Two members in namespaces on this machine, and beside them, in the same run, the bare veth underlay: figures of one
//! machine mean little, ratios more. Each is the median of several runs, with the smallest and largest.

#[path = "../support/isolated.rs"]
mod isolated;
#[path = "../support/world.rs"]
mod world;

use std::net::IpAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use l2vpn::lab::orders::{Order, Ping};
use world::*;

const RUNS: usize = 5;
const TRANSFER: u64 = 512 << 20;

fn main() -> ExitCode {
    isolated::bench("L2VPN_FIGURES", figures)
}

/// Smallest, median and largest.
fn spread(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    let at = |i: usize| values.get(i).copied().unwrap_or(f64::NAN);
    (
        at(0),
        at(values.len() / 2),
        at(values.len().saturating_sub(1)),
    )
}

fn line(what: &str, unit: &str, values: Vec<f64>) -> f64 {
    let (low, median, high) = spread(values);
    println!("{what:<44} {median:>9.1} {unit:<7} ({low:.1} - {high:.1})");
    median
}

fn figures() -> Result<(), String> {
    let control = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control");
    println!(
        "medians of {RUNS} runs (smallest - largest); TCP: {}",
        control.unwrap_or_default().trim()
    );
    let mut first = Vec::new();
    for _ in 0..RUNS {
        let mut world = World::pair(1500)?;
        let began = Instant::now();
        world.start_all()?;
        world.network.hosts[0]
            .reach(v4(1), 500, 20)
            .map_err(|e| e.to_string())?;
        first.push(began.elapsed().as_secs_f64() * 1000.0);
    }
    line("start of both daemons to first ping answer", "ms", first);
    let mut world = World::pair(1500)?;
    let pid = world.start(0)?;
    world.start(1)?;
    world.reach(0, v4(1))?;
    std::thread::sleep(Duration::from_secs(1));
    line(
        "resident memory of an idle member",
        "MiB",
        vec![memory(pid)],
    );
    let underlay = (underlay_v4(0), underlay_v4(1));
    let mut trips = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        trips.0.push(round_trip(&mut world, underlay.1)?);
        trips.1.push(round_trip(&mut world, v4(1))?);
    }
    let bare = line("round trip, bare veth", "us", trips.0);
    let over = line("round trip, l2vpn", "us", trips.1);
    println!("{:<44} {:>9.1} us", "added by l2vpn", over - bare);
    let mut rates = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        rates.0.push(rate(&mut world, underlay.1)?);
        rates.1.push(rate(&mut world, v4(1))?);
    }
    let bare = line("TCP, 1 stream, bare veth", "Mbit/s", rates.0);
    let over = line("TCP, 1 stream, l2vpn, MTU 1500 in 1500", "Mbit/s", rates.1);
    println!("{:<44} {:>9.3}", "ratio", over / bare);
    line(
        "resident memory after the transfers",
        "MiB",
        vec![memory(pid)],
    );
    Ok(())
}

/// VmRSS of a process in MiB.
fn memory(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status
        .lines()
        .find(|l| l.starts_with("VmRSS"))
        .unwrap_or_default();
    let kib = line
        .split_whitespace()
        .nth(1)
        .and_then(|v| v.parse::<f64>().ok());
    kib.unwrap_or(f64::NAN) / 1024.0
}

fn round_trip(world: &mut World, to: IpAddr) -> Result<f64, String> {
    let ping = Ping {
        to,
        count: 200,
        size: 56,
        whole: false,
        timeout_ms: 1000,
        device: None,
    };
    let trips = world.network.hosts[0]
        .ping(ping)
        .map_err(|e| e.to_string())?;
    let trips = trips.into_iter().flatten().map(|t| t as f64).collect();
    Ok(spread(trips).1)
}

fn rate(world: &mut World, to: IpAddr) -> Result<f64, String> {
    let address = (to, 5001).into();
    world.ask(1, &Order::TcpServe(address))?;
    world.network.hosts[0]
        .transfer(&Order::TcpSend(address, TRANSFER))
        .map_err(|e| e.to_string())?;
    let got = world.network.hosts[1]
        .transfer(&Order::TcpResult)
        .map_err(|e| e.to_string())?;
    expect(got.intact && got.bytes == TRANSFER, || format!("{got:?}"))?;
    Ok(got.megabits())
}
