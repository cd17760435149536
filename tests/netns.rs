//! What a user sees: real TAPs, real daemons, hosts as network namespaces.
//!
//! How stories are told: `support/stage.rs`.

#[path = "support/frames.rs"]
mod frames;
#[path = "support/kernel.rs"]
mod kernel;
#[path = "support/stage.rs"]
mod stage;
#[path = "support/world.rs"]
mod world;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use l2vpn::io::process;
use l2vpn::lab::orders::{Impair, Interface, Order, Report, Stream};
use stage::Story;
use world::*;

const STORIES: &[(&str, Story)] = &[
    ("hosts_reach_each_other_over_ipv4_and_ipv6", reach),
    (
        "full_size_pings_cross_underlays_of_1500_1400_and_1280",
        full_size_pings,
    ),
    ("a_tcp_transfer_arrives_intact_both_ways", tcp_both_ways),
    ("an_ipv6_underlay_carries_the_same", ipv6_underlay),
    ("multicast_and_tagged_frames_cross_bit_for_bit", raw_frames),
    (
        "an_access_port_speaks_untagged_and_a_trunk_tagged",
        access_and_trunk,
    ),
    ("equal_addresses_in_two_segments_do_not_meet", two_segments),
    ("a_bridge_brings_the_host_behind_it", bridged_host),
    ("a_bridge_that_is_not_there_is_an_error", missing_bridge),
    ("a_host_with_a_new_mac_is_reached_within_a_second", new_mac),
    (
        "a_killed_daemon_leaves_nothing_behind_and_starts_again",
        killed,
    ),
    ("down_says_goodbye_and_cleans_up", down),
    ("sigterm_and_sigint_say_goodbye_too", signals),
    ("a_second_start_is_refused", second_start),
    ("taken_names_and_ports_are_explained", taken),
    ("a_removed_tap_does_not_stop_the_others", removed_tap),
    ("an_underlay_that_goes_away_comes_back", unplugged),
    ("a_member_that_changes_its_address_is_followed", roaming),
    (
        "a_member_whose_name_leads_elsewhere_is_found_there",
        renamed,
    ),
    ("a_shrinking_underlay_heals", shrinking),
    ("an_unwritable_state_directory_is_no_obstacle", no_state),
    ("the_carrier_follows_the_peers", carrier),
    ("show_macs_and_ping_tell_the_truth", verbs),
    #[cfg(feature = "aws-lc")]
    (
        "who_requires_a_post_quantum_secret_has_it_or_nothing",
        quantum,
    ),
    ("a_stranger_is_refused_in_silence", stranger),
    (
        "an_answer_comes_from_the_address_that_was_asked",
        source_address,
    ),
    ("a_ping_that_is_answered_in_part_is_degraded", degraded),
    (
        "an_underlay_routed_into_the_overlay_does_not_multiply",
        routing_loop,
    ),
    ("a_suspended_daemon_wakes_up_connected", suspended),
    (
        "super_frames_are_cut_as_the_kernel_cuts_them",
        kernel::cuts_alike,
    ),
    (
        "what_we_join_the_kernel_cuts_into_what_it_was",
        kernel::joins_alike,
    ),
    (
        "members_with_and_without_offloads_understand_each_other",
        mixed,
    ),
    (
        "tcp_costs_no_fragments_on_underlays_of_1500_1400_and_1280",
        no_fragments,
    ),
    ("jumbo_frames_carry_tcp", jumbo),
    (
        "qinq_and_translating_ports_meet_a_transparent_trunk",
        qinq_and_translation,
    ),
    ("a_service_tag_goes_around_tcp", qinq_tcp),
    (
        "tagged_super_frames_carry_tcp_between_access_ports",
        tagged_tcp,
    ),
    ("a_bridge_with_a_host_behind_it_carries_tcp", bridged_tcp),
    ("two_workers_keep_each_flow_in_order", two_workers),
    ("a_wire_that_loses_is_noticed_and_survived", lossy_wire),
    ("show_says_what_is_offloaded_and_why_not", offloads_shown),
];

fn main() -> ExitCode {
    stage::play("netns", STORIES)
}

fn reach() -> Result<(), String> {
    let mut world = World::pair(1500)?;
    world.start_all()?;
    for (from, to) in [(0, 1), (1, 0)] {
        world.reach(from, v4(to))?;
        world.reach(from, v6(to))?;
    }
    Ok(())
}

fn full_size_pings() -> Result<(), String> {
    for mtu in [1500, 1400, 1280] {
        let mut world = World::pair(mtu)?;
        world.start_all()?;
        world.reach(0, v4(1))?;
        for size in [0, 1372, 1400, 1472] {
            let trips = world.ping(0, v4(1), size, 5)?;
            expect(trips.iter().all(Option::is_some), || {
                format!("underlay {mtu}, {size} bytes: {trips:?}")
            })?;
        }
        let too_large = world.ping(0, v4(1), 1473, 1);
        expect(too_large.is_err(), || {
            "1473 bytes should not fit the TAP".into()
        })?;
        let drops = world.show(0)?.drops;
        expect(!drops.contains_key("send-too-large"), || {
            format!("{mtu}: {drops:?}")
        })?;
    }
    Ok(())
}

fn tcp_both_ways() -> Result<(), String> {
    for mtu in [1500, 1280] {
        let mut world = World::pair(mtu)?;
        world.start_all()?;
        world.reach(0, v4(1))?;
        world.tcp(0, 1, v4(1), 32 << 20)?;
        world.tcp(1, 0, v4(0), 32 << 20)?;
    }
    Ok(())
}

