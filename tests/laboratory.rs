//! NATs of all kinds in the kernel, by nftables, between real daemons with real TAPs: what the simulator says of them is so.
//!
//! Two homes, each with a router between it and the Internet, which is the namespace of this process; a relay in it. The wires of
//! the routers take 20 ms.

#[path = "support/homes.rs"]
mod homes;
#[path = "support/stage.rs"]
mod stage;
#[path = "support/wire.rs"]
mod wire;
#[path = "support/world.rs"]
mod world;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use homes::*;
use stage::Story;
use wire::{Line, Weather};
use world::*;

const STORIES: &[(&str, Story)] = &[
    ("the_wire_does_what_it_says", the_wire),
    ("nat_matrix_first_part", || matrix(0)),
    ("nat_matrix_second_part", || matrix(1)),
    ("nat_matrix_third_part", || matrix(2)),
    ("nat_matrix_fourth_part", || matrix(3)),
    (
        "nats_without_a_rule_for_what_comes_in_are_traps_and_cured",
        trap,
    ),
    ("two_homes_behind_one_carrier", carrier),
    (
        "a_router_that_forgets_or_forgets_early_keeps_nobody_apart",
        forgets,
    ),
    ("policies_hold_where_there_is_no_direct_way", policies),
    ("two_behind_one_router_meet_inside", inside),
    ("two_apart_behind_one_router_meet_at_its_outside", hairpin),
    ("three_behind_one_router_are_three", three),
    ("where_both_have_ipv6_they_meet_by_it", by_ipv6),
    ("ipv6_here_and_ipv4_there_meet_by_a_relay_with_both", mixed),
    #[cfg(feature = "quic")]
    (
        "a_nat_that_draws_ports_by_dice_is_met_where_both_allow_it",
        dice,
    ),
    #[cfg(feature = "quic")]
    ("a_network_without_udp_is_left_by_tls", blocked),
    ("a_path_that_shrinks_heals_and_a_lossy_one_carries", shrinks),
    ("times_in_the_laboratory", times),
];

fn main() -> ExitCode {
    stage::play("laboratory", STORIES)
}

/// Every fourth pair of kinds, each in a laboratory of its own: routers remember.
fn matrix(part: usize) -> Result<(), String> {
    let pairs = (0..KINDS.len()).flat_map(|a| (a..KINDS.len()).map(move |b| (a, b)));
    for (a, b) in pairs.skip(part).step_by(4) {
        let [one, other] = [&KINDS[a], &KINDS[b]];
        let mut lab = Lab::new(HOME)?;
        lab.set_nat(0, one.rules)?;
        lab.set_nat(1, other.rules)?;
        lab.start()?;
        // One that counts its ports meets one that keeps its own, because the next ports are told.
        let hard = |a: &Kind, b: &Kind| a.moves && b.minds && (b.moves || !a.counts);
        let can = !(hard(one, other) || hard(other, one));
        // Long for those that can, on a busy machine; those that cannot have tried all by then.
        let patience = Duration::from_secs(if can { 12 } else { 4 });
        let direct = lab.time_to_direct(patience)?;
        let (a, b) = (lab.world.log(0), lab.world.log(1));
        expect(direct.is_some() == can, || {
            format!("{} and {}: {direct:?}\n{a}\n{b}", one.name, other.name)
        })?;
        lab.crosses()?;
    }
    Ok(())
}

