//! The decision for one frame: learn the source, find the destination, or flood.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use super::counters::From;
use super::groups::{Audience, GroupTable};
use super::guard;
use super::layout::{Domain, Layout, Member, Port};
use super::neighbors::NeighborTable;
use super::offences::Offences;
use super::storm::{Storm, StormControl, StormLimits};
use super::table::{Approach, ForwardingTable, Home, Key, Learning};
use crate::drops::DropReason;
use crate::place::{PeerId, Place, PortId};
use crate::sync::Apart;
use crate::time::Instant;
use crate::wire::ethernet::{Frame, Mac, Parts};
use crate::wire::probe::PROBE_GROUP;
use crate::wire::segment::SegmentId;
use crate::wire::vlan::VlanClass;

/// The switch of one member, shared by all its threads.
pub struct Switch {
    /// Which MAC lives where.
    pub table: ForwardingTable,
    /// Which IP address has which MAC.
    pub neighbors: NeighborTable,
    /// Who listens to which multicast group.
    pub groups: GroupTable,
    /// Who broke which rule last.
    pub offences: Apart<Offences>,
    storms: StormControl,
    layout: ArcSwap<Layout>,
}

/// Who gets a frame. Its kind takes a whole word, so that what follows is copied in the words that it was written in.
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
pub enum Targets<'l> {
    /// One place.
    One(Place),
    /// These ports, but for the one it came from, and these peers.
    Flood {
        /// Our ports in the segment.
        ports: &'l [PortId],
        /// Peers in the segment; empty for a frame that came from a peer (split horizon). Those that have no part in its
        /// VLAN are among them, see [`Forward::peers`].
        peers: &'l [Member],
    },
    /// Nobody: who sent it gets the answer to its question by the port that it came from, see [`Switch::answer`].
    Back,
    /// The control side: it is a loop guard's probe.
    Guard,
}

/// A frame in canonical form and who gets it.
#[derive(Clone, Debug)]
pub struct Forward<'a, 'l> {
    /// The frame.
    pub frame: Parts<'a>,
    /// Its segment.
    pub segment: SegmentId,
    /// Its VLAN.
    pub class: VlanClass,
    /// Who gets it.
    pub targets: Targets<'l>,
    /// Who of those to whom it would be flooded wants it; `None` for all.
    pub audience: Option<Audience>,
    /// Whether it comes from an isolated port, or that is not known.
    pub is_isolated: bool,
}

impl<'l> Forward<'_, 'l> {
    /// The peers that get it.
    pub fn peers(&self) -> impl Iterator<Item = PeerId> + '_ {
        let (one, many): (_, &'l [Member]) = match &self.targets {
            Targets::One(Place::Peer(peer)) => (Some(*peer), &[]),
            Targets::Flood { peers, .. } => (None, peers),
            _ => (None, &[]),
        };
        let has_part = |m: &&'l Member| {
            let wants = |a: &Audience| !m.tells || a.includes(Place::Peer(m.peer));
            m.vlans.contains(self.class) && self.audience.as_ref().is_none_or(wants)
        };
        one.into_iter()
            .chain(many.iter().filter(has_part).map(|m| m.peer))
    }

    /// Our ports that may get it, the one it came from among them.
    pub fn ports(&self) -> &[PortId] {
        match &self.targets {
            Targets::One(Place::Port(port)) => std::slice::from_ref(port),
            Targets::Flood { ports, .. } => ports,
            _ => &[],
        }
    }

    /// Whether one of our ports gets it.
    ///
    /// # Errors
    /// The reason to drop it there; `None` is no fault: a flood is for those that have part in it.
    pub fn reaches(&self, port: &Port) -> Result<(), Option<DropReason>> {
        let is_flood = matches!(self.targets, Targets::Flood { .. });
        let refuse = |reason| Err(Some(reason).filter(|_| !is_flood));
        if port.is_blocked {
            return refuse(DropReason::PortBlocked);
        }
        if port.is_isolated && self.is_isolated {
            return refuse(DropReason::Isolated);
        }
        let wants = |a: &Audience| a.includes(Place::Port(port.id));
        let is_wanted = port.rule.carries(self.class) && self.audience.as_ref().is_none_or(wants);
        match is_flood && !is_wanted {
            true => Err(None),
            false => Ok(()),
        }
    }
}

