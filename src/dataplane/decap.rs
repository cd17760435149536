//! In: a datagram from the network becomes a frame by our ports, or a note to the control side.

use std::collections::HashMap;
use std::sync::Arc;

use super::Exits;
use super::coalesce::{Coalescer, Joined, Origin};
use super::encap::{deliver, note_probe};
use super::fairness::FairQueue;
use super::joiner::{Joiner, Run};
use super::reassembly::Reassembly;
use super::template::{Template, Workbench};
use crate::drops::DropReason;
use crate::mesh::path::Endpoint;
use crate::node::plane::{Crossing, Inlet, Note, Plane};
use crate::noise::cookie::mac1_holds;
use crate::noise::replay::Mark;
use crate::place::{PeerId, Place};
use crate::switch::decide::Targets;
use crate::time::{Duration, Instant};
use crate::wire::control::{self, QUESTION_LEN};
use crate::wire::datagram::{
    DATA_HEADER_LEN, DataHeader, Datagram, KIND_DATA, KIND_INITIATION, Piece, TAG_LEN,
};
use crate::wire::ethernet::{Frame, Parts};
use crate::wire::inner::{INNER_HEADER_LEN, Inner};
use crate::wire::offload::{Checksum, Offload};
use crate::wire::relayed::{Channel, RELAYED_HEADER_LEN, Relayed};
use crate::wire::segment::SegmentId;

/// Bytes of a datagram with a question.
const QUESTION: usize = DATA_HEADER_LEN + INNER_HEADER_LEN + QUESTION_LEN + TAG_LEN;
/// A session tells the control side about a new address this often at most.
const MOVED_EVERY: Duration = Duration::from_millis(200);

/// The inbound direction of one thread.
pub struct Decap {
    plane: Arc<Plane>,
    /// Bounded: one entry for each peer that sends fragments, each bounded itself.
    partial: HashMap<PeerId, Reassembly>,
    joiner: Joiner,
    coalescer: Coalescer,
    scratch: Scratch,
    /// The receiving end of the last datagram of this batch.
    last: Option<Arc<Inlet>>,
    /// The channel of the last datagram that was carried for others.
    last_crossing: Option<(Channel, Arc<Crossing>)>,
    /// What is to be carried for others.
    fair: FairQueue,
}

/// Room for putting frames together.
#[derive(Default)]
struct Scratch {
    bench: Workbench,
    head: Vec<u8>,
}

impl Decap {
    /// An inbound direction.
    pub fn new(plane: Arc<Plane>) -> Self {
        Decap {
            plane,
            partial: HashMap::new(),
            joiner: Joiner::default(),
            coalescer: Coalescer::default(),
            scratch: Scratch::default(),
            last: None,
            last_crossing: None,
            fair: FairQueue::default(),
        }
    }

    /// Takes a datagram; its bytes are decrypted in place. What can be joined with the next ones waits for
    /// [`Decap::flush`].
    pub fn datagram(
        &mut self,
        from: Endpoint,
        bytes: &mut [u8],
        now: Instant,
        exits: &mut impl Exits,
    ) {
        let taken = match Relayed::is_one(bytes) {
            true => self.relayed(from, bytes, now, exits),
            false => self.open(from, bytes, now, exits),
        };
        if let Err(reason) = taken {
            self.plane.drops.count(reason);
        }
    }

    /// Takes what goes through a relay: by us to another, or from another to us.
    fn relayed(
        &mut self,
        from: Endpoint,
        bytes: &mut [u8],
        now: Instant,
        exits: &mut impl Exits,
    ) -> Result<(), DropReason> {
        let header = Relayed::parse(bytes)?;
        if header.hops > 0 {
            return self.carry(&header, (from, bytes), now, exits);
        }
        let inner = bytes.get_mut(RELAYED_HEADER_LEN..).unwrap_or_default();
        self.open(from.through(header.channel), inner, now, exits)
    }

