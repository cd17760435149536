//! From a configuration to open TAPs, a bound socket and a node.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::mpsc::{Receiver, channel};

use super::admin::Admin;
use super::carriers::Carriers;
use super::joining::Joining;
use super::ports::{self, OpenPort, Ports};
use super::{network, peers, rotation};
use crate::carrier::Carrier;
use crate::config::Config;
use crate::config::tuning::{CipherChoice, Offloading};
use crate::dataplane::workers::{NOTES, Outside};
use crate::io::changes::Changes;
use crate::io::clock::{self, OsEntropy};
use crate::io::lanes::Lane;
use crate::io::links::{LinkError, Links};
use crate::io::process;
use crate::io::tap::TapError;
use crate::keys::{Entropy, PublicKey};
use crate::mesh::meter::Rate;
use crate::node::plane::{Note, Plane, RelayLimits};
use crate::node::{Node, NodeSettings, WallClock};
use crate::noise::aead::Suite;
use crate::noise::schedule::REKEY_AFTER;
use crate::place::{PeerId, Place};
use crate::switch::decide::Switch;
use crate::switch::table::{ForwardingTable, Home, Key, Learning};
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
    /// A carrier's address is taken.
    #[error("{carrier} {address}: {source}")]
    Carrier {
        /// Which carrier.
        carrier: Carrier,
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
            StartError::Listen { address, source }
            | StartError::Carrier {
                address, source, ..
            } => Some(match source.kind() {
                io::ErrorKind::AddrInUse => format!(
                    "another program has port {}: choose another in [node] listen",
                    address.port()
                ),
                io::ErrorKind::PermissionDenied => {
                    "ports below 1024 need root or CAP_NET_BIND_SERVICE".into()
                }
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
            | StartError::Carrier { source, .. }
            | StartError::Socket { source, .. }
            | StartError::System { source, .. } => source.kind() == io::ErrorKind::PermissionDenied,
            StartError::Running(_) => false,
        }
    }

    /// Whether another configuration would help: a name or a port that is taken, a bridge that is not there.
    pub fn is_config(&self) -> bool {
        match self {
            StartError::Listen { .. } | StartError::Carrier { .. } | StartError::Socket { .. } => {
                !self.is_permission()
            }
            StartError::Tap(e) => matches!(
                e,
                TapError::InUse(_) | TapError::OtherKind(_) | TapError::Name(_)
            ),
            StartError::Link(e) => !matches!(e, LinkError::Refused { .. }),
            _ => false,
        }
    }
}

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
    pub(super) changes: Changes,
    pub(super) ports: Ports,
    pub(super) carriers: Carriers,
    /// On the key's file.
    pub(super) lock: Option<File>,
    /// What the MACs of its ports are made of.
    pub(super) origin: PublicKey,
    /// What it has if it is an admin.
    pub(super) admin: Option<Admin>,
    /// What becomes of it where it only asks to be a member.
    pub(super) joining: Option<Joining>,
}

/// Opens and sets up everything; what was opened before an error closes with it.
pub(super) async fn assemble(
    (mut config, lock): (Config, Option<File>),
    mark: u64,
) -> Result<Member, StartError> {
    rotation::settle_time(&mut config.own);
    let netlink = |source| StartError::System {
        what: "open a netlink socket",
        source,
    };
    let links = Links::open().map_err(netlink)?;
    let changes = Changes::open().map_err(netlink)?;
    // What can fail without leaving a trace comes first.
    for port in &config.ports {
        ports::prepare_bridge(&links, port).await?;
    }
    let workers = config.tuning.workers.unwrap_or(DEFAULT_WORKERS);
    let lanes = Lane::bind(config.listen, workers).map_err(|source| StartError::Listen {
        address: config.listen,
        source,
    })?;
    let origin = rotation::origin(&config);
    let mut ports = Ports::default();
    for port in &config.ports {
        let open = OpenPort::open(&config, port, (&links, workers, &origin)).await?;
        ports.insert(open);
    }
    let (notes_in, notes) = channel(NOTES);
    let (handshakes_in, handshakes) = channel(NOTES);
    let plane = Arc::new(Plane::new(switch(&config, &ports)));
    let outside = Outside {
        plane: plane.clone(),
        taps: Arc::new(ArcSwap::from_pointee(ports.taps())),
        lanes: Arc::new(lanes),
        busy_poll: config.tuning.busy_poll,
        shows_priority: config.tuning.shows_priority,
        notes: notes_in,
        handshakes: handshakes_in,
    };
    let own = outside.lanes.first().map(|l| l.bulk.local_address());
    let own = own.and_then(Result::ok).unwrap_or(config.listen);
    let peers: Vec<_> = (0..).map(PeerId).zip(config.peers.clone()).collect();
    let carriers = Carriers::start(&config, own, &peers).await?;
    let mut node = node(&config, plane, mark);
    let admin = Admin::open(&config, &mut node);
    Ok(Member {
        config,
        node,
        outside,
        notes,
        handshakes,
        links,
        changes,
        ports,
        carriers,
        lock,
        origin,
        admin,
        joining: None,
    })
}

fn switch(config: &Config, ports: &Ports) -> Switch {
    let mut entropy = OsEntropy;
    let seed = (entropy.next_u64(), entropy.next_u64());
    let table = ForwardingTable::new(config.table, seed, &pins(config, ports));
    Switch::new(table, config.storms, ports.layout(&config.segments))
}

/// What the configuration says of MACs, with the numbers that ports and peers have.
fn pins(config: &Config, ports: &Ports) -> Vec<(Key, Home)> {
    let ports = ports.iter().flat_map(|(id, port)| {
        let home = Home::heard(Place::Port(id)).isolated(port.config.is_isolated);
        port.config.pinned.iter().map(move |key| (*key, home))
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
        keys: rotation::keys_at(&config.own, clock::wall()),
        network: config.own.network.clone(),
        suites: match config.tuning.cipher {
            CipherChoice::Auto => offered,
            CipherChoice::Aes256Gcm => Suite::Aes256Gcm.answer(),
            CipherChoice::ChaCha20Poly1305 => Suite::ChaCha20Poly1305.answer(),
        },
        abilities: abilities(config),
        post_quantum: config.tuning.post_quantum,
        rekey_after: config.tuning.rekey.unwrap_or(REKEY_AFTER),
        wall: WallClock::new(clock::wall(), now, mark),
    };
    let mut node = Node::new(settings, plane, Box::new(OsEntropy), now);
    if config.reach.scatters {
        node.allow_scatter();
    }
    if let Some(relaying) = &config.relaying {
        let limits = RelayLimits {
            each: relaying.rate.and_then(Rate::of_megabits),
            all: relaying.total_rate.and_then(Rate::of_megabits),
        };
        node.start_relaying(limits, relaying.secret.clone());
    }
    for peer in &config.peers {
        node.add_peer(peers::settings(peer));
    }
    network::enter(config, &mut node);
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
