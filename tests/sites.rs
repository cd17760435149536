//! Sites with bridges and hosts behind them, as a user sees them: real TAPs, kernel bridges, spanning tree, DHCP.
//!
//! How stories are told: `support/stage.rs`.

#[path = "support/stage.rs"]
mod stage;
#[path = "support/world.rs"]
mod world;

use std::net::IpAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use l2vpn::api::{EventView, MacView, NeighborView, VlanView};
use l2vpn::io::process;
use l2vpn::lab::orders::{Interface, Order, Report};
use stage::{SKIPPED, Story};
use world::*;

const STORIES: &[(&str, Story)] = &[
    ("a_known_address_is_not_asked_for_again", suppression),
    ("a_taken_address_is_defended_by_the_switch", defence),
    (
        "three_sites_with_bridged_hosts_reach_each_other",
        three_sites,
    ),
    ("a_host_that_moves_is_reached_within_a_second", moved_host),
    ("a_dead_members_macs_are_gone_in_five_seconds", dead_member),
    ("the_loop_guard_closes_one_of_two_gateways", loop_guard),
    ("two_gateways_with_spanning_tree_fail_over", spanning_tree),
    ("dhcp_crosses", dhcp),
    ("a_bridge_is_made_and_its_faults_are_told", bridge_faults),
    ("verbs_show_hosts_vlans_and_events", verbs),
    ("priorities_are_shown_on_the_outside", priorities),
];

fn main() -> ExitCode {
    stage::play("sites", STORIES)
}

fn interface(name: &str, bridge: Option<&str>) -> Order {
    Order::Configure(Interface {
        name: name.into(),
        bridge: bridge.map(str::to_string),
        ..Interface::default()
    })
}

/// A bridge at a member, before the member starts.
fn add_bridge(world: &mut World, n: usize) -> Result<(), String> {
    world.ask(n, &Order::AddBridge("br0".into()))?;
    world.ask(n, &interface("br0", None)).map(|_| ())
}

/// A member whose port joins `br0`, without an address of its own.
fn bridge_port(world: &mut World, n: usize, more: &str) {
    world.hosts[n].addresses.clear();
    world.hosts[n].port = format!("bridge = \"br0\"\n{more}");
}

/// A host with an address behind the bridge of a member, by a cable of its own.
fn host_behind(world: &mut World, n: usize, address: IpAddr) -> Result<usize, String> {
    let host = world.add_plain_host()?;
    let cable = format!("cable{host}");
    plug(world, n, &cable, host, "eth0")?;
    let eth0 = Interface {
        name: "eth0".into(),
        mac: Some([2, 0, 0, 0, 0xee, host as u8]),
        addresses: vec![(address, 24)],
        ..Interface::default()
    };
    world.ask(host, &Order::Configure(eth0))?;
    Ok(host)
}

/// A cable from the bridge of a member to another host.
fn plug(world: &mut World, n: usize, cable: &str, host: usize, end: &str) -> Result<(), String> {
    world.ask(n, &Order::AddVeth(cable.into(), end.into()))?;
    world.ask(n, &interface(cable, Some("br0")))?;
    let pid = world.network.hosts[host].pid();
    world.ask(n, &Order::GiveTo(end.into(), pid)).map(|_| ())
}

fn ask_json<T: serde::de::DeserializeOwned>(
    world: &mut World,
    n: usize,
    verb: &[&str],
) -> Result<T, String> {
    let (code, stdout, stderr) = world.cli(n, verb)?;
    expect(code == Some(0), || format!("{verb:?}: {stderr}"))?;
    serde_json::from_str(&stdout).map_err(|e| format!("{verb:?}: {e}: {stdout}"))
}

fn events(world: &mut World, n: usize) -> Result<Vec<EventView>, String> {
    let (_, stdout, _) = world.cli(n, &["events", "--json"])?;
    // Each is an object of its own.
    let stream = serde_json::Deserializer::from_str(&stdout).into_iter();
    stream.collect::<Result<_, _>>().map_err(|e| e.to_string())
}

