//! A network of members in one thread and virtual time: same seed, same story.
//!
//! Members are the product's own node, encap and decap; the wire between them loses, delays, reorders and duplicates
//! as told. Every datagram can be recorded, for replays and for counting.

#![allow(dead_code)]

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use l2vpn::dataplane::Exits;
use l2vpn::dataplane::decap::Decap;
use l2vpn::dataplane::encap::Encap;
use l2vpn::drops::DropReason;
use l2vpn::keys::{Entropy, OwnKeys, PrivateKey, Psk, Psks, PublicKey, Ticket};
use l2vpn::mesh::outgoing::Outgoing;
use l2vpn::mesh::path::Endpoint;
use l2vpn::mesh::peer::{Kind, Pass, PeerSettings, RelayUse};
use l2vpn::node::plane::{Note, Plane, RelayLimits};
use l2vpn::node::{Event, Node, NodeSettings, WallClock};
use l2vpn::noise::schedule::REKEY_AFTER;
use l2vpn::place::{PeerId, PortId};
use l2vpn::switch::decide::Switch;
use l2vpn::switch::layout::{Layout, LinkLocal, Port, SegmentRules};
use l2vpn::switch::port::PortRule;
use l2vpn::switch::storm::StormLimits;
use l2vpn::switch::table::{ForwardingTable, Home, Key, Learning, Limits};
use l2vpn::time::{Duration, Instant};
use l2vpn::wire::control::{Element, Received};
use l2vpn::wire::ethernet::{Mac, Parts};
use l2vpn::wire::kem::PostQuantum;
use l2vpn::wire::offer::Abilities;
use l2vpn::wire::offload::{Checksum, Offload, VirtioHeader};
use l2vpn::wire::segment::SegmentId;
use l2vpn::wire::service::Services;
use l2vpn::wire::vlans::VlanSet;

#[path = "nat.rs"]
pub mod nat;
use nat::Nat;

/// A seeded generator: SplitMix64. Good dice for a simulation and for nothing else.
#[derive(Clone, Debug)]
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// True in `percent` of all throws.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }
}

impl Entropy for Dice {
    fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            let bytes = self.next().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }
}

/// What the wire does to datagrams.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    pub loss: u64,
    pub duplicate: u64,
    pub delay: Duration,
    /// Up to this much more, which reorders.
    pub jitter: Duration,
}

pub const CALM: Weather = Weather {
    loss: 0,
    duplicate: 0,
    delay: Duration::from_millis(1),
    jitter: Duration::ZERO,
};

/// What a member of the simulation is made of.
#[derive(Clone)]
pub struct Recipe {
    pub key: [u8; 32],
    pub suites: u8,
    pub post_quantum: PostQuantum,
    pub abilities: Abilities,
    /// Whether its ports take super-frames and begun checksums.
    pub offload: bool,
    pub ports: Vec<(SegmentId, PortRule)>,
    pub keepalive: Option<Duration>,
    pub storms: StormLimits,
    pub link_local: LinkLocal,
    /// What its port's hosts may offer, and what it lets those behind others offer.
    pub roles: Services,
    pub peer_roles: Services,
    /// What segment 1 guards.
    pub guards: Services,
    /// The segment that drops frames for unknown hosts.
    pub drops_unknown: Option<SegmentId>,
    /// What its table holds, and whom it believes.
    pub limits: Limits,
    /// What its configuration says of MACs.
    pub pinned: Vec<(Key, Home)>,
    pub isolated: bool,
    pub loop_guard: bool,
    /// Whether it relays for all others and has no ports.
    pub relays: bool,
    /// Whether it is a member as well, when it relays.
    pub is_member: bool,
    /// How much it carries as a relay.
    pub relay_limits: RelayLimits,
    /// What it makes tickets with, as a relay that lists nobody.
    pub relay_secret: Option<[u8; 32]>,
    /// What it shows relays.
    pub ticket: Option<Ticket>,
    /// What relays may carry from it.
    pub relay: RelayUse,
    /// The VLANs that it allows all others.
    pub peer_vlans: Option<VlanSet>,
    /// Seconds since 1970 at the simulation's start.
    pub wall: u64,
    pub mark: u64,
}

