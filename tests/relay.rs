//! What a user sees who runs a relay: real daemons, real TAPs, hosts as network namespaces.

#[cfg(feature = "upnp")]
#[path = "support/igd.rs"]
mod igd;
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
    ("a_member_relays_for_those_that_it_lists", member_relays),
    ("a_relay_needs_its_admission", admission),
    ("who_has_a_ticket_needs_no_place_on_a_list", tickets),
    ("members_on_one_lan_meet_without_relay_and_address", lan),
    ("a_port_of_the_router_is_asked_for_and_told", mapped),
    #[cfg(feature = "upnp")]
    (
        "a_router_that_speaks_upnp_only_is_asked_by_it",
        mapped_by_upnp,
    ),
    #[cfg(feature = "quic")]
    ("where_udp_does_not_pass_quic_and_tls_carry", carried),
    #[cfg(feature = "quic")]
    ("members_meet_directly_by_quic", by_quic),
    #[cfg(feature = "quic")]
    ("a_carrier_that_is_cut_is_called_again", cut_off),
    #[cfg(feature = "quic")]
    ("udp_is_taken_again_when_it_passes", udp_again),
    #[cfg(feature = "quic")]
    ("who_calls_and_proves_nothing_is_hung_up_on", strangers),
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
    let (_, paths, _) = world.cli(0, &["paths"])?;
    expect(
        paths.contains("in use") && paths.contains("ready") && paths.contains(" ms"),
        || paths.clone(),
    )?;
    let (code, net, _) = world.cli(0, &["netcheck"])?;
    expect(
        code == Some(0) && net.contains("udp passes: yes") && net.contains("nat: none"),
        || net.clone(),
    )?;
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
    start_relay_without_rights(&mut world)?;
    world.start(0)?;
    world.start(1)?;
    world.reach(0, v4(1))?;
    let pid = world.show(RELAY)?.pid;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
    let status = status.map_err(|e| e.to_string())?;
    expect(status.contains("CapEff:\t0000000000000000"), || status)?;
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

