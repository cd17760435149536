//! Hours in minutes: `cargo bench --bench soak -- 1800` runs so many seconds of everything that happens to members at once.
//!
//! Sessions are replaced every 5 s; TCP whose every byte is checked goes both ways; TAPs are taken down and up; one member
//! is killed, ended and started again with other offloads, ciphers and workers. The other one is never restarted: its
//! memory and descriptors must not grow.

#[path = "../support/isolated.rs"]
mod isolated;
#[path = "../support/world.rs"]
mod world;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use l2vpn::io::process;
use l2vpn::lab::orders::{Interface, Order};
use world::*;

const TRANSFER: u64 = 48 << 20;
/// Growth of the resident memory after the first rounds that counts as a leak, in KiB.
const ALLOWED_KIB: u64 = 4096;

fn main() -> ExitCode {
    isolated::bench("L2VPN_SOAK", || {
        let seconds = std::env::args().find_map(|a| a.parse().ok());
        soak(Duration::from_secs(seconds.unwrap_or(60)))
    })
}

/// What the restarted member is in each life.
const LIVES: [&str; 6] = [
    "",
    "offload = \"off\"\n",
    "workers = 2\n",
    "offload = \"segments\"\n",
    "cipher = \"chacha20-poly1305\"\n",
    "offload = \"tcp\"\nworkers = 3\n",
];

fn soak(span: Duration) -> Result<(), String> {
    let mut world = World::pair(1500)?;
    for host in &mut world.hosts {
        host.node = "rekey = \"5s\"\n".into();
    }
    world.write()?;
    let pid = world.start(0)?;
    world.start(1)?;
    world.reach(0, v4(1))?;
    let began = Instant::now();
    let (mut rounds, mut bytes) = (0usize, 0u64);
    let mut first = None;
    while began.elapsed() < span {
        rounds += 1;
        for (from, to) in [(0, 1), (1, 0)] {
            for address in [v4(to), v6(to)] {
                world.reach(from, address)?;
                world.tcp(from, to, address, TRANSFER)?;
                bytes += TRANSFER;
            }
        }
        flap(&mut world, rounds % 2)?;
        if rounds.is_multiple_of(3) {
            restart(&mut world, rounds)?;
        }
        let use_now = usage(pid)?;
        if rounds == 6 {
            first = Some(use_now);
        }
        if rounds.is_multiple_of(10) {
            println!(
                "{:>5} s: {rounds} rounds, {} MiB carried, {} KiB, {} descriptors",
                began.elapsed().as_secs(),
                bytes >> 20,
                use_now.0,
                use_now.1
            );
        }
    }
    let (memory, files) = usage(pid)?;
    if let Some((first_memory, first_files)) = first {
        expect(memory <= first_memory + ALLOWED_KIB, || {
            format!("memory grew from {first_memory} to {memory} KiB")
        })?;
        expect(files <= first_files, || {
            format!("descriptors grew from {first_files} to {files}")
        })?;
    }
    let show = world.show(0)?;
    println!(
        "{rounds} rounds in {} s, {} MiB carried and every byte right; {memory} KiB, {files} descriptors; drops {:?}",
        began.elapsed().as_secs(),
        bytes >> 20,
        show.drops
    );
    Ok(())
}

/// Takes a TAP down and up again.
fn flap(world: &mut World, n: usize) -> Result<(), String> {
    world.ask(n, &Order::SetDown(TAP.into()))?;
    std::thread::sleep(Duration::from_millis(50));
    let interface = Interface {
        name: TAP.into(),
        // IPv6 addresses go when an interface goes down.
        addresses: vec![(v4(n), 24), (v6(n), 64)],
        ..Interface::default()
    };
    world.ask(n, &Order::Configure(interface)).map(|_| ())
}

/// Ends the second member, kindly or not, and starts it again as something else.
fn restart(world: &mut World, round: usize) -> Result<(), String> {
    let signal = match round.is_multiple_of(2) {
        true => process::SIGKILL,
        false => process::SIGTERM,
    };
    world.signal(1, signal)?;
    let life = LIVES[round / 3 % LIVES.len()];
    world.hosts[1].node = format!("rekey = \"5s\"\n{life}");
    world.write()?;
    world.start(1)?;
    world.connected(1)
}

/// Resident memory in KiB, and open descriptors.
fn usage(pid: u32) -> Result<(u64, usize), String> {
    let status =
        std::fs::read_to_string(format!("/proc/{pid}/status")).map_err(|e| e.to_string())?;
    let line = status.lines().find(|l| l.starts_with("VmRSS"));
    let memory = line.and_then(|l| l.split_whitespace().nth(1)?.parse().ok());
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).map_err(|e| e.to_string())?;
    Ok((memory.ok_or("no memory")?, files.count()))
}