impl Recipe {
    pub fn new(n: u8) -> Self {
        let mut dice = Dice(u64::from(n) + 1);
        let mut key = [0; 32];
        dice.fill(&mut key);
        Recipe {
            key,
            suites: l2vpn::noise::aead::Suite::offered(true),
            post_quantum: PostQuantum::default(),
            abilities: Abilities::ALL,
            offload: true,
            ports: vec![(segment(1), PortRule::TRANSPARENT)],
            keepalive: None,
            storms: StormLimits::default(),
            link_local: LinkLocal::Transparent,
            roles: Services::NONE,
            peer_roles: Services::NONE,
            guards: Services::NONE,
            drops_unknown: None,
            limits: Limits::default(),
            pinned: Vec::new(),
            isolated: false,
            loop_guard: false,
            relays: false,
            is_member: false,
            relay_limits: RelayLimits::default(),
            relay_secret: None,
            ticket: None,
            relay: RelayUse::Allow,
            peer_vlans: None,
            wall: 1_800_000_000,
            mark: 0,
        }
    }

    /// The same, learning from frames alone and telling nobody.
    pub fn untold(mut self) -> Self {
        self.limits.learning = Learning::Data;
        self
    }

    pub fn public(&self) -> PublicKey {
        PrivateKey::from_bytes(self.key).public()
    }

    fn layout(&self) -> Layout {
        let ports = self.ports.iter().enumerate();
        let ports = ports.map(|(i, (segment, rule))| Port {
            id: PortId(i as u16),
            segment: *segment,
            rule: rule.clone(),
            link_local: self.link_local,
            roles: self.roles,
            is_isolated: self.isolated,
            guards_loops: self.loop_guard,
            is_blocked: false,
            mac: Mac([2, 0xaa, self.key[0], self.key[1], 0, i as u8]),
        });
        let mut layout = Layout::new(ports.collect());
        let rules = SegmentRules {
            drops_unknown: self.drops_unknown == Some(segment(1)),
            guards: self.guards,
            ..SegmentRules::default()
        };
        layout.set_rules(segment(1), rules);
        layout
    }
}

pub fn segment(n: u32) -> SegmentId {
    SegmentId::new(n).unwrap()
}

/// What came out of a member's frame path.
#[derive(Default)]
pub struct Captured {
    pub delivered: Vec<(PortId, Vec<u8>, Offload)>,
    pub plain: bool,
    pub outgoing: Outgoing,
    pub notes: Vec<Note>,
    /// So many notes meet a full queue.
    pub lose_notes: usize,
}

impl Exits for Captured {
    fn takes(&self, _: PortId, _: &Offload) -> bool {
        !self.plain
    }

    fn deliver(&mut self, port: PortId, frame: &Parts<'_>, offload: &Offload) {
        assert!(!self.plain || offload.checksum != Checksum::Begun);
        let mut bytes = Vec::new();
        frame.write(&mut bytes);
        let mut offload = *offload;
        if offload.checksum == Checksum::Begun {
            // As the kernel is told: where things lie in the frame, not behind a tag that was taken off.
            let header = offload.to_virtio(frame.before_rest());
            offload = Offload::of_port(header, &mut bytes).expect("a good header");
        }
        self.delivered.push((port, bytes, offload));
    }

    fn outgoing(&mut self) -> &mut Outgoing {
        &mut self.outgoing
    }

    fn note(&mut self, note: Note) -> bool {
        let lose = self.lose_notes > 0;
        self.lose_notes -= usize::from(lose);
        if !lose {
            self.notes.push(note);
        }
        !lose
    }
}

/// One member.
pub struct Member {
    pub node: Node,
    pub plane: Arc<Plane>,
    pub address: SocketAddr,
    pub events: Vec<(Instant, Event)>,
    pub delivered: Vec<(Instant, PortId, Vec<u8>)>,
    /// What was known of the delivered frames beside their bytes.
    pub offloads: Vec<Offload>,
    pub encap: Encap,
    decap: Decap,
    scratch: Vec<u8>,
    pub captured: Captured,
}

