//! What a user sees who changes the configuration of a running member.

#[path = "support/stage.rs"]
mod stage;
#[path = "support/world.rs"]
mod world;

use std::process::ExitCode;
use std::time::Duration;

use l2vpn::io::process;
use l2vpn::lab::orders::{Order, Report};
use stage::Story;
use world::*;

const STORIES: &[(&str, Story)] = &[
    ("ports_come_change_and_go_under_a_running_member", ports),
    ("a_file_with_a_mistake_changes_nothing", mistakes),
    ("what_needs_a_restart_is_named", restarts),
    ("an_encrypted_key_is_asked_for_once", encrypted),
];

fn main() -> ExitCode {
    stage::play("reload", STORIES)
}

const SECOND_TAP: &str = "l2more";
const PAYLOAD: &[u8] = b"the same payload on both sides, long enough to need no padding";

fn voice(tags: &[u8]) -> Vec<u8> {
    frame([0xff; 6], [2, 0, 0, 0, 0, 9], tags, PAYLOAD)
}

/// Sends a frame by the trunk of member 0 and gives what comes out of a TAP of member 1.
fn heard(world: &mut World, sent: &[u8], tap: &str) -> Result<Option<Vec<u8>>, String> {
    world.ask(1, &Order::Watch(tap.into()))?;
    world.ask(0, &Order::Inject(TAP.into(), sent.to_vec()))?;
    let end = PAYLOAD[PAYLOAD.len() - 20..].to_vec();
    match world.ask(1, &Order::Expect(end, 400))? {
        Report::Frame(frame) => Ok(frame.ok()),
        other => Err(format!("{other:?}")),
    }
}

fn reload(world: &mut World, n: usize) -> Result<String, String> {
    world.write()?;
    let (code, stdout, stderr) = world.cli(n, &["reload"])?;
    expect(code == Some(0), || format!("{code:?} {stderr}"))?;
    Ok(stdout.trim().to_string())
}

fn pair() -> Result<World, String> {
    let mut world = World::pair(1500)?;
    world.hosts[1].port = "mode = \"access\"\nvlan = 10\n".into();
    world.write()?;
    world.start_all()?;
    world.connected(0)?;
    Ok(world)
}

/// The passphrase comes by a descriptor at the start; a reload and looking at the member need none.
fn encrypted() -> Result<(), String> {
    let mut world = World::pair(1500)?;
    world.write()?;
    let key = world.config(0).with_file_name("node.key");
    let (exe, key, config) = (exe().display(), key.display(), world.config(0));
    let config = config.display();
    let words = world.dir().join("words");
    std::fs::write(&words, "correct horse\n").map_err(|e| e.to_string())?;
    let words = words.display();
    let steps = [
        format!("{exe} key encrypt {key} --passphrase-fd 3 3< {words} && grep -q argon2id {key}"),
        format!("! {exe} up {config} --check < /dev/null 2> /dev/null"),
        format!("{exe} up {config} --check --passphrase-fd 3 3< {words}"),
        // Another passphrase and back, each from its own descriptor.
        format!(
            "echo other | {exe} key passphrase {key} --passphrase-fd 3 3< {words} --new-passphrase-fd 0 && \
             echo other | {exe} key passphrase {key} --passphrase-fd 0 --new-passphrase-fd 3 3< {words}"
        ),
    ];
    for step in steps {
        let command = ["sh", "-c", &step].map(String::from).to_vec();
        let ended = world.ask(0, &Order::Execute(command))?;
        expect(matches!(ended, Report::Ended { code: Some(0), .. }), || {
            format!("{step}: {ended:?}")
        })?;
    }
    let line = format!("exec {exe} up {config} --passphrase-fd 3 3< {words}");
    let command = ["sh", "-c", &line].map(String::from).to_vec();
    let log = world.dir().join("a.log");
    world.ask(0, &Order::Spawn(command, log))?;
    world.start(1)?;
    world.connected(0)?;
    world.hosts[0].port = "mode = \"access\"\nvlan = 10\n".into();
    let changes = reload(&mut world, 0)?;
    expect(changes.contains("changed"), || changes.clone())?;
    // Its lock would go with the file.
    let step = format!(
        "{exe} key decrypt {key} --passphrase-fd 3 3< {words} 2>&1 | grep -q 'runs with this key'"
    );
    let command = ["sh", "-c", &step].map(String::from).to_vec();
    let ended = world.ask(0, &Order::Execute(command))?;
    expect(matches!(ended, Report::Ended { code: Some(0), .. }), || {
        format!("{ended:?}")
    })?;
    // By its configuration, not by its socket.
    let show = ["show", &config.to_string()].map(str::to_string);
    let args: Vec<&str> = show.iter().map(String::as_str).collect();
    let (code, shown, stderr) = world.network.hosts[0]
        .run(&args)
        .map_err(|e| e.to_string())?;
    expect(code == Some(0) && shown.contains("peer"), || stderr)
}

