//! The loop guard: a port through which our own probes come back is closed, and opened when they do not any more.
//!
//! # Why
//! Two members on one LAN, each with a bridged port, make a ring of that LAN and the overlay, and one broadcast goes round
//! for ever. Spanning tree finds that where bridges run it; this guard needs nothing of them. Every bridged port sends
//! probes every [`EVERY`], without a tag and in its VLANs; where those are many, in those that are in use. Members hand
//! what came in by their ports to the one that sent it, and a probe that comes back so went round. Of two members that
//! see each other so, the one with the larger key closes its port; with two ports of one member the higher port is
//! closed. A closed port goes on probing, so it notices the end of the loop.

use std::collections::BTreeMap;

use blake2::Blake2sMac;
use blake2::digest::consts::U16;
use blake2::digest::{FixedOutput, KeyInit, Update};

use super::{Event, Node};
use crate::drops::DropReason;
use crate::keys::PublicKey;
use crate::mesh::peer::Peer;
use crate::place::{PeerId, Place, PortId};
use crate::switch::layout::{Layout, Port};
use crate::switch::neighbors::{Address, Neighbor};
use crate::time::{Duration, Instant};
use crate::wire::ethernet::{Frame, Parts};
use crate::wire::neighbor::Answer;
use crate::wire::probe::Probe;
use crate::wire::segment::SegmentId;
use crate::wire::vlan::{Tag, VlanClass};

/// How often each port sends a probe.
pub const EVERY: Duration = Duration::from_secs(2);
/// A port is opened again when no probe has come back for this long.
pub const CLEAR_AFTER: Duration = Duration::from_secs(7);
/// A probe leaves so much earlier at most, by chance: nobody can keep sending just before it.
const JITTER: u64 = 400_000;
/// VLANs that are probed at once; with more, they take turns.
const MOST_VLANS: usize = 32;
/// Rounds in which probes come back through a member that should close its port, before we close ours.
const PATIENCE: u32 = 3;
/// Hosts that are asked at once.
const MOST_ASKED: usize = 1024;
/// For how many rounds a probe proves something.
const FRESH: u64 = 3;

/// A loop that was found or is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loop {
    /// The port that was closed or opened.
    pub port: PortId,
    /// Where its probe came back.
    pub through: Place,
    /// Whether it is closed now.
    pub is_blocked: bool,
}

/// What came back by one port.
#[derive(Default)]
struct Sightings {
    rounds: u32,
    /// In which VLAN: it is probed again and again.
    class: Option<VlanClass>,
    last: Instant,
    through: Option<Place>,
}

/// The guard.
pub(super) struct LoopGuard {
    secret: [u8; 32],
    pub(super) next_at: Instant,
    ports: BTreeMap<PortId, Sightings>,
    /// How many VLANs had their turn.
    turn: usize,
}

impl LoopGuard {
    pub(super) fn new(secret: [u8; 32], now: Instant) -> LoopGuard {
        LoopGuard {
            secret,
            next_at: now,
            ports: BTreeMap::new(),
            turn: 0,
        }
    }

    /// Forgets what was seen at a port.
    pub(super) fn forget(&mut self, port: PortId) {
        self.ports.remove(&port);
    }

    /// What only we can say of a port in this round.
    fn proof(&self, port: u16, round: u64) -> [u8; 16] {
        let mut proof = [0u8; 16];
        if let Ok(mut mac) = <Blake2sMac<U16> as KeyInit>::new_from_slice(&self.secret) {
            Update::update(&mut mac, &port.to_le_bytes());
            Update::update(&mut mac, &round.to_le_bytes());
            proof.copy_from_slice(&mac.finalize_fixed());
        }
        proof
    }

    fn is_own(&self, probe: &Probe, now: Instant) -> bool {
        let round = round(now);
        let rounds = round.saturating_sub(FRESH)..=round;
        let mut proofs = rounds.map(|r| self.proof(probe.port, r));
        proofs.any(|proof| proof == probe.proof)
    }
}

fn round(now: Instant) -> u64 {
    now.as_micros() / 2_000_000
}