impl Member {
    pub fn new(recipe: &Recipe, address: SocketAddr, seed: u64, now: Instant) -> Self {
        let mut dice = Dice(seed);
        let layout = recipe.layout();
        let seed = (dice.next(), dice.next());
        let table = ForwardingTable::new(recipe.limits, seed, &recipe.pinned);
        let plane = Arc::new(Plane::new(Switch::new(table, recipe.storms, layout)));
        let settings = NodeSettings {
            keys: PrivateKey::from_bytes(recipe.key).into(),
            network: Psks::default(),
            suites: recipe.suites,
            post_quantum: recipe.post_quantum,
            abilities: match recipe.limits.learning {
                Learning::Data => recipe
                    .abilities
                    .and(Abilities::BUNDLES.or(Abilities::PIECES)),
                _ => recipe.abilities,
            },
            rekey_after: REKEY_AFTER,
            wall: WallClock::new(
                Duration::from_secs(recipe.wall) + now.since(Instant::ZERO),
                now,
                recipe.mark,
            ),
        };
        Member {
            node: Node::new(settings, plane.clone(), Box::new(dice), now),
            encap: Encap::new(plane.clone(), address.port()),
            decap: Decap::new(plane.clone()),
            plane,
            scratch: Vec::new(),
            address,
            events: Vec::new(),
            delivered: Vec::new(),
            offloads: Vec::new(),
            captured: Captured {
                plain: !recipe.offload,
                ..Captured::default()
            },
        }
    }

    pub fn drops(&self, reason: DropReason) -> u64 {
        self.plane.drops.get(reason)
    }

    pub fn is_up(&self, peer: u32) -> bool {
        self.node.peers()[peer as usize].up_since.is_some()
    }

    pub fn frames(&self) -> Vec<Vec<u8>> {
        self.delivered.iter().map(|(_, _, f)| f.clone()).collect()
    }

    /// Hands notes to the node until there are none, and keeps what came out.
    fn settle(&mut self, now: Instant) -> Vec<(SocketAddr, bool, Vec<u8>)> {
        while !self.captured.notes.is_empty() {
            for note in std::mem::take(&mut self.captured.notes) {
                self.node.handle_note(note, now);
            }
        }
        while let Some(event) = self.node.poll_event() {
            self.events.push((now, event));
        }
        for (port, frame, offload) in self.captured.delivered.drain(..) {
            self.delivered.push((now, port, frame));
            self.offloads.push(offload);
        }
        let mut sent: Vec<_> = Vec::new();
        for out in [&mut self.captured.outgoing, self.node.outgoing()] {
            sent.extend(
                out.marked()
                    .map(|(to, m, b)| (to.remote, m.is_short, b.to_vec())),
            );
            out.clear();
        }
        sent
    }
}

/// A datagram on the wire.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Packet {
    pub at: Instant,
    pub seq: u64,
    pub from: SocketAddr,
    pub to: SocketAddr,
    /// Inside which NAT it travels.
    pub level: Level,
    pub bytes: Vec<u8>,
}

/// A NAT, or the Internet.
pub type Level = Option<usize>;

/// The network.
pub struct Network {
    pub now: Instant,
    pub weather: Weather,
    pub members: Vec<Option<Member>>,
    pub recipes: Vec<Recipe>,
    pub recording: Vec<Packet>,
    /// Whether what is on the wire is recorded.
    pub record: bool,
    pub mtu: u16,
    /// What the wire carries in truth; members find it themselves then, below the route's `mtu`.
    pub carries: Option<u16>,
    psks: Vec<((usize, usize), Psk)>,
    wire: BinaryHeap<Reverse<Packet>>,
    seq: u64,
    pub dice: Dice,
    /// NATs, and which member is behind which.
    pub nats: Vec<Nat>,
    pub behind: Vec<(usize, usize)>,
    /// Whether datagrams from the first to the second are thrown away.
    pub blocked: Vec<(usize, usize)>,
    /// How long datagrams take that no relay sends or gets.
    pub near: Option<Duration>,
    /// Whether datagrams that shall go a short way do.
    pub cures: bool,
    /// Whether all are on one LAN, where beacons are heard.
    pub is_lan: bool,
    /// Beacons that were sent.
    pub beacons: Vec<(usize, Vec<u8>)>,
    /// Addresses that datagrams of a member do not reach.
    pub unreachable: Vec<(usize, IpAddr)>,
    /// Members' addresses of the other family.
    pub also: Vec<(usize, SocketAddr)>,
    /// Many ports that members have opened: whose, and towards where.
    pub scattered: Vec<(usize, SocketAddr)>,
}

/// The first of many ports that a member opens, and how many.
const MANY: (u16, u16) = (20_000, 256);

/// What a member knows one of its many ports by.
fn leg_address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 1, 0, 1], port))
}