fn ports() -> Result<(), String> {
    let mut world = pair()?;
    let (ten, twenty) = (voice(&[0x81, 0, 0, 10]), voice(&[0x81, 0, 0, 20]));
    expect(heard(&mut world, &ten, TAP)? == Some(voice(&[])), || {
        "VLAN 10 crosses from the beginning".into()
    })?;
    let up_s = |s: &l2vpn::api::Snapshot| s.peers[0].up_s;
    std::thread::sleep(Duration::from_millis(1100));
    // A port for VLAN 20 comes.
    world.hosts[1].more =
        format!("\n[[port]]\ntap = \"{SECOND_TAP}\"\nmode = \"access\"\nvlan = 20\n");
    let said = reload(&mut world, 1)?;
    expect(said == format!("added {SECOND_TAP}"), || said.clone())?;
    let told = world.eventually(Duration::from_secs(2), |w| {
        let vlans = w.show(0)?.peers[0].vlans.get("lan").cloned();
        Ok(vlans.is_some_and(|v| v.contains("20")))
    })?;
    expect(told, || "the other member was not told".into())?;
    let got = heard(&mut world, &twenty, SECOND_TAP)?;
    expect(got == Some(voice(&[])), || format!("VLAN 20: {got:02x?}"))?;
    let got = heard(&mut world, &ten, TAP)?;
    expect(got == Some(voice(&[])), || format!("VLAN 10: {got:02x?}"))?;
    let shown = world.show(1)?;
    expect(shown.ports.len() == 2 && shown.ports[1].carrier, || {
        format!("{:?}", shown.ports)
    })?;
    expect(up_s(&shown) >= Some(1), || "the peer stayed up".into())?;
    // The first port goes to VLAN 20 as well.
    world.hosts[1].port = "mode = \"access\"\nvlan = 20\n".into();
    let said = reload(&mut world, 1)?;
    expect(said == format!("changed {TAP}"), || said.clone())?;
    let got = heard(&mut world, &twenty, TAP)?;
    expect(got == Some(voice(&[])), || format!("VLAN 20: {got:02x?}"))?;
    // The second one goes, by a signal this time.
    world.hosts[1].more = String::new();
    world.write()?;
    let signal = Order::Signal {
        signal: process::SIGHUP,
        wait: false,
    };
    world.ask(1, &signal)?;
    let gone = world.eventually(Duration::from_secs(2), |w| {
        Ok(!w.interfaces(1)?.contains(&SECOND_TAP.to_string()))
    })?;
    expect(gone, || format!("the TAP stays: {}", world.log(1)))?;
    let got = heard(&mut world, &twenty, TAP)?;
    expect(got == Some(voice(&[])), || format!("VLAN 20: {got:02x?}"))?;
    let said = reload(&mut world, 1)?;
    expect(said == "nothing has changed", || said.clone())?;
    let (_, events, _) = world.cli(1, &["events"])?;
    expect(events.contains(&format!("removed {SECOND_TAP}")), || {
        events.clone()
    })
}

fn mistakes() -> Result<(), String> {
    let mut world = pair()?;
    let before = world.show(1)?;
    let bad = [
        ("vlan = 5000\n", "5000"),
        ("vlan = 20\nbridge = \"nobridge\"\n", "nobridge"),
        ("vlan = 20\nsegment = \"elsewhere\"\n", "elsewhere"),
    ];
    for (lines, named) in bad {
        world.hosts[1].port = "mode = \"access\"\nvlan = 20\n".into();
        world.hosts[1].more =
            format!("\n[[port]]\ntap = \"{SECOND_TAP}\"\nmode = \"access\"\n{lines}");
        world.write()?;
        let (code, _, stderr) = world.cli(1, &["reload"])?;
        expect(code == Some(3), || format!("{lines}: {code:?} {stderr}"))?;
        expect(stderr.contains(named), || stderr.clone())?;
        expect(stderr.contains("nothing was taken up"), || stderr.clone())?;
        let after = world.show(1)?;
        expect(after.ports == before.ports, || format!("{after:?}"))?;
        let names = world.interfaces(1)?;
        expect(!names.contains(&SECOND_TAP.to_string()), || {
            format!("{lines} left {names:?}")
        })?;
    }
    let ten = voice(&[0x81, 0, 0, 10]);
    let got = heard(&mut world, &ten, TAP)?;
    expect(got == Some(voice(&[])), || format!("VLAN 10: {got:02x?}"))
}

fn restarts() -> Result<(), String> {
    let mut world = pair()?;
    let port = world.hosts[1].port.clone();
    let keys = [
        ("mtu = 1400\n", "mtu of port l2lan"),
        ("mac = \"02:00:00:00:00:01\"\n", "mac of port l2lan"),
        ("pinned = [\"02:00:00:00:00:05\"]\n", "pinned of port l2lan"),
    ];
    for (line, named) in keys {
        world.hosts[1].port = format!("{port}{line}");
        world.write()?;
        let (code, _, stderr) = world.cli(1, &["reload"])?;
        expect(code == Some(3) && stderr.contains(named), || {
            format!("{line}: {code:?} {stderr}")
        })?;
    }
    world.hosts[1].port = port;
    let more = "\n[[peer]]\nname = \"new\"\npublic_key = \"\
                EjRWeBI0VngSNFZ4EjRWeBI0VngSNFZ4EjRWeBI0Vng=\"\n\n[switch]\nmac_limit = 100\n";
    world.hosts[1].more = more.into();
    world.write()?;
    let (code, _, stderr) = world.cli(1, &["reload"])?;
    expect(code == Some(3), || format!("{code:?} {stderr}"))?;
    expect(
        stderr.contains("[switch], [[peer]], [[relay]] or [admission]"),
        || stderr.clone(),
    )
}
