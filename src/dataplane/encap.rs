//! Out: a frame from a port becomes datagrams to peers, or goes to other ports of ours.

use std::sync::Arc;

use super::Exits;
use crate::drops::DropReason;
use crate::node::plane::{Note, Plane};
use crate::place::{PeerId, Place, PortId};
use crate::switch::decide::{Forward, Targets};
use crate::switch::layout::Layout;
use crate::time::Instant;
use crate::wire::ethernet::Frame;

/// The outbound direction of one thread.
pub struct Encap {
    plane: Arc<Plane>,
    scratch: Vec<u8>,
}

impl Encap {
    /// An outbound direction.
    pub fn new(plane: Arc<Plane>) -> Self {
        Encap {
            plane,
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
        let decided = Frame::parse(bytes)
            .and_then(|frame| plane.switch.from_port((&layout, port), &frame, now));
        match decided {
            Ok(forward) => self.forward((&layout, port.id), &forward, now, exits),
            Err(reason) => plane.drops.count(reason),
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
