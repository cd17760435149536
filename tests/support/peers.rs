//! Other VPNs, each set up on the two hosts of a [`World`].

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use l2vpn::lab::orders::{Interface, Order, Report, Stream};

use super::world::{World, expect, underlay_v4};

const MTU: u16 = 1400;
const SECONDS: u64 = 2;

/// A VPN: its name, the variable and the name of its program, and how it is started on a host.
struct Peer {
    name: &'static str,
    variable: &'static str,
    program: &'static str,
    start: fn(&mut Site<'_>, usize) -> Result<(), String>,
}

const PEERS: [Peer; 5] = [
    Peer {
        name: "fastd",
        variable: "FASTD",
        program: "fastd",
        start: fastd,
    },
    Peer {
        name: "tinc",
        variable: "TINCD",
        program: "tincd",
        start: tinc,
    },
    Peer {
        name: "OpenVPN TAP",
        variable: "OPENVPN",
        program: "openvpn",
        start: openvpn,
    },
    Peer {
        name: "VXLAN in wireguard-go",
        variable: "WIREGUARD_GO",
        program: "wireguard-go",
        start: wireguard,
    },
    Peer {
        name: "vpncloud",
        variable: "VPNCLOUD",
        program: "vpncloud",
        start: vpncloud,
    },
];

/// The two hosts, a directory, and the program that is tried.
struct Site<'w> {
    world: &'w mut World,
    dir: &'w Path,
    program: PathBuf,
}

fn find(peer: &Peer) -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(peer.variable) {
        return Some(path.into());
    }
    let path = std::env::var_os("PATH")?;
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    places.map(|p| p.join(peer.program)).find(|p| p.exists())
}

fn address(host: usize) -> IpAddr {
    Ipv4Addr::new(10, 79, 0, host as u8 + 1).into()
}

/// Measures every VPN that is there, so many rounds, and prints a table.
pub fn compare(rounds: usize) -> Result<(), String> {
    let mut table: Vec<(String, Vec<f64>, Vec<f64>)> = Vec::new();
    let mut add = |name: &str, (rate, ping): (f64, f64)| {
        let at = table.iter().position(|(n, ..)| n == name);
        let at = at.unwrap_or_else(|| {
            table.push((name.into(), Vec::new(), Vec::new()));
            table.len() - 1
        });
        table[at].1.push(rate);
        table[at].2.push(ping);
    };
    for round in 1..=rounds {
        let mut world = World::pair(1500)?;
        add("bare veth", measure(&mut world, underlay_v4(1))?);
        for host in &mut world.hosts {
            host.port = format!("mtu = {MTU}\n");
        }
        world.write()?;
        world.start_all()?;
        world.reach(0, super::world::v4(1))?;
        add("l2vpn", measure(&mut world, super::world::v4(1))?);
        // One underlay at a time.
        drop(world);
        for peer in &PEERS {
            let Some(program) = find(peer) else {
                continue;
            };
            eprintln!("round {round}: {}", peer.name);
            match one(peer, program) {
                Ok(figures) => add(peer.name, figures),
                Err(why) => eprintln!("{} is left out: {why}", peer.name),
            }
        }
    }
    println!(
        "medians of {rounds} rounds (smallest - largest); one TCP stream, MTU {MTU} inside 1500"
    );
    println!("{:<24} {:>28} {:>24}", "", "Mbit/s", "ping, us");
    for (name, rates, pings) in table {
        println!("{name:<24} {:>28} {:>24}", spread(rates), spread(pings));
    }
    Ok(())
}

fn spread(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    let at = |i: usize| values.get(i).copied().unwrap_or(f64::NAN);
    let (low, high) = (at(0), at(values.len().saturating_sub(1)));
    format!("{:.0} ({low:.0} - {high:.0})", at(values.len() / 2))
}

/// A VPN on hosts of its own.
fn one(peer: &Peer, program: PathBuf) -> Result<(f64, f64), String> {
    let mut world = World::pair(1500)?;
    let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
    let mut site = Site {
        world: &mut world,
        dir: dir.path(),
        program,
    };
    for host in 0..2 {
        (peer.start)(&mut site, host)?;
    }
    for host in 0..2 {
        site.interface(host)?;
    }
    let found = world.network.hosts[0].reach(address(1), 200, 50);
    if let Err(error) = found {
        let log = |n| std::fs::read_to_string(dir.path().join(format!("{n}.log")));
        let logs = [0, 1].map(|n| log(n).unwrap_or_default());
        return Err(format!("{error}\n{}", logs.concat()));
    }
    measure(&mut world, address(1))
}

