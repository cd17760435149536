//! Frames to one peer: bundled, in pieces, or one by one, as both ends and the path allow.
//!
//! # Why
//! Two things make the difference to a datagram for each frame. *Super-frames* stay whole as long as possible: cut into
//! pieces straight from the TAP's buffer into the send buffer by the cipher, without a checksum computed or a header
//! rebuilt. *Small frames* that one wake-up finds share datagrams; there is no timer, what is there goes.
//!
//! Pieces are cut anywhere while the path is clean, which frees the inner MTU from the outer one at no cost, and at packet
//! boundaries with a copy of the headers each when it loses packets ([`crate::mesh::loss`]). UDP is cut anywhere, too, and
//! delivered by whole datagrams: a datagram of the full inner MTU does not fit one of the underlay in any other way.

use std::ops::Range;

use super::template::{Template, Workbench, packets, split};
use crate::drops::DropReason;
use crate::mesh::link::{Link, Route};
use crate::mesh::outgoing::{Mark, Outgoing};
use crate::noise::session::{PACKET_OVERHEAD, SEAL_OVERHEAD};
use crate::place::PeerId;
use crate::time::Instant;
use crate::wire::bundle::{self, ENTRY_HEADER_LEN, Entries, MAX_BUNDLED};
use crate::wire::datagram::Piece;
use crate::wire::ethernet::{Frame, Parts};
use crate::wire::inner::{TYPE_BUNDLE, TYPE_FRAME};
use crate::wire::layers::{Transport, tcp};
use crate::wire::offer::Abilities;
use crate::wire::offload::{Checksum, MAX_DATAGRAMS, Offload};
use crate::wire::piece::{MAX_HEAD, MAX_PIECES, PieceNote};
use crate::wire::segment::SegmentId;

/// Bundles that are open at one time; a flood to more peers closes the oldest.
const MAX_OPEN: usize = 16;

/// Frames that wait for the end of the batch.
struct Open {
    peer: PeerId,
    mark: Mark,
    segment: SegmentId,
    body: Vec<u8>,
    frames: usize,
    bytes: usize,
}

/// One worker's way to all peers.
#[derive(Default)]
pub struct Outbound {
    open: Vec<Open>,
    spare: Vec<Open>,
    /// Bundles whose session was used up.
    failed: Vec<Open>,
    head: Vec<u8>,
    part_head: Vec<u8>,
    front: Vec<u8>,
    back: Vec<u8>,
    frame: Vec<u8>,
    bench: Workbench,
}

/// Where things go: the batch, and when.
pub type Batch<'a> = (&'a mut Outgoing, Instant);