/// Who gets a frame, who of them wants it, and what is known of its source.
type Decided<'l> = (Targets<'l>, Option<Audience>, Home);

/// Where a frame came from and what it is, for those that look into it.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a, 'f, 'l> {
    pub(super) domain: &'l Domain,
    pub(super) segment: SegmentId,
    pub(super) class: VlanClass,
    pub(super) place: Place,
    pub(super) frame: &'f Parts<'a>,
    pub(super) destination: Mac,
    /// Packets that it is.
    pub(super) packets: u32,
}

impl Seen<'_, '_, '_> {
    pub(super) const fn key(&self, mac: Mac) -> Key {
        Key::new(self.segment, self.class, mac)
    }
}

impl Switch {
    /// A switch that knows nothing but what the table does.
    pub fn new(table: ForwardingTable, storms: StormLimits, layout: Layout) -> Self {
        let limits = table.limits();
        Switch {
            neighbors: NeighborTable::new(limits.per_place, limits.age),
            groups: GroupTable::default(),
            offences: Apart::default(),
            table,
            storms: StormControl::new(storms),
            layout: ArcSwap::from_pointee(layout),
        }
    }

    /// The layout; load it once per batch.
    pub fn layout(&self) -> Guard<Arc<Layout>> {
        self.layout.load()
    }

    /// Publishes a new layout.
    pub fn publish(&self, layout: Layout) {
        self.layout.store(Arc::new(layout));
    }

    /// Forgets everything behind a place: a peer that left.
    pub fn forget(&self, place: Place) {
        self.table.forget(place);
        self.neighbors.forget(place);
        self.groups.forget(place);
    }

    /// Whether there is news for the control side, once; cheap enough for every frame.
    pub fn announce_news(&self) -> bool {
        let (macs, neighbors) = (self.table.announce_news(), self.neighbors.announce_news());
        self.groups.announce_news() || macs || neighbors
    }

