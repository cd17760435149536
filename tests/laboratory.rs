//! NATs of all kinds in the kernel, by nftables, between real daemons with real TAPs: what the simulator says of them is so.
//!
//! Two homes, each with a router between it and the Internet, which is the namespace of this process; a relay in it. The wires of
//! the routers take 20 ms.

#[path = "support/stage.rs"]
mod stage;
#[path = "support/wire.rs"]
mod wire;
#[path = "support/world.rs"]
mod world;

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use l2vpn::lab::orders::{Order, Report};
use stage::{SKIPPED, Story};
use wire::{Line, Weather, Wire};
use world::*;

const STORIES: &[(&str, Story)] = &[
    ("the_wire_does_what_it_says", the_wire),
    ("nat_matrix_first_part", || matrix(0)),
    ("nat_matrix_second_part", || matrix(1)),
    ("nat_matrix_third_part", || matrix(2)),
    ("nat_matrix_fourth_part", || matrix(3)),
    ("nats_without_a_rule_for_what_comes_in_are_cured", trap),
    ("two_homes_behind_one_carrier", carrier),
    #[cfg(feature = "quic")]
    ("a_network_without_udp_is_left_by_tls", blocked),
    ("a_path_that_shrinks_heals_and_a_lossy_one_carries", shrinks),
    ("times_in_the_laboratory", times),
];

fn main() -> ExitCode {
    stage::play("laboratory", STORIES)
}

const RELAY: usize = 2;
const ROUTERS: [usize; 2] = [3, 4];

/// A kind of NAT: its name, its rules, whether its mapping depends on the destination, whether it minds the port that comes in.
struct Kind {
    name: &'static str,
    rules: &'static str,
    moves: bool,
    minds: bool,
}

/// Everything that comes in unasked is dropped before it is noted; what a rule lets in is let in.
const BASE: &str = "
  chain input {
    type filter hook input priority 0; policy accept;
    iifname \"wan\" ct state new meta l4proto { tcp, udp } drop
  }
  chain forward {
    type filter hook forward priority 0; policy accept;
    iifname \"wan\" ct state new ct status dnat accept
    iifname \"wan\" ct state new drop
  }
";
const MASQUERADE: &str = "
  chain post {
    type nat hook postrouting priority 100; policy accept;
    oifname \"wan\" masquerade
  }
";
const RANDOM: &str = "
  chain post {
    type nat hook postrouting priority 100; policy accept;
    oifname \"wan\" meta l4proto udp masquerade fully-random
    oifname \"wan\" masquerade
  }
";
/// One port for all destinations that is not the inside one: of a small range, by the inside address and port.
const OTHER_PORT: &str = "
  chain post {
    type nat hook postrouting priority 100; policy accept;
    oifname \"wan\" meta l4proto udp udp sport 7656 snat to WAN:31996
    oifname \"wan\" masquerade
  }
";
const SEQUENCE: &str = "
  chain post {
    type nat hook postrouting priority 100; policy accept;
    oifname \"wan\" meta l4proto udp snat to WAN : numgen inc mod 64 map { PORTS }
    oifname \"wan\" masquerade
  }
";
/// What went out to wherever may come in from anywhere, or from there.
const CONE: &str = "
  map eim {
    type inet_service : ipv4_addr . inet_service
    flags dynamic,timeout
    timeout 120s
    size 65535
  }
  set permit {
    type inet_service . ipv4_addr
    flags dynamic,timeout
    timeout 120s
    size 65535
  }
  chain learn {
    type filter hook postrouting priority 110; policy accept;
    oifname \"wan\" meta l4proto udp update @eim { udp sport : ct original ip saddr . ct original proto-src }
    oifname \"wan\" meta l4proto udp update @permit { udp sport . ip daddr }
  }
  chain pre {
    type nat hook prerouting priority -100; policy accept;
    iifname \"wan\" meta l4proto udp PERMIT dnat ip to udp dport map @eim
  }
";

const KINDS: [Kind; 7] = [
    Kind {
        name: "none",
        rules: "",
        moves: false,
        minds: false,
    },
    Kind {
        name: "full cone",
        rules: "BASE MASQUERADE CONE",
        moves: false,
        minds: false,
    },
    Kind {
        name: "address-restricted",
        rules: "BASE MASQUERADE ADDRESS",
        moves: false,
        minds: false,
    },
    Kind {
        name: "port-restricted",
        rules: "BASE MASQUERADE",
        moves: false,
        minds: true,
    },
    Kind {
        name: "port-restricted, another port",
        rules: "BASE OTHER",
        moves: false,
        minds: true,
    },
    Kind {
        name: "symmetric, in sequence",
        rules: "BASE SEQUENCE",
        moves: true,
        minds: true,
    },
    Kind {
        name: "symmetric, at random",
        rules: "BASE RANDOM",
        moves: true,
        minds: true,
    },
];