fn ipv6_underlay() -> Result<(), String> {
    let mut world = World::new(&[Underlay::V6; 2], 1500)?;
    world.start_all()?;
    world.reach(0, v4(1))?;
    let trips = world.ping(1, v4(0), 1472, 5)?;
    expect(trips.iter().all(Option::is_some), || format!("{trips:?}"))?;
    let endpoint = world.show(0)?.peers[0].endpoint.clone().unwrap_or_default();
    expect(endpoint == "[2001:db8::2]:7656", || endpoint)
}

fn raw_frames() -> Result<(), String> {
    let mut world = World::pair(1500)?;
    world.start_all()?;
    world.connected(0)?;
    let tags: &[&[u8]] = &[
        &[],
        &[0x81, 0x00, 0xe0, 0x00],
        &[0x81, 0x00, 0xbf, 0xfe],
        &[0x88, 0xa8, 0x30, 0x64, 0x81, 0x00, 0x00, 0x1e],
        &[0x91, 0x00, 0x00, 0x07],
    ];
    for (i, tag) in tags.iter().enumerate() {
        for group in [
            [0xff; 6],
            [0x33, 0x33, 0, 0, 0, 0xfb],
            [0x01, 0, 0x5e, 0, 0, 0xfb],
        ] {
            let text = format!("frame {i} to {group:02x?}, long enough to need no padding at all");
            let frame = frame(group, [2, 0, 0, 0, 0, 9], tag, text.as_bytes());
            world.crosses(0, 1, &frame, &frame)?;
        }
    }
    Ok(())
}

fn access_and_trunk() -> Result<(), String> {
    let mut world = World::pair(1500)?;
    world.hosts[0].port = "mode = \"access\"\nvlan = 20\n".into();
    world.hosts[1].port = "vlans = [20, \"30-39\"]\n".into();
    world.write()?;
    world.start_all()?;
    world.connected(0)?;
    let payload = b"the same payload on both sides, long enough to need no padding";
    let (to, from) = ([0xff; 6], [2, 0, 0, 0, 0, 9]);
    let untagged = frame(to, from, &[], payload);
    let tagged = frame(to, from, &[0x81, 0, 0, 20], payload);
    world.crosses(0, 1, &untagged, &tagged)?;
    world.crosses(1, 0, &tagged, &untagged)?;
    let foreign = frame(
        to,
        from,
        &[0x81, 0, 0, 30],
        b"VLAN 30 has no port over there, so it must not come out",
    );
    world.does_not_cross(1, 0, &foreign)?;
    let tagged_in = frame(
        to,
        from,
        &[0x81, 0, 0, 20],
        b"an access port takes no tag, not even its own one",
    );
    world.does_not_cross(0, 1, &tagged_in)?;
    let shown = world.show(0)?;
    expect(shown.drops.contains_key("tagged-on-access"), || {
        format!("{:?}", shown.drops)
    })?;
    expect(
        shown.peers.iter().any(|p| {
            p.vlans
                .get("lan")
                .is_some_and(|v| v == "20,30-39,s20,s30-s39")
        }),
        || format!("{:?}", shown.peers),
    )?;
    // Member 1 knows that nobody has VLAN 30, and says so.
    let drops = world.show(1)?.drops;
    expect(drops.contains_key("no-destination"), || {
        format!("{drops:?}")
    })
}

fn two_segments() -> Result<(), String> {
    let mut world = World::pair(1500)?;
    let second = "\n[[segment]]\nname = \"other\"\nid = 9\n\n[[port]]\ntap = \"l2other\"\n\
                  segment = \"other\"\nmac = \"02:00:00:00:aa:0N\"\n\
                  addresses = [\"10.77.0.M/24\"]\n";
    for n in 0..2 {
        world.hosts[n].port = format!("segment = \"lan\"\nmac = \"02:00:00:00:aa:0{n}\"\n");
        world.hosts[n].more = second
            .replace('N', &n.to_string())
            .replace('M', &(n + 1).to_string());
    }
    world.write()?;
    world.start_all()?;
    world.connected(0)?;
    let (to, from) = ([0xff; 6], [2, 0, 0, 0, 0xaa, 0]);
    let text = b"in the second segment only, whatever its addresses say about it";
    let frame = frame(to, from, &[], text);
    world.ask(1, &Order::Watch("l2other".into()))?;
    world.ask(0, &Order::Inject("l2other".into(), frame.clone()))?;
    let seen = world.ask(1, &Order::Expect(text.to_vec(), 2000))?;
    expect(seen == Report::Frame(Ok(frame.clone())), || {
        format!("{seen:?}")
    })?;
    world.ask(1, &Order::Watch(TAP.into()))?;
    world.ask(0, &Order::Inject("l2other".into(), frame))?;
    let seen = world.ask(1, &Order::Expect(text.to_vec(), 300))?;
    expect(matches!(seen, Report::Frame(Err(_))), || {
        "it crossed into the other segment".into()
    })?;
    // The same address answers in both, each by its own segment.
    let (mac, own, other) = ([2, 0, 0, 0, 0xaa, 0], [10, 77, 0, 1], [10, 77, 0, 2]);
    let mut request = vec![0xff; 6];
    request.extend_from_slice(&mac);
    request.extend_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    request.extend_from_slice(&[&mac[..], &own, &[0; 6], &other].concat());
    let answer = [&other[..], &mac, &own].concat();
    for device in [TAP, "l2other"] {
        world.ask(0, &Order::Watch(device.into()))?;
        world.ask(0, &Order::Inject(device.into(), request.clone()))?;
        let seen = world.ask(0, &Order::Expect(answer.clone(), 2000))?;
        expect(matches!(seen, Report::Frame(Ok(_))), || {
            format!("{device}: {seen:?}")
        })?;
    }
    world.reach(0, v4(1))?;
    let peer = world.show(0)?.peers[0].clone();
    expect(peer.segments == ["lan", "other"], || {
        format!("{:?}", peer.segments)
    })
}

