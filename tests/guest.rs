//! Guests with a stock Debian kernel behind the members' bridges: real VLAN devices, and bridges that filter by VLAN, which
//! the kernel of the machine that tests may not have.
//!
//! `tests/support/guest-image.sh target/guest target/release/l2vpn && cargo test --test guest -- --ignored`

#[path = "support/stage.rs"]
mod stage;
#[path = "support/world.rs"]
mod world;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use l2vpn::io::process;
use l2vpn::lab::orders::{Interface, Order, Report};
use stage::{SKIPPED, Story};
use world::*;

const STORIES: &[(&str, Story)] = &[
    ("one_line_is_a_trunk_between_guests", trunk),
    ("a_filtering_bridge_is_told_the_vlans_of_a_port", filter),
];
/// An emulated processor takes its time.
const PATIENCE: Duration = Duration::from_secs(150);
/// What a guest's network card is to the emulator.
const CARD: &str = "virtio-net-pci,netdev=n0,romfile=";

fn main() -> ExitCode {
    stage::play_when_asked("guest", STORIES)
}

/// Where the image is, which the script has made.
fn image() -> Result<PathBuf, String> {
    let dir = std::env::var_os("L2VPN_GUEST").map(PathBuf::from);
    let dir = dir.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/guest"));
    match ["qemu", "vmlinuz", "initrd"]
        .iter()
        .all(|f| dir.join(f).exists())
    {
        true => Ok(dir),
        false => Err(format!(
            "{SKIPPED}there is no guest in {}: tests/support/guest-image.sh makes it",
            dir.display()
        )),
    }
}

/// How a guest is started.
fn emulator(image: &Path, role: &str) -> Vec<String> {
    let path = |file: &str| image.join(file).display().to_string();
    let (kernel, initrd) = (path("vmlinuz"), path("initrd"));
    let line = format!("console=ttyS0 quiet panic=-1 {role}");
    let fixed = "-machine q35 -accel tcg -m 256 -display none -no-reboot -nodefaults -serial stdio";
    let mut all = vec![path("qemu")];
    all.extend(fixed.split(' ').map(str::to_string));
    all.extend(["-kernel", &kernel, "-initrd", &initrd, "-append", &line].map(str::to_string));
    all
}

/// What a guest has said, line by line.
fn said(log: &Path) -> Vec<String> {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let lines = text
        .lines()
        .filter_map(|l| l.split_once("GUEST ").map(|(_, said)| said));
    lines.map(|said| said.trim_end().to_string()).collect()
}

/// Waits until a guest has said something, and gives all that it said.
fn until(log: &Path, word: &str) -> Result<Vec<String>, String> {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        let all = said(log);
        if all.iter().any(|line| line == word) {
            return Ok(all);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let text = std::fs::read(log).unwrap_or_default();
    Err(format!(
        "no \"{word}\" of the guest:\n{}",
        String::from_utf8_lossy(&text)
    ))
}

fn execute(world: &mut World, n: usize, line: &str) -> Result<(), String> {
    let words = line.split(' ').map(str::to_string).collect();
    match world.ask(n, &Order::Execute(words))? {
        Report::Failed(why) => Err(format!("{line}: {why}")),
        _ => Ok(()),
    }
}

/// A guest at a member's bridge; gives its log.
fn guest(world: &mut World, n: usize, image: &Path, role: &str) -> Result<PathBuf, String> {
    execute(world, n, "ip tuntap add dev card mode tap")?;
    execute(world, n, "ip link set dev card master br0 up")?;
    let mut line = emulator(image, role);
    let mac = format!("{CARD},mac=02:00:00:00:08:0{}", n + 1);
    let netdev = "tap,id=n0,ifname=card,script=no,downscript=no";
    line.extend(["-netdev", netdev, "-device", &mac].map(str::to_string));
    let log = world.dir().join(format!("guest{n}.log"));
    match world.ask(n, &Order::Spawn(line, log.clone()))? {
        Report::Failed(why) => Err(format!("the emulator: {why}")),
        _ => Ok(log),
    }
}

fn trunk() -> Result<(), String> {
    let image = image()?;
    let mut world = World::pair(1500)?;
    for n in 0..2 {
        world.ask(n, &Order::AddBridge("br0".into()))?;
        let bridge = Interface {
            name: "br0".into(),
            ..Interface::default()
        };
        world.ask(n, &Order::Configure(bridge))?;
        world.hosts[n].addresses.clear();
        world.hosts[n].port = "bridge = \"br0\"\n".into();
    }
    world.write()?;
    world.start_all()?;
    world.connected(0)?;
    let waiting = guest(&mut world, 1, &image, "part=wait number=2")?;
    let asking = guest(&mut world, 0, &image, "part=ping number=1")?;
    until(&waiting, "READY")?;
    let all = until(&asking, "DONE")?;
    let names = [
        "untagged",
        "vlan10",
        "vlan20",
        "qinq",
        "big",
        "big-vlan10",
        "big-qinq",
    ];
    let mut expected = names.map(|name| format!("PASS {name}")).to_vec();
    expected.push("DONE".into());
    match all == expected {
        true => Ok(()),
        false => Err(format!("{all:?}\n{}\n{}", world.log(0), world.log(1))),
    }
}

fn filter() -> Result<(), String> {
    let image = image()?;
    let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
    let log = dir.path().join("log");
    let file = std::fs::File::create(&log).map_err(|e| e.to_string())?;
    let line = emulator(&image, "part=filter number=1");
    let mut command = Command::new(&line[0]);
    command.args(&line[1..]).stdin(Stdio::null()).stdout(file);
    let mut emulator = process::die_with_parent(&mut command)
        .spawn()
        .map_err(|e| e.to_string())?;
    let all = until(&log, "DONE");
    // It ends by itself; if it does not, nobody waits for it.
    let _ = emulator.kill();
    let _ = emulator.wait();
    let expected = [
        "FILTERS 1",
        "VLANS trunk0: trunk0 5 PVID Egress Untagged 10 20-22",
        "VLANS access0: access0 30 PVID Egress Untagged",
        "DONE",
    ];
    let all = all?;
    match all == expected {
        true => Ok(()),
        false => Err(format!("{all:?}")),
    }
}
