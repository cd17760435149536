//! CORE: one member without its outside. Handshakes, sessions, paths and timers of all peers, and what they publish.
//!
//! # The one rule
//! **Call one `handle_*`, then send what [`Node::outgoing`] holds and take what [`Node::poll_event`] gives, until the
//! next input or until [`Node::deadline`].** The node has no socket, clock or task; `now` and randomness come in from
//! outside, so a simulation can run a whole network of nodes in one thread and repeat it bit for bit.
//!
//! # The two sides
//! The node is the control side and belongs to one thread. What the data plane needs is in the shared
//! [`plane::Plane`]; what the data plane sees and cannot decide comes back as a [`plane::Note`].
//!
//! ```text
//! datagram kinds 8-10, control, close --Note--> Node --publish--> Plane (layout, links, sessions) <-- workers
//! ```

mod admitting;
mod adverts;
mod announcing;
mod asking;
mod beacons;
mod candidates;
mod doubt;
mod establish;
mod handshakes;
mod initiating;
mod introducing;
pub mod legs;
mod load;
pub mod loops;
pub mod network;
mod peers;
pub mod plane;
mod ports;
mod probing;
mod relaying;
mod rendezvous;
mod roaming;
mod scatter;
mod spreading;
mod stamp;
mod telling;
mod timers;
mod vantage;
mod visiting;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use crate::drops::DropReason;
use crate::keys::{Entropy, Names, OwnKeys, Psks, PublicKey};
use crate::mesh::link::{Route, Second};
use crate::mesh::outgoing::Outgoing;
use crate::mesh::path::Endpoint;
use crate::mesh::peer::{Kind, Pass, Peer, PeerSettings, RelayUse};
use crate::noise::cookie::CookieKeeper;
use crate::noise::cookie::Meant;
use crate::noise::dialect::{Dialects, Labels};
use crate::noise::handshake::Local;
use crate::noise::limiter::Limiter;
use crate::noise::psks::PskChoice;
use crate::place::{PeerId, PortId};
use crate::switch::layout::{Layout, Limit, Member};
use crate::switch::neighbors::Quarrel;
use crate::switch::offences::Offence;
use crate::switch::table::{Frozen, Moved};
use crate::time::{Duration, Instant};
use crate::wire::asking::Ask;
use crate::wire::control::{self, Element};
use crate::wire::inner::TYPE_CONTROL;
use crate::wire::kem::PostQuantum;
use crate::wire::offer::{Abilities, Offer, PskTags};
use crate::wire::segment::SegmentId;
use crate::wire::service::Services;
use crate::wire::vlans::VlanSet;
use adverts::Adverts;
use load::Load;
use loops::{Loop, LoopGuard};
use peers::Directory;
use plane::Plane;
use rendezvous::Relays;
pub use stamp::WallClock;

/// What a node is made of.
pub struct NodeSettings {
    /// Who we are.
    pub keys: OwnKeys,
    /// What all members of the network know besides.
    pub network: Psks,
    /// The suites that we offer, see [`crate::noise::aead::Suite::offered`].
    pub suites: u8,
    /// What we can take beside whole frames.
    pub abilities: Abilities,
    /// Whether handshakes have a second secret.
    pub post_quantum: PostQuantum,
    /// How old a session gets before it is replaced; at most [`crate::noise::schedule::REKEY_AFTER`].
    pub rekey_after: Duration,
    /// For the stamps of our initiations.
    pub wall: WallClock,
}