fn bridged_host() -> Result<(), String> {
    let mut world = World::pair(1500)?;
    world.hosts[1].addresses.clear();
    world.hosts[1].port = "bridge = \"br0\"\n".into();
    world.write()?;
    let up = |name: &str, bridge: Option<&str>| {
        Order::Configure(Interface {
            name: name.into(),
            bridge: bridge.map(str::to_string),
            ..Interface::default()
        })
    };
    world.ask(1, &Order::AddBridge("br0".into()))?;
    world.ask(1, &up("br0", None))?;
    world.start_all()?;
    world.connected(0)?;
    // A host behind the bridge: an uninvited namespace with one cable to it.
    let behind = world.add_plain_host()?;
    world.ask(1, &Order::AddVeth("cable".into(), "eth0".into()))?;
    world.ask(1, &up("cable", Some("br0")))?;
    let pid = world.network.hosts[behind].pid();
    world.ask(1, &Order::GiveTo("eth0".into(), pid))?;
    world.ask(
        behind,
        &Order::Configure(Interface {
            name: "eth0".into(),
            addresses: vec![(v4(7), 24)],
            ..Interface::default()
        }),
    )?;
    world.reach(0, v4(7))?;
    world.reach(behind, v4(0))?;
    let trips = world.ping(behind, v4(0), 1472, 3)?;
    expect(trips.iter().all(Option::is_some), || format!("{trips:?}"))?;
    world.tcp(behind, 0, v4(0), 8 << 20)
}

fn missing_bridge() -> Result<(), String> {
    let mut world = World::pair(1500)?;
    world.hosts[0].port = "bridge = \"br9\"\n".into();
    world.write()?;
    let (code, stderr) = world.fails_to_start(0)?;
    expect(code == 3 && stderr.contains("no interface \"br9\""), || {
        format!("{code}: {stderr}")
    })?;
    let names = world.interfaces(0)?;
    expect(!names.contains(&TAP.to_string()), || format!("{names:?}"))
}

fn new_mac() -> Result<(), String> {
    let mut world = World::pair(1500)?;
    world.start_all()?;
    world.reach(0, v4(1))?;
    world.ask(
        1,
        &Order::Configure(Interface {
            name: TAP.into(),
            mac: Some([2, 0, 0, 0, 0xbe, 0xef]),
            ..Interface::default()
        }),
    )?;
    let began = Instant::now();
    // The host with the new MAC speaks first, as one that was moved or replaced does.
    world.reach(1, v4(0))?;
    world.reach(0, v4(1))?;
    let took = began.elapsed();
    expect(took < Duration::from_secs(1), || format!("{took:?}"))
}

fn killed() -> Result<(), String> {
    let mut world = World::pair(1500)?;
    let before = world.files()?;
    let interfaces = world.interfaces(0)?;
    world.start_all()?;
    world.reach(0, v4(1))?;
    for _ in 0..2 {
        world.signal(0, process::SIGKILL)?;
        let gone = world.eventually(Duration::from_secs(2), |w| {
            Ok(w.files_of(0)? == before && w.interfaces(0)? == interfaces)
        })?;
        expect(gone, || format!("left: {:?}", world.files_of(0)))?;
        world.start(0)?;
        let began = Instant::now();
        world.reach(0, v4(1))?;
        expect(began.elapsed() < Duration::from_secs(3), || {
            "slow to come back".into()
        })?;
    }
    Ok(())
}

fn down() -> Result<(), String> {
    let mut world = World::pair(1500)?;
    let before = world.files()?;
    world.start_all()?;
    world.reach(0, v4(1))?;
    let (code, _, stderr) = world.cli(0, &["down"])?;
    expect(code == Some(0), || stderr)?;
    let began = Instant::now();
    let noticed = world.eventually(Duration::from_secs(1), |w| {
        Ok(w.show(1)?.peers[0].state != "up")
    })?;
    expect(noticed, || "the peer was not told".into())?;
    expect(began.elapsed() < Duration::from_millis(800), || {
        "told late".into()
    })?;
    expect(world.show(1)?.table.entries <= 1, || {
        "its MACs stayed".into()
    })?;
    let names = world.interfaces(0)?;
    expect(!names.contains(&TAP.to_string()), || format!("{names:?}"))?;
    let ended = world.ask(
        0,
        &Order::Signal {
            signal: process::SIGTERM,
            wait: true,
        },
    );
    drop(ended);
    expect(world.files_of(0)? == before, || {
        format!("{:?}", world.files_of(0))
    })?;
    let (code, _, _) = world.cli(0, &["show"])?;
    expect(code == Some(5), || {
        format!("show without a daemon: {code:?}")
    })
}