fn rules(kind: &str, wan: &str) -> String {
    let ports: Vec<String> = (0..64).map(|n| format!("{n} : {}", 30_000 + n)).collect();
    let parts = [
        (
            "ADDRESS",
            &CONE.replace("PERMIT", "udp dport . ip saddr @permit")[..],
        ),
        ("CONE", &CONE.replace("PERMIT", "")),
        ("BASE", BASE),
        ("MASQUERADE", MASQUERADE),
        ("OTHER", OTHER_PORT),
        ("SEQUENCE", SEQUENCE),
        ("RANDOM", RANDOM),
    ];
    let mut text = kind.to_string();
    for (name, part) in parts {
        text = text
            .split(' ')
            .map(|word| if word == name { part } else { word })
            .collect::<Vec<_>>()
            .join(" ");
    }
    text.replace("WAN", wan).replace("PORTS", &ports.join(", "))
}

fn sh(line: &str) -> Result<(), String> {
    let output = Command::new("sh").args(["-c", line]).output();
    let output = output.map_err(|e| e.to_string())?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    expect(output.status.success(), || format!("{line}: {stderr}"))
}

/// Runs a line in a host.
fn at(world: &mut World, n: usize, line: &str) -> Result<(), String> {
    let command = ["sh", "-c", line].map(String::from).to_vec();
    match world.ask(n, &Order::Execute(command))? {
        Report::Ended { code: Some(0), .. } => Ok(()),
        other => Err(format!("host {n}: {line}: {other:?}")),
    }
}

/// The laboratory: the world, and the wires that keep it together.
struct Lab {
    world: World,
    wires: Vec<Wire>,
}

fn wan(home: usize) -> String {
    format!("203.0.113.{}", 4 * home + 2)
}

impl Lab {
    /// Two members at home, each behind a router that does nothing yet.
    fn new(weather: Weather) -> Result<Lab, String> {
        if Command::new("nft").arg("--version").output().is_err()
            || Command::new("ip").arg("-V").output().is_err()
        {
            return Err(format!("{SKIPPED}nftables or iproute2 is not installed"));
        }
        let mut world = World::new(&[Underlay::V4; 3], 1500)?;
        for _ in ROUTERS {
            world.add_plain_host()?;
        }
        // What the system does not let us have is no fault of ours.
        let forwards = sh("echo 1 > /proc/sys/net/ipv4/ip_forward");
        let filters = at(&mut world, ROUTERS[0], "nft 'table ip probe { }'");
        if let Err(why) = forwards.and(filters) {
            return Err(format!("{SKIPPED}no routers here: {why}"));
        }
        // The relay is on a wire of the Internet's own.
        sh("ip address add 192.0.2.254/24 dev $(ip -o link show type bridge | cut -d: -f2)")?;
        at(&mut world, RELAY, "ip route add default via 192.0.2.254")?;
        let mut lab = Lab {
            world,
            wires: Vec::new(),
        };
        for home in 0..2 {
            lab.build_home(home, weather)?;
        }
        lab.configure()?;
        Ok(lab)
    }

    fn build_home(&mut self, home: usize, weather: Weather) -> Result<(), String> {
        let (own, router) = (home, ROUTERS[home]);
        let pids = [own, router].map(|n| self.world.network.hosts[n].pid());
        let outer = format!("isp{home}");
        let inner = format!("cpe{home}");
        self.wires
            .push(Wire::new([&outer, &inner], weather, 7 + home as u64)?);
        let gateway = format!("203.0.113.{}", 4 * home + 1);
        sh(&format!(
            "ip address add {gateway}/30 dev {outer} && ip link set {outer} up"
        ))?;
        sh(&format!("ip link set {inner} netns {} name wan", pids[1]))?;
        sh(&format!(
            "ip link add lan{home} type veth peer name home{home} && ip link set lan{home} netns {} name lan && ip link set home{home} netns {} name lan",
            pids[0], pids[1]
        ))?;
        at(
            &mut self.world,
            router,
            &format!(
                "ip address add {}/30 dev wan && ip link set wan up && ip address add 192.168.{home}.1/24 dev lan && \
                 ip link set lan up && ip route add default via {gateway} && echo 1 > /proc/sys/net/ipv4/ip_forward",
                wan(home)
            ),
        )?;
        // Without a NAT the way back must be known.
        sh(&format!(
            "ip route add 192.168.{home}.0/24 via {}",
            wan(home)
        ))?;
        let old = self.world.network.hosts[own].interface.clone();
        at(
            &mut self.world,
            own,
            &format!(
                "ip link set {old} down && ip address flush dev {old} && ip address add 192.168.{home}.2/24 dev lan && \
                 ip link set lan up && ip route add default via 192.168.{home}.1"
            ),
        )
    }