/// Something that happened, for logs, hooks and the carrier of the ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A peer is connected.
    Up(PeerId),
    /// A peer is not connected any more.
    Down(PeerId, Gone),
    /// A peer is at another address now.
    Moved(PeerId, SocketAddr),
    /// Somebody sits in the middle of the connection with this address: it is to be closed.
    LegRefused(SocketAddr),
    /// The direct way to a peer does not work any more: a relay carries what goes there.
    Relayed(PeerId),
    /// Nobody answered for the whole series of attempts.
    Unreachable(PeerId),
    /// The route to this address should be looked up, and [`Node::set_route_mtu`] called.
    RouteWanted(PeerId, SocketAddr),
    /// A MAC is heard in two places in turn, and held in one of them.
    Frozen(Frozen),
    /// A MAC has moved.
    MacMoved(Moved),
    /// Somebody broke a rule.
    Offence(Offence),
    /// Two hosts use one IP address in turn.
    Quarrel(Quarrel),
    /// A loop was found, or is gone.
    Loop(Loop),
    /// This frame is to be sent by a port, as it stands.
    Emit(PortId, Vec<u8>),
    /// How many connected peers a segment has now: its ports' carrier follows.
    Carrier(SegmentId, usize),
    /// The answer to [`Node::echo`].
    Echo(PeerId, u32, Vec<u8>),
    /// A relay carries less than we send through it: so many datagrams were too much, in all.
    Throttled(PeerId, u64),
    /// This beacon is to be sent on all LANs.
    Beacon(Vec<u8>),
    /// Towards this address, which is a peer's, many ports shall be opened by this datagram; the one that is answered becomes a
    /// leg.
    Scatter(PeerId, SocketAddr, Vec<u8>),
    /// There are new revocations: what [`Node::revocation_lists`] gives should be kept.
    Revocations,
    /// Somebody asks for a record: [`Node::answer_ask`] it.
    Asked(PeerId, Ask),
    /// What a peer answers to [`Node::ask`]: an [`crate::wire::asking::Answer`].
    Answered(PeerId, Vec<u8>),
    /// An admin gave us this record, which counts from now on and should be kept.
    Renewed(Vec<u8>),
    /// Two machines have a peer's key: the one was here again after the other.
    Doubled(PeerId),
    /// A member's record does not hold any more, and why.
    Lapsed(PeerId, DropReason),
    /// Stamps will soon pass this mark (seconds since 1970); it should be stored.
    Mark(u64),
}

/// Why a peer is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// It said goodbye.
    Closed,
    /// It does not answer.
    Silent,
    /// Its session ended and no new one came.
    Expired,
    /// It is no peer of ours any more, or not by the key that it has shown.
    Removed,
}

/// Who may have a handshake answered.
struct Gate {
    keeper: CookieKeeper,
    limiter: Limiter,
    load: Load,
}

/// What the control side does for the LAN behind the ports.
struct Lan {
    adverts: Adverts,
    loops: LoopGuard,
    offences_at: Instant,
}

/// One member's control side.
pub struct Node {
    settings: NodeSettings,
    dialects: Dialects,
    own: Names,
    plane: Arc<Plane>,
    peers: Vec<Peer>,
    directory: Directory,
    /// Receiver indices of initiations on their way.
    attempts: HashMap<u32, PeerId>,
    /// Digests of the initiations whose answers are cached, one for each peer at most.
    answered: HashMap<[u8; 32], PeerId>,
    gate: Gate,
    lan: Lan,
    entropy: Box<dyn Entropy>,
    outgoing: Outgoing,
    events: VecDeque<Event>,
    heartbeat_at: Instant,
    life: Life,
    relays: Relays,
}

/// What peers tell a restart and a change of ours by.
struct Life {
    /// Drawn at the start.
    boot: [u8; 8],
    /// How often what we announce has changed.
    edition: u32,
}

impl Node {
    /// A node without peers.
    pub fn new(
        settings: NodeSettings,
        plane: Arc<Plane>,
        mut entropy: Box<dyn Entropy>,
        now: Instant,
    ) -> Self {
        let dialects = Dialects::new(None);
        let own = settings.keys.names();
        let keeper = CookieKeeper::new(&dialects, &own, entropy.as_mut(), now);
        Node {
            life: Life {
                boot: entropy.next_u64().to_le_bytes(),
                edition: 0,
            },
            relays: Relays::default(),
            gate: Gate {
                keeper,
                limiter: Limiter::new(entropy.next_u64()),
                load: Load::default(),
            },
            lan: Lan {
                adverts: Adverts::new(),
                loops: LoopGuard::new(secret(entropy.as_mut()), now),
                offences_at: now,
            },
            settings,
            dialects,
            own,
            plane,
            peers: Vec::new(),
            directory: Directory::default(),
            attempts: HashMap::new(),
            answered: HashMap::new(),
            entropy,
            outgoing: Outgoing::default(),
            events: VecDeque::new(),
            heartbeat_at: now,
        }
    }

    /// Tells where a peer may be found, and begins to connect when it is not connected.
    pub fn set_endpoints(&mut self, id: PeerId, addresses: Vec<SocketAddr>, now: Instant) {
        let Some(peer) = self.peers.get_mut(id.0 as usize) else {
            return;
        };
        let known: Vec<_> = addresses
            .into_iter()
            .map(|a| Endpoint::to(a).remote)
            .collect();
        let more = known.iter().find(|a| !peer.places.known.contains(a));
        let more = more.map(|a| Endpoint::to(*a));
        peer.places.known = known;
        let has_session = peer.keyring.current().is_some();
        let is_reachable = peer.is_reachable();
        match &mut peer.attempt {
            // Another place: the attempt that is under way goes there soon.
            None if !has_session && is_reachable => self.start_attempt(id, now),
            Some(attempt) => {
                if let Some(way) = more {
                    attempt.nudge_to(way, now);
                }
            }
            None if more.is_some() && has_session => self.search_again(id, now),
            None => {}
        }
    }

