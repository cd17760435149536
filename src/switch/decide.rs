//! The decision for one frame: learn the source, find the destination, or flood.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use super::layout::{Domain, Layout, Port};
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
        /// Peers in the segment; empty for a frame that came from a peer (split horizon).
        peers: &'l [PeerId],
    },
}

/// A frame in canonical form and who gets it.
#[derive(Clone, Copy, Debug)]
pub struct Forward<'a, 'l> {
    /// The frame.
    pub frame: Parts<'a>,
    /// Its segment.
    pub segment: SegmentId,
    /// Who gets it.
    pub targets: Targets<'l>,
}

impl Switch {
    /// A switch with an empty table.
    pub fn new(table: ForwardingTable, layout: Layout) -> Self {
        Switch {
            table,
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

    /// Decides for a frame that came in by a port.
    ///
    /// # Errors
    /// Why it goes nowhere.
    pub fn from_port<'a, 'l>(
        &self,
        (layout, port): (&'l Layout, &Port),
        frame: &Frame<'a>,
        now: Instant,
    ) -> Result<Forward<'a, 'l>, DropReason> {
        check_source(frame.source)?;
        let parts = port.rule.ingress(frame.parts)?;
        let class = VlanClass::of(parts.tag());
        let here = Place::Port(port.id);
        let key = |mac| Key::new(port.segment, class, mac);
        self.table.learn(key(frame.source), here, now);
        let domain = layout
            .domain(port.segment)
            .ok_or(DropReason::UnknownSegment)?;
        let known = self.known(frame.destination, key(frame.destination), now);
        let targets = match known {
            Some(place) if place == here => return Err(DropReason::Hairpin),
            Some(place) => Targets::One(place),
            None if domain.peers.is_empty() && domain.ports.len() < 2 => {
                return Err(DropReason::NoDestination);
            }
            None => Targets::Flood {
                ports: &domain.ports,
                peers: &domain.peers,
            },
        };
        Ok(Forward {
            frame: parts,
            segment: port.segment,
            targets,
        })
    }

    /// Decides for a frame that came from a peer; it goes to ports only.
    ///
    /// # Errors
    /// Why it goes nowhere.
    pub fn from_peer<'a, 'l>(
        &self,
        (layout, peer): (&'l Layout, PeerId),
        segment: SegmentId,
        frame: &Frame<'a>,
        now: Instant,
    ) -> Result<Forward<'a, 'l>, DropReason> {
        let domain = admitted(layout, segment, peer)?;
        check_source(frame.source)?;
        if layout.is_own(frame.source) {
            return Err(DropReason::SourceIsOwn);
        }
        let class = VlanClass::of(frame.parts.tag());
        let key = |mac| Key::new(segment, class, mac);
        self.table.learn(key(frame.source), Place::Peer(peer), now);
        let targets = match self.known(frame.destination, key(frame.destination), now) {
            Some(Place::Port(port)) => Targets::One(Place::Port(port)),
            // Split horizon: a frame for a MAC behind a peer has no business here.
            Some(Place::Peer(_)) => return Err(DropReason::NoDestination),
            None => Targets::Flood {
                ports: &domain.ports,
                peers: &[],
            },
        };
        Ok(Forward {
            frame: frame.parts,
            segment,
            targets,
        })
    }

    fn known(&self, destination: Mac, key: Key, now: Instant) -> Option<Place> {
        if destination.is_group() {
            return None;
        }
        self.table.look_up(key, now)
    }
}

fn admitted(layout: &Layout, segment: SegmentId, peer: PeerId) -> Result<&Domain, DropReason> {
    layout
        .domain(segment)
        .filter(|d| d.refused.binary_search(&peer).is_err())
        .ok_or(DropReason::UnknownSegment)
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
    use crate::switch::port::PortRule;
    use crate::switch::table::Limits;

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
            mac: OWN,
        };
        let mut layout = Layout::new(vec![port(0, 1), port(1, 1), port(2, 2)]);
        layout.set_peers(segment(1), vec![PeerId(1), PeerId(2)], vec![PeerId(3)]);
        Switch::new(ForwardingTable::new(Limits::default(), (3, 4)), layout)
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
        let out = s.from_port((&layout, port), &f, NOW).unwrap();
        assert!(matches!(
            out.targets,
            Targets::Flood {
                ports: [_, _],
                peers: [_, _]
            }
        ));
        let key = Key::new(segment(1), VlanClass::UNTAGGED, mac(2, 9));
        s.table.learn(key, Place::Peer(PeerId(2)), NOW);
        let out = s.from_port((&layout, port), &f, NOW).unwrap();
        assert!(matches!(out.targets, Targets::One(Place::Peer(PeerId(2)))));
        s.table.learn(key, Place::Port(PortId(0)), NOW);
        let out = s.from_port((&layout, port), &f, NOW);
        assert_eq!(out.err(), Some(DropReason::Hairpin));
    }

    #[test]
    fn a_frame_from_a_peer_never_goes_to_a_peer() {
        let s = switch();
        let layout = s.layout();
        let bytes = frame(2, 2);
        let f = Frame::parse(&bytes).unwrap();
        let out = s
            .from_peer((&layout, PeerId(1)), segment(1), &f, NOW)
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
        let out = s.from_peer((&layout, PeerId(1)), segment(1), &f, NOW);
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
            s.from_peer((&layout, PeerId(1)), segment(9), &f, NOW).err(),
            unknown
        );
        assert_eq!(
            s.from_peer((&layout, PeerId(3)), segment(1), &f, NOW).err(),
            unknown
        );
        let out = s
            .from_peer((&layout, PeerId(1)), segment(2), &f, NOW)
            .unwrap();
        assert!(matches!(
            out.targets,
            Targets::Flood {
                ports: [PortId(2)],
                ..
            }
        ));
        let alone = layout.port(PortId(2)).unwrap();
        let out = s.from_port((&layout, alone), &f, NOW);
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
            let peer = s.from_peer((&layout, PeerId(1)), segment(1), &f, NOW);
            assert_eq!(peer.err(), Some(reason));
            if source != OWN {
                assert_eq!(s.from_port((&layout, port), &f, NOW).err(), Some(reason));
            }
        }
        assert!(s.table.is_empty());
    }
}