/// Routers that drop nothing by rule note what comes in too early, and where the relay is far from one end, the other's questions do. The cure are
/// questions that die on their way: where routers make them live again, there is no cure.
fn trap() -> Result<(), String> {
    let far = Weather {
        delay: Duration::from_millis(200),
        ..HOME
    };
    let mut trapped = 0;
    for (run, is_cured) in [true, false].into_iter().cycle().take(4).enumerate() {
        let mut lab = Lab::new(HOME)?;
        lab.put_relay_far_from(1, far)?;
        let alive = "chain alive { type filter hook prerouting priority -150; policy accept; \
                     iifname \"lan\" ip ttl set 64\n }";
        // The Internet knows no way into a home.
        sh("ip route del 192.168.0.0/24; ip route del 192.168.1.0/24")?;
        let more = if is_cured { "" } else { alive };
        (0..2).try_for_each(|home| lab.set_nat(home, &format!("MASQUERADE {more}")))?;
        lab.start()?;
        let patience = if is_cured { 12 } else { 4 };
        let direct = lab.time_to_direct(Duration::from_secs(patience))?;
        let logs = [0, 1].map(|n| lab.world.log(n)).join("\n");
        println!("run {run}, cured {is_cured}: {direct:?}");
        expect(direct.is_some() || !is_cured, || logs)?;
        trapped += usize::from(direct.is_none());
        lab.crosses()?;
    }
    expect(trapped > 0, || "a trap that is none".into())
}

/// Mappings live as long as Linux lets young ones live, and members are idle for longer; then a router starts anew, with other
/// ports.
fn forgets() -> Result<(), String> {
    let mut lab = Lab::new(HOME)?;
    for (home, router) in ROUTERS.into_iter().enumerate() {
        lab.set_nat(home, "BASE MASQUERADE")?;
        let names = [
            "nf_conntrack_udp_timeout",
            "nf_conntrack_udp_timeout_stream",
        ];
        for name in names {
            let line = format!("echo 30 > /proc/sys/net/netfilter/{name}");
            at(&mut lab.world, router, &line)?;
        }
    }
    lab.start()?;
    let direct = lab.time_to_direct(Duration::from_secs(12))?;
    expect(direct.is_some(), || lab.world.log(0))?;
    lab.crosses()?;
    std::thread::sleep(Duration::from_secs(45));
    lab.crosses()?;
    expect(lab.state(0)? == Some(true), || lab.world.log(0))?;
    lab.set_nat(0, "BASE OTHER")?;
    let own = wan(0);
    let forget = format!(
        "ip address del {own}/30 dev wan; ip address add {own}/30 dev wan; ip route add default via 203.0.113.1"
    );
    at(&mut lab.world, ROUTERS[0], &forget)?;
    let back = lab.world.eventually(Duration::from_secs(10), |w| {
        Ok(w.ping(0, v4(1), 1472, 1)?.iter().any(Option::is_some))
    })?;
    expect(back, || lab.world.log(0))?;
    let direct = lab.time_to_direct(Duration::from_secs(40))?;
    expect(direct.is_some(), || lab.world.log(0))
}

/// Behind the hardest NAT there is a way inside.
fn inside() -> Result<(), String> {
    let mut lab = Lab::new(HOME)?;
    lab.set_nat(0, "BASE RANDOM")?;
    lab.move_in(1)?;
    lab.start()?;
    let direct = lab.time_to_direct(Duration::from_secs(12))?;
    let log = lab.world.log(0);
    expect(direct.is_some(), || log)?;
    lab.crosses()?;
    let shown = lab.world.show(0)?;
    let there = shown
        .peers
        .iter()
        .any(|p| p.endpoint.as_deref() == Some("192.168.9.2:7656"));
    expect(there, || format!("{shown:?}"))
}

