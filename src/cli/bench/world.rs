//! Two hosts, a cable, and what runs over it.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::cli::args::BenchArgs;
use crate::io::clock::OsEntropy;
use crate::keys::{self, PrivateKey, PublicKey};
use crate::lab::network::{Host, Network};
use crate::lab::orders::{Impair, Interface, Order, Report};

const NAMES: [&str; 2] = ["a", "b"];
/// Where the wire that loses takes A's datagrams.
const LOSSY_PORT: u16 = 7657;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Subject {
    /// The cable itself.
    Bare,
    /// The kernel's VXLAN on it, in clear.
    Vxlan,
    /// l2vpn with AES-256-GCM.
    Aes,
    /// l2vpn with ChaCha20-Poly1305.
    Chacha,
    /// l2vpn with whole packets on the wire instead of pieces.
    Segments,
    /// l2vpn without offloads.
    Off,
}

impl Subject {
    pub(super) const ALL: [Subject; 6] = [
        Subject::Bare,
        Subject::Vxlan,
        Subject::Aes,
        Subject::Chacha,
        Subject::Segments,
        Subject::Off,
    ];
    pub(super) const USUAL: [Subject; 5] = [
        Subject::Bare,
        Subject::Vxlan,
        Subject::Aes,
        Subject::Chacha,
        Subject::Off,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Subject::Bare => "bare",
            Subject::Vxlan => "vxlan",
            Subject::Aes => "aes",
            Subject::Chacha => "chacha",
            Subject::Segments => "segments",
            Subject::Off => "off",
        }
    }

    pub(super) fn title(self) -> &'static str {
        match self {
            Subject::Bare => "bare veth",
            Subject::Vxlan => "VXLAN, clear",
            Subject::Aes => "l2vpn AES-256-GCM",
            Subject::Chacha => "l2vpn ChaCha20",
            Subject::Segments => "l2vpn segments",
            Subject::Off => "l2vpn offload off",
        }
    }

    pub(super) fn is_l2vpn(self) -> bool {
        !matches!(self, Subject::Bare | Subject::Vxlan)
    }

    /// Whether a machine may lack it.
    pub(super) fn is_optional(self) -> bool {
        matches!(self, Subject::Vxlan)
    }

    /// The address of a host.
    pub(super) fn address(self, host: u8) -> IpAddr {
        let net = match self {
            Subject::Bare => return underlay(host).into(),
            Subject::Vxlan => 78,
            _ => 77,
        };
        Ipv4Addr::new(10, net, 0, host + 1).into()
    }

    /// Lines of `[node]`.
    fn tuning(self) -> &'static str {
        match self {
            Subject::Chacha => "cipher = \"chacha20-poly1305\"\n",
            Subject::Segments => "offload = \"segments\"\n",
            Subject::Off => "offload = \"off\"\n",
            _ => "",
        }
    }
}

fn underlay(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, host + 1)
}

/// The hosts and their files.
pub(super) struct World {
    network: Network,
    dir: PathBuf,
    keys: Vec<PublicKey>,
    mtu: u16,
    workers: u8,
    has_vxlan: bool,
    /// The running daemons.
    daemons: Vec<u32>,
}

impl World {
    pub(super) fn new(dir: &Path, args: &BenchArgs) -> Result<World, String> {
        let fail = |e: crate::lab::network::LabError| e.to_string();
        let mut network = Network::new().map_err(fail)?;
        let mut public = Vec::new();
        for name in NAMES {
            network
                .add_lone_host(Path::new("/proc/self/exe"))
                .map_err(fail)?;
            let key = PrivateKey::generate(&mut OsEntropy);
            let file = dir.join(format!("{name}.key"));
            keys::write_private(&file, &key).map_err(|e| e.to_string())?;
            public.push(key.public());
        }
        let ends = [0, 1].map(|n: u8| (usize::from(n), (underlay(n).into(), 24)));
        network.connect(ends, args.underlay_mtu).map_err(fail)?;
        Ok(World {
            network,
            dir: dir.into(),
            keys: public,
            mtu: args.mtu,
            workers: args.workers,
            has_vxlan: false,
            daemons: Vec::new(),
        })
    }

    /// The congestion control that the host's TCP uses unless told otherwise.
    pub(super) fn control(&self) -> String {
        let file = "/proc/sys/net/ipv4/tcp_congestion_control";
        let text = std::fs::read_to_string(file).unwrap_or_default();
        text.trim().to_string()
    }