fn signals() -> Result<(), String> {
    for signal in [process::SIGTERM, process::SIGINT] {
        let mut world = World::pair(1500)?;
        world.start_all()?;
        world.reach(0, v4(1))?;
        let order = Order::Signal { signal, wait: true };
        let ended = world.ask(0, &order)?;
        expect(matches!(ended, Report::Ended { code: Some(0), .. }), || {
            format!("{ended:?}")
        })?;
        let noticed = world.eventually(Duration::from_secs(1), |w| {
            Ok(w.show(1)?.peers[0].state != "up")
        })?;
        expect(noticed, || {
            format!("signal {signal}: the peer was not told")
        })?;
    }
    Ok(())
}

fn second_start() -> Result<(), String> {
    let mut world = World::pair(1500)?;
    world.start_all()?;
    world.connected(0)?;
    let (code, stderr) = world.fails_to_start(0)?;
    expect(code == 1 && stderr.contains("is running already"), || {
        format!("{code}: {stderr}")
    })?;
    world.reach(0, v4(1))?;
    expect(world.show(0).is_ok(), || {
        "the first one lost its socket".into()
    })
}

fn taken() -> Result<(), String> {
    let mut world = World::pair(1500)?;
    world.start_all()?;
    world.connected(0)?;
    // The same host, another configuration: first the port is taken, then the TAP.
    let other = world.variant(0, "other", &[(":7656\"", ":7656\"")])?;
    let (code, stderr) = world.up(0, &other)?;
    expect(code == 3 && stderr.contains("has port 7656"), || {
        format!("{code}: {stderr}")
    })?;
    let other = world.variant(
        0,
        "another",
        &[("listen = \"[::]:7656\"", "listen = \"[::]:7657\"")],
    )?;
    let (code, stderr) = world.up(0, &other)?;
    expect(
        code == 3 && stderr.contains("in use by another program"),
        || format!("{code}: {stderr}"),
    )?;
    let under = world.network.hosts[0].interface.clone();
    let listen = ("listen = \"[::]:7656\"", "listen = \"[::]:7657\"");
    let other = world.variant(0, "third", &[listen, (TAP, &under)])?;
    let (code, stderr) = world.up(0, &other)?;
    expect(code == 3 && stderr.contains("not a plain TAP"), || {
        format!("{code}: {stderr}")
    })
}

fn removed_tap() -> Result<(), String> {
    let mut world = World::pair(1500)?;
    for n in 0..2 {
        world.hosts[n].port = "segment = \"lan\"\n".into();
        world.hosts[n].more = "\n[[segment]]\nname = \"other\"\nid = 9\n\n[[port]]\n\
                               tap = \"l2other\"\nsegment = \"other\"\n"
            .into();
    }
    world.write()?;
    world.start_all()?;
    world.reach(0, v4(1))?;
    world.ask(0, &Order::Remove("l2other".into()))?;
    std::thread::sleep(Duration::from_millis(300));
    world.reach(0, v4(1))?;
    expect(world.log(0).contains("the TAP was removed"), || {
        world.log(0)
    })?;
    let states: Vec<String> = world.show(0)?.ports.into_iter().map(|p| p.state).collect();
    expect(states == ["open", "removed"], || format!("{states:?}"))?;
    let before = world.cpu_millis(0)?;
    std::thread::sleep(Duration::from_secs(1));
    let busy = world.cpu_millis(0)? - before;
    expect(busy < 200, || {
        format!("the daemon spins: {busy} ms of CPU in a second")
    })
}

fn unplugged() -> Result<(), String> {
    let mut world = World::pair(1500)?;
    world.start_all()?;
    world.reach(0, v4(1))?;
    world.network.plug(0, false).map_err(|e| e.to_string())?;
    let trips = world.ping(0, v4(1), 56, 3)?;
    expect(trips.iter().all(Option::is_none), || {
        "still connected?".into()
    })?;
    world.network.plug(0, true).map_err(|e| e.to_string())?;
    let began = Instant::now();
    world.reach(0, v4(1))?;
    expect(began.elapsed() < Duration::from_secs(3), || {
        format!("{:?}", began.elapsed())
    })
}

fn roaming() -> Result<(), String> {
    let mut world = World::pair(1500)?;
    world.start_all()?;
    world.reach(0, v4(1))?;
    let name = world.network.hosts[0].interface.clone();
    // The old one first: the kernel drops other addresses of the subnet with the first one.
    world.forget_address(0, &name, underlay_v4(0))?;
    world.ask(
        0,
        &Order::Configure(Interface {
            name,
            addresses: vec![("192.0.2.77".parse().unwrap(), 24)],
            ..Interface::default()
        }),
    )?;
    let began = Instant::now();
    world.reach(0, v4(1))?;
    world.reach(1, v4(0))?;
    expect(began.elapsed() < Duration::from_secs(2), || {
        format!("{:?}", began.elapsed())
    })?;
    let endpoint = world.show(1)?.peers[0].endpoint.clone();
    expect(endpoint.as_deref() == Some("192.0.2.77:7656"), || {
        format!("{endpoint:?}")
    })
}

