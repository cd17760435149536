//! WISHES: from a TOML text to a checked configuration, or to everything that is wrong with it.
//!
//! # Why
//! Three steps with a type each. [`raw::RawConfig`] is what was written: every value keeps its place in the file, and a
//! value of the wrong type is a value too, so that one mistake does not hide the next. [`check::check`] turns it into a
//! [`Config`] or into a list of [`finding::Finding`]s with line and column. Only a `Config` reaches the daemon, so the
//! daemon never asks whether a wish makes sense. Relative paths are resolved from the file that names them.

pub mod check;
mod checker;
mod endpoint;
pub mod finding;
mod identity;
pub mod joined;
mod listening;
mod network;
pub mod paths;
mod peers;
pub mod pins;
mod ports;
pub mod raw;
mod relays;
mod secrets;
mod signing;
mod switching;
pub mod template;
pub mod tuning;
mod vlans;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::carrier::Carrier;
use crate::keys::{Names, Nobody, Opener, Psk, Psks, Ticket};
use crate::switch::layout::{LinkLocal, SegmentRules};
use crate::switch::port::PortRule;
use crate::switch::storm::StormLimits;
use crate::switch::table::{Key, Limits};
use crate::time::Duration;
use crate::wire::asking::INVITE_LEN;
use crate::wire::ethernet::Mac;
use crate::wire::segment::SegmentId;
use crate::wire::service::Services;
use crate::wire::vlans::VlanSet;
pub use checker::{is_name, parse_duration};
pub use endpoint::EndpointName;
use finding::Report;
pub use identity::{Identity, Retiring};
pub use network::{NetworkConfig, OnExpiry};
pub use secrets::KeySource;
use tuning::{Offloading, Tuning};

/// The port that members listen on by default.
pub const DEFAULT_PORT: u16 = 7656;

/// A configuration that makes sense.
pub struct Config {
    /// Where it was read from.
    pub path: PathBuf,
    /// What this member is called, by default after the file.
    pub name: String,
    /// Who we are.
    pub own: Identity,
    /// Where peers reach us.
    pub listen: SocketAddr,
    /// How else they find us.
    pub reach: Reach,
    /// The segments.
    pub segments: Vec<SegmentConfig>,
    /// The ports.
    pub ports: Vec<PortConfig>,
    /// The peers: members, then relays, then clients.
    pub peers: Vec<PeerConfig>,
    /// The network that it is in, if that has an authority.
    pub network: Option<NetworkConfig>,
    /// What this one carries for others, if it does.
    pub relaying: Option<Relaying>,
    /// The forwarding table's limits.
    pub table: Limits,
    /// How much may be flooded.
    pub storms: StormLimits,
    /// Speed and what it costs.
    pub tuning: Tuning,
    /// The control socket.
    pub socket: PathBuf,
    /// Where the member keeps what must survive a restart.
    pub state_dir: PathBuf,
    /// Whether published keys are let in; a reload asks the same.
    pub demo: DemoKeys,
}

impl Config {
    /// All pre-shared keys in it.
    pub fn psks(&self) -> impl Iterator<Item = &Psk> {
        let pairs = self.peers.iter().flat_map(|peer| peer.psks.iter());
        let secret = self.relaying.iter().filter_map(|r| r.secret.as_ref());
        self.own.network.iter().chain(pairs).chain(secret)
    }
}

/// For whom a relay carries, beside those that are listed, and how much.
#[derive(Clone, Default)]
pub struct Relaying {
    /// What tickets are made with.
    pub secret: Option<Psk>,

    /// For one member, in million bits a second.
    pub rate: Option<u32>,
    /// For all together.
    pub total_rate: Option<u32>,
    /// The UDP port that members are seen from besides; 0 for none, and the next one after the first when it is not said.
    pub second_port: Option<u16>,
}

/// How peers find a member beside its UDP address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Where they reach it by other carriers.
    pub carried: Vec<(Carrier, SocketAddr)>,
    /// Whether those on the same LAN are looked for.
    pub on_lan: bool,
    /// Whether the router is asked for a port.
    pub maps_port: bool,
    /// Whether many ports are opened, and asked at, to meet a peer whose NAT draws ports by dice.
    pub scatters: bool,
    /// Interfaces whose addresses are told to nobody.
    pub excluded: Vec<String>,
}