/// Where a relay looks at members from besides.
const SECOND_PORT: u16 = 7657;

pub fn address(n: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, (n / 250) as u8, (n % 250) as u8 + 1], 7656))
}

impl Network {
    pub fn new(members: usize, seed: u64) -> Self {
        Network::of((0..members).map(|n| Recipe::new(n as u8)).collect(), seed)
    }

    pub fn of(recipes: Vec<Recipe>, seed: u64) -> Self {
        let mut net = Network {
            now: Instant::from_micros(1_000_000),
            weather: CALM,
            members: Vec::new(),
            recording: Vec::new(),
            record: true,
            mtu: 1500,
            carries: None,
            psks: Vec::new(),
            wire: BinaryHeap::new(),
            seq: 0,
            dice: Dice(seed),
            nats: Vec::new(),
            behind: Vec::new(),
            blocked: Vec::new(),
            near: None,
            cures: true,
            is_lan: false,
            beacons: Vec::new(),
            unreachable: Vec::new(),
            also: Vec::new(),
            scattered: Vec::new(),
            recipes,
        };
        for n in 0..net.recipes.len() {
            let member = net.build(n);
            net.members.push(Some(member));
        }
        net
    }

    fn build(&mut self, n: usize) -> Member {
        let seed = self.dice.next();
        let mut member = Member::new(&self.recipes[n], address(n), seed, self.now);
        if self.recipes[n].relays {
            let recipe = &self.recipes[n];
            let secret = recipe.relay_secret.map(Psk::from_bytes);
            member.node.start_relaying(recipe.relay_limits, secret);
            member.node.start_looking(SECOND_PORT);
        }
        let lists_none = self.recipes[n].relay_secret.is_some();
        let others = (0..self.recipes.len()).filter(|o| *o != n && !lists_none);
        for other in others {
            let settings = self.settings_of(n, other);
            member.node.add_peer(settings);
        }
        member
    }

    /// What `n`'s configuration says of `other`.
    pub fn settings_of(&self, n: usize, other: usize) -> PeerSettings {
        let recipe = &self.recipes[other];
        let psk = self.psks.iter().find(|(pair, _)| *pair == (n, other));
        PeerSettings {
            kind: self.kind_of(n, other),
            name: format!("m{other}"),
            key: recipe.public().into(),
            psks: Psks::of(psk.map(|(_, psk)| psk.clone())),
            keepalive: match recipe.relays {
                true => Some(Duration::from_secs(25)),
                false => self.recipes[n].keepalive,
            },
            relay: self.recipes[n].relay,
            pass: match (recipe.relays, self.recipes[n].ticket) {
                (true, Some(ticket)) => Pass::Ticket(ticket),
                _ => Pass::Listed,
            },
            mtu: self.carries.is_none().then_some(self.mtu),
            segments: None,
            vlans: self.recipes[n].peer_vlans.clone(),
            roles: self.recipes[n].peer_roles,
            claims: Default::default(),
            serves: recipe.relays && recipe.is_member,
        }
    }

    /// `n` reads in its configuration that `other` is this now.
    pub fn change_peer(&mut self, n: usize, other: usize, settings: PeerSettings) {
        let (now, id) = (self.now, PeerId(Network::peer_of(n, other)));
        self.member(n).node.change_peer(id, settings, now);
        self.collect(n);
    }

    /// `n` has these keys now, and its network these.
    pub fn set_keys(&mut self, n: usize, keys: OwnKeys, network: Psks) {
        let now = self.now;
        self.member(n).node.set_keys(keys, network, now);
        self.collect(n);
    }

    /// What `other` is to `n`.
    fn kind_of(&self, n: usize, other: usize) -> Kind {
        let relays = |n: usize| self.recipes[n].relays && !self.recipes[n].is_member;
        match (relays(n), relays(other)) {
            (_, true) => Kind::Relay,
            (true, _) => Kind::Client,
            _ => Kind::Member,
        }
    }

    /// `n` uses this key towards `other` from its next start on.
    pub fn set_psk(&mut self, n: usize, other: usize, psk: [u8; 32]) {
        self.psks.push(((n, other), Psk::from_bytes(psk)));
    }

    pub fn rebuild(&mut self, n: usize) {
        let member = self.build(n);
        self.members[n] = Some(member);
    }