/// One has no address of the other, which has another one after a restart: its name says so.
fn renamed() -> Result<(), String> {
    let mut world = World::pair(1500)?;
    let names = world.dir().join("hosts");
    let lead_to = |ip: &str| std::fs::write(&names, format!("{ip} b.example\n"));
    lead_to("192.0.2.2").map_err(|e| e.to_string())?;
    world.hosts[0].endpoint = Some("b.example:7656".into());
    world.hosts[1].endpoint = None;
    // Nothing else leads to it.
    world.hosts[0].node = "lan_discovery = false\n".into();
    world.write()?;
    let (exe, config) = (exe().display(), world.config(0));
    let line = format!(
        "mount --bind {} /etc/hosts && exec {exe} up {}",
        names.display(),
        config.display()
    );
    let command = ["unshare", "-m", "sh", "-c", &line].map(String::from);
    let log = world.dir().join("a.log");
    world.ask(0, &Order::Spawn(command.to_vec(), log))?;
    world.start(1)?;
    world.reach(0, v4(1))?;
    world.signal(1, 15)?;
    let name = world.network.hosts[1].interface.clone();
    world.forget_address(1, &name, underlay_v4(1))?;
    let moved = Interface {
        name,
        addresses: vec![("192.0.2.77".parse().unwrap(), 24)],
        ..Interface::default()
    };
    world.ask(1, &Order::Configure(moved))?;
    world.start(1)?;
    lead_to("192.0.2.77").map_err(|e| e.to_string())?;
    // By itself a name is looked up once a minute.
    let found = world.eventually(Duration::from_secs(25), |w| {
        Ok(w.show(0)?.peers[0].endpoint.as_deref() == Some("192.0.2.77:7656"))
    })?;
    expect(found, || world.log(0))?;
    world.reach(0, v4(1)).map(|_| ())
}

fn shrinking() -> Result<(), String> {
    let mut world = World::pair(1500)?;
    world.start_all()?;
    world.reach(0, v4(1))?;
    world.ping(0, v4(1), 1472, 1)?;
    for n in 0..2 {
        world.network.set_mtu(n, 1400).map_err(|e| e.to_string())?;
    }
    let began = Instant::now();
    let healed = world.eventually(Duration::from_secs(8), |w| {
        Ok(w.ping(0, v4(1), 1472, 1)?.iter().all(Option::is_some))
    })?;
    expect(healed, || {
        format!(
            "1472 bytes after {:?}: {:?}",
            began.elapsed(),
            world.show(0)
        )
    })?;
    expect(began.elapsed() < Duration::from_secs(3), || {
        format!("{:?}", began.elapsed())
    })
}

fn no_state() -> Result<(), String> {
    let mut world = World::pair(1500)?;
    world.hosts[0].state_dir = "/proc/none/such".into();
    world.write()?;
    world.start_all()?;
    world.reach(0, v4(1))?;
    expect(world.log(0).contains("going on without"), || world.log(0))
}

fn carrier() -> Result<(), String> {
    let mut world = World::pair(1500)?;
    world.start(0)?;
    world.wait_socket(0)?;
    let carrier = |w: &mut World| match w.ask(0, &Order::Carrier(TAP.into()))? {
        Report::Flag(up) => Ok(up),
        other => Err(format!("{other:?}")),
    };
    let before = carrier(&mut world)?;
    expect(before == Some(false), || format!("alone: {before:?}"))?;
    world.start(1)?;
    world.connected(0)?;
    let up = world.eventually(Duration::from_secs(1), |w| Ok(carrier(w)? == Some(true)))?;
    expect(up, || "no carrier with a peer".into())?;
    world.cli(1, &["down"])?;
    let gone = world.eventually(Duration::from_secs(1), |w| Ok(carrier(w)? == Some(false)))?;
    expect(gone, || "carrier without a peer".into())
}

#[cfg(feature = "aws-lc")]
fn quantum() -> Result<(), String> {
    // Both ends think that the path takes more than it does.
    let mut world = World::pair(1500)?;
    world.network.set_mtu(1, 1280).map_err(|e| e.to_string())?;
    world.hosts[0].node = "pq = \"require\"\n".into();
    world.write()?;
    world.start_all()?;
    world.reach(0, v4(1))?;
    for n in 0..2 {
        let peer = &world.show(n)?.peers[0];
        expect(peer.secrecy.post_quantum.is_some(), || format!("{peer:?}"))?;
    }
    let (_, shown, _) = world.cli(0, &["show"])?;
    expect(shown.contains(" + ml-kem-"), || shown)?;
    world.signal(1, 15)?;
    world.hosts[1].node = "pq = \"off\"\n".into();
    world.write()?;
    world.start(1)?;
    let told = world.eventually(Duration::from_secs(5), |w| {
        let shown = w.show(0)?;
        Ok(shown.drops.contains_key("no-post-quantum"))
    })?;
    expect(told, || world.log(0))?;
    let shown = world.show(0)?;
    expect(shown.peers[0].state != "up", || format!("{shown:?}"))
}

fn verbs() -> Result<(), String> {
    let mut world = World::pair(1500)?;
    world.start_all()?;
    world.reach(0, v4(1))?;
    let show = world.show(0)?;
    let peer = &show.peers[0];
    expect(
        peer.state == "up" && peer.mtu == 1500 && peer.macs == 1,
        || format!("{peer:?}"),
    )?;
    expect(
        peer.segments == ["lan"] && peer.transfer.rx_frames > 0,
        || format!("{peer:?}"),
    )?;
    expect(show.ports[0].carrier && show.table.entries == 2, || {
        format!("{show:?}")
    })?;
    let (_, text, _) = world.cli(0, &["show"])?;
    expect(
        text.contains("peer b  up") && text.contains("latest handshake"),
        || text.clone(),
    )?;
    let Report::Mac(Some(mac)) = world.ask(1, &Order::Mac(TAP.into()))? else {
        return Err("no MAC".into());
    };
    let mac = l2vpn::wire::ethernet::Mac(mac).to_string();
    let (_, macs, _) = world.cli(0, &["macs"])?;
    expect(macs.contains(&mac) && macs.contains("peer b"), || {
        macs.clone()
    })?;
    let key = peer.public_key.clone();
    for target in ["b", mac.as_str(), key.as_str()] {
        let (code, text, stderr) = world.cli(
            0,
            &[
                "ping",
                target,
                "--count",
                "2",
                "--interval",
                "10",
                "--size",
                "1024",
            ],
        )?;
        expect(
            code == Some(0) && text.contains("1024 bytes from b"),
            || format!("{text}{stderr}"),
        )?;
    }
    let (code, _, stderr) = world.cli(0, &["ping", "nobody"])?;
    expect(
        code == Some(1) && stderr.contains("no peer \"nobody\""),
        || stderr.clone(),
    )
}