impl Node {
    /// What our probes are signed with. Peers that have not heard of our new key know the old one.
    fn initials(&self) -> [u8; 8] {
        let [a, b, c, d, e, f, g, h, ..] = *self.own.oldest().as_bytes();
        [a, b, c, d, e, f, g, h]
    }

    /// Sends probes and opens what is clear.
    pub(super) fn guard_loops(&mut self, now: Instant) {
        if now < self.lan.loops.next_at {
            return;
        }
        let early = Duration::from_micros(u64::from(self.entropy.next_u32()) % JITTER);
        self.lan.loops.next_at = now + EVERY.saturating_sub(early);
        let layout = self.plane.switch.layout();
        for port in layout.ports().filter(|p| p.guards_loops) {
            let probe = Probe {
                member: self.initials(),
                port: port.id.0,
                proof: self.lan.loops.proof(port.id.0, round(now)),
            };
            let probe = probe.write(port.asking_mac());
            for class in self.probed(&layout, port) {
                self.emit((port, class), &probe);
            }
        }
        self.lan.loops.turn = self.lan.loops.turn.wrapping_add(MOST_VLANS);
        let clear = |s: &Sightings| now.since(s.last) >= CLEAR_AFTER;
        let sightings = self.lan.loops.ports.iter();
        let cleared: Vec<(PortId, Option<Place>)> = sightings
            .filter(|(_, s)| clear(s))
            .map(|(port, s)| (*port, s.through))
            .collect();
        for (port, through) in cleared {
            self.lan.loops.ports.remove(&port);
            if let Some(through) = through {
                self.close_port(port, through, false);
            }
            self.ask_hosts(port, now);
        }
    }

    /// The VLANs in which a port sends probes this time.
    fn probed(&self, layout: &Layout, port: &Port) -> Vec<VlanClass> {
        let own = port.rule.vlans();
        let mut known: Vec<VlanClass> = own.iter().take(MOST_VLANS + 1).collect();
        if known.len() > MOST_VLANS {
            let domain = layout.domain(port.segment);
            let used = domain.map(|d| d.counters.all()).unwrap_or_default();
            known = used.into_iter().map(|(class, _)| class).collect();
        }
        let sighting = self.lan.loops.ports.get(&port.id);
        let mut first = vec![VlanClass::UNTAGGED];
        first.extend(sighting.and_then(|s| s.class));
        let is_new = |class: &VlanClass| !first.contains(class);
        let others: Vec<VlanClass> = known.into_iter().filter(is_new).collect();
        let turn = self.lan.loops.turn.checked_rem(others.len()).unwrap_or(0);
        let in_turn = others.iter().cycle().skip(turn).take(others.len());
        first.dedup();
        first.extend(in_turn.take(MOST_VLANS));
        first.retain(|class| port.rule.carries(*class));
        first
    }

    /// Asks by a port which hosts are behind it, when a loop through it has ended, here or at the other member: switches and
    /// bridges have learned them in wrong places meanwhile, and since the switch answers for hosts that it knows, nobody
    /// else would ask.
    fn ask_hosts(&mut self, port: PortId, now: Instant) {
        let plane = self.plane.clone();
        let layout = plane.switch.layout();
        let Some(port) = layout.port(port) else {
            return;
        };
        let known = plane.switch.neighbors.entries(now);
        let may_be_here = |n: &&Neighbor| {
            let Address { segment, class, .. } = n.address;
            segment == port.segment && port.rule.carries(class)
        };
        for neighbor in known.iter().filter(may_be_here).take(MOST_ASKED) {
            let probe = Answer::search(neighbor.address.ip, port.asking_mac());
            self.emit((port, neighbor.address.class), &probe);
        }
    }

    /// Has a frame without tags sent by a port, in the form that frames of this VLAN have there.
    pub(super) fn emit(&mut self, (port, class): (&Port, VlanClass), frame: &[u8]) {
        let parts = Frame::parse(frame).map(|f| in_vlan(f.parts, class));
        match parts.and_then(|parts| port.rule.egress(parts)) {
            Ok(parts) => {
                let mut frame = Vec::with_capacity(parts.len());
                parts.write(&mut frame);
                self.events.push_back(Event::Emit(port.id, frame));
            }
            Err(reason) => self.drop_one(reason),
        }
    }

