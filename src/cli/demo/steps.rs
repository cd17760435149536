//! What is shown, step by step.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::picture;
use super::progress::Progress;
use super::world::{NAMES, STRANGER, TAP, World, overlay_v4, overlay_v6};
use crate::cli::exit::{Exit, Failure};
use crate::io::namespace;
use crate::lab::orders::{Order, Report};

const TRANSFER: u64 = 256 << 20;

pub(in crate::cli) fn run(dir: &Path, keep: bool) -> Result<Exit, Failure> {
    tell!("l2vpn demo: three hosts on this machine, one Ethernet between them");
    tell!("keys, configurations and logs: {}\n", dir.display());
    let mut progress = Progress::default();
    let mut world = None;
    progress.step("three hosts and a stranger, underlay MTU 1500", || {
        world = Some(World::new(dir).map_err(|e| e.to_string())?);
        Ok("network namespaces".into())
    });
    let Some(mut world) = world else {
        return Ok(Exit::Failed);
    };
    let ready = progress.step("keys and configurations", || {
        world.write_files()?;
        Ok("one key and one TOML file each".into())
    }) && progress.step("daemons started: `l2vpn up`", || {
        (0..STRANGER).try_for_each(|h| world.start(h))?;
        Ok(String::new())
    }) && progress.step("handshakes done", || {
        let took = world.wait_connected(Duration::from_secs(10))?;
        Ok(format!(
            "all pairs, {} ms after the start",
            took.as_millis()
        ))
    });
    if ready {
        show_traffic(&mut progress, &mut world);
        show_stranger(&mut progress, &mut world);
        show_state(&mut world);
    }
    let (good, steps) = progress.result();
    if good {
        tell!("{steps} of {steps} steps OK\n");
        tell!("{NEXT}");
    } else {
        tell!("not everything worked; the end of the logs:");
        (0..NAMES.len()).for_each(|h| tell!("{}", world.log(h)));
    }
    if keep {
        shell(&mut world, dir)?;
    }
    Ok(if good { Exit::Ok } else { Exit::Failed })
}

fn show_traffic(progress: &mut Progress, world: &mut World) {
    progress.step("ARP and ping between all pairs", || {
        let best = world.ping_all(overlay_v4, (56, false))?;
        Ok(format!("best round trip {} us", best))
    });
    progress.step("IPv6 too", || {
        let best = world.ping_all(overlay_v6, (56, false))?;
        Ok(format!("best round trip {} us", best))
    });
    progress.step("1500-byte packets cross whole", || {
        world.ping_all(overlay_v4, (1472, true))?;
        Ok("not cut by the hosts (DF)".into())
    });
    progress.step("a tagged 802.1Q frame crosses unchanged", || {
        tagged_frame(world)
    });
    progress.step("the far daemon answers `l2vpn ping b`", || {
        let text = world.verb(0, &["ping", "b", "--count", "1"])?;
        Ok(text.lines().last().unwrap_or_default().to_string())
    });
    progress.step("a TCP transfer, every byte checked", || transfer(world));
}

/// A frame with VLAN 42 and priority 5 from A to the broadcast address, as a host would send it.
fn tagged_frame(world: &mut World) -> Result<String, String> {
    let mut frame = vec![0xff; 6];
    frame.extend_from_slice(&[0x02, 0, 0, 0, 0, 0x42]);
    frame.extend_from_slice(&[0x81, 0x00, 0xa0, 42, 0x88, 0xb5]);
    frame.extend_from_slice(b"l2vpn demo: tag me if you can, and padding up to sixty bytes.");
    let end = frame.get(18..).unwrap_or_default().to_vec();
    for to in 1..STRANGER {
        world.ask(to, &Order::Watch(TAP.into()))?;
    }
    world.ask(0, &Order::Inject(TAP.into(), frame.clone()))?;
    for to in 1..STRANGER {
        match world.ask(to, &Order::Expect(end.clone(), 2000))? {
            Report::Frame(Ok(got)) if got == frame => {}
            Report::Frame(Ok(got)) => return Err(format!("sent {frame:02x?}\ngot  {got:02x?}")),
            other => return Err(format!("it did not arrive: {other:?}")),
        }
    }
    Ok("VLAN 42, priority 5".into())
}

fn transfer(world: &mut World) -> Result<String, String> {
    let address = (overlay_v4(1), 5001).into();
    world.ask(1, &Order::TcpServe(address))?;
    let host = world.host(0)?;
    let sent = host
        .transfer(&Order::TcpSend(address, TRANSFER))
        .map_err(|e| e.to_string())?;
    let got = world
        .host(1)?
        .transfer(&Order::TcpResult)
        .map_err(|e| e.to_string())?;
    if got.bytes != sent.bytes || !got.intact {
        return Err(format!(
            "{} of {} bytes, intact: {}",
            got.bytes, sent.bytes, got.intact
        ));
    }
    Ok(format!(
        "{} MiB at {:.0} Mbit/s",
        got.bytes >> 20,
        got.megabits()
    ))
}

fn show_stranger(progress: &mut Progress, world: &mut World) {
    progress.step("a stranger with a wrong key is refused", || {
        world.start(STRANGER)?;
        std::thread::sleep(Duration::from_millis(1500));
        let stranger = world.show(STRANGER)?;
        let peer = stranger.peers.first().ok_or("it has no peer")?;
        if peer.state == "up" || peer.heard_s.is_some() {
            return Err(format!("the stranger is \"{}\"", peer.state));
        }
        let a = world.show(0)?;
        let refused = a.drops.get("stranger").copied().unwrap_or(0);
        if refused == 0 {
            return Err("A never heard it".into());
        }
        Ok(format!("A counted {refused} attempts and answered none"))
    });
}

fn show_state(world: &mut World) {
    match world.verb(0, &["macs"]) {
        Ok(table) => tell!("\nwhat A has learned (`l2vpn macs`):\n\n{table}"),
        Err(error) => tell!("\n{error}"),
    }
    let views: Vec<_> = (0..STRANGER).filter_map(|h| world.show(h).ok()).collect();
    tell!("{}", picture::draw(&views));
}

/// A shell in host A, for looking around.
fn shell(world: &mut World, dir: &Path) -> Result<(), Failure> {
    let pid = world.host(0).map_err(Failure::failed)?.pid();
    tell!("\nyou are in host A now; try:\n");
    tell!("  l2vpn show\n  l2vpn macs\n  l2vpn ping b\n  ping 10.77.0.2\n");
    tell!("`exit` ends the demo.");
    let shell = std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into());
    let mut command = Command::new(shell);
    command
        .current_dir(dir)
        .env("L2VPN_SOCKET", dir.join("a.sock"));
    if let Ok(exe) = std::env::current_exe()
        && let Some(bin) = exe.parent()
    {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut dirs = vec![bin.to_path_buf()];
        dirs.extend(std::env::split_paths(&path));
        if let Ok(path) = std::env::join_paths(dirs) {
            command.env("PATH", path);
        }
    }
    namespace::enter(&mut command, pid)?;
    command.status()?;
    Ok(())
}

const NEXT: &str = "next, on two real hosts A and B:

  A# l2vpn init a.toml --name a          prints A's public key
  B# l2vpn init b.toml --name b          prints B's public key
     write the other's public key and endpoint into [[peer]] of each file
  A# l2vpn up a.toml
  B# l2vpn up b.toml
  A# l2vpn show";