impl Outbound {
    /// Sends a frame to a peer, now or at the end of the batch.
    ///
    /// # Errors
    /// [`DropReason::NoSession`] or [`DropReason::SessionExpired`]: the frame may wait for a session.
    /// [`DropReason::NotRelayed`] when it must not take the only way there is.
    /// [`DropReason::Oversize`] when the path cannot carry it in any form.
    pub fn send(
        &mut self,
        link: &Link,
        (segment, frame, offload): (SegmentId, &Parts<'_>, &Offload),
        (out, now): Batch<'_>,
    ) -> Result<(), DropReason> {
        let guard = link.route();
        let route = guard.as_ref().ok_or(DropReason::NoSession)?;
        route.admit()?;
        let room = route.room.saturating_sub(SEAL_OVERHEAD);
        let begun = offload.checksum == Checksum::Begun;
        let entry = frame.len() + ENTRY_HEADER_LEN;
        let shares = entry <= room / 2 || (begun && entry <= room);
        if !offload.is_super()
            && shares
            && frame.len() <= MAX_BUNDLED
            && route.abilities.has(Abilities::BUNDLES)
        {
            return self.bundle(link, room, (segment, frame, offload), (out, now));
        }
        // What waits came before.
        self.close(link, false, (&mut *out, now));
        let is_cut = offload.is_super() || (begun && is_plain_tcp(frame, offload));
        if is_cut && route.abilities.has(Abilities::PIECES) {
            return self.cut((link, route), (segment, frame, offload), (out, now));
        }
        let mut result = Ok(());
        let Outbound {
            bench, frame: f, ..
        } = self;
        packets(frame, offload, room, bench, |packet| {
            let sent = link.send_frame((segment, packet), f, out, now);
            result = result.and(sent);
        });
        result
    }

    fn bundle(
        &mut self,
        link: &Link,
        room: usize,
        (segment, frame, offload): (SegmentId, &Parts<'_>, &Offload),
        (out, now): Batch<'_>,
    ) -> Result<(), DropReason> {
        let len = frame.len() + ENTRY_HEADER_LEN;
        let fits = |o: &Open| o.segment == segment && o.body.len() + len <= room;
        let mark = out.mark;
        let mine = self
            .open
            .iter()
            .position(|o| o.peer == link.peer && o.mark == mark);
        let at = match mine {
            Some(at) if self.open.get(at).is_some_and(fits) => at,
            other => {
                if other.is_some() {
                    self.close(link, mark.is_urgent, (out, now));
                }
                self.begin((link.peer, mark), segment)
            }
        };
        if let Some(open) = self.open.get_mut(at) {
            bundle::write_header(frame.len(), offload.checksum, &mut open.body);
            frame.write(&mut open.body);
            open.frames += 1;
            open.bytes += frame.len();
        }
        Ok(())
    }

    /// Opens a bundle; gives its place. [`Outbound::is_full`] says when others have to close first.
    fn begin(&mut self, (peer, mark): (PeerId, Mark), segment: SegmentId) -> usize {
        let mut open = self.spare.pop().unwrap_or_else(|| Open {
            peer,
            mark,
            segment,
            body: Vec::with_capacity(2048),
            frames: 0,
            bytes: 0,
        });
        (open.peer, open.mark, open.segment) = (peer, mark, segment);
        (open.frames, open.bytes) = (0, 0);
        open.body.clear();
        self.open.push(open);
        self.open.len() - 1
    }

    /// Whether so many bundles are open that they should be sent before the next frame.
    pub fn is_full(&self) -> bool {
        self.open.len() >= MAX_OPEN
    }

    /// Sends what waits for one peer: what is urgent, and then, unless only that is meant, the rest. A flow may have gone
    /// from the one to the other within a batch, never back.
    fn close(&mut self, link: &Link, only_urgent: bool, (out, now): Batch<'_>) {
        for urgent in [true, false] {
            let is_meant = |o: &Open| o.peer == link.peer && o.mark.is_urgent == urgent;
            while (urgent || !only_urgent)
                && let Some(at) = self.open.iter().position(is_meant)
            {
                let open = self.open.swap_remove(at);
                self.seal(Some(link), open, (&mut *out, now));
            }
        }
    }

    /// Sends everything that waits; `link` finds a peer's link.
    pub fn flush<'l>(&mut self, link: impl Fn(PeerId) -> Option<&'l Link>, (out, now): Batch<'_>) {
        self.open.sort_unstable_by_key(|o| o.mark.is_urgent);
        while let Some(open) = self.open.pop() {
            self.seal(link(open.peer), open, (&mut *out, now));
        }
    }

    fn seal(&mut self, link: Option<&Link>, open: Open, batch: Batch<'_>) {
        let sent = link
            .ok_or(DropReason::NoSession)
            .and_then(|l| seal_bundle(l, &open, batch));
        match sent {
            Ok(()) => self.spare.push(open),
            Err(_) => self.failed.push(open),
        }
    }

    /// Whether a session was used up while frames waited for the end of the batch.
    pub fn has_failed(&self) -> bool {
        !self.failed.is_empty()
    }

    /// Gives the frames of which that is so, complete.
    pub fn take_failed(&mut self, mut each: impl FnMut(PeerId, SegmentId, &Parts<'_>)) {
        for open in std::mem::take(&mut self.failed) {
            for (bytes, checksum) in Entries::parse(&open.body).into_iter().flatten() {
                let Ok(frame) = Frame::parse(bytes) else {
                    continue;
                };
                let rest = frame.parts.after_tag();
                let told = (0, checksum, false);
                let offload = Offload::of_peer(told, rest, rest.len()).unwrap_or_default();
                packets(&frame.parts, &offload, usize::MAX, &mut self.bench, |p| {
                    each(open.peer, open.segment, p);
                });
            }
            self.spare.push(open);
        }
    }

    /// Sends a super-frame, or a TCP packet that does not fit the path, in pieces.
    fn cut(
        &mut self,
        (link, route): (&Link, &Route),
        (segment, frame, offload): (SegmentId, &Parts<'_>, &Offload),
        (out, now): Batch<'_>,
    ) -> Result<(), DropReason> {
        let too_large = DropReason::Oversize;
        let (head_len, payload) = split(frame, offload, &mut self.head).ok_or(too_large)?;
        if head_len > MAX_HEAD {
            return Err(too_large);
        }
        let template = Template::new(&self.head, offload, payload.len()).ok_or(too_large)?;
        let cut = Cut::new(route, offload, head_len).ok_or(too_large)?;
        let limit = cut.limit(template.size());
        let mut start = 0;
        while start < payload.len() {
            let end = payload.len().min(start + limit);
            let range = start..end;
            let part = template.offload_of(&range);
            self.part_head.clear();
            template.write_head(&range, None, &mut self.part_head);
            let note = PieceNote {
                segment,
                size: part.segment,
                checksum: Checksum::Begun,
                ecn: part.ecn,
                total: u16::try_from(range.len()).map_err(|_| too_large)?,
                offset: 0,
                head: &self.part_head,
            };
            let body = payload.get(range).unwrap_or_default();
            match cut.step {
                Some(step) => seal_aligned(route, (&note, body, step), &mut self.back, (out, now))?,
                None => {
                    let texts = (&mut self.front, &mut self.back);
                    seal_whole(route, (&note, body), texts, (out, now))?;
                }
            }
            start = end;
        }
        let frames = payload.len().div_ceil(template.size());
        link.mark_sent(frames, frame.len(), now);
        Ok(())
    }
}

/// Whether this is a TCP packet with data whose parts are packets like it: none that opens, resets, or points somewhere.
fn is_plain_tcp(frame: &Parts<'_>, offload: &Offload) -> bool {
    let special = tcp::SYN | tcp::RST | tcp::URG;
    offload.layers.is_some_and(|l| {
        l.transport == Transport::Tcp
            && l.end > l.payload
            && l.tcp_flags(frame.after_tag()) & special == 0
    })
}

fn seal_bundle(link: &Link, open: &Open, (out, now): Batch<'_>) -> Result<(), DropReason> {
    let guard = link.route();
    let route = guard.as_ref().ok_or(DropReason::NoSession)?;
    let mut entries = Entries::parse(&open.body)?;
    let (kind, body) = match (entries.next(), entries.next()) {
        // Alone and complete it needs no bundle.
        (Some((frame, Checksum::Unverified)), None) => (TYPE_FRAME, frame),
        _ => (TYPE_BUNDLE, &open.body[..]),
    };
    let before = std::mem::replace(&mut out.mark, open.mark);
    let sealed = route.seal_message((kind, open.segment), body, out, now);
    out.mark = before;
    sealed?;
    link.mark_sent(open.frames, open.bytes, now);
    Ok(())
}

/// How a super-frame is cut.
struct Cut {
    /// Bytes of plaintext in a datagram.
    text: usize,
    /// Bytes of a note with its head.
    note: usize,
    /// Bytes of payload in each aligned piece; `None` for whole pieces.
    step: Option<usize>,
    is_udp: bool,
}

impl Cut {
    fn new(route: &Route, offload: &Offload, head_len: usize) -> Option<Cut> {
        let layers = offload.layers?;
        let text = route.room.checked_sub(PACKET_OVERHEAD)?;
        let note = head_len + crate::wire::piece::NOTE_LEN + crate::wire::inner::INNER_HEADER_LEN;
        let is_udp = layers.transport == Transport::Udp;
        let size = usize::from(offload.segment);
        let room = text.saturating_sub(note);
        let step = match size {
            0 => Some(room),
            size if size <= room => Some(room / size * size),
            _ if is_udp => None,
            _ => Some(room),
        };
        (text > 2 * note).then_some(Cut {
            text,
            note,
            step: step.filter(|s| *s > 0 && route.is_lossy),
            is_udp,
        })
    }

    /// The most bytes of payload that one super-frame takes: whole packets, if any.
    fn limit(&self, size: usize) -> usize {
        let pieces = match self.step {
            Some(step) => MAX_PIECES * step,
            None => MAX_PIECES * self.text - 2 * self.note,
        };
        let most = match self.is_udp {
            true => pieces.min(MAX_DATAGRAMS * size),
            false => pieces,
        };
        match most / size * size {
            0 => most,
            limit => limit,
        }
    }
}

/// Seals pieces that are cut anywhere, all of one size but for the last.
fn seal_whole(
    route: &Route,
    (note, payload): (&PieceNote<'_>, &[u8]),
    (front, back): (&mut Vec<u8>, &mut Vec<u8>),
    (out, now): Batch<'_>,
) -> Result<(), DropReason> {
    let text = route.room.saturating_sub(PACKET_OVERHEAD).max(1);
    front.clear();
    note.write_front(front);
    back.clear();
    if front.len() + payload.len() > text {
        note.write_back(back);
    }
    let parts = [&front[..], payload, &back[..]];
    let len = front.len() + payload.len() + back.len();
    let count = len.div_ceil(text);
    let size = len.div_ceil(count);
    let first = route.send.reserve(count as u64, now)?;
    for index in 0..count {
        let range = index * size..len.min((index + 1) * size);
        let piece = Piece {
            index: index as u16,
            is_last: index + 1 == count,
            is_aligned: false,
        };
        let lane = route.lane(out);
        let header = route.send.header(first + index as u64, lane, Some(piece));
        let cut = slices(&parts, &range);
        let used = cut.iter().position(|p| p.is_empty()).unwrap_or(3);
        out.push_with(route.endpoint, range.len() + PACKET_OVERHEAD, |place| {
            let parts = cut.get(..used).unwrap_or_default();
            route.send.seal_to(header, parts, place)
        })?;
        route.repeat(out, now);
    }
    Ok(())
}

/// The parts of a range of a text that lies in three places; empty ones come last.
fn slices<'a>(parts: &[&'a [u8]; 3], range: &Range<usize>) -> [&'a [u8]; 3] {
    let mut out: [&[u8]; 3] = [&[]; 3];
    let mut places = out.iter_mut();
    let mut at = 0;
    for part in parts {
        let start = range.start.max(at).min(at + part.len()) - at;
        let end = range.end.max(at).min(at + part.len()) - at;
        at += part.len();
        if start < end
            && let Some(place) = places.next()
        {
            *place = part.get(start..end).unwrap_or_default();
        }
    }
    out
}

/// Seals pieces that stand for themselves.
fn seal_aligned(
    route: &Route,
    (note, payload, step): (&PieceNote<'_>, &[u8], usize),
    back: &mut Vec<u8>,
    (out, now): Batch<'_>,
) -> Result<(), DropReason> {
    let count = payload.len().div_ceil(step);
    let first = route.send.reserve(count as u64, now)?;
    for (index, part) in payload.chunks(step).enumerate() {
        back.clear();
        let note = PieceNote {
            offset: u16::try_from(index * step).map_err(|_| DropReason::Oversize)?,
            ..*note
        };
        note.write_back(back);
        let piece = Piece {
            index: index as u16,
            is_last: index + 1 == count,
            is_aligned: true,
        };
        let lane = route.lane(out);
        let header = route.send.header(first + index as u64, lane, Some(piece));
        let len = part.len() + back.len() + PACKET_OVERHEAD;
        out.push_with(route.endpoint, len, |place| {
            route.send.seal_to(header, &[part, back], place)
        })?;
        route.repeat(out, now);
    }
    Ok(())
}
