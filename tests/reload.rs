//! What a user sees who changes the configuration of a running member.

#[path = "support/stage.rs"]
mod stage;
#[path = "support/world.rs"]
mod world;

use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use l2vpn::api::Snapshot;
use l2vpn::io::process;
use l2vpn::lab::orders::{Flood, Order, Report};
use stage::Story;
use world::*;

const STORIES: &[(&str, Story)] = &[
    ("ports_come_change_and_go_under_a_running_member", ports),
    ("a_file_with_a_mistake_changes_nothing", mistakes),
    ("what_needs_a_restart_is_named", restarts),
    ("an_encrypted_key_is_asked_for_once", encrypted),
    ("keys_are_rotated_at_ten_thousand_frames_a_second", rotation),
    (
        "an_encrypted_key_is_rotated_with_its_passphrase",
        sealed_rotation,
    ),
    ("peers_come_and_go_and_the_others_stay", peers),
    (
        "who_has_a_record_needs_no_list_until_it_is_revoked",
        network,
    ),
    ("one_known_member_is_enough_to_find_all", found),
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
    let more = "pinned = [\"02:00:00:00:00:07\"]\n\n[switch]\nmac_limit = 100\n";
    world.hosts[1].more = more.into();
    world.write()?;
    let (code, _, stderr) = world.cli(1, &["reload"])?;
    expect(code == Some(3), || format!("{code:?} {stderr}"))?;
    expect(
        stderr.contains("[switch], pinned of a [[peer]]: changed"),
        || stderr.clone(),
    )
}

/// Runs the program beside the hosts' own orders: a host that sends takes none.
fn run(args: &[&str], input: &str) -> Result<String, String> {
    let mut child = Command::new(exe())
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| e.to_string())?;
    let stdin = child.stdin.take();
    let _ = stdin.map(|mut stdin| stdin.write_all(input.as_bytes()));
    let ended = child.wait_with_output().map_err(|e| e.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_string();
    expect(ended.status.success(), || {
        format!("{args:?}: {} {}", text(&ended.stdout), text(&ended.stderr))
    })?;
    Ok(text(&ended.stdout))
}

/// What a host's peer is, as `show` says it.
fn shown(world: &mut World, n: usize) -> Result<Snapshot, String> {
    let socket = world.socket(n).display().to_string();
    let text = run(&["show", "--json", "--socket", &socket], "")?;
    serde_json::from_str(&text).map_err(|e| e.to_string())
}

const RATE: u64 = 10_000;
const MILLIS: u64 = 6000;