fn stranger() -> Result<(), String> {
    let mut world = World::pair(1500)?;
    // B is configured as always, but A knows another key under B's name.
    world.hosts[0].peer_key = Some(l2vpn::keys::PublicKey::from_bytes([9; 32]).to_string());
    world.write()?;
    world.start_all()?;
    std::thread::sleep(Duration::from_millis(1200));
    let (a, b) = (world.show(0)?, world.show(1)?);
    expect(a.drops.get("stranger").is_some_and(|n| *n > 0), || {
        format!("{:?}", a.drops)
    })?;
    expect(
        b.peers[0].state != "up" && b.peers[0].heard_s.is_none(),
        || format!("{:?}", b.peers),
    )
}

fn source_address() -> Result<(), String> {
    let mut world = World::pair(1500)?;
    // A has a second address, and B calls A there.
    let name = world.network.hosts[0].interface.clone();
    world.ask(
        0,
        &Order::Configure(Interface {
            name,
            addresses: vec![("192.0.2.99".parse().unwrap(), 24)],
            ..Interface::default()
        }),
    )?;
    world.hosts[0].endpoint = None;
    world.hosts[1].endpoint = Some("192.0.2.99:7656".into());
    world.write()?;
    world.start_all()?;
    world.reach(1, v4(0))?;
    std::thread::sleep(Duration::from_millis(500));
    let endpoint = world.show(1)?.peers[0].endpoint.clone();
    expect(endpoint.as_deref() == Some("192.0.2.99:7656"), || {
        format!("{endpoint:?}")
    })
}

fn suspended() -> Result<(), String> {
    let mut world = World::pair(1500)?;
    world.start_all()?;
    world.reach(0, v4(1))?;
    let tell = |world: &mut World, signal| {
        world
            .ask(
                0,
                &Order::Signal {
                    signal,
                    wait: false,
                },
            )
            .map(|_| ())
    };
    tell(&mut world, process::SIGSTOP)?;
    std::thread::sleep(Duration::from_secs(2));
    tell(&mut world, process::SIGCONT)?;
    let began = Instant::now();
    world.reach(0, v4(1))?;
    expect(began.elapsed() < Duration::from_secs(1), || {
        format!("{:?}", began.elapsed())
    })
}

fn routing_loop() -> Result<(), String> {
    let mut world = World::pair(1500)?;
    world.start_all()?;
    world.reach(0, v4(1))?;
    // As a default route through the overlay would do.
    let (peer, gateway) = ("192.0.2.2".parse(), "10.77.0.2".parse());
    world.ask(0, &Order::AddHostRoute(peer.unwrap(), gateway.unwrap()))?;
    let dropped = world.eventually(Duration::from_secs(5), |w| {
        w.ping(0, v4(1), 1472, 1)?;
        Ok(w.show(0)?.drops.contains_key("own-datagram"))
    })?;
    expect(dropped, || format!("{:?}", world.show(0)))?;
    let before = world.cpu_millis(0)?;
    std::thread::sleep(Duration::from_secs(1));
    let busy = world.cpu_millis(0)? - before;
    expect(busy < 200, || format!("{busy} ms of CPU in a second"))
}

fn degraded() -> Result<(), String> {
    let mut world = World::pair(1500)?;
    world.start_all()?;
    world.connected(0)?;
    let ping = [
        "ping",
        "b",
        "--count",
        "2",
        "--interval",
        "1500",
        "--timeout",
        "300",
    ];
    let socket = world.socket(0).display().to_string();
    let args = ping.iter().copied().chain(["--socket", &socket]);
    let order = Order::Run(args.map(str::to_string).collect());
    world.network.hosts[0]
        .tell(&order)
        .map_err(|e| e.to_string())?;
    std::thread::sleep(Duration::from_millis(600));
    let stop = Order::Signal {
        signal: process::SIGSTOP,
        wait: false,
    };
    world.ask(1, &stop)?;
    let ended = world.network.hosts[0].report().map_err(|e| e.to_string())?;
    let resume = Order::Signal {
        signal: process::SIGCONT,
        wait: false,
    };
    world.ask(1, &resume)?;
    expect(matches!(ended, Report::Ended { code: Some(6), .. }), || {
        format!("{ended:?}")
    })
}

fn transfer_both_ways(world: &mut World, bytes: u64) -> Result<(), String> {
    world.tcp(0, 1, v4(1), bytes)?;
    world.tcp(1, 0, v4(0), bytes)
}

