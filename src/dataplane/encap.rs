//! Out: a frame from a port becomes datagrams to peers, or goes to other ports of ours.

use std::sync::Arc;

use super::Exits;
use super::outbound::Outbound;
use super::template::{Workbench, packets};
use crate::drops::DropReason;
use crate::mesh::link::Link;
use crate::node::plane::{Note, Plane};
use crate::place::{PeerId, Place, PortId};
use crate::switch::decide::{Forward, Targets};
use crate::switch::layout::{Layout, Port};
use crate::time::Instant;
use crate::wire::ethernet::{Frame, Parts};
use crate::wire::offload::{Checksum, Offload, VirtioHeader};
use crate::wire::probe::Probe;
use crate::wire::segment::SegmentId;
use crate::wire::udp;

/// The outbound direction of one thread.
pub struct Encap {
    plane: Arc<Plane>,
    /// The UDP port that our own datagrams come from.
    own_port: u16,
    /// Whether frames' 802.1Q priorities are shown on the outside, as a DSCP.
    shows_priority: bool,
    outbound: Outbound,
    bench: Workbench,
}

impl Encap {
    /// An outbound direction of a member that sends from this UDP port.
    pub fn new(plane: Arc<Plane>, own_port: u16) -> Self {
        Encap {
            plane,
            own_port,
            shows_priority: false,
            outbound: Outbound::default(),
            bench: Workbench::default(),
        }
    }

    /// The same, showing frames' 802.1Q priorities on the outside or not.
    #[must_use]
    pub fn showing_priority(self, shows_priority: bool) -> Self {
        Encap {
            shows_priority,
            ..self
        }
    }

    /// Takes a frame or super-frame that a port delivered, with the header that came before it. What can share a
    /// datagram with the next ones waits for [`Encap::flush`].
    pub fn frame(
        &mut self,
        port: PortId,
        (header, bytes): (VirtioHeader, &mut [u8]),
        now: Instant,
        exits: &mut impl Exits,
    ) {
        let plane = self.plane.clone();
        let layout = plane.switch.layout();
        let Some(port) = layout.port(port) else {
            return;
        };
        let decided = Offload::of_port(header, bytes).and_then(|offload| {
            let frame = Frame::parse(bytes)?;
            self.refuse_own_datagrams(&frame)?;
            let forward = plane.switch.from_port(
                (&layout, port),
                (&frame, offload.packets(&frame.parts)),
                now,
            )?;
            Ok((forward, offload))
        });
        if plane.switch.announce_news() && !exits.note(Note::News) {
            plane.switch.table.renew_news();
        }
        match decided {
            Ok((forward, _)) if matches!(forward.targets, Targets::Guard) => {
                note_probe(&plane, (&forward, Place::Port(port.id)), now, exits);
            }
            Ok((forward, _)) if matches!(forward.targets, Targets::Back) => {
                answer(&plane, port, (&forward, now), exits);
            }
            Ok(decided) => self.forward((&layout, port.id), &decided, now, exits),
            Err(reason) => plane.drops.count(reason),
        }
    }

    /// A host that routes a peer's address into the overlay would wrap its datagrams for ever, in more and more pieces.
    fn refuse_own_datagrams(&self, frame: &Frame<'_>) -> Result<(), DropReason> {
        let Some((source, to)) = udp::ports(frame.parts.after_tag()) else {
            return Ok(());
        };
        if source != self.own_port {
            return Ok(());
        }
        let is_peers = |link: &Arc<Link>| {
            let route = link.route();
            route.as_ref().is_some_and(|r| r.endpoint.remote == to)
        };
        match self.plane.links().iter().any(is_peers) {
            true => Err(DropReason::OwnDatagram),
            false => Ok(()),
        }
    }