/// A member's key, the other's knowledge of it and a network's pre-shared key change while 10,000 frames a second go from the one to
/// the other; each is counted.
fn rotation() -> Result<(), String> {
    let mut world = World::pair(1500)?;
    let dirs = [0, 1].map(|n| world.config(n).with_file_name("net.psk"));
    let first = dirs[0].display().to_string();
    run(&["key", "psk", "-o", &first], "")?;
    std::fs::copy(&dirs[0], &dirs[1]).map_err(|e| e.to_string())?;
    world.write()?;
    // The file is a link to where the key is.
    let there = world.dir().join("real.key");
    let link = world.config(0).with_file_name("node.key");
    std::fs::rename(&link, &there).map_err(|e| e.to_string())?;
    std::os::unix::fs::symlink(&there, &link).map_err(|e| e.to_string())?;
    world.start_all()?;
    world.connected(0)?;
    world.reach(0, v4(1))?;
    let to = SocketAddr::new(v4(1), 7000);
    world.ask(1, &Order::Count(to))?;
    let flood = Flood {
        to,
        size: 100,
        rate: RATE,
        millis: MILLIS,
    };
    let old = world.public_key(0);
    let key = world.config(0).with_file_name("node.key");
    let sockets = [0, 1].map(|n| world.socket(n).display().to_string());
    let texts = [0, 1].map(|n| (world.config(n), std::fs::read_to_string(world.config(n))));
    let [mine, theirs] = texts.map(|(path, text)| (path, text.unwrap_or_default()));
    let reload = |n: usize| run(&["reload", "--socket", &sockets[n]], "");
    let write = |(path, _): &(std::path::PathBuf, String), text: &str| {
        std::fs::write(path, text).map_err(|e| e.to_string())
    };
    let network = "[node]\nnetwork_psk_file = \"net.psk\"\n";
    let host = &mut world.network.hosts[0];
    let (sent, new) = std::thread::scope(|scope| {
        let sending = scope.spawn(|| host.ask(&Order::Flood(flood)));
        let changes = || {
            let pause = || std::thread::sleep(Duration::from_millis(700));
            pause();
            let new = run(&["key", "rotate", &key.display().to_string()], "")?;
            let told = reload(0)?;
            expect(told == "other keys", || told.clone())?;
            pause();
            let accepts = format!("public_key = \"{new}\"\naccept_old = \"{old}\"");
            let knows = theirs
                .1
                .replace(&format!("public_key = \"{old}\""), &accepts);
            write(&theirs, &knows)?;
            let told = reload(1)?;
            expect(told.starts_with("changed peer"), || told.clone())?;
            pause();
            // A pre-shared key for all: one after the other.
            write(&mine, &mine.1.replace("[node]\n", network))?;
            let told = reload(0)?;
            expect(told == "other keys", || told.clone())?;
            pause();
            write(&theirs, &knows.replace("[node]\n", network))?;
            reload(1)?;
            pause();
            // Encrypted where it lies: who has it in use need not be told the passphrase.
            let psk = ["key", "encrypt", "--psk", &first, "--passphrase-fd", "0"];
            run(&psk, "correct horse\n")?;
            let told = reload(0)?;
            expect(told == "nothing has changed", || told.clone())?;
            let psk = ["key", "decrypt", &first, "--passphrase-fd", "0"];
            run(&psk, "correct horse\n")?;
            Ok::<String, String>(new)
        };
        let new = changes();
        let sent = sending.join().map_err(|_| "the sender".to_string());
        (sent, new)
    });
    let new = new?;
    let Report::Packets(sent, _) = sent?.map_err(|e| e.to_string())? else {
        return Err("no packets were sent".into());
    };
    std::thread::sleep(Duration::from_millis(300));
    let Report::Packets(came, _) = world.ask(1, &Order::CountResult)? else {
        return Err("nothing was counted".into());
    };
    println!("      {sent} frames sent, {} lost", sent - came);
    expect(sent > RATE * MILLIS / 1000 * 9 / 10, || {
        format!("{sent} sent")
    })?;
    expect(came == sent, || format!("{came} of {sent}"))?;
    let before = shown(&mut world, 0)?;
    expect(before.public_key == new, || before.public_key.clone())?;
    expect(before.old_key.is_some_and(|k| k.public_key == old), || {
        "old key".into()
    })?;
    let peer = &shown(&mut world, 1)?.peers[0];
    expect(
        peer.public_key == new && peer.secrecy.old_key.is_none(),
        || format!("{peer:?}"),
    )?;
    over(&mut world, &there)
}

/// The time of the old key is over: it is erased, and nobody misses it; the port's MAC is the same after a restart.
fn over(world: &mut World, key: &std::path::Path) -> Result<(), String> {
    let old = key.with_extension("key.old");
    let file = std::fs::File::open(&old).map_err(|e| e.to_string())?;
    let past = std::time::SystemTime::now() - Duration::from_secs(25 * 3600);
    file.set_modified(past).map_err(|e| e.to_string())?;
    let mac = world.ask(0, &Order::Mac(TAP.into()))?;
    let socket = world.socket(0).display().to_string();
    run(&["reload", "--socket", &socket], "")?;
    let gone = world.eventually(Duration::from_secs(8), |_| Ok(!old.exists()))?;
    expect(gone, || "the old key is still there".into())?;
    world.connected(0)?;
    world.reach(0, v4(1))?;
    expect(shown(world, 0)?.old_key.is_none(), || "an old key".into())?;
    world.signal(0, 15)?;
    world.start(0)?;
    world.connected(0)?;
    let now = world.ask(0, &Order::Mac(TAP.into()))?;
    expect(now == mac, || format!("{mac:?} and then {now:?}"))
}