/// A segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentConfig {
    /// Its name here.
    pub name: String,
    /// Its number everywhere.
    pub id: SegmentId,
    /// What it does beside forwarding.
    pub rules: SegmentRules,
}

/// A port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortConfig {
    /// The TAP's name.
    pub tap: String,
    /// Its segment.
    pub segment: SegmentId,
    /// The largest IP packet on it, in bytes.
    pub mtu: u16,
    /// Its MAC; `None` derives one from key and name.
    pub mac: Option<Mac>,
    /// Addresses for it: address and prefix length in bits.
    pub addresses: Vec<(IpAddr, u8)>,
    /// The bridge that it joins.
    pub bridge: Option<String>,
    /// Whether that is made when it is not there.
    pub creates_bridge: bool,
    /// Whether its hosts reach none behind other isolated ports.
    pub is_isolated: bool,
    /// Whether it looks for loops.
    pub guards_loops: bool,
    /// MACs that are behind it, whatever frames say.
    pub pinned: Vec<Key>,
    /// What it does with VLAN tags.
    pub rule: PortRule,
    /// What it does with frames for the next bridge.
    pub link_local: LinkLocal,
    /// What its hosts may offer where a guard is on.
    pub roles: Services,
    /// What it takes; `None` for what the member takes.
    pub offload: Option<Offloading>,
}

/// What a peer is to this member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerKind {
    /// A `[[peer]]`: frames go to it.
    Member,
    /// A `[[relay]]`: it helps to reach peers.
    Relay,
    /// One of `[admission] members`: this one relays for it.
    Client,
}

/// What a relay may carry to a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RelayPolicy {
    /// Everything, while there is no direct way.
    #[default]
    Allow,
    /// What is needed to find a direct way.
    ControlOnly,
    /// Nothing.
    Never,
}

/// By what word a peer lets us in, or is let in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Word {
    /// Its key is listed here, and ours there.
    #[default]
    Listed,
    /// A relay's, that we may use it.
    Ticket(Ticket),
    /// An admin's, that we may join; no file names one.
    Invite([u8; INVITE_LEN]),
    /// Its record's: the key says where to find it, and no more.
    Record,
}

/// A peer.
#[derive(Clone, PartialEq, Eq)]
pub struct PeerConfig {
    /// What it is to this member.
    pub kind: PeerKind,
    /// Its name here.
    pub name: String,
    /// Who it is.
    pub key: Names,
    /// What the two know besides.
    pub psks: Psks,
    /// Where it may be found.
    pub endpoints: Vec<EndpointName>,
    /// Where it may be found by other carriers.
    pub carried: Vec<(Carrier, EndpointName)>,
    /// What a relay may carry to it.
    pub relay: RelayPolicy,
    /// By what word it lets us in, or is let in.
    pub word: Word,
    /// Send something at least this often.
    pub keepalive: Option<Duration>,
    /// The path MTU, when not to be taken from the route.
    pub mtu: Option<u16>,
    /// The segments that it may take part in.
    pub segments: Option<Vec<SegmentId>>,
    /// The VLANs that it may take part in, in each of them.
    pub vlans: Option<VlanSet>,
    /// What its hosts may offer where a guard is on.
    pub roles: Services,
    /// Whether it relays for us, too.
    pub serves: bool,
    /// MACs that are behind it, whatever frames say.
    pub pinned: Vec<Key>,
}

/// Whether the published key pairs may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DemoKeys {
    /// They are an error.
    Refuse,
    /// They are a warning.
    Allow,
}

/// Reads and checks a file.
///
/// The report may hold warnings when there is a configuration, and holds at least one error when there is none.
pub fn load(path: &Path, demo: DemoKeys) -> (Option<Config>, Report) {
    load_with(path, demo, &mut Nobody)
}

/// The same with somebody who comes by secrets that are in no plain file.
pub fn load_with(path: &Path, demo: DemoKeys, opener: &mut dyn Opener) -> (Option<Config>, Report) {
    match finding::read(path) {
        Ok(text) => check::check_with(path, &text, demo, opener),
        Err(report) => (None, report),
    }
}