/// Whether a frame that ends so comes to a host's interface while something happens.
fn sees(
    world: &mut World,
    n: usize,
    device: &str,
    end: &[u8],
    during: impl FnOnce(&mut World) -> Result<(), String>,
) -> Result<Option<Vec<u8>>, String> {
    world.ask(n, &Order::Watch(device.into()))?;
    during(world)?;
    match world.ask(n, &Order::Expect(end.to_vec(), 300))? {
        Report::Frame(seen) => Ok(seen.ok()),
        _ => Err("the watch is gone".into()),
    }
}

fn suppression() -> Result<(), String> {
    let mut world = World::pair(1500)?;
    world.start_all()?;
    world.reach(0, v4(1))?;
    // On a busy machine the first exchange may be one of the link-local address, while the other is not free yet, and who
    // asks with an address for the first time is heard by all.
    let own = v6(0).to_string();
    let exchanged = world.eventually(Duration::from_secs(5), |w| {
        w.ask(0, &Order::ForgetNeighbors(TAP.into()))?;
        w.reach(0, v6(1))?;
        let known: Vec<NeighborView> = ask_json(w, 0, &["neighbors", "--json"])?;
        Ok(known.iter().any(|n| n.ip == own))
    })?;
    expect(exchanged, || format!("{own} was never heard"))?;
    // "Who has 10.77.0.2?" ends so: the unknown MAC and the address.
    let arp = [0, 0, 0, 0, 0, 0, 10, 77, 0, 2];
    // A solicitation ends with the option of who asks: its MAC.
    let Report::Mac(Some(mac)) = world.ask(0, &Order::Mac(TAP.into()))? else {
        return Err("no MAC".into());
    };
    let solicitation = [&[1u8, 1][..], &mac].concat();
    for (to, end) in [(v4(1), &arp[..]), (v6(1), &solicitation[..])] {
        for _ in 0..3 {
            let asked = sees(&mut world, 1, TAP, end, |world| {
                world.ask(0, &Order::ForgetNeighbors(TAP.into()))?;
                world.reach(0, to).map(|_| ())
            })?;
            expect(asked.is_none(), || {
                format!("{to} was asked for at the other member: {asked:02x?}")
            })?;
        }
    }
    // An address that nobody has is asked for everywhere.
    let unknown = [0, 0, 0, 0, 0, 0, 10, 77, 0, 99];
    let asked = sees(&mut world, 1, TAP, &unknown, |world| {
        let _ = world.ping(0, "10.77.0.99".parse().map_err(|_| "address")?, 8, 1);
        Ok(())
    })?;
    expect(asked.is_some(), || {
        "the question for an unknown address did not come".into()
    })?;
    // And with the switch off, each time.
    for n in 0..2 {
        let text = std::fs::read_to_string(world.config(n)).map_err(|e| e.to_string())?;
        let text = text.replace("id = 1\n", "id = 1\nsuppress_arp = false\n");
        std::fs::write(world.config(n), text).map_err(|e| e.to_string())?;
        world.signal(n, process::SIGTERM)?;
        world.start(n)?;
    }
    world.reach(0, v4(1))?;
    let asked = sees(&mut world, 1, TAP, &arp, |world| {
        world.ask(0, &Order::ForgetNeighbors(TAP.into()))?;
        world.reach(0, v4(1)).map(|_| ())
    })?;
    expect(asked.is_some(), || {
        "switched off, the question did not come".into()
    })
}

fn defence() -> Result<(), String> {
    let mut world = World::pair(1500)?;
    world.start_all()?;
    world.reach(0, v4(1))?;
    // RFC 5227: whoever wants 10.77.0.2 asks with no address of its own.
    let probe = |last: u8| {
        let mac = [2, 0, 0, 0, 0, 0x77];
        let mut frame = [[0xff; 6], mac].concat();
        frame.extend_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        frame.extend_from_slice(&mac);
        frame.extend_from_slice(&[0; 10]);
        frame.extend_from_slice(&[10, 77, 0, last]);
        frame
    };
    // The answer is for the one who asks, and names no address of its.
    let answer = [2, 0, 0, 0, 0, 0x77, 0, 0, 0, 0];
    let inject = |last: u8| Order::Inject(TAP.into(), probe(last));
    let answered = sees(&mut world, 0, TAP, &answer, |w| {
        w.ask(0, &inject(2)).map(|_| ())
    })?;
    expect(answered.is_some(), || {
        "a taken address was not defended".into()
    })?;
    let answered = sees(&mut world, 0, TAP, &answer, |w| {
        w.ask(0, &inject(200)).map(|_| ())
    })?;
    expect(answered.is_none(), || "a free address was defended".into())
}

