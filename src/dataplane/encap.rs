//! Out: a frame from a port becomes datagrams to peers, or goes to other ports of ours.

use std::sync::Arc;

use super::Exits;
use crate::drops::DropReason;
use crate::mesh::link::Link;
use crate::node::plane::{Note, Plane};
use crate::place::{PeerId, Place, PortId};
use crate::switch::decide::{Forward, Targets};
use crate::switch::layout::Layout;
use crate::time::Instant;
use crate::wire::ethernet::Frame;
use crate::wire::udp;

/// The outbound direction of one thread.
pub struct Encap {
    plane: Arc<Plane>,
    /// The UDP port that our own datagrams come from.
    own_port: u16,
    scratch: Vec<u8>,
}

impl Encap {
    /// An outbound direction of a member that sends from this UDP port.
    pub fn new(plane: Arc<Plane>, own_port: u16) -> Self {
        Encap {
            plane,
            own_port,
            scratch: Vec::with_capacity(crate::wire::ethernet::MAX_FRAME_LEN),
        }
    }

    /// Takes a frame that a port delivered.
    pub fn frame(&mut self, port: PortId, bytes: &[u8], now: Instant, exits: &mut impl Exits) {
        let plane = self.plane.clone();
        let layout = plane.switch.layout();
        let Some(port) = layout.port(port) else {
            return;
        };
        let decided = Frame::parse(bytes).and_then(|frame| {
            self.refuse_own_datagrams(&frame)?;
            plane.switch.from_port((&layout, port), &frame, now)
        });
        match decided {
            Ok(forward) => self.forward((&layout, port.id), &forward, now, exits),
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
        forward: &Forward<'_, '_>,
        now: Instant,
        exits: &mut impl Exits,
    ) {
        let (ports, peers): (&[PortId], &[PeerId]) = match &forward.targets {
            Targets::One(Place::Port(port)) => (std::slice::from_ref(port), &[]),
            Targets::One(Place::Peer(peer)) => (&[], std::slice::from_ref(peer)),
            Targets::Flood { ports, peers } => (ports, peers),
        };
        // A destination that fails never keeps the frame from the others.
        for port in ports.iter().filter(|p| **p != from) {
            deliver(&self.plane, layout, *port, forward, exits);
        }
        let links = self.plane.links();
        for peer in peers {
            let frame = (forward.segment, &forward.frame);
            let link = links.get(peer.0 as usize).ok_or(DropReason::NoSession);
            let sent =
                link.and_then(|l| l.send_frame(frame, &mut self.scratch, exits.outgoing(), now));
            match sent {
                Ok(()) => {}
                Err(DropReason::NoSession | DropReason::SessionExpired) => {
                    exits.note(wanted(*peer, forward));
                }
                Err(reason) => self.plane.drops.count(reason),
            }
        }
    }
}

/// The note that a frame waits for a session.
fn wanted(peer: PeerId, forward: &Forward<'_, '_>) -> Note {
    let mut frame = Vec::with_capacity(forward.frame.len());
    forward.frame.write(&mut frame);
    Note::Wanted {
        peer,
        segment: forward.segment,
        frame,
    }
}

/// Delivers a frame by one of our ports, in the form that it has there.
pub(super) fn deliver(
    plane: &Plane,
    layout: &Layout,
    port: PortId,
    forward: &Forward<'_, '_>,
    exits: &mut impl Exits,
) {
    // An entry learned before the layout changed may name a port of another segment.
    let port = layout.port(port).filter(|p| p.segment == forward.segment);
    let Some(port) = port else {
        return plane.drops.count(DropReason::UnknownSegment);
    };
    match port.rule.egress(forward.frame) {
        Ok(frame) => exits.deliver(port.id, &frame),
        Err(reason) => plane.drops.count(reason),
    }
}
