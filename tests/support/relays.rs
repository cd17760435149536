//! Members that know a relay and each other's keys, and no address of each other.

#![allow(dead_code)]

use l2vpn::lab::orders::{Interface, Order, Report};

use crate::world::*;

pub const RELAY: usize = 2;

/// Members 0 and 1, who know each other's keys and the relay, which is host 2.
pub fn world() -> Result<World, String> {
    let mut world = World::new(&[Underlay::V4; 3], 1500)?;
    let relay = format!(
        "\n[[relay]]\nname = \"relay\"\npublic_key = \"{}\"\nendpoints = [\"{}:7656\"]\n",
        world.public_key(RELAY),
        underlay_v4(RELAY)
    );
    // Each lists the other, with no address.
    let keys = [world.public_key(0), world.public_key(1)];
    for n in 0..2 {
        world.hosts[n].endpoint = None;
        world.hosts[n].peer_key = Some(keys[1 - n].clone());
        world.hosts[n].more = relay.clone();
    }
    world.write()?;
    let file = format!(
        "[node]\nkey = \"node.key\"\n[control]\nsocket = \"l2vpn.sock\"\n\
         [admission]\nmembers = [\"{}\", \"{}\"]\n",
        keys[0], keys[1]
    );
    std::fs::write(world.config(RELAY), file).map_err(|e| e.to_string())?;
    Ok(world)
}

pub fn start_relay(world: &mut World) -> Result<(), String> {
    start_relay_by(world, &[])
}

/// The same without any privilege: no capability, and no way to get one.
pub fn start_relay_without_rights(world: &mut World) -> Result<(), String> {
    let drop = [
        "setpriv",
        "--bounding-set=-all",
        "--inh-caps=-all",
        "--no-new-privs",
    ];
    start_relay_by(world, &drop)
}

fn start_relay_by(world: &mut World, before: &[&str]) -> Result<(), String> {
    let config = world.config(RELAY).display().to_string();
    let program = exe().display().to_string();
    let log = world.dir().join("relay.log");
    let mut command: Vec<String> = before.iter().map(ToString::to_string).collect();
    command.extend([program, "relay".into(), config]);
    match world.ask(RELAY, &Order::Spawn(command, log))? {
        Report::Started(_) => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

/// Member 1 is in a network of its own, where the relay has an address too: there is no route between the members.
pub fn separate(world: &mut World) -> Result<(), String> {
    let there = |n: u8| std::net::IpAddr::from([198, 51, 100, n]);
    let name = |world: &World, n: usize| world.network.hosts[n].interface.clone();
    let own = name(world, 1);
    world.ask(1, &Order::RemoveAddress(own.clone(), underlay_v4(1), 24))?;
    for (n, interface) in [(1, own), (RELAY, name(world, RELAY))] {
        let more = Interface {
            name: interface,
            addresses: vec![(there(n as u8 + 1), 24)],
            ..Interface::default()
        };
        world.ask(n, &Order::Configure(more))?;
    }
    let [old, new] = [underlay_v4(RELAY), there(RELAY as u8 + 1)].map(|ip| ip.to_string());
    world.hosts[1].more = world.hosts[1].more.replace(&old, &new);
    let text = std::fs::read_to_string(world.config(1)).map_err(|e| e.to_string())?;
    std::fs::write(world.config(1), text.replace(&old, &new)).map_err(|e| e.to_string())
}