    /// Decides for a frame, of so many packets, that came in by a port.
    ///
    /// # Errors
    /// Why it goes nowhere.
    pub fn from_port<'a, 'l>(
        &self,
        (layout, port): (&'l Layout, &Port),
        (frame, packets): (&Frame<'a>, u32),
        now: Instant,
    ) -> Result<Forward<'a, 'l>, DropReason> {
        check_source(frame.source)?;
        let is_probe = frame.destination == PROBE_GROUP;
        if port.is_blocked && !is_probe {
            return Err(DropReason::PortBlocked);
        }
        let parts = port.ingress(frame.parts)?;
        let domain = layout
            .domain(port.segment)
            .ok_or(DropReason::UnknownSegment)?;
        let seen = Seen {
            domain,
            segment: port.segment,
            class: parts.class(),
            place: Place::Port(port.id),
            frame: &parts,
            destination: frame.destination,
            packets,
        };
        // A probe proves by itself whose it is.
        if !is_probe {
            domain.admit_source(seen.place, frame.source)?;
        }
        let decided = if is_probe {
            Ok((Targets::Guard, None, Home::heard(seen.place)))
        } else {
            self.port_targets(&seen, (layout, port), frame.source, now)
        };
        self.note_outcome(&seen, &decided, From::Port);
        let (targets, audience, _) = decided?;
        Ok(seen.forward((parts, targets), audience, port.is_isolated))
    }

    fn port_targets<'l>(
        &self,
        seen: &Seen<'_, '_, 'l>,
        (layout, port): (&'l Layout, &Port),
        source: Mac,
        now: Instant,
    ) -> Result<Decided<'l>, DropReason> {
        let (domain, class) = (seen.domain, seen.class);
        let approach = self.approach(seen);
        guard::check(domain.rules.guards.without(port.roles), seen.frame)?;
        let home = Home::heard(Place::Port(port.id)).isolated(port.is_isolated);
        self.table.learn(seen.key(source), home, now)?;
        // The answer to a question of ours: what it says was heard, and it is for nobody else.
        let is_ours = seen.destination == port.asking_mac();
        let from = (port.id, port.is_isolated);
        if self.converse(seen, from, now)? && !is_ours {
            return Ok((Targets::Back, None, home));
        }
        let known = approach.and_then(|at| self.table.arrive(at, now));
        let is_here = known.is_some_and(|there| there.is_beside(home));
        match known.map(|there| (there.place(), there)) {
            _ if is_ours || is_here => Err(DropReason::Hairpin),
            // What the peer would drop is not sent; one that is not connected waits for its session with the frame.
            Some((Place::Peer(peer), _)) if !may_have(domain, peer, class) => {
                Err(DropReason::VlanNotAllowed)
            }
            Some((_, there)) if there.is_isolated() && port.is_isolated => {
                Err(DropReason::Isolated)
            }
            Some((place, _)) => Ok((Targets::One(place), None, home)),
            None if !layout.has_others(domain, port.id, class) => Err(DropReason::NoDestination),
            None => {
                let audience = self.audience(seen, now);
                self.admit_flood(seen, now)?;
                let (ports, peers) = (&domain.ports[..], &domain.peers[..]);
                Ok((Targets::Flood { ports, peers }, audience, home))
            }
        }
    }

    /// Decides for a frame, of so many packets, that came from a peer; it goes to ports only.
    ///
    /// # Errors
    /// Why it goes nowhere.
    pub fn from_peer<'a, 'l>(
        &self,
        (layout, peer): (&'l Layout, PeerId),
        segment: SegmentId,
        (frame, packets): (&Frame<'a>, u32),
        now: Instant,
    ) -> Result<Forward<'a, 'l>, DropReason> {
        let domain = layout.domain(segment).ok_or(DropReason::UnknownSegment)?;
        let seen = Seen {
            domain,
            segment,
            class: frame.parts.class(),
            place: Place::Peer(peer),
            frame: &frame.parts,
            destination: frame.destination,
            packets,
        };
        let limit = domain.admit(peer, seen.class)?;
        check_source(frame.source)?;
        if frame.destination == PROBE_GROUP {
            return Ok(seen.forward((frame.parts, Targets::Guard), None, true));
        }
        domain.admit_source(seen.place, frame.source)?;
        if let Some(limit) = limit {
            limit.admit_claims(frame)?;
        }
        let is_own = layout.is_own(frame.source);
        let decided = self.peer_targets(&seen, (peer, is_own), frame.source, now);
        self.note_outcome(&seen, &decided, From::Peer);
        let (targets, audience, source) = decided?;
        // What is behind isolated ports is told; until it is, nobody is sure.
        let is_told = source.is_told()
            || source.is_pinned()
            || self.table.limits().learning == Learning::Data;
        let is_isolated = source.is_isolated() || !is_told;
        Ok(seen.forward((frame.parts, targets), audience, is_isolated))
    }

    fn peer_targets<'l>(
        &self,
        seen: &Seen<'_, '_, 'l>,
        (peer, is_own): (PeerId, bool),
        source: Mac,
        now: Instant,
    ) -> Result<Decided<'l>, DropReason> {
        let domain = seen.domain;
        if is_own {
            return Err(DropReason::SourceIsOwn);
        }
        let approach = self.approach(seen);
        guard::check(domain.forbidden(peer), seen.frame)?;
        // What no port of ours carries is not learned either.
        if !domain.vlans.contains(seen.class) {
            return Err(DropReason::VlanNotAllowed);
        }
        let home = Home::heard(Place::Peer(peer));
        let source = self.table.learn(seen.key(source), home, now)?;
        self.overhear(seen, now);
        let known = approach.and_then(|at| self.table.arrive(at, now));
        match known.map(Home::place) {
            Some(Place::Port(port)) => Ok((Targets::One(Place::Port(port)), None, source)),
            // Split horizon: a frame for a MAC behind a peer has no business here.
            Some(Place::Peer(_)) => Err(DropReason::NoDestination),
            None => {
                let audience = self.audience(seen, now);
                self.admit_flood(seen, now)?;
                let (ports, peers) = (&domain.ports[..], &[][..]);
                Ok((Targets::Flood { ports, peers }, audience, source))
            }
        }
    }

    /// Whether a frame that nobody in particular gets may go to everybody.
    fn admit_flood(&self, seen: &Seen<'_, '_, '_>, now: Instant) -> Result<(), DropReason> {
        let storm = Storm::of(seen.destination);
        if storm == Storm::UnknownUnicast && seen.domain.rules.drops_unknown {
            return Err(DropReason::UnknownUnicast);
        }
        let vlan = (seen.segment, seen.class);
        self.storms
            .admit(seen.place, vlan, (storm, seen.packets), now)
    }

    /// Counts a frame in its VLAN.
    fn note_outcome(
        &self,
        seen: &Seen<'_, '_, '_>,
        decided: &Result<Decided<'_>, DropReason>,
        from: From,
    ) {
        let (counters, class) = (&seen.domain.counters, seen.class);
        match decided {
            Ok((targets, ..)) => {
                counters.pass(class, from, (seen.packets, seen.frame.len()));
                if matches!(targets, Targets::Flood { .. }) {
                    counters.flood(class);
                }
            }
            Err(reason) => {
                let vlan = (seen.segment, class);
                self.offences.note(*reason, seen.place, vlan);
                // A VLAN that nobody has here shall not cost memory.
                if seen.domain.vlans.contains(class) {
                    counters.drop_one(class);
                }
            }
        }
    }

    /// Begins to look the destination up.
    fn approach(&self, seen: &Seen<'_, '_, '_>) -> Option<Approach> {
        let is_one = !seen.destination.is_group();
        is_one.then(|| self.table.approach(seen.key(seen.destination)))
    }
}

impl<'l> Seen<'_, '_, 'l> {
    fn forward<'a>(
        &self,
        (frame, targets): (Parts<'a>, Targets<'l>),
        audience: Option<Audience>,
        is_isolated: bool,
    ) -> Forward<'a, 'l> {
        Forward {
            frame,
            segment: self.segment,
            class: self.class,
            targets,
            audience,
            is_isolated,
        }
    }
}

