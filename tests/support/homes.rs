//! Two homes, each with a router between it and the Internet, which is the namespace of this process; a relay in it, or two, and a
//! member that may move into a home. NATs of all kinds in the kernel, by nftables.

#![allow(dead_code)]

use std::process::Command;
use std::time::{Duration, Instant};

use l2vpn::io::clock::OsEntropy;
use l2vpn::keys::{PrivateKey, write_private};
use l2vpn::lab::orders::{Order, Report};

use crate::stage::SKIPPED;
use crate::wire::{Weather, Wire};
use crate::world::*;

/// The member that is not at home.
pub const THIRD: usize = 2;
pub const RELAY: usize = 3;
pub const ROUTERS: [usize; 2] = [4, 5];

/// A kind of NAT: its name, its rules, whether its mapping depends on the destination, whether it minds the port that comes in,
/// and whether it gives one port after the other.
pub struct Kind {
    pub name: &'static str,
    pub rules: &'static str,
    pub moves: bool,
    pub minds: bool,
    pub counts: bool,
}

/// Everything that comes in unasked is dropped before it is noted; what a rule lets in is let in.
pub const BASE: &str = "
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
pub const MASQUERADE: &str = "
  chain post {
    type nat hook postrouting priority 100; policy accept;
    oifname \"wan\" masquerade
  }
";
pub const RANDOM: &str = "
  chain post {
    type nat hook postrouting priority 100; policy accept;
    oifname \"wan\" meta l4proto udp masquerade fully-random
    oifname \"wan\" masquerade
  }
";
/// One port for all destinations that is not the inside one: of a small range, by the inside address and port.
pub const OTHER_PORT: &str = "
  chain post {
    type nat hook postrouting priority 100; policy accept;
    oifname \"wan\" meta l4proto udp udp sport 7656 snat to WAN:31996
    oifname \"wan\" masquerade
  }
";
pub const SEQUENCE: &str = "
  chain post {
    type nat hook postrouting priority 100; policy accept;
    oifname \"wan\" meta l4proto udp snat to WAN : numgen inc mod 64 map { PORTS }
    oifname \"wan\" masquerade
  }
";
/// What went out to wherever may come in from anywhere, or from there.
pub const CONE: &str = "
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

pub const KINDS: [Kind; 7] = [
    Kind {
        name: "none",
        rules: "",
        moves: false,
        minds: false,
        counts: false,
    },
    Kind {
        name: "full cone",
        rules: "BASE MASQUERADE CONE",
        moves: false,
        minds: false,
        counts: false,
    },
    Kind {
        name: "address-restricted",
        rules: "BASE MASQUERADE ADDRESS",
        moves: false,
        minds: false,
        counts: false,
    },
    Kind {
        name: "port-restricted",
        rules: "BASE MASQUERADE",
        moves: false,
        minds: true,
        counts: false,
    },
    Kind {
        name: "port-restricted, another port",
        rules: "BASE OTHER",
        moves: false,
        minds: true,
        counts: false,
    },
    Kind {
        name: "symmetric, in sequence",
        rules: "BASE SEQUENCE",
        moves: true,
        minds: true,
        counts: true,
    },
    Kind {
        name: "symmetric, at random",
        rules: "BASE RANDOM",
        moves: true,
        minds: true,
        counts: false,
    },
];

