//! Which ports and peers are in which segment: the switch's picture of the network, published whole.
//!
//! The control side makes a new layout when a port, a peer or its announced segments change, and swaps it in; workers
//! load it once per batch. Flood lists are ready-made, so that flooding is a walk over two slices.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::counters::VlanCounters;
use super::port::PortRule;
use crate::drops::DropReason;
use crate::place::{PeerId, Place, PortId};
use crate::wire::claims::Claims;
use crate::wire::ethernet::{Frame, Mac, Parts};
use crate::wire::segment::SegmentId;
use crate::wire::service::Services;
use crate::wire::vlan::VlanClass;
use crate::wire::vlans::VlanSet;

/// A port of this member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its number.
    pub id: PortId,
    /// The segment it is in.
    pub segment: SegmentId,
    /// What it does with tags.
    pub rule: PortRule,
    /// What it does with frames for the next bridge.
    pub link_local: LinkLocal,
    /// What the hosts behind it may offer where a guard is on.
    pub roles: Services,
    /// Whether its hosts reach none behind other isolated ports, ours or others'.
    pub is_isolated: bool,
    /// Whether it sends probes to find loops.
    pub guards_loops: bool,
    /// Whether it is closed, because a loop was found through it.
    pub is_blocked: bool,
    /// Its own MAC address.
    pub mac: Mac,
}

/// What a segment does beside forwarding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentRules {
    /// Whether frames for unknown hosts are dropped instead of flooded.
    pub drops_unknown: bool,
    /// What only those with the role may offer.
    pub guards: Services,
    /// Whether questions for known addresses are answered here.
    pub answers_neighbors: bool,
    /// Whether multicast goes to those only that asked for it.
    pub snoops_groups: bool,
}

impl Default for SegmentRules {
    fn default() -> Self {
        SegmentRules {
            drops_unknown: false,
            guards: Services::NONE,
            answers_neighbors: true,
            snoops_groups: true,
        }
    }
}

/// What a port does with frames for the reserved addresses 01:80:c2:00:00:00 to 0f, IEEE 802.1Q table 8-1: spanning tree,
/// LACP, LLDP, 802.1X. PAUSE and other MAC control frames (01:80:c2:00:00:01) never pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LinkLocal {
    /// They pass like any other, as through a cable: the bridges at its ends see each other.
    #[default]
    Transparent,
    /// None passes, as through a bridge.
    Bridge,
}