    fn host(&mut self, host: usize) -> Result<&mut Host, String> {
        let gone = || format!("there is no host {host}");
        self.network.hosts.get_mut(host).ok_or_else(gone)
    }

    pub(super) fn ask(&mut self, host: usize, order: &Order) -> Result<Report, String> {
        self.host(host)?.ask(order).map_err(|e| e.to_string())
    }

    /// Sets a subject up; gives the daemons' processes.
    pub(super) fn start(&mut self, subject: Subject, loss_ppm: u64) -> Result<Vec<u32>, String> {
        match subject {
            Subject::Bare => {}
            Subject::Vxlan => self.vxlan()?,
            _ => self.members(subject, loss_ppm)?,
        }
        let host = self.host(0)?;
        let reached = host.reach(subject.address(1), 300, 20);
        reached.map_err(|e| format!("{e}\n{}", self.log()))?;
        Ok(self.daemons.clone())
    }

    /// Ends what [`World::start`] began.
    pub(super) fn stop(&mut self) -> Result<(), String> {
        for host in 0..self.daemons.len() {
            let order = Order::Signal {
                signal: crate::io::process::SIGTERM,
                wait: true,
            };
            self.ask(host, &order)?;
        }
        self.daemons.clear();
        Ok(())
    }

    fn vxlan(&mut self) -> Result<(), String> {
        if self.has_vxlan {
            return Ok(());
        }
        for host in [0u8, 1] {
            let below = format!("under{host}");
            let order = Order::AddVxlan("vx".into(), 77, underlay(1 - host), below);
            self.ask(usize::from(host), &order)?;
            let interface = Interface {
                name: "vx".into(),
                addresses: vec![(Subject::Vxlan.address(host), 24)],
                ..Interface::default()
            };
            self.ask(usize::from(host), &Order::Configure(interface))?;
        }
        self.has_vxlan = true;
        Ok(())
    }

    fn members(&mut self, subject: Subject, loss_ppm: u64) -> Result<(), String> {
        if loss_ppm > 0 {
            let wire = Impair {
                listen: (underlay(1), LOSSY_PORT).into(),
                to: (underlay(1), 7656).into(),
                loss_ppm,
            };
            self.ask(1, &Order::Impair(wire))?;
        }
        for (host, name) in NAMES.into_iter().enumerate() {
            let config = self.dir.join(format!("{name}.toml"));
            let text = self.config(host, subject, loss_ppm > 0)?;
            std::fs::write(&config, text).map_err(|e| e.to_string())?;
            let log = self.dir.join(format!("{name}.log"));
            let started = self.host(host)?.start_daemon(&config, &log);
            self.daemons.push(started.map_err(|e| e.to_string())?);
        }
        self.settle();
        Ok(())
    }

    /// Lets carriers come up, which a first ARP request would be lost on.
    fn settle(&mut self) {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(5) {
            let up = |w: &mut World, host| {
                matches!(
                    w.ask(host, &Order::Carrier("l2lan".into())),
                    Ok(Report::Flag(Some(true)))
                )
            };
            if up(self, 0) && up(self, 1) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn config(&self, host: usize, subject: Subject, lossy: bool) -> Result<String, String> {
        let gone = || format!("there is no host {host}");
        let name = NAMES.get(host).ok_or_else(gone)?;
        let other = self.keys.get(1 - host).ok_or_else(gone)?;
        // Over the wire that loses only A calls, through the wire; B answers to where it is called from.
        let endpoint = match (host, lossy) {
            (0, true) => format!("endpoints = [\"{}:{LOSSY_PORT}\"]\n", underlay(1)),
            (_, true) => String::new(),
            (_, false) => format!("endpoints = [\"{}:7656\"]\n", underlay(1 - host as u8)),
        };
        Ok(format!(
            "[node]\nkey = \"{name}.key\"\nlisten = \"0.0.0.0:7656\"\nworkers = {}\n{}\
             [[segment]]\nname = \"lan\"\nid = 1\n\
             [[port]]\ntap = \"l2lan\"\nmtu = {}\naddresses = [\"{}/24\"]\n\
             [[peer]]\npublic_key = \"{other}\"\n{endpoint}\
             [control]\nsocket = \"{name}.sock\"\nstate_dir = \"state\"\n",
            self.workers,
            subject.tuning(),
            self.mtu,
            subject.address(host as u8),
        ))
    }

    /// What the daemons said.
    pub(super) fn log(&self) -> String {
        let read = |name: &str| std::fs::read_to_string(self.dir.join(format!("{name}.log")));
        NAMES.map(|n| read(n).unwrap_or_default()).concat()
    }
}