fn three_sites() -> Result<(), String> {
    let mut world = World::mesh()?;
    for n in 0..3 {
        bridge_port(&mut world, n, "");
        add_bridge(&mut world, n)?;
    }
    world.write()?;
    world.start_all()?;
    world.all_connected()?;
    let mut hosts = Vec::new();
    for n in 0..3 {
        for k in 0..2u8 {
            let address: IpAddr = [10, 77, 0, 10 * (n as u8 + 1) + k].into();
            hosts.push((host_behind(&mut world, n, address)?, address));
        }
    }
    for (from, _) in hosts.clone() {
        for (to, address) in &hosts {
            if from != *to {
                world.reach(from, *address)?;
            }
        }
    }
    let trips = world.ping(hosts[0].0, hosts[5].1, 1472, 3)?;
    expect(trips.iter().all(Option::is_some), || format!("{trips:?}"))?;
    world.tcp(hosts[0].0, hosts[2].0, hosts[2].1, 8 << 20)?;
    let drops = world.show(0)?.drops;
    expect(!drops.contains_key("port-blocked"), || format!("{drops:?}"))
}

fn moved_host() -> Result<(), String> {
    let mut world = World::mesh()?;
    for n in 1..3 {
        bridge_port(&mut world, n, "");
        add_bridge(&mut world, n)?;
    }
    world.write()?;
    world.start_all()?;
    world.all_connected()?;
    let address: IpAddr = [10, 77, 0, 50].into();
    let host = host_behind(&mut world, 1, address)?;
    world.reach(0, address)?;
    world.reach(host, v4(0))?;
    let cable = format!("cable{host}");
    for (from, to) in [(1, 2), (2, 1)] {
        // The cable goes to the other site, with the host on its end: MAC and address stay.
        let pid = world.network.hosts[to].pid();
        world.ask(from, &Order::GiveTo(cable.clone(), pid))?;
        let last_heard = Instant::now();
        world.ask(to, &interface(&cable, Some("br0")))?;
        // A busy kernel takes up to a second until it uses a cable that is plugged in: that is not ours.
        let mut plugged = Duration::ZERO;
        for (n, name) in [(to, &cable[..]), (host, "eth0")] {
            let up = world.eventually(Duration::from_secs(5), |w| {
                let state = w.ask(n, &Order::Operational(name.into()))?;
                plugged = last_heard.elapsed();
                Ok(state == Report::Flag(Some(true)))
            })?;
            expect(up, || format!("{name} is not in operation"))?;
        }
        // The host goes on with what it was doing, every 50 ms.
        let end = Instant::now() + Duration::from_secs(5);
        let mut answered = false;
        while !answered && Instant::now() < end {
            let ping = l2vpn::lab::orders::Ping {
                to: v4(0),
                count: 1,
                size: 56,
                whole: true,
                timeout_ms: 50,
                device: None,
            };
            let trips = world.network.hosts[host].ping(ping);
            answered = trips.is_ok_and(|t| t.iter().all(Option::is_some));
        }
        let gap = last_heard.elapsed() - plugged;
        expect(answered && gap < Duration::from_secs(1), || {
            format!("to {to}: {gap:?}")
        })?;
        // And it is reached by who has not heard of the move but by being told.
        let trips = world.ping(0, address, 56, 5)?;
        expect(trips.iter().all(Option::is_some), || format!("{trips:?}"))?;
        let told = world.eventually(Duration::from_secs(1), |w| {
            let macs: Vec<MacView> = ask_json(w, from, &["macs", "--json", "--peer", NAMES[to]])?;
            Ok(macs
                .iter()
                .any(|m| m.mac.ends_with(&format!("ee:{host:02x}")) && m.told))
        })?;
        expect(told, || "the old place was not told".into())?;
    }
    let moves = events(&mut world, 0)?;
    let moves = moves.iter().filter(|e| e.kind == "mac-moved");
    expect(moves.count() >= 2, || "no event of the moves".into())
}