    /// Carries a datagram to the other end of its channel, as it is.
    ///
    /// A copy of one is carried again, and dropped by its receiver, whose replay window is the only one that can be trusted: the
    /// counters that a relay sees are nobody's word, and one who remembered them could be told of counters that are still to
    /// come, so that what is genuine would be taken for the copy.
    fn carry(
        &mut self,
        header: &Relayed,
        (from, bytes): (Endpoint, &[u8]),
        now: Instant,
        exits: &mut impl Exits,
    ) -> Result<(), DropReason> {
        let channel = header.channel;
        let crossing = match &self.last_crossing {
            Some((last, crossing)) if *last == channel => crossing.clone(),
            _ => {
                let found = self
                    .plane
                    .crossing(channel)
                    .ok_or(DropReason::UnknownIndex)?;
                self.last_crossing = Some((channel, found.clone()));
                found
            }
        };
        let (source, end) = crossing.from_to(&from).ok_or(DropReason::AddressUnproven)?;
        let inner = bytes.get(RELAYED_HEADER_LEN..).unwrap_or_default();
        if header.kind == KIND_INITIATION {
            let Datagram::Initiation(message) = Datagram::parse(inner)? else {
                return Err(DropReason::UnknownKind);
            };
            if !end.mac1_keys.iter().any(|k| mac1_holds(k, &message.macs)) {
                return Err(DropReason::BadMac1);
            }
            if !crossing
                .initiations
                .admit_most(Crossing::MOST_INITIATIONS, now)
            {
                return Err(DropReason::RateLimited);
            }
        }
        let route = end.link.route();
        let to = route.as_ref().ok_or(DropReason::NoSession)?.endpoint;
        if !self.plane.may_carry(&source.link, bytes.len(), now) {
            return Err(DropReason::OverRate);
        }
        // Handshakes and what the sender put on its urgent lane go before bulk of the same member.
        let is_urgent = header.kind != KIND_DATA || inner.get(1).is_some_and(|b| b >> 4 & 1 == 1);
        let from = (source.link.peer, is_urgent);
        let (batch, header) = (exits.outgoing(), channel.header(0));
        self.fair.note(from, bytes.len(), batch);
        batch.carried(to, bytes.len(), |place| {
            if let Some((head, rest)) = place.split_first_chunk_mut::<RELAYED_HEADER_LEN>() {
                *head = header;
                rest.copy_from_slice(inner);
            }
        });
        Ok(())
    }

    fn flush_carried(&mut self, exits: &mut impl Exits) {
        let plane = &self.plane;
        self.fair.arrange(exits.outgoing(), |peer, dropped| {
            plane.drops.add(DropReason::RelayQueue, dropped);
            if let Some(link) = plane.links().get(peer.0 as usize) {
                link.carried.refuse(dropped);
            }
        });
    }

    /// Authenticates a datagram and follows what is in it to its end.
    fn open(
        &mut self,
        from: Endpoint,
        bytes: &mut [u8],
        now: Instant,
        exits: &mut impl Exits,
    ) -> Result<(), DropReason> {
        let header = match Datagram::parse(bytes)? {
            Datagram::Data(data) => data.header,
            _ => {
                let datagram = bytes.to_vec();
                exits.note(Note::Handshake { from, datagram });
                return Ok(());
            }
        };
        let inlet = self.inlet(header.receiver)?;
        let len = bytes.len();
        let sealed = bytes.get_mut(DATA_HEADER_LEN..).unwrap_or_default();
        if let Some(piece) = header.piece {
            let mark = self.piece(&inlet, (header, piece), sealed, now, exits)?;
            if note_activity((&inlet, mark), (from, bytes.len()), now, exits) {
                note_moved(&inlet, from, exits);
            }
            inlet.link.activity.heard_data.mark(now);
            return Ok(());
        }
        let (plaintext, mark) = inlet.recv.open(header, sealed, now)?;
        let moved = note_activity((&inlet, mark), (from, len), now, exits);
        let inner = Inner::parse(plaintext);
        // A question is answered where it came from; asking back there goes with the answer.
        let asks = matches!(inner, Ok(Inner::Control(body)) if control::asks(body));
        if moved && !asks {
            note_moved(&inlet, from, exits);
        }
        // Pieces that came before go before.
        self.flush_pieces(now, exits);
        match inner? {
            Inner::Padding => Ok(()),
            Inner::Frame(segment, frame) => {
                self.frame(&inlet, (segment, frame, Checksum::Unverified), now, exits)
            }
            Inner::Bundle(segment, entries) => {
                // A frame that is wrong keeps none of the others.
                for (frame, checksum) in entries {
                    let taken = self.frame(&inlet, (segment, frame, checksum), now, exits);
                    if let Err(reason) = taken {
                        self.plane.drops.count(reason);
                    }
                }
                Ok(())
            }
            Inner::Fragment(segment, fragment) => {
                inlet.link.activity.heard_data.mark(now);
                let peer = inlet.link.peer;
                let mut partial = std::mem::take(self.partial.entry(peer).or_default());
                let origin = (inlet.index, segment);
                let whole = partial.add(origin, &fragment, (now, &self.plane.drops));
                let result = whole.and_then(|whole| match whole {
                    Some(frame) => {
                        let frame = (segment, frame, Checksum::Unverified);
                        self.frame(&inlet, frame, now, exits)
                    }
                    None => Ok(()),
                });
                self.partial.insert(peer, partial);
                result
            }
            other => {
                if !inlet.messages.admit(now) {
                    return Err(DropReason::RateLimited);
                }
                note_message(other, (inlet.link.peer, inlet.index, from), moved, exits);
                Ok(())
            }
        }
    }

