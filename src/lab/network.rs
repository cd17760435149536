//! The coordinator's side: hosts, and the underlay that connects them.

use std::io::{self, BufRead, BufReader, Write};
use std::net::IpAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use tokio::runtime::Runtime;

use super::orders::{Interface, Order, Ping, Report, Transfer};
use crate::io::links::{LinkError, LinkSettings, Links};
use crate::io::namespace::{Isolation, isolate};
use crate::io::process;

/// The hidden verb under which the program is a host.
pub const HOST_VERB: &str = "lab-host";
/// The bridge that is the underlay.
const BRIDGE: &str = "under";

/// Why something in the laboratory failed.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// A host could not be started or does not answer.
    #[error("laboratory host: {0}")]
    Host(#[from] io::Error),
    /// The underlay could not be made.
    #[error("laboratory underlay: {0}")]
    Link(#[from] LinkError),
    /// A host could not obey.
    #[error("{0}")]
    Order(String),
}

/// A host that takes our orders.
pub struct Host {
    child: Child,
    orders: Option<ChildStdin>,
    reports: BufReader<ChildStdout>,
    /// Its interface to the underlay.
    pub interface: String,
}

impl Host {
    fn start(exe: &Path, interface: String) -> io::Result<Host> {
        let mut command = Command::new(exe);
        command
            .arg(HOST_VERB)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        isolate(&mut command, Isolation::Network)?;
        let mut child = process::die_with_parent(&mut command).spawn()?;
        let broken = || io::Error::other("a pipe is missing");
        Ok(Host {
            orders: Some(child.stdin.take().ok_or_else(broken)?),
            reports: BufReader::new(child.stdout.take().ok_or_else(broken)?),
            child,
            interface,
        })
    }

    /// The host's process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Gives an order without waiting for the report.
    ///
    /// # Errors
    /// When the host is gone.
    pub fn tell(&mut self, order: &Order) -> Result<(), LabError> {
        let mut line = serde_json::to_string(order).map_err(io::Error::from)?;
        line.push('\n');
        let gone = || io::Error::other("the host has ended");
        let orders = self.orders.as_mut().ok_or_else(gone)?;
        orders.write_all(line.as_bytes())?;
        Ok(orders.flush()?)
    }

    /// Waits for the report on the oldest order.
    ///
    /// # Errors
    /// When the host is gone or could not obey.
    pub fn report(&mut self) -> Result<Report, LabError> {
        let mut line = String::new();
        if self.reports.read_line(&mut line)? == 0 {
            return Err(io::Error::other("the host has ended").into());
        }
        match serde_json::from_str(&line).map_err(io::Error::from)? {
            Report::Failed(why) => Err(LabError::Order(why)),
            report => Ok(report),
        }
    }

    /// Gives an order and waits for the report.
    ///
    /// # Errors
    /// See [`Host::report`].
    pub fn ask(&mut self, order: &Order) -> Result<Report, LabError> {
        self.tell(order)?;
        self.report()
    }

    /// Starts the daemon.
    ///
    /// # Errors
    /// When there is no program to start; a daemon that ends at once is not noticed here.
    pub fn start_daemon(&mut self, config: &Path, log: &Path) -> Result<u32, LabError> {
        let order = Order::Start {
            config: config.into(),
            log: log.into(),
            args: Vec::new(),
        };
        match self.ask(&order)? {
            Report::Started(pid) => Ok(pid),
            other => Err(unexpected(&other)),
        }
    }

    /// Runs the program with arguments; gives exit code, stdout and stderr.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn run(&mut self, args: &[&str]) -> Result<(Option<i32>, String, String), LabError> {
        let args = args.iter().map(ToString::to_string).collect();
        match self.ask(&Order::Run(args))? {
            Report::Ended {
                code,
                stdout,
                stderr,
            } => Ok((code, stdout, stderr)),
            other => Err(unexpected(&other)),
        }
    }

    /// Pings; gives round trips in microseconds.
    ///
    /// # Errors
    /// When the packets do not fit the interface.
    pub fn ping(&mut self, ping: Ping) -> Result<Vec<Option<u64>>, LabError> {
        match self.ask(&Order::Ping(ping))? {
            Report::RoundTrips(trips) => Ok(trips),
            other => Err(unexpected(&other)),
        }
    }

    /// Waits until one ping is answered; gives its round trip in microseconds.
    ///
    /// # Errors
    /// When none was answered in `tries` times `timeout_ms`.
    pub fn reach(&mut self, to: IpAddr, tries: u16, timeout_ms: u64) -> Result<u64, LabError> {
        for _ in 0..tries {
            let one = Ping {
                to,
                count: 1,
                size: 56,
                whole: false,
                timeout_ms,
                device: None,
            };
            if let Some(Some(trip)) = self.ping(one)?.first() {
                return Ok(*trip);
            }
        }
        Err(LabError::Order(format!("{to} does not answer")))
    }

    /// The report of a transfer.
    ///
    /// # Errors
    /// When it failed.
    pub fn transfer(&mut self, order: &Order) -> Result<Transfer, LabError> {
        match self.ask(order)? {
            Report::Transfer(transfer) => Ok(transfer),
            other => Err(unexpected(&other)),
        }
    }

    /// Gives the host another address or MTU on the underlay, or any interface another look.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn configure(&mut self, interface: Interface) -> Result<(), LabError> {
        self.ask(&Order::Configure(interface)).map(|_| ())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // A closed stdin ends the host, its daemon first.
        self.orders = None;
        let _ = self.child.wait();
    }
}