/// A router's three have one address outside: where they may meet inside they do, and where not, a relay tells them apart.
fn three() -> Result<(), String> {
    let apart = "chain apart { type filter hook forward priority -1; policy accept; \
                 iifname != \"wan\" oifname != \"wan\" drop\n }";
    for may_meet in [true, false] {
        let mut lab = Lab::new(HOME)?;
        let more = if may_meet { "" } else { apart };
        lab.set_nat(0, &format!("BASE RANDOM {more}"))?;
        lab.move_in(1)?;
        lab.move_in(THIRD)?;
        let keys = [0, 1, THIRD].map(|n| lab.world.public_key(n));
        for (n, other) in [(0, THIRD), (1, 0), (THIRD, 1)] {
            let host = &mut lab.world.hosts[n];
            host.peer_key = None;
            let (name, key) = (NAMES[other], &keys[other]);
            host.more += &format!("\n[[peer]]\nname = \"{name}\"\npublic_key = \"{key}\"\n");
        }
        lab.world.write()?;
        lab.world.start_all()?;
        let pairs = [
            (0, 1),
            (1, THIRD),
            (THIRD, 0),
            (1, 0),
            (THIRD, 1),
            (0, THIRD),
        ];
        for n in 0..3 {
            let settled = lab.world.eventually(Duration::from_secs(15), |w| {
                let Ok(shown) = w.show(n) else {
                    return Ok(false);
                };
                let mut members = shown.peers.iter().filter(|p| p.way.kind == "member");
                Ok(members.all(|p| p.state == "up" && p.way.via.is_none() == may_meet))
            });
            let log = lab.world.log(n);
            expect(settled?, || log)?;
        }
        for (from, to) in pairs {
            let pings = lab.world.ping(from, v4(to), 1472, 3)?;
            expect(pings.iter().any(Option::is_some), || {
                format!("{from} to {to}: {pings:?}")
            })?;
            lab.world.tcp(from, to, v4(to), 1 << 20)?;
        }
    }
    Ok(())
}