pub fn rules(kind: &str, wan: &str) -> String {
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

pub fn sh(line: &str) -> Result<(), String> {
    let output = Command::new("sh").args(["-c", line]).output();
    let output = output.map_err(|e| e.to_string())?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    expect(output.status.success(), || format!("{line}: {stderr}"))
}

/// Runs a line in a host.
pub fn at(world: &mut World, n: usize, line: &str) -> Result<(), String> {
    let command = ["sh", "-c", line].map(String::from).to_vec();
    match world.ask(n, &Order::Execute(command))? {
        Report::Ended { code: Some(0), .. } => Ok(()),
        other => Err(format!("host {n}: {line}: {other:?}")),
    }
}

/// The laboratory: the world, and the wires that keep it together.
pub struct Lab {
    pub world: World,
    pub wires: Vec<Wire>,
    /// The relays' processes.
    pub relays: Vec<u32>,
}

pub fn wan(home: usize) -> String {
    format!("203.0.113.{}", 4 * home + 2)
}

/// The UDP and TCP ports of a relay.
fn ports(number: u16) -> [u16; 2] {
    [7656 + number, 443 + number]
}

impl Lab {
    /// Two members at home, each behind a router that does nothing yet.
    pub fn new(weather: Weather) -> Result<Lab, String> {
        Lab::with_relays(weather, 1)
    }

    /// The same with so many relays.
    pub fn with_relays(weather: Weather, relays: u16) -> Result<Lab, String> {
        if Command::new("nft").arg("--version").output().is_err()
            || Command::new("ip").arg("-V").output().is_err()
        {
            return Err(format!("{SKIPPED}nftables or iproute2 is not installed"));
        }
        let mut world = World::new(&[Underlay::V4; 3], 1500)?;
        let relay = [(underlay_v4(RELAY), 24)];
        let host = world.network.add_host(exe(), &relay, 1500);
        host.map_err(|e| e.to_string())?;
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
            relays: Vec::new(),
        };
        for home in 0..2 {
            lab.build_home(home, weather)?;
        }
        lab.configure(relays)?;
        Ok(lab)
    }

    pub fn build_home(&mut self, home: usize, weather: Weather) -> Result<(), String> {
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

    /// Members that know the relay, or both; and those, running.
    fn configure(&mut self, relays: u16) -> Result<(), String> {
        let keys = [0, 1, THIRD].map(|n| self.world.public_key(n));
        let mut known = String::new();
        for number in 0..relays {
            let key = self.write_relay(number, &keys)?;
            let [udp, tls] = ports(number);
            let at = underlay_v4(RELAY);
            let tls = match cfg!(feature = "quic") {
                true => format!(", \"tls:{at}:{tls}\""),
                false => String::new(),
            };
            known += &format!(
                "\n[[relay]]\nname = \"relay{number}\"\npublic_key = \"{key}\"\nendpoints = [\"{at}:{udp}\"{tls}]\n"
            );
        }
        for n in 0..3 {
            self.world.hosts[n].endpoint = None;
            self.world.hosts[n].more = known.clone();
        }
        for n in 0..2 {
            self.world.hosts[n].peer_key = Some(keys[1 - n].clone());
        }
        self.world.write()?;
        for number in 0..relays {
            let pid = self.start_relay(number)?;
            self.relays.push(pid);
        }
        Ok(())
    }

    fn relay_file(&self, number: u16) -> std::path::PathBuf {
        self.world.dir().join(format!("relay{number}.toml"))
    }

    /// Writes a relay's key and configuration; gives its public key.
    fn write_relay(&mut self, number: u16, members: &[String; 3]) -> Result<String, String> {
        let words = |e: &dyn std::fmt::Display| e.to_string();
        let key = PrivateKey::generate(&mut OsEntropy);
        let name = format!("relay{number}.key");
        write_private(&self.world.dir().join(&name), &key).map_err(|e| words(&e))?;
        let [udp, tls] = ports(number);
        let listen = match cfg!(feature = "quic") {
            true => format!("[\"[::]:{udp}\", \"tls:[::]:{tls}\"]"),
            false => format!("\"[::]:{udp}\""),
        };
        let file = format!(
            "[node]\nkey = \"{name}\"\nlisten = {listen}\n[control]\nsocket = \"relay{number}.sock\"\n\
             [admission]\nmembers = {members:?}\n"
        );
        std::fs::write(self.relay_file(number), file).map_err(|e| words(&e))?;
        Ok(key.public().to_string())
    }

    /// Starts a relay; gives its process.
    pub fn start_relay(&mut self, number: u16) -> Result<u32, String> {
        let program = exe().display().to_string();
        let config = self.relay_file(number).display().to_string();
        let log = self.world.dir().join(format!("relay{number}.log"));
        let command = vec![program, "relay".into(), config];
        match self.world.ask(RELAY, &Order::Spawn(command, log))? {
            Report::Started(pid) => Ok(pid),
            other => Err(format!("{other:?}")),
        }
    }

    /// A member moves into a network of its own of the first home's router.
    pub fn move_in(&mut self, n: usize) -> Result<(), String> {
        let pids = [n, ROUTERS[0]].map(|n| self.world.network.hosts[n].pid());
        let (end, port, net) = (format!("more{n}"), format!("more{n}r"), 8 + n);
        let old = match n {
            THIRD => self.world.network.hosts[n].interface.clone(),
            _ => "lan".into(),
        };
        sh(&format!(
            "ip link add {end} type veth peer name {port} && ip link set {end} netns {} && ip link set {port} netns {} name {end}",
            pids[0], pids[1]
        ))?;
        let member = format!(
            "ip link set {old} down && ip address flush dev {old} && ip address add 192.168.{net}.2/24 dev {end} && \
             ip link set {end} up && ip route add default via 192.168.{net}.1"
        );
        at(&mut self.world, n, &member)?;
        let router = format!("ip address add 192.168.{net}.1/24 dev {end} && ip link set {end} up");
        at(&mut self.world, ROUTERS[0], &router)
    }

    /// The relay is farther away from one home, from now on, than from the other.
    pub fn put_relay_far_from(&mut self, home: usize, weather: Weather) -> Result<(), String> {
        let pid = self.world.network.hosts[RELAY].pid();
        let (relay, own) = (underlay_v4(RELAY), wan(home));
        self.wires.push(Wire::new(["far", "away"], weather, 5)?);
        sh(&format!(
            "ip link set away netns {pid} && ip link set far up && ip route add {relay}/32 dev far table 7 && \
             ip rule add from {own} lookup 7"
        ))?;
        let line = format!(
            "ip link set away up && ip route add 192.0.2.254/32 dev away table 7 && \
             ip route add default via 192.0.2.254 dev away table 7 src {relay} && ip rule add to {own} lookup 7"
        );
        at(&mut self.world, RELAY, &line)
    }

    /// Which relay a member's way to the other goes through.
    pub fn via(&mut self, n: usize) -> Result<Option<String>, String> {
        let shown = self.world.show(n)?;
        let member = shown.peers.into_iter().find(|p| p.way.kind == "member");
        Ok(member.and_then(|p| p.way.via))
    }

    /// Makes a router a NAT of this kind; what it remembered is forgotten.
    pub fn set_nat(&mut self, home: usize, kind: &str) -> Result<(), String> {
        let text = format!(
            "flush ruleset\ntable ip nat {{\n{}\n}}\n",
            rules(kind, &wan(home))
        );
        let file = self.world.dir().join(format!("nat{home}"));
        std::fs::write(&file, text).map_err(|e| e.to_string())?;
        let line = format!("nft -f {}", file.display());
        at(&mut self.world, ROUTERS[home], &line)
    }

    pub fn start(&mut self) -> Result<(), String> {
        for n in 0..2 {
            self.world.start(n)?;
        }
        (0..2).try_for_each(|n| self.world.wait_socket(n))
    }

    /// Whether the members are connected, and how.
    pub fn state(&mut self, n: usize) -> Result<Option<bool>, String> {
        let shown = self.world.show(n)?;
        let member = shown.peers.iter().find(|p| p.way.kind == "member");
        let member = member.filter(|p| p.state == "up");
        Ok(member.map(|p| p.way.via.is_none()))
    }

    /// How long it takes until both have a direct way, if they find one in time.
    pub fn time_to_direct(&mut self, most: Duration) -> Result<Option<Duration>, String> {
        let began = Instant::now();
        while began.elapsed() < most {
            if self.state(0)? == Some(true) && self.state(1)? == Some(true) {
                return Ok(Some(began.elapsed()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(None)
    }

    pub fn crosses(&mut self) -> Result<(), String> {
        let pings = self.world.ping(0, v4(1), 1472, 3)?;
        let (a, b) = (self.world.log(0), self.world.log(1));
        expect(pings.iter().any(Option::is_some), || {
            format!("{pings:?}\n{a}\n{b}")
        })
    }
}

pub const HOME: Weather = Weather {
    delay: Duration::from_millis(20),
    jitter: Duration::ZERO,
    loss: 0,
    duplicate: 0,
    reorder: 0,
    rate: None,
    most: None,
};

/// p50 and p95 of some times.
pub fn told(what: &str, mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    let most = times[times.len() * 95 / 100];
    let half = times[times.len() / 2];
    println!("{what}: p50 {half:?}, p95 {most:?} ({} runs)", times.len());
    most
}