/// The relay has a port of its own, and is a peer like any other besides.
fn member_relays() -> Result<(), String> {
    let mut world = relays::world()?;
    separate(&mut world)?;
    let words = |e: std::io::Error| e.to_string();
    for n in 0..2 {
        let text = std::fs::read_to_string(world.config(n)).map_err(words)?;
        let peer = text.replace("[[relay]]\n", "[[peer]]\nroles = [\"relay\"]\n");
        expect(peer != text, || text.clone())?;
        std::fs::write(world.config(n), peer).map_err(words)?;
    }
    let keys = [world.public_key(0), world.public_key(1)];
    let file = format!(
        "[node]\nkey = \"node.key\"\n[control]\nsocket = \"l2vpn.sock\"\n\
         [[segment]]\nname = \"lan\"\nid = 1\n[[port]]\ntap = \"{TAP}\"\naddresses = [\"{}/24\"]\n\
         [admission]\nmembers = []\n\
         [[peer]]\nname = \"a\"\npublic_key = \"{}\"\n[[peer]]\nname = \"b\"\npublic_key = \"{}\"\n",
        v4(RELAY),
        keys[0],
        keys[1]
    );
    std::fs::write(world.config(RELAY), file).map_err(words)?;
    for n in [RELAY, 0, 1] {
        world.start(n)?;
    }
    for (from, to) in [(0, 1), (0, RELAY), (RELAY, 1)] {
        let logs = |w: &World| [0, 1, RELAY].map(|n| w.log(n)).join("\n");
        world
            .reach(from, v4(to))
            .map_err(|e| format!("{from} {to} {e}\n{}", logs(&world)))?;
    }
    let by_relay = ("up".to_string(), Some("relay".to_string()));
    let log = world.log(0);
    expect(path(&mut world, 0)? == by_relay, || log)?;
    world.tcp(0, 1, v4(1), 8 << 20)?;
    let (_, shown, _) = world.cli(RELAY, &["relay", "show"])?;
    let (_, numbers, _) = world.cli(RELAY, &["metrics"])?;
    expect(
        shown.contains("CHANNELS") && numbers.contains("l2vpn_channels 1\n"),
        || format!("{shown}\n{numbers}"),
    )
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

/// The relay takes calls by QUIC and TLS; member 0 has no other address of it, or one of UDP where nobody is.
#[cfg(feature = "quic")]
fn carried_world(places: &str) -> Result<World, String> {
    let mut world = relays::world()?;
    separate(&mut world)?;
    listen_by_all(&world)?;
    let old = format!("[\"{}:7656\"]", underlay_v4(RELAY));
    let text = std::fs::read_to_string(world.config(0)).map_err(|e| e.to_string())?;
    expect(text.contains(&old), || text.clone())?;
    let places = places.replace("RELAY", &underlay_v4(RELAY).to_string());
    std::fs::write(world.config(0), text.replace(&old, &places)).map_err(|e| e.to_string())?;
    start_relay(&mut world)?;
    world.start(0)?;
    world.start(1)?;
    Ok(world)
}

#[cfg(feature = "quic")]
fn listen_by_all(world: &World) -> Result<(), String> {
    let text = std::fs::read_to_string(world.config(RELAY)).map_err(|e| e.to_string())?;
    let listen = "listen = [\"[::]:7656\", \"quic:[::]:443\", \"tls:[::]:443\"]\n";
    let text = text.replace(
        "key = \"node.key\"\n",
        &format!("key = \"node.key\"\n{listen}"),
    );
    std::fs::write(world.config(RELAY), text).map_err(|e| e.to_string())
}

/// Where member 0 reaches the relay.
#[cfg(feature = "quic")]
fn relay_is_at(world: &mut World) -> Result<String, String> {
    let shown = world.show(0)?;
    let relay = shown.peers.iter().find(|p| p.way.kind == "relay");
    let relay = relay.filter(|r| r.state == "up");
    Ok(relay.and_then(|r| r.endpoint.clone()).unwrap_or_default())
}

#[cfg(feature = "quic")]
fn carried() -> Result<(), String> {
    let only = [
        ("[\"quic:RELAY:443\"]", "quic:"),
        ("[\"tls:RELAY:443\"]", "tls:"),
    ];
    let dead = ("[\"RELAY:9\", \"quic:RELAY:9\", \"tls:RELAY:443\"]", "tls:");
    for (places, carrier) in [only[0], only[1], dead] {
        let mut world = carried_world(places)?;
        let there = world.eventually(Duration::from_secs(10), |w| {
            Ok(w.ping(0, v4(1), 56, 1)?.iter().any(Option::is_some))
        })?;
        expect(there, || {
            format!("{places}\n{}\n{}", world.log(0), world.log(RELAY))
        })?;
        let at = relay_is_at(&mut world)?;
        expect(at.starts_with(carrier) && at.ends_with(":443"), || {
            at.clone()
        })?;
        for (from, to) in [(0, 1), (1, 0)] {
            let pings = world.ping(from, v4(to), 1472, 3)?;
            expect(pings.iter().all(Option::is_some), || format!("{pings:?}"))?;
            world.tcp(from, to, v4(to), 16 << 20)?;
        }
    }
    Ok(())
}

#[cfg(feature = "quic")]
fn by_quic() -> Result<(), String> {
    let mut world = World::pair(1500)?;
    let change = |world: &World, n: usize, old: &str, new: &str| {
        let text = std::fs::read_to_string(world.config(n)).map_err(|e| e.to_string())?;
        expect(text.contains(old), || text.clone())?;
        std::fs::write(world.config(n), text.replacen(old, new, 1)).map_err(|e| e.to_string())
    };
    let endpoint = format!("\"{}:7656\"", underlay_v4(1));
    change(
        &world,
        0,
        &endpoint,
        &format!("\"quic:{}:443\"", underlay_v4(1)),
    )?;
    let there = format!("endpoints = [\"{}:7656\"]", underlay_v4(0));
    change(&world, 1, &there, "")?;
    let listen = "listen = \"[::]:7656\"";
    change(
        &world,
        1,
        listen,
        "listen = [\"[::]:7656\", \"quic:[::]:443\"]",
    )?;
    world.start(0)?;
    world.start(1)?;
    let there = world.reach(0, v4(1));
    there.map_err(|e| format!("{e}\n{}\n{}", world.log(0), world.log(1)))?;
    let pings = world.ping(1, v4(0), 1472, 3)?;
    expect(pings.iter().all(Option::is_some), || format!("{pings:?}"))?;
    world.tcp(0, 1, v4(1), 16 << 20)?;
    // There was no other way to meet; UDP passes here, and is found from inside the session.
    let by_udp = world.eventually(Duration::from_secs(10), |w| {
        let shown = w.show(0)?;
        let at = shown.peers[0].endpoint.clone().unwrap_or_default();
        Ok(at == format!("{}:7656", underlay_v4(1)))
    })?;
    expect(by_udp, || world.log(0))
}

#[cfg(feature = "quic")]
fn cut_off() -> Result<(), String> {
    let mut world = carried_world("[\"quic:RELAY:443\", \"tls:RELAY:443\"]")?;
    world.reach(0, v4(1))?;
    let (code, _, stderr) = world.cli(RELAY, &["down"])?;
    expect(code == Some(0), || stderr)?;
    start_relay(&mut world)?;
    let back = world.eventually(Duration::from_secs(30), |w| {
        Ok(w.ping(0, v4(1), 56, 1)?.iter().any(Option::is_some))
    })?;
    expect(back, || format!("{}\n{}", world.log(0), world.log(RELAY)))?;
    // QUIC is better than TLS: what was called besides is hung up.
    let settled = world.eventually(Duration::from_secs(30), |w| {
        Ok(relay_is_at(w)?.starts_with("quic:"))
    })?;
    expect(settled, || world.log(0))
}

#[cfg(feature = "quic")]
fn udp_again() -> Result<(), String> {
    let mut world = carried_world("[\"RELAY:7656\", \"quic:RELAY:443\"]")?;
    world.reach(0, v4(1))?;
    let settled = world.eventually(Duration::from_secs(60), |w| {
        Ok(relay_is_at(w)?.ends_with(":7656"))
    })?;
    expect(settled, || world.log(0))?;
    world.reach(0, v4(1)).map(|_| ())
}

#[cfg(feature = "quic")]
fn strangers() -> Result<(), String> {
    let mut world = carried_world("[\"quic:RELAY:443\"]")?;
    world.reach(0, v4(1))?;
    // Not a word of TLS, and the end comes.
    let script = format!(
        "exec 3<>/dev/tcp/{}/443; timeout 30 cat <&3; echo \"ended: $?\"",
        underlay_v4(RELAY)
    );
    let log = world.dir().join("stranger.log");
    let command = ["bash", "-c", &script].map(String::from).to_vec();
    world.ask(0, &l2vpn::lab::orders::Order::Spawn(command, log.clone()))?;
    let ended = world.eventually(Duration::from_secs(40), |_| {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        Ok(text.contains("ended: 0"))
    })?;
    expect(ended, || std::fs::read_to_string(&log).unwrap_or_default())
}

fn lan() -> Result<(), String> {
    for underlay in [Underlay::V4, Underlay::V6] {
        let mut world = World::new(&[underlay; 2], 1500)?;
        for n in 0..2 {
            world.hosts[n].endpoint = None;
        }
        world.write()?;
        world.start(0)?;
        std::thread::sleep(Duration::from_secs(4));
        world.start(1)?;
        let met = world.eventually(Duration::from_secs(3), |w| {
            let is_up = |w: &mut World, n| Ok::<_, String>(w.show(n)?.peers[0].state == "up");
            Ok(is_up(w, 0)? && is_up(w, 1)?)
        })?;
        expect(met, || format!("{}\n{}", world.log(0), world.log(1)))?;
        world.reach(0, v4(1))?;
    }
    Ok(())
}

/// Answers requests for mappings (RFC 6887 section 11) as a router does, until one was answered.
fn router(socket: std::net::UdpSocket) {
    let mut request = [0; 1100];
    while let Ok((len, from)) = socket.recv_from(&mut request) {
        // Version 2, operation 1.
        if len < 60 || request[..2] != [2, 1] {
            continue;
        }
        let mut answer = request[..60].to_vec();
        answer[1] = 0x81;
        answer[3] = 0;
        answer[4..8].copy_from_slice(&600u32.to_be_bytes());
        answer[8..12].copy_from_slice(&77u32.to_be_bytes());
        answer[12..24].fill(0);
        answer[42..44].copy_from_slice(&40_001u16.to_be_bytes());
        let outside = std::net::Ipv4Addr::new(203, 0, 113, 9).to_ipv6_mapped();
        answer[44..60].copy_from_slice(&outside.octets());
        let _ = socket.send_to(&answer, from);
    }
}

/// A member whose router is this host, at 192.168.7.1, and one that it tells what it has found out.
fn behind_router() -> Result<World, String> {
    if std::process::Command::new("ip").arg("-V").output().is_err() {
        return Err(format!("{}iproute2 is not installed", stage::SKIPPED));
    }
    let mut world = World::pair(1500)?;
    let shell = |line: &str| {
        let status = std::process::Command::new("sh").args(["-c", line]).status();
        expect(status.is_ok_and(|s| s.success()), || line.to_string())
    };
    shell("ip address add 192.168.7.1/24 dev $(ip -o link show type bridge | cut -d: -f2)")?;
    let interface = world.network.hosts[0].interface.clone();
    let line = format!(
        "ip address add 192.168.7.2/24 dev {interface} && ip route add default via 192.168.7.1"
    );
    let command = ["sh", "-c", &line].map(String::from).to_vec();
    world.ask(0, &l2vpn::lab::orders::Order::Execute(command))?;
    Ok(world)
}

/// Both members know that the first is at this address on the outside of its router.
fn is_mapped_to(world: &mut World, outside: &str) -> Result<(), String> {
    world.start_all()?;
    world.reach(0, v4(1))?;
    let told = world.eventually(Duration::from_secs(20), |w| {
        let (_, net, _) = w.cli(0, &["netcheck"])?;
        let (_, paths, _) = w.cli(1, &["paths"])?;
        Ok(net.contains(&format!("port mapping: {outside}")) && paths.contains(outside))
    })?;
    let (_, net, _) = world.cli(0, &["netcheck"])?;
    let (_, paths, _) = world.cli(1, &["paths"])?;
    expect(told, || format!("{net}\n{paths}"))
}

fn mapped() -> Result<(), String> {
    let mut world = behind_router()?;
    let socket = std::net::UdpSocket::bind("192.168.7.1:5351").map_err(|e| e.to_string())?;
    std::thread::spawn(move || router(socket));
    is_mapped_to(&mut world, "203.0.113.9:40001")
}

#[cfg(feature = "upnp")]
fn mapped_by_upnp() -> Result<(), String> {
    let mut world = behind_router()?;
    let words = |e: std::io::Error| e.to_string();
    // It listens to its group and to nothing else.
    let search = std::net::UdpSocket::bind("239.255.255.250:1900").map_err(words)?;
    search
        .join_multicast_v4(&[239, 255, 255, 250].into(), &[192, 168, 7, 1].into())
        .map_err(words)?;
    let service = std::net::TcpListener::bind("192.168.7.1:5000").map_err(words)?;
    std::thread::spawn(move || igd::serve(search, service));
    is_mapped_to(&mut world, "203.0.113.8:7656")
}

fn tickets() -> Result<(), String> {
    let mut world = relays::world()?;
    separate(&mut world)?;
    let secret = world.dir().join("relay.secret").display().to_string();
    let (code, _, stderr) = run(&mut world, &["key", "psk", "-o", &secret])?;
    expect(code == Some(0), || stderr)?;
    let file = format!(
        "[node]\nkey = \"node.key\"\n[control]\nsocket = \"l2vpn.sock\"\n\
         [admission]\nsecret_file = \"{secret}\"\n"
    );
    std::fs::write(world.config(RELAY), file).map_err(|e| e.to_string())?;
    for n in 0..2 {
        let key = world.public_key(n);
        let order = ["relay", "ticket", "--secret", &secret, "--days", "1", &key];
        let (code, ticket, stderr) = run(&mut world, &order)?;
        expect(code == Some(0) && ticket.trim().len() == 32, || stderr)?;
        let text = std::fs::read_to_string(world.config(n)).map_err(|e| e.to_string())?;
        let relay = "name = \"relay\"\n";
        expect(text.contains(relay), || text.clone())?;
        let with = format!("{relay}ticket = \"{}\"\n", ticket.trim());
        std::fs::write(world.config(n), text.replace(relay, &with)).map_err(|e| e.to_string())?;
    }
    start_relay(&mut world)?;
    world.start(0)?;
    world.start(1)?;
    world.reach(0, v4(1))?;
    let (_, shown, _) = world.cli(RELAY, &["relay", "show"])?;
    expect(
        shown.lines().filter(|l| l.contains(" up ")).count() == 2,
        || shown.clone(),
    )?;
    let (code, _, stderr) = run(
        &mut world,
        &["relay", "ticket", "--secret", &secret, "junk"],
    )?;
    expect(
        code == Some(1) && stderr.contains("not a public key"),
        || stderr,
    )
}

fn run(world: &mut World, args: &[&str]) -> Result<(Option<i32>, String, String), String> {
    let host = &mut world.network.hosts[0];
    host.run(args).map_err(|e| e.to_string())
}