fn dead_member() -> Result<(), String> {
    let mut world = World::pair(1500)?;
    world.start_all()?;
    world.reach(0, v4(1))?;
    let behind_b = |w: &mut World| -> Result<usize, String> {
        let macs: Vec<MacView> = ask_json(w, 0, &["macs", "--json", "--peer", "b"])?;
        Ok(macs.len())
    };
    expect(behind_b(&mut world)? > 0, || {
        "nothing is known behind b".into()
    })?;
    let began = Instant::now();
    world.ask(
        1,
        &Order::Signal {
            signal: process::SIGSTOP,
            wait: false,
        },
    )?;
    let gone = world.eventually(Duration::from_secs(7), |w| Ok(behind_b(w)? == 0))?;
    let took = began.elapsed();
    expect(gone && took <= Duration::from_secs(7), || {
        format!("{gone} {took:?}")
    })?;
    world.ask(
        1,
        &Order::Signal {
            signal: process::SIGCONT,
            wait: false,
        },
    )?;
    world.reach(0, v4(1))?;
    let began = Instant::now();
    world.signal(1, process::SIGTERM)?;
    let gone = world.eventually(Duration::from_secs(1), |w| Ok(behind_b(w)? == 0))?;
    let took = began.elapsed();
    expect(gone && took < Duration::from_millis(500), || {
        format!("{gone} {took:?}")
    })
}

/// A site with two gateways, members a and b, on one LAN with a host; c is elsewhere, with a host. Gives both hosts.
fn two_gateways(more: &str) -> Result<(World, usize, usize), String> {
    let mut world = World::mesh()?;
    for n in 0..3 {
        bridge_port(&mut world, n, more);
        add_bridge(&mut world, n)?;
    }
    world.write()?;
    // The LAN of the site is a bridge of a host of its own, which has an address on it.
    let site = world.add_plain_host()?;
    add_bridge(&mut world, site)?;
    let address = Interface {
        name: "br0".into(),
        // Its own would change with the ports that come and go.
        mac: Some([2, 0, 0, 0, 0xee, 0x64]),
        addresses: vec![([10, 77, 0, 100].into(), 24)],
        ..Interface::default()
    };
    world.ask(site, &Order::Configure(address))?;
    let far = host_behind(&mut world, 2, [10, 77, 0, 200].into())?;
    Ok((world, site, far))
}

fn wire_gateways(world: &mut World, site: usize) -> Result<(), String> {
    for n in 0..2 {
        let (cable, end) = (format!("lan{n}"), format!("gw{n}"));
        plug(world, n, &cable, site, &end)?;
        world.ask(site, &interface(&end, Some("br0")))?;
    }
    Ok(())
}

fn spanning_tree() -> Result<(), String> {
    let (mut world, site, far) = two_gateways("loop_guard = false\n")?;
    for n in [0, 1, 2, site] {
        let report = world.ask(n, &Order::StartStp("br0".into(), (1, 6, 2)))?;
        expect(report == Report::Done, || format!("{report:?}"))?;
    }
    world.start_all()?;
    world.all_connected()?;
    wire_gateways(&mut world, site)?;
    // One port of the ring blocks: which, says spanning tree.
    std::thread::sleep(Duration::from_secs(7));
    world.reach(far, [10, 77, 0, 100].into())?;
    let before = broadcasts(&mut world)?;
    std::thread::sleep(Duration::from_secs(2));
    let storm = broadcasts(&mut world)? - before;
    expect(storm < 200, || {
        format!("{storm} frames in two quiet seconds")
    })?;
    // The gateway that is in use dies: the one whose bridge learned the far host on its TAP.
    let to_site: IpAddr = [10, 77, 0, 100].into();
    let carried = |w: &mut World, n: usize| -> Result<u64, String> {
        let shown = w.show(n)?;
        Ok(shown.peers.iter().map(|p| p.transfer.rx_frames).sum())
    };
    let (a, b) = (carried(&mut world, 0)?, carried(&mut world, 1)?);
    let _ = world.ping(far, to_site, 56, 10)?;
    let (a, b) = (carried(&mut world, 0)? - a, carried(&mut world, 1)? - b);
    let active = usize::from(b > a);
    world.signal(active, process::SIGKILL)?;
    let began = Instant::now();
    world.reach(far, to_site)?;
    let took = began.elapsed();
    // The shortest that the kernel's spanning tree takes when a bridge behind another is gone: what was heard of it ages
    // for 6 s, and a port listens and learns for 2 s each.
    expect(took <= Duration::from_secs(12), || {
        format!("fail-over took {took:?} from {active} ({a} {b})")
    })
}