fn mixed() -> Result<(), String> {
    for (a, b) in [
        ("on", "off"),
        ("off", "on"),
        ("segments", "on"),
        ("tcp", "off"),
        ("off", "off"),
    ] {
        let mut world = World::pair(1500)?;
        for (n, offload) in [a, b].into_iter().enumerate() {
            world.hosts[n].node = format!("offload = \"{offload}\"\n");
        }
        world.write()?;
        world.start_all()?;
        world.reach(0, v4(1))?;
        transfer_both_ways(&mut world, 20 << 20).map_err(|e| format!("{a} with {b}: {e}"))?;
        world.reach(0, v6(1))?;
        world.tcp(0, 1, v6(1), 20 << 20)?;
        for n in 0..2 {
            let drops = world.show(n)?.drops;
            let ours =
                |d: &str| d.contains("offload") || d.contains("piece") || d.contains("inner");
            expect(!drops.keys().any(|d| ours(d)), || {
                format!("{a} with {b}: {drops:?}")
            })?;
        }
    }
    Ok(())
}

fn no_fragments() -> Result<(), String> {
    for mtu in [1500, 1400, 1280] {
        let mut world = World::pair(mtu)?;
        world.start_all()?;
        world.reach(0, v4(1))?;
        world.connected(0)?;
        let before = underlay_bytes(&mut world, 0)?;
        let bytes = 64u64 << 20;
        world.tcp(0, 1, v4(1), bytes)?;
        let sent = underlay_bytes(&mut world, 0)? - before;
        // Headers of IP and UDP count once for a train here; a frame in two datagrams of its own would be 15 % more.
        let overhead = sent as f64 / bytes as f64;
        expect(overhead < 1.08, || {
            format!("{mtu}: {overhead} bytes for each")
        })?;
    }
    Ok(())
}

/// Bytes that a host has sent on the underlay.
fn underlay_bytes(world: &mut World, n: usize) -> Result<u64, String> {
    let pid = world.show(n)?.pid;
    let name = world.network.hosts[n].interface.clone();
    let text =
        std::fs::read_to_string(format!("/proc/{pid}/net/dev")).map_err(|e| e.to_string())?;
    let line = text.lines().find(|l| l.trim_start().starts_with(&name));
    let line = line.ok_or("the underlay is not there")?;
    let (_, numbers) = line.split_once(':').ok_or("no numbers")?;
    let field = numbers.split_whitespace().nth(8).ok_or("too few numbers")?;
    field.parse().map_err(|_| "not a number".to_string())
}

fn jumbo() -> Result<(), String> {
    let mut world = World::pair(1500)?;
    for host in &mut world.hosts {
        host.port = "mtu = 9000\n".into();
    }
    world.write()?;
    world.start_all()?;
    world.reach(0, v4(1))?;
    transfer_both_ways(&mut world, 64 << 20)?;
    let trips = world.ping(0, v4(1), 8900, 3)?;
    expect(trips.iter().all(Option::is_some), || format!("{trips:?}"))
}

fn qinq_and_translation() -> Result<(), String> {
    let mut world = World::pair(1500)?;
    world.hosts[0].port = "mode = \"qinq\"\nvlan = 100\n".into();
    world.write()?;
    world.start_all()?;
    world.connected(0)?;
    let payload = b"the same payload on both sides, long enough to need no padding";
    let (to, from) = ([0xff; 6], [2, 0, 0, 0, 0, 9]);
    let with = |tags: &[u8]| frame(to, from, tags, payload);
    let customer = [0x81, 0, 0xb0, 30];
    let both = [0x88, 0xa8, 0xb0, 100, 0x81, 0, 0xb0, 30];
    world.crosses(0, 1, &with(&customer), &with(&both))?;
    world.crosses(0, 1, &with(&[]), &with(&[0x88, 0xa8, 0, 100]))?;
    world.crosses(1, 0, &with(&both), &with(&customer))?;
    world.does_not_cross(1, 0, &with(&[0x88, 0xa8, 0, 101, 0x81, 0, 0, 31]))?;
    world.does_not_cross(1, 0, &with(&[0x81, 0, 0, 100]))?;
    world.cli(0, &["down"])?;
    world.hosts[0].port = "mode = \"translate\"\ntranslate = [\"10:110\", \"110:11\"]\n".into();
    world.write()?;
    world.start(0)?;
    world.connected(0)?;
    world.crosses(
        0,
        1,
        &with(&[0x81, 0, 0x70, 10]),
        &with(&[0x81, 0, 0x70, 110]),
    )?;
    world.crosses(
        1,
        0,
        &with(&[0x81, 0, 0x70, 110]),
        &with(&[0x81, 0, 0x70, 10]),
    )?;
    world.crosses(1, 0, &with(&[0x81, 0, 0, 11]), &with(&[0x81, 0, 0, 110]))?;
    world.does_not_cross(0, 1, &with(&[0x81, 0, 0, 11]))?;
    world.does_not_cross(0, 1, &with(&[]))
}

fn qinq_tcp() -> Result<(), String> {
    let mut world = World::pair(1500)?;
    for host in &mut world.hosts {
        host.port = "mode = \"qinq\"\nvlan = 100\n".into();
    }
    world.write()?;
    world.start_all()?;
    world.reach(0, v4(1))?;
    transfer_both_ways(&mut world, 64 << 20)?;
    let macs = world.cli(0, &["macs"])?.1;
    expect(macs.contains(" s100 "), || macs)
}

fn tagged_tcp() -> Result<(), String> {
    let mut world = World::pair(1500)?;
    for host in &mut world.hosts {
        host.port = "mode = \"access\"\nvlan = 20\n".into();
    }
    world.write()?;
    world.start_all()?;
    world.reach(0, v4(1))?;
    transfer_both_ways(&mut world, 64 << 20)?;
    world.reach(0, v6(1))?;
    world.tcp(0, 1, v6(1), 64 << 20)?;
    let macs = world.cli(0, &["macs"])?.1;
    expect(macs.contains(" 20 "), || macs)
}