    fn forward(
        &mut self,
        (layout, from): (&Layout, PortId),
        (forward, offload): &(Forward<'_, '_>, Offload),
        now: Instant,
        exits: &mut impl Exits,
    ) {
        // A destination that fails never keeps the frame from the others.
        let cargo = (forward, offload);
        for port in forward.ports().iter().filter(|p| **p != from) {
            deliver(&self.plane, (layout, *port), cargo, &mut self.bench, exits);
        }
        let links = self.plane.links();
        let tag = forward.frame.tag().filter(|_| self.shows_priority);
        exits.outgoing().mark.priority = tag.map_or(0, |t| t.pcp());
        for peer in forward.peers() {
            if self.outbound.is_full() {
                self.flush(now, exits);
            }
            let frame = (forward.segment, &forward.frame, offload);
            let link = links.get(peer.0 as usize).ok_or(DropReason::NoSession);
            let sent = link.and_then(|l| self.outbound.send(l, frame, (exits.outgoing(), now)));
            exits.relieve();
            match sent {
                Ok(()) => {}
                Err(DropReason::NoSession | DropReason::SessionExpired) => {
                    self.wanted(peer, forward, offload, exits);
                }
                Err(reason) => self.plane.drops.count(reason),
            }
        }
    }

    /// A frame waits for a session, packet by packet: the session may be with a peer that takes nothing else.
    fn wanted(
        &mut self,
        peer: PeerId,
        forward: &Forward<'_, '_>,
        offload: &Offload,
        exits: &mut impl Exits,
    ) {
        let segment = forward.segment;
        packets(
            &forward.frame,
            offload,
            usize::MAX,
            &mut self.bench,
            |packet| {
                wait_for_session(peer, segment, packet, exits);
            },
        );
    }

    /// Ends the batch: what waited for company goes now.
    pub fn flush(&mut self, now: Instant, exits: &mut impl Exits) {
        let links = self.plane.links();
        let link = |peer: PeerId| links.get(peer.0 as usize).map(|l| &**l);
        self.outbound.flush(link, (exits.outgoing(), now));
        if self.outbound.has_failed() {
            self.outbound.take_failed(|peer, segment, packet| {
                wait_for_session(peer, segment, packet, exits);
            });
        }
    }
}

/// Hands a frame to the control side, to be sent when there is a session.
fn wait_for_session(peer: PeerId, segment: SegmentId, packet: &Parts<'_>, exits: &mut impl Exits) {
    let mut frame = Vec::with_capacity(packet.len());
    packet.write(&mut frame);
    exits.note(Note::Wanted {
        peer,
        segment,
        frame,
    });
}

/// Delivers a frame by one of our ports, in the form that it has there and that the port can take.
pub(super) fn deliver(
    plane: &Plane,
    (layout, port): (&Layout, PortId),
    (forward, offload): (&Forward<'_, '_>, &Offload),
    bench: &mut Workbench,
    exits: &mut impl Exits,
) {
    // An entry learned before the layout changed may name a port of another segment.
    let port = layout.port(port).filter(|p| p.segment == forward.segment);
    let Some(port) = port else {
        return plane.drops.count(DropReason::UnknownSegment);
    };
    if let Err(reason) = forward.reaches(port) {
        return reason.map_or((), |reason| plane.drops.count(reason));
    }
    match port.egress(forward.frame) {
        Err(reason) => plane.drops.count(reason),
        Ok(frame) if offload.checksum != Checksum::Begun || exits.takes(port.id, offload) => {
            exits.deliver(port.id, &frame, offload);
        }
        Ok(frame) => packets(&frame, offload, usize::MAX, bench, |packet| {
            exits.deliver(port.id, packet, &Offload::NONE);
        }),
    }
}

/// Gives who asked the answer that we know.
fn answer(
    plane: &Plane,
    port: &Port,
    (forward, now): (&Forward<'_, '_>, Instant),
    exits: &mut impl Exits,
) {
    let Some(answer) = plane.switch.answer(forward, now) else {
        return plane.drops.count(DropReason::NoDestination);
    };
    let tagged = Frame::parse(&answer).map(|f| f.parts.with_tag(forward.frame.tag()));
    match tagged.and_then(|parts| port.egress(parts)) {
        Ok(frame) => exits.deliver(port.id, &frame, &Offload::NONE),
        Err(reason) => plane.drops.count(reason),
    }
}

/// Hands a loop guard's probe to the control side.
pub(super) fn note_probe(
    plane: &Plane,
    (forward, place): (&Forward<'_, '_>, Place),
    now: Instant,
    exits: &mut impl Exits,
) {
    let Some(probe) = Probe::read(&forward.frame) else {
        return plane.drops.count(DropReason::MalformedInner);
    };
    if !plane.probes.admit(place, now) {
        return plane.drops.count(DropReason::RateLimited);
    }
    exits.note(Note::Probe {
        place,
        vlan: (forward.segment, forward.class),
        probe,
    });
}