/// Frames that members a and b have taken from each other and c.
fn broadcasts(world: &mut World) -> Result<u64, String> {
    let mut all = 0;
    for n in 0..2 {
        let shown = world.show(n)?;
        all += shown
            .peers
            .iter()
            .map(|p| p.transfer.rx_frames)
            .sum::<u64>();
    }
    Ok(all)
}

fn loop_guard() -> Result<(), String> {
    let (mut world, site, far) = two_gateways("")?;
    world.start_all()?;
    world.all_connected()?;
    let blocked = |w: &mut World| -> Result<usize, String> {
        let mut count = 0;
        for n in 0..2 {
            count += usize::from(w.show(n)?.ports[0].manner.blocked);
        }
        Ok(count)
    };
    expect(blocked(&mut world)? == 0, || "closed without a loop".into())?;
    wire_gateways(&mut world, site)?;
    let began = Instant::now();
    let found = world.eventually(Duration::from_secs(5), |w| Ok(blocked(w)? == 1))?;
    let took = began.elapsed();
    expect(found && took < Duration::from_millis(3500), || {
        format!("{found} after {took:?}")
    })?;
    // It stays so, and the site is reached by the other one, without a storm.
    std::thread::sleep(Duration::from_secs(1));
    world.reach(far, [10, 77, 0, 100].into())?;
    let before = broadcasts(&mut world)?;
    std::thread::sleep(Duration::from_secs(4));
    let storm = broadcasts(&mut world)? - before;
    expect(storm < 300, || {
        format!("{storm} frames in four quiet seconds")
    })?;
    expect(blocked(&mut world)? == 1, || {
        "it did not stay closed".into()
    })?;
    let closed = usize::from(world.show(1)?.ports[0].manner.blocked);
    let told = events(&mut world, closed)?;
    expect(told.iter().any(|e| e.kind == "loop"), || {
        format!("{told:?}")
    })?;
    // The loop is opened by hand: the port comes back by itself.
    world.ask(1 - closed, &Order::Remove(format!("lan{}", 1 - closed)))?;
    let open = world.eventually(Duration::from_secs(10), |w| Ok(blocked(w)? == 0))?;
    expect(open, || "it stayed closed".into())?;
    world.reach(far, [10, 77, 0, 100].into())?;
    let told = events(&mut world, closed)?;
    expect(told.iter().any(|e| e.kind == "loop-gone"), || {
        format!("{told:?}")
    })
}

/// Whether a program of the system can be run, or why not.
fn require(programs: &[&str]) -> Result<(), String> {
    for program in programs {
        let there = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"]
            .iter()
            .any(|dir| std::path::Path::new(dir).join(program).exists());
        expect(there, || format!("{SKIPPED}{program} is not installed"))?;
    }
    Ok(())
}