    /// The receiving end with this index. A train is of one session, so the table is asked once for each; and once more
    /// in the next batch, because the session may have ended.
    fn inlet(&mut self, index: u32) -> Result<Arc<Inlet>, DropReason> {
        match &self.last {
            Some(last) if last.index == index => Ok(last.clone()),
            _ => {
                let found = self.plane.inlet(index).ok_or(DropReason::UnknownIndex)?;
                self.last = Some(found.clone());
                Ok(found)
            }
        }
    }

    /// Whether it is worth a look whether more has come before [`Decap::flush`].
    pub fn lacks_more(&self) -> bool {
        self.joiner.lacks_more()
    }

    /// Decrypts a piece to its place.
    fn piece(
        &mut self,
        inlet: &Inlet,
        (header, piece): (DataHeader, Piece),
        sealed: &[u8],
        now: Instant,
        exits: &mut impl Exits,
    ) -> Result<Mark, DropReason> {
        if !self.coalescer.is_empty() {
            self.flush_joined(now, exits);
        }
        if self.joiner.needs_room(inlet.index, header.counter, piece) {
            self.flush_pieces(now, exits);
        }
        let len = sealed.len().saturating_sub(TAG_LEN);
        let origin = (inlet.index, inlet.link.peer);
        let place = (header.counter, piece);
        let drops = &self.plane.drops;
        self.joiner.add(origin, place, len, drops, |place| {
            inlet.recv.open_to(header, sealed, place, now)
        })
    }

    /// Takes a frame: it joins others of its flow, or goes on at once.
    fn frame(
        &mut self,
        inlet: &Inlet,
        (segment, bytes, checksum): (SegmentId, &[u8], Checksum),
        now: Instant,
        exits: &mut impl Exits,
    ) -> Result<(), DropReason> {
        let link = &inlet.link;
        // What asks for an answer gets one; frames may be answered by nothing but a keepalive.
        link.activity.heard_data.mark(now);
        link.activity.rx.add(1, bytes.len());
        let frame = Frame::parse(bytes)?;
        let origin = (link.peer, segment);
        let Decap {
            plane,
            coalescer,
            scratch,
            ..
        } = self;
        let bench = &mut scratch.bench;
        let mut go = |origin: Origin, parts: &Parts<'_>, offload: &Offload| {
            finish(plane, origin, (parts, offload), bench, now, exits);
        };
        let joined = coalescer.add(origin, (&frame.parts, checksum), &mut go);
        if joined == Joined::Waits {
            return Ok(());
        }
        coalescer.flush(&mut go);
        let rest = frame.parts.after_tag();
        let offload = Offload::of_peer((0, checksum, false), rest, rest.len())?;
        go(origin, &frame.parts, &offload);
        Ok(())
    }

    /// Ends the batch: everything that has come and can be delivered goes to its ports.
    pub fn flush(&mut self, now: Instant, exits: &mut impl Exits) {
        self.last = None;
        self.last_crossing = None;
        if !self.fair.is_empty() {
            self.flush_carried(exits);
        }
        self.flush_pieces(now, exits);
        if !self.coalescer.is_empty() {
            self.flush_joined(now, exits);
        }
    }

    fn flush_joined(&mut self, now: Instant, exits: &mut impl Exits) {
        let Decap {
            plane,
            coalescer,
            scratch,
            ..
        } = self;
        coalescer.flush(&mut |origin, parts, offload| {
            finish(
                plane,
                origin,
                (parts, offload),
                &mut scratch.bench,
                now,
                exits,
            );
        });
    }

    fn flush_pieces(&mut self, now: Instant, exits: &mut impl Exits) {
        if !self.joiner.is_dirty() {
            return;
        }
        let Decap {
            plane,
            joiner,
            scratch,
            ..
        } = self;
        joiner.flush(&plane.drops, |run| {
            deliver_run(plane, &run, scratch, now, exits);
        });
    }
}