    /// `n` takes up the ports of its recipe while it runs.
    pub fn reload(&mut self, n: usize) {
        let (now, layout) = (self.now, self.recipes[n].layout());
        self.member(n).node.set_ports(layout, now);
        self.collect(n);
    }

    /// The number that `n` gives to `other`.
    pub fn peer_of(n: usize, other: usize) -> u32 {
        (if other > n { other - 1 } else { other }) as u32
    }

    pub fn member(&mut self, n: usize) -> &mut Member {
        self.members[n].as_mut().expect("a living member")
    }

    /// Tells `n` where `other` is, which makes it connect.
    pub fn introduce(&mut self, n: usize, other: usize) {
        let (now, to) = (self.now, address(other));
        let to = self.members[other].as_ref().map_or(to, |m| m.address);
        let peer = PeerId(Network::peer_of(n, other));
        self.member(n).node.set_endpoints(peer, vec![to], now);
        self.collect(n);
    }

    pub fn introduce_all(&mut self) {
        for n in 0..self.members.len() {
            for other in (0..self.members.len()).filter(|o| *o != n) {
                self.introduce(n, other);
            }
        }
    }

    pub fn is_up(&self, n: usize, other: usize) -> bool {
        self.members[n]
            .as_ref()
            .is_some_and(|m| m.is_up(Network::peer_of(n, other)))
    }

    pub fn all_up(&self) -> bool {
        let n = self.members.len();
        (0..n).all(|a| (0..n).all(|b| a == b || self.is_up(a, b)))
    }

    /// A host behind a port of `n` sends a frame.
    pub fn send(&mut self, n: usize, port: u16, frame: &[u8]) {
        self.send_all(n, port, &[(VirtioHeader::default(), frame.to_vec())]);
    }

    /// A host behind a port of `n` sends frames and super-frames in one batch.
    pub fn send_all(&mut self, n: usize, port: u16, frames: &[(VirtioHeader, Vec<u8>)]) {
        self.put_at(n, port, frames);
        self.collect(n);
    }

    /// The same by the first port, with what results kept from the wire.
    pub fn put_frames(&mut self, n: usize, frames: &[(VirtioHeader, Vec<u8>)]) {
        self.put_at(n, 0, frames);
    }

    fn put_at(&mut self, n: usize, port: u16, frames: &[(VirtioHeader, Vec<u8>)]) {
        let now = self.now;
        let m = self.member(n);
        for (header, frame) in frames {
            let mut frame = frame.clone();
            let frame = (*header, &mut frame[..]);
            m.encap.frame(PortId(port), frame, now, &mut m.captured);
        }
        m.encap.flush(now, &mut m.captured);
    }

    /// `n` hears from `other` that every second packet is lost.
    pub fn make_lossy(&mut self, n: usize, other: usize) {
        let peer = PeerId(Network::peer_of(n, other));
        let now = self.now;
        let m = self.member(n);
        let Some(session) = m.node.peers()[peer.0 as usize].keyring.current() else {
            panic!("no session");
        };
        session.send.skip_to(2000);
        let index = session.send.remote();
        for next in [1000, 2000] {
            let report = Received {
                index,
                next,
                count: next / 2,
            };
            let note = Note::Control {
                peer,
                from: Endpoint::to(address(other)),
                moved: false,
                body: l2vpn::wire::control::write(Element::Received(report)),
            };
            m.node.handle_note(note, now);
        }
        assert!(m.node.peers()[peer.0 as usize].loss.is_lossy());
    }

    /// Both hosts of [`super::frames`] speak once, so that nothing is flooded.
    pub fn learn_hosts(&mut self) {
        let (a, b) = (Mac([2, 0, 0, 0, 1, 0]), Mac([2, 0, 0, 0, 1, 1]));
        self.send(0, 0, &frame(b, a, None, &[0; 46]));
        self.run_for(Duration::from_millis(10));
        self.send(1, 0, &frame(a, b, None, &[0; 46]));
        self.run_for(Duration::from_millis(10));
    }