    fn configure(&mut self) -> Result<(), String> {
        let world = &mut self.world;
        let keys = [0, 1, RELAY].map(|n| world.public_key(n));
        for n in 0..2 {
            world.hosts[n].endpoint = None;
            world.hosts[n].peer_key = Some(keys[1 - n].clone());
            world.hosts[n].more = format!(
                "\n[[relay]]\nname = \"relay\"\npublic_key = \"{}\"\nendpoints = [\"{}:7656\", \"tls:{}:443\"]\n",
                keys[2],
                underlay_v4(RELAY),
                underlay_v4(RELAY)
            );
            if cfg!(not(feature = "quic")) {
                let tls = format!(", \"tls:{}:443\"", underlay_v4(RELAY));
                world.hosts[n].more = world.hosts[n].more.replace(&tls, "");
            }
        }
        world.write()?;
        let listen = match cfg!(feature = "quic") {
            true => "listen = [\"[::]:7656\", \"tls:[::]:443\"]\n",
            false => "",
        };
        let file = format!(
            "[node]\nkey = \"node.key\"\n{listen}[control]\nsocket = \"l2vpn.sock\"\n\
             [admission]\nmembers = [\"{}\", \"{}\"]\n",
            keys[0], keys[1]
        );
        std::fs::write(world.config(RELAY), file).map_err(|e| e.to_string())?;
        let program = exe().display().to_string();
        let config = world.config(RELAY).display().to_string();
        let log = world.dir().join("relay.log");
        let command = vec![program, "relay".into(), config];
        world.ask(RELAY, &Order::Spawn(command, log)).map(|_| ())
    }

    /// Makes a router a NAT of this kind; what it remembered is forgotten.
    fn set_nat(&mut self, home: usize, kind: &str) -> Result<(), String> {
        let text = format!(
            "flush ruleset\ntable ip nat {{\n{}\n}}\n",
            rules(kind, &wan(home))
        );
        let file = self.world.dir().join(format!("nat{home}"));
        std::fs::write(&file, text).map_err(|e| e.to_string())?;
        let line = format!("nft -f {}", file.display());
        at(&mut self.world, ROUTERS[home], &line)
    }

    fn start(&mut self) -> Result<(), String> {
        for n in 0..2 {
            self.world.start(n)?;
        }
        (0..2).try_for_each(|n| self.world.wait_socket(n))
    }

    /// Whether the members are connected, and how.
    fn state(&mut self, n: usize) -> Result<Option<bool>, String> {
        let shown = self.world.show(n)?;
        let member = shown.peers.iter().find(|p| p.way.kind == "member");
        let member = member.filter(|p| p.state == "up");
        Ok(member.map(|p| p.way.via.is_none()))
    }

    /// How long it takes until both have a direct way, if they find one in time.
    fn time_to_direct(&mut self, most: Duration) -> Result<Option<Duration>, String> {
        let began = Instant::now();
        while began.elapsed() < most {
            if self.state(0)? == Some(true) && self.state(1)? == Some(true) {
                return Ok(Some(began.elapsed()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(None)
    }

    fn crosses(&mut self) -> Result<(), String> {
        let pings = self.world.ping(0, v4(1), 1472, 3)?;
        let (a, b) = (self.world.log(0), self.world.log(1));
        expect(pings.iter().any(Option::is_some), || {
            format!("{pings:?}\n{a}\n{b}")
        })
    }
}

const HOME: Weather = Weather {
    delay: Duration::from_millis(20),
    jitter: Duration::ZERO,
    loss: 0,
    duplicate: 0,
    reorder: 0,
    rate: None,
    most: None,
};

/// Every fourth pair of kinds, each in a laboratory of its own: routers remember.
fn matrix(part: usize) -> Result<(), String> {
    let pairs = (0..KINDS.len()).flat_map(|a| (a..KINDS.len()).map(move |b| (a, b)));
    for (a, b) in pairs.skip(part).step_by(4) {
        let [one, other] = [&KINDS[a], &KINDS[b]];
        let mut lab = Lab::new(HOME)?;
        lab.set_nat(0, one.rules)?;
        lab.set_nat(1, other.rules)?;
        lab.start()?;
        let can = !(one.moves && other.minds || other.moves && one.minds);
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

/// Routers that drop nothing by rule note what comes in too early.
fn trap() -> Result<(), String> {
    for _ in 0..5 {
        let mut lab = Lab::new(HOME)?;
        (0..2).try_for_each(|home| lab.set_nat(home, "MASQUERADE"))?;
        lab.start()?;
        let direct = lab.time_to_direct(Duration::from_secs(12))?;
        let (a, b) = (lab.world.log(0), lab.world.log(1));
        expect(direct.is_some(), || format!("{a}\n{b}"))?;
        lab.crosses()?;
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

/// p50 and p95 of some times.
fn told(what: &str, mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    let most = times[times.len() * 95 / 100];
    let half = times[times.len() / 2];
    println!("{what}: p50 {half:?}, p95 {most:?} ({} runs)", times.len());
    most
}

fn times() -> Result<(), String> {
    let mut direct = Vec::new();
    for _ in 0..20 {
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