/// The router lets neither into the other's network, but what goes to its outside comes back in (RFC 4787 section 6).
fn hairpin() -> Result<(), String> {
    let turns = "
  chain turn {
    type nat hook prerouting priority -101; policy accept;
    iifname { \"lan\", \"more1\" } ip daddr WAN meta l4proto udp dnat ip to udp dport map @eim
  }
  chain back {
    type nat hook postrouting priority 99; policy accept;
    oifname { \"lan\", \"more1\" } ct status dnat ct original ip daddr WAN meta l4proto udp snat to WAN
  }
  chain apart {
    type filter hook forward priority -1; policy accept;
    iifname { \"lan\", \"more1\" } oifname { \"lan\", \"more1\" } ct status dnat accept
    iifname { \"lan\", \"more1\" } oifname { \"lan\", \"more1\" } drop
  }
";
    for turns in [Some(turns), None] {
        let mut lab = Lab::new(HOME)?;
        let more = turns.unwrap_or(
            "chain apart { type filter hook forward priority -1; policy accept;
             iifname { \"lan\", \"more1\" } oifname { \"lan\", \"more1\" } drop\n }",
        );
        lab.set_nat(0, &format!("BASE MASQUERADE CONE {more}"))?;
        lab.move_in(1)?;
        lab.start()?;
        let patience = if turns.is_some() { 12 } else { 4 };
        let direct = lab.time_to_direct(Duration::from_secs(patience))?;
        let logs = [0, 1].map(|n| lab.world.log(n)).join("\n");
        let shown = lab.world.show(0)?;
        expect(direct.is_some() == turns.is_some(), || {
            format!("{shown:?}\n{logs}")
        })?;
        lab.crosses()?;
        let at = shown
            .peers
            .iter()
            .find(|p| p.way.kind == "member")
            .and_then(|p| p.endpoint.clone());
        let outside = at.is_some_and(|at| at.starts_with(&wan(0)));
        expect(outside == turns.is_some(), || format!("{shown:?}"))?;
    }
    Ok(())
}

/// A home has IPv6 as well.
fn give_ipv6(lab: &mut Lab, home: usize) -> Result<(), String> {
    sh(&format!(
        "ip address add 2001:db8:{home}::1/64 dev isp{home} nodad && ip route add 2001:db8:1{home}::/64 via 2001:db8:{home}::2"
    ))?;
    at(
        &mut lab.world,
        ROUTERS[home],
        &format!(
            "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding; ip address add 2001:db8:{home}::2/64 dev wan nodad && \
             ip address add 2001:db8:1{home}::1/64 dev lan nodad && ip route add default via 2001:db8:{home}::1"
        ),
    )?;
    at(
        &mut lab.world,
        home,
        &format!(
            "ip address add 2001:db8:1{home}::2/64 dev lan nodad && ip route add default via 2001:db8:1{home}::1"
        ),
    )
}

/// One has IPv6 only and the other IPv4 only: what the relay has both of brings them together, and carries whole frames.
fn mixed() -> Result<(), String> {
    let mut lab = Lab::new(HOME)?;
    sh("echo 1 > /proc/sys/net/ipv6/conf/all/forwarding")?;
    sh("ip address add 2001:db8:2::fe/64 dev $(ip -o link show type bridge | cut -d: -f2) nodad")?;
    let interface = lab.world.network.hosts[RELAY].interface.clone();
    let line = format!(
        "ip address add 2001:db8:2::3/64 dev {interface} nodad && ip route add default via 2001:db8:2::fe"
    );
    at(&mut lab.world, RELAY, &line)?;
    give_ipv6(&mut lab, 0)?;
    lab.set_nat(1, "BASE MASQUERADE")?;
    at(&mut lab.world, 0, "ip -4 address flush dev lan")?;
    let file = lab.world.config(0);
    let text = std::fs::read_to_string(&file).map_err(|e| e.to_string())?;
    let v6 = text.replace(&underlay_v4(RELAY).to_string(), "[2001:db8:2::3]");
    std::fs::write(&file, v6).map_err(|e| e.to_string())?;
    lab.start()?;
    let up = lab.world.eventually(Duration::from_secs(10), |w| {
        Ok(w.ping(0, v4(1), 1472, 1)?.iter().any(Option::is_some))
    })?;
    let logs = [0, 1].map(|n| lab.world.log(n)).join("\n");
    expect(up && lab.state(0)? == Some(false), || logs)?;
    lab.world.tcp(0, 1, v4(1), 1 << 20)
}

/// By IPv4 neither can be met; by IPv6 there is no NAT, on other wires' routers.
fn by_ipv6() -> Result<(), String> {
    let mut lab = Lab::new(HOME)?;
    sh("echo 1 > /proc/sys/net/ipv6/conf/all/forwarding")?;
    (0..2).try_for_each(|home| {
        lab.set_nat(home, "BASE RANDOM")?;
        give_ipv6(&mut lab, home)
    })?;
    lab.start()?;
    let direct = lab.time_to_direct(Duration::from_secs(12))?;
    let logs = [0, 1].map(|n| lab.world.log(n)).join("\n");
    expect(direct.is_some(), || logs)?;
    lab.crosses()?;
    let shown = lab.world.show(0)?;
    let there = |p: &l2vpn::api::PeerView| p.endpoint.as_deref() == Some("[2001:db8:11::2]:7656");
    expect(shown.peers.iter().any(there), || format!("{shown:?}"))
}

/// Through a relay goes what both allow: everything, sessions without frames, nothing.
fn policies() -> Result<(), String> {
    for (policy, is_up, carries) in [
        ("allow", true, true),
        ("control-only", true, false),
        ("never", false, false),
    ] {
        let mut lab = Lab::new(HOME)?;
        for n in 0..2 {
            let file = lab.world.config(n);
            let text = std::fs::read_to_string(&file).map_err(|e| e.to_string())?;
            let line = format!("[[peer]]\nrelay = \"{policy}\"\n");
            std::fs::write(&file, text.replacen("[[peer]]\n", &line, 1))
                .map_err(|e| e.to_string())?;
            lab.set_nat(n, "BASE RANDOM")?;
        }
        lab.start()?;
        std::thread::sleep(Duration::from_secs(4));
        let log = lab.world.log(0);
        let state = lab.state(0)?;
        expect(state == is_up.then_some(false), || {
            format!("{policy}: {state:?}\n{log}")
        })?;
        let pings = lab.world.ping(0, v4(1), 56, 2)?;
        let crossed = pings.iter().any(Option::is_some);
        expect(crossed == carries, || format!("{policy}: {pings:?}\n{log}"))?;
    }
    Ok(())
}

/// The Internet's namespace becomes a carrier's NAT for one home, then for both.
fn carrier() -> Result<(), String> {
    let mut lab = Lab::new(HOME)?;
    (0..2).try_for_each(|home| lab.set_nat(home, "BASE MASQUERADE"))?;
    // Between the homes and the relay; what goes from home to home does not pass it.
    let nat = "table ip nat { chain post { type nat hook postrouting priority 100; policy accept; \
               ip saddr 203.0.113.0/24 ip daddr 192.0.2.0/24 masquerade fully-random; }; }";
    sh(&format!("nft '{nat}'"))?;
    lab.start()?;
    let up = lab.world.eventually(Duration::from_secs(10), |w| {
        Ok(w.ping(0, v4(1), 56, 1)?.iter().any(Option::is_some))
    })?;
    let (a, b) = (lab.world.log(0), lab.world.log(1));
    sh("nft flush ruleset")?;
    expect(up, || format!("{a}\n{b}"))
}

/// A thousand questions miss two times of a hundred: three times in a row, never.
#[cfg(feature = "quic")]
fn dice() -> Result<(), String> {
    let mut logs = String::new();
    for _ in 0..3 {
        let mut lab = Lab::new(HOME)?;
        for n in 0..2 {
            let file = lab.world.config(n);
            let text = std::fs::read_to_string(&file).map_err(|e| e.to_string())?;
            let allowed = text.replacen("[node]\n", "[node]\nhard_nats = true\n", 1);
            expect(allowed != text, || text.clone())?;
            std::fs::write(&file, allowed).map_err(|e| e.to_string())?;
        }
        lab.set_nat(0, "BASE RANDOM")?;
        lab.set_nat(1, "BASE MASQUERADE")?;
        lab.start()?;
        let found = lab.time_to_direct(Duration::from_secs(25))?;
        if let Some(took) = found {
            println!("a NAT that draws ports by dice, met after {took:?}");
            lab.crosses()?;
            lab.world.tcp(0, 1, v4(1), 4 << 20)?;
            lab.world.tcp(1, 0, v4(0), 4 << 20)?;
            let (_, paths, _) = lab.world.cli(0, &["paths"])?;
            return expect(paths.contains("port:203.0.113."), || paths.clone());
        }
        let (_, net, _) = lab.world.cli(0, &["netcheck"])?;
        logs += &[lab.world.log(0), lab.world.log(1), net].join("\n");
    }
    Err(logs)
}

#[cfg(feature = "quic")]
fn blocked() -> Result<(), String> {
    let mut lab = Lab::new(HOME)?;
    lab.set_nat(1, "BASE MASQUERADE")?;
    let nothing = "MASQUERADE chain no { type filter hook forward priority 1; policy accept; meta l4proto udp drop\n }";
    lab.set_nat(0, nothing)?;
    let began = Instant::now();
    lab.start()?;
    let up = lab.world.eventually(Duration::from_secs(10), |w| {
        Ok(w.ping(0, v4(1), 1472, 1)?.iter().any(Option::is_some))
    })?;
    let took = began.elapsed();
    let log = lab.world.log(0);
    expect(up && took < Duration::from_secs(10), || {
        format!("{took:?}\n{log}")
    })?;
    let (_, net, _) = lab.world.cli(0, &["netcheck"])?;
    expect(
        net.contains("udp passes: no") && net.contains("tls:"),
        || net.clone(),
    )?;
    // UDP passes again: it is found without a restart, when the pauses between looks allow.
    lab.set_nat(0, "BASE MASQUERADE")?;
    let back = lab.world.eventually(Duration::from_secs(75), |w| {
        let (_, net, _) = w.cli(0, &["netcheck"])?;
        Ok(net.contains("udp passes: yes"))
    })?;
    let log = lab.world.log(0);
    expect(back, || log)?;
    // And is gone for good: TLS takes over where UDP had worked.
    lab.set_nat(0, nothing)?;
    let began = Instant::now();
    let over = lab.world.eventually(Duration::from_secs(30), |w| {
        let (_, net, _) = w.cli(0, &["netcheck"])?;
        let pings = w.ping(0, v4(1), 1472, 1)?;
        Ok(net.contains("udp passes: no") && pings.iter().any(Option::is_some))
    })?;
    let (took, a, b) = (began.elapsed(), lab.world.log(0), lab.world.log(1));
    println!("UDP died, TLS after {took:?}");
    expect(over, || format!("{a}\n{b}"))
}

fn shrinks() -> Result<(), String> {
    let mut lab = Lab::new(Weather {
        loss: 10_000,
        duplicate: 10_000,
        reorder: 10_000,
        jitter: Duration::from_millis(2),
        ..HOME
    })?;
    (0..2).try_for_each(|home| lab.set_nat(home, "BASE MASQUERADE"))?;
    lab.start()?;
    let direct = lab.time_to_direct(Duration::from_secs(40))?;
    let log = lab.world.log(0);
    expect(direct.is_some(), || log)?;
    lab.world.tcp(0, 1, v4(1), 1 << 20)?;
    // Nothing above 1280 bytes passes any more, and nobody says so.
    lab.wires[0].narrow(1280 + 14);
    let began = Instant::now();
    let mut healed = None;
    while healed.is_none() && began.elapsed() < Duration::from_secs(20) {
        let pings = lab.world.ping(0, v4(1), 1472, 1)?;
        healed = pings.iter().any(Option::is_some).then(|| began.elapsed());
    }
    // The goal is three seconds; a shared machine is given more.
    let healed = healed.ok_or("it never heals")?;
    println!("healed after {healed:?}");
    expect(healed < Duration::from_secs(10), || format!("{healed:?}"))?;
    lab.world.tcp(0, 1, v4(1), 1 << 20)?;
    let mtu = lab.world.show(0)?.peers[0].mtu;
    expect(mtu <= 1280, || format!("{mtu}"))
}

fn times() -> Result<(), String> {
    let mut direct = Vec::new();
    // `cargo bench --bench laboratory` has twenty, and all other times.
    for _ in 0..5 {
        let mut lab = Lab::new(HOME)?;
        (0..2).try_for_each(|home| lab.set_nat(home, "BASE MASQUERADE"))?;
        lab.start()?;
        let found = lab.time_to_direct(Duration::from_secs(12))?;
        direct.push(found.ok_or("never direct")?);
    }
    told("direct after both daemons answer", direct);
    Ok(())
}

/// The same seed gives the same weather, and that is what was asked for.
fn the_wire() -> Result<(), String> {
    let weather = Weather {
        delay: Duration::from_millis(25),
        jitter: Duration::from_millis(10),
        loss: 50_000,
        duplicate: 20_000,
        ..Weather::default()
    };
    let run = |seed| {
        let mut line = Line::new(weather, seed);
        (0..4000u32).for_each(|n| line.push(u64::from(n) * 1000, &n.to_be_bytes()));
        let mut out = Vec::new();
        while let Some(at) = line.next() {
            out.extend(line.pop(at).map(|frame| (at, frame)));
        }
        out
    };
    let one = run(1);
    expect(one == run(1) && one != run(2), || "seeds".into())?;
    let count = one.len();
    expect((3750..3950).contains(&count), || format!("{count} of 4000"))?;
    let inversions = one.windows(2).filter(|w| w[0].1 > w[1].1).count();
    expect(inversions > 1000, || format!("{inversions} inversions"))?;
    let narrow = Weather {
        rate: Some(1_250_000),
        ..Weather::default()
    };
    let mut line = Line::new(narrow, 1);
    (0..1000).for_each(|_| line.push(0, &[0; 1250]));
    let mut last = 0;
    let mut count = 0;
    while let Some(at) = line.next() {
        line.pop(at);
        (last, count) = (at, count + 1);
    }
    expect(
        (205..=215).contains(&count) && (200_000..220_000).contains(&last),
        || format!("{count} frames, the last after {last} us"),
    )
}
