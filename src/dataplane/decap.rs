//! In: a datagram from the network becomes a frame by our ports, or a note to the control side.

use std::collections::HashMap;
use std::sync::Arc;

use super::Exits;
use super::encap::deliver;
use super::reassembly::Reassembly;
use crate::drops::DropReason;
use crate::mesh::link::Link;
use crate::mesh::path::Endpoint;
use crate::node::plane::{Inlet, Note, Plane};
use crate::noise::replay::Mark;
use crate::place::{PeerId, Place};
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
        let header = match Datagram::parse(bytes) {
            Ok(Datagram::Data(data)) => data.header,
            Ok(_) => {
                let datagram = bytes.to_vec();
                return exits.note(Note::Handshake { from, datagram });
            }
            Err(reason) => return self.plane.drops.count(reason),
        };
        let Some(inlet) = self.plane.inlet(header.receiver) else {
            return self.plane.drops.count(DropReason::UnknownIndex);
        };
        let sealed = bytes.get_mut(DATA_HEADER_LEN..).unwrap_or_default();
        match inlet.recv.open(header.counter, sealed, now) {
            Ok((plaintext, mark)) => {
                self.note_activity((&inlet, mark), from, now, exits);
                if let Err(reason) = self.opened((&inlet, from), plaintext, now, exits) {
                    self.plane.drops.count(reason);
                }
            }
            Err(reason) => self.plane.drops.count(reason),
        }
    }

    fn note_activity(
        &self,
        (inlet, mark): (&Inlet, Mark),
        from: Endpoint,
        now: Instant,
        exits: &mut impl Exits,
    ) {
        let link = &inlet.link;
        link.activity.heard.mark(now);
        if inlet.mark_heard() {
            exits.note(Note::Heard {
                peer: link.peer,
                index: inlet.index,
                from,
            });
        }
        if mark != Mark::Newest {
            return;
        }
        let elsewhere = link
            .route()
            .as_ref()
            .is_some_and(|r| r.endpoint != from);
        if elsewhere && now.since(inlet.moved.get()) >= MOVED_EVERY {
            inlet.moved.mark(now);
            exits.note(Note::Moved {
                peer: link.peer,
                from,
            });
        }
    }

    fn opened(
        &mut self,
        (inlet, from): (&Inlet, Endpoint),
        plaintext: &[u8],
        now: Instant,
        exits: &mut impl Exits,
    ) -> Result<(), DropReason> {
        let inner = Inner::parse(plaintext)?;
        let link = &inlet.link;
        if inner != Inner::Padding {
            link.activity.heard_data.mark(now);
        }
        match inner {
            Inner::Padding => Ok(()),
            Inner::Frame(segment, bytes) => {
                frame(&self.plane, (link, segment), bytes, now, exits)
            }
            Inner::Fragment(segment, fragment) => {
                let partial = self.partial.entry(link.peer).or_default();
                let before = partial.drops();
                let result = match partial.add(segment, &fragment, now) {
                    Ok(Some(bytes)) => frame(&self.plane, (link, segment), bytes, now, exits),
                    Ok(None) => Ok(()),
                    Err(reason) => Err(reason),
                };
                before.count_new(&partial.drops(), &self.plane.drops);
                result
            }
            Inner::Control(body) => {
                exits.note(Note::Control {
                    peer: link.peer,
                    from,
                    body: body.to_vec(),
                });
                Ok(())
            }
            Inner::Close => {
                exits.note(Note::Close {
                    peer: link.peer,
                    index: inlet.index,
                });
                Ok(())
            }
        }
    }
}

fn frame(
    plane: &Plane,
    (link, segment): (&Link, SegmentId),
    bytes: &[u8],
    now: Instant,
    exits: &mut impl Exits,
) -> Result<(), DropReason> {
    let frame = Frame::parse(bytes)?;
    link.activity.rx.add(bytes.len());
    let layout = plane.switch.layout();
    let from = (&**layout, link.peer);
    let forward = plane.switch.from_peer(from, segment, &frame, now)?;
    match forward.targets {
        Targets::One(Place::Port(port)) => deliver(plane, &layout, port, &forward, exits),
        Targets::Flood { ports, .. } => {
            for port in ports {
                deliver(plane, &layout, *port, &forward, exits);
            }
        }
        Targets::One(Place::Peer(_)) => return Err(DropReason::NoDestination),
    }
    Ok(())
}