    /// A batch from a port of `a` to the ports of `b` at once, and nothing else: for figures.
    pub fn cross(&mut self, a: usize, b: usize, frames: &[(VirtioHeader, Vec<u8>)]) {
        let now = self.now;
        let from = Endpoint::to(self.member(a).address);
        let mut out = Outgoing::default();
        let m = self.member(a);
        for (header, frame) in frames {
            m.scratch.clear();
            m.scratch.extend_from_slice(frame);
            let frame = (*header, &mut m.scratch[..]);
            m.encap.frame(PortId(0), frame, now, &mut m.captured);
        }
        m.encap.flush(now, &mut m.captured);
        std::mem::swap(&mut out, &mut m.captured.outgoing);
        let m = self.member(b);
        for (_, bytes) in out.iter() {
            m.scratch.clear();
            m.scratch.extend_from_slice(bytes);
            m.decap.datagram(from, &mut m.scratch, now, &mut m.captured);
        }
        m.decap.flush(now, &mut m.captured);
        assert!(!m.captured.delivered.is_empty());
        m.captured.delivered.clear();
        out.clear();
        std::mem::swap(&mut out, &mut self.member(a).captured.outgoing);
    }

    /// Somebody puts a datagram on the wire to `n`.
    pub fn inject(&mut self, n: usize, from: SocketAddr, bytes: &[u8]) {
        let now = self.now;
        let m = self.member(n);
        let mut bytes = bytes.to_vec();
        m.decap
            .datagram(Endpoint::to(from), &mut bytes, now, &mut m.captured);
        m.decap.flush(now, &mut m.captured);
        self.collect(n);
    }

    /// Datagrams reach `n` in one batch.
    pub fn inject_all(&mut self, n: usize, from: SocketAddr, datagrams: &[Vec<u8>]) {
        let now = self.now;
        let m = self.member(n);
        for datagram in datagrams {
            let mut bytes = datagram.clone();
            m.decap
                .datagram(Endpoint::to(from), &mut bytes, now, &mut m.captured);
        }
        m.decap.flush(now, &mut m.captured);
        self.collect(n);
    }

    /// What `n` wants to send now, without putting it on the wire.
    pub fn harvest(&mut self, n: usize) -> Vec<(SocketAddr, Vec<u8>)> {
        let now = self.now;
        let sent = self.member(n).settle(now).into_iter();
        sent.map(|(to, _, bytes)| (to, bytes)).collect()
    }

    pub fn collect(&mut self, n: usize) {
        let now = self.now;
        let (route, finds) = (self.mtu, self.carries.is_some());
        let m = self.member(n);
        let from = m.address;
        let seen = m.events.len();
        let sent = m.settle(now);
        let beacons = m.events.iter().skip(seen).filter_map(|(_, e)| match e {
            Event::Beacon(bytes) => Some((n, bytes.clone())),
            _ => None,
        });
        let beacons: Vec<_> = beacons.collect();
        for (_, event) in m.events.iter().skip(seen) {
            if let (Event::RouteWanted(peer, _), true) = (event, finds) {
                m.node.set_route_mtu(*peer, route, now);
            }
        }
        self.scatter(n, seen);
        for (to, is_short, bytes) in sent {
            if to.ip().is_loopback() {
                let remote = self.scattered.iter().find(|(who, _)| *who == n);
                if let Some((_, remote)) = remote.copied() {
                    let from = SocketAddr::new(self.member(n).address.ip(), to.port());
                    self.put(n, from, remote, bytes);
                }
                continue;
            }
            // A host without an address of that family has no route there.
            let own = self.addresses(n).into_iter();
            let Some(from) = own.rev().find(|a| a.is_ipv4() == to.is_ipv4()) else {
                continue;
            };
            match is_short && self.cures {
                true => {
                    // It gets out of its own network and no further.
                    let _ = self.leave(n, from, to);
                }
                false => self.put(n, from, to, bytes),
            }
        }
        for (n, bytes) in beacons {
            let hears = if self.is_lan { self.members.len() } else { 0 };
            for other in (0..hears).filter(|o| *o != n) {
                if let Some(m) = &mut self.members[other] {
                    m.node.handle_beacon(from, &bytes, now);
                }
                self.collect(other);
            }
            self.beacons.push((n, bytes));
        }
    }

    /// A member opens many ports, if it says so in its events from there on.
    fn scatter(&mut self, n: usize, seen: usize) {
        let events = self.member(n).events.iter().skip(seen);
        let wanted = events.filter_map(|(_, e)| match e {
            Event::Scatter(_, to, datagram) => Some((*to, datagram.clone())),
            _ => None,
        });
        for (to, datagram) in wanted.collect::<Vec<_>>() {
            self.scattered.push((n, to));
            let ip = self.member(n).address.ip();
            for port in MANY.0..MANY.0 + MANY.1 {
                self.put(n, SocketAddr::new(ip, port), to, datagram.clone());
            }
        }
    }