fn measure(world: &mut World, to: IpAddr) -> Result<(f64, f64), String> {
    let ping = match world.ask(0, &Order::PingSeries(to, 500, 2000))? {
        Report::Trips(mut trips, _) if !trips.is_empty() => {
            trips.sort_unstable();
            trips[trips.len() / 2] as f64 / 1000.0
        }
        other => return Err(format!("{other:?}")),
    };
    let sink = (to, 5001).into();
    world.ask(1, &Order::Sink(sink, 1))?;
    let stream = Stream {
        to: sink,
        streams: 1,
        millis: SECONDS * 1000,
        control: None,
    };
    world.ask(0, &Order::Stream(stream))?;
    world.ask(0, &Order::StreamResult)?;
    match world.ask(1, &Order::SinkResult)? {
        Report::Traffic(traffic) => Ok((traffic.megabits(), ping)),
        other => Err(format!("{other:?}")),
    }
}

impl Site<'_> {
    fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf, String> {
        use std::os::unix::fs::PermissionsExt;
        let path = self.file(name);
        let parent = path.parent().unwrap_or(self.dir);
        std::fs::create_dir_all(parent).map_err(|e| e.to_string())?;
        std::fs::write(&path, text).map_err(|e| e.to_string())?;
        let mode =
            std::fs::Permissions::from_mode(if text.starts_with("#!") { 0o700 } else { 0o600 });
        std::fs::set_permissions(&path, mode).map_err(|e| e.to_string())?;
        Ok(path)
    }

    /// Starts the program on a host.
    fn spawn(&mut self, host: usize, args: &[&str]) -> Result<(), String> {
        let mut command = vec![self.program.display().to_string()];
        command.extend(args.iter().map(ToString::to_string));
        let log = self.file(&format!("{host}.log"));
        self.world
            .ask(host, &Order::Spawn(command, log))
            .map(|_| ())
    }

    /// Runs a program of the system on a host; gives what it prints.
    fn execute(&mut self, host: usize, command: &[&str]) -> Result<String, String> {
        let order = Order::Execute(command.iter().map(ToString::to_string).collect());
        match self.world.ask(host, &order)? {
            Report::Ended {
                code: Some(0),
                stdout,
                ..
            } => Ok(stdout),
            other => Err(format!("{command:?}: {other:?}")),
        }
    }

    /// Runs the program here; gives what it prints.
    fn ask(&self, program: &Path, args: &[&str], input: &str) -> Result<String, String> {
        use std::io::Write;
        use std::process::{Command, Stdio};
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::piped());
        let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut child = child.map_err(|e| format!("{}: {e}", program.display()))?;
        if let Some(mut stdin) = child.stdin.take() {
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = child.wait_with_output().map_err(|e| e.to_string())?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Waits for the interface `l2` and gives it its address.
    fn interface(&mut self, host: usize) -> Result<(), String> {
        let began = Instant::now();
        while !self.world.interfaces(host)?.contains(&"l2".to_string()) {
            let log = self.file(&format!("{host}.log"));
            expect(began.elapsed() < Duration::from_secs(5), || {
                std::fs::read_to_string(log).unwrap_or_default()
            })?;
            std::thread::sleep(Duration::from_millis(10));
        }
        let interface = Interface {
            name: "l2".into(),
            mtu: Some(MTU),
            addresses: vec![(address(host), 24)],
            ..Interface::default()
        };
        self.world
            .ask(host, &Order::Configure(interface))
            .map(|_| ())
    }
}

fn fastd(site: &mut Site<'_>, host: usize) -> Result<(), String> {
    if host == 0 {
        for n in 0..2 {
            let text = site.ask(&site.program.clone(), &["--generate-key"], "")?;
            let word = |name: &str| {
                let line = text.lines().find(|l| l.starts_with(name));
                line.and_then(|l| l.split_whitespace().last())
                    .map(String::from)
            };
            let secret = word("Secret").ok_or("no key")?;
            let public = word("Public").ok_or("no key")?;
            site.write(&format!("{n}.secret"), &secret)?;
            site.write(&format!("{n}.public"), &public)?;
        }
    }
    let read = |name: String| std::fs::read_to_string(site.file(&name)).map_err(|e| e.to_string());
    let (secret, public) = (
        read(format!("{host}.secret"))?,
        read(format!("{}.public", 1 - host))?,
    );
    let text = format!(
        "mode tap;\ninterface \"l2\";\nmethod \"salsa2012+umac\";\nmtu {MTU};\nbind 0.0.0.0:10000;\n\
         secret \"{secret}\";\nlog level verbose;\n\
         peer \"other\" {{ key \"{public}\"; remote {} port 10000; }}\n",
        underlay_v4(1 - host)
    );
    let config = site.write(&format!("{host}.conf"), &text)?;
    site.spawn(host, &["-c", &config.display().to_string()])
}

