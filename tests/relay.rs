//! What a user sees who runs a relay: real daemons, real TAPs, hosts as network namespaces.

#[path = "support/relays.rs"]
mod relays;
#[path = "support/stage.rs"]
mod stage;
#[path = "support/world.rs"]
mod world;

use std::process::ExitCode;
use std::time::Duration;

use relays::*;
use stage::Story;
use world::*;

const STORIES: &[(&str, Story)] = &[
    (
        "members_with_no_address_of_each_other_meet_by_a_relay",
        meet,
    ),
    ("what_cannot_go_direct_goes_through_the_relay", relayed),
    ("a_relay_that_starts_again_has_its_members_back", restarted),
    ("a_relay_needs_its_admission", admission),
];

fn main() -> ExitCode {
    stage::play("relay", STORIES)
}

/// The kind of way and the state of the other member, as `show` has them.
fn path(world: &mut World, n: usize) -> Result<(String, Option<String>), String> {
    let shown = world.show(n)?;
    let member = shown.peers.iter().find(|p| p.way.kind == "member");
    let member = member.ok_or("no peer")?;
    Ok((member.state.clone(), member.way.via.clone()))
}

fn meet() -> Result<(), String> {
    let mut world = relays::world()?;
    start_relay(&mut world)?;
    world.start(0)?;
    world.start(1)?;
    world.reach(0, v4(1))?;
    let direct = world.eventually(Duration::from_secs(10), |w| {
        Ok(path(w, 0)? == ("up".into(), None) && path(w, 1)? == ("up".into(), None))
    })?;
    expect(direct, || format!("{}\n{}", world.log(0), world.log(1)))?;
    world.reach(1, v4(0))?;
    let relay = world.show(RELAY)?;
    expect(
        relay.channels == 1 && relay.peers.iter().all(|p| p.way.kind == "client"),
        || format!("{relay:?}"),
    )
}

/// Two members without a route between them, who have met by the relay.
fn apart() -> Result<World, String> {
    let mut world = relays::world()?;
    separate(&mut world)?;
    start_relay(&mut world)?;
    world.start(0)?;
    world.start(1)?;
    world.reach(0, v4(1))?;
    Ok(world)
}

fn relayed() -> Result<(), String> {
    let mut world = apart()?;
    let by_relay = ("up".to_string(), Some("relay".to_string()));
    let there = world.eventually(Duration::from_secs(10), |w| Ok(path(w, 0)? == by_relay))?;
    expect(there, || world.log(0))?;
    // Frames of full size both ways, and bulk, every byte right.
    for (from, to) in [(0, 1), (1, 0)] {
        let pings = world.ping(from, v4(to), 1472, 3)?;
        expect(pings.iter().all(Option::is_some), || format!("{pings:?}"))?;
        world.tcp(from, to, v4(to), 32 << 20)?;
    }
    expect(path(&mut world, 1)? == by_relay, || world.log(1))?;
    let (_, shown, _) = world.cli(0, &["show"])?;
    expect(
        shown.contains("via relay relay") && shown.contains("not direct: "),
        || shown.clone(),
    )
}

fn restarted() -> Result<(), String> {
    let mut world = apart()?;
    let (code, _, stderr) = world.cli(RELAY, &["down"])?;
    expect(code == Some(0), || stderr)?;
    start_relay(&mut world)?;
    // Generous: the machine is shared. The simulation says two seconds.
    let back = world.eventually(Duration::from_secs(10), |w| {
        Ok(w.ping(0, v4(1), 56, 1)?.iter().any(Option::is_some))
    })?;
    expect(back, || format!("{}\n{}", world.log(0), world.log(1)))
}

fn admission() -> Result<(), String> {
    let mut world = World::pair(1500)?;
    let config = world.config(0).display().to_string();
    let host = &mut world.network.hosts[0];
    let run = |host: &mut l2vpn::lab::network::Host, args: &[&str]| {
        host.run(args).map_err(|e| e.to_string())
    };
    let (code, _, stderr) = run(host, &["relay", &config])?;
    expect(code == Some(3) && stderr.contains("[admission]"), || stderr)?;
    // `--init` writes one that says what is missing.
    let path = world.dir().join("relay.toml").display().to_string();
    let host = &mut world.network.hosts[0];
    let (code, stdout, stderr) = run(host, &["relay", "--init", &path])?;
    expect(code == Some(0) && stdout.contains("public key"), || stderr)?;
    let (code, _, stderr) = run(host, &["check", &path])?;
    expect(code == Some(0) && stderr.contains("nobody may use"), || {
        stderr
    })?;
    let lines = std::fs::read_to_string(&path).map_err(|e| e.to_string())?;
    expect(lines.lines().count() <= 8, || lines.clone())?;
    Ok(())
}