    /// Something came to one of many ports: the member knows it by its leg.
    fn come_to_leg(&mut self, n: usize, port: u16, bytes: &[u8]) {
        let leg = l2vpn::node::legs::Leg {
            address: leg_address(port),
            carrier: l2vpn::carrier::Carrier::Port,
            binding: [0; 16],
        };
        self.member(n).node.add_leg(leg);
        self.inject(n, leg.address, bytes);
    }

    /// All send beacons from now on.
    pub fn start_beacons(&mut self) {
        for n in 0..self.members.len() {
            let (now, port) = (self.now, self.member(n).address.port());
            self.member(n).node.start_beacons(port, now);
            self.collect(n);
        }
    }

    /// Puts a member behind a new NAT.
    pub fn put_behind(&mut self, n: usize, kind: nat::Kind) -> usize {
        let outside = IpAddr::from([203, 0, 113, self.nats.len() as u8 + 1]);
        self.nats.push(Nat::new(kind, outside, self.dice.next()));
        self.behind.push((n, self.nats.len() - 1));
        self.nats.len() - 1
    }

    fn nat_of(&self, n: usize) -> Option<usize> {
        let behind = self.behind.iter().find(|(member, _)| *member == n);
        behind.map(|(_, nat)| *nat)
    }

    /// Puts a NAT behind another, as at a carrier.
    pub fn nest(&mut self, inner: usize, outer: usize) {
        self.nats[inner].outside = IpAddr::from([100, 64, outer as u8, inner as u8 + 1]);
        self.nats[inner].parent = Some(outer);
    }

    /// How a datagram looks when it has left its site, and inside which NAT it is then; `None` when it does not leave.
    fn leave(
        &mut self,
        n: usize,
        mut from: SocketAddr,
        to: SocketAddr,
    ) -> Option<(SocketAddr, Level)> {
        if to.is_ipv6() {
            return Some((from, None));
        }
        let mut level = self.nat_of(n);
        while let Some(nat) = level {
            if self.is_at(to, level) {
                break;
            }
            let now = self.now;
            let nat = &mut self.nats[nat];
            if to.ip() == nat.outside && !nat.hairpins {
                return None;
            }
            from = nat.out(from, to, now)?;
            level = nat.parent;
        }
        Some((from, level))
    }

    /// Whether somebody inside this NAT has the address.
    fn is_at(&self, to: SocketAddr, level: Level) -> bool {
        let is_nat = |nat: &Nat| nat.outside == to.ip() && nat.parent == level;
        let member = self.at(to).filter(|n| self.nat_of(*n) == level);
        member.is_some() || self.nats.iter().any(is_nat)
    }

    /// Where a datagram from there arrives, if it does.
    fn arrive(&mut self, from: SocketAddr, to: SocketAddr, level: Level) -> Option<(usize, u16)> {
        let is_it = |nat: &Nat| nat.outside == to.ip() && nat.parent == level;
        if let Some(number) = self.nats.iter().position(is_it) {
            let nat: &mut Nat = &mut self.nats[number];
            let inside = nat.inward(from, to.port(), self.now)?;
            return self.arrive(from, inside, Some(number));
        }
        // Addresses behind a NAT are reached from behind it only; there is none between IPv6 hosts.
        self.at(to)
            .filter(|n| to.is_ipv6() || self.nat_of(*n) == level)
            .map(|n| (n, to.port()))
    }

    fn put(&mut self, n: usize, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        let target = self.at(to);
        let headers = if to.is_ipv4() { 28 } else { 48 };
        let Some((from, level)) = self.leave(n, from, to) else {
            return;
        };
        assert!(
            bytes.len() + headers <= usize::from(self.mtu.max(1280)),
            "a datagram exceeds the path"
        );
        let relays = |n: usize| self.recipes[n].relays;
        let is_far = relays(n) || target.is_some_and(relays);
        let delay = match self.near {
            Some(near) if !is_far => near,
            _ => self.weather.delay,
        };
        let copies = 1 + u64::from(self.dice.chance(self.weather.duplicate));
        for _ in 0..copies {
            let jitter = self.weather.jitter.as_micros() as u64;
            let extra = self.dice.next().checked_rem(jitter).unwrap_or(0);
            self.seq += 1;
            let packet = Packet {
                at: self.now + delay + Duration::from_micros(extra),
                seq: self.seq,
                from,
                to,
                level,
                bytes: bytes.clone(),
            };
            if self.record {
                self.recording.push(packet.clone());
            }
            let lost = self.dice.chance(self.weather.loss);
            let fits = self
                .carries
                .is_none_or(|most| bytes.len() + headers <= usize::from(most));
            let blocked = !fits
                || target.is_some_and(|t| self.blocked.contains(&(n, t)))
                || self.unreachable.contains(&(n, to.ip()));
            if !lost && !blocked {
                self.wire.push(Reverse(packet));
            }
        }
    }

