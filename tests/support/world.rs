//! Members in namespaces, with configurations as a person would write them.

#![allow(dead_code)]

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use l2vpn::api::Snapshot;
use l2vpn::io::clock::OsEntropy;
use l2vpn::keys::{PrivateKey, PublicKey, write_private};
use l2vpn::lab::network::Network;
use l2vpn::lab::orders::{Order, Ping, Report};

pub const TAP: &str = "l2lan";
pub const NAMES: [&str; 3] = ["a", "b", "c"];

pub fn exe() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_l2vpn"))
}

/// The overlay address of a host.
pub fn v4(host: usize) -> IpAddr {
    Ipv4Addr::new(10, 77, 0, host as u8 + 1).into()
}

/// The overlay IPv6 address of a host.
pub fn v6(host: usize) -> IpAddr {
    Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, host as u16 + 1).into()
}

pub fn underlay_v4(host: usize) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, host as u8 + 1).into()
}

/// What a host's underlay speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Underlay {
    V4,
    V6,
}

impl Underlay {
    fn address(self, host: usize) -> (IpAddr, u8) {
        match self {
            Underlay::V4 => (underlay_v4(host), 24),
            Underlay::V6 => (
                Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host as u16 + 1).into(),
                64,
            ),
        }
    }
}

/// What one member's configuration says.
pub struct HostFile {
    pub addresses: Vec<String>,
    /// More lines of `[node]`.
    pub node: String,
    /// More lines of its first port.
    pub port: String,
    /// More tables.
    pub more: String,
    pub endpoint: Option<String>,
    pub peer_key: Option<String>,
    pub state_dir: String,
    key: PublicKey,
    dir: PathBuf,
}

pub struct World {
    pub network: Network,
    pub hosts: Vec<HostFile>,
    _dir: tempfile::TempDir,
}

/// Fails with a message unless something holds.
pub fn expect(holds: bool, message: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(message()) }
}

/// An Ethernet frame of EtherType 0x88b5.
pub fn frame(to: [u8; 6], from: [u8; 6], tags: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut frame = [to, from].concat();
    frame.extend_from_slice(tags);
    frame.extend_from_slice(&[0x88, 0xb5]);
    frame.extend_from_slice(payload);
    frame
}

impl World {
    /// Two members that call each other over IPv4.
    pub fn pair(mtu: u16) -> Result<World, String> {
        World::new(&[Underlay::V4; 2], mtu)
    }

    pub fn new(underlays: &[Underlay], mtu: u16) -> Result<World, String> {
        let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
        let mut network = Network::new().map_err(|e| e.to_string())?;
        let mut hosts = Vec::new();
        for (n, underlay) in underlays.iter().enumerate() {
            network
                .add_host(exe(), &[underlay.address(n)], mtu)
                .map_err(|e| e.to_string())?;
            if *underlay == Underlay::V6 {
                // Duplicate address detection would keep the underlay silent for two seconds.
                std::thread::sleep(Duration::from_millis(2100));
            }
            let own = dir.path().join(NAMES[n]);
            std::fs::create_dir(&own).map_err(|e| e.to_string())?;
            let key = PrivateKey::generate(&mut OsEntropy);
            write_private(&own.join("node.key"), &key).map_err(|e| e.to_string())?;
            hosts.push(HostFile {
                addresses: vec![format!("{}/24", v4(n)), format!("{}/64", v6(n))],
                node: String::new(),
                port: String::new(),
                more: String::new(),
                endpoint: None,
                peer_key: None,
                state_dir: dir.path().join("state").display().to_string(),
                key: key.public(),
                dir: own,
            });
        }
        for n in 0..hosts.len() {
            let other = (n + 1) % hosts.len();
            let (ip, _) = underlays[other].address(other);
            hosts[n].endpoint = Some(std::net::SocketAddr::new(ip, 7656).to_string());
        }
        let world = World {
            network,
            hosts,
            _dir: dir,
        };
        world.write()?;
        Ok(world)
    }

