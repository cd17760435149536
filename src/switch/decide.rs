//! The decision for one frame: learn the source, find the destination, or flood.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use super::guard;
use super::layout::{Domain, Layout, Member, Port};
use super::storm::{Storm, StormControl, StormLimits};
use super::table::{ForwardingTable, Key};
use crate::drops::DropReason;
use crate::place::{PeerId, Place, PortId};
use crate::time::Instant;
use crate::wire::ethernet::{Frame, Mac, Parts};
use crate::wire::segment::SegmentId;
use crate::wire::vlan::VlanClass;

/// The switch of one member, shared by all its threads.
pub struct Switch {
    /// What was learned.
    pub table: ForwardingTable,
    storms: StormControl,
    layout: ArcSwap<Layout>,
}

/// Who gets a frame.
#[derive(Clone, Copy, Debug)]
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
}

/// A frame in canonical form and who gets it.
#[derive(Clone, Copy, Debug)]
pub struct Forward<'a, 'l> {
    /// The frame.
    pub frame: Parts<'a>,
    /// Its segment.
    pub segment: SegmentId,
    /// Its VLAN.
    pub class: VlanClass,
    /// Who gets it.
    pub targets: Targets<'l>,
}

impl<'l> Forward<'_, 'l> {
    /// The peers that get it.
    pub fn peers(&self) -> impl Iterator<Item = PeerId> + use<'l> {
        let class = self.class;
        let (one, many): (_, &[Member]) = match &self.targets {
            Targets::One(Place::Peer(peer)) => (Some(*peer), &[]),
            Targets::One(Place::Port(_)) => (None, &[]),
            Targets::Flood { peers, .. } => (None, peers),
        };
        let has_part = move |m: &&'l Member| m.vlans.contains(class);
        one.into_iter()
            .chain(many.iter().filter(has_part).map(|m| m.peer))
    }
}

impl Switch {
    /// A switch with an empty table.
    pub fn new(table: ForwardingTable, storms: StormLimits, layout: Layout) -> Self {
        Switch {
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
        let parts = port.ingress(frame.parts)?;
        let class = parts.class();
        let domain = layout
            .domain(port.segment)
            .ok_or(DropReason::UnknownSegment)?;
        guard::check(domain.guards.without(port.roles), &parts)?;
        let here = Place::Port(port.id);
        let key = |mac| Key::new(port.segment, class, mac);
        self.table.learn(key(frame.source), here, now);
        let known = self.known(frame.destination, key(frame.destination), now);
        let targets = match known {
            Some(place) if place == here => return Err(DropReason::Hairpin),
            // What the peer would drop is not sent; one that is not connected waits for its session with the frame.
            Some(Place::Peer(peer))
                if domain
                    .member(peer)
                    .is_some_and(|m| !m.vlans.contains(class))
                    || domain.admit(peer, class).is_err() =>
            {
                return Err(DropReason::VlanNotAllowed);
            }
            Some(place) => Targets::One(place),
            None if !layout.has_others(domain, port.id, class) => {
                return Err(DropReason::NoDestination);
            }
            None => {
                let vlan = (port.segment, class);
                self.admit_flood((domain, vlan), here, (frame.destination, packets), now)?;
                Targets::Flood {
                    ports: &domain.ports,
                    peers: &domain.peers,
                }
            }
        };
        Ok(Forward {
            frame: parts,
            segment: port.segment,
            class,
            targets,
        })
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
        let class = frame.parts.class();
        domain.admit(peer, class)?;
        check_source(frame.source)?;
        if layout.is_own(frame.source) {
            return Err(DropReason::SourceIsOwn);
        }
        guard::check(domain.forbidden(peer), &frame.parts)?;
        // What no port of ours carries is not learned either.
        if !domain.vlans.contains(class) {
            return Err(DropReason::VlanNotAllowed);
        }
        let key = |mac| Key::new(segment, class, mac);
        self.table.learn(key(frame.source), Place::Peer(peer), now);
        let targets = match self.known(frame.destination, key(frame.destination), now) {
            Some(Place::Port(port)) => Targets::One(Place::Port(port)),
            // Split horizon: a frame for a MAC behind a peer has no business here.
            Some(Place::Peer(_)) => return Err(DropReason::NoDestination),
            None => {
                let (vlan, here) = ((segment, class), Place::Peer(peer));
                self.admit_flood((domain, vlan), here, (frame.destination, packets), now)?;
                Targets::Flood {
                    ports: &domain.ports,
                    peers: &[],
                }
            }
        };
        Ok(Forward {
            frame: frame.parts,
            segment,
            class,
            targets,
        })
    }

    /// Whether a frame that nobody in particular gets may go to everybody.
    fn admit_flood(
        &self,
        (domain, vlan): (&Domain, (SegmentId, VlanClass)),
        from: Place,
        (destination, packets): (Mac, u32),
        now: Instant,
    ) -> Result<(), DropReason> {
        let storm = Storm::of(destination);
        if storm == Storm::UnknownUnicast && domain.drops_unknown {
            return Err(DropReason::UnknownUnicast);
        }
        self.storms.admit(from, vlan, (storm, packets), now)
    }

    fn known(&self, destination: Mac, key: Key, now: Instant) -> Option<Place> {
        if destination.is_group() {
            return None;
        }
        self.table.look_up(key, now)
    }
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
            mac: OWN,
        };
        let mut layout = Layout::new(vec![port(0, 1), port(1, 1), port(2, 2)]);
        let member = |peer| Member {
            peer,
            vlans: Arc::new(VlanSet::everything()),
        };
        let refused = Limit {
            peer: PeerId(3),
            vlans: None,
            roles: Services::NONE,
        };
        let members = vec![member(PeerId(1)), member(PeerId(2))];
        layout.set_peers(segment(1), members, vec![refused]);
        let table = ForwardingTable::new(Limits::default(), (3, 4));
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
        s.table.learn(key, Place::Peer(PeerId(2)), NOW);
        let out = s.from_port((&layout, port), (&f, 1), NOW).unwrap();
        assert!(matches!(out.targets, Targets::One(Place::Peer(PeerId(2)))));
        s.table.learn(key, Place::Port(PortId(0)), NOW);
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
        s.table.learn(key, Place::Peer(PeerId(2)), NOW);
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