    fn at(&self, address: SocketAddr) -> Option<usize> {
        if address.port() == SECOND_PORT {
            let first = SocketAddr::new(address.ip(), 7656);
            return self.at(first).filter(|n| self.recipes[*n].relays);
        }
        if (MANY.0..MANY.0 + MANY.1).contains(&address.port()) {
            let first = SocketAddr::new(address.ip(), 7656);
            let is_open = |n: &usize| self.scattered.iter().any(|(who, _)| who == n);
            return self.at(first).filter(is_open);
        }
        let also = self.also.iter().find(|(_, a)| *a == address);
        let is_it = |n: &usize| match &self.members[*n] {
            Some(m) => m.address == address || also.is_some_and(|(of, _)| of == n),
            None => false,
        };
        (0..self.members.len()).find(is_it)
    }

    /// All addresses of a member.
    pub fn addresses(&self, n: usize) -> Vec<SocketAddr> {
        let own = self.members[n].as_ref().map(|m| m.address);
        let also = self.also.iter().filter(|(of, _)| *of == n);
        own.into_iter().chain(also.map(|(_, a)| *a)).collect()
    }

    fn next_time(&self) -> Option<Instant> {
        let timers = self.members.iter().flatten().map(|m| m.node.deadline());
        timers.chain(self.wire.peek().map(|p| p.0.at)).min()
    }

    /// Lets time pass.
    pub fn run_for(&mut self, span: Duration) {
        let end = self.now + span;
        self.run_until(end, |_| false);
    }

    /// Lets time pass until the end or until something is true; gives whether it was.
    pub fn run_until(&mut self, end: Instant, done: impl Fn(&Network) -> bool) -> bool {
        loop {
            if done(self) {
                return true;
            }
            let Some(next) = self.next_time().filter(|t| *t <= end) else {
                self.now = end;
                return done(self);
            };
            self.now = self.now.max(next);
            self.deliver_due();
            for n in 0..self.members.len() {
                let now = self.now;
                if let Some(m) = &mut self.members[n]
                    && m.node.deadline() <= now
                {
                    m.node.handle_timeout(now);
                    self.collect(n);
                }
            }
        }
    }

    fn deliver_due(&mut self) {
        while self.wire.peek().is_some_and(|p| p.0.at <= self.now) {
            let Some(Reverse(packet)) = self.wire.pop() else {
                return;
            };
            let arrived = self.arrive(packet.from, packet.to, packet.level);
            if let Some((n, port)) = arrived {
                match port {
                    SECOND_PORT if self.recipes[n].relays => {
                        let now = self.now;
                        let node = &mut self.member(n).node;
                        node.handle_look(packet.from, &packet.bytes, now);
                        self.collect(n);
                    }
                    _ if (MANY.0..MANY.0 + MANY.1).contains(&port) => {
                        self.come_to_leg(n, port, &packet.bytes);
                    }
                    _ => self.inject(n, packet.from, &packet.bytes),
                }
            }
        }
    }
}

/// An Ethernet frame of EtherType 0x88b5 (local experimental) with this much payload.
pub fn frame(destination: Mac, source: Mac, tag: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
    let mut f = destination.0.to_vec();
    f.extend_from_slice(&source.0);
    f.extend_from_slice(&tag.unwrap_or_default()[..if tag.is_some() { 4 } else { 0 }]);
    f.extend_from_slice(&[0x88, 0xb5]);
    f.extend_from_slice(payload);
    f
}

/// The MAC of a host behind member `n`.
pub fn host(n: usize) -> Mac {
    Mac([0x02, 0, 0, 0, 0x01, n as u8])
}