fn tinc(site: &mut Site<'_>, host: usize) -> Result<(), String> {
    if host == 0 {
        for n in 0..2 {
            let name = ["a", "b"][n];
            let dir = format!("tinc{n}");
            let config = format!(
                "Name = {name}\nMode = switch\nDeviceType = tap\nInterface = l2\nAddressFamily = ipv4\n\
                 ConnectTo = {}\nPingInterval = 60\n",
                ["a", "b"][1 - n]
            );
            site.write(&format!("{dir}/tinc.conf"), &config)?;
            site.write(&format!("{dir}/tinc-up"), "#!/bin/sh\n")?;
            let own = format!("Address = {}\n", underlay_v4(n));
            site.write(&format!("{dir}/hosts/{name}"), &own)?;
            let path = site.file(&dir).display().to_string();
            site.ask(&site.program.clone(), &["-c", &path, "-K2048"], "\n\n\n")?;
        }
        for n in 0..2 {
            let name = ["a", "b"][n];
            let own = std::fs::read_to_string(site.file(&format!("tinc{n}/hosts/{name}")));
            let own = own.map_err(|e| e.to_string())?;
            site.write(&format!("tinc{}/hosts/{name}", 1 - n), &own)?;
        }
    }
    let path = site.file(&format!("tinc{host}")).display().to_string();
    let pid = site.file(&format!("tinc{host}.pid")).display().to_string();
    site.spawn(host, &["-c", &path, "-D", &format!("--pidfile={pid}")])
}

fn openvpn(site: &mut Site<'_>, host: usize) -> Result<(), String> {
    // A static key is the whole of a pair of hosts; it is the mode without a handshake, and the fastest.
    let key = site.file("static.key").display().to_string();
    if host == 0 {
        site.ask(&site.program.clone(), &["--genkey", "secret", &key], "")?;
    }
    let (local, remote) = (underlay_v4(host), underlay_v4(1 - host));
    let mtu = MTU.to_string();
    let (local, remote) = (local.to_string(), remote.to_string());
    site.spawn(
        host,
        &[
            "--dev",
            "l2",
            "--dev-type",
            "tap",
            "--proto",
            "udp",
            "--local",
            &local,
            "--remote",
            &remote,
            "--secret",
            &key,
            "--cipher",
            "AES-256-CBC",
            "--tun-mtu",
            &mtu,
            "--verb",
            "1",
        ],
    )
}

fn wireguard(site: &mut Site<'_>, host: usize) -> Result<(), String> {
    let wg = Path::new("wg");
    if host == 0 {
        for n in 0..2 {
            let secret = site.ask(wg, &["genkey"], "")?;
            let public = site.ask(wg, &["pubkey"], &secret)?;
            site.write(&format!("{n}.secret"), &secret)?;
            site.write(&format!("{n}.public"), &public)?;
        }
    }
    // Its control socket lies in one directory for all hosts here.
    let name = format!("wgl2{host}");
    site.spawn(host, &["-f", &name])?;
    let began = Instant::now();
    while !site.world.interfaces(host)?.contains(&name) {
        expect(began.elapsed() < Duration::from_secs(5), || {
            format!("no {name}")
        })?;
        std::thread::sleep(Duration::from_millis(10));
    }
    let public = std::fs::read_to_string(site.file(&format!("{}.public", 1 - host)));
    let public = public.map_err(|e| e.to_string())?;
    let secret = site.file(&format!("{host}.secret")).display().to_string();
    let endpoint = format!("{}:51820", underlay_v4(1 - host));
    let set = [
        "wg",
        "set",
        &name,
        "private-key",
        &secret,
        "listen-port",
        "51820",
        "peer",
        public.trim(),
        "endpoint",
        &endpoint,
        "allowed-ips",
        "0.0.0.0/0",
    ];
    site.execute(host, &set)?;
    let inner = |n: usize| Ipv4Addr::new(10, 80, 0, n as u8 + 1);
    let interface = Interface {
        name: name.clone(),
        mtu: Some(1450),
        addresses: vec![(inner(host).into(), 24)],
        ..Interface::default()
    };
    site.world.ask(host, &Order::Configure(interface))?;
    let vxlan = Order::AddVxlan("l2".into(), 79, inner(1 - host), name);
    site.world.ask(host, &vxlan).map(|_| ())
}

fn vpncloud(site: &mut Site<'_>, host: usize) -> Result<(), String> {
    // It asks for a default route when it starts.
    let gateway = underlay_v4(1 - host).to_string();
    let _ = site.execute(host, &["ip", "route", "add", "default", "via", &gateway]);
    let peer = format!("{gateway}:3210");
    site.spawn(
        host,
        &[
            "--type",
            "tap",
            "--device",
            "l2",
            "--mode",
            "switch",
            "--listen",
            "0.0.0.0:3210",
            "-c",
            &peer,
            "--password",
            "figures-only",
            "--no-port-forwarding",
        ],
    )
}
