//! From a configuration to open TAPs, a bound socket and a node.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use blake2::{Blake2s256, Digest};
use tokio::sync::mpsc::{Receiver, channel};

use super::bridging::vlan_ranges;
use crate::config::tuning::{CipherChoice, Offloading};
use crate::config::{Config, PortConfig};
use crate::dataplane::workers::{NOTES, Outside};
use crate::io::clock::{self, OsEntropy};
use crate::io::lanes::Lane;
use crate::io::links::{LinkError, LinkSettings, Links};
use crate::io::process;
use crate::io::tap::{Tap, TapError, Wish};
use crate::keys::{Entropy, PublicKey};
use crate::mesh::peer::PeerSettings;
use crate::node::plane::{Note, Plane};
use crate::node::{Node, NodeSettings, WallClock};
use crate::noise::aead::Suite;
use crate::noise::schedule::REKEY_AFTER;
use crate::place::{PeerId, Place, PortId};
use crate::switch::decide::Switch;
use crate::switch::layout::{Layout, Port};
use crate::switch::table::{ForwardingTable, Home, Key, Learning};
use crate::wire::ethernet::Mac;
use crate::wire::offer::Abilities;

/// Why a member did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It runs already.
    #[error("{0} is running already")]
    Running(String),
    /// The UDP address is taken.
    #[error("UDP {address}: {source}")]
    Listen {
        /// Which address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A TAP cannot be had.
    #[error(transparent)]
    Tap(#[from] TapError),
    /// An interface cannot be set up.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The control socket cannot be made.
    #[error("control socket {path}: {source}")]
    Socket {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system refused something else.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl StartError {
    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            StartError::Running(_) => {
                Some("look at it with `l2vpn show`, end it with `l2vpn down`".into())
            }
            StartError::Listen { address, source } => Some(match source.kind() {
                io::ErrorKind::AddrInUse => format!(
                    "another program has port {}: choose another in [node] listen",
                    address.port()
                ),
                io::ErrorKind::PermissionDenied => "ports below 1024 need root".into(),
                _ => "use an address of this host, or \"[::]:7656\" for all".into(),
            }),
            StartError::Tap(error) => Some(error.hint().into()),
            StartError::Link(LinkError::Missing(name)) => Some(format!(
                "make it first: `ip link add {name} type bridge`, `ip link set {name} up`; or write create_bridge = true"
            )),
            StartError::Link(error) if error.is_permission() => {
                Some("run as root or with CAP_NET_ADMIN".into())
            }
            StartError::Socket { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
                Some("another member is controlled there: name another in [control] socket".into())
            }
            StartError::Socket { .. } => Some("name another in [control] socket".into()),
            _ => None,
        }
    }

    /// Whether it is a matter of permission.
    pub fn is_permission(&self) -> bool {
        match self {
            StartError::Tap(error) => error.is_permission(),
            StartError::Link(error) => error.is_permission(),
            StartError::Listen { source, .. }
            | StartError::Socket { source, .. }
            | StartError::System { source, .. } => source.kind() == io::ErrorKind::PermissionDenied,
            StartError::Running(_) => false,
        }
    }

    /// Whether another configuration would help: a name or a port that is taken, a bridge that is not there.
    pub fn is_config(&self) -> bool {
        match self {
            StartError::Listen { .. } | StartError::Socket { .. } => !self.is_permission(),
            StartError::Tap(e) => matches!(
                e,
                TapError::InUse(_) | TapError::OtherKind(_) | TapError::Name(_)
            ),
            StartError::Link(e) => !matches!(e, LinkError::Refused { .. }),
            _ => false,
        }
    }
}

/// Frames that the kernel may queue on a TAP. The host's stack is told nothing when the queue is full, so it should not be;
/// a queue of super-frames is long in bytes, so it is not made longer than the kernel's own.
const TAP_QUEUE: u32 = 1000;

/// Workers unless the configuration says otherwise.
///
/// One, whatever the number of cores: all lanes of a pair of members share their addresses and ports, so a network card
/// that merges received datagrams (GRO) mixes trains of different lanes, and what is merged reaches one worker. A veth
/// does not do that; where cards do, flows would be reordered. Whoever knows the way may ask for more.
const DEFAULT_WORKERS: usize = 1;

/// A member that is ready to run.
pub(super) struct Member {
    pub(super) config: Config,
    pub(super) node: Node,
    pub(super) outside: Outside,
    pub(super) notes: Receiver<Note>,
    pub(super) handshakes: Receiver<Note>,
    pub(super) links: Links,
    pub(super) macs: Vec<Mac>,
    /// Frames that the kernel could not queue on each TAP, as last asked.
    pub(super) queue_drops: Vec<u64>,
    /// What is wrong with the bridge of each port.
    pub(super) bridge_warnings: Vec<Vec<String>>,
}

/// Opens and sets up everything; what was opened before an error closes with it.
pub(super) async fn assemble(config: Config, mark: u64) -> Result<Member, StartError> {
    let links = Links::open().map_err(|source| StartError::System {
        what: "open a netlink socket",
        source,
    })?;
    // What can fail without leaving a trace comes first.
    for port in &config.ports {
        prepare_bridge(&links, port).await?;
    }
    let workers = config.tuning.workers.unwrap_or(DEFAULT_WORKERS);
    let lanes = Lane::bind(config.listen, workers).map_err(|source| StartError::Listen {
        address: config.listen,
        source,
    })?;
    let public = config.key.public();
    let mut taps = Vec::new();
    let mut macs = Vec::new();
    for port in &config.ports {
        let mac = port.mac.unwrap_or_else(|| derived_mac(&public, &port.tap));
        let tap = open_port(&config, port, mac, (&links, workers)).await?;
        macs.push(links.mac(&port.tap).await.unwrap_or(mac));
        taps.push(tap);
    }
    let (notes_in, notes) = channel(NOTES);
    let (handshakes_in, handshakes) = channel(NOTES);
    let plane = Arc::new(Plane::new(switch(&config, &macs)));
    let outside = Outside {
        plane: plane.clone(),
        taps: Arc::new(taps),
        lanes: Arc::new(lanes),
        busy_poll: config.tuning.busy_poll,
        shows_priority: config.tuning.shows_priority,
        notes: notes_in,
        handshakes: handshakes_in,
    };
    let node = node(&config, plane, mark);
    Ok(Member {
        config,
        node,
        outside,
        notes,
        handshakes,
        links,
        queue_drops: vec![0; macs.len()],
        bridge_warnings: vec![Vec::new(); macs.len()],
        macs,
    })
}

/// Opens a TAP and sets its interface up.
async fn open_port(
    config: &Config,
    port: &PortConfig,
    mac: Mac,
    (links, workers): (&Links, usize),
) -> Result<Tap, StartError> {
    let existed = links.index(&port.tap).await.is_ok();
    // A TAP with several queues lets any number of programs of one user in, and would share its frames among them.
    if links.tap_queues(&port.tap).await.is_some_and(|n| n > 0) {
        return Err(TapError::InUse(port.tap.clone()).into());
    }
    let wish = match port.offload.unwrap_or(config.tuning.offload) {
        Offloading::On | Offloading::Segments => Wish::Everything,
        Offloading::Tcp => Wish::Tcp,
        Offloading::Off => Wish::Nothing,
    };
    let tap = Tap::open(&port.tap, wish, workers)?;
    let settings = LinkSettings {
        mtu: Some(port.mtu),
        mac: Some(mac),
        addresses: port.addresses.clone(),
        bridge: port.bridge.clone(),
        queue: Some(TAP_QUEUE),
    };
    let result = match links.configure(&port.tap, &settings).await {
        // A TAP that somebody with more rights has made for us is as it shall be.
        Err(error) if existed && error.is_permission() => {
            tracing::warn!(tap = port.tap, "using the TAP as it is: {error}");
            Ok(())
        }
        other => other,
    };
    result?;
    if let Some(bridge) = &port.bridge {
        tell_vlans(links, bridge, port).await;
    }
    Ok(tap)
}

/// Checks that a port's bridge is there, or makes it.
async fn prepare_bridge(links: &Links, port: &PortConfig) -> Result<(), LinkError> {
    let Some(bridge) = &port.bridge else {
        return Ok(());
    };
    match links.require_bridge(bridge).await {
        Err(LinkError::Missing(_)) if port.creates_bridge => {
            links.create_bridge(bridge).await?;
            tracing::info!(bridge, "made; it stays when this member ends");
            Ok(())
        }
        other => other,
    }
}

/// Where the bridge filters by VLAN, it shall pass by our port what the port carries.
async fn tell_vlans(links: &Links, bridge: &str, port: &PortConfig) {
    let state = links.bridge_state(bridge).await;
    if state.is_some_and(|s| s.filters_vlans) {
        let ranges = vlan_ranges(&port.rule);
        match links.set_port_vlans(&port.tap, &ranges).await {
            Ok(()) => tracing::info!(bridge, tap = port.tap, "told the bridge the port's VLANs"),
            Err(error) => tracing::warn!(bridge, tap = port.tap, "{error}"),
        }
    }
}

fn switch(config: &Config, macs: &[Mac]) -> Switch {
    let ports = config.ports.iter().zip(macs).enumerate();
    let ports = ports.map(|(i, (port, mac)): (usize, (&PortConfig, &Mac))| Port {
        id: PortId(u16::try_from(i).unwrap_or(u16::MAX)),
        segment: port.segment,
        rule: port.rule.clone(),
        link_local: port.link_local,
        roles: port.roles,
        is_isolated: port.is_isolated,
        guards_loops: port.guards_loops,
        is_blocked: false,
        mac: *mac,
    });
    let mut entropy = OsEntropy;
    let seed = (entropy.next_u64(), entropy.next_u64());
    let table = ForwardingTable::new(config.table, seed, &pins(config));
    let mut layout = Layout::new(ports.collect());
    let segments = config.segments.iter();
    segments.for_each(|s| layout.set_rules(s.id, s.rules));
    Switch::new(table, config.storms, layout)
}

/// What the configuration says of MACs, with the numbers that ports and peers have.
fn pins(config: &Config) -> Vec<(Key, Home)> {
    let ports = config.ports.iter().enumerate().flat_map(|(n, port)| {
        let place = Place::Port(PortId(u16::try_from(n).unwrap_or(u16::MAX)));
        let home = Home::heard(place).isolated(port.is_isolated);
        port.pinned.iter().map(move |key| (*key, home))
    });
    let peers = config.peers.iter().enumerate().flat_map(|(n, peer)| {
        let place = Place::Peer(PeerId(u32::try_from(n).unwrap_or(u32::MAX)));
        peer.pinned
            .iter()
            .map(move |key| (*key, Home::heard(place)))
    });
    ports.chain(peers).collect()
}

fn node(config: &Config, plane: Arc<Plane>, mark: u64) -> Node {
    let now = clock::now();
    let offered = Suite::offered(process::has_hardware_aes());
    let settings = NodeSettings {
        key: config.key.clone(),
        suites: match config.tuning.cipher {
            CipherChoice::Auto => offered,
            CipherChoice::Aes256Gcm => Suite::Aes256Gcm.answer(),
            CipherChoice::ChaCha20Poly1305 => Suite::ChaCha20Poly1305.answer(),
        },
        abilities: abilities(config),
        rekey_after: config.tuning.rekey.unwrap_or(REKEY_AFTER),
        wall: WallClock::new(clock::wall(), now, mark),
    };
    let mut node = Node::new(settings, plane, Box::new(OsEntropy), now);
    for peer in &config.peers {
        node.add_peer(PeerSettings {
            name: peer.name.clone(),
            key: peer.key,
            psk: peer.psk.clone(),
            keepalive: peer.keepalive,
            mtu: peer.mtu,
            segments: peer.segments.clone(),
            vlans: peer.vlans.clone(),
            roles: peer.roles,
        });
    }
    node
}

fn abilities(config: &Config) -> Abilities {
    let frames = match config.tuning.offload {
        Offloading::Off => Abilities::NONE,
        Offloading::Segments => Abilities::BUNDLES,
        _ => Abilities::BUNDLES.or(Abilities::PIECES),
    };
    match config.table.learning {
        Learning::Data => frames,
        _ => frames.or(Abilities::ADVERTS),
    }
}

/// A MAC that is the same at every start and unlike any other member's: locally administered, from key and port name.
pub(super) fn derived_mac(public: &PublicKey, tap: &str) -> Mac {
    let mut hash = Blake2s256::new();
    hash.update(b"l2vpn tap mac v1");
    hash.update(public.as_bytes());
    hash.update(tap.as_bytes());
    let [first, b, c, d, e, f, ..] = <[u8; 32]>::from(hash.finalize());
    Mac([(first & 0xfc) | 0x02, b, c, d, e, f])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_macs_are_stable_local_and_distinct() {
        let (a, b) = (
            PublicKey::from_bytes([1; 32]),
            PublicKey::from_bytes([2; 32]),
        );
        let mac = derived_mac(&a, "lan0");
        assert_eq!(mac, derived_mac(&a, "lan0"));
        assert_ne!(mac, derived_mac(&a, "lan1"));
        assert_ne!(mac, derived_mac(&b, "lan0"));
        assert_eq!(mac.0[0] & 3, 2);
    }
}
