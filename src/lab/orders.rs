//! What the coordinator asks of a host, and what the host reports.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// An order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Set an interface up.
    Configure(Interface),
    /// Make a bridge.
    AddBridge(String),
    /// Start spanning tree on a bridge: hello time, maximum age and forward delay, in seconds.
    StartStp(String, (u32, u32, u32)),
    /// Forget what the kernel knows of hosts on an interface's network.
    ForgetNeighbors(String),
    /// Make a veth pair.
    AddVeth(String, String),
    /// Give an interface to the namespace of a process.
    GiveTo(String, u32),
    /// Take an address with its prefix length from an interface.
    RemoveAddress(String, IpAddr, u8),
    /// Send what is for one host through a gateway.
    AddHostRoute(Ipv4Addr, Ipv4Addr),
    /// Remove an interface.
    Remove(String),
    /// Take an interface down.
    SetDown(String),
    /// The names of all interfaces.
    Interfaces,
    /// Whether an interface has carrier.
    Carrier(String),
    /// Whether an interface is in operation: the kernel acts on a carrier up to a second after it is there.
    Operational(String),
    /// The MAC of an interface.
    Mac(String),
    /// Write a file below /proc/sys.
    Sysctl(String, String),
    /// Start the daemon with this configuration; its log goes to a file.
    Start {
        /// The configuration.
        config: PathBuf,
        /// The log.
        log: PathBuf,
        /// Arguments beside.
        args: Vec<String>,
    },
    /// Send the daemon a signal and, when it ends by it, wait for that.
    Signal {
        /// The signal's number.
        signal: i32,
        /// Whether to wait for its end.
        wait: bool,
    },
    /// Run this program with arguments.
    Run(Vec<String>),
    /// Ping an address.
    Ping(Ping),
    /// Take one TCP connection on this address and check what comes.
    TcpServe(SocketAddr),
    /// Send bytes to a server.
    TcpSend(SocketAddr, u64),
    /// What the last server got.
    TcpResult,
    /// Take so many TCP connections on this address and throw away what comes.
    Sink(SocketAddr, usize),
    /// What the last sink got.
    SinkResult,
    /// Start TCP streams in the background.
    Stream(Stream),
    /// Wait for the end of the streams.
    StreamResult,
    /// Count UDP packets on this address.
    Count(SocketAddr),
    /// How many there were.
    CountResult,
    /// Send UDP packets.
    Flood(Flood),
    /// Send frames by an interface.
    Babble(Babble),
    /// Ping an address so many times, with so many microseconds between.
    PingSeries(IpAddr, u32, u64),
    /// Make a VXLAN interface on another: its name, id, the peer, the interface below it.
    AddVxlan(String, u32, Ipv4Addr, String),
    /// Carry datagrams to a member and lose some; an earlier such wire ends.
    Impair(Impair),
    /// Start a program of the system in the background, with its log in a file.
    Spawn(Vec<String>, PathBuf),
    /// Run a program of the system to its end.
    Execute(Vec<String>),
    /// Record the frames of an interface from now on.
    Watch(String),
    /// Send a frame by an interface.
    Inject(String, Vec<u8>),
    /// Wait until a frame was recorded that ends in these bytes; at most so many milliseconds.
    Expect(Vec<u8>, u64),
}

/// How an interface shall be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Bytes of the largest IP packet.
    pub mtu: Option<u16>,
    /// The MAC.
    pub mac: Option<[u8; 6]>,
    /// Addresses and prefix lengths.
    pub addresses: Vec<(IpAddr, u8)>,
    /// The bridge to join.
    pub bridge: Option<String>,
}

/// A series of echo requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ping {
    /// Whom.
    pub to: IpAddr,
    /// How many.
    pub count: u16,
    /// Bytes of payload.
    pub size: usize,
    /// Whether the host may not cut the packet.
    pub whole: bool,
    /// Milliseconds to wait for each answer.
    pub timeout_ms: u64,
    /// The interface to send by; `None` leaves it to the routes.
    pub device: Option<String>,
}

/// TCP streams.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stream {
    /// The sink.
    pub to: SocketAddr,
    /// How many.
    pub streams: usize,
    /// For how long.
    pub millis: u64,
    /// The congestion control; `None` leaves the host's.
    pub control: Option<String>,
}

/// UDP packets of one size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flood {
    /// The counter.
    pub to: SocketAddr,
    /// Bytes of payload.
    pub size: usize,
    /// Packets in a second; 0 for as many as possible.
    pub rate: u64,
    /// For how long.
    pub millis: u64,
}

/// Small frames to one MAC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Babble {
    /// By which interface.
    pub interface: String,
    /// To whom.
    pub to: [u8; 6],
    /// From how many MACs in turn.
    pub voices: u64,
    /// Frames in a second.
    pub rate: u64,
    /// For how long.
    pub millis: u64,
}

/// A wire that loses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Impair {
    /// Where it takes datagrams.
    pub listen: SocketAddr,
    /// The member that it carries them to.
    pub to: SocketAddr,
    /// Lost datagrams in a million, each way.
    pub loss_ppm: u64,
}

/// What a sink got.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    /// Bytes after the warm-up.
    pub bytes: u64,
    /// Bytes in all.
    pub total: u64,
    /// From the end of the warm-up to the last byte.
    pub seconds: f64,
}

impl Traffic {
    /// Bits per second, in millions.
    pub fn megabits(&self) -> f64 {
        self.bytes as f64 * 8.0 / self.seconds.max(1e-9) / 1e6
    }
}

/// A report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// It is done.
    Done,
    /// It cannot be done, and why.
    Failed(String),
    /// A list of names.
    Names(Vec<String>),
    /// A yes or no, or neither.
    Flag(Option<bool>),
    /// A MAC.
    Mac(Option<[u8; 6]>),
    /// The daemon's process.
    Started(u32),
    /// How a program ended.
    Ended {
        /// Its exit code; `None` when a signal ended it.
        code: Option<i32>,
        /// What it printed.
        stdout: String,
        /// What it complained about.
        stderr: String,
    },
    /// Round trips in microseconds; `None` for requests that were not answered.
    RoundTrips(Vec<Option<u64>>),
    /// A transfer.
    Transfer(Transfer),
    /// What a sink got.
    Traffic(Traffic),
    /// How many packets, and in how many seconds.
    Packets(u64, f64),
    /// Round trips in nanoseconds, and how many pings were not answered.
    Trips(Vec<u64>, u32),
    /// The frame that was expected, or those that came instead.
    Frame(Result<Vec<u8>, Vec<Vec<u8>>>),
}

/// What one end of a transfer saw.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Transfer {
    /// Bytes.
    pub bytes: u64,
    /// From the first byte to the last.
    pub seconds: f64,
    /// Whether every byte was right.
    pub intact: bool,
}

impl Transfer {
    /// Bits per second, in millions.
    pub fn megabits(&self) -> f64 {
        self.bytes as f64 * 8.0 / self.seconds.max(1e-9) / 1e6
    }
}