/// Delivers a part of a super-frame.
fn deliver_run(
    plane: &Plane,
    run: &Run<'_>,
    scratch: &mut Scratch,
    now: Instant,
    exits: &mut impl Exits,
) {
    let Scratch { bench, head } = scratch;
    let total = usize::from(run.note.total);
    let Some(template) = Template::new(run.note.head, &run.offload, total) else {
        return plane.drops.count(DropReason::BadOffload);
    };
    head.clear();
    template.write_head(&run.range, None, head);
    let Ok(frame) = Frame::parse(head) else {
        return plane.drops.count(DropReason::BadOffload);
    };
    let offload = template.offload_of(&run.range);
    let parts = frame.parts.with_tail(run.payload);
    let links = plane.links();
    if let Some(link) = links.get(run.peer.0 as usize) {
        let frames = run.payload.len().div_ceil(template.size());
        link.activity.rx.add(frames, parts.len());
    }
    let origin = (run.peer, run.note.segment);
    finish(plane, origin, (&parts, &offload), bench, now, exits);
}

/// Finds who gets a frame of a peer, and delivers it.
fn finish(
    plane: &Plane,
    (peer, segment): Origin,
    (parts, offload): (&Parts<'_>, &Offload),
    bench: &mut Workbench,
    now: Instant,
    exits: &mut impl Exits,
) {
    let layout = plane.switch.layout();
    let frame = Frame::of_parts(*parts);
    let packets = offload.packets(parts);
    let decided = plane
        .switch
        .from_peer((&layout, peer), segment, (&frame, packets), now);
    let forward = match decided {
        Ok(forward) => forward,
        Err(reason) => return plane.drops.count(reason),
    };
    if matches!(forward.targets, Targets::Guard) {
        return note_probe(plane, (&forward, Place::Peer(peer)), now, exits);
    }
    if plane.switch.announce_news() && !exits.note(Note::News) {
        plane.switch.table.renew_news();
    }
    for port in forward.ports() {
        deliver(plane, (&layout, *port), (&forward, offload), bench, exits);
    }
}

/// Notes that the peer was heard; gives whether it may have moved, and what came is long enough that it can be asked where it is now:
/// whoever copies a packet from another address has no more sent there than came.
fn note_activity(
    (inlet, mark): (&Inlet, Mark),
    (from, len): (Endpoint, usize),
    now: Instant,
    exits: &mut impl Exits,
) -> bool {
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
    let elsewhere = || link.route().as_ref().is_some_and(|r| r.endpoint != from);
    let is_moved = mark == Mark::Newest
        && len >= QUESTION
        && elsewhere()
        && now.since(inlet.moved.get()) >= MOVED_EVERY;
    if is_moved {
        inlet.moved.mark(now);
    }
    is_moved
}

fn note_moved(inlet: &Inlet, from: Endpoint, exits: &mut impl Exits) {
    let peer = inlet.link.peer;
    exits.note(Note::Moved { peer, from });
}

/// Hands a message that is no frame to the control side.
fn note_message(
    message: Inner<'_>,
    (peer, index, from): (PeerId, u32, Endpoint),
    moved: bool,
    exits: &mut impl Exits,
) {
    match message {
        Inner::Control(body) => {
            let body = body.to_vec();
            exits.note(Note::Control {
                peer,
                from,
                moved: moved && control::asks(&body),
                body,
            });
        }
        Inner::Close => {
            exits.note(Note::Close { peer, index });
        }
        Inner::Padding | Inner::Frame(..) | Inner::Bundle(..) | Inner::Fragment(..) => {}
    }
}