    /// Tells what the kernel knows about the route to a peer, in bytes of an IP packet.
    pub fn set_route_mtu(&mut self, id: PeerId, mtu: u16, now: Instant) {
        let way = self
            .peers
            .get(id.0 as usize)
            .and_then(|p| p.path.endpoint());
        let is_carried = way.is_some_and(|w| self.leg(&w).is_some());
        let Some(peer) = self.peers.get_mut(id.0 as usize) else {
            return;
        };
        let has_changed = match is_carried {
            true => peer.path.set_carried_mtu(mtu, now),
            false => peer.path.set_route_mtu(mtu, now),
        };
        if has_changed {
            publish_route(peer);
        }
    }

    /// Asks a peer to send some bytes back; the answer is [`Event::Echo`].
    ///
    /// # Errors
    /// [`DropReason::NoSession`] when it is not connected.
    pub fn echo(
        &mut self,
        id: PeerId,
        token: u32,
        bytes: &[u8],
        now: Instant,
    ) -> Result<(), DropReason> {
        let body = control::write(Element::EchoRequest(token, bytes));
        let peer = self.peers.get(id.0 as usize).ok_or(DropReason::NoSession)?;
        peer.link
            .send_message(TYPE_CONTROL, &body, None, &mut self.outgoing, now)
    }

    /// Says goodbye to all peers and forgets all sessions; send what is outgoing afterwards.
    pub fn close(&mut self, now: Instant) {
        for index in 0..self.peers.len() {
            let id = PeerId(u32::try_from(index).unwrap_or(u32::MAX));
            self.say_goodbye(id, now);
            self.end_sessions(id, now);
        }
    }

    /// The datagrams to be sent; clear it when they are.
    pub fn outgoing(&mut self) -> &mut Outgoing {
        &mut self.outgoing
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// All peers, in the order of their numbers.
    pub fn peers(&self) -> &[Peer] {
        &self.peers
    }

    /// The peer with this key.
    pub fn find(&self, key: &PublicKey) -> Option<PeerId> {
        self.directory.by_key.get(key).copied()
    }

    /// Our public key.
    pub fn public(&self) -> PublicKey {
        self.own.current
    }

    /// Our public key, and the one before while both are good.
    pub fn names(&self) -> Names {
        self.own
    }

    /// How many receiver indices are in use; for tests of the memory bound.
    pub fn indices_in_use(&self) -> usize {
        self.attempts.len() + self.plane.sessions()
    }

    fn local(&self, meant: Meant) -> Local<'_> {
        Local {
            dialect: self.dialects.get(meant.labels),
            key: self.settings.keys.get(meant.which),
        }
    }

    /// By which labels a peer is called: whoever is in our network, or asks to be, by those of the network, so that nobody outside
    /// recognises the call.
    fn labels_of(&self, id: PeerId) -> Labels {
        let peer = self.peers.get(id.0 as usize);
        match peer.map(|p| p.settings.pass) {
            Some(Pass::Record(_) | Pass::Awaited | Pass::Invite(_)) => Labels::Network,
            _ => Labels::Listed,
        }
    }

    /// The key that a peer knows us by, as its session says.
    fn known_as(&self, id: PeerId) -> PublicKey {
        let peer = self.peers.get(id.0 as usize);
        let session = peer.and_then(|p| p.keyring.current());
        session.map_or(self.own.current, |s| s.between.ours)
    }