fn bridged_tcp() -> Result<(), String> {
    let mut world = World::pair(1500)?;
    let behind = world.add_plain_host()?;
    let pid = world.network.hosts[behind].pid();
    world.hosts[1].port = "bridge = \"br0\"\n".into();
    world.hosts[1].addresses = Vec::new();
    world.write()?;
    world.ask(1, &Order::AddBridge("br0".into()))?;
    world.ask(1, &Order::AddVeth("toguest".into(), "guest".into()))?;
    world.ask(1, &Order::GiveTo("guest".into(), pid))?;
    let interface = |name: &str, bridge: Option<&str>, addresses| {
        Order::Configure(Interface {
            name: name.into(),
            bridge: bridge.map(Into::into),
            addresses,
            ..Interface::default()
        })
    };
    world.ask(1, &interface("br0", None, vec![(v4(1), 24)]))?;
    world.ask(1, &interface("toguest", Some("br0"), Vec::new()))?;
    world.ask(behind, &interface("guest", None, vec![(v4(2), 24)]))?;
    world.start_all()?;
    world.reach(0, v4(2))?;
    world.tcp(0, behind, v4(2), 64 << 20)?;
    world.tcp(behind, 0, v4(0), 64 << 20)?;
    world.tcp(0, 1, v4(1), 64 << 20)
}

fn two_workers() -> Result<(), String> {
    let mut world = World::pair(1500)?;
    for host in &mut world.hosts {
        host.node = "workers = 2\n".into();
    }
    world.write()?;
    world.start_all()?;
    world.reach(0, v4(1))?;
    let queues = world.show(0)?.ports[0].queues;
    expect(queues == 2, || format!("{queues} queues"))?;
    let address = (v4(1), 5001).into();
    world.ask(1, &Order::Sink(address, 4))?;
    let stream = Stream {
        to: address,
        streams: 4,
        millis: 2000,
        control: None,
    };
    world.ask(0, &Order::Stream(stream))?;
    world.ask(0, &Order::StreamResult)?;
    let got = world.ask(1, &Order::SinkResult)?;
    let Report::Traffic(traffic) = got else {
        return Err(format!("{got:?}"));
    };
    // A lane that is not kept brings every second super-frame too early; the host's own TCP has a few, always.
    let pid = world.show(1)?.pid;
    let disorder = tcp_counter(pid, "TCPOFOQueue")?;
    let super_frames = traffic.total / 60_000;
    expect(disorder * 4 < super_frames, || {
        format!("{disorder} arrivals of about {super_frames} were out of order")
    })
}

/// A counter of a process's network namespace.
fn tcp_counter(pid: u32, name: &str) -> Result<u64, String> {
    let file = format!("/proc/{pid}/net/netstat");
    let text = std::fs::read_to_string(file).map_err(|e| e.to_string())?;
    let mut lines = text.lines().filter(|l| l.starts_with("TcpExt:"));
    let (names, values) = (lines.next(), lines.next());
    let mut pairs = names
        .into_iter()
        .flat_map(str::split_whitespace)
        .zip(values.into_iter().flat_map(str::split_whitespace));
    let value = pairs.find(|(n, _)| *n == name).map(|(_, v)| v);
    value
        .and_then(|v| v.parse().ok())
        .ok_or_else(|| format!("there is no counter {name}"))
}

fn lossy_wire() -> Result<(), String> {
    let mut world = World::pair(1500)?;
    let wire = Impair {
        listen: (underlay_v4(1), 7657).into(),
        to: (underlay_v4(1), 7656).into(),
        loss_ppm: 10_000,
    };
    world.hosts[0].endpoint = Some(format!("{}:7657", underlay_v4(1)));
    world.hosts[1].endpoint = None;
    world.write()?;
    world.ask(1, &Order::Impair(wire))?;
    world.start_all()?;
    world.reach(0, v4(1))?;
    let aligned = world.eventually(Duration::from_secs(15), |w| {
        w.tcp(0, 1, v4(1), 32 << 20)?;
        let peer = &w.show(0)?.peers[0];
        Ok(peer.bulk.framing.as_deref() == Some("aligned") && peer.bulk.loss_ppm > 1000)
    })?;
    expect(aligned, || "the loss was not noticed".into())?;
    world.tcp(0, 1, v4(1), 64 << 20)
}

fn offloads_shown() -> Result<(), String> {
    let mut world = World::pair(1500)?;
    world.hosts[0].node = "offload = \"tcp\"\ncipher = \"chacha20-poly1305\"\n".into();
    world.hosts[1].port = "offload = \"off\"\n".into();
    world.write()?;
    world.start_all()?;
    world.connected(0)?;
    let (_, a, _) = world.cli(0, &["show"])?;
    let (_, b, _) = world.cli(1, &["show"])?;
    let says = |text: &str, words: &[&str]| words.iter().all(|w| text.contains(w));
    expect(
        says(
            &a,
            &[
                "checksum, tcp; UDP: switched off",
                "chacha20-poly1305",
                "whole pieces",
            ],
        ),
        || a.clone(),
    )?;
    expect(
        says(&b, &["none; switched off in the configuration"]),
        || b.clone(),
    )?;
    expect(says(&b, &["trains both ways"]), || b)
}