impl Port {
    /// Brings a frame that came in by this port into canonical form.
    ///
    /// # Errors
    /// Why the port does not take it.
    pub fn ingress<'a>(&self, frame: Parts<'a>) -> Result<Parts<'a>, DropReason> {
        self.check_link_local(&frame)?;
        self.rule.ingress(frame)
    }

    /// Brings a canonical frame into the form that it has on this port.
    ///
    /// # Errors
    /// Why the port does not carry it.
    pub fn egress<'a>(&self, frame: Parts<'a>) -> Result<Parts<'a>, DropReason> {
        self.check_link_local(&frame)?;
        self.rule.egress(frame)
    }

    /// The MAC that our own questions come from. Not the port's: a bridge takes what is for one of its ports' MACs for its
    /// own, and the answer would not come out of the port again.
    pub fn asking_mac(&self) -> Mac {
        let [first, rest @ ..] = self.mac.0;
        let [b, c, d, e, f] = rest;
        // Another address of the locally administered ones.
        Mac([(first ^ 0x04) | 0x02, b, c, d, e, f])
    }

    /// Whether a loop through another is one through this.
    fn loops_like(&self, other: &Port) -> bool {
        let of = |port: &Port| (port.segment, port.guards_loops);
        of(self) == of(other) && self.rule == other.rule
    }

    /// Whether it does the same as another, be it closed or not.
    fn is_like(&self, other: &Port) -> bool {
        let is_blocked = other.is_blocked;
        let same = Port {
            is_blocked,
            ..self.clone()
        };
        same == *other
    }

    fn check_link_local(&self, frame: &Parts<'_>) -> Result<(), DropReason> {
        match frame.addresses() {
            [1, 0x80, 0xc2, 0, 0, last @ 0..16, ..] => match (self.link_local, last) {
                (LinkLocal::Bridge, _) | (_, 1) => Err(DropReason::LinkLocal),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }
}

/// A segment as this member sees it.
#[derive(Clone, Debug, Default)]
pub struct Domain {
    /// Our ports in it.
    pub ports: Vec<PortId>,
    /// The connected peers with ports in it, by their numbers.
    pub peers: Vec<Member>,
    /// What the configuration says of peers, by their numbers.
    pub limits: Vec<Limit>,
    /// The MACs that records name for this segment, in their order, and of whom: a peer, or this member.
    pub owners: Vec<(Mac, Option<PeerId>)>,
    /// The VLANs that our own ports in it take part in.
    pub vlans: Arc<VlanSet>,
    /// What it does beside forwarding.
    pub rules: SegmentRules,
    /// What passed in its VLANs.
    pub counters: Arc<VlanCounters>,
}

/// A connected peer with ports in a segment.
#[derive(Clone, Debug)]
pub struct Member {
    /// Which peer.
    pub peer: PeerId,
    /// The VLANs that it has ports in and may have: what it is sent.
    pub vlans: Arc<VlanSet>,
    /// Whether it tells which groups its ports listen to.
    pub tells: bool,
}

/// What a peer may do in a segment; one without may send in all VLANs and has no role.
#[derive(Clone, Debug)]
pub struct Limit {
    /// Which peer.
    pub peer: PeerId,
    /// The VLANs that it may send in; `None` keeps it out of the segment.
    pub vlans: Option<Arc<VlanSet>>,
    /// What the hosts behind it may offer where a guard is on.
    pub roles: Services,
    /// What they may call themselves.
    pub claims: Arc<Claims>,
}

impl Limit {
    /// Whether a frame of the peer says nothing of its hosts that it may not.
    ///
    /// # Errors
    /// Why not.
    pub fn admit_claims(&self, frame: &Frame<'_>) -> Result<(), DropReason> {
        let claims = &self.claims;
        if !claims.allows_mac(frame.source) {
            return Err(DropReason::SourceNotGranted);
        }
        match claims.allow(frame.parts.after_tag()) {
            true => Ok(()),
            false => Err(DropReason::AddressNotGranted),
        }
    }
}

impl Domain {
    /// Whether a MAC may be heard in a place: not where it is another member's by its record.
    ///
    /// # Errors
    /// Why not.
    pub fn admit_source(&self, place: Place, source: Mac) -> Result<(), DropReason> {
        let first = self.owners.partition_point(|(mac, _)| *mac < source);
        let mut owners = self.owners.iter().skip(first);
        let owners = owners.by_ref().take_while(|(mac, _)| *mac == source);
        let mut has_owner = false;
        for (_, owner) in owners {
            let is_its_own = match (owner, place) {
                (Some(owner), Place::Peer(peer)) => *owner == peer,
                (None, Place::Port(_)) => true,
                _ => false,
            };
            if is_its_own {
                return Ok(());
            }
            has_owner = true;
        }
        match has_owner {
            true => Err(DropReason::SourceNotGranted),
            false => Ok(()),
        }
    }

    /// A connected peer with ports here.
    pub fn member(&self, peer: PeerId) -> Option<&Member> {
        let at = self.peers.binary_search_by_key(&peer, |m| m.peer).ok()?;
        self.peers.get(at)
    }

    /// What the hosts behind a peer may not offer.
    pub fn forbidden(&self, peer: PeerId) -> Services {
        let at = self.limits.binary_search_by_key(&peer, |l| l.peer).ok();
        let limit = at.and_then(|at| self.limits.get(at));
        self.rules
            .guards
            .without(limit.map_or(Services::NONE, |l| l.roles))
    }

    /// Whether a peer may send frames of this class here; gives what else is said of it.
    ///
    /// # Errors
    /// Why not.
    pub fn admit(&self, peer: PeerId, class: VlanClass) -> Result<Option<&Limit>, DropReason> {
        let Ok(at) = self.limits.binary_search_by_key(&peer, |l| l.peer) else {
            return Ok(None);
        };
        let limit = self.limits.get(at);
        match limit.map(|l| &l.vlans) {
            Some(Some(vlans)) if vlans.contains(class) => Ok(limit),
            Some(Some(_)) => Err(DropReason::VlanNotAllowed),
            _ => Err(DropReason::UnknownSegment),
        }
    }
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// By their numbers; a port that was closed leaves a gap.
    ports: Vec<Option<Port>>,
    domains: BTreeMap<SegmentId, Domain>,
}

impl Layout {
    /// A layout of these ports and of no peers.
    pub fn new(ports: Vec<Port>) -> Self {
        let mut layout = Layout::default();
        for port in ports {
            let domain = layout.domains.entry(port.segment).or_default();
            domain.ports.push(port.id);
            domain.vlans = Arc::new(port.rule.vlans().or(&domain.vlans));
            let index = usize::from(port.id.0);
            if layout.ports.len() <= index {
                layout.ports.resize(index + 1, None);
            }
            if let Some(slot) = layout.ports.get_mut(index) {
                *slot = Some(port);
            }
        }
        layout
    }

    /// Takes over from the layout before what a change of the ports leaves as it is: what was counted, and which ports are
    /// closed because of a loop. Gives the ports of before that are gone or not the same any more.
    pub fn succeed(&mut self, before: &Layout) -> Vec<PortId> {
        for (id, domain) in &mut self.domains {
            if let Some(old) = before.domain(*id) {
                domain.counters = old.counters.clone();
            }
        }
        let mut changed = Vec::new();
        for old in before.ports() {
            let slot = self.ports.get_mut(usize::from(old.id.0));
            let new = slot.and_then(Option::as_mut);
            let is_same = new.as_ref().is_some_and(|new| new.is_like(old));
            if let Some(new) = new.filter(|new| new.loops_like(old)) {
                new.is_blocked = old.is_blocked;
            }
            if !is_same {
                changed.push(old.id);
            }
        }
        changed
    }

    /// Sets what a segment does beside forwarding.
    pub fn set_rules(&mut self, segment: SegmentId, rules: SegmentRules) {
        if let Some(domain) = self.domains.get_mut(&segment) {
            domain.rules = rules;
        }
    }

    /// Opens or closes a port.
    pub fn block(&mut self, port: PortId, is_blocked: bool) {
        if let Some(Some(port)) = self.ports.get_mut(usize::from(port.0)) {
            port.is_blocked = is_blocked;
        }
    }

    /// Sets which peers take part in a segment, and which of all peers may not do everything there.
    pub fn set_peers(
        &mut self,
        segment: SegmentId,
        mut peers: Vec<Member>,
        mut limits: Vec<Limit>,
        own: &[Mac],
    ) {
        if let Some(domain) = self.domains.get_mut(&segment) {
            peers.sort_unstable_by_key(|m| m.peer);
            limits.sort_unstable_by_key(|l| l.peer);
            let has_part = |l: &&Limit| l.vlans.is_some() && !l.claims.macs.is_empty();
            let named = limits.iter().filter(has_part).flat_map(|l| {
                let macs = l.claims.macs.iter();
                macs.map(|mac| (*mac, Some(l.peer)))
            });
            let own = own.iter().map(|mac| (*mac, None));
            domain.owners = named.chain(own).collect();
            domain.owners.sort_unstable();
            domain.peers = peers;
            domain.limits = limits;
        }
    }

    /// A port by its number.
    pub fn port(&self, id: PortId) -> Option<&Port> {
        self.ports.get(usize::from(id.0))?.as_ref()
    }

    /// All ports, in the order of their numbers.
    pub fn ports(&self) -> impl Iterator<Item = &Port> {
        self.ports.iter().flatten()
    }

    /// A segment in which we have a port.
    pub fn domain(&self, segment: SegmentId) -> Option<&Domain> {
        self.domains.get(&segment)
    }

    /// Whether anybody but this port takes part in a VLAN of a segment.
    pub fn has_others(&self, domain: &Domain, but: PortId, class: VlanClass) -> bool {
        let carries = |id: &PortId| {
            self.port(*id)
                .is_some_and(|p| p.rule.carries(class) && !p.is_blocked)
        };
        domain.peers.iter().any(|m| m.vlans.contains(class))
            || domain.ports.iter().any(|id| *id != but && carries(id))
    }

    /// The segments in which we have ports.
    pub fn segments(&self) -> Vec<SegmentId> {
        self.domains.keys().copied().collect()
    }

    /// The segments in which we have ports, and the VLANs that these take part in.
    pub fn announcement(&self) -> Vec<(SegmentId, VlanSet)> {
        let each = |(id, domain): (&SegmentId, &Domain)| (*id, VlanSet::clone(&domain.vlans));
        self.domains.iter().map(each).collect()
    }

    /// Whether a MAC is one of our ports'.
    pub fn is_own(&self, mac: Mac) -> bool {
        self.ports().any(|p| p.mac == mac || p.asking_mac() == mac)
    }
}