    /// The pre-shared keys that a handshake with a peer may be made with: those of the network are for its members alone.
    fn psks(&self, id: PeerId) -> PskChoice<'_> {
        let peer = self.peers.get(id.0 as usize);
        let choice = peer.map(|p| choose(&self.settings.network, &p.settings));
        choice.unwrap_or(PskChoice {
            network: NO_PSKS,
            pair: NO_PSKS,
        })
    }

    fn offer(&self, id: PeerId, suites: u8) -> Offer {
        let peer = self.peers.get(id.0 as usize);
        // What is in our network is not a relay's business.
        let (segments, abilities) = match peer.map(|p| p.settings.kind) {
            Some(Kind::Member) => {
                let announcement = self.plane.switch.layout().announcement();
                (announcement, self.settings.abilities)
            }
            _ => (Vec::new(), Abilities::NONE),
        };
        Offer {
            suites,
            segments,
            boot: self.life.boot,
            edition: self.life.edition,
            crossing: false,
            abilities,
            ticket: match peer.map(|p| p.settings.pass) {
                Some(Pass::Ticket(ticket)) => Some(ticket.to_bytes()),
                _ => None,
            },
            invite: match peer.map(|p| p.settings.pass) {
                Some(Pass::Invite(invite)) => Some(invite),
                _ => None,
            },
            psk_tags: PskTags::default(),
            record: None,
            held: self.held(id),
            kem_key: None,
        }
    }

    fn drop_one(&self, reason: DropReason) {
        self.plane.drops.count(reason);
    }

    /// A receiver index that nobody uses.
    fn fresh_index(&mut self) -> u32 {
        loop {
            let index = self.entropy.next_u32();
            if !self.attempts.contains_key(&index) && self.plane.inlet(index).is_none() {
                return index;
            }
        }
    }

    /// Publishes who gets floods, and tells which segments gained or lost their carrier.
    fn publish_layout(&mut self) {
        let before = self.plane.switch.layout();
        let layout = Layout::clone(&before);
        let after = self.publish(layout);
        for (segment, count) in after {
            if before
                .domain(segment)
                .is_some_and(|d| d.peers.len() != count)
            {
                self.events.push_back(Event::Carrier(segment, count));
            }
        }
    }

    /// Publishes a layout with what is known of the peers; gives how many are connected in each segment.
    fn publish(&self, mut layout: Layout) -> Vec<(SegmentId, usize)> {
        let mut counts = Vec::new();
        for segment in layout.segments() {
            let connected = self.peers.iter().filter(|p| p.up_since.is_some());
            let members: Vec<Member> = connected
                .filter_map(|p| {
                    let session = p.keyring.current()?;
                    Some(Member {
                        peer: p.id,
                        vlans: Arc::new(p.vlans_in(segment)?),
                        tells: session.abilities.has(Abilities::ADVERTS),
                    })
                })
                .collect();
            counts.push((segment, members.len()));
            let limits = self.peers.iter().filter_map(|p| limit(p, segment));
            let limits = limits.collect();
            layout.set_peers(segment, members, limits, self.own_macs(segment));
        }
        self.plane.switch.publish(layout);
        counts
    }
}

const NO_PSKS: &Psks = &Psks {
    current: None,
    former: None,
};

fn choose<'a>(network: &'a Psks, peer: &'a PeerSettings) -> PskChoice<'a> {
    PskChoice {
        network: match peer.kind {
            Kind::Member => network,
            _ => NO_PSKS,
        },
        pair: &peer.psks,
    }
}

fn secret(entropy: &mut dyn Entropy) -> [u8; 32] {
    let mut secret = [0; 32];
    entropy.fill(&mut secret);
    secret
}

/// What the configuration says of a peer in a segment, if anything.
fn limit(peer: &Peer, segment: SegmentId) -> Option<Limit> {
    let roles = peer.settings.roles;
    let claims = &peer.settings.claims;
    let is_unlimited = roles == Services::NONE && claims.is_empty();
    let allowed = peer.allowed_in(segment);
    let vlans = match allowed.filter(|_| peer.is_admitted_to(segment)) {
        None => None,
        Some(None) if is_unlimited => return None,
        Some(None) => Some(VlanSet::everything()),
        Some(some) => some,
    };
    Some(Limit {
        peer: peer.id,
        vlans: vlans.map(Arc::new),
        roles,
        claims: claims.clone(),
    })
}

/// Nothing is open about a peer's way any more.
fn settle(peer: &mut Peer) {
    if peer.places.settle() {
        publish_route(peer);
    }
}

/// Publishes how to send to a peer now.
fn publish_route(peer: &Peer) {
    let route = peer.keyring.current().and_then(|session| {
        let endpoint = peer.path.endpoint()?;
        Some(Route {
            send: session.send.clone(),
            room: peer.path.room(&endpoint),
            endpoint,
            abilities: session.abilities,
            takes_frames: endpoint.channel.is_none() || peer.settings.relay == RelayUse::Allow,
            is_lossy: peer.loss.is_lossy(),
            second: peer.places.in_doubt.second.as_ref().map(Second::again),
        })
    });
    peer.link.publish(route);
}