/// The daemon cannot open what is in the file now, unless the passphrase comes with the order.
fn sealed_rotation() -> Result<(), String> {
    let mut world = World::pair(1500)?;
    world.write()?;
    let key = world
        .config(0)
        .with_file_name("node.key")
        .display()
        .to_string();
    let words = ["--passphrase-fd", "0"];
    run(
        &[&["key", "encrypt", &key][..], &words].concat(),
        "correct horse\n",
    )?;
    let (exe, config, log) = (exe().display(), world.config(0), world.dir().join("a.log"));
    let line = format!(
        "echo correct horse | exec {exe} up {} --passphrase-fd 0",
        config.display()
    );
    let command = ["sh", "-c", &line].map(String::from).to_vec();
    world.ask(0, &Order::Spawn(command, log))?;
    world.start(1)?;
    world.connected(0)?;
    let new = run(
        &[&["key", "rotate", &key][..], &words].concat(),
        "correct horse\n",
    )?;
    let socket = world.socket(0).display().to_string();
    let without = run(&["reload", "--socket", &socket], "");
    expect(
        without
            .as_ref()
            .is_err_and(|e| e.contains("--passphrase-fd")),
        || format!("{without:?}"),
    )?;
    let reload = [&["reload", "--socket", &socket][..], &words].concat();
    let wrong = run(&reload, "battery staple\n");
    expect(wrong.is_err(), || format!("{wrong:?}"))?;
    let before = shown(&mut world, 0)?;
    expect(before.public_key != new, || "the key was taken up".into())?;
    run(&reload, "correct horse\n")?;
    let after = shown(&mut world, 0)?;
    expect(after.public_key == new && after.old_key.is_some(), || {
        format!("{after:?}")
    })?;
    world.connected(0)?;
    let log = world.log(0);
    expect(!log.contains("correct horse"), || log.clone())?;
    // Another passphrase for both keys, and a restart while both are good: the one line opens both.
    run(&["down", "--socket", &socket], "")?;
    let ended = world.eventually(Duration::from_secs(5), |w| Ok(!w.socket(0).exists()))?;
    expect(ended, || "the member does not end".into())?;
    let change = ["key", "passphrase", &key, "--passphrase-fd", "0"];
    let change = [&change[..], &["--new-passphrase-fd", "0"]].concat();
    let told = run(&change, "correct horse\nbattery staple\n")?;
    expect(told.contains("too"), || told.clone())?;
    let line = format!(
        "echo battery staple | exec {exe} up {} --passphrase-fd 0",
        config.display()
    );
    let command = ["sh", "-c", &line].map(String::from).to_vec();
    let log = world.dir().join("again.log");
    world.ask(0, &Order::Spawn(command, log))?;
    world.connected(0)?;
    let after = shown(&mut world, 0)?;
    expect(after.old_key.is_some(), || format!("{after:?}"))
}

/// The third member of three is taken out at one of them and put in again: the two others do not notice.
fn peers() -> Result<(), String> {
    let mut world = World::mesh()?;
    world.write()?;
    world.start_all()?;
    world.all_connected()?;
    let text = std::fs::read_to_string(world.config(0)).map_err(|e| e.to_string())?;
    let third = world.public_key(2);
    let sections: Vec<&str> = text.split("[[peer]]").collect();
    let without: Vec<&str> = sections
        .iter()
        .copied()
        .filter(|s| !s.contains(&third))
        .collect();
    expect(without.len() + 1 == sections.len(), || text.clone())?;
    let before = shown(&mut world, 0)?;
    std::fs::write(world.config(0), without.join("[[peer]]")).map_err(|e| e.to_string())?;
    let socket = world.socket(0).display().to_string();
    let told = run(&["reload", "--socket", &socket], "")?;
    expect(told == "removed peer c", || told.clone())?;
    let after = shown(&mut world, 0)?;
    expect(after.peers.len() == 1, || format!("{:?}", after.peers))?;
    let ages = [&before, &after].map(|s| s.peers[0].up_s);
    expect(ages[1] >= ages[0] && ages[0].is_some(), || {
        format!("{ages:?}")
    })?;
    // The third hears so, and can do nothing about it.
    let heard = world.eventually(Duration::from_secs(3), |w| {
        Ok(shown(w, 2)?
            .peers
            .iter()
            .any(|p| p.name == "a" && p.state != "up"))
    })?;
    expect(heard, || "the third thinks that it is connected".into())?;
    let lost = world.ping(2, v4(0), 56, 2)?;
    expect(lost.iter().all(Option::is_none), || format!("{lost:?}"))?;
    std::fs::write(world.config(0), &text).map_err(|e| e.to_string())?;
    let told = run(&["reload", "--socket", &socket], "")?;
    expect(told == "added peer c", || told.clone())?;
    world.all_connected()?;
    world.reach(2, v4(0))?;
    let events = run(&["events", "--socket", &socket], "")?;
    expect(
        events.contains("c is not connected: it is no peer any more"),
        || events.clone(),
    )
}

