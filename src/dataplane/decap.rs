//! In: a datagram from the network becomes a frame by our ports, or a note to the control side.

use std::collections::HashMap;
use std::sync::Arc;

use super::Exits;
use super::encap::deliver;
use super::reassembly::Reassembly;
use crate::drops::DropReason;
use crate::mesh::path::Endpoint;
use crate::node::plane::{Inlet, Note, Plane};
use crate::noise::replay::Mark;
use crate::place::{PeerId, Place, PortId};
use crate::switch::decide::Targets;
use crate::time::{Duration, Instant};
use crate::wire::datagram::{DATA_HEADER_LEN, Datagram};
use crate::wire::ethernet::Frame;
use crate::wire::inner::Inner;
use crate::wire::segment::SegmentId;

/// A session tells the control side about a new address this often at most.
const MOVED_EVERY: Duration = Duration::from_millis(200);

/// The inbound direction of one thread.
pub struct Decap {
    plane: Arc<Plane>,
    /// Bounded: one entry for each peer that sends fragments, each bounded itself.
    partial: HashMap<PeerId, Reassembly>,
}

impl Decap {
    /// An inbound direction.
    pub fn new(plane: Arc<Plane>) -> Self {
        Decap {
            plane,
            partial: HashMap::new(),
        }
    }

    /// Takes a datagram; its bytes are decrypted in place.
    pub fn datagram(
        &mut self,
        from: Endpoint,
        bytes: &mut [u8],
        now: Instant,
        exits: &mut impl Exits,
    ) {
        let plane = self.plane.clone();
        let layout = plane.switch.layout();
        let opened = match self.open(from, bytes, now, exits) {
            Ok(Some(opened)) => opened,
            Ok(None) => return,
            Err(reason) => return plane.drops.count(reason),
        };
        let decided = Frame::parse(opened.frame).and_then(|frame| {
            let from = (&**layout, opened.peer);
            plane.switch.from_peer(from, opened.segment, &frame, now)
        });
        let forward = match decided {
            Ok(forward) => forward,
            Err(reason) => return plane.drops.count(reason),
        };
        let ports: &[PortId] = match &forward.targets {
            Targets::One(Place::Port(port)) => std::slice::from_ref(port),
            Targets::Flood { ports, .. } => ports,
            Targets::One(Place::Peer(_)) => &[],
        };
        for port in ports {
            deliver(&plane, &layout, *port, &forward, exits);
        }
    }

    /// Authenticates a datagram and gives the frame in it; what is no frame is dealt with here.
    fn open<'b>(
        &'b mut self,
        from: Endpoint,
        bytes: &'b mut [u8],
        now: Instant,
        exits: &mut impl Exits,
    ) -> Result<Option<Opened<'b>>, DropReason> {
        let header = match Datagram::parse(bytes)? {
            Datagram::Data(data) => data.header,
            _ => {
                let datagram = bytes.to_vec();
                exits.note(Note::Handshake { from, datagram });
                return Ok(None);
            }
        };
        let inlet = self
            .plane
            .inlet(header.receiver)
            .ok_or(DropReason::UnknownIndex)?;
        let sealed = bytes.get_mut(DATA_HEADER_LEN..).unwrap_or_default();
        let (plaintext, mark) = inlet.recv.open(header.counter, sealed, now)?;
        note_activity((&inlet, mark), from, now, exits);
        let link = &inlet.link;
        let peer = link.peer;
        let inner = Inner::parse(plaintext)?;
        if matches!(inner, Inner::Frame(..) | Inner::Fragment(..)) {
            // What asks for an answer gets one; frames may be answered by nothing but a keepalive.
            link.activity.heard_data.mark(now);
        }
        let (segment, frame) = match inner {
            Inner::Frame(segment, frame) => (segment, frame),
            Inner::Fragment(segment, piece) => {
                let partial = self.partial.entry(peer).or_default();
                match partial.add((inlet.index, segment), &piece, (now, &self.plane.drops))? {
                    Some(frame) => (segment, frame),
                    None => return Ok(None),
                }
            }
            Inner::Padding => return Ok(None),
            other => {
                if !inlet.messages.admit(now) {
                    return Err(DropReason::RateLimited);
                }
                note_message(other, (peer, inlet.index, from), exits);
                return Ok(None);
            }
        };
        link.activity.rx.add(frame.len());
        Ok(Some(Opened {
            peer,
            segment,
            frame,
        }))
    }
}

/// An authentic frame.
struct Opened<'b> {
    peer: PeerId,
    segment: SegmentId,
    frame: &'b [u8],
}

fn note_activity(
    (inlet, mark): (&Inlet, Mark),
    from: Endpoint,
    now: Instant,
    exits: &mut impl Exits,
) {
    let link = &inlet.link;
    link.activity.heard.mark(now);
    // Marked when the note was taken: a full queue must not lose it for good.
    let heard = || Note::Heard {
        peer: link.peer,
        index: inlet.index,
        from,
    };
    if !inlet.was_heard() && exits.note(heard()) {
        inlet.mark_heard();
    }
    if mark != Mark::Newest {
        return;
    }
    let elsewhere = link.route().as_ref().is_some_and(|r| r.endpoint != from);
    if elsewhere && now.since(inlet.moved.get()) >= MOVED_EVERY {
        inlet.moved.mark(now);
        exits.note(Note::Moved {
            peer: link.peer,
            from,
        });
    }
}

/// Hands a message that is no frame to the control side.
fn note_message(
    message: Inner<'_>,
    (peer, index, from): (PeerId, u32, Endpoint),
    exits: &mut impl Exits,
) {
    let body = match message {
        Inner::Control(body) => body.to_vec(),
        Inner::Close => {
            exits.note(Note::Close { peer, index });
            return;
        }
        Inner::Padding | Inner::Frame(..) | Inner::Fragment(..) => return,
    };
    exits.note(Note::Control { peer, from, body });
}