fn dhcp() -> Result<(), String> {
    require(&["dnsmasq", "busybox", "ip"])?;
    let mut world = World::pair(1500)?;
    // Both guard; the server is behind b, which has the role.
    for n in 0..2 {
        world.hosts[n].more = "roles = [\"dhcp-server\"]\n".into();
    }
    world.hosts[0].addresses.clear();
    world.hosts[1].port = "roles = [\"dhcp-server\"]\n".into();
    world.write()?;
    for n in 0..2 {
        let text = std::fs::read_to_string(world.config(n)).map_err(|e| e.to_string())?;
        let text = text.replace(
            "id = 1\n",
            "id = 1\nguard = [\"dhcp-server\", \"router\"]\n",
        );
        std::fs::write(world.config(n), text).map_err(|e| e.to_string())?;
    }
    world.start_all()?;
    world.connected(0)?;
    let dir = world.dir().display().to_string();
    let server = [
        "dnsmasq",
        "--no-daemon",
        "--conf-file=/dev/null",
        "--port=0",
        "--user=",
        "--group=",
        "--bind-interfaces",
        &format!("--interface={TAP}"),
        "--dhcp-range=10.77.0.100,10.77.0.120,255.255.255.0,1h",
        &format!("--dhcp-leasefile={dir}/leases"),
        &format!("--pid-file={dir}/dnsmasq.pid"),
    ];
    let server = server.map(str::to_string).to_vec();
    world.ask(
        1,
        &Order::Spawn(server, format!("{dir}/dnsmasq.log").into()),
    )?;
    let script = format!("{dir}/lease.sh");
    let text =
        "#!/bin/sh\n[ \"$1\" = bound ] && ip addr add \"$ip/24\" dev \"$interface\"\nexit 0\n";
    std::fs::write(&script, text).map_err(|e| e.to_string())?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&script, mode).map_err(|e| e.to_string())?;
    let client = [
        "busybox", "udhcpc", "-i", TAP, "-n", "-q", "-f", "-t", "5", "-T", "1", "-s", &script,
    ];
    let client = client.map(str::to_string).to_vec();
    let report = world.ask(0, &Order::Execute(client))?;
    let log = std::fs::read_to_string(format!("{dir}/dnsmasq.log")).unwrap_or_default();
    expect(
        matches!(&report, Report::Ended { code: Some(0), .. }),
        || format!("{report:?}\n{log}"),
    )?;
    expect(log.contains("DHCPACK"), || log.clone())?;
    world.reach(0, v4(1))?;
    // The guard was in nobody's way.
    let drops = world.show(1)?.drops;
    expect(!drops.contains_key("dhcp-guard"), || format!("{drops:?}"))
}

fn bridge_faults() -> Result<(), String> {
    let mut world = World::pair(1500)?;
    bridge_port(&mut world, 0, "create_bridge = true\nloop_guard = false\n");
    world.write()?;
    world.start_all()?;
    world.connected(0)?;
    expect(world.interfaces(0)?.contains(&"br0".to_string()), || {
        "no bridge was made".into()
    })?;
    let told = |w: &mut World, words: &str| -> Result<(), String> {
        let words = words.to_string();
        let there = w.eventually(Duration::from_secs(8), |w| {
            let warnings = w.show(0)?.ports[0].manner.bridge_warnings.clone();
            Ok(warnings.iter().any(|t| t.contains(&words)))
        })?;
        let shown = w.show(0)?.ports[0].manner.clone();
        expect(there, || format!("nobody said \"{words}\": {shown:?}"))
    };
    told(&mut world, "no other port")?;
    told(&mut world, "neither spanning tree nor the loop guard")?;
    let host = host_behind(&mut world, 0, [10, 77, 0, 40].into())?;
    world.reach(host, v4(1))?;
    let small = Interface {
        name: format!("cable{host}"),
        mtu: Some(1400),
        bridge: Some("br0".into()),
        ..Interface::default()
    };
    world.ask(0, &Order::Configure(small))?;
    told(&mut world, "takes 1400 bytes and this port 1500")?;
    world.ask(0, &Order::SetDown("br0".into()))?;
    told(&mut world, "br0 is down")?;
    let log = world.log(0);
    expect(log.contains("br0 is down"), || log)
}