/// An authority, two records, and one member that lists nobody: a host's frame crosses; then the other is revoked.
fn network() -> Result<(), String> {
    let mut world = World::pair(1500)?;
    world.write()?;
    let dir = world.dir().join("ca").display().to_string();
    run(
        &["ca", "init", &dir, "--name", "lab", "--no-passphrase"],
        "",
    )?;
    for (n, name) in NAMES.into_iter().enumerate().take(2) {
        let at = |name: &str| world.config(n).with_file_name(name).display().to_string();
        let key = world.public_key(n);
        let record = at("member.record");
        run(
            &[
                "ca",
                "sign",
                &dir,
                &key,
                "--name",
                name,
                "--segment",
                "1",
                "-o",
                &record,
            ],
            "",
        )?;
        run(&["ca", "export", &dir, "-o", &at("lab.network")], "")?;
        let text = std::fs::read_to_string(world.config(n)).map_err(|e| e.to_string())?;
        // The second one lists nobody.
        let text = match n {
            0 => text,
            _ => text
                .split("[[peer]]")
                .next()
                .unwrap_or_default()
                .to_string(),
        };
        let more = "\n[network]\nfile = \"lab.network\"\nrecord = \"member.record\"\n";
        std::fs::write(world.config(n), text + more).map_err(|e| e.to_string())?;
    }
    world.start_all()?;
    world.connected(0)?;
    world.reach(0, v4(1))?;
    let seen = shown(&mut world, 1)?;
    let (network, peer) = (seen.network.ok_or("no network")?, &seen.peers[0]);
    let is_in = peer.name == "a" && peer.way.record_s.is_some_and(|s| s > 80 * 24 * 3600);
    expect(is_in && network.serial.is_some(), || {
        format!("{network:?} {peer:?}")
    })?;
    // Revoked: the list is given to the member, and what comes after a second and a half is nothing.
    run(&["ca", "revoke", &dir, "a", "--reason", "stolen"], "")?;
    let list = world.dir().join("ca/revoked");
    let text = std::fs::read_to_string(world.config(1)).map_err(|e| e.to_string())?;
    let line = format!("[network]\nrevocations = \"{}\"\n", list.display());
    let text = text.replace("[network]\n", &line);
    std::fs::write(world.config(1), &text).map_err(|e| e.to_string())?;
    let socket = world.socket(1).display().to_string();
    let told = run(&["reload", "--socket", &socket], "")?;
    expect(told == "network changed", || told.clone())?;
    let seen = shown(&mut world, 1)?;
    expect(seen.peers.is_empty(), || format!("{:?}", seen.peers))?;
    let events = run(&["events", "--socket", &socket], "")?;
    expect(
        events.contains("the record of a counts no more: it is revoked"),
        || events.clone(),
    )?;
    let lost = world.ping(0, v4(1), 56, 2)?;
    expect(lost.iter().all(Option::is_none), || format!("{lost:?}"))?;
    // It stays revoked after a restart, without the list in the configuration.
    let text = text.replace(&line, "[network]\n");
    std::fs::write(world.config(1), text).map_err(|e| e.to_string())?;
    world.signal(1, 15)?;
    world.start(1)?;
    world.wait_socket(1)?;
    std::thread::sleep(Duration::from_secs(3));
    let seen = shown(&mut world, 1)?;
    let epoch = seen.network.as_ref().map(|n| n.epoch);
    expect(
        seen.peers.is_empty() && epoch.is_some_and(|e| e > 0),
        || format!("{seen:?}"),
    )?;
    let refused = seen.drops.get("revoked").copied().unwrap_or_default();
    expect(refused > 0, || format!("{:?}", seen.drops))
}

/// Three hosts, of whom two know the first alone: the two reach each other, and each record's name is what the others call it by.
fn found() -> Result<(), String> {
    let mut world = World::mesh()?;
    world.write()?;
    let dir = world.dir().join("ca").display().to_string();
    run(
        &["ca", "init", &dir, "--name", "lab", "--no-passphrase"],
        "",
    )?;
    let first = world.public_key(0);
    for (n, name) in NAMES.into_iter().enumerate() {
        let at = |name: &str| world.config(n).with_file_name(name).display().to_string();
        let (key, record) = (world.public_key(n), at("member.record"));
        let sign = ["ca", "sign", &dir, &key, "--name", name, "--segment", "1"];
        run(&[&sign[..], &["-o", &record]].concat(), "")?;
        run(&["ca", "export", &dir, "-o", &at("lab.network")], "")?;
        let text = std::fs::read_to_string(world.config(n)).map_err(|e| e.to_string())?;
        let mut sections = text.split("[[peer]]");
        let own = sections.next().unwrap_or_default();
        let seed = sections.find(|s| n > 0 && s.contains(&first));
        let seed = seed.map(|s| format!("[[peer]]{s}")).unwrap_or_default();
        let more = "\n[network]\nfile = \"lab.network\"\nrecord = \"member.record\"\n";
        std::fs::write(world.config(n), format!("{own}{seed}{more}")).map_err(|e| e.to_string())?;
    }
    world.start_all()?;
    let all = world.eventually(Duration::from_secs(10), |w| {
        let mut up = Vec::new();
        for n in 0..3 {
            let Ok(shown) = shown(w, n) else {
                return Ok(false);
            };
            up.push(shown.peers.iter().filter(|p| p.state == "up").count());
        }
        Ok(up == [2, 2, 2])
    })?;
    expect(all, || {
        format!("{:?} {}", shown(&mut world, 1), world.log(1))
    })?;
    world.reach(1, v4(2))?;
    world.reach(2, v4(1))?;
    world.reach(0, v4(2))?;
    let names: Vec<String> = shown(&mut world, 2)?
        .peers
        .into_iter()
        .map(|p| p.name)
        .collect();
    expect(names.contains(&"b".to_string()), || format!("{names:?}"))
}