fn unexpected(report: &Report) -> LabError {
    LabError::Order(format!("unexpected report: {report:?}"))
}

/// Hosts on one underlay.
pub struct Network {
    /// The hosts.
    pub hosts: Vec<Host>,
    links: Links,
    runtime: Runtime,
}

impl Network {
    /// Makes an underlay without hosts, in the network namespace of this process, which must be one of its own.
    ///
    /// # Errors
    /// Without the right to administer the network.
    pub fn new() -> Result<Network, LabError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let links = {
            let _guard = runtime.enter();
            Links::open()?
        };
        runtime.block_on(async {
            links.add_bridge(BRIDGE).await?;
            links.configure(BRIDGE, &LinkSettings::default()).await
        })?;
        Ok(Network {
            hosts: Vec::new(),
            links,
            runtime,
        })
    }

    /// Adds a host with these underlay addresses; gives its number.
    ///
    /// # Errors
    /// When the program cannot be started or the kernel refuses.
    pub fn add_host(
        &mut self,
        exe: &Path,
        addresses: &[(IpAddr, u8)],
        mtu: u16,
    ) -> Result<usize, LabError> {
        let number = self.hosts.len();
        let (ours, theirs) = (format!("port{number}"), format!("under{number}"));
        let mut host = Host::start(exe, theirs.clone())?;
        let settings = LinkSettings {
            mtu: Some(mtu),
            bridge: Some(BRIDGE.into()),
            ..LinkSettings::default()
        };
        self.runtime.block_on(async {
            self.links.add_veth(&ours, &theirs).await?;
            self.links.configure(&ours, &settings).await?;
            self.links.give_to(&theirs, host.pid()).await
        })?;
        host.configure(Interface {
            name: theirs,
            mtu: Some(mtu),
            addresses: addresses.to_vec(),
            ..Interface::default()
        })?;
        self.hosts.push(host);
        Ok(number)
    }

    /// Adds a host without any network.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn add_lone_host(&mut self, exe: &Path) -> Result<usize, LabError> {
        let number = self.hosts.len();
        let host = Host::start(exe, format!("under{number}"))?;
        self.hosts.push(host);
        Ok(number)
    }

    /// Connects two hosts by a cable of their own.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn connect(&mut self, ends: [(usize, (IpAddr, u8)); 2], mtu: u16) -> Result<(), LabError> {
        let [(a, _), (b, _)] = ends;
        let name = |n: usize| format!("under{n}");
        self.runtime
            .block_on(self.links.add_veth(&name(a), &name(b)))?;
        for (number, address) in ends {
            let gone = || LabError::Order(format!("there is no host {number}"));
            let host = self.hosts.get_mut(number).ok_or_else(gone)?;
            let pid = host.pid();
            self.runtime
                .block_on(self.links.give_to(&name(number), pid))?;
            host.configure(Interface {
                name: name(number),
                mtu: Some(mtu),
                addresses: vec![address],
                ..Interface::default()
            })?;
        }
        Ok(())
    }

    /// Unplugs a host from the underlay, or plugs it in again.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn plug(&mut self, number: usize, connected: bool) -> Result<(), LabError> {
        let ours = format!("port{number}");
        let settings = LinkSettings::default();
        self.runtime.block_on(async {
            match connected {
                true => self.links.configure(&ours, &settings).await,
                false => self.links.set_down(&ours).await,
            }
        })?;
        Ok(())
    }

    /// Changes the MTU of a host's side of the underlay.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn set_mtu(&mut self, number: usize, mtu: u16) -> Result<(), LabError> {
        let host = self
            .hosts
            .get_mut(number)
            .ok_or_else(|| LabError::Order(format!("there is no host {number}")))?;
        let name = host.interface.clone();
        host.configure(Interface {
            name,
            mtu: Some(mtu),
            ..Interface::default()
        })
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // The namespace may serve another underlay soon, and the kernel takes its time with those of the hosts.
        for number in 0..self.hosts.len() {
            let _ = self
                .runtime
                .block_on(self.links.remove(&format!("port{number}")));
        }
        self.hosts.clear();
        let _ = self.runtime.block_on(self.links.remove(BRIDGE));
    }
}