fn verbs() -> Result<(), String> {
    let mut world = World::pair(1500)?;
    world.hosts[1].port = "pinned = [\"02:00:00:00:00:aa@20\"]\n".into();
    world.write()?;
    world.start_all()?;
    world.reach(0, v4(1))?;
    let tagged = frame([0xff; 6], [2, 0, 0, 0, 0, 9], &[0x81, 0, 0, 20], &[7; 50]);
    world.crosses(1, 0, &tagged, &tagged)?;
    let all: Vec<MacView> = ask_json(&mut world, 0, &["macs", "--json"])?;
    let in_20: Vec<MacView> = ask_json(&mut world, 0, &["macs", "--json", "--vlan", "20"])?;
    expect(in_20.len() == 2 && all.len() > 2, || format!("{all:?}"))?;
    expect(in_20.iter().all(|m| m.told && m.place == "b"), || {
        format!("{in_20:?}")
    })?;
    let pinned: Vec<MacView> = ask_json(&mut world, 1, &["macs", "--json", "--vlan", "20"])?;
    expect(
        pinned
            .iter()
            .any(|m| m.pinned && m.mac == "02:00:00:00:00:aa"),
        || format!("{pinned:?}"),
    )?;
    let vlans: Vec<VlanView> = ask_json(&mut world, 0, &["vlans", "--json"])?;
    let v20 = vlans
        .iter()
        .find(|v| v.vlan == "20")
        .ok_or("VLAN 20 is not shown")?;
    expect(
        v20.peers == ["b"] && v20.macs == 2 && v20.peer_frames >= 1 && v20.floods >= 1,
        || format!("{v20:?}"),
    )?;
    let neighbors: Vec<NeighborView> = ask_json(&mut world, 0, &["neighbors", "--json"])?;
    let b = neighbors.iter().find(|n| n.ip == v4(1).to_string());
    expect(b.is_some_and(|n| n.told && n.place == "b"), || {
        format!("{neighbors:?}")
    })?;
    let up = events(&mut world, 0)?;
    expect(
        up.iter()
            .any(|e| e.kind == "peer-up" && e.message.contains('b')),
        || format!("{up:?}"),
    )?;
    let (code, stdout, _) =
        world.cli(0, &["ping", "02:00:00:00:00:aa", "--vlan", "20", "-c", "1"])?;
    expect(code == Some(0) && stdout.contains("from b"), || stdout)?;
    let (code, _, stderr) =
        world.cli(0, &["ping", "02:00:00:00:00:aa", "--vlan", "30", "-c", "1"])?;
    expect(code == Some(1) && stderr.contains("in VLAN 30"), || stderr)?;
    let (code, stdout, _) = world.cli(0, &["macs", "flush", "--vlan", "20"])?;
    expect(
        code == Some(0) && stdout.contains("2 MACs forgotten"),
        || stdout,
    )?;
    // Its member tells of them again.
    let again = world.eventually(Duration::from_secs(2), |w| {
        let macs: Vec<MacView> = ask_json(w, 0, &["macs", "--json", "--vlan", "20"])?;
        Ok(macs.len() == 2)
    })?;
    expect(again, || "they were not told again".into())?;
    // What there is not is said, and no empty table shown.
    for (option, name, message) in [
        ("--peer", "nobody", "no peer \"nobody\""),
        ("--port", "b", "no port \"b\""),
        ("--segment", "nowhere", "no segment \"nowhere\""),
        ("--vlan", "5000", "\"5000\" is no VLAN"),
    ] {
        for verb in [&["macs"][..], &["macs", "flush"]] {
            let line = [verb, &[option, name]].concat();
            let (code, _, stderr) = world.cli(0, &line)?;
            expect(code == Some(1) && stderr.contains(message), || stderr)?;
        }
    }
    Ok(())
}

fn priorities() -> Result<(), String> {
    let mut world = World::pair(1500)?;
    world.hosts[0].node = "dscp = \"pcp\"\n".into();
    world.write()?;
    world.start_all()?;
    world.connected(0)?;
    let underlay = world
        .interfaces(1)?
        .into_iter()
        .find(|n| n != "lo" && n != TAP)
        .ok_or("no underlay")?;
    // The outer header is what the kernel shows of it; the payload is ciphertext, so the length tells the frame.
    for (pcp, class) in [(0u8, 0u8), (1, 1), (5, 5), (7, 7)] {
        let tagged = frame(
            [0xff; 6],
            [2, 0, 0, 0, 0, 9],
            &[0x81, 0, pcp << 5, 20],
            &[7; 1200],
        );
        let seen = world.outer_classes(0, 1, &underlay, &tagged)?;
        expect(seen.iter().any(|tos| tos >> 5 == class), || {
            format!("PCP {pcp}: {seen:?}")
        })?;
        expect(seen.iter().all(|tos| tos & 3 == 0), || {
            format!("ECN bits: {seen:?}")
        })?;
    }
    Ok(())
}
