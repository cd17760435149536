//! The demo's world: hosts, keys, configurations, daemons.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::api::Snapshot;
use crate::io::clock::OsEntropy;
use crate::keys::{self, PrivateKey, PublicKey};
use crate::lab::network::{Host, LabError, Network};
use crate::lab::orders::{Order, Ping, Report};

/// The TAP on every host.
pub(super) const TAP: &str = "l2lan";
const UNDERLAY_MTU: u16 = 1500;

/// Names of hosts, in order; the last one is not invited.
pub(super) const NAMES: [&str; 4] = ["a", "b", "c", "stranger"];
/// The number of the stranger.
pub(super) const STRANGER: usize = 3;

/// The address of a host on the overlay.
pub(super) fn overlay_v4(host: usize) -> IpAddr {
    Ipv4Addr::new(10, 77, 0, host as u8 + 1).into()
}

/// The IPv6 address of a host on the overlay.
pub(super) fn overlay_v6(host: usize) -> IpAddr {
    Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, host as u16 + 1).into()
}

/// The address of a host on the underlay.
pub(super) fn underlay(host: usize) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, host as u8 + 1).into()
}

/// Hosts and their files.
pub(super) struct World {
    pub(super) network: Network,
    dir: PathBuf,
    keys: Vec<PublicKey>,
}

impl World {
    /// Makes the hosts and the underlay.
    pub(super) fn new(dir: &Path) -> Result<World, LabError> {
        let mut network = Network::new()?;
        let exe = Path::new("/proc/self/exe");
        for host in 0..NAMES.len() {
            network.add_host(exe, &[(underlay(host), 24)], UNDERLAY_MTU)?;
        }
        Ok(World {
            network,
            dir: dir.into(),
            keys: Vec::new(),
        })
    }

    /// Makes a key for each host, and a configuration that names the other members.
    pub(super) fn write_files(&mut self) -> Result<(), String> {
        for name in NAMES {
            let key = PrivateKey::generate(&mut OsEntropy);
            keys::write_private(&self.file(name, "key"), &key).map_err(|e| e.to_string())?;
            self.keys.push(key.public());
        }
        for (host, name) in NAMES.into_iter().enumerate() {
            let text = self.config(host);
            std::fs::write(self.file(name, "toml"), text).map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    fn file(&self, name: &str, extension: &str) -> PathBuf {
        self.dir.join(format!("{name}.{extension}"))
    }

    /// The configuration of a host, as a person would write it.
    pub(super) fn config(&self, host: usize) -> String {
        let name = NAMES.get(host).copied().unwrap_or_default();
        let mut text = format!(
            "[node]\nkey = \"{name}.key\"\nlisten = \"0.0.0.0:7656\"\n\n\
             [[segment]]\nname = \"lan\"\nid = 1\n\n\
             [[port]]\ntap = \"{TAP}\"\naddresses = [\"{}/24\", \"{}/64\"]\n",
            overlay_v4(host),
            overlay_v6(host)
        );
        // The stranger knows where A is and who A is; A does not know the stranger.
        let peers: Vec<usize> = match host {
            STRANGER => vec![0],
            _ => (0..STRANGER).filter(|p| *p != host).collect(),
        };
        for peer in peers {
            let (Some(peer_name), Some(key)) = (NAMES.get(peer), self.keys.get(peer)) else {
                continue;
            };
            text.push_str(&format!(
                "\n[[peer]]\nname = \"{peer_name}\"\npublic_key = \"{key}\"\n\
                 endpoints = [\"{}:7656\"]\n",
                underlay(peer)
            ));
        }
        text.push_str(&format!(
            "\n[control]\nsocket = \"{name}.sock\"\nstate_dir = \"state\"\n"
        ));
        text
    }

    /// Starts the daemon of a host.
    pub(super) fn start(&mut self, host: usize) -> Result<(), String> {
        let name = NAMES.get(host).copied().unwrap_or_default();
        let (config, log) = (self.file(name, "toml"), self.file(name, "log"));
        self.host(host)?
            .start_daemon(&config, &log)
            .map(|_| ())
            .map_err(|e| e.to_string())
    }

    pub(super) fn host(&mut self, host: usize) -> Result<&mut Host, String> {
        let gone = || format!("there is no host {host}");
        self.network.hosts.get_mut(host).ok_or_else(gone)
    }

    /// What the daemon of a host says of itself.
    pub(super) fn show(&mut self, host: usize) -> Result<Snapshot, String> {
        let text = self.verb(host, &["show", "--json"])?;
        serde_json::from_str(&text).map_err(|e| e.to_string())
    }

    /// Runs a verb against the daemon of a host; gives what it prints.
    pub(super) fn verb(&mut self, host: usize, verb: &[&str]) -> Result<String, String> {
        let name = NAMES.get(host).copied().unwrap_or_default();
        let socket = self.file(name, "sock").display().to_string();
        let mut args = verb.to_vec();
        args.extend(["--socket", &socket]);
        let (code, stdout, stderr) = self.host(host)?.run(&args).map_err(|e| e.to_string())?;
        match code {
            Some(0) => Ok(stdout),
            _ => Err(format!("{stderr}{}", self.log(host))),
        }
    }

    /// The end of a daemon's log.
    pub(super) fn log(&self, host: usize) -> String {
        let name = NAMES.get(host).copied().unwrap_or_default();
        let text = std::fs::read_to_string(self.file(name, "log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last = lines.len().saturating_sub(8);
        lines.get(last..).unwrap_or_default().join("\n")
    }

    /// Waits until every member is connected with every other; gives how long it took.
    pub(super) fn wait_connected(&mut self, patience: Duration) -> Result<Duration, String> {
        let began = Instant::now();
        loop {
            let mut up = 0;
            let mut last = String::new();
            for host in 0..STRANGER {
                match self.show(host) {
                    Ok(view) => up += view.peers.iter().filter(|p| p.state == "up").count(),
                    Err(error) => last = error,
                }
            }
            if up == STRANGER * (STRANGER - 1) {
                return Ok(began.elapsed());
            }
            if began.elapsed() > patience {
                return Err(format!("only {up} of 6 ends are connected\n{last}"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Pings between all pairs; gives the best round trip in microseconds.
    pub(super) fn ping_all(
        &mut self,
        address: fn(usize) -> IpAddr,
        (size, whole): (usize, bool),
    ) -> Result<u64, String> {
        let mut best = u64::MAX;
        for from in 0..STRANGER {
            for to in (0..STRANGER).filter(|t| *t != from) {
                let to = address(to);
                let host = self.host(from)?;
                // Duplicate address detection keeps a new IPv6 address silent for a second or two.
                host.reach(to, 50, 100).map_err(|e| e.to_string())?;
                let ping = Ping {
                    to,
                    count: 3,
                    size,
                    whole,
                    timeout_ms: 1000,
                    device: None,
                };
                let trips = host.ping(ping).map_err(|e| e.to_string())?;
                for trip in trips {
                    best = best.min(trip.ok_or_else(|| format!("{to} did not answer"))?);
                }
            }
        }
        Ok(best)
    }

    /// Gives an order to a host.
    pub(super) fn ask(&mut self, host: usize, order: &Order) -> Result<Report, String> {
        self.host(host)?.ask(order).map_err(|e| e.to_string())
    }
}