/// Whether a peer may have frames of this class; of one that is not connected nothing is known.
fn may_have(domain: &Domain, peer: PeerId, class: VlanClass) -> bool {
    let takes = domain.member(peer).is_none_or(|m| m.vlans.contains(class));
    takes && domain.admit(peer, class).is_ok()
}

/// A source that no station has must not be learned: one frame with a group source would draw all broadcasts to it.
fn check_source(source: Mac) -> Result<(), DropReason> {
    if source.is_group() {
        return Err(DropReason::SourceIsGroup);
    }
    if source == Mac::ZERO {
        return Err(DropReason::SourceIsZero);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::switch::layout::{Limit, LinkLocal};
    use crate::switch::port::PortRule;
    use crate::switch::table::Limits;
    use crate::wire::service::Services;
    use crate::wire::vlans::VlanSet;

    const NOW: Instant = Instant::from_micros(1_000_000);
    const OWN: Mac = Mac([2, 0, 0, 0, 0, 0xaa]);

    fn segment(n: u32) -> SegmentId {
        SegmentId::new(n).unwrap()
    }

    /// Ports 0 and 1 in segment 1, port 2 in segment 2; peers 1 and 2 in segment 1, peer 3 refused there.
    fn switch() -> Switch {
        let port = |id, seg| Port {
            id: PortId(id),
            segment: segment(seg),
            rule: PortRule::TRANSPARENT,
            link_local: LinkLocal::Transparent,
            roles: Services::NONE,
            is_isolated: false,
            guards_loops: false,
            is_blocked: false,
            mac: OWN,
        };
        let mut layout = Layout::new(vec![port(0, 1), port(1, 1), port(2, 2)]);
        let member = |peer| Member {
            peer,
            vlans: Arc::new(VlanSet::everything()),
            tells: true,
        };
        let refused = Limit {
            peer: PeerId(3),
            vlans: None,
            roles: Services::NONE,
            claims: Arc::default(),
        };
        let members = vec![member(PeerId(1)), member(PeerId(2))];
        layout.set_peers(segment(1), members, vec![refused], &[]);
        let table = ForwardingTable::new(Limits::default(), (3, 4), &[]);
        Switch::new(table, StormLimits::default(), layout)
    }

    fn frame(destination: u8, source: u8) -> Vec<u8> {
        let mut f = vec![destination, 0, 0, 0, 0, 9, source, 0, 0, 0, 0, 7];
        f.extend_from_slice(&[8, 0]);
        f
    }

    fn mac(first: u8, last: u8) -> Mac {
        Mac([first, 0, 0, 0, 0, last])
    }

    #[test]
    fn unknown_destinations_flood_and_known_ones_do_not() {
        let s = switch();
        let layout = s.layout();
        let port = layout.port(PortId(0)).unwrap();
        let bytes = frame(2, 2);
        let f = Frame::parse(&bytes).unwrap();
        let out = s.from_port((&layout, port), (&f, 1), NOW).unwrap();
        assert!(matches!(
            out.targets,
            Targets::Flood {
                ports: [_, _],
                peers: [_, _]
            }
        ));
        let key = Key::new(segment(1), VlanClass::UNTAGGED, mac(2, 9));
        let _ = s.table.learn(key, Home::heard(Place::Peer(PeerId(2))), NOW);
        let out = s.from_port((&layout, port), (&f, 1), NOW).unwrap();
        assert!(matches!(out.targets, Targets::One(Place::Peer(PeerId(2)))));
        let _ = s.table.learn(key, Home::heard(Place::Port(PortId(0))), NOW);
        let out = s.from_port((&layout, port), (&f, 1), NOW);
        assert_eq!(out.err(), Some(DropReason::Hairpin));
    }

    #[test]
    fn a_frame_from_a_peer_never_goes_to_a_peer() {
        let s = switch();
        let layout = s.layout();
        let bytes = frame(2, 2);
        let f = Frame::parse(&bytes).unwrap();
        let out = s
            .from_peer((&layout, PeerId(1)), segment(1), (&f, 1), NOW)
            .unwrap();
        assert!(matches!(
            out.targets,
            Targets::Flood {
                ports: [_, _],
                peers: []
            }
        ));
        let key = Key::new(segment(1), VlanClass::UNTAGGED, mac(2, 9));
        let _ = s.table.learn(key, Home::heard(Place::Peer(PeerId(2))), NOW);
        let out = s.from_peer((&layout, PeerId(1)), segment(1), (&f, 1), NOW);
        assert_eq!(out.err(), Some(DropReason::NoDestination));
    }

    #[test]
    fn segments_do_not_see_each_other_and_refused_peers_are_strangers_there() {
        let s = switch();
        let layout = s.layout();
        let bytes = frame(2, 2);
        let f = Frame::parse(&bytes).unwrap();
        let unknown = Some(DropReason::UnknownSegment);
        assert_eq!(
            s.from_peer((&layout, PeerId(1)), segment(9), (&f, 1), NOW)
                .err(),
            unknown
        );
        assert_eq!(
            s.from_peer((&layout, PeerId(3)), segment(1), (&f, 1), NOW)
                .err(),
            unknown
        );
        let out = s
            .from_peer((&layout, PeerId(1)), segment(2), (&f, 1), NOW)
            .unwrap();
        assert!(matches!(
            out.targets,
            Targets::Flood {
                ports: [PortId(2)],
                ..
            }
        ));
        let alone = layout.port(PortId(2)).unwrap();
        let out = s.from_port((&layout, alone), (&f, 1), NOW);
        assert_eq!(out.err(), Some(DropReason::NoDestination));
    }

    #[test]
    fn sources_that_no_station_has_are_not_learned() {
        let s = switch();
        let layout = s.layout();
        let port = layout.port(PortId(0)).unwrap();
        for (source, reason) in [
            (mac(3, 7), DropReason::SourceIsGroup),
            (Mac::BROADCAST, DropReason::SourceIsGroup),
            (Mac::ZERO, DropReason::SourceIsZero),
            (OWN, DropReason::SourceIsOwn),
        ] {
            let mut bytes = frame(2, 2);
            bytes[6..12].copy_from_slice(&source.0);
            let f = Frame::parse(&bytes).unwrap();
            let peer = s.from_peer((&layout, PeerId(1)), segment(1), (&f, 1), NOW);
            assert_eq!(peer.err(), Some(reason));
            if source != OWN {
                assert_eq!(
                    s.from_port((&layout, port), (&f, 1), NOW).err(),
                    Some(reason)
                );
            }
        }
        assert!(s.table.is_empty());
    }
}