    /// A probe came in.
    pub(super) fn take_probe(
        &mut self,
        place: Place,
        vlan: (SegmentId, VlanClass),
        probe: &Probe,
        now: Instant,
    ) {
        if probe.member == self.initials() && self.lan.loops.is_own(probe, now) {
            return self.came_back((PortId(probe.port), vlan.1), place, now);
        }
        let layout = self.plane.switch.layout();
        if let Place::Port(port) = place
            && let Some(port) = layout.port(port).filter(|p| !p.is_blocked)
        {
            self.pass_on(port, vlan, probe, now);
        }
    }

    /// One of our own has gone round.
    fn came_back(&mut self, (port, class): (PortId, VlanClass), through: Place, now: Instant) {
        if through == Place::Port(port) {
            // It went round behind the port and not through us: closing it would end nothing, and let any host behind it
            // close it. Storm control keeps such a loop at its site.
            return self.drop_one(DropReason::Hairpin);
        }
        let (port, must) = match through {
            Place::Port(other) => (port.max(other), true),
            Place::Peer(peer) => (port, self.is_larger(peer)),
        };
        let seen = self.lan.loops.ports.entry(port).or_default();
        if seen.rounds == 0 || round(seen.last) != round(now) {
            seen.rounds += 1;
        }
        (seen.last, seen.class) = (now, Some(class));
        if seen.through.is_none() && (must || seen.rounds >= PATIENCE) {
            seen.through = Some(through);
            self.close_port(port, through, true);
        }
    }

    fn is_larger(&self, peer: PeerId) -> bool {
        let ours = self.known_as(peer);
        let peer = self.peers.get(peer.0 as usize);
        peer.is_none_or(|p| ours > p.known_as())
    }

    fn close_port(&mut self, port: PortId, through: Place, is_blocked: bool) {
        let mut layout = Layout::clone(&self.plane.switch.layout());
        layout.block(port, is_blocked);
        self.plane.switch.publish(layout);
        if is_blocked {
            // Nobody is reached by it any more: what was learned is wrong.
            self.plane.switch.forget(Place::Port(port));
        }
        let event = Loop {
            port,
            through,
            is_blocked,
        };
        self.events.push_back(Event::Loop(event));
    }

    /// Hands another's probe to the member that may have sent it.
    fn pass_on(
        &mut self,
        port: &Port,
        (segment, class): (SegmentId, VlanClass),
        probe: &Probe,
        now: Instant,
    ) {
        let layout = self.plane.switch.layout();
        let Some(domain) = layout.domain(segment) else {
            return;
        };
        let bytes = probe.write(port.asking_mac());
        let Ok(frame) = Frame::parse(&bytes) else {
            return;
        };
        let parts = in_vlan(frame.parts, class);
        let mut scratch = Vec::new();
        for member in domain.peers.iter().filter(|m| m.vlans.contains(class)) {
            let peer = self.peers.get(member.peer.0 as usize);
            let is_name = |key: PublicKey| key.as_bytes().starts_with(&probe.member);
            let is_meant = |p: &&Peer| p.settings.key.iter().any(is_name);
            let Some(peer) = peer.filter(is_meant) else {
                continue;
            };
            let frame = (segment, &parts);
            let sent = peer
                .link
                .send_frame(frame, &mut scratch, &mut self.outgoing, now);
            // Without a session the member is not in the layout for long.
            if let Err(reason @ DropReason::SendTooLarge) = sent {
                self.plane.drops.count(reason);
            }
        }
    }
}

/// A frame without tags in canonical form.
fn in_vlan(frame: Parts<'_>, class: VlanClass) -> Parts<'_> {
    let tag = |vid| match class.is_service() {
        true => Tag::service(vid, None),
        false => Tag::customer(vid, 0),
    };
    frame.with_tag(class.vid().map(tag))
}