    /// Three members that all know each other.
    pub fn mesh() -> Result<World, String> {
        let mut world = World::new(&[Underlay::V4; 3], 1500)?;
        for n in 0..3 {
            let before = (n + 2) % 3;
            world.hosts[n].more = format!(
                "\n[[peer]]\nname = \"{}\"\npublic_key = \"{}\"\nendpoints = [\"{}:7656\"]\n",
                NAMES[before],
                world.public_key(before),
                underlay_v4(before)
            );
        }
        Ok(world)
    }

    /// Waits until all three are connected.
    pub fn all_connected(&mut self) -> Result<(), String> {
        (0..3).try_for_each(|n| self.connected(n))
    }

    /// Writes the configurations.
    pub fn write(&self) -> Result<(), String> {
        for n in 0..self.hosts.len() {
            std::fs::write(self.config(n), self.text(n)).map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    fn text(&self, n: usize) -> String {
        let host = &self.hosts[n];
        let other = (n + 1) % self.hosts.len();
        let key = host
            .peer_key
            .clone()
            .unwrap_or_else(|| self.hosts[other].key.to_string());
        let endpoint = host
            .endpoint
            .iter()
            .map(|e| format!("endpoints = [\"{e}\"]\n"));
        format!(
            "[node]\nkey = \"node.key\"\nlisten = \"[::]:7656\"\n{}\n\
             [control]\nsocket = \"l2vpn.sock\"\nstate_dir = \"{}\"\n\n\
             [[segment]]\nname = \"lan\"\nid = 1\n\n\
             [[port]]\ntap = \"{TAP}\"\naddresses = {:?}\n{}\n\
             [[peer]]\nname = \"{}\"\npublic_key = \"{key}\"\n{}{}",
            host.node,
            host.state_dir,
            host.addresses,
            host.port,
            NAMES[other],
            endpoint.collect::<String>(),
            host.more,
        )
    }

    pub fn config(&self, n: usize) -> PathBuf {
        self.hosts[n].dir.join("config.toml")
    }

    /// The configuration of a host with some texts exchanged, under another name.
    pub fn variant(
        &self,
        n: usize,
        name: &str,
        change: &[(&str, &str)],
    ) -> Result<PathBuf, String> {
        let mut text = self.text(n).replace("l2vpn.sock", &format!("{name}.sock"));
        // A key of its own: two members with one key are refused before anything else.
        let key = self.hosts[n].dir.join(format!("{name}.key"));
        write_private(&key, &PrivateKey::generate(&mut OsEntropy)).map_err(|e| e.to_string())?;
        text = text.replace("node.key", &format!("{name}.key"));
        for (from, to) in change {
            text = text.replace(from, to);
        }
        let path = self.hosts[n].dir.join(format!("{name}.toml"));
        std::fs::write(&path, text).map_err(|e| e.to_string())?;
        Ok(path)
    }

    pub fn socket(&self, n: usize) -> PathBuf {
        self.hosts[n].dir.join("l2vpn.sock")
    }

    fn log_file(&self, n: usize) -> PathBuf {
        self._dir.path().join(format!("{}.log", NAMES[n]))
    }

    pub fn log(&self, n: usize) -> String {
        std::fs::read_to_string(self.log_file(n)).unwrap_or_default()
    }

    /// The files beside a host's configuration.
    pub fn files_of(&self, n: usize) -> Result<BTreeSet<String>, String> {
        let entries = std::fs::read_dir(&self.hosts[n].dir).map_err(|e| e.to_string())?;
        let names = entries
            .flatten()
            .map(|e| e.file_name().to_string_lossy().into_owned());
        Ok(names.collect())
    }

    pub fn files(&self) -> Result<BTreeSet<String>, String> {
        self.files_of(0)
    }

    pub fn ask(&mut self, n: usize, order: &Order) -> Result<Report, String> {
        let host = &mut self.network.hosts[n];
        host.ask(order).map_err(|e| format!("{order:?}: {e}"))
    }

    pub fn start(&mut self, n: usize) -> Result<u32, String> {
        let (config, log) = (self.config(n), self.log_file(n));
        let host = &mut self.network.hosts[n];
        host.start_daemon(&config, &log).map_err(|e| e.to_string())
    }

    pub fn start_all(&mut self) -> Result<(), String> {
        (0..self.hosts.len()).try_for_each(|n| self.start(n).map(|_| ()))
    }

    pub fn signal(&mut self, n: usize, signal: i32) -> Result<Report, String> {
        self.ask(n, &Order::Signal { signal, wait: true })
    }

    /// Runs a verb against a host's daemon.
    pub fn cli(
        &mut self,
        n: usize,
        verb: &[&str],
    ) -> Result<(Option<i32>, String, String), String> {
        let socket = self.socket(n).display().to_string();
        let mut args = verb.to_vec();
        args.extend(["--socket", &socket]);
        self.network.hosts[n].run(&args).map_err(|e| e.to_string())
    }

    /// `up` with a configuration that is expected to fail.
    pub fn up(&mut self, n: usize, config: &Path) -> Result<(i32, String), String> {
        let config = config.display().to_string();
        let host = &mut self.network.hosts[n];
        let (code, _, stderr) = host.run(&["up", &config]).map_err(|e| e.to_string())?;
        Ok((code.unwrap_or(-1), stderr))
    }

    pub fn fails_to_start(&mut self, n: usize) -> Result<(i32, String), String> {
        let config = self.config(n);
        self.up(n, &config)
    }

    pub fn show(&mut self, n: usize) -> Result<Snapshot, String> {
        let (code, stdout, stderr) = self.cli(n, &["show", "--json"])?;
        match code {
            Some(0) => serde_json::from_str(&stdout).map_err(|e| e.to_string()),
            _ => Err(format!("{stderr}{}", self.log(n))),
        }
    }

    pub fn wait_socket(&mut self, n: usize) -> Result<(), String> {
        let there = self.eventually(Duration::from_secs(5), |w| Ok(w.show(n).is_ok()))?;
        expect(there, || self.log(n))
    }

    /// Waits until a host's peer is connected.
    pub fn connected(&mut self, n: usize) -> Result<(), String> {
        let up = self.eventually(Duration::from_secs(10), |w| {
            Ok(w.show(n)
                .is_ok_and(|s| s.peers.iter().all(|p| p.state == "up")))
        })?;
        let other = (n + 1) % self.hosts.len();
        let both = self.eventually(Duration::from_secs(2), |w| {
            Ok(w.show(other)
                .is_ok_and(|s| s.peers.iter().all(|p| p.state == "up")))
        })?;
        expect(up && both, || {
            format!("{}\n{}", self.log(n), self.log(other))
        })
    }

    pub fn eventually(
        &mut self,
        patience: Duration,
        mut holds: impl FnMut(&mut World) -> Result<bool, String>,
    ) -> Result<bool, String> {
        let began = Instant::now();
        while began.elapsed() < patience {
            if holds(self)? {
                return Ok(true);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        holds(self)
    }

    /// Pings until one is answered.
    pub fn reach(&mut self, n: usize, to: IpAddr) -> Result<u64, String> {
        let host = &mut self.network.hosts[n];
        let result = host.reach(to, 100, 100).map_err(|e| e.to_string());
        result.map_err(|e| {
            format!(
                "{} from {}: {e}\n{}",
                to,
                NAMES.get(n).unwrap_or(&"?"),
                self.log(n.min(1))
            )
        })
    }

    pub fn ping(
        &mut self,
        n: usize,
        to: IpAddr,
        size: usize,
        count: u16,
    ) -> Result<Vec<Option<u64>>, String> {
        let ping = Ping {
            to,
            count,
            size,
            whole: true,
            timeout_ms: 500,
            device: None,
        };
        self.network.hosts[n].ping(ping).map_err(|e| e.to_string())
    }

    /// Sends bytes by TCP and checks every one.
    pub fn tcp(&mut self, from: usize, to: usize, at: IpAddr, bytes: u64) -> Result<(), String> {
        let address = (at, 5001).into();
        self.ask(to, &Order::TcpServe(address))?;
        let client = &mut self.network.hosts[from];
        client
            .transfer(&Order::TcpSend(address, bytes))
            .map_err(|e| e.to_string())?;
        let server = &mut self.network.hosts[to];
        let got = server
            .transfer(&Order::TcpResult)
            .map_err(|e| e.to_string())?;
        expect(got.bytes == bytes && got.intact, || format!("{got:?}"))
    }

    /// Sends a frame by the TAP of one host and expects it at another's.
    pub fn crosses(
        &mut self,
        from: usize,
        to: usize,
        sent: &[u8],
        expected: &[u8],
    ) -> Result<(), String> {
        self.ask(to, &Order::Watch(TAP.into()))?;
        self.ask(from, &Order::Inject(TAP.into(), sent.to_vec()))?;
        let end = expected[expected.len() - 20..].to_vec();
        let seen = self.ask(to, &Order::Expect(end, 2000))?;
        expect(seen == Report::Frame(Ok(expected.to_vec())), || {
            format!("sent {sent:02x?}\nexpected {expected:02x?}\ngot {seen:02x?}")
        })
    }

    pub fn does_not_cross(&mut self, from: usize, to: usize, sent: &[u8]) -> Result<(), String> {
        self.ask(to, &Order::Watch(TAP.into()))?;
        self.ask(from, &Order::Inject(TAP.into(), sent.to_vec()))?;
        let end = sent[sent.len() - 20..].to_vec();
        let seen = self.ask(to, &Order::Expect(end, 300))?;
        expect(matches!(seen, Report::Frame(Err(_))), || {
            format!("it crossed: {seen:02x?}")
        })
    }

    pub fn interfaces(&mut self, n: usize) -> Result<Vec<String>, String> {
        match self.ask(n, &Order::Interfaces)? {
            Report::Names(names) => Ok(names),
            other => Err(format!("{other:?}")),
        }
    }

    /// A host without a daemon and, for all it knows, without a network.
    pub fn add_plain_host(&mut self) -> Result<usize, String> {
        self.network
            .add_host(exe(), &[], 1500)
            .map_err(|e| e.to_string())
    }

    /// Takes an address from an interface.
    pub fn forget_address(&mut self, n: usize, name: &str, address: IpAddr) -> Result<(), String> {
        self.ask(n, &Order::RemoveAddress(name.into(), address, 24))
            .map(|_| ())
    }

    /// CPU time that a host's daemon has used so far, in milliseconds.
    pub fn cpu_millis(&mut self, n: usize) -> Result<u64, String> {
        let pid = self.show(n)?.pid;
        let stat =
            std::fs::read_to_string(format!("/proc/{pid}/stat")).map_err(|e| e.to_string())?;
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        let ticks = |i: usize| {
            fields
                .get(i)
                .and_then(|f| f.parse::<u64>().ok())
                .unwrap_or(0)
        };
        Ok((ticks(11) + ticks(12)) * 10)
    }

    /// The public key of a member, as configurations name it.
    pub fn public_key(&self, n: usize) -> String {
        self.hosts[n].key.to_string()
    }

    /// A directory for what a story needs.
    pub fn dir(&self) -> &Path {
        self._dir.path()
    }

    /// Sends a large frame by the TAP of one host; gives the traffic classes of the large datagrams that come to another's
    /// underlay.
    pub fn outer_classes(
        &mut self,
        from: usize,
        to: usize,
        underlay: &str,
        sent: &[u8],
    ) -> Result<Vec<u8>, String> {
        self.ask(to, &Order::Watch(underlay.into()))?;
        self.ask(from, &Order::Inject(TAP.into(), sent.to_vec()))?;
        let nothing = vec![0xa5; 64];
        let Report::Frame(Err(frames)) = self.ask(to, &Order::Expect(nothing, 300))? else {
            return Err("an impossible frame came".into());
        };
        let is_udp = |f: &&Vec<u8>| f.len() > 1200 && f[12..14] == [8, 0] && f[23] == 17;
        Ok(frames.iter().filter(is_udp).map(|f| f[15]).collect())
    }
}
